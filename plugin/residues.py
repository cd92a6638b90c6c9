"""Residues as PDB files have them: standard names, columns, and the order that keeps
them whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.records import LABELS, Molecule

_AMINO_ACIDS = (
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL "
    "ASH GLH CYM CYX HID HIE HIP HSD HSE HSP LYN"
)
AMINO_ACIDS = frozenset(_AMINO_ACIDS.split())
NUCLEOTIDES = frozenset(("A", "C", "G", "U", "DA", "DC", "DG", "DT"))
WATER = frozenset(("HOH", "WAT", "H2O", "TIP3", "TIP", "SOL"))


def is_standard(residue: str) -> bool:
    """Whether a residue's atoms are ATOM records: an amino acid or a nucleotide of
    polymers.
    """
    return residue in AMINO_ACIDS or residue in NUCLEOTIDES


def record_types(molecule: Molecule) -> list[str]:
    """The PDB record of each atom, "ATOM" or "HETATM"."""
    names = molecule.residue_names or ("MOL",) * molecule.n_atoms
    return ["ATOM" if is_standard(name) else "HETATM" for name in names]


def name_column(name: str, symbol: str) -> str:
    """An atom's name in columns 13-16: the element right-aligned in the first two of
    them.
    """
    if len(name) < 4 and len(symbol) == 1:
        return f" {name:<3s}"
    return f"{name:<4s}"[:4]


def hydrogen_names(owner: str, count: int, residue: str) -> list[str]:
    """PDB's names for the `count` hydrogens on the atom named `owner`.

    In amino acids: HA on CA; HB2 and HB3 on CB; HD21 and HD22 on ND2; H, or H1 to H3,
    on N.
    """
    stem = "H" + owner[1:]
    if count == 1:
        return [stem]
    if residue in NUCLEOTIDES and owner.endswith("'") and count == 2:
        return [stem, stem + "'"]
    methylene = residue in AMINO_ACIDS and count == 2 and owner.startswith("C")
    first = 2 if methylene else 1
    return [f"{stem}{k}" for k in range(first, first + count)]


def residue_keys(molecule: Molecule) -> list[tuple[str, int, str, str]]:
    """(chain, id, insertion code, name) of each atom's residue; one residue MOL without
    labels.
    """
    n = molecule.n_atoms
    return list(
        zip(
            molecule.chain_ids or ("",) * n,
            molecule.residue_ids or (1,) * n,
            molecule.insertion_codes or ("",) * n,
            molecule.residue_names or ("MOL",) * n,
            strict=True,
        )
    )


def residue_order(molecule: Molecule) -> NDArray[np.int64]:
    """The order of atoms in which each residue, and each chain, is in one piece.

    Returns
    -------
    (n_atoms,) array of int
        Atom `order[k]` comes in place k; residues stand in the order of their first
        atoms, atoms in that of the molecule.
    """
    keys = residue_keys(molecule)
    first: dict[Any, int] = {}
    for k, key in enumerate(keys):
        first.setdefault(key, k)
        first.setdefault(key[0], k)
    ranks = [(first[key[0]], first[key], k) for k, key in enumerate(keys)]
    return np.array([rank[2] for rank in sorted(ranks)], np.int64)


def reordered(molecule: Molecule, order: Sequence[int] | NDArray[np.int64]) -> Molecule:
    """The same molecule with atom `order[k]` in place k."""
    order = np.asarray(order, np.int64)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    changes: dict[str, Any] = {
        "numbers": molecule.numbers[order],
        "formal_charges": molecule.formal_charges[order],
        "isotopes": molecule.isotopes[order],
        "atom_maps": molecule.atom_maps[order],
        "bonds": place[molecule.bonds],
        "tetrahedral": place[molecule.tetrahedral],
    }
    double_bonds = molecule.double_bonds
    changes["double_bonds"] = np.hstack([place[double_bonds[:, :4]], double_bonds[:, 4:]])
    changes["axial"] = np.hstack([place[molecule.axial[:, :4]], molecule.axial[:, 4:]])
    groups = molecule.stereo_groups
    changes["stereo_groups"] = np.hstack([place[groups[:, :1]], groups[:, 1:]])
    for name, values in molecule.named(LABELS).items():
        changes[name] = None if values is None else tuple(values[k] for k in order)
    return molecule.replace(**changes)


def default_names(molecule: Molecule) -> tuple[str, ...]:
    """Names of the atoms of a molecule that has none: C1, C2, H1, ..."""
    seen: Counter[str] = Counter()
    names = []
    for symbol in molecule.symbols:
        seen[symbol] += 1
        names.append(f"{symbol}{seen[symbol]}")
    return tuple(names)
