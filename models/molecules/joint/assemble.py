"""Tokens back to molecules: the graph with its hydrogens, their places, and the last
touch to all places.

The joint model draws how many hydrogens each heavy atom carries, not where they are.
They start where the neighbours leave room, turned at random about single bonds, and the
package's refiner then moves all atoms: a network with committed weights. No force field
and no RDKit geometry takes part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.checks.conditions import Known
from equidrift.engine.capabilities import HoldingRefiner
from equidrift.errors import InputError
from equidrift.models.molecules.joint.alphabet import QM9_TOKENS, Alphabet
from equidrift.models.molecules.joint.fragments import Fragment
from equidrift.models.shared.graph_codes import LEVELS
from equidrift.records import Molecule
from equidrift.registry import make_refiner

QM9_LEVEL = LEVELS[0]  # of theory, of QM9's geometries
CARBON = 6
BENT = 0.2  # a sum of unit vectors shorter than this has no direction
Tokens = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
Raw = tuple[Molecule, NDArray[np.float64]]


def graph_of(
    types: NDArray[np.int64], bonds: NDArray[np.int64], alphabet: Alphabet = QM9_TOKENS
) -> tuple[Molecule, NDArray[np.int64]]:
    """(the molecule of types (n,) and bonds (n, n), heavy atoms first, without stereo
    tags; the atom that each hydrogen sits on).
    """
    kinds = np.array(alphabet.types)[types]
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


def first_places(
    types: NDArray[np.int64],
    bonds: NDArray[np.int64],
    heavy_A: NDArray[np.float64],
    rng: np.random.Generator,
    alphabet: Alphabet = QM9_TOKENS,
) -> NDArray[np.float64]:
    """Where the hydrogens (h, 3) of types (n,) start: each 1 A from its heavy atom,
    away from that one's neighbours, turned at random.

    Hydrogens beyond an atom's valence start anywhere near it.
    """
    kinds = np.array(alphabet.types)[types]
    multiple: NDArray[np.bool_] = np.max(bonds, axis=1) > 1
    out = [np.zeros((0, 3))]
    for i, (element, _, count) in enumerate(kinds.tolist()):
        if not count:
            continue
        near = np.flatnonzero(bonds[i])
        u = np.array([_unit(heavy_A[j] - heavy_A[i], rng) for j in near]).reshape(-1, 3)
        flat = bool(multiple[i]) or (element != CARBON and bool(multiple[near].any()))
        plane = _plane(heavy_A, bonds, i, int(near[0])) if flat and len(near) == 1 else None
        ways = _directions(u, count, flat, plane, rng)
        spare = rng.standard_normal((count, 3))
        out.append(heavy_A[i] + np.concatenate([ways, spare])[:count])
    return np.concatenate(out)


def _unit(v: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    length = np.linalg.norm(v)
    return v / length if length > 1e-3 else _unit(rng.standard_normal(3), rng)


def _plane(
    heavy_A: NDArray[np.float64], bonds: NDArray[np.int64], i: int, j: int
) -> NDArray[np.float64] | None:
    """A direction in the plane of the other bonds of j, the only neighbour of the flat
    atom i, if it has any.
    """
    others = [k for k in np.flatnonzero(bonds[j]) if k != i]
    return heavy_A[others[0]] - heavy_A[j] if others else None


def _directions(
    u: NDArray[np.float64],
    count: int,
    flat: bool,
    plane: NDArray[np.float64] | None,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Unit vectors (count, 3), or as many as there is room for, to hydrogens of an atom
    whose heavy neighbours lie along u (k, 3).
    """
    if len(u) == 0:
        corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        first: NDArray[np.float64] = corners[:count] @ turn
        return first
    if len(u) == 1:
        if plane is None:
            across = np.cross(u[0], rng.standard_normal(3))
        else:
            across = plane - (plane @ u[0]) * u[0]
        side = _unit(across, rng)
        if flat and count == 1 and plane is None:
            return -u
        return _leaning(u[0], side, count, flat, rng)
    back = -u.sum(0)
    is_bent = np.linalg.norm(back) > BENT
    normal = _unit(np.cross(u[0], u[1]), rng)
    if len(u) > 2:
        only = _unit(back, rng) if is_bent else normal * rng.choice([1.0, -1.0])
        return only[None]
    back = _unit(back if is_bent else np.cross(normal, u[0]), rng)
    if count == 1 and flat:
        return back[None]
    signs = rng.permutation([1.0, -1.0])[:count, None]
    return 0.55 * back + signs * 0.83 * normal


def _leaning(
    u: NDArray[np.float64],
    side: NDArray[np.float64],
    count: int,
    flat: bool,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Unit vectors (count, 3) at an atom with one neighbour along u (3,): evenly about u,
    one of the places towards `side` (3,).
    """
    turns = 2 * np.pi * (np.arange(2) / 2 if flat else np.arange(3) / 3)
    turns = rng.permutation(turns)[:count]
    lean = np.cos(np.pi / 3) if flat else 1 / 3
    around = np.cos(turns)[:, None] * side + np.sin(turns)[:, None] * np.cross(u, side)
    leaning: NDArray[np.float64] = -lean * u + (1 - lean**2) ** 0.5 * around
    return leaning


class Hydrogens:
    """Places hydrogens, and lets the refiner move all atoms in `refine` calls, those of
    a fragment excepted.
    """

    def __init__(
        self,
        *,
        refine: int = 3,
        level: str = QM9_LEVEL,
        device: str | torch.device | None = None,
        alphabet: Alphabet = QM9_TOKENS,
    ):
        self.alphabet = alphabet
        made = make_refiner("refine", level=level, device=device)
        self.refiner = cast(HoldingRefiner, made)
        self.refine = refine

    def complete(
        self, tokens: Sequence[Tokens], seeds: NDArray[np.int64], fragment: Fragment | None = None
    ) -> list[Raw | None]:
        """(molecule, positions_A (n_atoms, 3)) of each token set, None where its places
        are not finite.
        """
        made: list[Raw | None] = [None] * len(tokens)
        known: dict[int, Known] = {}
        for k, ((types, bonds, heavy), seed) in enumerate(zip(tokens, seeds, strict=True)):
            if not np.isfinite(heavy).all():
                continue
            rng = np.random.Generator(np.random.Philox(key=[int(seed), 1]))
            molecule, carrier = graph_of(types, bonds, self.alphabet)
            hydrogens_A = first_places(types, bonds, heavy, rng, self.alphabet)
            x = np.concatenate([heavy, hydrogens_A])
            made[k] = molecule, x
            if fragment is None:
                known[k] = Known(molecule)
                continue
            atoms = hold(fragment, bonds, carrier, x)
            # what is new may fit so badly that the refiner could not hold the fragment:
            # the sample then stays as it was drawn
            with suppress(InputError):
                known[k] = Known(molecule, atoms, x[atoms])
        return self.refined(made, self.refine, known) if self.refine else made

    def refined(
        self, made: Sequence[Raw | None], calls: int, known: Mapping[int, Known] | None = None
    ) -> list[Raw | None]:
        """Molecules after some calls of the refiner.

        `known` says which of them are moved, by their places in `made`, and what of each
        is held; None moves all that are there.
        """
        if known is None:
            known = {k: Known(raw[0]) for k, raw in enumerate(made) if raw is not None}
        moved = list(made)
        if known:
            jobs = [(molecule, x[None]) for molecule, x in (cast(Raw, made[k]) for k in known)]
            places = self.refiner.refine_many(jobs, steps=calls, known=list(known.values()))
            for k, (molecule, _), x in zip(known, jobs, places, strict=True):
                moved[k] = molecule, x[0]
        return moved


def hold(
    fragment: Fragment, bonds: NDArray[np.int64], carrier: NDArray[np.int64], x: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The atoms of x (n_atoms, 3) that are the fragment's, put in their places; of its
    hydrogens those farthest from a new bond stay, after those that must.
    """
    held = list(range(fragment.size))
    x[held] = fragment.positions_A
    for i, places in enumerate(fragment.hydrogens_A):
        rows = len(bonds) + np.flatnonzero(carrier == i)
        new = [j for j in np.flatnonzero(bonds[i]) if j >= fragment.size]
        near = ((places - x[i]) @ (x[new] - x[i]).T).max(1) if new else np.zeros(len(places))
        near[: fragment.fixed[i]] = -np.inf
        x[rows] = places[np.argsort(near, kind="stable")[: len(rows)]]
        held += rows.tolist()
    return np.array(held)
