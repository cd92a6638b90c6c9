"""Which bonds turn, and that turning them moves nothing else."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.errors import InputError
from equidrift.geometry import dihedrals, wrap
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree, rotatable_bonds

CHAIN = "CCCC(=O)N[C@@H](C)c1ccccc1"


@pytest.fixture(scope="module")
def chain():
    molecule = Molecule.from_smiles(CHAIN)
    return molecule, TorsionTree.of(molecule), ETKDG().sample(molecule, np.arange(2))


@pytest.mark.parametrize(
    ("smiles", "bonds"),
    [
        ("CCCC", [(1, 2)]),
        ("C1CCCCC1C", []),
        ("c1ccccc1-c1ccccc1", [(5, 6)]),
        ("CC(=O)NC", []),
        ("CCC#CCC", []),
        ("CC=CC", []),
        ("COC(=O)C", [(1, 2)]),
        ("CCO", []),
        ("CCC=C=CC", [(1, 2)]),
    ],
)
def test_rotatable_bonds_are_single_open_and_turn_heavy_atoms(smiles, bonds):
    assert [
        tuple(sorted(b)) for b in rotatable_bonds(Molecule.from_smiles(smiles)).tolist()
    ] == bonds


def test_options_add_amides_and_hydrogens():
    molecule = Molecule.from_smiles("CC(=O)NC")
    assert (1, 3) in [tuple(b) for b in rotatable_bonds(molecule, amides=True).tolist()]
    assert len(rotatable_bonds(Molecule.from_smiles("CCO"), hydrogens=True)) == 2


def test_bonds_without_orders_count_as_single_and_amides_are_seen():
    molecule = Molecule.from_smiles("CC(=O)NC(C)C(=O)NC")
    bare = molecule.replace(bond_orders=np.zeros(len(molecule.bonds)))
    assert rotatable_bonds(bare).tolist() == rotatable_bonds(molecule).tolist() == [[3, 4], [4, 6]]


def test_the_sign_is_that_of_iupac():
    # looking from b to c, d is turned clockwise by 90 degrees against a
    x = np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, -1], [0, -1, -1]])
    assert np.allclose(np.degrees(dihedrals(x, np.array([[0, 1, 2, 3]]))), 90)


@given(st.lists(st.floats(-20, 20), min_size=4, max_size=4))
def test_turning_reaches_the_angles_and_keeps_lengths_angles_and_the_way_back(angles):
    molecule = Molecule.from_smiles(CHAIN)
    tree, x = _chain_cached()
    y = tree.set_torsions(x, np.array(angles))
    assert np.abs(wrap(tree.torsions(y) - angles)).max() < 1e-9
    for pairs in (molecule.bonds, _second_neighbours(molecule)):
        i, j = pairs.T
        assert np.allclose(
            np.linalg.norm(y[i] - y[j], axis=1), np.linalg.norm(x[i] - x[j], axis=1), atol=1e-9
        )
    assert np.allclose(tree.set_torsions(y, tree.torsions(x)), x, atol=1e-8)


_CACHE = []


def _chain_cached():
    if not _CACHE:
        molecule = Molecule.from_smiles(CHAIN)
        _CACHE.extend([TorsionTree.of(molecule), ETKDG().sample(molecule, np.arange(1))[0]])
    return _CACHE


def _second_neighbours(molecule):
    out = []
    for centre in range(molecule.n_atoms):
        around = [b for a in molecule.bonds.tolist() for b in a if centre in a and b != centre]
        out += [(a, b) for a in around for b in around if a < b]
    return np.array(out)


def test_a_batch_gives_what_each_state_gives_alone(chain):
    _, tree, x = chain
    phi = np.random.default_rng(0).uniform(-np.pi, np.pi, (2, 4))
    both = tree.set_torsions(x, phi)
    assert np.array_equal(
        both, np.stack([tree.set_torsions(a, b) for a, b in zip(x, phi, strict=True)])
    )


def test_rigid_motion_and_reflection_commute_with_turning(chain):
    _, tree, x = chain
    phi = np.array([0.3, -2.0, 1.1, 2.9])
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    rotation *= np.linalg.det(rotation)
    moved = x[0] @ rotation.T + 5.0
    assert np.allclose(
        tree.set_torsions(moved, phi), tree.set_torsions(x[0], phi) @ rotation.T + 5.0, atol=1e-9
    )
    mirror = np.array([-1.0, 1.0, 1.0])
    assert np.allclose(
        tree.set_torsions(x[0] * mirror, -phi), tree.set_torsions(x[0], phi) * mirror, atol=1e-9
    )


def test_the_smaller_side_turns_and_the_middle_stands_still(chain):
    molecule, tree, x = chain
    assert all(len(moved) + 1 <= molecule.n_atoms / 2 for moved in tree.moved)
    y = tree.set_torsions(x[0], np.zeros(4))
    still = np.flatnonzero(np.abs(y - x[0]).max(axis=1) < 1e-12)
    assert len(still) >= 2


def test_turning_has_jacobian_one():
    molecule = Molecule.from_smiles("OCCO")
    tree = TorsionTree.of(molecule, hydrogens=True)
    x, delta = (
        ETKDG().sample(molecule, np.arange(1))[0],
        np.array([0.7, -1.9, 2.5][: tree.n_torsions]),
    )
    step = 1e-5 * np.eye(x.size).reshape(-1, *x.shape)
    jacobian = (tree.turn(x + step, delta) - tree.turn(x - step, delta)).reshape(x.size, -1) / 2e-5
    assert abs(np.linalg.det(jacobian)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("rotatable", "said"),
    [
        ([(0, 1)], "in a ring"),
        ([(0, 3)], "no bond"),
        ([(5, 6), (6, 5)], "twice"),
        ([(0, 40)], "no bond"),
    ],
)
def test_what_cannot_turn_is_refused(rotatable, said):
    molecule = Molecule.from_smiles("C1CCCCC1CC")
    with pytest.raises(InputError, match=said):
        TorsionTree(molecule.n_atoms, molecule.bonds, rotatable)


def test_a_terminal_bond_is_refused():
    molecule = Molecule.from_smiles("CC#CC")
    with pytest.raises(InputError, match="nothing to turn"):
        TorsionTree(
            molecule.n_atoms, molecule.bonds, [(0, int(np.flatnonzero(molecule.numbers == 1)[0]))]
        )


def test_wrong_shapes_are_refused(chain):
    _, tree, x = chain
    with pytest.raises(InputError, match="positions_A"):
        tree.torsions(x[0, :-1])
    with pytest.raises(InputError, match="phi"):
        tree.set_torsions(x[0], np.zeros(3))


def test_plain_data_and_pickle_give_the_same_tree(chain):
    _, tree, x = chain
    phi = np.array([0.3, -2.0, 1.1, 2.9])
    for copy in (TorsionTree.from_dict(tree.to_dict()), pickle.loads(pickle.dumps(tree))):
        assert np.array_equal(copy.set_torsions(x[0], phi), tree.set_torsions(x[0], phi))
        assert copy.labels() == tree.labels()
