"""Every pair of hosts: a molecule goes into one, on into another and back, and nothing
of it is lost.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equidrift import inputs
from equidrift.adapters.ase import atoms as ase_atoms
from equidrift.adapters.mdanalysis import universe as mda_universe
from equidrift.adapters.rdkit import molecule as rdkit_molecule
from equidrift.residues import reordered
from tests.conftest import MOLECULES, graph_key, make_ensemble

# host -> (Ensemble -> host object, host object -> Ensemble, tolerance of the host's positions in A)
HOSTS = {
    "rdkit": (lambda e: e.to_rdkit(), rdkit_molecule.ensemble_of, 0.0),
    "ase": (lambda e: e.to_ase(), ase_atoms.ensemble_of, 0.0),
    "openmm": (lambda e: e.to_openmm(), lambda pair: inputs.from_openmm(*pair), 1e-12),
    "mdanalysis": (lambda e: e.to_mdanalysis(), mda_universe.from_universe, 1e-5),
}


def through(ensemble, host):
    """Into the host's object and out again."""
    into, out, _ = HOSTS[host]
    return out(into(ensemble))


@pytest.mark.parametrize(("first", "second"), product(HOSTS, HOSTS))
@pytest.mark.parametrize("name", sorted(MOLECULES))
def test_pair(name, first, second):
    ensemble = make_ensemble(name)
    back = through(through(ensemble, first), second)
    assert graph_key(back.molecule) == graph_key(ensemble.molecule)
    np.testing.assert_allclose(
        back.positions_A, ensemble.positions_A, rtol=0, atol=HOSTS[first][2] + HOSTS[second][2]
    )


@pytest.mark.parametrize("host", HOSTS)
@settings(max_examples=12, deadline=None)
@given(order=st.permutations(range(make_ensemble("R and Z").molecule.n_atoms)))
def test_any_atom_order_survives(host, order):
    ensemble, order = make_ensemble("R and Z"), np.array(order)
    shuffled = ensemble.replace(
        molecule=reordered(ensemble.molecule, order), positions_A=ensemble.positions_A[:, order]
    )
    back = through(shuffled, host)
    assert graph_key(back.molecule) == graph_key(shuffled.molecule)
    np.testing.assert_allclose(back.positions_A, shuffled.positions_A, rtol=0, atol=HOSTS[host][2])


@pytest.mark.parametrize("host", HOSTS)
@settings(max_examples=12, deadline=None)
@given(shift=st.lists(st.floats(-50, 50), min_size=3, max_size=3), scale=st.floats(0.97, 1.03))
def test_positions_are_exact_to_the_hosts_floats(host, shift, scale):
    ensemble = make_ensemble("sulfoxide")
    moved = ensemble.replace(positions_A=ensemble.positions_A * scale + np.array(shift))
    np.testing.assert_allclose(
        through(moved, host).positions_A, moved.positions_A, rtol=0, atol=HOSTS[host][2]
    )


@pytest.mark.parametrize("host", HOSTS)
def test_atom_and_residue_names_survive(host):
    ensemble = make_ensemble("anion")
    n = ensemble.molecule.n_atoms
    named = ensemble.molecule.replace(
        atom_names=tuple(f"X{k}" for k in range(n)),
        residue_names=("AAA",) * 3 + ("BBB",) * (n - 3),
        residue_ids=(4,) * 3 + (9,) * (n - 3),
    )
    back = through(ensemble.replace(molecule=named), host).molecule
    for field in ("atom_names", "residue_names", "residue_ids"):
        assert getattr(back, field) == getattr(named, field)


def test_names_survive_the_files_and_hosts_in_a_row(chiral):
    back = chiral
    for host in HOSTS:
        back = through(back, host)
    assert graph_key(back.molecule) == graph_key(chiral.molecule)
