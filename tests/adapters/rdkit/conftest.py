"""Files of the Protein Data Bank that tests read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom


@pytest.fixture(scope="module")
def modeller_pdb(tmp_path_factory):
    """A function that makes the PDB file of a peptide by RDKit and OpenMM's Modeller."""
    from openmm import app

    folder = tmp_path_factory.mktemp("peptides")

    def make(sequence: str, pH: float = 7.0) -> Path:
        mol = Chem.MolFromSequence(sequence)
        full = Chem.AddHs(mol)
        rdDistGeom.EmbedMolecule(full, randomSeed=11)
        heavy = Chem.RemoveHs(full)
        pdb = app.PDBFile(io.StringIO(Chem.MolToPDBBlock(heavy, flavor=4)))
        modeller = app.Modeller(pdb.topology, pdb.positions)
        modeller.addHydrogens(app.ForceField("amber14-all.xml"), pH=pH)
        path = folder / f"{sequence}-{pH:g}.pdb"
        with open(path, "w") as stream:
            app.PDBFile.writeFile(modeller.topology, modeller.positions, stream)
        return path

    return make
