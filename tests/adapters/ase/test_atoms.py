"""Ensembles as `ase.Atoms`: nothing is lost on the way back, and what ASE does to atoms
is followed.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st

from equidrift.adapters.ase.atoms import INDEX, ensemble_of, from_arrays, from_atoms, to_atoms
from equidrift.errors import InputError, InputTypeError, MoleculeError
from tests.conftest import graph_key, make_ensemble


def assert_same(back, ensemble, atol=0.0):
    assert back.molecule == ensemble.molecule
    for field in ("name", "smiles", "atom_names", "residue_names", "residue_ids"):
        assert getattr(back.molecule, field) == getattr(ensemble.molecule, field)
    np.testing.assert_allclose(back.positions_A, ensemble.positions_A, rtol=0, atol=atol)
    for field in ("seeds", "energies_eV", "log_prob", "valid"):
        np.testing.assert_array_equal(getattr(back, field), getattr(ensemble, field))
    assert {k: v.tolist() for k, v in back.scores.items()} == {
        k: v.tolist() for k, v in ensemble.scores.items()
    }
    assert dict(back.provenance) == dict(ensemble.provenance)


def test_atoms_give_the_ensemble_back(ensemble):
    assert_same(ensemble_of(to_atoms(ensemble)), ensemble)


def test_lossless_with_everything(chiral):
    n = chiral.molecule.n_atoms
    named = chiral.molecule.replace(
        atom_names=("A",) * n, residue_names=("LIG",) * n, residue_ids=tuple(range(n))
    )
    full = chiral.replace(
        molecule=named, log_prob=np.array([-3.0, -4.0]), valid=np.array([True, False])
    )
    images = ensemble_of(to_atoms(full))
    assert_same(images, full)


def test_info_is_what_users_look_for(chiral):
    images = to_atoms(chiral, first_sample=5)
    info = images[1].info
    assert (
        info["smiles"] == chiral.molecule.smiles
        and info["sample"] == 6
        and info["seed"] == chiral.seeds[1]
    )
    assert (
        info["model"] == "etkdg"
        and info["charge"] == 0
        and info["spin"] == 1
        and info["scores"] == {"clash": 1.5}
    )
    assert images[1].get_potential_energy() == 0.5 and images[1].calc.results.keys() == {"energy"}
    json.dumps(info)


def test_no_calculator_without_real_energies(chiral):
    assert all(atoms.calc is None for atoms in to_atoms(chiral.replace(energies_eV=None)))
    half = to_atoms(chiral.replace(energies_eV=np.array([1.0, np.nan])))
    assert half[0].calc is not None and half[1].calc is None
    assert ensemble_of(half).energies_eV is None


def test_formal_charges_are_initial_charges():
    atoms = to_atoms(make_ensemble("anion"))[0]
    assert atoms.info["charge"] == -1 and atoms.get_initial_charges().sum() == -1


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(make_ensemble("R and Z").molecule.n_atoms)))
def test_reordered_atoms_keep_their_bonds(order):
    ensemble = make_ensemble("R and Z")
    atoms = to_atoms(ensemble)[0][list(order)]
    molecule = from_atoms(atoms)
    assert molecule.numbers.tolist() == atoms.numbers.tolist()
    back = from_atoms(atoms[[list(order).index(k) for k in range(len(atoms))]])
    assert graph_key(back) == graph_key(ensemble.molecule)
    from equidrift.adapters.rdkit.perception import molecule_from_xyz

    assert graph_key(molecule_from_xyz(atoms.numbers, atoms.positions)) == graph_key(molecule)


def test_changed_atoms_lose_the_stored_graph(chiral):
    atoms = to_atoms(chiral)[0]
    fluorine = atoms.numbers.tolist().index(9)
    atoms.numbers[fluorine] = 17
    atoms.positions[fluorine] += 0.3 * (atoms.positions[fluorine] - atoms.positions[1]) / 1.4
    assert 9 not in from_atoms(atoms).numbers
    short = to_atoms(chiral)[0]
    del short[-1]
    with pytest.raises(MoleculeError, match=r"ambiguous"):
        from_atoms(short)


def test_bare_atoms_are_perceived():
    for name in ("ibuprofen", "sulfoxide", "R and Z"):
        ensemble = make_ensemble(name)
        bare = Atoms(ensemble.molecule.numbers, ensemble.positions_A[0])
        assert graph_key(from_atoms(bare))[1] is not None and from_atoms(bare).charge == 0
    back = ensemble_of([bare, bare])
    assert (
        graph_key(back.molecule) == graph_key(ensemble.molecule)
        and back.provenance["model"] == "given"
    )


def test_charge_of_bare_atoms_comes_from_where_it_is_said():
    ensemble = make_ensemble("anion")
    bare = Atoms(ensemble.molecule.numbers, ensemble.positions_A[0])
    with pytest.raises(
        MoleculeError,
        match=r"charge is not given and no neutral structure fits; charge -1 would fit",
    ):
        from_atoms(bare)
    assert from_atoms(bare, charge=-1).charge == -1
    bare.set_initial_charges(ensemble.molecule.formal_charges)
    assert from_atoms(bare).charge == -1
    bare.info["charge"] = 0
    with pytest.raises(MoleculeError, match=r"no structure of charge \+0 fits"):
        from_atoms(bare)
    bare.info["charge"] = 0.5
    with pytest.raises(InputError, match=r"whole number"):
        from_atoms(bare)


def test_changed_charge_is_not_the_stored_graph():
    atoms = to_atoms(make_ensemble("anion"))[0]
    atoms.info["charge"] = 0
    with pytest.raises(MoleculeError, match=r"no structure of charge"):
        from_atoms(atoms)


def test_images_of_several_molecules_are_refused(chiral):
    with pytest.raises(InputError, match=r"images\[2\] is not the molecule of images\[0\]"):
        ensemble_of([*to_atoms(chiral), to_atoms(make_ensemble("anion"))[0]])
    with pytest.raises(InputError, match=r"images\[1\] is not the molecule"):
        ensemble_of(
            [to_atoms(make_ensemble("R centre"))[0], to_atoms(make_ensemble("S centre"))[0]]
        )


def test_other_objects_are_refused(chiral):
    with pytest.raises(InputTypeError, match=r"expected an ase\.Atoms, not str"):
        from_atoms("CCO")
    with pytest.raises(InputTypeError, match=r"images\[1\] must be an ase\.Atoms"):
        ensemble_of([to_atoms(chiral)[0], "CCO"])
    with pytest.raises(InputError, match=r"no images"):
        ensemble_of([])


def test_energies_already_computed_are_taken_none_is_computed(chiral):
    class Explodes(SinglePointCalculator):
        def calculate(self, *args, **kwargs):
            raise AssertionError("nothing may be computed")

    images = to_atoms(chiral.replace(energies_eV=None))
    for k, atoms in enumerate(images):
        atoms.calc = Explodes(atoms, energy=float(k))
    assert ensemble_of(images).energies_eV.tolist() == [0.0, 1.0]
    images[0].positions += 1
    assert ensemble_of(images).energies_eV is None


def test_atoms_of_bare_arrays_have_cell_and_graph_if_given(chiral):
    bare = from_arrays(np.array([8, 1, 1]), np.eye(3), cell=[10, 10, 10, 90, 90, 90])
    assert (
        bare.pbc.all() and INDEX not in bare.arrays and bare.cell.lengths().tolist() == [10, 10, 10]
    )
    whole = from_arrays(chiral.molecule.numbers, chiral.positions_A[0], molecule=chiral.molecule)
    assert from_atoms(whole) == chiral.molecule and not whole.pbc.any()
