"""What trajectory models are trained on: seeded batches of frames of molecules and of
plain arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.trajectories.arrays.egnn import Rolls
from equidrift.models.trajectories.arrays.inputs import Arrays
from equidrift.models.trajectories.diffusion.frames import FrameBatch
from equidrift.models.trajectories.diffusion.path import PathNetwork, distance
from equidrift.models.trajectories.dynamics import Dynamics, drawn
from equidrift.models.trajectories.graphs import molecule_graph
from equidrift.models.trajectories.integrator.objective import Observations, Segments, Windows
from equidrift.models.trajectories.sources import PriorPath, Source

# batches whose windows have the integrator's mean path, before they come again
PATHS = 2048


class SegmentBatches:
    """Batch number `step` of an endless, seeded sequence of short runs of consecutive
    frames, one molecule per batch.

    pairs : pairs of atoms in a batch, so that batches cost the same; step_fs : wanted
        between frames; half : frames on either side of the middle one, fewer where a
        burst is shorter.
    """

    def __init__(
        self, runs: Sequence[Dynamics], *, pairs: int, seed: int, step_fs: float, half: int = 10
    ):
        self.pairs, self.seed, self.runs = pairs, seed, []
        for run in runs:
            stride = max(1, round(step_fs / run.spacing_fs))
            fits = min(half, (run.positions_A.shape[1] - 1) // (2 * stride))
            self.runs += [(run, stride, fits)] if fits else []
        if not self.runs:
            raise InputError(
                "no run has three frames at the step asked for; give trajectories with more frames"
            )

    def __call__(self, step: int) -> Segments:
        """The batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        run, stride, half = drawn(self.runs, rng)
        bursts, frames, n, _ = run.positions_A.shape
        count = max(1, self.pairs // (n * n * (2 * half - 1)))
        burst, start = (
            rng.integers(bursts, size=count),
            rng.integers(frames - 2 * half * stride, size=count),
        )
        x = np.stack(
            [run.positions_A[burst, start + k * stride] for k in range(2 * half + 1)], 1
        ).astype(np.float64)
        graph = molecule_graph(run.molecule, run.level, count)
        return Segments(graph, torch.from_numpy(x), stride * run.spacing_fs, run.friction_per_fs)


def windows(positions_A: NDArray[Any], length: int, stride: int, count: int) -> NDArray[np.float64]:
    """`count` windows (count, length, n, 3) of every `stride`-th frame of a trajectory
    (frames, n, 3), their starts equally spaced.

    Raises
    ------
    InputError
        where the trajectory is shorter than a window.
    """
    last = len(positions_A) - (length - 1) * stride
    if last < 1:
        raise InputError(
            f"a window of {length} frames, every {stride}th, needs more than the "
            f"{len(positions_A)} frames there are"
        )
    starts = np.linspace(0, last - 1, count).astype(int)
    return np.stack(
        [positions_A[s : s + (length - 1) * stride + 1 : stride] for s in starts]
    ).astype(np.float64)


class ObservationBatches:
    """Ten frames at a random spacing of 3 to 12 fs, with the velocities of the half
    step before each, one molecule per batch.
    """

    LENGTH = 8

    def __init__(self, runs: Sequence[Dynamics], *, pairs: int, seed: int, step_fs: float):
        self.pairs, self.seed = pairs, seed
        self.runs = []
        for run in runs:
            inner = max(1, round(step_fs / run.spacing_fs))
            strides = [s for s in range(1, 25) if 3.0 <= s * run.spacing_fs <= 12.0 and s >= inner]
            strides = [
                s for s in strides if run.positions_A.shape[1] > inner + (self.LENGTH - 1) * s
            ]
            self.runs += [(run, strides, inner)] if strides else []

    def __len__(self) -> int:
        return len(self.runs)

    def __call__(self, step: int) -> Observations:
        """The batch of a step."""
        rng = np.random.default_rng([self.seed, step, 1])
        run, strides, inner = drawn(self.runs, rng)
        usual = round(5.0 / run.spacing_fs)  # half of the batches: the spacing of GFN2-MD17
        stride = usual if usual in strides and rng.random() < 0.5 else int(rng.choice(strides))
        bursts, frames, n, _ = run.positions_A.shape
        count = max(2, self.pairs // (n * n))
        burst, start = (
            rng.integers(bursts, size=count),
            rng.integers(inner, frames - (self.LENGTH - 1) * stride, size=count),
        )
        x = np.stack(
            [run.positions_A[burst, start + k * stride] for k in range(self.LENGTH)], 1
        ).astype(np.float64)
        before = np.stack(
            [run.positions_A[burst, start + k * stride - inner] for k in range(self.LENGTH)], 1
        )
        v = (x - before) / (inner * run.spacing_fs)
        graph = molecule_graph(run.molecule, run.level, count)
        return Observations(
            graph, torch.from_numpy(x), torch.from_numpy(v), stride * run.spacing_fs
        )


class ArrayBatches:
    """Plain-array trajectories, of which a batch takes `pairs` pairs of nodes."""

    def __init__(self, arrays: Arrays, *, pairs: int, seed: int):
        self.x = torch.from_numpy(np.asarray(arrays.x, np.float64))
        self.graph = arrays.graph()
        self.spacing, self.seed = arrays.spacing, seed
        self.count = max(2, pairs // arrays.x.shape[2] ** 2)


class PathBatches(ArrayBatches):
    """Five neighbouring frames of plain-array trajectories, for `path_loss`; the first
    `interpolate_steps` take interpolated paths.
    """

    def __init__(self, arrays: Arrays, *, interpolate_steps: int, **batch: int):
        super().__init__(arrays, **batch)
        if self.x.shape[1] < 5:
            raise InputError(
                "forces are learned from five neighbouring frames, and there are "
                f"{self.x.shape[1]}; give longer trajectories"
            )
        self.interpolate_steps = interpolate_steps

    def __call__(self, step: int) -> Windows:
        """The batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        i = torch.from_numpy(rng.integers(len(self.x), size=self.count))
        k = torch.from_numpy(rng.integers(2, self.x.shape[1] - 2, size=self.count))
        frames = torch.stack([self.x[i, k + o] for o in range(-2, 3)], 1)
        return Windows(self.graph[i], frames, self.spacing, step < self.interpolate_steps)


class RollBatches(ArrayBatches):
    """Consecutive frames of plain-array trajectories, for `step_loss`: one to come in
    the first `single` batches, then `horizon`.
    """

    def __init__(self, arrays: Arrays, *, single: int, horizon: int, **batch: int):
        super().__init__(arrays, **batch)
        if self.x.shape[1] < 2 + horizon:
            raise InputError(
                f"a horizon of {horizon} needs trajectories of {2 + horizon} frames, and there "
                f"are {self.x.shape[1]}; lower it"
            )
        self.single, self.horizon = single, horizon

    def __call__(self, step: int) -> Rolls:
        """The batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        ahead, count = (
            (1, self.count) if step < self.single else (self.horizon, max(2, self.count // 2))
        )
        i = torch.from_numpy(rng.integers(len(self.x), size=count))
        k = torch.from_numpy(rng.integers(self.x.shape[1] - ahead - 1, size=count))
        return Rolls(self.graph[i], torch.stack([self.x[i, k + o] for o in range(ahead + 2)], 1))


class FrameBatches:
    """Batch number `step` of an endless, seeded sequence of windows with masks.

    given : "forecast", the first `context` frames; "none"; or "any": forecasts, both
        ends, every k-th frame and random frames in turn.
    """

    def __init__(
        self, source: Source, *, frames: int, context: int, given: str, pairs: int, seed: int
    ):
        self.source, self.frames, self.context, self.given, self.pairs, self.seed = (
            source,
            frames,
            context,
            given,
            pairs,
            seed,
        )
        self.scale = 1.0
        self.prior: PriorPath | None = None
        self._paths: dict[int, torch.Tensor] = {}

    def __call__(self, step: int) -> FrameBatch:
        """The batch of a step."""
        if self.prior is not None:
            return self._on_mean_path(step, self.prior)
        rng = np.random.default_rng([self.seed, step])
        drawn = self.source.draw(rng, self.pairs, self.frames)
        mask, seed = torch.from_numpy(self.mask(rng)), int(rng.integers(2**31))
        return FrameBatch(
            drawn.graph, drawn.frames * self.scale, drawn.clock, mask, seed=seed, step=step
        )

    def _on_mean_path(self, step: int, prior: PriorPath) -> FrameBatch:
        """The batch of a step with the integrator's path. Paths cost as much as the rest of
        a training step: the windows and their paths come again after `PATHS` steps, with
        new noise each time.
        """
        place = step % PATHS
        rng = np.random.default_rng([self.seed, place])
        drawn = self.source.draw(rng, self.pairs, self.frames)
        mask = torch.from_numpy(self.mask(rng))
        if place not in self._paths:
            self._paths[place] = prior(drawn, mask).float()
        seed = int(np.random.default_rng([self.seed, step, 3]).integers(2**31))
        path = self._paths[place] * self.scale
        return FrameBatch(
            drawn.graph,
            drawn.frames * self.scale,
            drawn.clock,
            mask,
            seed=seed,
            step=step,
            path=path,
        )

    def mask(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Which frames are given."""
        t = np.arange(self.frames)
        kind = (
            self.given
            if self.given != "any"
            else str(rng.choice(["forecast", "ends", "every", "random"], p=[0.5, 0.2, 0.15, 0.15]))
        )
        if kind == "forecast":
            return t < min(self.context, self.frames - 1)
        if kind == "ends":
            edge = max(1, min(self.context // 2, (self.frames - 1) // 2))
            return (t < edge) | (t >= self.frames - edge)
        if kind == "every":
            return t % int(rng.integers(2, 6)) == 0
        return (
            np.zeros(self.frames, bool)
            if kind == "none"
            else rng.permutation(self.frames) < max(2, self.frames // 3)
        )

    def length(self) -> float:
        """The root mean square distance of the nodes from the window's mean, over some
        batches: the unit of length.
        """
        squares = []
        for step in range(8):
            x = self.source.draw(
                np.random.default_rng([self.seed, step, 2]), self.pairs, self.frames
            ).frames
            squares.append(float((x - x.mean((1, 2), keepdim=True)).square().mean()))
        return float(np.sqrt(np.mean(squares))) or 1.0

    @torch.no_grad()
    def spread(self, network: PathNetwork[Any]) -> torch.Tensor:
        """The deviation (frames,) of residuals from the prior path at each distance
        from a given frame, over some batches.
        """
        total, count = torch.zeros_like(network.spread), torch.zeros_like(network.spread)
        for step in range(48):
            batch = self(step)
            batch = batch.at_rest(batch.drift()) if network.config.comoving else batch
            residual = (batch.frames - network.line(batch)).square().mean((0, 2, 3))
            place = distance(batch.given).clamp_max(len(total) - 1)
            total.index_add_(0, place, residual)
            count.index_add_(0, place, torch.ones_like(total[place]))
        found = (total / count.clamp_min(1)).sqrt()
        last = 1.0
        for k in range(1, len(found)):  # a distance that never came takes the one before it
            last = float(found[k]) if count[k] else last
            found[k] = max(last, 1e-6)
        found[0] = 1.0
        return found
