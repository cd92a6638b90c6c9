"""Molecules and frames in, index arrays and batches out: what the torsion network
reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.graph import Graph
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.graph_codes import graph_codes
from equidrift.models.torsions.series import pair_index
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree, rotatable_bonds

MAX_HOPS = 3  # bonds between atoms that exchange messages
MAX_PATH = 6  # bonds between the near ends of two torsions that are coupled


@dataclass(frozen=True, eq=False)
class TorsionGraph:
    """The tables of one molecule and its tree.

    Edges are ordered pairs of atoms up to three bonds apart whose distance no torsion
    changes. Singles are atoms a-j-k-b for every substituent a and b of each rotatable
    bond j-k. Pairs are atoms a-q-p-next of one torsion and of the other, for every
    substituent a at the ends q that face away, with p the near ends and `next` the first
    atom on the way to the other bond.
    """

    tree: TorsionTree
    atom_codes: NDArray[np.int64]  # (n, 7), see `graph_codes`
    edges: NDArray[np.int64]  # (e, 2)
    edge_codes: NDArray[np.int64]  # (e, 4)
    singles: NDArray[np.int64]  # (s, 4)
    single_of: NDArray[np.int64]  # (s,) the torsion of each
    pairs: NDArray[np.int64]  # (r, 8)
    pair_of: NDArray[np.int64]  # (r,) index among `series.pair_index`
    path: NDArray[np.int64]  # (r,) bonds between the two

    @classmethod
    def of(cls, molecule: Molecule, tree: TorsionTree) -> TorsionGraph:
        """Of a molecule and the tree of its torsions."""
        codes, graph = graph_codes(molecule), Graph(molecule.n_atoms, molecule.bonds)
        hops = codes.pair[:, :, 1].astype(int) - 1
        near = (hops >= 1) & (hops <= MAX_HOPS) & ~_moving_pairs(tree)
        edges = np.argwhere(near)
        singles, single_of = [], []
        for t, (_, j, k, _) in enumerate(tree.atoms.tolist()):
            for a in graph.neighbours[j]:
                for b in graph.neighbours[k]:
                    if a != k and b != j:
                        singles.append((a, j, k, b))
                        single_of.append(t)
        pairs, pair_of, path = [], [], []
        for index, (s, t) in enumerate(zip(*pair_index(tree.n_torsions), strict=True)):
            way = _way(graph, tree.atoms[s, 1:3].tolist(), tree.atoms[t, 1:3].tolist())
            if len(way) - 3 > MAX_PATH:
                continue
            q1, p1, next1, next2, p2, q2 = way[0], way[1], way[2], way[-3], way[-2], way[-1]
            for a in graph.neighbours[q1]:
                for b in graph.neighbours[q2]:
                    if a != p1 and b != p2:
                        pairs.append((a, q1, p1, next1, b, q2, p2, next2))
                        pair_of.append(index)
                        path.append(len(way) - 3)
        return cls(
            tree,
            codes.atom.astype(np.int64),
            edges,
            codes.pair[edges[:, 0], edges[:, 1]].astype(np.int64),
            np.array(singles, np.int64).reshape(-1, 4),
            np.array(single_of, np.int64),
            np.array(pairs, np.int64).reshape(-1, 8),
            np.array(pair_of, np.int64),
            np.array(path, np.int64),
        )


def _moving_pairs(tree: TorsionTree) -> NDArray[np.bool_]:
    """(n, n) whether turning changes the distance of two atoms: they lie off the axis
    on either side of a rotatable bond.
    """
    out = np.zeros((tree.n_atoms, tree.n_atoms), bool)
    for moved, (_, fixed, turned, _) in zip(tree.moved, tree.atoms.tolist(), strict=True):
        inner, outer = np.zeros(tree.n_atoms, bool), np.ones(tree.n_atoms, bool)
        inner[moved] = True
        outer[moved] = False
        outer[[fixed, turned]] = False
        out |= np.outer(inner, outer) | np.outer(outer, inner)
    return out


def _way(graph: Graph, first: Sequence[int], second: Sequence[int]) -> list[int]:
    """Atoms from the far end of one bond to the far end of another, both bonds
    included; three where they share an atom.
    """
    best: list[int] = []
    for start in first:
        before = {start: -1}
        queue = [start]
        for i in queue:
            for j in graph.neighbours[i]:
                if j not in before:
                    before[j] = i
                    queue.append(j)
        for end in second:
            way = [end]
            while before[way[-1]] >= 0:
                way.append(before[way[-1]])
            best = way[::-1] if len(way) > len(best) else best
    return best


@dataclass(frozen=True, eq=False)
class FrameBatch(Batched):
    """Frames of molecules with the same number of torsions, one after the other."""

    n_torsions: int
    n_frames: int
    atom_codes: Tensor  # (atoms, 7)
    positions_A: Tensor  # (atoms, 3)
    edges: Tensor  # (2, e)
    edge_codes: Tensor  # (e, 4)
    reference: Tensor  # (4, frames * m) atoms that the torsions are measured by
    singles: Tensor  # (4, s)
    single_of: Tensor  # (s,) index into frames * m
    pairs: Tensor  # (8, r)
    pair_of: Tensor  # (r,) index into frames * m (m - 1) / 2
    path: Tensor  # (r,)
    frame_of_single: Tensor
    frame_of_pair: Tensor
    log_kT: Tensor  # (frames,) log of kT over that at 300 K
    seed: int = 0  # of the noise that training adds

    def __len__(self) -> int:
        return self.n_frames


KT_300_EV = 0.025852


def make_batch(
    graphs: Sequence[TorsionGraph],
    positions_A: Sequence[Floats],
    kT_eV: Sequence[float],
    seed: int = 0,
) -> FrameBatch:
    """One batch of frames: graphs[k] with positions_A[k] (n_k, 3)."""
    m = graphs[0].tree.n_torsions
    shifts = np.cumsum([0, *(len(g.atom_codes) for g in graphs[:-1])]).tolist()
    p = m * (m - 1) // 2

    def joined(name: str, step: Sequence[int]) -> Tensor:
        return torch.from_numpy(
            np.ascontiguousarray(
                np.concatenate([getattr(g, name) + s for g, s in zip(graphs, step, strict=True)]).T
            )
        )

    frames = range(len(graphs))
    return FrameBatch(
        m,
        len(graphs),
        torch.from_numpy(np.concatenate([g.atom_codes for g in graphs])),
        torch.from_numpy(np.concatenate(list(positions_A)).astype(np.float32)),
        joined("edges", shifts),
        torch.from_numpy(np.concatenate([g.edge_codes for g in graphs])),
        torch.from_numpy(
            np.ascontiguousarray(
                np.concatenate([g.tree.atoms + s for g, s in zip(graphs, shifts, strict=True)]).T
            )
        ),
        joined("singles", shifts),
        joined("single_of", [m * k for k in frames]),
        joined("pairs", shifts),
        joined("pair_of", [p * k for k in frames]),
        joined("path", [0] * len(graphs)),
        torch.from_numpy(np.repeat(frames, [len(g.singles) for g in graphs])),
        torch.from_numpy(np.repeat(frames, [len(g.pairs) for g in graphs])),
        torch.log(torch.from_numpy(np.asarray(kT_eV, np.float32)) / KT_300_EV),
        seed,
    )


class FrameSet:
    """Thermal frames of many molecules, as `tools/make_torsions.py` writes them."""

    def __init__(self) -> None:
        self.smiles: list[str] = []
        self.graphs: list[TorsionGraph] = []
        self.frames: list[Floats] = []
        self.kT_eV: list[Floats] = []

    def load(self, path: Path | str) -> None:
        """Add a file. Raises `InputError` for one that is none of this kind."""
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {
                    key: file[key] for key in ("smiles", "offset", "R", "frame_offset", "kT_eV")
                }
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path} cannot be read as torsion frames ({error}); "
                "tools/make_torsions.py writes such files"
            ) from error
        begin = 0
        for k, smiles in enumerate(data["smiles"].tolist()):
            molecule = Molecule.from_smiles(str(smiles))
            frames = slice(*data["frame_offset"][k : k + 2])
            rows = (frames.stop - frames.start) * molecule.n_atoms
            positions = data["R"][begin : begin + rows].reshape(-1, molecule.n_atoms, 3)
            begin += rows
            tree = TorsionTree(
                molecule.n_atoms, molecule.bonds, rotatable_bonds(molecule), molecule.numbers
            )
            self.smiles.append(str(smiles))
            self.graphs.append(TorsionGraph.of(molecule, tree))
            self.frames.append(positions)
            self.kT_eV.append(data["kT_eV"][frames])

    def __len__(self) -> int:
        return len(self.graphs)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> FrameSet:
        """The molecules of these rows."""
        out = FrameSet()
        for k in map(int, rows):
            out.smiles.append(self.smiles[k])
            out.graphs.append(self.graphs[k])
            out.frames.append(self.frames[k])
            out.kT_eV.append(self.kT_eV[k])
        return out


class Batches:
    """`batches(step)`: frames of molecules that have the same number of torsions, drawn
    from the step's own stream.
    """

    def __init__(
        self, data: FrameSet, frames_per_batch: int, frames_per_molecule: int = 2, seed: int = 0
    ):
        self.data, self.seed = data, seed
        self.size, self.repeat = frames_per_batch, frames_per_molecule
        counts = np.array([g.tree.n_torsions for g in data.graphs])
        self.groups = {int(m): np.flatnonzero(counts == m) for m in np.unique(counts)}

    def __call__(self, step: int) -> FrameBatch:
        """Batch number `step`."""
        rng = np.random.default_rng([self.seed, step])
        sizes = np.array([len(group) for group in self.groups.values()], float)
        m = list(self.groups)[rng.choice(len(sizes), p=sizes / sizes.sum())]
        chosen = np.repeat(rng.choice(self.groups[m], self.size // self.repeat), self.repeat)
        picks = [rng.integers(len(self.data.frames[k])) for k in chosen]
        return make_batch(
            [self.data.graphs[k] for k in chosen],
            [self.data.frames[k][f] for k, f in zip(chosen, picks, strict=True)],
            [float(self.data.kT_eV[k][f]) for k, f in zip(chosen, picks, strict=True)],
            int(rng.integers(2**31)),
        )
