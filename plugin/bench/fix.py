"""Conformers around a held core: the rows `fix/...` of `equidrift bench fields`.

Of each molecule of `gfn2_conformers/qm9_val.npz` (held out) one GFN2-xTB conformer
gives its coordinates to a random connected half of the heavy atoms, with their
hydrogens. Twenty samples are made around that core. AMR: of every reference that has
the core in the same shape, the RMSD of the other heavy atoms to the best sample, in the
frame of the core, over the symmetries that leave the core alone; mean over references,
then over molecules.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.xtb import gfn2_relax
from equidrift.adapters.rdkit.conditions import coordmap_baseline
from equidrift.adapters.rdkit.rmsd import heavy_symmetries
from equidrift.bench.machine import Progress, data_folder, references, silent
from equidrift.bench.rows import Row, means, medians, row, share_errors
from equidrift.checks.conditions import Conditions, Known, make_conditions
from equidrift.checks.geometry import GeometryCheck
from equidrift.engine.conformers import make_settings, sample_molecule
from equidrift.errors import EquidriftError, MissingDependencyError
from equidrift.geometry import superposed
from equidrift.records import Molecule
from equidrift.units import KCAL_MOL_PER_EV

SAMPLES, QUICK_MOLECULES, FULL_MOLECULES = 20, 24, 100
QUICK_RELAXED, FULL_RELAXED = 8, 30
SAME_CORE_A = 0.1  # RMSD below which another reference has the core in the same shape
CORE_A = 0.2  # RDKit's own tether lets the core drift; further than this is a failure of it
# row -> model of equidrift.sample, or RDKit's recipe
ROWS = {
    "equidrift": "default",
    "conformer": "conformer",
    "etkdg-mmff": "etkdg-mmff",
    "rdkit-coordmap": "",
    "free": "default",
}
FULL_ONLY = ("conformer",)  # from noise: ten network calls per sample


@dataclass(frozen=True, eq=False)
class System:
    """A molecule, its core as held, the references that share it, and the symmetries
    (p, n) that leave the core alone.
    """

    molecule: Molecule
    known: Known
    conditions: Conditions
    references_A: NDArray[np.float64]
    symmetries: NDArray[np.int64]

    @property
    def rest(self) -> NDArray[np.int64]:
        """Heavy atoms that are not held."""
        return np.flatnonzero(~self.known.held & (self.molecule.numbers > 1))


def random_half(molecule: Molecule) -> NDArray[np.int64]:
    """A connected half of the heavy atoms (rounded down, at least 2), with their
    hydrogens; the same for the same molecule.
    """
    rng = np.random.default_rng(zlib.crc32(molecule.smiles.encode()))
    heavy = np.flatnonzero(molecule.numbers > 1)
    chosen = [int(rng.choice(heavy))]
    while len(chosen) < max(2, len(heavy) // 2):
        border = molecule.bonds[np.isin(molecule.bonds, chosen).sum(1) == 1]
        chosen.append(
            int(
                rng.choice(
                    [k for k in np.unique(border) if k not in chosen and molecule.numbers[k] > 1]
                )
            )
        )
    hydrogens = [
        k
        for k in np.unique(molecule.bonds[np.isin(molecule.bonds, chosen).any(1)])
        if molecule.numbers[k] == 1
    ]
    return np.array(chosen + hydrogens, np.int64)


def systems(limit: int) -> list[System]:
    """The molecules that have something left to place."""
    out = []
    for molecule, known_A in references(data_folder() / "gfn2_conformers" / "qm9_val.npz", None):
        if (molecule.numbers > 1).sum() < 4:
            continue
        atoms = random_half(molecule)
        core_A = known_A[zlib.crc32(molecule.smiles.encode()) % len(known_A)][atoms]
        conditions = make_conditions(fix={int(k): x for k, x in zip(atoms, core_A, strict=True)})
        if conditions is None:
            continue
        placed = np.array([superposed(x, x[atoms], core_A) for x in known_A])
        same = np.square(placed[:, atoms] - core_A).sum(2).mean(1) < SAME_CORE_A**2
        known = conditions.of(molecule)
        out.append(System(molecule, known, conditions, placed[same], symmetries(molecule, known)))
    picked = np.linspace(0, len(out) - 1, min(limit, len(out))).astype(int)
    return [out[k] for k in picked]


def symmetries(molecule: Molecule, known: Known) -> NDArray[np.int64]:
    """Permutations (p, n) of the heavy atoms that keep the graph and each held atom;
    hydrogens stay.
    """
    found = heavy_symmetries(molecule)
    keep = np.flatnonzero(known.held)
    fixed: NDArray[np.int64] = found[(found[:, keep] == keep).all(1)]
    return fixed


def matching_A(system: System, samples_A: NDArray[np.float64]) -> float:
    """Mean over references of the RMSD of the rest to the best of samples_A (k, n, 3),
    which are in the core's frame.
    """
    moved = samples_A[:, system.symmetries[:, system.rest]]  # (k, p, rest, 3)
    step = moved[None] - system.references_A[:, None, None, system.rest]
    rmsd = np.sqrt(np.square(step).sum(-1).mean(-1)).min(2)
    return float(rmsd.min(1).mean())


def fix_rows(full: bool = False, progress: Progress | None = None) -> list[Row]:
    """The rows `fix/...`, with `success` (percent of draws that pass every check),
    `AMR`, `AMR_median`, `core_moved_A`, `samples_per_s` and, if tblite is there,
    `energy_released_kcal_mol`: what GFN2-xTB relaxation with the core held releases.

    Raises
    ------
    InputError
        If the benchmark data is missing.
    """
    chosen = systems(FULL_MOLECULES if full else QUICK_MOLECULES)
    say = progress or silent
    rows = []
    for name, model in ROWS.items():
        if name in FULL_ONLY and not full:
            continue
        say(f"fix/{name}")
        values = measured(
            chosen, model, FULL_RELAXED if full else QUICK_RELAXED, free=name == "free"
        )
        rows.append(row(f"fix/{name}", values, len(chosen)))
    return rows


def measured(chosen: list[System], model: str, n_relaxed: int, *, free: bool) -> dict[str, float]:
    """One row: the samples of a method, judged."""
    made, drawn, accepted = [], 0, 0
    settings = make_settings(model) if model else None
    seconds = 0.0
    for system in chosen:
        begun = time.perf_counter()
        if settings is None:
            samples_A, tries = rdkit_recipe(system)
        else:
            samples_A, tries = ours(system, settings.model, free=free)
        seconds += time.perf_counter() - begun
        made.append(samples_A)
        drawn, accepted = drawn + tries, accepted + len(samples_A)
    matched = [matching_A(system, x) for system, x in zip(chosen, made, strict=True) if len(x)]
    moved = [
        np.abs(x[:, s.known.atoms] - s.known.positions_A).max()
        for s, x in zip(chosen, made, strict=True)
        if len(x)
    ]
    success = {"success": 100.0 * accepted / drawn}
    values = success | share_errors(success, drawn)
    values |= means({"AMR": matched}) | medians({"AMR_median": matched})
    values |= {
        "core_moved_A": float(np.max(moved)),
        "molecules": len(chosen),
        "without_sample": sum(not len(x) for x in made),
    }
    values |= {"samples_per_s": accepted / seconds}
    return values | energy_released(chosen, made, n_relaxed)


def ours(system: System, model: object, *, free: bool) -> tuple[NDArray[np.float64], int]:
    """(valid samples, draws) of a model, the core held; or of free sampling, superposed
    on the core afterwards.
    """
    conditions = None if free else system.conditions
    try:
        ensemble = sample_molecule(system.molecule, SAMPLES, model=model, conditions=conditions)
    except EquidriftError:
        return np.zeros((0, system.molecule.n_atoms, 3)), SAMPLES
    x = ensemble.positions_A
    if free:
        x = np.array(
            [superposed(one, one[system.known.atoms], system.known.positions_A) for one in x]
        )
    return x, int(ensemble.provenance["drawn"])


def rdkit_recipe(system: System) -> tuple[NDArray[np.float64], int]:
    """RDKit's own way: coordMap, alignment on the core, MMFF94 with the core tethered.

    Draws that fail are not drawn again.
    """
    made = coordmap_baseline(system.known, SAMPLES)
    off = np.square(made[:, system.known.atoms] - system.known.positions_A).sum(2).mean(1) ** 0.5
    return made[(GeometryCheck(system.molecule)(made) == "") & (off < CORE_A)], SAMPLES


def energy_released(
    chosen: list[System], made: list[NDArray[np.float64]], count: int
) -> dict[str, float]:
    """Median over molecules of the kcal/mol that GFN2-xTB releases from one sample when
    the core is held, its standard error and the number `relaxed`; empty without tblite.
    """
    released = []
    for k in np.linspace(0, len(chosen) - 1, min(count, len(chosen))).astype(int):
        if not len(made[k]):
            continue
        sample = made[k][len(made[k]) // 2][None]
        try:
            before = gfn2_relax(chosen[k].molecule, sample, 0)[1][0]
            after = gfn2_relax(chosen[k].molecule, sample, known=chosen[k].known)[1][0]
        except MissingDependencyError:
            return {}
        released.append((before - after) * KCAL_MOL_PER_EV)
    if not released:
        return {}
    return medians({"energy_released_kcal_mol": released}) | {"relaxed": len(released)}
