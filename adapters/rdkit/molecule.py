"""RDKit Mol <-> Molecule, both ways: atom order, bonds, charges, tetrahedral and
double-bond stereo, names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from equidrift.adapters.rdkit.axial import axial_rows, set_axial, tell_dropped
from equidrift.adapters.rdkit.building import add_bond, bonds_in, sanitised
from equidrift.adapters.rdkit.groups import stereo_group_rows
from equidrift.errors import EquidriftError, InputError, InputTypeError, MoleculeError
from equidrift.records import Molecule
from equidrift.residues import hydrogen_names, is_standard, name_column
from equidrift.text import MAX_SMILES, check_text, split_smiles, tidy

ORDER = {
    Chem.BondType.SINGLE: 1.0,
    Chem.BondType.DOUBLE: 2.0,
    Chem.BondType.TRIPLE: 3.0,
    Chem.BondType.AROMATIC: 1.5,
    Chem.BondType.DATIVE: 0.0,
    Chem.BondType.ZERO: 0.0,
    Chem.BondType.UNSPECIFIED: 0.0,
}
CIS = (Chem.BondStereo.STEREOZ, Chem.BondStereo.STEREOCIS)
TRANS = (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS)
TETRAHEDRAL = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)


def from_smiles(smiles: str, name: str = "") -> Molecule:
    """Read a SMILES or an InChI; hydrogens come after the heavy atoms.

    Raises
    ------
    MoleculeError
        If RDKit cannot parse or sanitise it; the message carries RDKit's reason.
    """
    if not isinstance(smiles, str):
        raise InputTypeError(f"smiles must be a string, not {type(smiles).__name__}")
    if not smiles.strip():
        raise MoleculeError("the SMILES is empty; give a molecule such as 'CCO'")
    smiles, own_name = split_smiles(check_text(smiles, "the SMILES", MAX_SMILES, lines=True))
    name = name or own_name
    with refusing(f"the SMILES {smiles!r}"), rdBase.BlockLogs():
        if smiles.startswith("InChI="):
            mol = _mol_of_inchi(smiles)
            return from_mol(mol, name=name, smiles=Chem.MolToSmiles(mol))
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            raise MoleculeError(f"cannot read the SMILES {smiles!r}: {_parse_problem(smiles)}")
        tell_dropped(smiles)
        return from_mol(mol, name=name, smiles=smiles)


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Tell what RDKit raises for what it thinks cannot be (its own preconditions,
    broken text) as a `MoleculeError`.
    """
    try:
        yield
    except EquidriftError:
        raise
    except (RuntimeError, ValueError, OverflowError) as error:
        raise MoleculeError(
            f"cannot read {what}: RDKit cannot handle it ({_first_lines(error)})"
        ) from error


def _mol_of_inchi(inchi: str) -> Chem.Mol:
    mol: Chem.Mol | None = Chem.MolFromInchi(inchi)  # type: ignore[no-untyped-call]
    if mol is None:
        raise MoleculeError(f"cannot read the InChI {inchi!r}; check it, or give a SMILES")
    return mol


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:2]) or type(error).__name__


def _parse_problem(smiles: str) -> str:
    """What RDKit objects to, in its own words."""
    core, _, extension = smiles.partition(" ")
    mol = Chem.MolFromSmiles(core, sanitize=False)
    if mol is not None and extension and Chem.MolFromSmiles(core) is not None:
        return f"its extension {extension} is no CXSMILES; leave it out, or correct it"
    if mol is None:
        return "its syntax is broken (brackets, ring closures or symbols)"
    problems = [problem.Message() for problem in Chem.DetectChemistryProblems(mol)]
    return "; ".join(problems) or "RDKit cannot sanitise it"


def from_mol(mol: Chem.Mol, *, name: str = "", smiles: str = "") -> Molecule:
    """The graph of an RDKit Mol.

    Missing hydrogens are added after its atoms; the given atoms keep their order.

    Raises
    ------
    InputTypeError
        If `mol` is not an RDKit Mol (None, say, from a failed parse).
    MoleculeError
        For query atoms, which have no element.
    """
    if not isinstance(mol, Chem.Mol):
        raise InputTypeError(
            f"expected an RDKit Mol, not {type(mol).__name__}; Chem.MolFromSmiles returns "
            f"None for what it cannot read"
        )
    mol = Chem.AddHs(mol, addCoords=bool(mol.GetNumConformers()))
    Chem.AssignStereochemistry(mol)  # not by force: that would forget STEREOCIS and STEREOTRANS
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
        raise MoleculeError(
            "the molecule holds an atom without an element ('*' or a query atom); replace it "
            "by a real one"
        )
    bonds = bonds_in(mol)
    _refuse_queries(mol, bonds)
    _refuse_aromatic_chains(mol, bonds)
    radicals = sum(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
    return Molecule(
        numbers=np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()]),
        bonds=np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in bonds]),
        bond_orders=np.array([ORDER.get(b.GetBondType(), 0.0) for b in bonds]),
        formal_charges=np.array([atom.GetFormalCharge() for atom in mol.GetAtoms()]),
        tetrahedral=np.array([row for atom in mol.GetAtoms() if (row := _tetrahedral_row(atom))]),
        double_bonds=np.array([row for bond in bonds if (row := _double_bond_row(bond))]),
        multiplicity=1 + radicals,
        name=name or tidy(mol.GetProp("_Name") if mol.HasProp("_Name") else ""),
        smiles=smiles,
        isotopes=np.array([atom.GetIsotope() for atom in mol.GetAtoms()]),
        atom_maps=np.array([atom.GetAtomMapNum() for atom in mol.GetAtoms()]),
        properties=_properties(mol),
        axial=np.array(axial_rows(mol)),
        stereo_groups=np.array(stereo_group_rows(mol)),
        **_residues(mol),
    )


def _refuse_queries(mol: Chem.Mol, bonds: Sequence[Chem.Bond]) -> None:
    """Raise `MoleculeError` for an atom or bond that stands for several, such as a list
    of elements or `~`: RDKit takes one of them, or none.
    """
    found = [f"{atom.GetSymbol()}{atom.GetIdx()}" for atom in mol.GetAtoms() if atom.HasQuery()]
    found += [
        f"{bond.GetBeginAtom().GetSymbol()}{bond.GetBeginAtomIdx()}~"
        f"{bond.GetEndAtom().GetSymbol()}{bond.GetEndAtomIdx()}"
        for bond in bonds
        if bond.HasQuery()
    ]
    if found:
        raise MoleculeError(
            f"the molecule holds query atoms or bonds, which stand for several ({found[0]}, "
            "numbered from 0); replace them by real ones"
        )


def _refuse_aromatic_chains(mol: Chem.Mol, bonds: Sequence[Chem.Bond]) -> None:
    """Raise `MoleculeError` for an aromatic bond outside of rings, as in C:O, which RDKit
    reads and cannot sanitise afterwards.
    """
    Chem.FastFindRings(mol)
    for bond in bonds:
        if bond.GetBondType() == Chem.BondType.AROMATIC and not bond.IsInRing():
            ends = [
                f"{a.GetSymbol()}{a.GetIdx()}" for a in (bond.GetBeginAtom(), bond.GetEndAtom())
            ]
            raise MoleculeError(
                f"the bond {':'.join(ends)} is aromatic, and in no ring (atoms from 0); write it "
                "as a single or a double bond"
            )


def _properties(mol: Chem.Mol) -> dict[str, str]:
    """The properties that came with a Mol, say from its SDF record, as text."""
    return {tidy(name): tidy(mol.GetProp(name), lines=True) for name in mol.GetPropNames()}


def _tetrahedral_row(atom: Chem.Atom) -> tuple[int, int, int, int, int] | None:
    """(centre, a, b, c, d) with positive signed volume, or None if the atom carries
    no tag.

    Counter-clockwise: seen from the first neighbour, the others (a lone pair last) turn
    counter-clockwise.
    """
    if atom.GetChiralTag() not in TETRAHEDRAL:
        return None
    n = [other.GetIdx() for other in atom.GetNeighbors()]
    if len(n) == 4:
        a, b, c, d = n[2], n[1], n[3], n[0]
    elif len(n) == 3:
        a, b, c, d = n[0], n[1], n[2], atom.GetIdx()
    else:
        return None
    if atom.GetChiralTag() == Chem.ChiralType.CHI_TETRAHEDRAL_CW:
        a, b = b, a
    return atom.GetIdx(), a, b, c, d


def _double_bond_row(bond: Chem.Bond) -> tuple[int, int, int, int, int] | None:
    """(a, i, j, b, cis), or None if the bond carries no stereo."""
    stereo = bond.GetStereo()
    if stereo not in CIS + TRANS:
        return None
    a, b = bond.GetStereoAtoms()
    i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    if bond.GetOwningMol().GetBondBetweenAtoms(a, i) is None:
        i, j = j, i
    return a, i, j, b, int(stereo in CIS)


def _residues(mol: Chem.Mol) -> dict[str, tuple[Any, ...]]:
    """The PDB labels of the atoms by field of Molecule; empty unless every heavy atom
    has them.

    Hydrogens without labels, as `Chem.AddHs` adds them, get those of the atom they sit
    on.
    """
    info = [atom.GetPDBResidueInfo() for atom in mol.GetAtoms()]
    hydrogens: dict[int, list[int]] = {}
    for atom in mol.GetAtoms():
        if info[atom.GetIdx()] is None:
            owner = _labelled_neighbour(atom)
            if owner is None:
                return {}
            hydrogens.setdefault(owner, []).append(atom.GetIdx())
    names = [i.GetName().strip() if i else "" for i in info]
    for owner, added in hydrogens.items():
        fresh = hydrogen_names(names[owner], len(added), info[owner].GetResidueName().strip())
        for place, name in zip(added, fresh, strict=True):
            names[place], info[place] = name, info[owner]
    if not info:
        return {}
    return {
        "atom_names": tuple(names),
        "residue_names": tuple(i.GetResidueName().strip() for i in info),
        "residue_ids": tuple(i.GetResidueNumber() for i in info),
        "chain_ids": tuple(i.GetChainId().strip() for i in info),
        "insertion_codes": tuple(i.GetInsertionCode().strip() for i in info),
    }


def _labelled_neighbour(atom: Chem.Atom) -> int | None:
    """The atom that a hydrogen without labels takes them from, None if there is none."""
    if atom.GetAtomicNum() != 1 or atom.GetDegree() != 1:
        return None
    other = atom.GetNeighbors()[0]
    return other.GetIdx() if other.GetPDBResidueInfo() is not None else None


def to_mol(molecule: Molecule, positions_A: NDArray[np.float64] | None = None) -> Chem.Mol:
    """An RDKit Mol with every hydrogen explicit, in the Molecule's order; positions_A
    (k, n, 3) become k conformers.

    Raises
    ------
    MoleculeError
        If RDKit cannot sanitise the graph.
    """
    rw = Chem.RWMol()
    for k, (z, charge) in enumerate(
        zip(molecule.numbers.tolist(), molecule.formal_charges.tolist(), strict=True)
    ):
        atom = Chem.Atom(z)
        atom.SetFormalCharge(charge)
        atom.SetNoImplicit(True)
        atom.SetIsotope(int(molecule.isotopes[k]))
        if molecule.atom_names is not None:
            atom.SetMonomerInfo(_residue_info(molecule, k))
        rw.AddAtom(atom)
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        add_bond(rw, i, j, order)
    _set_radicals(rw, molecule)
    mol = sanitised(rw, f"RDKit cannot sanitise {molecule!r}")
    _set_stereo(mol, molecule)
    mol.SetProp("_Name", molecule.name or molecule.smiles)
    if positions_A is not None:
        add_conformers(mol, positions_A)
    return mol


def flat_smiles(molecule: Molecule) -> str:
    """RDKit's SMILES without stereo, isotopes and explicit hydrogens: the key by which
    molecules are held out from training.
    """
    natural = molecule.replace(isotopes=np.zeros(molecule.n_atoms))
    return str(Chem.MolToSmiles(Chem.RemoveHs(to_mol(natural)), isomericSmiles=False))


def labelled_mol(molecule: Molecule, positions_A: NDArray[np.float64] | None = None) -> Chem.Mol:
    """`to_mol` for the user: with atom maps and properties, which would mislead RDKit's
    canonical ranks on the way.
    """
    mol = to_mol(molecule, positions_A)
    for k in np.flatnonzero(molecule.atom_maps).tolist():
        mol.GetAtomWithIdx(k).SetAtomMapNum(int(molecule.atom_maps[k]))
    for name, value in molecule.properties.items():
        mol.SetProp(name, value)
    return mol


def _residue_info(molecule: Molecule, k: int) -> Chem.AtomPDBResidueInfo:
    name = (molecule.atom_names or ())[k]
    residue = molecule.residue_names[k] if molecule.residue_names else "MOL"
    info = Chem.AtomPDBResidueInfo()
    info.SetName(name_column(name, molecule.symbols[k]))
    info.SetResidueName(residue)
    info.SetResidueNumber(molecule.residue_ids[k] if molecule.residue_ids else 1)
    info.SetChainId(molecule.chain_ids[k] if molecule.chain_ids else "")
    info.SetInsertionCode(molecule.insertion_codes[k] if molecule.insertion_codes else "")
    info.SetIsHeteroAtom(not is_standard(residue))
    return info


def _set_radicals(rw: Chem.RWMol, molecule: Molecule) -> None:
    """RDKit infers radical electrons from valence when hydrogens are all explicit;
    nothing to do for closed shells.
    """
    if molecule.multiplicity == 1:
        for atom in rw.GetAtoms():
            atom.SetNumRadicalElectrons(0)


def _set_stereo(mol: Chem.Mol, molecule: Molecule) -> None:
    """Write the Molecule's stereo rows as RDKit tags."""
    for centre, a, b, c, d in molecule.tetrahedral.tolist():
        atom = mol.GetAtomWithIdx(centre)
        atom.SetChiralTag(Chem.ChiralType.CHI_TETRAHEDRAL_CCW)
        row = _tetrahedral_row(atom)
        if row is None or sorted(row) != sorted((centre, a, b, c, d)):
            raise MoleculeError(
                f"tetrahedral row {(centre, a, b, c, d)} does not name the neighbours of "
                f"atom {centre}"
            )
        if _odd([row.index(k, 1) for k in (a, b, c, d)]):
            atom.SetChiralTag(Chem.ChiralType.CHI_TETRAHEDRAL_CW)
    for a, i, j, b, cis in molecule.double_bonds.tolist():
        bond = mol.GetBondBetweenAtoms(i, j)
        if bond is None:
            raise MoleculeError(f"double bond row names atoms {i} and {j}, which are not bonded")
        bond.SetStereoAtoms(*((a, b) if bond.GetBeginAtomIdx() == i else (b, a)))
        bond.SetStereo(Chem.BondStereo.STEREOCIS if cis else Chem.BondStereo.STEREOTRANS)
    Chem.SetDoubleBondNeighborDirections(mol)  # RDKit derives its E and Z labels from directions
    Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    set_axial(mol, molecule)


def _odd(permutation: Sequence[int]) -> bool:
    """Whether a permutation (distinct numbers) is odd."""
    return bool(sum(p > q for k, p in enumerate(permutation) for q in permutation[k + 1 :]) % 2)


def add_conformers(
    mol: Chem.Mol, positions_A: NDArray[np.float64], *, clear: bool = True
) -> list[int]:
    """Add positions_A (k, n, 3) to an RDKit Mol as conformers, RDKit's manner; returns
    their ids.
    """
    positions = np.asarray(positions_A, np.float64)
    if positions.ndim != 3 or positions.shape[1:] != (mol.GetNumAtoms(), 3):
        raise InputError(
            f"positions_A has shape {positions.shape}, expected (any, {mol.GetNumAtoms()}, 3)"
        )
    if clear:
        mol.RemoveAllConformers()
    ids = []
    for frame in positions:
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.SetPositions(np.ascontiguousarray(frame))
        ids.append(mol.AddConformer(conformer, assignId=True))
    return ids
