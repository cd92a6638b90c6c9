"""Ensembles and trajectories for MDTraj."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

import equidrift
from equidrift.errors import InputTypeError
from equidrift.records import Trajectory


def test_ensemble_keeps_graph_positions_and_order():
    ensemble = equidrift.sample("CC(=O)[O-]", 3, model="etkdg")
    made = ensemble.to_mdtraj()
    np.testing.assert_allclose(10 * made.xyz, ensemble.positions_A, atol=1e-5)
    molecule = ensemble.molecule
    assert [atom.element.atomic_number for atom in made.topology.atoms] == molecule.numbers.tolist()
    assert [atom.formal_charge for atom in made.topology.atoms] == molecule.formal_charges.tolist()
    bonds = list(made.topology.bonds)
    assert [[a.index, b.index] for a, b in bonds] == molecule.bonds.tolist()
    assert [bond.order for bond in bonds] == molecule.bond_orders.tolist()
    assert {str(bond.type) for bond in bonds} == {"Single", "Double"}


def test_ensemble_gives_mdtraj_the_distances_of_our_own():
    ensemble = equidrift.sample("c1ccccc1C(=O)NC", 2, model="etkdg")
    pairs = ensemble.molecule.bonds
    found = mdtraj.compute_distances(ensemble.to_mdtraj(), pairs)
    x = ensemble.positions_A
    expected = np.linalg.norm(x[:, pairs[:, 0]] - x[:, pairs[:, 1]], axis=-1)
    np.testing.assert_allclose(10 * found, expected, atol=1e-4)


def test_trajectory_keeps_times_and_box():
    ensemble = equidrift.sample("O", 2, model="etkdg")
    box_A = np.diag([20.0, 21.0, 22.0])
    frames = Trajectory(ensemble.molecule, ensemble.positions_A, [0.0, 500.0], box_A=box_A)
    made = frames.to_mdtraj()
    np.testing.assert_allclose(made.time, [0.0, 0.5])
    np.testing.assert_allclose(10 * made.unitcell_vectors, [box_A, box_A], atol=1e-5)


def test_atoms_of_a_residue_come_in_one_piece_as_for_openmm():
    ensemble = equidrift.sample("CC(=O)N[C@@H](C)C(=O)NC", 1, model="etkdg")
    molecule = ensemble.molecule.replace(
        residue_names=tuple("ALA" if k % 2 else "ACE" for k in range(ensemble.molecule.n_atoms)),
        residue_ids=tuple(2 if k % 2 else 1 for k in range(ensemble.molecule.n_atoms)),
    )
    made = ensemble.replace(molecule=molecule)
    topology, positions = made.to_openmm()
    found = made.to_mdtraj()
    assert [r.name for r in found.topology.residues] == [r.name for r in topology.residues()]
    np.testing.assert_allclose(found.xyz[0], positions[0]._value, atol=1e-6)


def test_another_object_is_refused():
    from equidrift.adapters.mdtraj.trajectory import to_mdtraj

    with pytest.raises(InputTypeError, match=r"equidrift\.load"):
        to_mdtraj("CCO")
