"""Velocities that are carried along with moves."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.montecarlo.velocities import Shells
from equidrift.torsions import TorsionTree

N = 8
BONDS = [(k, k + 1) for k in range(5)] + [(2, 6), (3, 7)]
TREE = TorsionTree(N, BONDS, [(1, 2), (2, 3), (3, 4)])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def turned(rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions before and after turns, and velocities."""
    old = 1.5 * np.cumsum(rng.standard_normal((N, 3)), axis=0)
    return old, TREE.turn(old[None], rng.uniform(-3, 3, (1, 3)))[0], rng.standard_normal((N, 3))


def along_bonds(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """How fast each bond grows."""
    i, j = np.array(BONDS).T
    return ((x[j] - x[i]) * (v[j] - v[i])).sum(axis=1)


def test_carried_velocities_keep_bond_velocities_and_kinetic_energies_after_turns(turned):
    old, new, v = turned
    carried = Shells(N, BONDS).carried(old, new, v)
    np.testing.assert_allclose(along_bonds(new, carried), along_bonds(old, v), atol=1e-9)
    np.testing.assert_allclose((carried**2).sum(axis=1), (v**2).sum(axis=1), rtol=1e-12)
    assert np.abs(carried - v).max() > 0.1


def test_carried_velocities_come_back_with_the_reverse_move(turned, rng):
    old, new, v = turned
    new = new + 0.05 * rng.standard_normal(new.shape)  # shells that are not quite rigid
    shells = Shells(N, BONDS)
    np.testing.assert_allclose(shells.carried(new, old, shells.carried(old, new, v)), v, atol=1e-9)


@pytest.mark.parametrize("turn", [(0, 1, 0), (-1, 0, 0), (0, 0, 1)])
def test_carried_velocities_of_a_diatomic_follow_its_bond_whatever_it_turns_to(turn, rng):
    old, new = np.array([[0, 0, 0], [1.2, 0, 0]]), np.array([[1, 1, 1], 1 + 1.2 * np.array(turn)])
    shells, v = Shells(2, [(0, 1)]), rng.standard_normal((2, 3))
    carried = shells.carried(old, new, v)
    np.testing.assert_allclose((carried[1] - carried[0]) @ turn, v[1, 0] - v[0, 0], atol=1e-12)
    np.testing.assert_allclose(shells.carried(new, old, carried), v, atol=1e-12)


def test_shells_keep_bonds_and_angles_about_one_atom_but_no_wider_pairs():
    shells = Shells(N, BONDS)
    assert shells.keep(BONDS) and shells.keep([]) and shells.keep([(6, 2)])
    assert not shells.keep([(1, 3)]) and not shells.keep([(0, 7)])
