"""The flow and GeoTDM on molecules."""

from __future__ import annotations

from functools import cached_property
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.shared.draws import stream_draws
from equidrift.models.trajectories.atom_masks import drawn_atoms
from equidrift.models.trajectories.diffusion.draw import WindowNetwork, draw_window
from equidrift.models.trajectories.diffusion.frames import KnownFrames, Normal, Sampling
from equidrift.models.trajectories.diffusion.geotdm import GeoTDM
from equidrift.models.trajectories.diffusion.mean_path import CLOCK_FS, MeanPath
from equidrift.models.trajectories.diffusion.path import on_integrator
from equidrift.models.trajectories.graphs import HOPS, linked, molecule_graph
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.model import ChemistryModel, Window
from equidrift.models.trajectories.windows import CONTEXT
from equidrift.records import Molecule, Trajectory
from equidrift.seeds import sample_rng

ATOM_STEPS = 40  # outer steps of the conditional sampler, where single atoms are known


class DiffusionModel(ChemistryModel):
    """The flow or GeoTDM on molecules: any mask, partial noising, chained windows.

    `steps`: network calls.
    """

    kinds = ("flow", "geotdm")
    min_frames = 0

    def _normal(self, graph: Graph, frames: int, seeds: NDArray[np.int64]) -> Normal:
        streams = [sample_rng(int(seed)) for seed in seeds]
        shape = (frames, graph.mass.shape[1], 3)
        return stream_draws(streams, shape, torch.float32, self.device)

    @cached_property
    def _mean_path(self) -> MeanPath:
        return MeanPath(self.training.get("prior_sha256"), self.device)

    def _known(
        self, graph: Graph, x: Tensor, given: Tensor, dt_fs: float, molecule: Molecule
    ) -> KnownFrames:
        """Frames x in A, in units of the network's length and with its clock."""
        clock = torch.arange(x.shape[1], dtype=torch.float32, device=self.device)
        if isinstance(self.network, GeoTDM):
            graph.linked = linked(graph, HOPS)
        else:
            clock = clock * dt_fs / CLOCK_FS
        length = float(self.training["length_A"])
        known = KnownFrames(graph, x.float() / length, clock, given.to(self.device))
        if self._on_mean_path:
            known.path = self._mean_path(molecule, x, known.given, dt_fs).float() / length
        return known

    @property
    def _on_mean_path(self) -> bool:
        return on_integrator(self.network)

    def _draw(self, known: KnownFrames, seeds: NDArray[np.int64], sampling: Sampling) -> Tensor:
        """Frames in A."""
        normal = self._normal(known.graph, known.frames.shape[1], seeds)
        network = cast(WindowNetwork, self.network)
        return float(self.training["length_A"]) * draw_window(network, known, normal, sampling)

    def _fill(self, graph: Graph, x: Tensor, given: Tensor, window: Window) -> Tensor:
        sampling = Sampling(steps=window.steps, callback=window.callback)
        known = self._known(graph, x, given, window.dt_fs, window.molecule)
        return self._draw(known, window.seeds, sampling)

    def _fill_atoms(self, graph: Graph, x: Tensor, mask: Tensor, window: Window) -> Tensor:
        if self._on_mean_path:
            raise InputError(
                f"{self.name} goes on from the integrator's mean path, which whole frames tell, "
                "and here single atoms are given; give whole frames, or take the default model"
            )
        known = self._known(graph, x, mask.all(1), window.dt_fs, window.molecule)
        made = drawn_atoms(
            cast(WindowNetwork, self.network),
            known,
            mask.to(self.device),
            self._normal(graph, x.shape[1], window.seeds),
            window.steps or ATOM_STEPS,
        )
        return float(self.training["length_A"]) * made

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
        for given in self._refined_parts(len(positions)):
            dt_fs, molecule = float(trajectory.dt_fs), trajectory.molecule
            known = self._known(graph, x, given, dt_fs, molecule)
            sampling = Sampling(start=known.frames, level=level)
            x = self._draw(known, seeds, sampling).to(x.dtype)
        return x.cpu().numpy() + centre

    def _refined_parts(self, frames: int) -> list[Tensor]:
        """Which frames (t,) are given in each pass of a refinement.

        A network sees only masks like those that it was trained with: one that invents
        whole windows gets none; one that only continues keeps the first frames, as many as
        it was given; all others get every second frame, and then the rest.
        """
        place = torch.arange(frames, device=self.device)
        given = self.training.get("given", "any")
        if given == "none":
            return [place < 0]
        if given == "forecast":
            return [place < min(int(self.training.get("context", CONTEXT)), frames - 1)]
        return [place % 2 == 0, place % 2 == 1]
