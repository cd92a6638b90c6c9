"""MMFF94 as energy function and as ASE calculator: RDKit's energies, forces that are
their gradient, a cache that sees the graph.
"""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.fd import calculate_numerical_forces
from ase.optimize import BFGS

from equidrift.adapters.ase.calculators import MMFF
from equidrift.adapters.rdkit.mmff_energy import MMFFEnergy
from equidrift.adapters.rdkit.relaxing import mmff_relax
from equidrift.errors import InputError, MoleculeError
from equidrift.records import Molecule
from tests.conftest import make_ensemble


def test_energies_are_rdkits(ensemble):
    energy = MMFFEnergy(ensemble.molecule)
    expected = mmff_relax(ensemble.molecule, ensemble.positions_A, 0)[1]
    np.testing.assert_allclose(
        [energy(frame)[0] for frame in ensemble.positions_A], expected, rtol=0, atol=1e-7
    )


def test_gradient_is_the_gradient_in_any_order_of_calls(chiral):
    energy = MMFFEnergy(chiral.molecule)
    a, b = chiral.positions_A + np.random.default_rng(0).normal(
        scale=0.1, size=chiral.positions_A.shape
    )
    first = energy(a)[1]
    energy(b)
    np.testing.assert_array_equal(energy(a)[1], first)
    step = np.zeros_like(a)
    for index in ((0, 0), (3, 2), (-1, 1)):
        step[:] = 0
        step[index] = 1e-5
        assert first[index] == pytest.approx(
            (energy(a + step)[0] - energy(a - step)[0]) / 2e-5, abs=1e-5
        )


def test_forces_of_the_calculator(chiral):
    atoms = chiral.to_ase()[0]
    atoms.calc = MMFF()
    np.testing.assert_allclose(
        atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-4
    )
    assert atoms.get_potential_energy() == atoms.get_potential_energy(force_consistent=True)


def test_optimiser_comes_to_rdkits_minimum(chiral):
    atoms = chiral.to_ase()[0]
    atoms.calc = MMFF()
    BFGS(atoms, logfile=None).run(fmax=0.002, steps=500)
    assert atoms.get_potential_energy() == pytest.approx(
        mmff_relax(chiral.molecule, chiral.positions_A[:1])[1][0], abs=1e-3
    )


def test_variant_of_mmff_can_be_set_and_changed():
    ensemble = make_ensemble("nitro")
    atoms = ensemble.to_ase()[0]
    atoms.calc = MMFF(variant="MMFF94s")
    expected = mmff_relax(ensemble.molecule, ensemble.positions_A[:1], 0, variant="MMFF94s")[1][0]
    assert atoms.get_potential_energy() == pytest.approx(expected)
    static = atoms.get_potential_energy()
    atoms.calc.set(variant="MMFF94")
    assert atoms.get_potential_energy() == pytest.approx(
        mmff_relax(ensemble.molecule, ensemble.positions_A[:1], 0)[1][0]
    )
    assert abs(atoms.get_potential_energy() - static) < 1.0


def test_cache_sees_a_changed_graph():
    """ASE's own cache does not look at `atoms.info`."""
    r, s = make_ensemble("anion"), make_ensemble("zwitterion")
    calculator = MMFF()
    first = r.to_ase()[0]
    first.calc = calculator
    energy = first.get_potential_energy()
    first.info["charge"] = 0
    with pytest.raises(MoleculeError, match=r"no structure of charge"):
        first.get_potential_energy()
    second = s.to_ase()[0]
    second.calc = calculator
    assert second.get_potential_energy() != energy
    again = r.to_ase()[0]
    again.calc = calculator
    assert again.get_potential_energy() == energy


def test_bare_atoms_and_a_given_molecule():
    ensemble = make_ensemble("ibuprofen")
    expected = mmff_relax(ensemble.molecule, ensemble.positions_A[:1], 0)[1][0]
    for calculator in (MMFF(), MMFF(molecule=ensemble.molecule)):
        bare = Atoms(ensemble.molecule.numbers, ensemble.positions_A[0])
        bare.calc = calculator
        assert bare.get_potential_energy() == pytest.approx(expected, abs=1e-6)


def test_bad_input():
    with pytest.raises(InputError, match=r"variant must be one of MMFF94, MMFF94s, not 'UFF'"):
        MMFFEnergy(Molecule.from_smiles("C"), "UFF")
    with pytest.raises(MoleculeError, match=r"MMFF94 has no parameters"):
        MMFFEnergy(Molecule.from_smiles("B"))
    with pytest.raises(InputError, match=r"positions_A has shape"):
        MMFFEnergy(Molecule.from_smiles("C"))(np.zeros((2, 3)))
