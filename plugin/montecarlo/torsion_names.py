"""Names of torsions that a reader knows: ALA2 phi, LYS5 chi1; else atom names; always
unique.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equidrift.graph import neighbours_of
from equidrift.records import Molecule
from equidrift.residues import AMINO_ACIDS, residue_keys
from equidrift.torsions import TorsionTree

_REMOTENESS = "ABGDEZH"  # alpha, beta, gamma, ...: the letters of side chains' atoms
# bond (atom, atom) of the backbone -> name, atoms that a torsion about it is measured by
_BACKBONE = {("N", "CA"): ("phi", ("C", "C")), ("CA", "C"): ("psi", ("N", "N"))}


def named_tree(molecule: Molecule, tree: TorsionTree | None = None) -> TorsionTree:
    """The torsions of a molecule, those of amino acids measured by the atoms that IUPAC
    names.

    psi is N-CA-C-N, not N-CA-C-O, which is half a turn away.
    """
    tree = TorsionTree.of(molecule) if tree is None else tree
    if molecule.atom_names is None:
        return tree
    around = neighbours_of(molecule.n_atoms, molecule.bonds)
    rows = [_iupac_row(molecule, around, row) for row in tree.atoms.tolist()]
    tree.atoms = np.array(rows, np.int64).reshape(-1, 4)
    return tree


def torsion_names(molecule: Molecule, atoms: NDArray[np.int64]) -> list[str]:
    """One unique name per torsion.

    Parameters
    ----------
    atoms : (m, 4) array
        Atoms of each torsion.
    """
    keys = residue_keys(molecule)
    several = len(set(keys)) > 1
    chains = len({key[0] for key in keys}) > 1
    found = []
    for row in atoms.tolist():
        special = _peptide_name(molecule, row)
        residue = keys[row[1] if special != "phi" else _named(molecule, row, "CA")]
        chain, number, insertion, name = residue
        place = f"{chain}:{name}{number}{insertion}" if chains else f"{name}{number}{insertion}"
        if special:
            found.append(f"{place} {special}")
        else:
            names = "-".join(_atom_name(molecule, k) for k in row)
            found.append(f"{place} {names}" if several else names)
    counts = Counter(found)
    return [
        name if counts[name] == 1 else f"{name} ({'-'.join(map(str, row))})"
        for name, row in zip(found, atoms.tolist(), strict=True)
    ]


def _atom_name(molecule: Molecule, k: int) -> str:
    """Its name, else element and index."""
    if molecule.atom_names is None:
        return f"{molecule.symbols[k]}{k}"
    return molecule.atom_names[k]


def _named(molecule: Molecule, row: Sequence[int], name: str) -> int:
    """Which of the two middle atoms has that name, else the second."""
    return next((k for k in row[1:3] if _atom_name(molecule, k) == name), row[2])


def _peptide_name(molecule: Molecule, row: Sequence[int]) -> str:
    """phi, psi, chi1 ... for the bond in the middle of an amino acid's torsion, else
    empty.
    """
    keys = residue_keys(molecule)
    b, c = row[1:3]
    if molecule.atom_names is None or keys[b] != keys[c] or keys[b][3] not in AMINO_ACIDS:
        return ""
    first, second = _atom_name(molecule, b), _atom_name(molecule, c)
    for pair in ((first, second), (second, first)):
        if pair in _BACKBONE:
            return _BACKBONE[pair][0]
    ranks = sorted((_remoteness(first), _remoteness(second)))
    if ranks[0] >= 0 and ranks[1] == ranks[0] + 1:
        return f"chi{ranks[1]}"
    return ""


def _remoteness(name: str) -> int:
    """0 for CA, 1 for CB, 2 for CG and OG1, ...; -1 for others."""
    letter = name[1:2]
    return _REMOTENESS.index(letter) if letter and letter in _REMOTENESS else -1


def _iupac_row(molecule: Molecule, around: list[list[int]], row: list[int]) -> list[int]:
    """The torsion's atoms with the outer ones as IUPAC takes them, if it names the
    torsion.
    """
    kind = _peptide_name(molecule, row)
    if not kind:
        return row
    a, b, c, d = row
    return [_outer(molecule, around, b, c, kind, a), b, c, _outer(molecule, around, c, b, kind, d)]


def _outer(
    molecule: Molecule, around: list[list[int]], atom: int, other: int, kind: str, present: int
) -> int:
    """The neighbour of `atom` that measures its end of the torsion about atom-other."""
    names = {_atom_name(molecule, k): k for k in around[atom] if k != other}
    if kind == "phi":
        wanted = ["C"]
    elif kind == "psi":
        wanted = ["N"]
    else:
        rank = _remoteness(_atom_name(molecule, atom))
        up = rank > _remoteness(_atom_name(molecule, other))
        wanted = _side_chain(rank, up)
    return next((names[name] for name in wanted if name in names), present)


def _side_chain(rank: int, up: bool) -> list[str]:
    """Names that an outer atom of a side chain's torsion may have, the first that is
    there.
    """
    if not up and rank == 0:
        return ["N"]
    letter = _REMOTENESS[rank + 1 if up else rank - 1]
    return [f"{element}{letter}{digit}" for digit in ("", "1") for element in "CNOS"]
