"""What an Ensemble holds beside graph and positions, as properties of an RDKit Mol and
its conformers, and back.

A conformer has `seed` (text, for it is wider than RDKit's integers), `energy_eV`,
`log_prob`, `valid`, each score by its name, and the user's own properties as text. The
Mol has the user's properties that all conformers share. If a user's property has the
name of one of these, `input_` comes before it, as in SDF files. Of the provenance
nothing comes back: a Mol that was changed by its user says "given".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rdkit import Chem

from equidrift.adapters.rdkit.molecule import from_mol, labelled_mol
from equidrift.errors import InputError
from equidrift.files.fields import (
    columns_of,
    merged_fields,
    own_fields,
    shared_and_own,
    split_fields,
)
from equidrift.records import Ensemble, Molecule
from equidrift.text import tidy

_SMILES = "_equidrift_smiles"  # private, so that it is no property of the molecule
_NUMBERS = ("energy_eV", "log_prob")
_HIDDEN = ("smiles", "sample", "model", "equidrift_scores")  # of SDF records alone


def carried_mol(ensemble: Ensemble) -> Chem.Mol:
    """An RDKit Mol with all that it can carry of an ensemble.

    Parameters
    ----------
    ensemble : Ensemble
        Its conformers, in A, become those of the Mol.

    Returns
    -------
    Mol
        `mol.GetConformer(k).GetDoubleProp("energy_eV")` is the energy of conformer k.
    """
    molecule = ensemble.molecule
    mol = labelled_mol(molecule, ensemble.positions_A)
    if molecule.smiles:
        mol.SetProp(_SMILES, molecule.smiles)
    scores = "\n".join(ensemble.scores)
    numbers = {"energy_eV": ensemble.energies_eV, "log_prob": ensemble.log_prob, **ensemble.scores}
    own = own_fields(ensemble, "", 0)
    for k, conformer in enumerate(mol.GetConformers()):
        properties = {name: texts[k] for name, texts in ensemble.properties.items()}
        kept = {name: text for name, text in own[k].items() if name not in _HIDDEN}
        for name, text in merged_fields(kept, properties).items():
            conformer.SetProp(name, text)
        for name, values in numbers.items():
            if values is not None:
                conformer.SetDoubleProp(name, float(values[k]))
        conformer.SetBoolProp("valid", bool(np.asarray(ensemble.valid)[k]))
        conformer.SetProp("_equidrift_scores", scores)
    return mol


def ensemble_of(mol: Chem.Mol) -> Ensemble:
    """The graph and the 3D conformers of a Mol, in its own order, with what its
    properties tell of them.

    Parameters
    ----------
    mol : Mol
        From anywhere. Missing hydrogens are placed after its atoms. Those that
        `carried_mol` made, and records of equidrift's SDF files, bring energies, seeds,
        scores and names back.

    Returns
    -------
    Ensemble
        Positions in A, (k, n_atoms, 3) for k conformers.

    Raises
    ------
    InputError
        If there is no conformer in 3D.
    """
    frames = [conformer for conformer in mol.GetConformers() if conformer.Is3D()]
    if not frames:
        raise InputError("the Mol has no 3D conformer; embed it, or call equidrift.sample(mol, 10)")
    whole = Chem.AddHs(mol, addCoords=True)
    molecule = from_mol(whole)
    positions = np.array([whole.GetConformer(frame.GetId()).GetPositions() for frame in frames])
    recorded, shared = split_fields(molecule.properties)
    rows = [{**recorded, **_texts(frame)} for frame in frames]
    columns, properties = _columns(rows, frames)
    molecule = molecule.replace(
        smiles=_smiles_of(mol, molecule, recorded.get("smiles", "")), properties=shared
    )
    return Ensemble(molecule, positions, properties=properties, **columns)


def _texts(conformer: Chem.Conformer) -> dict[str, str]:
    """A conformer's public properties as text; floats without loss."""
    found = conformer.GetPropsAsDict(False, False, False)
    return {
        tidy(name): tidy(value if isinstance(value, str) else repr(value), lines=True)
        for name, value in found.items()
    }


def _columns(
    rows: Sequence[dict[str, str]], frames: Sequence[Chem.Conformer]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """(fields of the Ensemble, its properties by name with one text per conformer)."""
    marked = [frame.HasProp("_equidrift_scores") for frame in frames]
    if all(marked):
        scores = frames[0].GetProp("_equidrift_scores")
        rows = [{**row, "equidrift_scores": scores} for row in rows]
    elif "smiles" not in rows[0]:  # of somebody else: nothing is known of what its names mean
        return {"provenance": {"model": "given"}}, shared_columns(rows)
    names = rows[0].get("equidrift_scores", "").split("\n")
    ours = {*_HIDDEN, *_NUMBERS, "seed", "valid", *names}
    others = [{name: text for name, text in row.items() if name not in ours} for row in rows]
    columns = columns_of([{"model": "given", **row} for row in rows])
    return columns, shared_columns(others)


def shared_columns(rows: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """Name -> one text per row; empty text if a row has none."""
    same, own = shared_and_own(rows)
    return {name: [text] * len(rows) for name, text in same.items()} | own


def _smiles_of(mol: Chem.Mol, molecule: Molecule, recorded: str) -> str:
    """The SMILES that came with a Mol, if it still is that of its graph."""
    smiles = mol.GetProp(_SMILES) if mol.HasProp(_SMILES) else recorded
    named = Chem.MolFromSmiles(smiles) if smiles else None
    if named is None:
        return molecule.smiles
    return smiles if _flat(named) == _flat(Chem.Mol(mol)) else molecule.smiles


def _flat(mol: Chem.Mol) -> str:
    """SMILES of the graph alone, whatever its stereo and numbers of atoms."""
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
        atom.SetIsotope(0)
    return str(Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False))
