"""Every pair of hosts: a molecule goes into one, on into another and back, and nothing
of it is lost.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

import equidrift
from equidrift import inputs
from equidrift.adapters.ase import atoms as ase_atoms
from equidrift.adapters.mdanalysis import universe as mda_universe
from equidrift.adapters.rdkit import carried as rdkit_carried
from equidrift.residues import reordered
from tests.conftest import MOLECULES, graph_key, make_ensemble

# host -> (Ensemble -> host object, host object -> Ensemble, tolerance of the host's positions in A)
HOSTS = {
    "rdkit": (lambda e: e.to_rdkit(), rdkit_carried.ensemble_of, 0.0),
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
def test_ensemble_survives_each_pair_of_hosts(name, first, second):
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


def told_ensemble():
    """Two conformers of which everything is known."""
    plain = make_ensemble("R and Z")[:2]
    molecule = plain.molecule.replace(name="a name", properties={"IC50": "12 nM"})
    return plain.replace(
        molecule=molecule,
        energies_eV=np.array([-1.23456789012, 0.1]),
        scores={"clash": np.array([0.0, 1.5])},
        properties={"vendor": ["one", "two"]},
    )


def test_energies_scores_and_names_survive_sdf_and_a_chain_of_hosts(tmp_path):
    ensemble = told_ensemble()
    ensemble.save(tmp_path / "first.sdf")
    ensemble_read = equidrift.load(tmp_path / "first.sdf")
    again = through(through(through(ensemble_read, "rdkit"), "ase"), "mdanalysis")
    again.save(tmp_path / "second.sdf")
    back = equidrift.load(tmp_path / "second.sdf")
    np.testing.assert_allclose(back.energies_eV, ensemble.energies_eV, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(back.scores["clash"], ensemble.scores["clash"])
    np.testing.assert_array_equal(back.seeds, ensemble.seeds)
    assert back.molecule.name == "a name"
    assert back.molecule.properties == {"IC50": "12 nM"}
    assert dict(back.properties) == {"vendor": ("one", "two")}


def test_record_of_our_sdf_read_by_rdkit_brings_its_energy(tmp_path):
    ensemble = told_ensemble()
    ensemble.save(tmp_path / "a.sdf")
    mols = list(Chem.SDMolSupplier(str(tmp_path / "a.sdf"), removeHs=False))
    back = [rdkit_carried.ensemble_of(mol) for mol in mols]
    energies = [one.energies_eV[0] for one in back]
    np.testing.assert_allclose(energies, ensemble.energies_eV, rtol=0, atol=1e-6)
    assert [one.scores["clash"][0] for one in back] == [0.0, 1.5]
    assert [one.molecule.properties["vendor"] for one in back] == ["one", "two"]


def test_conformer_properties_of_others_come_as_words():
    mol = make_ensemble("R and Z").to_rdkit()
    for name in mol.GetConformer(0).GetPropNames(True, True):
        for conformer in mol.GetConformers():
            conformer.ClearProp(name)
    for k, conformer in enumerate(mol.GetConformers()):
        conformer.SetDoubleProp("docking", -7.5 - k)
    back = rdkit_carried.ensemble_of(mol)
    assert back.properties["docking"][0] == "-7.5" and not back.scores
    assert back.energies_eV is None


def test_smiles_is_left_behind_when_the_mol_was_changed():
    mol = Chem.RWMol(make_ensemble("R and Z").to_rdkit())
    (fluorine, *_) = [atom for atom in mol.GetAtoms() if atom.GetSymbol() in ("F", "Cl", "O")]
    fluorine.SetAtomicNum(35 if fluorine.GetSymbol() in ("F", "Cl") else 16)
    assert rdkit_carried.ensemble_of(mol.GetMol()).molecule.smiles == ""
