"""Chains of models: embed with RDKit or draw from noise, pick what is new, relax, refine. `default` is the one that measured best."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks import GeometryCheck
from equidrift.conditions import Conditions, Known
from equidrift.diversity import Torsions, torsions
from equidrift.errors import InputError, MoleculeError
from equidrift.protocols import Callback
from equidrift.records import Molecule
from equidrift.registry import is_path, make_model, make_refiner, resolve
from equidrift.seeds import RETRY_STRIDE, sample_rng
from equidrift.torsions import TorsionTree

BLOCK = 64
TURNS = 16  # random turns of a conformer around a core, of which the first new one is taken
HELD_STEPS = 4  # calls of the refiner where atoms are held, from raw conformers
PATIENCE = 3  # candidates in a row that bring nothing new, after which the rest of a block is taken as it comes
CANDIDATE_STRIDE = 1 << 36  # further candidates of a sample have seeds this far apart: its index lies below it
Job = tuple[Molecule, NDArray[np.int64]]


class Chain:
    """Starts, the pick of new ones among candidates, a force field, and the refiner.

    Samples are made in blocks of 64 consecutive indices. Within a block, each sample takes the first of a few candidates that
    differs from the samples before it in some torsion; where none does, its own draw. Everything in a block follows from its
    first seed, so a sample is a function of its seed alone (which holds the index), and the first m of n samples are those
    of a run of m.

    Parameters
    ----------
    name : for provenance.
    start : model that makes the candidates.
    relax : "mmff" or "none", between start and refiner. A molecule that MMFF94 cannot type skips it.
    refiner : name of the refiner, or None.
    candidates : draws a sample at most, 1 for no pick.
    mirror : offer mirror images of candidates too, for molecules without prescribed stereocentres.
    num_threads : threads of RDKit, 0 for all.
    """

    block = BLOCK
    max_atoms = 200

    def __init__(
        self,
        name: str = "default",
        *,
        start: str = "etkdg",
        relax: str = "mmff",
        refiner: str | None = "refine",
        candidates: int = 3,
        mirror: bool = True,
        num_threads: int = 0,
        start_options: dict[str, Any] | None = None,
        refiner_options: dict[str, Any] | None = None,
    ):
        if relax not in ("mmff", "none"):
            raise InputError(f"relax must be 'mmff' or 'none' within a chain, not {relax!r}")
        if candidates < 1:
            raise InputError(f"candidates must be 1 or more, not {candidates}")
        self.name, self.relax, self.candidates, self.mirror, self.num_threads = name, relax, candidates, mirror, num_threads
        threads = {"num_threads": num_threads} if start == "etkdg" else {}
        self.start = make_model(start, **threads, **(start_options or {}))
        self.refiner = make_refiner(refiner, **(refiner_options or {})) if refiner else None
        if refiner and is_path(str(refiner)):
            self.name = Path(refiner).name
        self.weights_sha256 = getattr(self.refiner, "weights_sha256", None)
        self.conditions: Conditions | None = None

    def conditioned(self, conditions: Conditions) -> Chain:
        """This chain with atoms held and distances kept, by each of its parts."""
        if not hasattr(self.start, "conditioned"):
            name = getattr(self.start, "name", type(self.start).__name__)
            raise InputError(f"the start {name!r} of the chain {self.name!r} cannot hold atoms or distances; start='etkdg' can")
        model = copy.copy(self)
        model.start, model.conditions = self.start.conditioned(conditions), conditions
        return model

    def known(self, molecule: Molecule) -> Known | None:
        """What is known of this molecule beforehand."""
        return None if self.conditions is None else self.conditions.of(molecule)

    def sample(
        self, molecule: Molecule, seeds: NDArray[np.int64], *, steps: int | None = None, callback: Callback | None = None
    ) -> NDArray[np.float64]:
        """Conformers positions_A (len(seeds), n_atoms, 3); `steps` is the number of calls of the refiner."""
        return self.sample_many([(molecule, seeds)], steps=steps, callback=callback)[0]

    def sample_many(self, jobs: Sequence[Job], *, steps: int | None = None, callback: Callback | None = None) -> list[NDArray[np.float64]]:
        """`sample` over jobs; the refiner sees all of them in common batches."""
        starts = [(molecule, self._relaxed(molecule, self._picked(molecule, np.asarray(seeds, np.int64)))) for molecule, seeds in jobs]
        if self.refiner is None:
            return [positions for _, positions in starts]
        held = {} if self.conditions is None else {"known": [self.conditions.of(molecule) for molecule, _ in jobs]}
        steps = HELD_STEPS if steps is None and held else steps
        made: list[NDArray[np.float64]] = self.refiner.refine_many(starts, steps=steps, callback=callback, **held)
        return made

    def _relaxed(self, molecule: Molecule, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.relax == "none":
            return positions_A
        relaxed: NDArray[np.float64]
        known = self.known(molecule)
        if known is not None:  # held atoms strain the bonds at their border: where MMFF94 has no types, UFF must do
            # A held core has the geometry of another method, to which MMFF94 bends what is free: each other conformer goes without it,
            # from which the refiner finds its own minima; what is not sound needs it, and distances are kept by its springs.
            raw = (np.arange(len(positions_A)) % 2 == 1) & (known.reasons(positions_A, GeometryCheck(molecule)(positions_A)) == "")
            raw &= self.refiner is not None and not len(known.pairs)
            relaxed = positions_A.copy()
            relaxed[~raw] = resolve("equidrift.adapters.rdkit_conditions:relaxed_around")(molecule, positions_A[~raw], known)
            return relaxed
        mmff: Callable[..., Any] = resolve("equidrift.adapters.rdkit_etkdg:mmff_relax")
        try:
            relaxed = mmff(molecule, positions_A, num_threads=self.num_threads)[0]
        except MoleculeError:  # MMFF94 cannot type it: the refiner starts from the raw conformers
            return positions_A
        return relaxed

    def _picked(self, molecule: Molecule, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
        """Raw conformers (len(seeds), n_atoms, 3), block by block."""
        out = np.full((len(seeds), molecule.n_atoms, 3), np.nan)
        index = seeds % RETRY_STRIDE
        key = np.stack([seeds - index, index // BLOCK], axis=1)
        for base, block in np.unique(key, axis=0).tolist():
            rows = np.flatnonzero((key[:, 0] == base) & (key[:, 1] == block))
            slots = index[rows] - block * BLOCK
            out[rows] = self._block(molecule, base + block * BLOCK, slots)
        return out

    def _block(self, molecule: Molecule, first: int, slots: NDArray[np.int64]) -> NDArray[np.float64]:
        """The raw conformers of some slots of the block whose first seed is `first`."""
        told = torsions(molecule)
        if self.candidates == 1 or not len(told.atoms):
            return np.asarray(self.start.sample(molecule, first + slots))
        count = int(slots.max()) + 1
        own = np.asarray(self.start.sample(molecule, first + np.arange(count)))
        further = _Stream(lambda begin, n: self.start.sample(molecule, first + CANDIDATE_STRIDE + np.arange(begin, begin + n)), told, count)
        mirrors = (1.0, -1.0) if self.mirror and not len(molecule.tetrahedral) else (1.0,)
        known = self.known(molecule)
        if known is not None and known.mirrored(own[0]) is None:
            mirrors = (1.0,)
        taken = np.zeros((0, len(told.atoms)))
        stale = 0
        out = own.copy()
        for k, candidate in enumerate(zip(own, told.angles_deg(own))):
            tries = 0
            while True:
                x, angles_deg = candidate
                # a mirror image has the torsions of the other sign; a failed embedding (NaN) is never new
                hand = next((m for m in mirrors if np.isfinite(angles_deg).all() and told.is_new(m * angles_deg, taken)), None)
                if hand is not None or tries == self.candidates - 1 or stale >= PATIENCE:
                    break
                candidate, tries, stale = further.next(), tries + 1, stale + 1
            if hand is None and known is not None:  # around a core RDKit's own torsions are soon used up, xTB's minima are not
                x, hand = self._turned(molecule, known, own[k], told, taken, first + k)
                angles_deg = told.angles_deg(x[None])[0]
            if hand is not None:
                out[k], stale = (x if hand > 0 else _mirrored(x, known)), 0
                taken = np.concatenate([taken, hand * angles_deg[None]])
        return out[slots]

    def _turned(
        self, molecule: Molecule, known: Known, x: NDArray[np.float64], told: Torsions, taken: NDArray[np.float64], seed: int
    ) -> tuple[NDArray[np.float64], float | None]:
        """x (n_atoms, 3) with what hangs on the core turned at random, and 1; x and None where no turn is new and without fault."""
        tree = TorsionTree.of(molecule)
        free = [
            not known.held[moved].any() or not np.delete(known.held, [*moved, *row[1:3]]).any()
            for moved, row in zip(tree.moved, tree.atoms)
        ]
        if not any(free) or not np.isfinite(x).all():
            return x, None
        made = known.placed(tree.turn(x, sample_rng(seed).uniform(-np.pi, np.pi, (TURNS, len(free))) * free))
        made = made[GeometryCheck(molecule)(made) == ""]
        for one, angles_deg in zip(made, told.angles_deg(made)):
            if told.is_new(angles_deg, taken):
                return one, 1.0
        return x, None


def _mirrored(positions_A: NDArray[np.float64], known: Known | None) -> NDArray[np.float64]:
    image = positions_A * [1.0, 1.0, -1.0] if known is None else known.mirrored(positions_A)
    return positions_A if image is None else image


class _Stream:
    """Conformers and their torsions, drawn in chunks as they are asked for, one after the other."""

    def __init__(self, draw: Callable[[int, int], Any], told: Torsions, wanted: int):
        self.draw, self.told, self.chunk, self.drawn = draw, told, max(4, min(16, wanted // 2)), 0
        self.ready: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def next(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not self.ready:
            made = np.asarray(self.draw(self.drawn, self.chunk))
            self.ready = list(zip(made, self.told.angles_deg(made)))
            self.drawn += self.chunk
        return self.ready.pop(0)


def default(**options: Any) -> Chain:
    """The default of `equidrift sample`: ETKDG, the pick of new conformers, MMFF94, the refiner."""
    return Chain("default", **options)


def etkdg_refine(**options: Any) -> Chain:
    """The refiner on raw ETKDG conformers."""
    return Chain("etkdg-refine", **{"relax": "none", "candidates": 1, **options})


def etkdg_mmff_refine(**options: Any) -> Chain:
    """The refiner on ETKDG + MMFF94 conformers, without a pick."""
    return Chain("etkdg-mmff-refine", **{"candidates": 1, **options})


def conformer_refine(**options: Any) -> Chain:
    """The generator from noise, then the refiner: no force field and no embedding inside."""
    return Chain("conformer-refine", **{"start": "conformer", "relax": "none", "candidates": 1, **options})
