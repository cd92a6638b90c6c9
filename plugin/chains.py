"""Chains of models: embed with RDKit or draw from noise, pick what is new, relax, refine. `default` is the one that measured best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.diversity import torsions
from equidrift.errors import InputError, MoleculeError
from equidrift.protocols import Callback
from equidrift.records import Molecule
from equidrift.registry import make_model, make_refiner, resolve
from equidrift.seeds import RETRY_STRIDE

BLOCK = 64
CANDIDATE_STRIDE = 1 << 36  # further candidates of a sample have seeds this far apart: its index lies below it
Job = tuple[Molecule, NDArray[np.int64]]


class Chain:
    """Starts, the pick of new ones among candidates, a force field, and the refiner.

    Samples are made in blocks of 64 consecutive indices. Within a block, each sample takes the first of its own candidates
    that differs from the samples before it in some torsion; where none does, its first one. A sample is therefore a
    function of its seed alone (the seed holds the index), and the first m of n samples are those of a run of m.

    Parameters
    ----------
    name : for provenance.
    start : model that makes the candidates.
    relax : "mmff" or "none", between start and refiner. A molecule that MMFF94 cannot type skips it.
    refiner : name of the refiner, or None.
    candidates : draws a sample, 1 for no pick.
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
        candidates: int = 2,
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
        self.weights_sha256 = getattr(self.refiner, "weights_sha256", None)

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
        made: list[NDArray[np.float64]] = self.refiner.refine_many(starts, steps=steps, callback=callback)
        return made

    def _relaxed(self, molecule: Molecule, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.relax == "none":
            return positions_A
        mmff: Callable[..., Any] = resolve("equidrift.adapters.rdkit_etkdg:mmff_relax")
        try:
            relaxed: NDArray[np.float64] = mmff(molecule, positions_A, num_threads=self.num_threads)[0]
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
        seeds = first + np.arange(int(slots.max()) + 1)
        drawn = [np.asarray(self.start.sample(molecule, seeds + c * CANDIDATE_STRIDE)) for c in range(self.candidates)]
        mirrored = self.mirror and not len(molecule.tetrahedral)
        pool = np.stack([x for block in drawn for x in ((block, block * [1.0, 1.0, -1.0]) if mirrored else (block,))], axis=1)
        angles = told.angles_deg(np.nan_to_num(pool.reshape(-1, molecule.n_atoms, 3))).reshape(*pool.shape[:2], -1)
        ok = np.isfinite(pool).all((2, 3))
        taken: list[NDArray[np.float64]] = []
        out = np.empty((len(seeds), molecule.n_atoms, 3))
        for k in range(len(seeds)):
            usable = np.flatnonzero(ok[k])
            have = np.array(taken).reshape(len(taken), len(told.atoms))
            new = next((c for c in usable if told.is_new(angles[k, c], have)), None)
            choice = int(new if new is not None else usable[0] if usable.size else 0)
            out[k] = pool[k, choice]
            taken.append(angles[k, choice])
        return out[slots]


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
