"""The default trajectory model: a learned Langevin integrator."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.trajectories.atom_masks import between
from equidrift.models.trajectories.graphs import fingerprint, molecule_graph
from equidrift.models.trajectories.integrator.integrator import Force, Integrator
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.integrator.run import Guard, IntegratorRun, blended
from equidrift.models.trajectories.model import ChemistryModel, Window
from equidrift.models.trajectories.windows import gaps, run_of
from equidrift.records import Molecule, Trajectory


class IntegratorModel(ChemistryModel):
    """The default: a learned Langevin integrator.

    Parameters
    ----------
    temperature_K, friction_per_fs : of the thermostat; None: what the heavy atoms of
        the given frames show, drawn towards the training's if these are few (fewer than
        6 frames: the training's alone), and the training's friction.
    noise : 0 gives the mean path, 1 samples.
    """

    kinds = ("integrator",)
    windowed = False
    min_frames = 2

    def __init__(
        self,
        weights: str,
        *,
        temperature_K: float | None = None,
        friction_per_fs: float | None = None,
        noise: float = 1.0,
        **options: Any,
    ):
        super().__init__(weights, **options)
        if temperature_K is not None and not 0 < temperature_K < 5000:
            raise InputError(f"temperature_K must lie between 0 and 5000, not {temperature_K}")
        if not 0 <= noise <= 1:
            raise InputError(f"noise must lie in 0 (the mean path) .. 1 (samples), not {noise}")
        self.temperature_K, self.noise = temperature_K, noise
        self._fields: dict[tuple[Molecule, str], Force | None] = {}
        self.friction_per_fs = float(
            self.training["friction_per_fs"] if friction_per_fs is None else friction_per_fs
        )

    def field_of(self, molecule: Molecule) -> tuple[str, Force | None]:
        """The level of theory of a molecule, and its force field
        (`Integrator.classical`), made once.
        """
        key = molecule, self.level_of(molecule)
        if key not in self._fields:
            known = fingerprint(molecule) in self.training["known"].get(key[1], ())
            self._fields[key] = cast(Integrator, self.network).classical(
                molecule_graph(*key).to(self.device), known
            )
        return key[1], self._fields[key]

    def _fill(self, graph: Graph, x: Tensor, given: Tensor, window: Window) -> Tensor:
        run = IntegratorRun(self, graph, window.molecule, window.dt_fs, window.seeds)
        out = x.clone()
        for first, last in gaps(given):
            before, after = run_of(given, first - 1, -1), run_of(given, last + 1, +1)
            forward = run.carry(out[:, before], last - first + 1, 0) if before else None
            backward = run.carry(out[:, after], last - first + 1, 1).flip(1) if after else None
            if forward is not None and backward is not None:
                out[:, first : last + 1] = blended(graph, forward, backward)
            else:
                one_sided = forward if forward is not None else backward
                if one_sided is None:
                    raise InputError(
                        f"{self.name} needs given frames beside the gap of frames {first} to {last}"
                    )
                out[:, first : last + 1] = one_sided
            if window.callback is not None:
                window.callback({"frames": last - first + 1})
        return out

    @torch.no_grad()
    def path(
        self, molecule: Molecule, frames_A: Tensor, given: Tensor, spacing_fs: float
    ) -> Tensor:
        """Windows (b, t, n, 3) float64 in A of a molecule, each filled from its own given
        frames (t,); without noise (`noise=0`) each is the mean path.
        """
        graph = molecule_graph(molecule, self.level_of(molecule), len(frames_A)).to(self.device)
        window = Window(spacing_fs, molecule, np.arange(len(frames_A)))
        return self._fill(graph, frames_A.to(self.device), given, window)

    def _fill_atoms(self, graph: Graph, x: Tensor, mask: Tensor, window: Window) -> Tensor:
        run = IntegratorRun(self, graph, window.molecule, window.dt_fs, window.seeds)
        return between(
            run,
            x,
            mask.to(x.device),
            lambda a, b: blended(graph, a, b),
            lambda frames: Guard(graph, frames),
        )

    def refine(
        self, trajectory: Trajectory, seeds: NDArray[np.int64], *, level: float = 0.3
    ) -> NDArray[np.float64]:
        """A coarse trajectory with every frame noised a little and carried downhill by
        the learned force.

        Raises
        ------
        InputError
            for a level outside 0 .. 1, or a single frame.
        """
        positions, centre = self._coarse(trajectory, level, 2)
        out = []
        for seed in np.asarray(seeds).tolist():
            graph = molecule_graph(trajectory.molecule, self.level_of(trajectory.molecule), 1).to(
                self.device
            )
            x = torch.from_numpy(positions)[None].to(self.device)
            run = IntegratorRun(
                self, graph, trajectory.molecule, float(trajectory.dt_fs), np.array([seed])
            )
            out.append(run.refined(x, level)[0].cpu().numpy() + centre)
        return np.stack(out) if out else np.zeros((0, *positions.shape))
