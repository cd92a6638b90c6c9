"""The joint model draws a part of a molecule anew: it grows at the cuts alone, and the
rest does not move.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rdkit import Chem

import equidrift
from equidrift.checks.molecule import FRAGMENT_LOST
from equidrift.checks.replacing import check_replace
from equidrift.engine.molecule_settings import make_settings
from equidrift.engine.molecules import draws
from equidrift.errors import InputError
from equidrift.models.molecules.joint.fragments import Fragment
from equidrift.models.molecules.joint.sampler import JointModel
from equidrift.records import Ensemble, Molecule
from equidrift.registry import make_model


@pytest.fixture(scope="module")
def model() -> JointModel:
    return JointModel(device="cpu")


def whole(smiles: str) -> Ensemble:
    molecule = Molecule.from_smiles(smiles)
    return Ensemble(molecule, make_model("etkdg").sample(molecule, np.array([5])))


@pytest.mark.parametrize(
    ("smiles", "replace", "cuts"),
    [("CC(C)OC(=O)N", "[NH2]", 1), ("CC(=O)CCCN", "C(=O)CC", 2), ("FC1CCO1", "C1CCO1", 1)],
)
@pytest.mark.parametrize("sampler", ["diffusion", "bfn"])
def test_only_the_cuts_grow_and_nothing_held_moves(
    smiles: str, replace: str, cuts: int, sampler: Any
) -> None:
    model = JointModel(sampler=sampler, device="cpu")
    found = check_replace(replace, whole(smiles), model)
    rest, x = found.fragment
    held = np.flatnonzero(~np.isin(np.arange(rest.n_atoms), found.sites))
    at_sites = set(rest.bonds[np.isin(rest.bonds, found.sites).any(1)].min(1).tolist())
    for raw in model.sample(np.arange(3), fragment=found.fragment, sites=found.sites, steps=12):
        assert raw is not None
        molecule, places = raw
        apart = np.linalg.norm(places - x[held][:, None], axis=-1)
        assert apart.min(1).max() < 1e-9, "all that is held is there"
        row = dict(zip(held.tolist(), apart.argmin(1).tolist(), strict=True))
        assert (molecule.numbers[list(row.values())] == rest.numbers[held]).all()
        for atom in held[rest.numbers[held] != 1].tolist():
            around = molecule.bonds[(molecule.bonds == row[atom]).any(1)].ravel()
            hydrogens = int((molecule.numbers[around] == 1).sum())
            before = rest.bonds[(rest.bonds == atom).any(1)].ravel()
            kept = int(((rest.numbers[before] == 1) & ~np.isin(before, found.sites)).sum())
            assert hydrogens == kept, "no hydrogen gives way, but on the cuts"
    assert len(at_sites) == cuts


@pytest.mark.long
def test_valid_draws_keep_their_cuts_and_are_not_the_start(model: JointModel) -> None:
    start = whole("Cc1ccc(F)cc1")
    settings = make_settings(model, fragment=start, replace="F", seed=1, steps=25)
    made = draws(settings, 0, 12)
    sound = [draw for draw in made if draw.molecule is not None]
    assert sound, [draw.reason for draw in made]
    assert FRAGMENT_LOST not in {draw.reason for draw in made}
    smiles = {draw.molecule.smiles for draw in sound if draw.molecule is not None}
    assert "Cc1ccc(F)cc1" not in smiles
    core = Chem.MolFromSmarts("[CH3]c1[cH][cH]c(*)[cH][cH]1")
    assert all(Chem.MolFromSmiles(text).HasSubstructMatch(core) for text in smiles)


@pytest.mark.long
def test_generate_replaces_a_part(model: JointModel) -> None:
    made = equidrift.generate(
        1, model=model, fragment=whole("CC(C)OC(=O)N"), replace="[NH2]", seed=1, steps=25
    )
    assert made[0].provenance["replaced"]["atoms"] == [6]
    core = Chem.MolFromSmarts("[CH3]C([CH3])OC(=O)*")
    assert all(Chem.MolFromSmiles(one.molecule.smiles).HasSubstructMatch(core) for one in made)


def test_atoms_at_a_cut_carry_what_the_rest_leaves_them() -> None:
    found = check_replace("C=[O:1]", whole("CC(=O)O"), JointModel(device="cpu"))
    held = Fragment.of(*found.fragment, sites=found.sites)
    carried = np.array(JointModel(device="cpu").alphabet.types)[:, 2]
    assert [sorted(set(carried[row].tolist())) for row in held.allowed] == [[3], [0, 1], [1]]
    assert held.fixed.tolist() == [3, 0, 1]
    with pytest.raises(InputError, match="no hydrogen"):
        Fragment.of(*found.fragment, sites=np.zeros(0, np.int64))
