"""Capped peptides from sequences: stereo and protonation are those of RDKit's residues,
names those that OpenMM's reader knows.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from openmm import app
from rdkit import Chem
from rdkit.Chem.MolStandardize import rdMolStandardize

from equidrift.adapters.openmm.topology import to_topology
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.errors import InputError
from equidrift.peptides import AMINO_ACIDS, capped_peptide
from equidrift.residues import hydrogen_names

CHARGES = {"D": -1, "E": -1, "K": 1, "R": 1}


@pytest.mark.parametrize("letter", AMINO_ACIDS)
def test_a_residue_is_the_amino_acid_of_rdkit_between_its_caps(letter):
    """L, with the charge of pH 7; RDKit's MolFromSequence is the oracle of stereo."""
    molecule = capped_peptide(letter)
    assert molecule.formal_charges.sum() == CHARGES.get(letter, 0)
    mol = Chem.RemoveHs(to_mol(molecule))
    free = Chem.MolFromSequence(letter)
    acid = Chem.MolFromSmarts("[NX3;H2,$([NX3;H1]1CCCC1)]-C-C(=O)[OX2H1]")
    n, _, c, _, oxygen = free.GetSubstructMatch(acid)
    whole = Chem.RWMol(Chem.CombineMols(free, Chem.MolFromSmiles("CC=O.NC")))
    first = free.GetNumAtoms()
    whole.AddBond(n, first + 1, Chem.BondType.SINGLE)
    whole.AddBond(c, first + 3, Chem.BondType.SINGLE)
    whole.RemoveAtom(oxygen)
    Chem.SanitizeMol(whole)
    neutral = rdMolStandardize.Uncharger().uncharge(mol)
    assert Chem.MolToSmiles(neutral) == Chem.MolToSmiles(whole)


@pytest.mark.parametrize("first", range(0, 20, 2))
def test_names_are_those_that_openmm_reads_from_a_pdb_file(first):
    """It finds every bond, and the template of every residue, by the names alone."""
    sequence = AMINO_ACIDS[first : first + 2]
    molecule = capped_peptide(sequence)
    topology, text = to_topology(molecule), io.StringIO()
    app.PDBFile.writeFile(topology, np.zeros((molecule.n_atoms, 3)), text, keepIds=True)
    lines = [line for line in text.getvalue().splitlines() if not line.startswith("CONECT")]
    read = app.PDBFile(io.StringIO("\n".join(lines))).topology
    bonds = {frozenset((a.index, b.index)) for a, b in read.bonds()}
    assert bonds == {frozenset(pair) for pair in molecule.bonds.tolist()}
    field = app.ForceField("amber14/protein.ff14SB.xml")
    found = [template.name for template in field.getMatchingTemplates(topology)]
    assert [name.replace("HIE", "HIS") for name in found] == [
        residue.name for residue in topology.residues()
    ]


def test_residues_are_in_a_row_with_hydrogens_after_heavy_atoms():
    molecule = capped_peptide("gk")
    assert molecule.residue_ids == tuple(sorted(molecule.residue_ids))
    names = [
        name
        for name, place in zip(molecule.atom_names, molecule.residue_ids, strict=True)
        if place == 2
    ]
    assert names == ["N", "CA", "C", "O", "H", *hydrogen_names("CA", 2, "GLY")]
    assert molecule.atom_names[:6] == ("CH3", "C", "O", "H1", "H2", "H3")


@pytest.mark.parametrize("sequence", ["", "AB", "Ala", "A-F"])
def test_what_is_no_sequence_is_refused(sequence):
    with pytest.raises(InputError, match="one letter for each amino acid"):
        capped_peptide(sequence)
