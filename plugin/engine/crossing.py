"""Candidates made by crossing: a relaxed conformer takes some torsions of other ones.

A crossed candidate costs no embedding, needs fewer steps to its minimum, since its
bonds, angles and rings are relaxed already, and comes of parents that are low in energy:
a genetic algorithm over torsions. Only what differs from all conformers before it is
kept, so that no time is lost on relaxing one minimum twice. numpy only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.conditions import Known
from equidrift.engine.candidates import Draw, Pool, Positions, free_torsions, seeds_of
from equidrift.engine.diversity import Torsions, torsions
from equidrift.graph import neighbours_of, ring_size
from equidrift.records import Molecule
from equidrift.seeds import sample_rng
from equidrift.torsions import TorsionTree

FIRST = 2  # samples of a block whose candidates are all embedded
SPREAD_EV = 0.3  # parents weigh exp(-energy / SPREAD_EV): 7 kcal/mol
SHARE = 0.4  # of the torsions that come from other parents
TRIES = 20  # crossings made for each that is wanted
STRIDE = 1 << 37  # the random streams of crossings have seeds this far on
NEAREST_A = (2.3, 1.7, 1.4)  # of unbound atoms, by how many of the two are hydrogens
LARGE_RING = 8  # atoms
FAR = 3  # bonds between two atoms, above which they are unbound


def generations(begin: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The generations that samples begin..stop-1 of a block belong to.

    Samples 0 and 1 are the first generation, 2 and 3 the next, then 4 to 7, 8 to 15 and
    so on: each is bred from all before it.

    Yields
    ------
    birth, begin, stop : int
        The first sample of the generation, and those of the samples asked for that lie
        in it.
    """
    birth, end = 0, FIRST
    while birth < stop:
        first, last = max(birth, begin), min(end, stop)
        if first < last:
            yield birth, first, last
        birth, end = end, 2 * end


@dataclass(frozen=True)
class Wanted:
    """For which samples candidates are wanted.

    Parameters
    ----------
    first : int
        The block's first seed.
    birth : int
        The first sample of their generation.
    samples : range
        Samples of the block, of one generation.
    effort : int
        Candidates for each.
    """

    first: int
    birth: int
    samples: range
    effort: int


def candidates_of(
    wanted: Wanted,
    molecule: Molecule,
    parents: Pool | None,
    draw: Draw,
    known: Known | None = None,
) -> tuple[Positions, NDArray[np.int64]]:
    """The candidates of some samples: one draw for each sample, then what crosses the
    parents, and one further draw if crossing brings fewer than are wanted: what is left of
    a stiff molecule's conformers is hardly worth more. With a large ring, whose shapes
    only draws bring, there are as many draws as it takes.

    Parameters
    ----------
    wanted : Wanted
        The samples.
    molecule : Molecule
        The graph.
    parents : Pool or None
        The candidates of the generations before; None does not cross.
    draw : Draw
        Makes raw conformers of seeds.
    known : Known or None
        What is held.

    Returns
    -------
    positions_A : (c, n_atoms, 3)
        The candidates, not relaxed; each sample's own draw first.
    slot : (c,) int64
        The sample each is for.
    """
    samples, more = wanted.samples, wanted.effort - 1
    seeds, slot = seeds_of(wanted.first, samples.start, samples.stop, wanted.effort)
    if parents is None or not len(parents.slot):
        return draw(seeds), slot
    # a sample's crossings differ from those of the samples before it in its generation
    born, crossing = range(wanted.birth, samples.stop), crossing_of(molecule)
    share = more // 2 if crossing.large_ring else more
    crossed, whose = crossing(parents, wanted.first, born, share, known)
    crossed, whose = crossed[whose >= samples.start], whose[whose >= samples.start]
    got = np.bincount(whose - samples.start, minlength=len(samples))
    own = np.arange(len(samples))
    draws = more - got if crossing.large_ring else np.minimum(more - got, 1)
    further = [len(own) + k * more + j for k in own.tolist() for j in range(draws[k])]
    rows = np.concatenate([own, np.array(further, np.int64)])
    return np.concatenate([draw(seeds[rows]), crossed]), np.concatenate([slot[rows], whose])


@dataclass(frozen=True, eq=False)
class Crossing:
    """Crosses conformers of one molecule.

    Parameters
    ----------
    tree : TorsionTree
        The bonds that are turned.
    kinds : Torsions
        The torsions that tell conformers apart.
    pairs : (p, 2) array of int
        Atoms more than three bonds apart.
    nearest_A : (p,)
        Distances below which they clash.
    large_ring : bool
        Whether a ring of eight atoms or more turns with none of the bonds of the tree:
        half of the further candidates are embedded then.
    """

    tree: TorsionTree
    kinds: Torsions
    pairs: NDArray[np.int64]
    nearest_A: NDArray[np.float64]
    large_ring: bool

    def __call__(
        self,
        parents: Pool,
        first: int,
        samples: range,
        wanted: int,
        known: Known | None = None,
    ) -> tuple[Positions, NDArray[np.int64]]:
        """Crossed candidates, not relaxed yet, for consecutive samples of a generation.

        Parameters
        ----------
        parents : Pool
            The candidates of the generations before.
        first : int
            The block's first seed.
        samples : range
            Samples of the block, from the generation's first on.
        wanted : int
            Candidates for each sample; it gets fewer if too few are new.
        known : Known or None
            What is held: bonds that would turn it in itself keep their torsions.

        Returns
        -------
        positions_A : (c, n_atoms, 3)
            The candidates.
        slot : (c,) int64
            The sample each is for.
        """
        made: list[NDArray[np.float64]] = []
        slot: list[int] = []
        sound = np.isfinite(parents.ranks_eV)
        free = np.arange(self.tree.n_torsions) if known is None else free_torsions(self.tree, known)
        if not (wanted and len(free) and sound.sum() > 1):
            return np.zeros((0, *parents.positions_A.shape[1:])), np.zeros(0, np.int64)
        x, energies = parents.positions_A[sound], parents.energies_eV[sound]
        weights = np.exp(-(energies - energies.min()) / SPREAD_EV)
        weights /= weights.sum()
        phi, taken = self.tree.torsions(x), self.kinds.angles_deg(x)
        for k in samples:
            rng = sample_rng(first + STRIDE + k)
            crossed = self._crossed(rng, x, phi, weights, free, TRIES * wanted)
            enough = len(made) + wanted
            for one, angles_deg in zip(crossed, self.kinds.angles_deg(crossed), strict=True):
                if len(made) == enough:
                    break
                if self.kinds.is_new(angles_deg, taken):
                    made.append(one)
                    slot.append(k)
                    taken = np.concatenate([taken, angles_deg[None]])
        out = np.array(made).reshape(-1, *x.shape[1:])
        return (out if known is None else known.placed(out)), np.array(slot, np.int64)

    def _crossed(
        self,
        rng: np.random.Generator,
        x: Positions,
        phi: NDArray[np.float64],
        weights: NDArray[np.float64],
        free: NDArray[np.int64],
        count: int,
    ) -> Positions:
        """Up to `count` crossings without a clash: one parent's coordinates, with some of
        the free torsions (at least one) each from a parent of its own.
        """
        shape = (count, self.tree.n_torsions)
        body = rng.choice(len(x), count, p=weights)
        donors = rng.choice(len(x), shape, p=weights)
        change = rng.random(shape) < SHARE
        change &= np.isin(np.arange(shape[1]), free)
        change[np.arange(count), free[rng.integers(0, len(free), count)]] = True
        angles = np.where(change, phi[donors, np.arange(shape[1])], phi[body])
        made = self.tree.set_torsions(x[body], angles)
        apart = made[:, self.pairs[:, 0]] - made[:, self.pairs[:, 1]]
        out: Positions = made[(np.square(apart).sum(-1) > np.square(self.nearest_A)).all(1)]
        return out


@lru_cache(maxsize=64)
def crossing_of(molecule: Molecule) -> Crossing:
    """What crosses conformers of a molecule."""
    pairs = _far_pairs(molecule)
    hydrogens = (molecule.numbers[pairs] == 1).sum(1)
    nearest_A = np.asarray(NEAREST_A, np.float64)[hydrogens]
    neighbours, kinds = neighbours_of(molecule.n_atoms, molecule.bonds), torsions(molecule)
    large_ring = any(
        ring_size(neighbours, i, j) >= LARGE_RING for _, i, j, _ in kinds.atoms.tolist()
    )
    return Crossing(TorsionTree.of(molecule), kinds, pairs, nearest_A, large_ring)


def _far_pairs(molecule: Molecule) -> NDArray[np.int64]:
    """Pairs of atoms (p, 2) more than FAR bonds apart."""
    near = np.eye(molecule.n_atoms, dtype=bool)
    bound, (first, second) = near.copy(), molecule.bonds.T
    bound[first, second] = bound[second, first] = True
    for _ in range(FAR):
        near = near @ bound
    return np.argwhere(np.triu(~near))
