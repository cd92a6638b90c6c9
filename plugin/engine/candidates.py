"""Candidates for the conformers of a block, and which of them each conformer takes.

Two ways, with one contract: a `Draw` makes raw conformers of consecutive seeds, a
picker gives each of the block's first `count` samples one of them. A sample's pick
follows from the candidates of the samples before it and from its own, so that the first
m of n samples are those of a run of m. numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.conditions import Known
from equidrift.checks.geometry import GeometryCheck
from equidrift.engine.diversity import Torsions, torsions
from equidrift.records import Molecule
from equidrift.seeds import RETRY_STRIDE, sample_rng
from equidrift.torsions import TorsionTree

Positions = NDArray[np.float64]
Indices = NDArray[np.int64]
Draw = Callable[[NDArray[np.int64]], Positions]  # seeds (k,) -> positions_A (k, n_atoms, 3)

TURNS = 16  # random turns of a conformer around a core, of which the first new one is taken
PATIENCE = 3  # candidates in a row that bring nothing new; then a block is taken as it comes
CANDIDATE_STRIDE = 1 << 36  # further candidates have seeds this far on: an index lies below it


@dataclass(frozen=True)
class Pool:
    """Candidates of the first samples of a block.

    Parameters
    ----------
    positions_A : (c, n_atoms, 3)
        The candidates, relaxed.
    energies_eV : (c,)
        Of the force field that relaxed them.
    ranks_eV : (c,)
        What they are ranked by; infinite for a candidate that is not to be taken.
    slot : (c,)
        The first sample of the block that may take it.
    """

    positions_A: Positions
    energies_eV: NDArray[np.float64]
    ranks_eV: NDArray[np.float64]
    slot: Indices

    @classmethod
    def empty(cls, n_atoms: int) -> Pool:
        """A pool without candidates."""
        none = np.zeros(0)
        return cls(np.zeros((0, n_atoms, 3)), none, none, np.zeros(0, np.int64))

    def for_slots(self, count: int) -> Pool:
        """The candidates of the first `count` samples, in the order of drawing: the
        samples' own draws before the further ones.
        """
        rows = np.flatnonzero(self.slot < count)
        _, own = np.unique(self.slot[rows], return_index=True)
        rows = np.concatenate([rows[own], np.delete(rows, own)])
        return Pool(
            self.positions_A[rows], self.energies_eV[rows], self.ranks_eV[rows], self.slot[rows]
        )

    def grown(self, more: Pool) -> Pool:
        """With the candidates of the samples that follow."""
        return Pool(
            np.concatenate([self.positions_A, more.positions_A]),
            np.concatenate([self.energies_eV, more.energies_eV]),
            np.concatenate([self.ranks_eV, more.ranks_eV]),
            np.concatenate([self.slot, more.slot]),
        )


@dataclass(frozen=True)
class KeptPool:
    """The pool of the first `count` samples of the block a chain worked on last."""

    molecule: Molecule
    first: int
    effort: int
    count: int
    pool: Pool

    def serves(self, molecule: Molecule, first: int, effort: int) -> bool:
        """Whether the candidates are those of this block."""
        return self.molecule is molecule and (self.first, self.effort) == (first, effort)


def blocks_of(seeds: Indices, size: int) -> Iterator[tuple[Indices, int, Indices]]:
    """The blocks of consecutive samples that some seeds lie in.

    Parameters
    ----------
    seeds : (k,) int64
        Seeds of samples of one or several attempts, in any order.
    size : int
        Samples in a block.

    Yields
    ------
    rows : (m,) int64
        Which of the seeds lie in the block.
    first : int
        The seed of the block's first sample.
    slots : (m,) int64
        The places of those seeds within the block, from 0.
    """
    index = seeds % RETRY_STRIDE
    first = seeds - index % size
    for begin in np.unique(first).tolist():
        rows = np.flatnonzero(first == begin)
        yield rows, begin, seeds[rows] - begin


def seeds_of(first: int, begin: int, stop: int, effort: int) -> tuple[Indices, Indices]:
    """The seeds of the candidates of samples begin..stop-1 of a block, and their slots.

    Parameters
    ----------
    first : int
        The block's first seed.
    begin, stop : int
        Samples of the block.
    effort : int
        Candidates for each sample: its own draw, and effort - 1 further ones.

    Returns
    -------
    seeds, slots : ((stop - begin) * effort,) int64
        Own draws first.
    """
    own = np.arange(begin, stop)
    further = np.arange(begin * (effort - 1), stop * (effort - 1))
    seeds = np.concatenate([first + own, first + CANDIDATE_STRIDE + further])
    return seeds, np.concatenate([own, np.repeat(own, effort - 1)])


def free_torsions(tree: TorsionTree, known: Known) -> Indices:
    """Indices (k,) of the torsions whose turning leaves the held atoms as they are to
    each other: all of them lie on one side of the bond, or on its axis.
    """
    free = [
        not known.held[moved].any() or not np.delete(known.held, [*moved, *row[1:3]]).any()
        for moved, row in zip(tree.moved, tree.atoms, strict=True)
    ]
    return np.flatnonzero(free)


def offered(pool: Pool, *, mirror: bool) -> tuple[Indices, NDArray[np.float64]]:
    """The sound candidates (m,) in the order of their ranks, and 1, or -1 for a mirror
    image, each after its own if they are offered, too.
    """
    order = np.argsort(pool.ranks_eV, kind="stable")
    sound = order[np.isfinite(pool.ranks_eV[order])]
    signs = (1.0, -1.0) if mirror else (1.0,)
    return np.repeat(sound, len(signs)), np.tile(signs, len(sound))


def pick_lowest(
    molecule: Molecule, pool: Pool, count: int, *, mirror: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The lowest new candidate for each sample; if none is new, the lowest that no
    sample before it has taken.

    Parameters
    ----------
    molecule : Molecule
        The graph.
    pool : Pool
        The candidates.
    count : int
        Samples of the block that take one.
    mirror : bool
        Whether mirror images may be taken, too.

    Returns
    -------
    rows : (count,) int64
        The candidate each sample takes, -1 if there is none.
    chosen : (count,) float64
        1, or -1 for its mirror image.
    """
    kinds = torsions(molecule)
    angles_deg = kinds.angles_deg(pool.positions_A)
    angles_deg[~np.isfinite(angles_deg)] = 0.0
    ranked = list(zip(*offered(pool, mirror=mirror), strict=True))
    fresh, old = list(range(len(ranked))), list[int]()  # by rank; what was old once stays so
    taken = np.zeros((0, len(kinds.atoms)))
    rows, chosen = np.full(count, -1), np.ones(count)
    for k in range(count):
        pick, later = None, []
        for rank in fresh:
            row, sign = ranked[rank]
            if pick is not None or pool.slot[row] > k:
                later.append(rank)
            elif kinds.is_new(sign * angles_deg[row], taken):
                pick = rank
            else:
                old.append(rank)
        fresh = later
        if pick is None and old:
            pick = min(old)
            old.remove(pick)
        if pick is not None:
            rows[k], chosen[k] = ranked[pick]
            taken = np.concatenate([taken, chosen[k] * angles_deg[rows[k]][None]])
    return rows, chosen


@dataclass(frozen=True)
class DiversePick:
    """The first of a few candidates that differs from the samples before it in some
    torsion; if none does, a sample's own draw.
    """

    molecule: Molecule
    draw: Draw  # makes raw conformers of seeds
    candidates: int  # draws per sample at most, its own included
    mirror: bool  # whether mirror images are offered, too
    known: Known | None = None  # atoms held in their places

    def __call__(self, first: int, slots: NDArray[np.int64]) -> Positions:
        """The raw conformers (k, n_atoms, 3) of some slots (k,) of the block whose first
        seed is `first`.
        """
        kinds = torsions(self.molecule)
        if self.candidates == 1 or not len(kinds.atoms):
            return self.draw(first + slots)
        count = int(slots.max()) + 1
        own = self.draw(first + np.arange(count))
        if not np.isfinite(own[0]).all():  # it hardly embeds at all: no time is lost on candidates
            return own[slots]
        return self._chosen(kinds, first, own)[slots]

    def _chosen(self, kinds: Torsions, first: int, own: Positions) -> Positions:
        further = _Stream(
            lambda begin, n: self.draw(first + CANDIDATE_STRIDE + np.arange(begin, begin + n)),
            kinds,
            len(own),
        )
        mirrors = self._mirrors(own[0])
        taken = np.zeros((0, len(kinds.atoms)))
        vain = 0  # candidates in a row that brought nothing new
        out = own.copy()
        for k, candidate in enumerate(zip(own, kinds.angles_deg(own), strict=True)):
            (x, angles_deg), sign, tries = candidate, None, 0
            while True:
                sign = _new_sign(kinds, mirrors, angles_deg, taken)
                if sign is not None or tries == self.candidates - 1 or vain >= PATIENCE:
                    break
                x, angles_deg = further.next()
                tries, vain = tries + 1, vain + 1
            if sign is None and self.known is not None:
                # around a core RDKit's own torsions are soon used up, xTB's minima are not
                x, sign = self._turned(self.known, own[k], kinds, taken, first + k)
                angles_deg = kinds.angles_deg(x[None])[0]
            if sign is not None:
                out[k], vain = (x if sign > 0 else _mirrored(x, self.known)), 0
                taken = np.concatenate([taken, sign * angles_deg[None]])
        return out

    def _mirrors(self, x: NDArray[np.float64]) -> tuple[float, ...]:
        """1, and -1 if mirror images are conformers of the molecule, too."""
        if not self.mirror or self.molecule.has_hand:
            return (1.0,)
        if self.known is not None and self.known.mirrored(x) is None:
            return (1.0,)
        return (1.0, -1.0)

    def _turned(
        self,
        known: Known,
        x: NDArray[np.float64],
        kinds: Torsions,
        taken: NDArray[np.float64],
        seed: int,
    ) -> tuple[NDArray[np.float64], float | None]:
        """x (n_atoms, 3) with what hangs on the core turned at random, and 1; x and
        None if no turn is new and without fault.
        """
        tree = TorsionTree.of(self.molecule)
        free = np.isin(np.arange(tree.n_torsions), free_torsions(tree, known))
        if not free.any() or not np.isfinite(x).all():
            return x, None
        made = known.placed(
            tree.turn(x, sample_rng(seed).uniform(-np.pi, np.pi, (TURNS, len(free))) * free)
        )
        made = made[GeometryCheck(self.molecule)(made) == ""]
        for one, angles_deg in zip(made, kinds.angles_deg(made), strict=True):
            if kinds.is_new(angles_deg, taken):
                return one, 1.0
        return x, None


def _new_sign(
    kinds: Torsions,
    mirrors: tuple[float, ...],
    angles_deg: NDArray[np.float64],
    taken: NDArray[np.float64],
) -> float | None:
    """1 for a candidate that is new, -1 if its mirror image is, else None.

    A mirror image has the torsions of the other sign; a failed embedding (NaN) is never
    new.
    """
    if not np.isfinite(angles_deg).all():
        return None
    return next((sign for sign in mirrors if kinds.is_new(sign * angles_deg, taken)), None)


def _mirrored(positions_A: NDArray[np.float64], known: Known | None) -> NDArray[np.float64]:
    image = positions_A * [1.0, 1.0, -1.0] if known is None else known.mirrored(positions_A)
    return positions_A if image is None else image


class _Stream:
    """Conformers and their torsions, drawn in chunks as they are asked for, one after
    the other.
    """

    def __init__(self, draw: Callable[[int, int], Positions], kinds: Torsions, wanted: int):
        self.draw, self.kinds, self.chunk, self.drawn = draw, kinds, max(4, min(16, wanted // 2)), 0
        self.ready: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def next(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not self.ready:
            made = self.draw(self.drawn, self.chunk)
            self.ready = list(zip(made, self.kinds.angles_deg(made), strict=True))
            self.drawn += self.chunk
        return self.ready.pop(0)
