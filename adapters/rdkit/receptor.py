"""The receptor in a PDB file, as molecules in a pocket meet it: the protein or nucleic
acid with its metals and cofactors.

Hydrogens tell orders and charges, as everywhere in PDB files. A file without any gets
them: orders are those of RDKit's templates of residues, charges those of pH 7. Whatever
is left out, is told.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from equidrift.adapters.rdkit.io import lines_of, read_molecules, readable
from equidrift.adapters.rdkit.molecule import from_mol
from equidrift.adapters.rdkit.pdb_graph import (
    CAPS,
    Model,
    bonds_of,
    by_residues,
    is_known,
    residue_label,
    unlikely_anion,
)
from equidrift.adapters.rdkit.perception import mol_of
from equidrift.bond_orders import STATES, Skeleton, connected, fitting_structure, unfit_atoms
from equidrift.errors import InputError, MoleculeError
from equidrift.files.pdb import PdbAtom, PdbFile, read_pdb
from equidrift.records import SYMBOLS, Ensemble
from equidrift.residues import WATER, is_standard
from equidrift.text import counted

Floats = NDArray[np.float64]
BONDED_A = 1.5  # a hydrogen this far from a heavy atom may be bonded to it
SALT = frozenset(("Li", "F", "Na", "Cl", "K", "Br", "Rb", "I", "Cs"))  # ions of the solution
# formal charges of metal ions, by the names that the Protein Data Bank gives these residues
METALS = {
    **dict.fromkeys(("MG", "CA", "MN", "FE2", "CO", "NI", "CU", "ZN", "CD"), 2),
    "FE": 3,
    "CU1": 1,
}
# of residues without hydrogens, (residue, atom) -> formal charge at pH 7
AT_PH_7 = {
    ("ASP", "OD2"): -1,
    ("GLU", "OE2"): -1,
    ("LYS", "NZ"): 1,
    ("ARG", "NH2"): 1,
}
PHOSPHATE_OXYGENS = ("OP2", "O2P")
END_OXYGEN = "OXT"
PREPARE = "PDBFixer or openmm.app.Modeller, say"


def read_receptor(path: str | os.PathLike[str]) -> tuple[Ensemble, tuple[str, ...]]:
    """(what is in a file, with coordinates; what was left out of it or added, and why).

    A .pdb file with residues of a protein or nucleic acid is read as a receptor: without
    water, ions of the solution, and ligands whose bonds cannot be told. Any other file
    holds one entry, which is taken whole.

    Raises
    ------
    InputError
        If the file cannot be read, or holds none or several entries.
    MoleculeError
        If residues are incomplete; the message names the first.
    """
    file = readable(path)
    if file.suffix.lower() == ".pdb":
        read = read_pdb("".join(lines_of(file)))
        if any(is_standard(atom.residue) for atom in read.models[0]):
            return _receptor(read)
    return _only_entry(path), ()


def read_places(path: str | os.PathLike[str]) -> Floats:
    """Where the heavy atoms (k, 3) of the one molecule in a file are, in A; the bonds of
    a .pdb file are not asked for.

    Raises
    ------
    InputError
        If the file cannot be read, or holds none or several entries.
    """
    file = readable(path)
    if file.suffix.lower() == ".pdb":
        atoms = read_pdb("".join(lines_of(file))).models[0]
        return np.array([a.position_A for a in atoms if a.symbol != "H"]).reshape(-1, 3)
    found = _only_entry(path)
    heavy: Floats = found.positions_A[0][found.molecule.numbers != 1]
    return heavy


def _only_entry(path: str | os.PathLike[str]) -> Ensemble:
    """The one entry of a file, its first conformer."""
    records = list(read_molecules(path))
    reason = "split the file"
    if len(records) == 1:
        molecule, positions = records[0].molecule, records[0].positions_A
        if molecule is not None and positions is not None:
            return Ensemble(molecule, positions[:1])
        reason = records[0].error or "it has no coordinates"
    raise InputError(
        f"{str(path)!r} holds {counted(len(records), 'entry')}, and one molecule with "
        f"coordinates is wanted: {reason}"
    )


def _receptor(file: PdbFile) -> tuple[Ensemble, tuple[str, ...]]:
    """The receptor of the first model, and the notes."""
    notes, left = [], Counter[str]()
    if len(file.models) > 1:
        notes.append(f"of the {len(file.models)} MODELs of the pocket's file the first is taken")
    atoms, metals = _sorted_out(file.models[0], left)
    parts: list[Chem.Mol] = []
    for part in _bonded(atoms, file):
        if any(is_standard(atom.residue) or atom.residue in CAPS for atom in part):
            parts.append(_polymer(part, file, notes))
        else:
            parts += _ligand(part, file, left)
    mol = reduce(Chem.CombineMols, [*parts, *map(_metal, metals)])
    Chem.SanitizeMol(mol)
    Chem.AssignStereochemistryFrom3D(mol)
    full = Chem.AddHs(mol, addCoords=True)
    if left:
        told = ", ".join(f"{count} x {what}" if count > 1 else what for what, count in left.items())
        notes.append(f"left out of the pocket: {told}")
    return Ensemble(from_mol(full), full.GetConformer().GetPositions()[None]), tuple(notes)


def _sorted_out(model: Model, left: Counter[str]) -> tuple[list[PdbAtom], list[PdbAtom]]:
    """(atoms that are bonded, metal ions); what else there is, is counted in `left`."""
    residues: dict[tuple[str, int, str], list[PdbAtom]] = {}
    for atom in model:
        residues.setdefault(atom.place, []).append(atom)
    bonded: list[PdbAtom] = []
    metals: list[PdbAtom] = []
    for atoms in residues.values():
        first = atoms[0]
        unknown = [a.symbol for a in atoms if SYMBOLS.index(a.symbol) not in STATES]
        if first.residue in WATER:
            left["water"] += 1
        elif len(atoms) == 1 and first.symbol in SALT:
            left[f"{first.symbol} (an ion of the solution)"] += 1
        elif len(atoms) == 1 and first.residue.upper() in METALS:
            metals.append(first)
        elif unknown:
            left[f"{_name(first)} (bonds of {unknown[0]} cannot be told)"] += 1
        else:
            bonded += atoms
    return bonded, metals


def _bonded(atoms: Model, file: PdbFile) -> list[list[PdbAtom]]:
    """Polymers together, as the first part, then each other molecule."""
    label = connected(len(atoms), bonds_of(atoms, _numbers(atoms), _places(atoms), file)[0])
    polymer = {
        int(label[k])
        for k, atom in enumerate(atoms)
        if is_standard(atom.residue) or atom.residue in CAPS
    }
    parts: dict[int, list[PdbAtom]] = {}
    for k, atom in enumerate(atoms):
        kind = -1 if int(label[k]) in polymer else int(label[k])
        parts.setdefault(kind, []).append(atom)
    return [parts[kind] for kind in sorted(parts)]


def _polymer(atoms: Model, file: PdbFile, notes: list[str]) -> Chem.Mol:
    """All residues that are bonded to those of proteins and nucleic acids."""
    numbers = _numbers(atoms)
    if not (numbers == 1).any():
        notes.append(
            "the pocket's file has no hydrogens: they are added, acids and bases charged as at "
            f"pH 7 and histidine neutral; to choose, add them by {PREPARE}"
        )
        return _charged(atoms, file)
    skeleton = _skeleton(atoms, file)
    structure = fitting_structure(skeleton, ())
    known = np.array([is_known(a, z) for a, z in zip(atoms, numbers.tolist(), strict=True)])
    problem = "" if structure is None else unlikely_anion(skeleton, structure, atoms, known)
    if structure is None or problem:
        unfit = unfit_atoms(skeleton)
        at = f": at {atoms[unfit[0]]}" if len(unfit) else problem
        raise MoleculeError(
            f"hydrogens, or other atoms, are missing in the pocket's residues{at}; add all by "
            f"{PREPARE}, or take all hydrogens out"
        )
    return _labelled(mol_of(skeleton, structure), atoms)


def _charged(atoms: Model, file: PdbFile) -> Chem.Mol:
    """Residues without hydrogens, by RDKit's templates, charged as at pH 7."""
    strange = [atom for atom in atoms if not is_standard(atom.residue) and atom.residue not in CAPS]
    if strange:
        raise MoleculeError(
            f"the pocket's file has no hydrogens, and {_name(strange[0])} is no standard residue, "
            f"so its bonds cannot be told; add hydrogens by {PREPARE}"
        )
    mol = by_residues(atoms, file)
    begins = {atom.chain: atom.place for atom in reversed(atoms)}
    for atom, read in zip(mol.GetAtoms(), atoms, strict=True):
        name = read.name.strip()
        charge = AT_PH_7.get((read.residue, name), 0)
        if name == END_OXYGEN or name in PHOSPHATE_OXYGENS:
            charge = -1
        if name == "N" and begins[read.chain] == read.place and read.residue not in CAPS:
            charge = 1
        if charge and atom.GetTotalNumHs() + charge >= 0:
            atom.SetFormalCharge(charge)
    mol.UpdatePropertyCache(strict=False)
    return _labelled(mol, atoms)


def _ligand(atoms: Model, file: PdbFile, left: Counter[str]) -> list[Chem.Mol]:
    """A molecule that is no polymer, if its hydrogens tell its bonds."""
    skeleton = _skeleton(atoms, file)
    has_hydrogens = bool((skeleton.numbers == 1).any())
    structure = fitting_structure(skeleton, ()) if has_hydrogens else None
    if structure is None:
        why = "incomplete" if has_hydrogens else "without hydrogens"
        left[f"{_name(atoms[0])} ({why}, so that its bonds cannot be told)"] += 1
        return []
    return [_labelled(mol_of(skeleton, structure), atoms)]


def _metal(atom: PdbAtom) -> Chem.Mol:
    """A metal ion as a Mol."""
    ion = Chem.Atom(SYMBOLS.index(atom.symbol))
    ion.SetNoImplicit(True)
    ion.SetFormalCharge(METALS[atom.residue.upper()])
    mol = Chem.RWMol()
    mol.AddAtom(ion)
    conformer = Chem.Conformer(1)
    conformer.SetAtomPosition(0, atom.position_A)
    mol.AddConformer(conformer)
    return _labelled(mol.GetMol(), [atom])


def _labelled(mol: Chem.Mol, atoms: Model) -> Chem.Mol:
    for atom, read in zip(mol.GetAtoms(), atoms, strict=True):
        atom.SetIsotope(read.isotope)
        atom.SetMonomerInfo(residue_label(read))
    return mol


def _skeleton(atoms: Model, file: PdbFile) -> Skeleton:
    """Atoms and bonds; a hydrogen has one, to the nearest heavy atom of its residue.

    Programs that add hydrogens may leave two of them near each other, or near two
    carbons, so that distances alone mislead.
    """
    numbers, places = _numbers(atoms), _places(atoms)
    bonds, orders = bonds_of(atoms, numbers, places, file)
    heavy = (numbers[bonds] != 1).all(axis=1)
    held = np.array(_held_hydrogens(atoms, numbers, places), np.int64).reshape(-1, 2)
    return Skeleton(
        numbers,
        np.concatenate([bonds[heavy], held]),
        places,
        given=np.concatenate([orders[heavy], np.ones(len(held), np.int64)]),
    )


def _held_hydrogens(
    atoms: Model, numbers: NDArray[np.int64], places_A: Floats
) -> list[tuple[int, int]]:
    """(heavy atom, hydrogen) of each residue."""
    residues: dict[tuple[str, int, str], list[int]] = {}
    for k, atom in enumerate(atoms):
        residues.setdefault(atom.place, []).append(k)
    found: list[tuple[int, int]] = []
    for rows in residues.values():
        own = np.array(rows)
        heavy, light = own[numbers[own] != 1], own[numbers[own] == 1]
        if len(heavy):
            away = np.linalg.norm(places_A[light][:, None] - places_A[heavy], axis=-1)
            near = away.min(axis=1) < BONDED_A
            owners = heavy[away.argmin(axis=1)][near]
            found += zip(owners.tolist(), light[near].tolist(), strict=True)
    return found


def _numbers(atoms: Sequence[PdbAtom]) -> NDArray[np.int64]:
    return np.array([SYMBOLS.index(atom.symbol) for atom in atoms], np.int64)


def _places(atoms: Sequence[PdbAtom]) -> Floats:
    return np.array([atom.position_A for atom in atoms], np.float64).reshape(-1, 3)


def _name(atom: PdbAtom) -> str:
    """The residue of an atom, as it is told."""
    return " ".join(f"{atom.residue} {atom.number}{atom.insertion} {atom.chain}".split())
