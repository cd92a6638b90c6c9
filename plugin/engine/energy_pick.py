"""The choice of conformers by energy: candidates, relaxed and ranked, of which each sample
takes the lowest new one, or the one that stands for most others. numpy only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.conditions import Known
from equidrift.checks.geometry import GeometryCheck
from equidrift.engine.candidates import Draw, KeptPool, Pool, Positions, pick_lowest
from equidrift.engine.covering import pick_covering
from equidrift.engine.crossing import Wanted, candidates_of, generations
from equidrift.engine.fields import Relaxed
from equidrift.protocols import EnergyRefiner
from equidrift.records import Molecule


@dataclass(frozen=True)
class EnergyPick:
    """For each sample the lowest new candidate, or the one that stands for most low ones."""

    molecule: Molecule
    draw: Draw  # makes raw conformers of seeds
    # positions_A (k, n_atoms, 3) -> relaxed ones and energies_eV (k,) of a force field, around
    # what is held
    relax: Callable[[Positions], Relaxed]
    energy: EnergyRefiner | None  # the learned one; None to rank by the force field alone
    effort: int  # candidates for each sample
    cross: bool  # whether the further ones are made by crossing
    mirror: bool  # whether mirror images are offered, too
    cover: bool  # whether candidates are to stand for others
    known: Known | None = None  # what is held

    def __call__(
        self, first: int, slots: NDArray[np.int64], kept: KeptPool | None
    ) -> tuple[Positions, NDArray[np.float64], KeptPool]:
        """The conformers (k, n_atoms, 3) of some slots (k,) of a block, relaxed, their
        energies_eV (k,) by the force field, and the pool for a further call.

        Parameters
        ----------
        first : int
            The block's first seed.
        slots : (k,) int64
            Samples of the block.
        kept : KeptPool or None
            Of the call before; of the same block, its candidates are not made again.
        """
        count = int(slots.max()) + 1
        kept = self._grown(first, count, kept)
        pool = kept.pool.for_slots(count)
        mirror = self.mirror and not self.molecule.has_hand and self.known is None
        pick = pick_covering if self.cover else pick_lowest
        rows, signs = pick(self.molecule, pool, count, mirror=mirror)
        rows = np.where(rows < 0, np.arange(count), rows)[slots]  # of nothing sound, its own draw
        image = np.stack([np.ones(count), np.ones(count), signs], axis=1)[slots]
        return pool.positions_A[rows] * image[:, None], pool.energies_eV[rows], kept

    def _grown(self, first: int, count: int, kept: KeptPool | None) -> KeptPool:
        """The pool of the first `count` samples of a block."""
        molecule = self.molecule
        if kept is None or not kept.serves(molecule, first, self.effort):
            kept = KeptPool(molecule, first, self.effort, 0, Pool.empty(molecule.n_atoms))
        for birth, begin, stop in generations(kept.count, count):
            parents = kept.pool.for_slots(birth) if self.cross else None
            wanted = Wanted(first, birth, range(begin, stop), self.effort)
            raw = candidates_of(wanted, molecule, parents, self.draw, self.known)
            kept = dataclasses.replace(kept, count=stop, pool=kept.pool.grown(self._ranked(*raw)))
        return kept

    def _ranked(self, raw_A: Positions, slot: NDArray[np.int64]) -> Pool:
        """Candidates, relaxed and ranked."""
        made, energies = self.relax(raw_A)
        reasons = GeometryCheck(self.molecule)(made)
        if self.known is not None:
            reasons = self.known.reasons(made, reasons)
        ranks = np.full(len(made), np.inf)
        sound = np.flatnonzero(reasons == "")
        if self.energy is None:
            ranks[sound] = energies[sound]
        else:
            # Sample by sample, so that it is the same number whatever is drawn beside it.
            ranks[sound] = self.energy.energies_eV(self.molecule, made[sound], slot[sound])
        ranks[~np.isfinite(ranks)] = np.inf
        return Pool(made, energies, ranks, slot)
