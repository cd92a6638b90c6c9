"""Our conversion factors against the hosts'."""

from __future__ import annotations

import ase.units
import pytest
from openmm import unit

from equidrift import units
from equidrift.checks.geometry import COVALENT_RADII_A
from equidrift.records import SYMBOLS


def test_against_ase() -> None:
    assert pytest.approx(ase.units.mol / ase.units.kJ, rel=1e-7) == units.KJ_MOL_PER_EV
    assert pytest.approx(ase.units.mol / ase.units.kcal, rel=1e-7) == units.KCAL_MOL_PER_EV
    assert pytest.approx(ase.units.kB, rel=1e-6) == units.BOLTZMANN_EV_PER_K
    assert pytest.approx(1e5 * ase.units.Pascal, rel=1e-6) == units.EV_PER_A3_BAR
    assert pytest.approx(ase.units.Hartree * ase.units.Bohr, rel=1e-6) == units.COULOMB_EV_A_PER_E2


def test_against_openmm() -> None:
    per_mole = (1 * unit.elementary_charge * unit.volt * unit.AVOGADRO_CONSTANT_NA).value_in_unit(
        unit.kilojoule_per_mole
    )
    assert pytest.approx(per_mole, rel=1e-6) == units.KJ_MOL_PER_EV
    assert (1 * unit.angstrom).value_in_unit(unit.nanometer) == pytest.approx(units.NM_PER_A)
    assert (1 * unit.femtosecond).value_in_unit(unit.picosecond) == pytest.approx(units.PS_PER_FS)
    kT = (unit.MOLAR_GAS_CONSTANT_R * 300 * unit.kelvin).value_in_unit(unit.kilojoule_per_mole)
    assert pytest.approx(kT, rel=1e-6) == units.BOLTZMANN_EV_PER_K * 300 * units.KJ_MOL_PER_EV
    assert (1 * unit.kilocalorie).value_in_unit(unit.kilojoule) == pytest.approx(
        units.KJ_MOL_PER_KCAL_MOL
    )


def test_symbols_and_radii_are_ases() -> None:
    from ase.data import chemical_symbols, covalent_radii

    assert chemical_symbols[: len(SYMBOLS)] == SYMBOLS
    for z in range(1, 55):
        assert COVALENT_RADII_A[z] == pytest.approx(covalent_radii[z], abs=0.015), SYMBOLS[z]
