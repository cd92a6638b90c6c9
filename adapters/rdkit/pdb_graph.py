"""The bonds, orders and charges of one model of a PDB file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from equidrift.adapters.rdkit.building import bonds_in
from equidrift.adapters.rdkit.perception import (
    check_charge,
    connect,
    fit_charge,
    mol_of,
)
from equidrift.adapters.rdkit.residue_bonds import VARIANTS, is_contact, missing_bonds
from equidrift.adapters.rdkit.template import template_mol
from equidrift.bond_orders import HALOGENS, IONS, Skeleton, Structure, fitting_structure
from equidrift.errors import MoleculeError
from equidrift.files.pdb import PdbAtom, PdbFile
from equidrift.records import SYMBOLS
from equidrift.residues import WATER, is_standard
from equidrift.text import counted

Model = Sequence[PdbAtom]
CAPS = frozenset(("ACE", "NME", "NMA", "NH2", "FOR"))  # neutral ends of peptides
MAX_ATOMS = 99_999


def pdb_graph(
    model: Model, file: PdbFile, charge: int | None, template: str | None = None
) -> Chem.Mol:
    """A Mol with the atoms of a model, labelled; hydrogens may still be implicit."""
    numbers = np.array([SYMBOLS.index(atom.symbol) for atom in model])
    if template is not None:
        mol = _by_template(model, numbers, file, template)
        check_charge(mol, charge)
    elif (numbers == 1).any() or np.isin(numbers, list(IONS)).all():
        mol = _with_explicit_hydrogens(model, numbers, file, charge)
    else:
        mol = _without_hydrogens(model, file)
    total = Chem.GetFormalCharge(mol)
    if charge is not None and total != charge:
        raise MoleculeError(
            f"the atoms, bonds and hydrogens in the PDB file make the charge {total:+d}, and "
            f"charge={charge:+d} was given; leave it out, or mend the file"
        )
    for atom, read in zip(mol.GetAtoms(), model, strict=True):
        atom.SetIsotope(read.isotope)
        atom.SetMonomerInfo(residue_label(read))
    return mol


def _by_template(
    model: Model, numbers: NDArray[np.int64], file: PdbFile, template: str
) -> Chem.Mol:
    """The model's atoms with the orders and charges of a SMILES."""
    positions = np.array([atom.position_A for atom in model])
    bonds, _ = bonds_of(model, numbers, positions, file)
    skeleton = Skeleton(numbers, bonds, positions)
    return template_mol(template, skeleton, [str(atom) for atom in model], complete=True)


def residue_label(atom: PdbAtom) -> Chem.AtomPDBResidueInfo:
    """What a PDB file says of an atom, for an RDKit atom to carry."""
    info = Chem.AtomPDBResidueInfo()
    info.SetName(atom.name)
    info.SetResidueName(atom.residue)
    info.SetResidueNumber(atom.number)
    info.SetChainId(atom.chain)
    info.SetInsertionCode(atom.insertion)
    info.SetIsHeteroAtom(not is_standard(atom.residue))
    return info


def _with_explicit_hydrogens(
    model: Model, numbers: NDArray[np.int64], file: PdbFile, charge: int | None
) -> Chem.Mol:
    positions = np.array([atom.position_A for atom in model])
    bonds, orders = bonds_of(model, numbers, positions, file)
    degrees = np.bincount(bonds.ravel(), minlength=len(model))
    water = np.array([atom.residue in WATER for atom in model])
    lone = water & (numbers == 8) & (degrees == 0)  # of crystal waters, oxygens alone are seen
    kept = np.flatnonzero(~lone)
    place = np.full(len(model), -1)
    place[kept] = np.arange(len(kept))
    skeleton = Skeleton(numbers[kept], place[bonds], positions[kept], given=orders)
    read = zip(model, numbers.tolist(), (degrees > 0).tolist(), strict=True)
    known = np.array([is_known(*of_atom) for of_atom in read])[kept]
    structure = _structure(skeleton, [model[k] for k in kept.tolist()], known, charge)
    part = mol_of(Skeleton(skeleton.numbers, skeleton.bonds), structure)
    if not lone.any():
        return part
    whole = Chem.CombineMols(part, Chem.MolFromSmiles(".".join(["O"] * int(lone.sum()))))
    order = np.argsort(np.concatenate([kept, np.flatnonzero(lone)]))
    return Chem.RenumberAtoms(whole, order.tolist())


def _structure(
    skeleton: Skeleton, atoms: Model, known: NDArray[np.bool_], charge: int | None
) -> Structure:
    """Orders and charges that the hydrogens ask for.

    A total charge is taken as given. Without one, known residues have what their
    hydrogens make; the rest has the charge in its records, else it is neutral, or a
    cation if its hydrogens are too many for that. An anion may as well lack a hydrogen,
    and is refused.
    """
    if charge is not None:
        return fit_charge(skeleton, charge)
    written = sum(
        atom.charge or 0
        for atom, is_known in zip(atoms, known.tolist(), strict=True)
        if not is_known
    )
    totals = [] if known.all() else [(~known, written)]
    found = fitting_structure(skeleton, totals)
    if found is None and not written:
        free = fitting_structure(skeleton, ())
        if free is not None and free.charges[~known].sum() > 0:
            found = free
    if found is None and totals:
        return fit_charge(skeleton, written or None, ~known)
    problem = "" if found is None else unlikely_anion(skeleton, found, atoms, known)
    if found is None or problem:
        raise MoleculeError(
            f"the hydrogens in the PDB file do not complete its residues{problem}; check "
            f"that every "
            "hydrogen is there (openmm.app.Modeller adds them), take all of them out, or give "
            "charge=... (--charge) if that is right"
        )
    return found


def unlikely_anion(
    skeleton: Skeleton, structure: Structure, atoms: Model, known: NDArray[np.bool_]
) -> str:
    """The first atom of a known residue that is an anion and rather lacks a hydrogen,
    or "".
    """
    around: dict[int, list[int]] = {}
    for i, j in skeleton.bonds.tolist():
        around.setdefault(i, []).append(j)
        around.setdefault(j, []).append(i)
    oxygens = {k: sum(skeleton.numbers[o] == 8 for o in others) for k, others in around.items()}
    for k in np.flatnonzero((structure.charges < 0) & known).tolist():
        number, others = int(skeleton.numbers[k]), around.get(k, [])
        if not others or atoms[k].residue in ("CYM", "TYM"):
            continue  # an ion, or a residue named for its charge
        acid = number == 8 and any(oxygens[o] > 1 for o in others)
        if not acid:
            return f": {atoms[k]} would be an anion"
    return ""


def is_known(atom: PdbAtom, number: int, bonded: bool = True) -> bool:
    """Whether the charge of an atom's residue can be told from its hydrogens; a halogen
    without bonds is an anion.
    """
    known = is_standard(atom.residue) or atom.residue in WATER | CAPS or number in IONS
    return known or (number in HALOGENS and not bonded)


def bonds_of(
    model: Model, numbers: NDArray[np.int64], positions_A: NDArray[np.float64], file: PdbFile
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(bonds (m, 2), orders (m,) that CONECT gives, else 1)."""
    orders = _listed(model, file)
    listed = {k for pair in orders for k in pair if not is_standard(model[k].residue)}
    for i, j in connect(numbers, positions_A).tolist():
        hydrogen = numbers[i] == 1 or numbers[j] == 1
        if not (i in listed and j in listed) and (hydrogen or not is_contact(model[i], model[j])):
            orders.setdefault((min(i, j), max(i, j)), 1)
    pairs = {pair: n for pair, n in orders.items() if not {int(numbers[k]) for k in pair} & IONS}
    return (
        np.array(list(pairs), np.int64).reshape(-1, 2),
        np.array(list(pairs.values()), np.int64),
    )


def _listed(model: Model, file: PdbFile) -> dict[tuple[int, int], int]:
    """(lower index, higher index) -> order of the bonds in CONECT records."""
    place: dict[str, int] = {}
    twice: set[str] = set()
    for k, atom in enumerate(model):
        if atom.serial in place:
            twice.add(atom.serial)
        place[atom.serial] = k
    orders = {}
    for a, b, order in file.bonds:
        if {a, b} & twice:
            raise MoleculeError(
                f"CONECT records name atom {a if a in twice else b}, and several atoms have that "
                "serial number; number the atoms of the PDB file again"
            )
        if a in place and b in place:
            i, j = sorted((place[a], place[b]))
            orders[i, j] = order
    return orders


def _without_hydrogens(model: Model, file: PdbFile) -> Chem.Mol:
    """By RDKit's templates of residues, and the orders in CONECT records."""
    if len(model) > MAX_ATOMS:
        raise MoleculeError(
            f"the PDB file has {counted(len(model), 'atom')}, more than {MAX_ATOMS}"
        )
    mol = by_residues(model, file)
    Chem.AssignStereochemistryFrom3D(mol)
    if _orders_unknown(mol):
        raise MoleculeError(
            "the PDB file has neither hydrogens nor bond orders for its ligand, so its bonds are "
            "ambiguous; add the hydrogens, or give the molecule as SDF"
        )
    return mol


def by_residues(model: Model, file: PdbFile) -> Chem.Mol:
    """A Mol whose orders are those of RDKit's templates of residues and of CONECT
    records; what is near and by its names not bonded, is not. Stereo is not assigned.

    Raises `MoleculeError` where that makes no molecule; the message names an atom.
    """
    listed = _listed(model, file)
    with rdBase.BlockLogs():
        mol = Chem.MolFromPDBBlock(_clean_block(model, listed), removeHs=False, sanitize=False)
    if mol is None or mol.GetNumAtoms() != len(model):
        raise MoleculeError("the atoms of the PDB file cannot be read; check their columns")
    mol = _by_names(mol, model, listed)
    problems = Chem.DetectChemistryProblems(mol)
    if problems:
        at = [p.GetAtomIdx() for p in problems if p.GetType() == "AtomValenceException"]
        raise MoleculeError(
            "the bonds of the PDB file do not make a molecule"
            f"{f' at {model[at[0]]}' if at else ''}; add the hydrogens, or give the molecule as SDF"
        )
    Chem.SanitizeMol(mol)
    return mol


def _by_names(mol: Chem.Mol, model: Model, listed: Collection[tuple[int, int]]) -> Chem.Mol:
    """The Mol without bonds that the names of its atoms deny, and with those that they
    ask for; `listed` are those of CONECT records.
    """
    changed, bonded = Chem.RWMol(mol), set[tuple[int, int]]()
    for bond in bonds_in(mol):
        first, second = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        pair = first, second
        if pair not in listed and is_contact(model[first], model[second]):
            changed.RemoveBond(*pair)
            for k in pair:  # RDKit gives a nitrogen of four bonds a charge
                changed.GetAtomWithIdx(k).SetFormalCharge(model[k].charge or 0)
        else:
            bonded.add(pair)
    for pair, order in missing_bonds(model, bonded):
        changed.AddBond(*pair, order)
    out = changed.GetMol()
    out.UpdatePropertyCache(strict=False)
    return out


def _clean_block(model: Model, listed: Mapping[tuple[int, int], int]) -> str:
    """The model in the columns that RDKit reads, with orders of bonds as CONECT records."""
    lines = []
    for k, atom in enumerate(model, 1):
        x, y, z = np.clip(atom.position_A, -999.0, 9999.0).tolist()
        record = "ATOM  " if is_standard(atom.residue) else "HETATM"
        residue = VARIANTS.get(atom.residue, atom.residue)[:3]
        number = f"{atom.number % 10_000:4d}{atom.insertion or ' '}"
        charge = f"{abs(atom.charge)}{'-' if atom.charge < 0 else '+'}" if atom.charge else "  "
        lines.append(
            f"{record}{k:5d} {atom.name} {residue:>3s} {atom.chain or ' '}{number}   "
            f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {atom.symbol.upper():>2s}{charge}"
        )
    for (i, j), order in listed.items():
        lines.append(f"CONECT{i + 1:5d}" + f"{j + 1:5d}" * order)
    return "\n".join([*lines, "END\n"])


def _orders_unknown(mol: Chem.Mol) -> bool:
    """Whether a residue without a template has two bonded atoms, and only single bonds."""
    bonds = [bond for bond in bonds_in(mol) if not _has_template(bond.GetBeginAtom())]
    return bool(bonds) and all(bond.GetBondType() == Chem.BondType.SINGLE for bond in bonds)


def _has_template(atom: Chem.Atom) -> bool:
    return is_standard(atom.GetPDBResidueInfo().GetResidueName().strip())
