"""`equidrift bench elements`: what the default makes of each element that it claims.

One conformer of each molecule of a list of small molecules that no model was trained on
(`tools/make_element_molecules.py --each 50 --out runs/elements.smi`, of ZINC's test
part), and the energy that GFN2-xTB releases when it relaxes it: the less, the nearer
the conformer was to a minimum. A molecule counts for every element that it holds, and
for two groups that are hard beside their elements. Where GFN2-xTB breaks or makes a
bond on its way (`changed`), what it releases is the heat of a reaction; it is counted
all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from equidrift.adapters.ase.xtb import gfn2_relax, require_tblite
from equidrift.api import sample
from equidrift.bench.machine import Progress, silent
from equidrift.bench.rows import Row, means, medians, row, shares, table
from equidrift.checks.geometry import ELEMENTS, GeometryCheck
from equidrift.errors import EquidriftError, InputError
from equidrift.records import SYMBOLS, Molecule
from equidrift.units import KCAL_MOL_PER_EV

LIST = Path("runs") / "elements.smi"
SULPHUR_SIX, ISOCYANIDE = "S(VI)", "isocyanide"
KINDS = (*(SYMBOLS[z] for z in ELEMENTS), SULPHUR_SIX, ISOCYANIDE)
QUICK_EVERY = 8  # of the list
MOST_STEPS = 300  # of BFGS
TIMEOUT_S = 60.0  # for a molecule
SEED = 0
WORST_KCAL_MOL = 25.0  # above this a geometry is no start for a calculation


@dataclass(frozen=True)
class Judged:
    """What came of one molecule."""

    smiles: str
    kinds: tuple[str, ...]  # what it counts for, of `KINDS`
    answered: bool  # whether there was a valid conformer
    refined: bool = False  # whether a network moved it
    changed: bool = False  # whether GFN2-xTB made another graph or stereo of it
    released_kcal_mol: float = float("nan")  # without an answer, or if GFN2-xTB fails


def run(full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The table as one object: all molecules of the list if `full` (ten minutes of a core),
    else every eighth; `progress` is told every molecule.

    Raises `InputError` if there is no list, and `MissingDependencyError` without tblite.
    """
    require_tblite()
    say = progress or silent
    if not LIST.is_file():
        raise InputError(
            f"the benchmark needs {LIST}; tools/make_element_molecules.py --each 50 --out {LIST} "
            "makes it"
        )
    names = LIST.read_text().split()
    found: list[Judged] = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for one in pool.map(judged, names if full else names[::QUICK_EVERY]):
            say(f"{one.smiles}: {one.released_kcal_mol:.1f} kcal/mol")
            found.append(one)
    return table("elements", rows_of(found))


def kinds_of(molecule: Molecule) -> tuple[str, ...]:
    """What of `KINDS` a molecule counts for."""
    numbers, charges = molecule.numbers, molecule.formal_charges
    orders = np.zeros(molecule.n_atoms)
    np.add.at(orders, molecule.bonds.ravel(), np.repeat(molecule.bond_orders, 2))
    present = {SYMBOLS[z] for z in numbers.tolist()}
    if ((numbers == 16) & (orders >= 6)).any():
        present.add(SULPHUR_SIX)
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        if order == 3 and {(numbers[k], charges[k]) for k in (i, j)} == {(6, -1), (7, 1)}:
            present.add(ISOCYANIDE)
    return tuple(kind for kind in KINDS if kind in present)


def judged(smiles: str) -> Judged:
    """One conformer by the default, and what GFN2-xTB releases from it."""
    molecule = Molecule.from_smiles(smiles)
    kinds = kinds_of(molecule)
    try:
        ensemble = sample(molecule, 1, seed=SEED, timeout_s=TIMEOUT_S, num_threads=1)
    except EquidriftError:
        return Judged(smiles, kinds, answered=False)
    before = ensemble.positions_A
    refined = bool(ensemble.scores["refined"].all())
    start = gfn2_relax(molecule, before, 0)[1][0]
    after, energies = gfn2_relax(molecule, before, MOST_STEPS)
    if not np.isfinite([start, energies[0]]).all():
        return Judged(smiles, kinds, answered=True, refined=refined)
    changed = bool(GeometryCheck(molecule)(after)[0])
    released = float(start - energies[0]) * KCAL_MOL_PER_EV
    return Judged(smiles, kinds, True, refined, changed, released)


def rows_of(found: Sequence[Judged]) -> list[Row]:
    """A row `elements/KIND` for each kind that some molecule counts for, and one of all."""
    rows = [
        row(f"elements/{kind}", values_of(own), len(own))
        for kind in KINDS
        if (own := [one for one in found if kind in one.kinds])
    ]
    return [*rows, row("elements/all", values_of(found), len(found))]


def values_of(found: Iterable[Judged]) -> dict[str, float]:
    """Median, mean and worst energy released, and shares in percent."""
    every = list(found)
    released = np.array([one.released_kcal_mol for one in every])
    finite = released[np.isfinite(released)]
    values = medians({"energy_released_kcal_mol": finite})
    values |= means({"energy_released_mean_kcal_mol": finite})
    values["energy_released_worst_kcal_mol"] = float(finite.max()) if len(finite) else np.nan
    values["above_25"] = float((finite >= WORST_KCAL_MOL).sum())
    return values | shares(
        {
            "answered": [one.answered for one in every],
            "refined": [one.refined for one in every],
            "changed": [one.changed for one in every],
        }
    )
