"""An RDKit Mol with conformers -> Ensemble."""

from __future__ import annotations

import numpy as np
from rdkit import Chem

from equidrift.errors import InputError
from equidrift.records import Ensemble
from equidrift.registry import resolve


def ensemble_of(mol: Chem.Mol) -> Ensemble:
    """The graph and the 3D conformers of a Mol, in its own order; missing hydrogens are placed behind its atoms.

    Raises
    ------
    InputError
        where there is no conformer in 3D.
    """
    frames = [conformer for conformer in mol.GetConformers() if conformer.Is3D()]
    if not frames:
        raise InputError("the Mol has no 3D conformer; embed it, or call equidrift.sample(mol, 10)")
    whole = Chem.AddHs(mol, addCoords=True)
    molecule = resolve("equidrift.adapters.rdkit.molecule:from_mol")(whole)
    positions = np.array([whole.GetConformer(frame.GetId()).GetPositions() for frame in frames])
    return Ensemble(molecule, positions, provenance={"model": "given"})
