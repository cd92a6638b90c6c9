"""Relaxation by any ASE calculator, any potential of openmmml, and in a solvent."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

import equidrift
from equidrift.adapters.ase.xtb import gfn2_relax
from equidrift.adapters.rdkit.etkdg import mmff_relax
from equidrift.engine.relax import make_relax
from equidrift.errors import InputError, ModelError
from equidrift.records import Molecule
from equidrift.units import KCAL_MOL_PER_EV

MMFF = "ase:equidrift.adapters.ase.calculators:MMFF"
ETHANOL = Molecule.from_smiles("CCO")


class Charged(Calculator):
    """Springs to the origin, and an energy that is the charge it is told of."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE declares it so
    fails: type[Exception] | None = None

    def calculate(
        self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        if self.fails is not None:
            raise self.fails("it does")
        told = atoms.info["charge"] + 10 * atoms.info["spin"]
        assert atoms.get_initial_charges().sum() == atoms.info["charge"]
        self.results = {"energy": float(told), "forces": np.zeros((len(atoms), 3))}


@pytest.fixture
def factories(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An importable module of calculators' factories."""
    module = ModuleType("own_calculators")
    module.Charged, module.number, module.broken = Charged, lambda: 3, lambda: 1 / 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_calculators", module)
    return module


def _starts(molecule: Molecule, n: int = 2) -> np.ndarray:
    return equidrift.sample(molecule, n, model="etkdg", seed=2).positions_A


def test_calculator_goes_down_its_own_energy_when_it_relaxes() -> None:
    starts = _starts(ETHANOL, 4)
    relax = make_relax(MMFF)
    assert relax is not None
    moved, energies = pickle.loads(pickle.dumps(relax))(ETHANOL, starts)
    np.testing.assert_allclose(energies, mmff_relax(ETHANOL, moved, 0)[1], atol=1e-6)
    assert (energies < mmff_relax(ETHANOL, starts, 0)[1]).all()


def test_sample_relaxes_with_a_calculator_and_tells_it_when_asked_by_name() -> None:
    ensemble = equidrift.sample("CCO", 2, model="etkdg", relax=MMFF)
    assert ensemble.provenance["options"]["relax"] == MMFF
    assert MMFF in ensemble.provenance["energies"]
    _, wanted = mmff_relax(ensemble.molecule, ensemble.positions_A, 0)
    np.testing.assert_allclose(ensemble.energies_eV, wanted, atol=1e-6)


def test_held_atoms_stay_when_a_calculator_relaxes_the_rest() -> None:
    place = {0: (0.0, 0.0, 0.0), 1: (1.52, 0.0, 0.0)}
    ensemble = equidrift.sample("CCO", 2, model="etkdg-mmff", relax=MMFF, fix=place)
    np.testing.assert_allclose(ensemble.positions_A[:, 1], [(1.52, 0.0, 0.0)] * 2, atol=1e-3)


@pytest.mark.parametrize(("smiles", "told"), [("CC[NH3+]", 11.0), ("CC(=O)[O-]", 9.0)])
def test_calculator_is_told_charge_and_multiplicity_when_a_molecule_has_them(
    smiles: str, told: float, factories: ModuleType
) -> None:
    relax = make_relax("ase:own_calculators:Charged")
    assert relax is not None
    molecule = Molecule.from_smiles(smiles)
    np.testing.assert_array_equal(relax(molecule, _starts(molecule))[1], [told] * 2)


def test_geometry_is_rejected_and_another_error_told_when_the_calculator_fails(
    factories: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    relax = make_relax("ase:own_calculators:Charged")
    assert relax is not None
    starts = _starts(ETHANOL)
    monkeypatch.setattr(Charged, "fails", CalculationFailed)
    moved, energies = relax(ETHANOL, starts)
    assert np.isnan(moved).all() and np.isnan(energies).all()
    monkeypatch.setattr(Charged, "fails", KeyError)
    with pytest.raises(ModelError, match=r"own_calculators:Charged.*KeyError"):
        relax(ETHANOL, starts)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ase:", "ase:MODULE:FACTORY"),
        ("ase:own_calculators", "ase:MODULE:FACTORY"),
        ("ase:no_such_module:Calculator", "no_such_module"),
        ("ase:own_calculators:Other", "Other"),
        ("ase:own_calculators:number", "int, no ASE calculator"),
        ("ase:own_calculators:broken", "ZeroDivisionError"),
    ],
)
def test_relaxation_is_refused_at_once_when_there_is_no_calculator(
    name: str, said: str, factories: ModuleType
) -> None:
    with pytest.raises(InputError, match=said):
        make_relax(name)


def test_water_lowers_an_ion_by_its_solvation_energy_when_gfn2_relaxes_it() -> None:
    pytest.importorskip("tblite")
    ion = Molecule.from_smiles("CC(=O)[O-]")
    relax = make_relax("gfn2", "water")
    assert relax is not None
    starts = _starts(ion, 1)
    moved, energy = relax(ion, starts)
    gain = float(energy[0] - gfn2_relax(ion, starts)[1][0]) * KCAL_MOL_PER_EV
    assert -100 < gain < -50, "acetate: -78 kcal/mol by experiment"
    ensemble = equidrift.sample(ion, 1, model="etkdg", relax="gfn2", solvent="water")
    assert ensemble.provenance["options"]["solvent"] == "water"
    assert ensemble.provenance["energies"].endswith("gfn2 in water")
    assert moved.shape == starts.shape


@pytest.mark.parametrize("solvent", ["beer", ""])
def test_solvent_is_refused_at_once_when_it_has_no_parameters(solvent: str) -> None:
    pytest.importorskip("tblite")
    with pytest.raises(InputError, match="water"):
        make_relax("gfn2", solvent)


def test_potential_of_openmmml_ends_where_its_ase_calculator_ends(tmp_path: Path) -> None:
    pytest.importorskip("openmmml", reason="openmmml is optional")
    relax = make_relax("openmmml:equidrift-conformer-energy")
    other = make_relax("ase:equidrift.adapters.ase.energy:ConformerEnergy")
    assert relax is not None and other is not None
    starts = _starts(ETHANOL)
    _, energies = pickle.loads(pickle.dumps(relax))(ETHANOL, starts)
    np.testing.assert_allclose(energies, other(ETHANOL, starts)[1], atol=0.05 / KCAL_MOL_PER_EV)
    with pytest.raises(InputError, match="no_such"):
        make_relax("openmmml:no_such")


def test_atoms_without_a_calculator_are_no_calculator() -> None:
    with pytest.raises(InputError, match="Atoms"):
        make_relax(f"ase:{Atoms.__module__}:Atoms")
