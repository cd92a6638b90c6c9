"""Capped peptides from their sequences: Ace-X-Y-NMe as a Molecule with the residue and
atom names of PDB files, in the protonation states of pH 7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equidrift.errors import InputError
from equidrift.molecule import Molecule
from equidrift.residues import hydrogen_names, reordered

# one letter -> name, what hangs on the alpha carbon in SMILES, names of those heavy atoms in
# the order of the SMILES. L amino acids; D, E, K, R charged, H neutral with its proton on NE2
SIDE_CHAINS = {
    "A": ("ALA", "C", "CB"),
    "C": ("CYS", "CS", "CB SG"),
    "D": ("ASP", "CC(=O)[O-]", "CB CG OD1 OD2"),
    "E": ("GLU", "CCC(=O)[O-]", "CB CG CD OE1 OE2"),
    "F": ("PHE", "Cc1ccccc1", "CB CG CD1 CE1 CZ CE2 CD2"),
    "G": ("GLY", "", ""),
    "H": ("HIS", "Cc1c[nH]cn1", "CB CG CD2 NE2 CE1 ND1"),
    "I": ("ILE", "[C@@H](C)CC", "CB CG2 CG1 CD1"),
    "K": ("LYS", "CCCC[NH3+]", "CB CG CD CE NZ"),
    "L": ("LEU", "CC(C)C", "CB CG CD1 CD2"),
    "M": ("MET", "CCSC", "CB CG SD CE"),
    "N": ("ASN", "CC(N)=O", "CB CG ND2 OD1"),
    "P": ("PRO", "CCC9", "CB CG CD"),
    "Q": ("GLN", "CCC(N)=O", "CB CG CD NE2 OE1"),
    "R": ("ARG", "CCCNC(N)=[NH2+]", "CB CG CD NE CZ NH1 NH2"),
    "S": ("SER", "CO", "CB OG"),
    "T": ("THR", "[C@@H](C)O", "CB CG2 OG1"),
    "V": ("VAL", "C(C)C", "CB CG1 CG2"),
    "W": ("TRP", "Cc1c[nH]c2ccccc12", "CB CG CD1 NE1 CE2 CZ2 CH2 CZ3 CE3 CD2"),
    "Y": ("TYR", "Cc1ccc(O)cc1", "CB CG CD1 CE1 CZ OH CE2 CD2"),
}
AMINO_ACIDS = "".join(SIDE_CHAINS)
_ACE, _NME = ("ACE", "CC(=O)", "CH3 C O"), ("NME", "NC", "N C")


def capped_peptide(sequence: str) -> Molecule:
    """Ace-X...-NMe of a sequence of the twenty amino acids.

    Parameters
    ----------
    sequence : str
        One letter for each amino acid, from the N terminus: "AF" is Ace-Ala-Phe-NMe.

    Returns
    -------
    Molecule
        Hydrogens included; residues in a row, heavy atoms first in each, with the names
        that PDB files and force fields of proteins know. Amino acids are L; Asp, Glu,
        Lys and Arg are charged, His is neutral with its proton on NE2, Cys is a thiol.

    Raises
    ------
    InputError
        If the sequence is empty, has another letter, or mixes capitals and small ones.

    Examples
    --------
    >>> from equidrift.peptides import capped_peptide
    >>> molecule = capped_peptide("AF")
    >>> molecule.n_atoms, sorted(set(molecule.residue_names))
    (42, ['ACE', 'ALA', 'NME', 'PHE'])
    """
    letters = check_sequence(sequence)
    parts = [_ACE, *(_residue(letter) for letter in letters), _NME]
    molecule = Molecule.from_smiles("".join(smiles for _, smiles, _ in parts))
    owners = [(k, name) for k, (_, _, names) in enumerate(parts) for name in names.split()]
    return _named(molecule, owners, [name for name, _, _ in parts])


def check_sequence(sequence: str) -> str:
    """The sequence in capitals.

    Raises
    ------
    InputError
        If it is empty, has a letter that is no amino acid, or mixes capitals and small
        letters, as names of three letters do.
    """
    text = str(sequence).strip()
    letters = text.upper()
    wrong = sorted(set(letters) - set(AMINO_ACIDS))
    if wrong or not letters or text not in (letters, text.lower()):
        found = f"has {', '.join(map(repr, wrong))}" if wrong else "is empty"
        if letters and not wrong:
            found = "mixes capitals and small letters, as 'Ala' does"
        raise InputError(
            f"the sequence {sequence!r} {found}; give one letter for each amino acid, of "
            f"{AMINO_ACIDS}, such as 'AF'"
        )
    return letters


def _residue(letter: str) -> tuple[str, str, str]:
    """Name, SMILES and heavy atoms of an amino acid between two others."""
    name, side, atoms = SIDE_CHAINS[letter]
    if letter == "G":
        return name, "NCC(=O)", "N CA C O"
    nitrogen = "N9" if letter == "P" else "N"
    return name, f"{nitrogen}[C@@H]({side})C(=O)", f"N CA {atoms} C O"


def _named(molecule: Molecule, owners: Sequence[tuple[int, str]], residues: list[str]) -> Molecule:
    """The molecule with names, its hydrogens beside the residues they belong to; its heavy
    atoms come in the order of `owners`, (residue, name).
    """
    parent = np.arange(molecule.n_atoms)
    for i, j in molecule.bonds.tolist():
        if molecule.numbers[j] == 1:
            parent[j] = i
        elif molecule.numbers[i] == 1:
            parent[i] = j
    labels = list(owners) + [(0, "")] * (molecule.n_atoms - len(owners))
    for heavy, (place, name) in enumerate(owners):
        mine = [int(k) for k in np.flatnonzero(parent == heavy) if k != heavy]
        residue = residues[place]
        # hydrogens of the caps' methyl groups are H1 to H3
        stem = "X" if (residue, name) in {("ACE", "CH3"), ("NME", "C")} else name
        for k, hydrogen in zip(mine, hydrogen_names(stem, len(mine), residue), strict=True):
            labels[k] = (place, hydrogen)
    named = molecule.replace(
        atom_names=tuple(name for _, name in labels),
        residue_names=tuple(residues[place] for place, _ in labels),
        residue_ids=tuple(place + 1 for place, _ in labels),
    )
    return reordered(named, np.argsort([place for place, _ in labels], kind="stable"))
