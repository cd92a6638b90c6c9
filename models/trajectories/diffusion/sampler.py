"""The flow and GeoTDM on molecules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.trajectories.atom_masks import drawn_flow, drawn_geotdm, drawn_residual
from equidrift.models.trajectories.data import linked, molecule_graph
from equidrift.models.trajectories.diffusion.draw import WindowNetwork, draw_window
from equidrift.models.trajectories.diffusion.flow import Flow
from equidrift.models.trajectories.diffusion.geotdm import GeoTDM
from equidrift.models.trajectories.diffusion.residual import ResidualGeoTDM
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.model import ChemistryModel, Window
from equidrift.records import Trajectory
from equidrift.seeds import sample_rng

ATOM_STEPS = 40  # outer steps of the conditional sampler, where single atoms are known
CLOCK_FS = 5.0  # one unit of the flow's time


class DiffusionModel(ChemistryModel):
    """The flow or GeoTDM on molecules: any mask, partial noising, chained windows.

    `steps`: network calls.
    """

    kinds = ("flow", "geotdm")
    min_frames = 0

    def _normal(self, graph: Graph, frames: int, seeds: NDArray[np.int64]) -> Callable[[], Tensor]:
        streams = [sample_rng(int(seed)) for seed in seeds]
        shape = (frames, graph.mass.shape[1], 3)
        return lambda: (
            torch.from_numpy(np.stack([rng.standard_normal(shape) for rng in streams]))
            .float()
            .to(self.device)
        )

    def _draw(
        self,
        graph: Graph,
        x: Tensor,
        given: Tensor,
        dt_fs: float,
        seeds: NDArray[np.int64],
        **options: Any,
    ) -> Tensor:
        length = float(self.training["length_A"])
        normal = self._normal(graph, x.shape[1], seeds)
        clock = torch.arange(x.shape[1], dtype=torch.float32, device=self.device)
        if isinstance(self.network, GeoTDM):
            graph.linked = linked(graph, 3)
        else:
            clock = clock * dt_fs / CLOCK_FS
        network = cast(WindowNetwork, self.network)
        given = given.to(self.device)
        return length * draw_window(
            network, graph, x.float() / length, clock, given, normal, **options
        )

    def _fill(self, graph: Graph, x: Tensor, given: Tensor, window: Window) -> Tensor:
        return self._draw(
            graph,
            x,
            given,
            window.dt_fs,
            window.seeds,
            steps=window.steps,
            callback=window.callback,
        )

    def _fill_atoms(self, graph: Graph, x: Tensor, mask: Tensor, window: Window) -> Tensor:
        length, steps = float(self.training["length_A"]), window.steps or ATOM_STEPS
        normal = self._normal(graph, x.shape[1], window.seeds)
        clock = torch.arange(x.shape[1], dtype=torch.float32, device=self.device)
        mask = mask.to(self.device)
        if isinstance(self.network, GeoTDM):
            graph.linked = linked(graph, 3)
            return length * drawn_geotdm(
                self.network, graph, x.float() / length, clock, mask, normal, steps
            )
        clock = clock * window.dt_fs / CLOCK_FS
        frames = x.float() / length
        if isinstance(self.network, ResidualGeoTDM):
            made = drawn_residual(self.network, graph, frames, clock, mask, normal, steps)
        else:
            flow = cast(Flow, self.network)
            made = drawn_flow(flow, graph, frames, clock, mask, normal, steps)
        return length * made

    def refine(
        self, trajectory: Trajectory, seeds: NDArray[np.int64], *, level: float = 0.3
    ) -> NDArray[np.float64]:
        """Partial noising of a coarse trajectory: noised up to the share `level`, and
        denoised.

        Raises
        ------
        InputError
            for a level outside 0 .. 1, or frames that are not finite.
        """
        positions, centre = self._coarse(trajectory, level, 1)
        seeds = np.asarray(seeds, np.int64)
        graph = molecule_graph(
            trajectory.molecule, self.level_of(trajectory.molecule), len(seeds)
        ).to(self.device)
        x = torch.from_numpy(positions)[None].expand(len(seeds), -1, -1, -1).to(self.device)
        length = float(self.training["length_A"])
        for given in self._refined_parts(len(positions)):
            start = x.float() / length
            made = self._draw(
                graph, x, given, float(trajectory.dt_fs), seeds, start=start, level=level
            )
            x = made.to(x.dtype)
        return x.cpu().numpy() + centre

    def _refined_parts(self, frames: int) -> list[Tensor]:
        """Which frames (t,) are given in each pass of a refinement.

        A network sees only masks like those that it was trained with: one that invents
        whole windows gets none, all others every second frame, and then the rest.
        """
        place = torch.arange(frames)
        if self.training.get("given", "any") == "none":
            return [torch.zeros(frames, dtype=torch.bool)]
        return [place % 2 == 0, place % 2 == 1]
