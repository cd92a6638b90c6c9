"""What the trajectory models of molecules share: weights, graph, windows and chains (A,
fs, K).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError, UnknownNameError, WeightsError
from equidrift.models.shared.run import load_network
from equidrift.models.trajectories.atom_masks import check_mask, conformer_frame
from equidrift.models.trajectories.data import ELEMENTS, fingerprint, molecule_graph
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.integrator.run import CONTEXT
from equidrift.models.trajectories.networks import Network, make_network
from equidrift.models.trajectories.windows import continuation, with_blank
from equidrift.protocols import Callback, TrajectoryModel
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


class ChemistryModel(TrajectoryModel):
    """What the trajectory models of molecules share: weights, the graph, windows and
    chains.

    Parameters
    ----------
    weights : name of a shipped model, or the path of a card or safetensors file that
        `equidrift train` wrote.
    level : level of theory of the dynamics, one of `LEVELS`. None: the one whose
        training held this molecule, else the one that was trained on most molecules.
    device : torch device; None is CUDA where there is one, else the CPU.
    """

    elements = ELEMENTS
    max_atoms = 200
    min_frames = 1
    window = 30  # frames of one call of `complete` in a chain
    kinds: tuple[str, ...] = ()
    windowed = True  # all frames of a window are drawn at once; otherwise one after the other, from a whole one

    def __init__(
        self, weights: str, *, level: str | None = None, device: str | torch.device | None = None
    ):
        network, self.card = load_network(weights, "trajectory", make_network)
        if (kind := self.card["config"]["kind"]) not in self.kinds:
            raise WeightsError(
                f"{weights} is a trajectory model of kind {kind!r}, expected kind {' or '.join(self.kinds)}"
            )
        self.training = dict(
            self.card["training"]
        )  # spacing_fs, temperature_K, friction_per_fs, length_A, levels
        if level is not None and level not in self.training["levels"]:
            raise UnknownNameError("level of theory of this model", level, self.training["levels"])
        self.level = level
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network: Network = network.to(self.device)
        self.name = str(self.card["name"])
        self.weights_sha256 = str(self.card["sha256"])
        self.dt_range_fs: tuple[float, float] = tuple(self.training["spacing_fs"])

    def complete(
        self,
        trajectory: Trajectory,
        given: NDArray[np.bool_],
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> NDArray[np.float64]:
        """Samples (len(seeds), n_frames, n_atoms, 3) with the given frames as they
        came; see `protocols.TrajectoryModel`.

        given : (n_frames,), or (n_frames, n_atoms) where some atoms are known in some
            frames (`atom_masks`).

        Raises
        ------
        InputError
            where fewer frames are given than the model needs, or frames that are marked
            as given are not finite.
        """
        given = np.asarray(given, bool)
        if (
            given.ndim == 2
            and given.shape == np.shape(trajectory.positions_A)[:2]
            and (given.all(1) == given.any(1)).all()
        ):
            given = np.asarray(given.all(axis=1))
        if given.ndim == 2:
            return self._complete_atoms(trajectory, given, np.asarray(seeds, np.int64), steps)
        if int(given.sum()) < self.min_frames:
            raise InputError(
                f"{self.name} needs {self.min_frames} given frames, and there are {int(given.sum())}; give more"
            )
        known = np.array(trajectory.positions_A, np.float64)
        if not np.isfinite(known[given]).all():
            raise InputError(
                "frames marked as given hold NaN or infinity; mark them as not given, or mend them"
            )
        known[~given] = 0.0
        centre = known[given].mean((0, 1)) if given.any() else np.zeros(3)
        x = torch.from_numpy(np.where(given[:, None, None], known - centre, 0.0)).to(self.device)
        made = []
        frames_at_once = len(x) if self.windowed else 1
        group = max(1, PAIRS_PER_BATCH // trajectory.molecule.n_atoms**2 // frames_at_once)
        for start in range(0, len(seeds), group):
            part = np.asarray(seeds[start : start + group], np.int64)
            graph = molecule_graph(
                trajectory.molecule, self.level_of(trajectory.molecule), len(part)
            ).to(self.device)
            window = Window(float(trajectory.dt_fs), trajectory.molecule, part, steps, callback)
            out = self._fill(
                graph, x[None].expand(len(part), -1, -1, -1), torch.from_numpy(given), window
            )
            made.append(out.cpu().double().numpy() + centre)
        samples = np.concatenate(made) if made else np.zeros((0, *known.shape))
        samples[:, given] = np.asarray(trajectory.positions_A)[given]
        return samples

    def _complete_atoms(
        self,
        trajectory: Trajectory,
        given: NDArray[np.bool_],
        seeds: NDArray[np.int64],
        steps: int | None,
    ) -> NDArray[np.float64]:
        """`complete` where single atoms are given; one sample at a time where its first
        whole frame is its own.
        """
        known = check_mask(trajectory, given)
        if not self.windowed and not given.all(1).any():
            fullest = int(given.sum(1).argmax())
            made = []
            for seed in seeds.tolist():
                frames, mask = np.array(trajectory.positions_A, np.float64), given.copy()
                frames[fullest] = conformer_frame(
                    trajectory.molecule, frames[fullest], given[fullest], int(seed)
                )
                mask[fullest] = True
                made.append(
                    self._complete_atoms(
                        trajectory.replace(positions_A=frames),
                        mask,
                        np.array([seed], np.int64),
                        steps,
                    )[0]
                )
            return np.array(made, np.float64).reshape(len(seeds), *known.shape)
        centre = known[given].mean(0)
        x = torch.from_numpy(np.where(given[..., None], known - centre, 0.0)).to(self.device)
        graph = molecule_graph(
            trajectory.molecule, self.level_of(trajectory.molecule), len(seeds)
        ).to(self.device)
        window = Window(float(trajectory.dt_fs), trajectory.molecule, seeds, steps)
        with torch.no_grad():
            out = self._fill_atoms(
                graph, x[None].expand(len(seeds), -1, -1, -1), torch.from_numpy(given), window
            )
        samples: NDArray[np.float64] = out.cpu().double().numpy() + centre
        samples[:, given] = np.asarray(trajectory.positions_A)[given]
        return samples

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

    def continue_(
        self,
        trajectory: Trajectory,
        n_frames: int,
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Trajectory]:
        """The n_frames after a trajectory, one Trajectory per seed: windows over
        `complete`, chained.
        """
        made = []
        for seed in np.asarray(seeds).tolist():
            frames, link = np.array(trajectory.positions_A[-CONTEXT:]), 0
            had = len(frames)
            while len(frames) - had < n_frames:
                head = frames[-CONTEXT:]
                new = min(max(1, self.window - len(head)), n_frames - (len(frames) - had))
                part, mask = with_blank(trajectory, head, new)
                stream = np.array([link_seed(seed, link)], np.int64)
                frames = np.concatenate(
                    [
                        frames,
                        self.complete(part, mask, stream, steps=steps, callback=callback)[
                            0, len(head) :
                        ],
                    ]
                )
                link += 1
            made.append(frames[had:])
        return self._after(trajectory, made, seeds)

    def _after(
        self, trajectory: Trajectory, made: Iterable[NDArray[np.float64]], seeds: NDArray[np.int64]
    ) -> list[Trajectory]:
        """New frames (n_frames, n, 3) of each seed as what comes after a trajectory."""
        common = {"model": self.name, "weights_sha256": self.card["sha256"], "exact": False}
        return [
            continuation(trajectory, x, common | {"seed": int(seed)})
            for x, seed in zip(made, np.asarray(seeds))
        ]

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
                f"refine needs {least_frames} frames or more, all of them finite; fill gaps by interpolation first"
            )
        centre = positions.mean((0, 1))
        return positions - centre, centre


def link_seed(seed: int, link: int) -> int:
    """The seed of a link of a chain; the first link's is the sample's own."""
    return (
        int(seed)
        if link == 0
        else int(np.random.SeedSequence([int(seed), link]).generate_state(1, np.uint64)[0] >> 1)
    )
