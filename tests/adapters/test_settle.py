"""What follows a leap: everything but torsions is thermal again."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixBondLengths
from openmm import unit

import equidrift
from equidrift.adapters.ase.calculators import MMFF
from equidrift.adapters.ase.settle import settle_by
from equidrift.adapters.openmm.settle import settle_in
from equidrift.protocols import Settle

KT_KJ_MOL = 0.0083144626 * 300.0
PAIRS = 100
LENGTH_A = 1.1
# kJ/mol/nm^2: a bond of hydrogen, and one as soft as the bending of heavy atoms
SPRINGS = {"bond": 285_000.0, "bend": 20_000.0}


def pairs(k_kJ_mol_nm2: float) -> openmm.System:
    """Atoms of carbon and hydrogen on springs, in pairs that do not see one another."""
    system, force = openmm.System(), openmm.HarmonicBondForce()
    for pair in range(PAIRS):
        system.addParticle(12.011)
        system.addParticle(1.008)
        force.addBond(2 * pair, 2 * pair + 1, 0.1 * LENGTH_A, k_kJ_mol_nm2)
    system.addForce(force)
    return system


def placed() -> np.ndarray:
    x = np.zeros((2 * PAIRS, 3))
    x[:, 0] = np.repeat(10.0 * np.arange(PAIRS), 2)
    x[1::2, 2] = LENGTH_A
    return x


@pytest.mark.parametrize("spring", list(SPRINGS))
def test_openmm_springs_hold_half_a_kT_after_one_leap(spring: str) -> None:
    system = pairs(SPRINGS[spring])
    settle = settle_in(system, temperature_K=300.0, settle_fs=200.0)
    settled = np.array([settle(placed(), seed) for seed in range(20)])
    lengths = np.linalg.norm(settled[:, 1::2] - settled[:, ::2], axis=-1)
    energies = 0.5 * SPRINGS[spring] * (0.1 * (lengths - LENGTH_A)) ** 2
    assert energies.mean() / KT_KJ_MOL == pytest.approx(0.5, abs=0.06)
    masses = [system.getParticleMass(k)._value for k in range(2)]
    assert masses == [12.011, 1.008], "the user's System stays as it was"


class Springs(Calculator):
    """Of pairs of atoms."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        k = SPRINGS["bond"] / 96.485 / 100.0  # eV/A^2
        arms = self.atoms.positions[1::2] - self.atoms.positions[::2]
        lengths = np.linalg.norm(arms, axis=-1)
        pull = (k * (lengths - LENGTH_A) / lengths)[:, None] * arms
        forces = np.empty((2 * PAIRS, 3))
        forces[::2], forces[1::2] = pull, -pull
        self.results = {"energy": 0.5 * k * ((lengths - LENGTH_A) ** 2).sum(), "forces": forces}


def test_ase_springs_hold_half_a_kT_after_one_leap() -> None:
    atoms = Atoms("CH" * PAIRS, placed(), calculator=Springs())
    settle = settle_by(atoms, temperature_K=300.0, settle_fs=200.0)
    energies = []
    for seed in range(10):
        settled = settle(placed(), seed)
        lengths = np.linalg.norm(settled[1::2] - settled[::2], axis=-1)
        energies.append(0.5 * SPRINGS["bond"] * (0.1 * (lengths - LENGTH_A)) ** 2)
    assert np.mean(energies) / KT_KJ_MOL == pytest.approx(0.5, abs=0.06)
    assert atoms.get_masses()[1] == pytest.approx(1.008)


def of_openmm(start: equidrift.Ensemble) -> Settle:
    return settle_in(equidrift.mmff_system(start.molecule), temperature_K=300.0, settle_fs=50.0)


def of_ase(start: equidrift.Ensemble) -> Settle:
    atoms = start.to_ase()[0]
    atoms.calc = MMFF()
    return settle_by(atoms, temperature_K=300.0, settle_fs=50.0)


@pytest.mark.parametrize("host", [of_openmm, of_ase])
def test_a_seed_gives_the_same_whatever_was_settled_before(host) -> None:  # type: ignore[no-untyped-def]
    start = equidrift.sample("CCO", 1, model="etkdg-mmff", seed=1)
    x, settle = start.positions_A[0].astype(float), host(start)
    first = settle(x, 1)
    assert not np.array_equal(settle(x, 2), first)
    np.testing.assert_array_equal(settle(x, 1), first)
    np.testing.assert_array_equal(host(start)(x, 1), first)


@pytest.mark.parametrize("steps_fs", [0.0, 7.0, 20.0])
def test_short_settling_is_no_error(steps_fs: float) -> None:
    start = equidrift.sample("CCO", 1, model="etkdg-mmff", seed=1)
    system = equidrift.mmff_system(start.molecule)
    settle = settle_in(system, temperature_K=300.0, settle_fs=steps_fs)
    assert np.isfinite(settle(start.positions_A[0].astype(float), 1)).all()


def test_constrained_bonds_keep_their_lengths_and_masses() -> None:
    start = equidrift.sample("CCO", 1, model="etkdg-mmff", seed=1)
    system = equidrift.mmff_system(start.molecule, constraints="HBonds")
    settle = settle_in(system, temperature_K=300.0, settle_fs=40.0)
    x = settle(start.positions_A[0].astype(float), 1)
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        wanted = length.value_in_unit(unit.angstrom)
        assert np.linalg.norm(x[i] - x[j]) == pytest.approx(wanted, abs=2e-4)

    atoms = start.to_ase()[0]
    atoms.calc, held = MMFF(), [[0, 1]]
    atoms.set_constraint(FixBondLengths(held))
    settled = settle_by(atoms, temperature_K=300.0, settle_fs=20.0)(atoms.positions, 1)
    assert np.linalg.norm(settled[0] - settled[1]) == pytest.approx(
        atoms.get_distance(0, 1), abs=1e-3
    )
