"""The heavy atoms of a molecule, their pairs and rotatable bonds as index arrays, and
many of them as one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.graph_codes import graph_codes
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HeavyGraph:
    """What the network knows of a molecule beside positions.

    Hydrogens are left out; the codes of their neighbours count them.

    Parameters
    ----------
    atom : uint8, shape (n, 7)
        Codes of the heavy atoms, see `graph_codes`.
    pair : uint8, shape (n, n, 4)
        Codes of their pairs.
    torsions : int64, shape (m, 4)
        Heavy atoms that each torsion is measured by; the axis is the second and third,
        and the fourth is on the side that turns.
    sides : bool, shape (m, n)
        Whether an atom turns with the torsion. The axis does not.
    """

    atom: NDArray[np.uint8]
    pair: NDArray[np.uint8]
    torsions: Indices
    sides: NDArray[np.bool_]

    @classmethod
    def of(cls, molecule: Molecule, tree: TorsionTree) -> HeavyGraph:
        """Of a molecule and the tree of its torsions.

        Raises
        ------
        InputError
            for a bond that turns hydrogens alone on one side.
        """
        codes, heavy = graph_codes(molecule), heavy_atoms(molecule)
        place = np.full(molecule.n_atoms, -1)
        place[heavy] = np.arange(len(heavy))
        torsions = place[tree.atoms].reshape(-1, 4)
        if (torsions < 0).any():
            j, k = tree.atoms[np.flatnonzero((torsions < 0).any(axis=1))[0], 1:3].tolist()
            raise InputError(
                f"bond {j}-{k} turns hydrogens alone, which the network does not see; leave it "
                "out of rotatable"
            )
        sides = np.zeros((len(torsions), molecule.n_atoms), bool)
        for row, moved in zip(sides, tree.moved, strict=True):
            row[moved] = True
        return cls(codes.atom[heavy], codes.pair[np.ix_(heavy, heavy)], torsions, sides[:, heavy])

    @property
    def n_atoms(self) -> int:
        """Number of heavy atoms."""
        return len(self.atom)

    @property
    def n_torsions(self) -> int:
        """Number of torsions."""
        return len(self.torsions)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Torsions, those that turn most first: what is turned later moves with them."""
        return tuple(np.argsort(-self.sides.sum(axis=1), kind="stable").tolist())

    @cached_property
    def tables(self) -> dict[str, Tensor]:
        """The index arrays that a batch joins; see `Rows` for their meaning."""
        i, j = np.triu_indices(self.n_atoms, 1)
        here = self.sides.copy()
        there = ~self.sides
        for k, (_, first, second, _) in enumerate(self.torsions.tolist()):
            there[k, [first, second]] = False
        apart = (here[:, i] & there[:, j]) | (there[:, i] & here[:, j])
        separated = np.argwhere(apart.T)  # (pair, torsion)
        arms = [
            (2 * torsion + side, atom)
            for side, table in ((0, there), (1, here))
            for torsion, atom in np.argwhere(table).tolist()
        ]
        arrays = {
            "atom_codes": self.atom.astype(np.int64),
            "pairs": np.stack([i, j]),
            "pair_codes": self.pair[i, j].astype(np.int64),
            "axes": np.ascontiguousarray(self.torsions[:, 1:3].T),
            "separated": np.ascontiguousarray(separated.T).reshape(2, -1),
            "arms": np.array(arms, np.int64).reshape(-1, 2).T.copy(),
            "ends": self._ends(),
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _ends(self) -> Indices:
        """(5, q): a, j, k, b for all neighbours a and b of each axis j-k, and the
        torsion.
        """
        bonded = self.pair[..., 0] > 0
        rows = [
            (a, j, k, b, torsion)
            for torsion, (_, j, k, _) in enumerate(self.torsions.tolist())
            for a in np.flatnonzero(bonded[j]).tolist()
            for b in np.flatnonzero(bonded[k]).tolist()
            if a != k and b != j
        ]
        return np.ascontiguousarray(np.array(rows, np.int64).reshape(-1, 5).T)


def heavy_atoms(molecule: Molecule) -> Indices:
    """Indices of the atoms that are no hydrogens."""
    return np.flatnonzero(molecule.numbers != 1)


@dataclass(frozen=True, eq=False)
class Rows(Batched):
    """Several conformers, of one molecule or of many, joined for one evaluation.

    N atoms, P pairs and T torsions are those of all conformers.

    Parameters
    ----------
    n_rows : int
        Conformers.
    atom_codes : Tensor, shape (N, 7)
        See `graph_codes`.
    row_of_atom, row_of_torsion : Tensor, shape (N,) and (T,)
        The conformer of each.
    pairs : (2, P)
        Every two atoms of a conformer, once.
    pair_codes : (P, 4)
    axes : (2, T)
        The rotatable bonds; the second atom is on the side that turns.
    separated : (2, S)
        Pair and torsion: all pairs whose distance a torsion changes.
    arms : (2, A)
        2 torsion + side, and atom: all atoms off the axis, side 1 being the one that
        turns.
    ends : (5, Q)
        Atoms a, j, k, b about each axis j-k, and the torsion.
    """

    n_rows: int
    atom_codes: Tensor
    row_of_atom: Tensor
    row_of_torsion: Tensor
    pairs: Tensor
    pair_codes: Tensor
    axes: Tensor
    separated: Tensor
    arms: Tensor
    ends: Tensor

    def __len__(self) -> int:
        return self.n_rows

    @classmethod
    def of(cls, graphs: Sequence[HeavyGraph]) -> Rows:
        """One row per graph, in their order; the same graph may come again."""
        if len(graphs) > 1 and all(graph is graphs[0] for graph in graphs):
            return cls.repeated(graphs[0], len(graphs))
        tables = [graph.tables for graph in graphs]
        atoms, torsions = [g.n_atoms for g in graphs], [g.n_torsions for g in graphs]
        n_pairs = [table["pairs"].shape[1] for table in tables]
        steps = np.cumsum([[0, 0, 0], *zip(atoms, torsions, n_pairs, strict=True)], axis=0)
        joined: dict[str, list[Tensor]] = {name: [] for name in tables[0]}
        for table, (a, t, p) in zip(tables, steps[:-1].tolist(), strict=True):
            pairs = table["pairs"]
            shifts = {
                "pairs": a,
                "axes": a,
                "separated": pairs.new_tensor([[p], [t]]),
                "arms": pairs.new_tensor([[2 * t], [a]]),
                "ends": pairs.new_tensor([[a], [a], [a], [a], [t]]),
            }
            for name, value in table.items():
                joined[name].append(value + shifts[name] if name in shifts else value)
        return cls(
            n_rows=len(graphs),
            row_of_atom=torch.from_numpy(np.repeat(np.arange(len(graphs)), atoms)),
            row_of_torsion=torch.from_numpy(np.repeat(np.arange(len(graphs)), torsions)),
            **{
                name: torch.cat(parts, dim=0 if name.endswith("codes") else 1)
                for name, parts in joined.items()
            },
        )

    @classmethod
    def repeated(cls, graph: HeavyGraph, count: int) -> Rows:
        """`count` rows of one graph; the same as `of`, and quicker."""
        n, m = graph.n_atoms, graph.n_torsions
        p = graph.tables["pairs"].shape[1]
        row = torch.arange(count, device=graph.tables["pairs"].device)
        steps = {
            "pairs": [n],
            "axes": [n],
            "separated": [p, m],
            "arms": [2 * m, n],
            "ends": [n, n, n, n, m],
        }
        joined = {}
        for name, value in graph.tables.items():
            if name.endswith("codes"):
                joined[name] = value.repeat(count, 1)
            else:
                shift = value.new_tensor(steps[name])[:, None, None] * row[:, None]
                joined[name] = (value[:, None] + shift).reshape(len(value), -1)
        return cls(
            n_rows=count,
            row_of_atom=row.repeat_interleave(n),
            row_of_torsion=row.repeat_interleave(m),
            **joined,
        )


def turned(graph: HeavyGraph, positions_A: Tensor, delta: Tensor) -> Tensor:
    """Positions (k, n, 3) of the heavy atoms, turned by delta (k, m) radians; gradients
    pass.

    Rotating about an axis u by t takes an arm r to r cos t + (u x r) sin t + u (u . r)
    (1 - cos t).
    """
    x = positions_A
    for torsion in graph.order:
        moved = torch.from_numpy(graph.sides[torsion]).to(x.device)
        origin = x[:, graph.torsions[torsion, 2]]
        axis = origin - x[:, graph.torsions[torsion, 1]]
        axis = (axis / axis.norm(dim=-1, keepdim=True))[:, None]  # (k, 1, 3)
        arm = x - origin[:, None]
        cosine = torch.cos(delta[:, torsion])[:, None, None]
        sine = torch.sin(delta[:, torsion])[:, None, None]
        along = (arm * axis).sum(-1, keepdim=True) * axis
        across = torch.linalg.cross(axis.expand_as(arm), arm)
        new = origin[:, None] + along + (arm - along) * cosine + across * sine
        x = torch.where(moved[:, None], new, x)
    return x
