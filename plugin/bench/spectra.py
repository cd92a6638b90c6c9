"""Rows of `equidrift bench molecules` on spectra: which of many molecules a spectrum
belongs to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.xtb import infrared
from equidrift.bench.rows import Row, means, medians, row, shares
from equidrift.errors import MoleculeError
from equidrift.models.molecules.data import FILE, QM9, load_qm9
from equidrift.models.molecules.spectra.sampler import Spectra, SpectrumModel, read_spectra
from equidrift.models.molecules.spectra.train import matched
from equidrift.records import SYMBOLS, Molecule
from equidrift.spectrum import broaden

HELD_OUT = "qm9_spectra.npz"
HEAVY = 7
QUICK = 60
TOP = (1, 10)


def spectra_rows(
    folder: Path, limit: int | None = QUICK, *, model: SpectrumModel | None = None
) -> list[Row]:
    """Top-1 and top-10 recovery, in %, of the molecule of each held-out spectrum.

    The pool is every molecule of QM9 with at most seven heavy atoms, training molecules
    included, each with QM9's B3LYP geometry; the spectra are of GFN2-xTB minima.
    Held-out spectra are read from `qm9_spectra.npz` in `folder` (of
    tools/make_spectra.py), or made on the spot.

    Returns
    -------
    list of row
        `spectra/equidrift`; `spectra/formula`, for which the pool is the isomers alone;
        the baselines `spectra/random`, `spectra/formula-random` and, if the file holds
        training spectra, `spectra/nearest` (candidates by the likeness of their
        elements, bonds and hydrogens to the training molecule whose spectrum is
        nearest).
    """
    data = load_qm9(folder / FILE if (folder / FILE).is_file() else None)
    pool = small_molecules(data)
    spectra, rows = held_out_spectra(data, folder / HELD_OUT, pool, limit)
    model = SpectrumModel() if model is None else model
    molecules = [(data.molecule(k), data.positions(k)) for k in pool.tolist()]
    likelihood = model.log_likelihood(spectra, molecules)
    own = np.array([int(np.flatnonzero(pool == k)[0]) for k in rows.tolist()])
    formula = np.array([formula_of(m) for m, _ in molecules])
    isomers = formula[own][:, None] == formula[None]
    found = {
        "equidrift": recovery(likelihood, own),
        "formula": recovery(np.where(isomers, likelihood, -np.inf), own)
        | means({"isomers": isomers.sum(1)}),
        "random": chance(np.full(len(rows), len(pool))),
        "formula-random": chance(isomers.sum(1)),
    }
    if (folder / HELD_OUT).is_file():
        known = read_spectra(folder / HELD_OUT)
        places, trained = matched(data, known, "train")
        if len(places):
            likeness = nearest_likeness(
                data, spectra, known.vectors[places], trained, [m for m, _ in molecules]
            )
            found["nearest"] = recovery(likeness, own) | {"training_spectra": len(places)}
    counts = {"spectra": len(rows), "pool": len(pool)}
    return [row(f"spectra/{name}", values | counts, len(rows)) for name, values in found.items()]


def small_molecules(data: QM9, heavy: int = HEAVY) -> NDArray[np.int64]:
    """Rows of the molecules with at most `heavy` heavy atoms."""
    counts = np.add.reduceat((data.numbers > 1).astype(int), data.offset[:-1])
    return np.flatnonzero(counts <= heavy)


def held_out_spectra(
    data: QM9, path: Path, pool: NDArray[np.int64], limit: int | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(spectra (k, bins), rows of `data`) of up to `limit` molecules of the pool that
    are not of the training part.
    """
    if path.is_file():
        spectra: Spectra = read_spectra(path)
        places, rows = matched(data, spectra, "test", "val")
        chosen = np.isin(rows, pool)
        places, rows = places[chosen][:limit], rows[chosen][:limit]
        return spectra.vectors[places], rows
    held = np.random.default_rng(0).permutation(pool[data.split[pool] != 0])
    vectors, kept = [], []
    for k in held[: QUICK if limit is None else limit].tolist():
        atoms = slice(data.offset[k], data.offset[k + 1])
        try:
            _, frequencies, intensities = infrared(data.numbers[atoms], data.positions(k))
        except MoleculeError:
            continue
        vectors.append(broaden(frequencies, intensities))
        kept.append(k)
    return np.stack(vectors), np.array(kept)


def recovery(scores: NDArray[np.float64], own: NDArray[np.int64]) -> dict[str, float]:
    """Share in % of queries whose own candidate is among the best 1 and 10 of scores
    (queries, candidates), and its median rank.

    Ties count half.
    """
    mine = np.take_along_axis(scores, own[:, None], 1)
    rank = (scores > mine).sum(1) + 0.5 * ((scores == mine).sum(1) - 1)
    return shares({f"top-{k}": rank < k for k in TOP}) | medians({"median_rank": rank + 1})


def chance(sizes: NDArray[np.int64]) -> dict[str, float]:
    """What blind choice among so many candidates recovers, in %: expected, so without
    an error.
    """
    return {f"top-{k}": 100.0 * float(np.minimum(1.0, k / sizes).mean()) for k in TOP} | {
        "median_rank": float(np.median(sizes + 1) / 2)
    }


def formula_of(molecule: Molecule) -> str:
    """Elements and their counts."""
    return " ".join(
        f"{SYMBOLS[z]}{n}" for z, n in sorted(Counter(molecule.numbers.tolist()).items())
    )


def nearest_likeness(
    data: QM9,
    spectra: NDArray[np.float64],
    known: NDArray[np.float64],
    trained: NDArray[np.int64],
    molecules: Sequence[Molecule],
) -> NDArray[np.float64]:
    """Minus the distance in composition (queries, candidates) to the training molecule
    whose root spectrum is nearest.
    """
    roots, theirs = np.sqrt(spectra), np.sqrt(known)
    nearest = [trained[int(np.square(theirs - one).sum(1).argmin())] for one in roots]
    table = np.stack([composition(m) for m in molecules])
    return np.stack([-np.abs(table - composition(data.molecule(int(k)))).sum(1) for k in nearest])


def composition(molecule: Molecule) -> NDArray[np.float64]:
    """Counts of elements, of bonds by order, and of hydrogens by the element that
    carries them.
    """
    kinds = [(z, None) for z in molecule.numbers.tolist()]
    bonds = [
        (*sorted(molecule.numbers[[i, j]].tolist()), order)
        for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders, strict=True)
    ]
    counts: Counter[Any] = Counter([*kinds, *bonds])
    return np.array([counts[key] for key in _KINDS], np.float64)


_HEAVY = (6, 7, 8, 9)
_KINDS: tuple[Any, ...] = (
    *((z, None) for z in (1, *_HEAVY)),
    *((1, z, 1.0) for z in _HEAVY),
    *((a, b, order) for a in _HEAVY for b in _HEAVY if a <= b for order in (1.0, 2.0, 3.0)),
)
