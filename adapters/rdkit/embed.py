"""Conformers added to the user's own RDKit Mol, in RDKit's manner."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from equidrift.adapters.rdkit.molecule import add_conformers, from_mol
from equidrift.api import sample
from equidrift.errors import InputError, InputTypeError, NoValidSamplesError
from equidrift.protocols import ConformerModel
from equidrift.records import Ensemble
from equidrift.text import counted


def embed_molecule_confs(
    mol: Chem.Mol,
    numConfs: int,
    *,
    model: str | ConformerModel = "default",
    randomSeed: int = -1,
    clearConfs: bool = True,
    numThreads: int = 1,
    pruneRmsThresh: float = -1.0,
    coordMap: dict[int, Any] | None = None,
    **options: Any,
) -> list[int]:
    """Add conformers to `mol`, as `rdDistGeom.EmbedMultipleConfs` does.

    Parameters
    ----------
    mol : Mol
        With explicit hydrogens (`Chem.AddHs`); it is changed in place.
    numConfs : int
        Conformers to add, 1 or more.
    model : str or ConformerModel
        Name of the model, see `equidrift.list_models`, or a model.
    randomSeed : int
        0 or more; -1 draws a fresh seed.
    clearConfs : bool
        Remove the Mol's conformers first.
    numThreads : int
        Threads for RDKit's own models; 0 is all. The result does not depend on it.
    pruneRmsThresh : float
        If 0 or more, conformers whose heavy-atom symmetric RMSD to an earlier one is
        below it, in A, are left out.
    coordMap : dict, optional
        {atom index: Point3D} to hold. Unlike RDKit's, which asks for the distances
        alone, the atoms then are there to 1e-3 A.
    **options
        Passed to `equidrift.sample`.

    Returns
    -------
    list of int
        Ids of the conformers added: fewer than `numConfs` if the model finds fewer valid
        ones, or some are pruned; empty if it finds none, as RDKit's -1.

    Raises
    ------
    InputTypeError
        If `mol` is no Mol.
    InputError
        If hydrogens are implicit, or `randomSeed` is below -1; MoleculeError for a
        molecule that the model does not know.
    """
    if not isinstance(mol, Chem.Mol):
        raise InputTypeError(f"mol must be an RDKit Mol, not {type(mol).__name__}")
    mol.UpdatePropertyCache(strict=False)
    implicit = sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
    if implicit:
        raise InputError(
            f"mol leaves {counted(implicit, 'hydrogen')} implicit; make them explicit: "
            "mol = Chem.AddHs(mol)"
        )
    if randomSeed < -1:
        raise InputError(f"randomSeed must be 0 or more, or -1 for a fresh seed, not {randomSeed}")
    if isinstance(model, str) and model.startswith("etkdg"):
        options = {"num_threads": numThreads, **options}
    if coordMap:
        options["fix"] = coordMap
    molecule = from_mol(mol)
    seed = secrets.randbelow(2**62) if randomSeed == -1 else randomSeed
    try:
        ensemble: Ensemble | None = sample(molecule, numConfs, model=model, seed=seed, **options)
    except NoValidSamplesError as error:
        ensemble = error.partial
    positions = np.zeros((0, molecule.n_atoms, 3))
    if ensemble is not None:
        positions = ensemble.positions_A
        if pruneRmsThresh >= 0:
            positions = positions[prune_by_rms(ensemble.to_rdkit(), pruneRmsThresh)]
    ids: list[int] = add_conformers(mol, positions, clear=clearConfs)
    return ids


def prune_by_rms(mol: Chem.Mol, threshold_A: float) -> list[int]:
    """Indices of conformers that differ by at least `threshold_A` in heavy-atom
    symmetric RMSD from every one kept before.
    """
    count = mol.GetNumConformers()
    if count < 2:
        return list(range(count))
    heavy = Chem.RemoveHs(mol)
    lower = np.array(rdMolAlign.GetAllConformerBestRMS(heavy))
    matrix = np.zeros((count, count))
    matrix[np.tril_indices(count, -1)] = lower
    kept: list[int] = []
    for k in range(count):
        if (matrix[k, kept] >= threshold_A).all():
            kept.append(k)
    return kept
