"""Bonds from a bare geometry: right, in the caller's order, or refused with the charge
that would fit.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.adapters.rdkit.perception import molecule_from_xyz
from equidrift.errors import InputError, MoleculeError
from tests.conftest import make_ensemble


def smiles(molecule):
    return Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(to_mol(molecule))))


def test_perceives_every_molecule(ensemble):
    molecule = ensemble.molecule
    found = molecule_from_xyz(molecule.numbers, ensemble.positions_A[0], charge=molecule.charge)
    assert found.numbers.tolist() == molecule.numbers.tolist()
    assert sorted(map(sorted, found.bonds.tolist())) == sorted(map(sorted, molecule.bonds.tolist()))
    assert smiles(found).replace("@", "") == smiles(molecule).replace("@", "")


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(make_ensemble("R and Z").molecule.n_atoms)))
def test_order_is_the_callers(order):
    ensemble = make_ensemble("R and Z")
    found = molecule_from_xyz(ensemble.molecule.numbers[order], ensemble.positions_A[0][order])
    assert found.numbers.tolist() == ensemble.molecule.numbers[order].tolist()
    assert smiles(found) == smiles(ensemble.molecule)


@pytest.mark.parametrize(("name", "charge"), [("anion", "-1"), ("cation", r"\+1")])
def test_ion_without_charge_is_refused(name, charge):
    ensemble = make_ensemble(name)
    with pytest.raises(
        MoleculeError,
        match=f"the charge is not given and no neutral structure fits; charge {charge} would fit",
    ):
        molecule_from_xyz(ensemble.molecule.numbers, ensemble.positions_A[0])


def test_wrong_charge_is_refused():
    ensemble = make_ensemble("ibuprofen")
    with pytest.raises(MoleculeError, match=r"no structure of charge \+2 fits; charge \+0"):
        molecule_from_xyz(ensemble.molecule.numbers, ensemble.positions_A[0], charge=2)


@pytest.mark.parametrize(("number", "charge"), [(11, 1), (17, -1), (30, 2), (18, 0)])
def test_single_atom_has_the_charge_of_its_ion(number, charge):
    assert molecule_from_xyz([number], np.zeros((1, 3)), charge=charge).charge == charge


def test_missing_hydrogens_are_refused():
    ensemble = make_ensemble("R centre")
    heavy = ensemble.molecule.numbers > 1
    with pytest.raises(MoleculeError, match=r"check that every hydrogen is there"):
        molecule_from_xyz(ensemble.molecule.numbers[heavy], ensemble.positions_A[0][heavy])


def test_shapes_and_nan():
    with pytest.raises(InputError, match=r"do not fit"):
        molecule_from_xyz([6, 1], np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"NaN"):
        molecule_from_xyz([1, 1], np.full((2, 3), np.nan))


# Of drug-like molecules ---------------------------------------------------------------

ZINC_STEP = 349  # of the 29,000 lines, 80 and a few


def resonance_forms(mol):
    """Canonical SMILES of the least charged resonance forms, without stereo."""
    forms = itertools.chain([mol], Chem.ResonanceMolSupplier(mol, 0, 200))
    bare = [Chem.RemoveHs(form) for form in forms]
    return {Chem.MolToSmiles(form, isomericSmiles=False) for form in bare}


def embedded(smiles, seed):
    """A Mol with hydrogens at an MMFF94 minimum of an ETKDG geometry."""
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=seed) == 0
    AllChem.MMFFOptimizeMolecule(mol)
    return mol


def perceived(mol, charge):
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    return to_mol(molecule_from_xyz(numbers, mol.GetConformer().GetPositions(), charge))


@pytest.mark.long
@pytest.mark.skipif("EQUIDRIFT_DATA" not in os.environ, reason="needs the ZINC molecules")
@pytest.mark.parametrize("seed", [1, 2])
def test_80_drug_like_geometries_give_the_right_molecule_or_a_refusal(seed):
    data_dir = Path(os.environ["EQUIDRIFT_DATA"])
    lines = (data_dir / "zinc_smiles" / "zinc_29k.smi").read_text().split()[::ZINC_STEP][:80]
    refused = 0
    for k, smiles in enumerate(lines):
        mol = embedded(smiles, 100 * seed + k)
        try:
            found = perceived(mol, Chem.GetFormalCharge(mol))
        except MoleculeError:
            refused += 1
            continue
        assert resonance_forms(found) & resonance_forms(mol), smiles
    assert refused == 0


DRUG_LIKE = [
    "O=C(O)c1cccs1",
    "O=C1CSC(=S)N1",
    "CC(C(=O)O)c1ccc(C(=O)c2ccccc2)s1",
    "CC[C@H](C)n1nccc1NC(=O)c1cc([N+](=O)[O-])ccc1Cl",
    "Cc1csc(=O)n1CC(=O)N(Cc1ccco1)Cc1cccs1",
    "Cc1nc(NC[C@@H](O)c2ccccc2Cl)c2c([nH+]1)CC[NH2+]CC2",
    "CC(C)(C)[S@](=O)CC",
    "[O-]S(=O)(=O)c1ccccc1",
    "CS(=O)(=O)[N-]c1ccccc1",
    "CN=[N+]=[N-]",
    "C[N+]#[C-]",
    "C[N+]([O-])(C)C",
    "COP(=O)(OC)SCC",
    "c1ccc2cccc2cc1",
    "C1=CC=CC=CC=C1",
    "CC1=CC(=O)C=CC1=O",
    "[nH]1c[nH+]cc1",
    "[cH-]1cccc1",
    "C1=CC=C[CH+]C=C1",
    "F[B-](F)(F)F",
    "OB(O)c1ccccc1",
    "[O-][Cl](=O)(=O)=O",
    "C#CC#C",
    "C=C=C=C",
    "FC=C=CF",
    "O=C=Nc1ccccc1",
    "[NH3+]CC([O-])=O",
    "NC(=[NH2+])NCCC[C@H]([NH3+])C([O-])=O",
    "CI",
    "C[Si](C)(C)C",
]


@pytest.mark.parametrize("smiles", DRUG_LIKE)
def test_functional_groups_are_perceived_in_their_usual_form(smiles):
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    if AllChem.MMFFHasAllMoleculeParams(mol):
        AllChem.MMFFOptimizeMolecule(mol)
    found = perceived(mol, Chem.GetFormalCharge(mol))
    assert resonance_forms(found) & resonance_forms(mol)


@pytest.mark.parametrize("atom", range(6))
def test_one_lost_hydrogen_is_refused_at_every_charge(atom):
    ensemble = make_ensemble("ibuprofen")
    hydrogens = np.flatnonzero(ensemble.molecule.numbers == 1)
    kept = np.delete(np.arange(ensemble.molecule.n_atoms), hydrogens[3 * atom])
    with pytest.raises(MoleculeError, match="check that every hydrogen is there"):
        molecule_from_xyz(ensemble.molecule.numbers[kept], ensemble.positions_A[0][kept])


@pytest.mark.long
def test_two_lost_hydrogens_of_one_carbon_or_two_are_refused():
    mol = embedded("CCc1ccccc1", 3)
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    x = mol.GetConformer().GetPositions()
    hydrogens = np.flatnonzero(numbers == 1)
    for pair in itertools.combinations(hydrogens.tolist(), 2):
        kept = np.delete(np.arange(len(numbers)), pair)
        with pytest.raises(MoleculeError):
            molecule_from_xyz(numbers[kept], x[kept])
