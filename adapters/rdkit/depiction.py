"""Molecules as pictures and as mol blocks, for reports."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.records import Molecule

_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)  # XML declaration: no part of a page
_CLASSES = re.compile(r" class='[^']*'")  # atom and bond numbers, half of the text


def depiction(molecule: Molecule, width: int = 240, height: int = 170) -> str:
    """The 2D structure without its plain hydrogens, as an SVG element.

    Parameters
    ----------
    molecule : Molecule
        The graph.
    width, height : int
        In pixels.
    """
    with rdBase.BlockLogs():
        mol = Chem.RemoveHs(to_mol(molecule))
    rdDepictor.Compute2DCoords(mol)
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    options: Any = drawer.drawOptions()
    options.clearBackground = False
    options.maxFontSize = 16
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, mol)
    drawer.FinishDrawing()
    return _CLASSES.sub("", _HEAD.sub("", str(drawer.GetDrawingText()))).strip()


def mol_block(molecule: Molecule, positions_A: NDArray[np.float64]) -> str:
    """One conformer (n_atoms, 3) as a mol block, all hydrogens in it."""
    return str(Chem.MolToMolBlock(to_mol(molecule, positions_A[None])))


def flat_key(molecule: Molecule) -> str:
    """The canonical SMILES, stereo in it: the same for the same molecule in any order of
    atoms.
    """
    with rdBase.BlockLogs():
        return str(Chem.MolToSmiles(Chem.RemoveHs(to_mol(molecule))))
