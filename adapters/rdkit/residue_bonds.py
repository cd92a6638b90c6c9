"""Which heavy atoms of standard residues are bonded, by their names: models of proteins
have contacts that are as near as bonds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from rdkit import Chem

from equidrift.files.pdb import PdbAtom
from equidrift.residues import NUCLEOTIDES

VARIANTS = {
    **dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"), "HIS"),
    **dict.fromkeys(("CYX", "CYM"), "CYS"),
    "ASH": "ASP",
    "GLH": "GLU",
    "LYN": "LYS",
}
BACKBONE = "N-CA-C=O C-OXT"
SUGAR = "P-O5'-C5'-C4'-C3'-O3' C4'-O4'-C1'-C2'-C3' P=OP1 P-OP2 P=O1P P-O2P"
PURINE = "C1'-N9-C8=N7-C5=C4-N9 C5-C6 N1-C2=N3-C4 "
PYRIMIDINE = "C1'-N1-C2-N3 C4-C5=C6-N1 C2=O2 "
# chains of bonded atoms beyond the backbone or the sugar, = where the bond is double
SIDES = {
    "ALA": "CA-CB",
    "ARG": "CA-CB-CG-CD-NE-CZ-NH1 CZ=NH2",
    "ASN": "CA-CB-CG-ND2 CG=OD1",
    "ASP": "CA-CB-CG-OD2 CG=OD1",
    "CYS": "CA-CB-SG",
    "GLN": "CA-CB-CG-CD-NE2 CD=OE1",
    "GLU": "CA-CB-CG-CD-OE2 CD=OE1",
    "GLY": "",
    "HIS": "CA-CB-CG=CD2-NE2-CE1=ND1-CG",
    "ILE": "CA-CB-CG1-CD1 CB-CG2 CG1-CD",
    "LEU": "CA-CB-CG-CD1 CG-CD2",
    "LYS": "CA-CB-CG-CD-CE-NZ",
    "MET": "CA-CB-CG-SD-CE",
    "PHE": "CA-CB-CG=CD1-CE1=CZ-CE2=CD2-CG",
    "PRO": "CA-CB-CG-CD-N",
    "SER": "CA-CB-OG",
    "THR": "CA-CB-OG1 CB-CG2",
    "TRP": "CA-CB-CG=CD1-NE1-CE2=CD2-CG CD2-CE3=CZ3-CH2=CZ2-CE2",
    "TYR": "CA-CB-CG=CD1-CE1=CZ-CE2=CD2-CG CZ-OH",
    "VAL": "CA-CB-CG1 CB-CG2",
    "A": PURINE + "N1=C6-N6 C2'-O2'",
    "G": PURINE + "N1-C6=O6 C2-N2 C2'-O2'",
    "C": PYRIMIDINE + "N3=C4-N4 C2'-O2'",
    "U": PYRIMIDINE + "N3-C4=O4 C2'-O2'",
    "DA": PURINE + "N1=C6-N6",
    "DG": PURINE + "N1-C6=O6 C2-N2",
    "DC": PYRIMIDINE + "N3=C4-N4",
    "DT": PYRIMIDINE + "N3-C4=O4 C5-C7 C5-C5M",
}
# names of atoms that may be bonded across residues: of one chain, and disulfides
BACKBONES = frozenset(frozenset(pair) for pair in (("C", "N"), ("O3'", "P")))
DISULFIDE = frozenset(("SG",))
LACTAMS = frozenset(frozenset(pair) for pair in (("ASP CG", "LYS NZ"), ("GLU CD", "LYS NZ")))
Pair = tuple[int, int]  # indices of atoms, the lower first
Bonds = Mapping[frozenset[str], Chem.BondType]


@lru_cache(maxsize=64)
def of_template(residue: str) -> Bonds:
    """The bonds between the heavy atoms of a residue, by its name in a file: the names of
    both to the order; none if there is no template.
    """
    name = VARIANTS.get(residue, residue)
    if name not in SIDES:
        return {}
    chains = f"{SUGAR if name in NUCLEOTIDES else BACKBONE} {SIDES[name]}".split()
    found = {}
    for chain in chains:
        names = chain.replace("=", "-").split("-")
        for first, second in pairwise(names):
            double = f"{first}={second}" in chain
            found[frozenset((first, second))] = (
                Chem.BondType.DOUBLE if double else Chem.BondType.SINGLE
            )
    return found


@lru_cache(maxsize=64)
def names_in(residue: str) -> frozenset[str]:
    """The heavy atoms of a residue's template."""
    return frozenset[str]().union(*of_template(residue))


def is_contact(first: PdbAtom, second: PdbAtom) -> bool:
    """Whether two heavy atoms of standard residues are near each other, if they are, and
    not bonded.

    An atom whose name its residue's template has not may be bonded to any.
    """
    names = [atom.name.strip() for atom in (first, second)]
    both = zip(names, (first, second), strict=True)
    if not all(name in names_in(atom.residue) for name, atom in both):
        return False
    if first.place == second.place:
        return frozenset(names) not in of_template(first.residue)
    ends = frozenset(
        f"{VARIANTS.get(atom.residue, atom.residue)} {name}"
        for atom, name in zip((first, second), names, strict=True)
    )
    in_chain = first.chain == second.chain and frozenset(names) in BACKBONES
    return not in_chain and frozenset(names) != DISULFIDE and ends not in LACTAMS


def missing_bonds(
    atoms: Sequence[PdbAtom], bonded: set[Pair]
) -> Iterator[tuple[Pair, Chem.BondType]]:
    """Bonds of templates, with their orders, that are not among `bonded`."""
    rows: dict[tuple[str, int, str], dict[str, int]] = {}
    for k, atom in enumerate(atoms):
        rows.setdefault(atom.place, {})[atom.name.strip()] = k
    for names in rows.values():
        residue = atoms[next(iter(names.values()))].residue
        for pair, order in of_template(residue).items():
            if pair <= names.keys():
                low, high = sorted(names[name] for name in pair)
                if (low, high) not in bonded:
                    yield (low, high), order
