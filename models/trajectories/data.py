"""Trajectories in, tensors out: the graph features of molecules, molecular dynamics of
many molecules in one file, windows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.errors import InputError, UnknownNameError
from equidrift.files.plain import molecule_from_dict, molecule_to_dict
from equidrift.models.shared.graph_codes import ATOM_CODES, ELEMENTS, PAIR_CODES, graph_codes
from equidrift.models.trajectories.arrays.egnn import Rolls
from equidrift.models.trajectories.diffusion.geotdm import FrameBatch
from equidrift.models.trajectories.diffusion.path import PathNetwork, distance
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.integrator.objective import Observations, Segments, Windows
from equidrift.records import Molecule

LEVELS = ("GFN2-xTB", "MMFF94")  # levels of theory of the dynamics; a node feature each
MASSES = (
    1.008,
    10.81,
    12.011,
    14.007,
    15.999,
    18.998,
    28.085,
    30.974,
    32.06,
    35.45,
    79.904,
    126.904,
)  # amu, as ELEMENTS
NODE_FEATURES, EDGE_FEATURES = sum(ATOM_CODES) + len(LEVELS), sum(PAIR_CODES)


@lru_cache(maxsize=512)
def _features(
    molecule: Molecule, level: str
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    if level not in LEVELS:
        raise UnknownNameError("level of theory of a trajectory", level, LEVELS)
    codes = graph_codes(molecule)
    node = np.concatenate(
        [np.eye(size, dtype=np.float32)[codes.atom[:, k]] for k, size in enumerate(ATOM_CODES)], -1
    )
    edge = np.concatenate(
        [np.eye(size, dtype=np.float32)[codes.pair[..., k]] for k, size in enumerate(PAIR_CODES)],
        -1,
    )
    which = np.repeat(
        np.eye(len(LEVELS), dtype=np.float32)[[LEVELS.index(level)]], molecule.n_atoms, 0
    )
    mass = np.array([MASSES[ELEMENTS.index(z)] for z in molecule.numbers.tolist()])
    return np.concatenate([node, which], -1), edge, mass


def molecule_graph(molecule: Molecule, level: str, copies: int = 1) -> Graph:
    """`copies` equal graphs of a molecule: one-hot codes of atoms, pairs and the level
    of theory; masses in amu.
    """
    node, edge, mass = (
        torch.from_numpy(part)[None].expand(copies, *part.shape)
        for part in _features(molecule, level)
    )
    return Graph(node, edge, mass, torch.ones(copies, molecule.n_atoms, dtype=torch.bool))


def fingerprint(molecule: Molecule) -> str:
    """A hash of a molecule's graph that does not depend on the order of its atoms."""
    codes = graph_codes(molecule)
    n = molecule.n_atoms
    rows = [
        codes.atom[i].tobytes()
        + b"".join(
            sorted(codes.pair[i, j].tobytes() + codes.atom[j].tobytes() for j in range(n) if j != i)
        )
        for i in range(n)
    ]
    return hashlib.blake2b(b"".join(sorted(rows)), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Dynamics:
    """Molecular dynamics of one molecule: positions_A (bursts, frames, n, 3), frames
    `spacing_fs` apart, bursts at any distance.

    forces_eV_A : the forces of these frames, where they were kept; noise-free targets,
        and frames may then lie at any distance.
    """

    molecule: Molecule
    positions_A: NDArray[np.float32]
    spacing_fs: float
    level: str
    temperature_K: float
    friction_per_fs: float
    forces_eV_A: NDArray[np.float32] | None = None

    def part(self, start: float, stop: float) -> Dynamics:
        """The share `start` to `stop` of the time, for a time-ordered split."""
        bursts, frames = self.positions_A.shape[:2]
        many = bursts > 1
        some = (
            slice(round(start * bursts), round(stop * bursts))
            if many
            else slice(round(start * frames), round(stop * frames))
        )
        pick = some if many else (slice(None), some)
        forces = None if self.forces_eV_A is None else self.forces_eV_A[pick]
        return replace(self, positions_A=self.positions_A[pick], forces_eV_A=forces)


def save_dynamics(path: str | Path, runs: Sequence[Dynamics]) -> None:
    """Write runs as one npz: a JSON header and the positions, float32, one after the
    other.
    """
    header = [
        {
            "molecule": molecule_to_dict(r.molecule),
            "shape": r.positions_A.shape,
            "spacing_fs": r.spacing_fs,
            "level": r.level,
        }
        | {
            "temperature_K": r.temperature_K,
            "friction_per_fs": r.friction_per_fs,
            "forces": r.forces_eV_A is not None,
        }
        for r in runs
    ]
    temporary = Path(f"{path}.tmp.npz")
    flat = np.concatenate([np.asarray(r.positions_A, np.float32).ravel() for r in runs])
    forces = [
        np.asarray(r.forces_eV_A, np.float32).ravel() for r in runs if r.forces_eV_A is not None
    ]
    np.savez_compressed(
        temporary,
        header=np.array(json.dumps(header)),
        positions_A=flat,
        forces_eV_A=np.concatenate(forces or [flat[:0]]),
    )
    temporary.replace(path)


def load_dynamics(path: str | Path) -> list[Dynamics]:
    """Read what `save_dynamics` wrote. Raises `InputError` for another file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            header, flat = json.loads(str(file["header"][()])), file["positions_A"]
            forces = file["forces_eV_A"] if "forces_eV_A" in file else flat[:0]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{str(path)!r} holds no molecular dynamics of equidrift's ({error}); tools/make_md.py writes such files"
        ) from error
    runs, at, force_at = [], 0, 0
    for entry in header:
        shape, size = entry["shape"], int(np.prod(entry.pop("shape")))
        force = None
        if entry.pop("forces", False):
            force, force_at = forces[force_at : force_at + size].reshape(shape), force_at + size
        positions = flat[at : at + size].reshape(shape)
        runs.append(
            Dynamics(
                molecule_from_dict(entry.pop("molecule")), positions, **entry, forces_eV_A=force
            )
        )
        at += size
    return runs


def load_gfn2_md(folder: str | Path) -> dict[str, Dynamics]:
    """The eight GFN2-MD17 trajectories (0.5 fs, 500 K) of a folder by the molecule's
    name. Raises `InputError` where there is none.
    """
    out = {}
    for path in sorted(Path(folder).glob("*_gfn2_*K.npz")):
        with np.load(path, allow_pickle=False) as file:
            molecule = Molecule.from_smiles(str(file["smiles"][()]), name=path.name.split("_")[0])
            if molecule.numbers.tolist() != file["z"].tolist():
                raise InputError(f"{path} holds atoms in another order than its SMILES")
            out[molecule.name] = Dynamics(
                molecule, file["R"][None], float(file["dt_fs"]), "GFN2-xTB", float(file["T"]), 0.01
            )
    if not out:
        raise InputError(
            f"there are no *_gfn2_*K.npz files in {str(folder)!r}; EQUIDRIFT_DATA/gfn2_md should hold them"
        )
    return out


def drawn(runs: Sequence[tuple[Any, ...]], rng: np.random.Generator) -> tuple[Any, ...]:
    """One of the tuples whose first member is a run: each level of theory equally
    often, then each run of it.
    """
    levels = sorted({entry[0].level for entry in runs})
    level = levels[int(rng.integers(len(levels)))] if len(levels) > 1 else levels[0]
    among = [entry for entry in runs if entry[0].level == level]
    return among[int(rng.integers(len(among)))]


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
            f"a window of {length} frames, every {stride}th, needs more than the {len(positions_A)} frames there are"
        )
    starts = np.linspace(0, last - 1, count).astype(int)
    return np.stack(
        [positions_A[s : s + (length - 1) * stride + 1 : stride] for s in starts]
    ).astype(np.float64)


_HOPS = sum(
    PAIR_CODES[:1]
)  # where the one-hot code of the number of bonds between two atoms begins


def linked(graph: Graph, hops: int) -> torch.Tensor:
    """Pairs (b, n, n) of a molecule's graph that at most `hops` bonds keep apart; an
    atom is not linked with itself.
    """
    return graph.edge[..., _HOPS + 2 : _HOPS + 2 + hops].sum(-1) > 0


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


class PathBatches:
    """Five neighbouring frames of plain-array trajectories, for `path_loss`; the first
    `interpolate_steps` take interpolated paths.
    """

    def __init__(
        self,
        positions: NDArray[np.float64],
        nodes: NDArray[np.float64],
        edges: NDArray[np.float64],
        spacing: float,
        pairs: int,
        seed: int,
        interpolate_steps: int,
        masses: NDArray[np.float64] | None = None,
    ):
        if positions.shape[1] < 5:
            raise InputError(
                f"forces are learned from five neighbouring frames, and there are {positions.shape[1]}; give longer trajectories"
            )
        self.x = torch.from_numpy(np.asarray(positions, np.float64))
        self.graph = array_graph(nodes, edges, masses)
        self.spacing, self.seed, self.interpolate_steps = spacing, seed, interpolate_steps
        self.count = max(2, pairs // positions.shape[2] ** 2)

    def __call__(self, step: int) -> Windows:
        rng = np.random.default_rng([self.seed, step])
        i = torch.from_numpy(rng.integers(len(self.x), size=self.count))
        k = torch.from_numpy(rng.integers(2, self.x.shape[1] - 2, size=self.count))
        frames = torch.stack([self.x[i, k + o] for o in range(-2, 3)], 1)
        return Windows(self.graph[i], frames, self.spacing, step < self.interpolate_steps)


class RollBatches:
    """Consecutive frames of plain-array trajectories, for `step_loss`: one to come in
    the first `single` batches, then `horizon`.
    """

    def __init__(
        self,
        positions: NDArray[np.float64],
        nodes: NDArray[np.float64],
        edges: NDArray[np.float64],
        *,
        pairs: int,
        seed: int,
        single: int,
        horizon: int,
    ):
        if positions.shape[1] < 2 + horizon:
            raise InputError(
                f"a horizon of {horizon} needs trajectories of {2 + horizon} frames, and there are {positions.shape[1]}; lower it"
            )
        self.x, self.graph = (
            torch.from_numpy(np.asarray(positions, np.float64)),
            array_graph(nodes, edges),
        )
        self.seed, self.single, self.horizon = seed, single, horizon
        self.count = max(2, pairs // positions.shape[2] ** 2)

    def __call__(self, step: int) -> Rolls:
        rng = np.random.default_rng([self.seed, step])
        ahead, count = (
            (1, self.count) if step < self.single else (self.horizon, max(2, self.count // 2))
        )
        i = torch.from_numpy(rng.integers(len(self.x), size=count))
        k = torch.from_numpy(rng.integers(self.x.shape[1] - ahead - 1, size=count))
        return Rolls(self.graph[i], torch.stack([self.x[i, k + o] for o in range(ahead + 2)], 1))


def array_graph(
    nodes: NDArray[Any], edges: NDArray[Any], masses: NDArray[Any] | None = None
) -> Graph:
    """The graphs (b, n) of node features (b, n, f) and edge features (b, n, n, e);
    masses (b, n), 1 where not given.
    """
    node, edge = (
        torch.as_tensor(np.asarray(nodes, np.float32)),
        torch.as_tensor(np.asarray(edges, np.float32)),
    )
    mass = (
        torch.ones(node.shape[:2], dtype=torch.float64)
        if masses is None
        else torch.as_tensor(np.asarray(masses, np.float64))
    )
    return Graph(node, edge, mass, torch.ones(node.shape[:2], dtype=torch.bool))


@dataclass
class Source:
    """Windows to train on: `draw(rng, pairs, frames)` gives a graph, frames (b, t, n,
    d) and their clock (t,).
    """

    draw: Callable[[np.random.Generator, int, int], tuple[Graph, torch.Tensor, torch.Tensor]]
    node_features: int
    edge_features: int


def array_source(
    positions: NDArray[Any], nodes: NDArray[Any], edges: NDArray[Any], *, frames: int
) -> Source:
    """Windows of plain-array trajectories (k, t, n, d) at any start; the clock counts
    frames.
    """
    graph, x = array_graph(nodes, edges), torch.from_numpy(np.asarray(positions, np.float32))
    if x.shape[1] < frames:
        raise InputError(
            f"a window has {frames} frames, and the trajectories {x.shape[1]}; set `frames` lower"
        )

    def draw(
        rng: np.random.Generator, pairs: int, length: int
    ) -> tuple[Graph, torch.Tensor, torch.Tensor]:
        count = max(2, pairs // (x.shape[2] ** 2 * length))
        i, start = (
            torch.from_numpy(rng.integers(len(x), size=count)),
            int(rng.integers(x.shape[1] - length + 1)),
        )
        return graph[i], x[i, start : start + length], torch.arange(length, dtype=torch.float32)

    return Source(draw, nodes.shape[-1], edges.shape[-1])


def dynamics_source(runs: Sequence[Dynamics], *, stride: int, frames: int) -> Source:
    """Windows of every `stride`-th frame of molecular dynamics, one molecule per batch;
    the clock is in units of 5 fs.
    """
    usable = [r for r in runs if r.positions_A.shape[1] > (frames - 1) * stride]
    if not usable:
        raise InputError(
            f"no run has {frames} frames at stride {stride}; set `frames` or `stride` lower"
        )

    def draw(
        rng: np.random.Generator, pairs: int, length: int
    ) -> tuple[Graph, torch.Tensor, torch.Tensor]:
        run = usable[int(rng.integers(len(usable)))]
        bursts, total, n, _ = run.positions_A.shape
        count = max(2, pairs // (n * n * length))
        burst, start = (
            rng.integers(bursts, size=count),
            rng.integers(total - (length - 1) * stride, size=count),
        )
        x = np.stack([run.positions_A[burst, start + k * stride] for k in range(length)], 1)
        x = x - x.mean((1, 2), keepdims=True)
        graph = molecule_graph(run.molecule, run.level, count)
        graph.linked = linked(graph, 3)
        return (
            graph,
            torch.from_numpy(x),
            torch.arange(length, dtype=torch.float32) * (stride * run.spacing_fs / 5.0),
        )

    return Source(draw, NODE_FEATURES, EDGE_FEATURES)


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

    def __call__(self, step: int) -> FrameBatch:
        rng = np.random.default_rng([self.seed, step])
        graph, x, clock = self.source.draw(rng, self.pairs, self.frames)
        return FrameBatch(
            graph,
            x * self.scale,
            clock,
            torch.from_numpy(self.mask(rng)),
            int(rng.integers(2**31)),
            step,
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
            )[1]
            squares.append(float((x - x.mean((1, 2), keepdim=True)).square().mean()))
        return float(np.sqrt(np.mean(squares))) or 1.0

    def spread(self, network: PathNetwork) -> torch.Tensor:
        """The deviation (frames,) of residuals from the prior path at each distance
        from a given frame, over some batches.
        """
        total, count = torch.zeros(len(network.spread)), torch.zeros(len(network.spread))
        for step in range(48):
            batch = self(step)
            residual = (
                (batch.frames - network.anchors(batch.frames, batch.given)).square().mean((0, 2, 3))
            )
            place = distance(batch.given).clamp_max(len(total) - 1)
            total.index_add_(0, place, residual)
            count.index_add_(0, place, torch.ones(len(place)))
        found = (total / count.clamp_min(1)).sqrt()
        last = 1.0
        for k in range(1, len(found)):  # a distance that never came takes the one before it
            last = float(found[k]) if count[k] else last
            found[k] = max(last, 1e-6)
        found[0] = 1.0
        return found
