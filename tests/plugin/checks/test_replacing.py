"""The part of a molecule that is drawn anew: which atoms, what is left, every message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

import equidrift
from equidrift.checks.molecule import FRAGMENT_LOST, UNCHANGED, judge
from equidrift.checks.replacing import check_replace
from equidrift.engine.molecule_settings import make_settings
from equidrift.engine.molecules import provenance
from equidrift.errors import EquidriftError
from equidrift.records import Ensemble, Molecule
from tests.doubles import Baker, geometry


class Grower(Baker):
    """A model that can be told where to grow."""

    takes_sites = True
    max_atoms = 40


def whole(smiles: str) -> Ensemble:
    molecule = Molecule.from_smiles(smiles)
    return Ensemble(molecule, geometry(molecule)[None])


@pytest.mark.parametrize(
    ("smiles", "replace", "atoms", "rest"),
    [
        ("CC(=O)O", "[OH]", (3,), "CC=O"),  # R-group
        ("CC(=O)O", "O=C", (1, 2), "C.O"),  # linker: two pieces are left
        ("FC1CCO1", "C1CCO1", (1, 2, 3, 4), "F"),  # scaffold
        ("CC(=O)O", "C=[O:1]", (2,), "CCO"),  # mapped atoms alone; two hydrogens on the cut
        ("Cc1ccccc1", [0], (0,), "c1ccccc1"),
        ("Cc1ccccc1", "0", (0,), "c1ccccc1"),
        ("CCO", "8", (8,), "CCO"),  # a hydrogen: only there something grows
        ("CO", "O[H]", (1, 5), "C"),
    ],
)
def test_a_part_is_cut_out_and_hydrogens_are_on_the_cuts(
    smiles: str, replace: Any, atoms: tuple[int, ...], rest: str
) -> None:
    given = whole(smiles)
    found = check_replace(replace, given, Grower())
    left, x = found.fragment
    assert found.atoms == atoms
    assert Chem.CanonSmiles(found.smiles, useChiral=0) == smiles_of(smiles)
    made = equidrift.Ensemble(left, x[None]).to_rdkit()
    assert Chem.MolToSmiles(Chem.RemoveHs(made)) == smiles_of(rest)
    kept = np.setdiff1d(np.arange(len(x)), found.sites)
    places = given.positions_A[0]
    assert all((np.abs(places - x[k]).sum(1) < 1e-9).any() for k in kept), "nothing moves"
    assert (left.numbers[found.sites] == 1).all() and len(found.sites)
    apart = np.linalg.norm(x[found.sites][:, None] - x[kept], axis=-1)
    assert apart.min() > 0.85, "no hydrogen on a cut touches what is held"


def smiles_of(text: str) -> str:
    return str(Chem.CanonSmiles(text))


def test_hydrogens_on_a_cut_lie_where_the_bonds_were() -> None:
    given = whole("CC(=O)O")
    places = given.positions_A[0]
    one = check_replace("[OH]", given, Grower())
    ((site,), (rest, x)) = one.sites, one.fragment
    bond = places[3] - places[1]
    np.testing.assert_allclose(x[site], places[1] + 1.09 * bond / np.linalg.norm(bond))
    assert rest.n_atoms == given.molecule.n_atoms - 1
    two = check_replace("C=[O:1]", given, Grower())
    x, axis = two.fragment[1], places[2] - places[1]
    arms = x[two.sites] - places[1]
    np.testing.assert_allclose(np.linalg.norm(arms, axis=1), 1.09)
    np.testing.assert_allclose(arms @ axis / np.linalg.norm(axis), 1.09 / 2)
    np.testing.assert_allclose(np.sum(arms, 0), axis * 1.09 / np.linalg.norm(axis))


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        ("[Br]", r"matches nothing in COC\(C\)=O; .* --replace 3,4"),
        ("[CH3]", r"matches 2 places of COC\(C\)=O: atoms 0 \| 4; .*\(--replace 0\)"),
        ("[#6,#8]~[#6,#8]", r"matches 4 places .*0,1 \| 1,2"),
        ("CC(=O)OC", r"takes all of COC\(C\)=O, and nothing is left"),
        ([0, 1, 2, 3, 4], "nothing is left"),
        ("C(", r"cannot read the SMARTS 'C\('"),
        ("", "cannot read the SMARTS ''"),
        ("3,40", r"names atom 40, and COC\(C\)=O has atoms 0 to 10"),
        ([], "names no atom"),
        (3.5, "must be SMARTS or numbers of atoms, not 3.5"),
        ([True], "must be SMARTS or numbers"),
    ],
)
def test_what_cannot_be_replaced_says_why(replace: Any, message: str) -> None:
    with pytest.raises(EquidriftError, match=message) as caught:
        equidrift.generate(1, model=Grower(), fragment=whole("CC(=O)OC"), replace=replace)
    assert isinstance(caught.value, ValueError | TypeError)


def test_there_must_be_a_molecule_and_a_model_that_can() -> None:
    with pytest.raises(EquidriftError, match=r"has no molecule .*\(--fragment\)"):
        equidrift.generate(1, model=Grower(), replace="C")
    with pytest.raises(EquidriftError, match="'baker' cannot replace a part"):
        equidrift.generate(1, model=Baker(), fragment=whole("CO"), replace="[OH]")
    with pytest.raises(EquidriftError, match="holds S, which the model"):
        equidrift.generate(1, model=Grower(), fragment=whole("CSCO"), replace="[OH]")
    settings = make_settings(Grower(), fragment=whole("OCCBr"), replace="Br")
    assert settings.fragment is not None  # what the model does not know may go


def test_the_model_is_told_where_to_grow_and_the_provenance_what_was_replaced() -> None:
    model = Grower()
    with pytest.raises(EquidriftError, match="fragment lost"):  # the double holds nothing
        equidrift.generate(
            1, model=model, fragment=whole("CCO"), replace="[OH]", max_attempts=1, batch_size=200
        )
    sites = model.calls[0]["sites"]
    assert model.calls[0]["fragment"][0].numbers[sites].tolist() == [1]
    told = provenance(make_settings(model, fragment=whole("CCO"), replace="[OH]"))
    assert told["replaced"] == {"smiles": "CCO", "atoms": [2]} and told["fragment"]["atoms"] == 8


def test_a_draw_must_grow_at_the_cuts_and_nowhere_else() -> None:
    given = whole("CCO")
    held = make_settings(Grower(), fragment=given, replace="[OH]").held
    same = given.molecule, given.positions_A[0]
    assert judge(same, held=held).reason == UNCHANGED
    for smiles, reason in (("CCN", ""), ("CCOC", ""), ("C(CN)F", FRAGMENT_LOST)):
        molecule = Molecule.from_smiles(smiles)
        assert judge((molecule, laid(molecule, given)), held=held).reason == reason, smiles
    at_methyl = make_settings(Grower(), fragment=given, replace=[3]).held
    assert judge(same, held=at_methyl).reason == FRAGMENT_LOST, "nothing has grown there"


def laid(molecule: Molecule, onto: Ensemble) -> np.ndarray:
    """A geometry whose first two atoms are where those of another molecule are."""
    mol = Ensemble(molecule, geometry(molecule)[None]).to_rdkit()
    for k, place in enumerate(onto.positions_A[0][:2].tolist()):
        mol.GetConformer().SetAtomPosition(k, place)
    field = AllChem.MMFFGetMoleculeForceField(mol, AllChem.MMFFGetMoleculeProperties(mol))
    for k in range(2):
        field.AddFixedPoint(k)
    field.Minimize(maxIts=2000)
    return np.array(mol.GetConformer().GetPositions())
