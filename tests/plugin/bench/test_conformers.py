"""The conformer bench: the references of the package, and every drug-size stage's row with
counts and standard errors.
"""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
import pytest
from ase.units import kB

from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.bench import conformers
from equidrift.bench.ensemble_properties import TEMPERATURE_K, ensemble_errors, properties
from equidrift.bench.machine import shipped, silent
from equidrift.checks.geometry import GeometryCheck
from equidrift.models.shared.split import held_out
from equidrift.records import Molecule
from equidrift.registry import make_model
from equidrift.torsions import TorsionTree
from equidrift.units import KCAL_MOL_PER_EV


@pytest.mark.long
def test_drug_size_rows_have_errors_and_counts_for_every_stage() -> None:
    chosen = ("etkdg-mmff", "no-refiner", "selection-alone")
    rng = np.random.default_rng(0)
    systems = []
    for smiles in ("CCCCO", "CCOCC"):
        molecule = Molecule.from_smiles(smiles)
        known = ETKDGMMFF().sample(molecule, np.arange(2))
        systems.append((molecule, known + rng.normal(0, 0.01, known.shape)))
    rows = conformers.drug_rows("zinc-test", systems, chosen, silent)
    found = {row["row"]: row["values"] for row in rows}
    assert set(found) == {f"zinc-test/{name}" for name in chosen}
    for values in found.values():
        assert values["n"] == values["molecules"] == 2 and values["conformers"] == 8
        assert {"AMR-R_se", "COV-R@0.25_se", "COV-R@0.75_se"} <= set(values)
        assert values["cpu_ms_per_conformer"] > 0
    assert found["zinc-test/etkdg-mmff"]["relaxed"] == 2


@pytest.mark.parametrize(
    ("name", "count", "heavy"),
    [
        ("references_qm9.npz", 56, (5, 9)),
        ("references_zinc.npz", 24, (12, 40)),
        ("references_flexible.npz", 7, (12, 40)),
    ],
)
def test_the_references_of_the_package_are_right_and_of_molecules_nothing_was_trained_on(
    name: str, count: int, heavy: tuple[int, int]
) -> None:
    with as_file(files("equidrift.bench") / name) as path:
        stored = np.load(path, allow_pickle=False)
        energies = np.split(stored["E"], stored["conf_offset"][1:-1])
    assert max(map(np.ptp, energies)) * KCAL_MOL_PER_EV < 6.0 + 1e-6
    systems = shipped(name, None)
    assert len(systems) == count
    for molecule, known in systems:
        assert held_out(flat_smiles(molecule)) == "test"
        assert heavy[0] <= (molecule.numbers > 1).sum() <= heavy[1]
        assert set(GeometryCheck(molecule)(known)) == {""}


def test_molecules_of_many_torsions_are_a_part_of_their_own() -> None:
    chosen = conformers.flexible()
    assert len(chosen) >= 10 and len({one.smiles for one, _ in chosen}) == len(chosen)
    assert min(TorsionTree.of(one).n_torsions for one, _ in chosen) == 7
    assert len(shipped("references_flexible.npz", None)) < len(chosen)


@pytest.mark.parametrize("label", conformers.DRUG_ROWS)
def test_every_stage_of_the_ablation_can_be_made_and_belongs_to_a_part(label: str) -> None:
    name, options, _ = conformers.DRUG_ROWS[label]
    assert make_model(name, **options).name
    assert sum(label in full for full, _ in conformers.DRUG_PARTS.values()) == 1
    assert all(set(quick) <= set(full) for full, quick in conformers.DRUG_PARTS.values())


def test_properties_of_an_ensemble_are_means_under_its_boltzmann_distribution() -> None:
    kT = kB * TEMPERATURE_K
    values = {
        "energy_eV": np.array([-5.0, -5.0 + kT, np.nan]),
        "gap_eV": np.array([1.0, 2.0, np.nan]),
        "mu_D": np.array([0.0, 3.0, np.nan]),
    }
    found = properties(values)
    higher = np.exp(-1) / (1 + np.exp(-1))
    assert found["gap"] == pytest.approx(1 + higher)
    assert found["dipole"] == pytest.approx(3 * higher)
    assert found["lowest"] == pytest.approx(-5 * KCAL_MOL_PER_EV)
    assert found["energy"] == pytest.approx((-5 + higher * kT) * KCAL_MOL_PER_EV)
    assert all(np.isnan(v) for v in properties({k: v[2:] for k, v in values.items()}).values())


@pytest.mark.long
def test_ensembles_of_the_same_minima_have_the_same_properties() -> None:
    pytest.importorskip("tblite")
    smallest = sorted(shipped("references_qm9.npz", None), key=lambda one: one[1].size)
    systems = [(molecule, known[:3]) for molecule, known in smallest[:2]]
    rng = np.random.default_rng(0)
    shaken = [known + rng.normal(0, 0.02, known.shape) for _, known in systems]
    errors = ensemble_errors(systems, [shaken[0], shaken[1][:0]])
    assert errors["ensembles"] == 1  # the other molecule has no sample
    assert errors["lowest_error_kcal_mol"] < 0.02 and errors["energy_error_kcal_mol"] < 0.05
    assert errors["gap_error_eV"] < 0.01 and errors["dipole_error_D"] < 0.05
