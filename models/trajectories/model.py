"""What the trajectory models of molecules share: weights, graph, windows and chains (A,
fs, K).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError, UnknownNameError, WeightsError
from equidrift.models.shared.devices import Device, batch_size, pick_device
from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.shared.run import load_network
from equidrift.models.trajectories.atom_masks import check_mask, conformer_frame
from equidrift.models.trajectories.graphs import fingerprint, molecule_graph
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.networks import Network, make_network
from equidrift.models.trajectories.task import Task, TaskModel
from equidrift.models.trajectories.windows import CONTEXT, with_blank
from equidrift.protocols import Callback
from equidrift.records import Molecule, Trajectory

PAIRS_PER_BATCH = 100_000  # n x n x samples: bounds the memory of a call


@dataclass(frozen=True)
class Window:
    """What a model is asked to fill, beside the frames: time between frames, molecule,
    a seed per sample, steps.
    """

    dt_fs: float
    molecule: Molecule
    seeds: NDArray[np.int64]
    steps: int | None = None
    callback: Callback | None = None


Fill = Callable[[Graph, Tensor, Tensor, Window], Tensor]


def with_whole_frame(task: Task, seed: int) -> Task:
    """The task of one seed, the frame with most given atoms completed."""
    fullest = int(task.given.sum(1).argmax())
    frames, mask = np.array(task.trajectory.positions_A, np.float64), task.given.copy()
    molecule = task.trajectory.molecule
    frames[fullest] = conformer_frame(molecule, frames[fullest], mask[fullest], seed)
    mask[fullest] = True
    trajectory = task.trajectory.replace(positions_A=frames)
    seeds = np.array([seed], np.int64)
    return replace(task, trajectory=trajectory, given=mask, seeds=seeds, callback=None)


class ChemistryModel(TaskModel):
    """What the trajectory models of molecules share: weights, the graph, windows and
    chains.

    Parameters
    ----------
    weights : name of a shipped model, or the path of a card or safetensors file that
        `equidrift train` wrote.
    level : level of theory of the dynamics, one of `MD_LEVELS`. None: the one whose
        training held this molecule, else the one that was trained on most molecules.
    device : torch device; None is CUDA where there is one, else the CPU.
    """

    elements = ELEMENTS
    max_atoms = 200
    min_frames = 1
    window = 30  # frames of one call of `complete` in a chain
    kinds: tuple[str, ...] = ()
    # all frames of a window are drawn at once; otherwise one after the other, from a whole one
    windowed = True

    def __init__(self, weights: str, *, level: str | None = None, device: Device = None):
        network, self.card = load_network(weights, "trajectory", make_network)
        if (kind := self.card["config"]["kind"]) not in self.kinds:
            raise WeightsError(
                f"{weights} is a trajectory model of kind {kind!r}, expected kind "
                f"{' or '.join(self.kinds)}"
            )
        # spacing_fs, temperature_K, friction_per_fs, length_A, levels
        self.training = dict(self.card["training"])
        if level is not None and level not in self.training["levels"]:
            raise UnknownNameError("level of theory of this model", level, self.training["levels"])
        self.level = level
        self.device = pick_device(device)
        self.network: Network = network.to(self.device)
        self.name = str(self.card["name"])
        self.weights_sha256 = str(self.card["sha256"])
        self.dt_range_fs: tuple[float, float] = tuple(self.training["spacing_fs"])

    def _completed(self, task: Task) -> NDArray[np.float64]:
        given = task.given
        if given.ndim == 2 and given.shape == np.shape(task.trajectory.positions_A)[:2]:
            whole = given.all(axis=1)
            if (whole == given.any(axis=1)).all():
                task = replace(task, given=np.asarray(whole))
        by_atoms = task.given.ndim == 2
        return self._complete_atoms(task) if by_atoms else self._complete_frames(task)

    def _complete_frames(self, task: Task) -> NDArray[np.float64]:
        """`complete` where whole frames are given."""
        given, molecule = task.given, task.trajectory.molecule
        self._check_enough(given)
        known = np.array(task.trajectory.positions_A, np.float64)
        if not np.isfinite(known[given]).all():
            raise InputError(
                "frames marked as given hold NaN or infinity; mark them as not given, or mend them"
            )
        known[~given] = 0.0
        centre = known[given].mean((0, 1)) if given.any() else np.zeros(3)
        x = np.where(given[:, None, None], known - centre, 0.0)
        frames_at_once = len(x) if self.windowed else 1
        pairs = batch_size(PAIRS_PER_BATCH, self.device)
        group = max(1, pairs // molecule.n_atoms**2 // frames_at_once)
        made = [
            self._filled(task, x, task.seeds[k : k + group], self._fill)
            for k in range(0, len(task.seeds), group)
        ]
        samples = np.concatenate(made) + centre if made else np.zeros((0, *known.shape))
        return task.with_given(samples)

    def _filled(
        self, task: Task, x: NDArray[np.float64], seeds: NDArray[np.int64], fill: Fill
    ) -> NDArray[np.float64]:
        """Frames (len(seeds), t, n, 3) in one batch for known ones x (t, n, 3)."""
        molecule = task.trajectory.molecule
        graph = molecule_graph(molecule, self.level_of(molecule), len(seeds)).to(self.device)
        window = Window(float(task.trajectory.dt_fs), molecule, seeds, task.steps, task.callback)
        frames = torch.from_numpy(x).to(self.device)[None].expand(len(seeds), -1, -1, -1)
        with torch.no_grad():
            out = fill(graph, frames, torch.from_numpy(task.given), window)
        made: NDArray[np.float64] = out.cpu().double().numpy()
        return made

    def _complete_atoms(self, task: Task) -> NDArray[np.float64]:
        """`complete` where single atoms are given; one sample at a time where its first
        whole frame is its own.
        """
        given, known = task.given, check_mask(task.trajectory, task.given)
        if not self.windowed and not given.all(1).any():
            made = [self._complete_atoms(with_whole_frame(task, int(s)))[0] for s in task.seeds]
            return np.array(made, np.float64).reshape(len(made), *known.shape)
        centre = known[given].mean(0)
        x = np.where(given[..., None], known - centre, 0.0)
        return task.with_given(self._filled(task, x, task.seeds, self._fill_atoms) + centre)

    def _fill_atoms(self, graph: Graph, x: Tensor, mask: Tensor, window: Window) -> Tensor:
        """Frames (b, t, n, 3) for atoms known in x where mask (t, n)."""
        raise NotImplementedError

    def level_of(self, molecule: Molecule) -> str:
        """The level of theory whose dynamics a molecule gets."""
        if self.level is not None:
            return self.level
        found = fingerprint(molecule)
        known = [level for level, prints in self.training["known"].items() if found in prints]
        return (
            known[0]
            if known
            else max(
                self.training["levels"], key=lambda level: int(self.training["molecules"][level])
            )
        )

    def _fill(self, graph: Graph, x: Tensor, given: Tensor, window: Window) -> Tensor:
        """Frames (b, t, n, 3) for given ones in x (b, t, n, 3)."""
        raise NotImplementedError

    def _following(self, task: Task, n_frames: int) -> Iterable[NDArray[np.float64]]:
        """New frames (n_frames, n, 3) for each seed: windows, chained, if `windowed`."""
        if not self.windowed:
            return super()._following(task, n_frames)
        return [self._chained(task, n_frames, seed) for seed in task.seeds.tolist()]

    def _chained(self, task: Task, n_frames: int, seed: int) -> NDArray[np.float64]:
        """New frames (n_frames, n, 3) of one seed, window after window."""
        frames, link = np.array(task.trajectory.positions_A[-CONTEXT:]), 0
        had = len(frames)
        while len(frames) - had < n_frames:
            head = frames[-CONTEXT:]
            new = min(max(1, self.window - len(head)), n_frames - (len(frames) - had))
            part, mask = with_blank(task.trajectory, head, new)
            stream = np.array([link_seed(seed, link)], np.int64)
            made = self.complete(part, mask, stream, steps=task.steps, callback=task.callback)
            frames = np.concatenate([frames, made[0, len(head) :]])
            link += 1
        return frames[had:]

    def _coarse(
        self, trajectory: Trajectory, level: float, least_frames: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(positions (t, n, 3) about their centre, the centre (3,)) of a trajectory to
        be refined.

        Raises
        ------
        InputError
            for a level outside 0 .. 1, too few frames, or frames that are not finite.
        """
        if not 0 < level <= 1:
            raise InputError(f"level must lie above 0 and up to 1, not {level}")
        positions = np.asarray(trajectory.positions_A, np.float64)
        if len(positions) < least_frames or not np.isfinite(positions).all():
            raise InputError(
                f"refine needs {least_frames} frames or more, all of them finite; fill gaps by "
                "interpolation first"
            )
        centre = positions.mean((0, 1))
        return positions - centre, centre


def link_seed(seed: int, link: int) -> int:
    """The seed of a link of a chain; the first link's is the sample's own."""
    return (
        int(seed)
        if link == 0
        else int(np.random.SeedSequence([int(seed), link]).generate_state(1, np.uint64)[0]) >> 1
    )
