"""Tokens back to molecules: the graph with its hydrogens, their places, and the last touch to all places.

The joint model draws how many hydrogens each heavy atom carries, not where they are. They are placed by the package's conformer model
with the heavy atoms held, and everything is then moved by its refiner: both are networks with committed weights, no force field and no
RDKit geometry takes part.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.conformers.data import collate, graph_codes, pad_positions, with_hydrogen_rows
from equidrift.models.conformers.generator import churn_level, noise_levels
from equidrift.models.conformers.network import Held
from equidrift.models.conformers.sampler import GeneratorModel, RefinerModel
from equidrift.models.molecules.joint.data import TYPES
from equidrift.records import Molecule
from equidrift.seeds import sample_rng

PLACE_FROM_A = 1.5  # noise level at which hydrogens start, around their heavy atoms


def graph_of(types: NDArray[np.int64], bonds: NDArray[np.int64]) -> tuple[Molecule, NDArray[np.int64]]:
    """(the molecule of types (n,) and bonds (n, n), heavy atoms first, without stereo tags; the atom that each hydrogen sits on)."""
    kinds = np.array(TYPES)[types]
    carrier = np.repeat(np.arange(len(types)), kinds[:, 2])
    i, j = np.nonzero(np.triu(bonds, 1))
    hydrogens = len(types) + np.arange(len(carrier))
    molecule = Molecule(
        numbers=np.concatenate([kinds[:, 0], np.ones(len(carrier), np.int64)]),
        bonds=np.concatenate([np.stack([i, j], 1), np.stack([carrier, hydrogens], 1)]),
        bond_orders=np.concatenate([bonds[i, j], np.ones(len(carrier))]).astype(np.float64),
        formal_charges=np.concatenate([kinds[:, 1], np.zeros(len(carrier), np.int64)]),
    )
    return molecule, carrier


def first_places(types: NDArray[np.int64], bonds: NDArray[np.int64], heavy_A: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Where the hydrogens (h, 3) of types (n,) start: each 1 A from its heavy atom, away from that one's neighbours, turned at random."""
    multiple = (bonds > 1).any(1)
    out = []
    for i, (_, _, count) in enumerate(np.array(TYPES)[types].tolist()):
        near = np.flatnonzero(bonds[i])
        if not count:
            continue
        u = np.array([_unit(heavy_A[j] - heavy_A[i], rng) for j in near]).reshape(-1, 3)
        flat = bool(multiple[i]) or (np.array(TYPES)[types[i], 0] != 6 and bool(multiple[near].any()))
        out.append(heavy_A[i] + _directions(u, count, flat, _plane(heavy_A, bonds, i, near, flat), rng))
    return np.concatenate([np.zeros((0, 3)), *out])


def _unit(v: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    length = np.linalg.norm(v)
    return v / length if length > 1e-3 else _unit(rng.standard_normal(3), rng)


def _plane(heavy_A: NDArray[np.float64], bonds: NDArray[np.int64], i: int, near: NDArray[np.int64], flat: bool) -> NDArray[np.float64] | None:
    """A direction in the plane of the only neighbour's other bonds, for a flat atom that continues it."""
    if not flat or len(near) != 1:
        return None
    j = near[0]
    others = [k for k in np.flatnonzero(bonds[j]) if k != i]
    return heavy_A[others[0]] - heavy_A[j] if others else None


def _directions(
    u: NDArray[np.float64], count: int, flat: bool, plane: NDArray[np.float64] | None, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Unit vectors (count, 3) for hydrogens of an atom whose heavy neighbours lie along u (k, 3)."""
    if len(u) == 0:
        corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        return corners[:count] @ turn
    back = -u.sum(0)
    if len(u) == 1:
        side = _unit(np.cross(u[0], rng.standard_normal(3)), rng) if plane is None else _unit(plane - (plane @ u[0]) * u[0], rng)
        other = np.cross(u[0], side)
        if flat and count == 1 and plane is None:
            return -u
        turns = 2 * np.pi * (np.arange(2) / 2 if flat else np.arange(3) / 3)
        turns = rng.permutation(turns)[:count]
        lean = np.cos(np.pi / 3) if flat else 1 / 3
        return -lean * u[0] + (1 - lean**2) ** 0.5 * (np.cos(turns)[:, None] * side + np.sin(turns)[:, None] * other)
    normal = _unit(np.cross(u[0], u[1]), rng)
    if len(u) == 2:
        back = _unit(back, rng) if np.linalg.norm(back) > 0.2 else _unit(np.cross(normal, u[0]), rng)
        if count == 1 and flat:
            return back[None]
        signs = rng.permutation([1.0, -1.0])[:count, None]
        return 0.55 * back + signs * 0.83 * normal
    return (_unit(back, rng) if np.linalg.norm(back) > 0.2 else normal * rng.choice([1.0, -1.0]))[None].repeat(count, 0)


class Hydrogens:
    """Places hydrogens and refines: `steps` calls of the conformer model, heavy atoms held, and `refine` calls of the refiner."""

    def __init__(self, *, steps: int = 3, refine: int = 2, noise_A: float = 0.4, device: str | torch.device | None = None):
        self.conformer = GeneratorModel("conformer", device=device)
        self.refiner = RefinerModel("refine", device=device)
        self.steps, self.refine, self.noise_A = steps, refine, noise_A

    def complete(self, tokens: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]], seeds: NDArray[np.int64]):
        """(molecule, positions_A (n_atoms, 3)) of each (types, bonds, heavy_A)."""
        starts, rngs = [], [np.random.Generator(np.random.Philox(key=[int(s), 2])) for s in seeds]
        molecules = [graph_of(types, bonds)[0] for types, bonds, _ in tokens]
        for (types, bonds, heavy), rng in zip(tokens, rngs):
            starts.append(np.concatenate([heavy, first_places(types, bonds, heavy, rng)]))
        placed = starts
        if self.steps:
            placed = self._denoise(molecules, [len(t[0]) for t in tokens], starts, rngs)
        if self.refine:
            jobs = [(m, x[None]) for m, x in zip(molecules, placed)]
            placed = [x[0] for x in self.refiner.refine_many(jobs, steps=self.refine)]
        return list(zip(molecules, placed))

    def _denoise(self, molecules, sizes, starts, rngs):
        levels = noise_levels(self.steps, sigma_max_A=self.noise_A)
        graphs = [with_hydrogen_rows(graph_codes(m)) for m in molecules]

        def work(batch, rows: list[int]) -> list[Tensor]:  # type: ignore[no-untyped-def]
            n, device = batch.mask.shape[1], self.conformer.device
            mask = torch.zeros(len(rows), n, dtype=torch.bool)
            for k, r in enumerate(rows):
                mask[k, : sizes[r]] = True
            x = pad_positions([starts[r] for r in rows], n).to(device)
            held = Held(mask.to(device), x.clone())

            def noise() -> Tensor:
                return pad_positions([rngs[r].standard_normal((len(starts[r]), 3)) for r in rows], n).to(device)

            x = held.put(x + levels[0] * noise())
            for sigma, following in zip(levels, levels[1:]):
                down, up = churn_level(sigma, following, self.conformer.churn)
                clean = self.conformer._clean(batch, x, sigma, held)
                x = held.put(clean + (x - clean) * (down / sigma))
                if up:
                    x = held.put(x + up * noise())
            return list(x)

        return self.conformer._run(graphs, work)


__all__ = ["Hydrogens", "graph_of", "sample_rng"]
