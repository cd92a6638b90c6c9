"""RDKit's MMFF94 and MMFF94s parameters of a molecule, as a record of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from equidrift.adapters.rdkit.building import bonds_in
from equidrift.adapters.rdkit.force_fields import rdForceFieldHelpers
from equidrift.errors import InputTypeError, MoleculeError
from equidrift.mmff import MMFFParameters, check_variant

# sp carbon and nitrogen: MMFF's cosine form takes the place of the cubic angle, and there is
# no stretch-bend
LINEAR_TYPES = (4, 53, 61)
ELEMENTS = frozenset({1, 3, 6, 7, 8, 9, 11, 12, 14, 15, 16, 17, 19, 20, 26, 29, 30, 35, 53})
WAY_OUT = "Give your own openmm System or app.ForceField instead of MMFF94."


def parameters(mol: Chem.Mol, variant: str = "MMFF94") -> MMFFParameters:
    """The MMFF parameters of an RDKit Mol whose hydrogens are all explicit.

    Parameters
    ----------
    mol : Chem.Mol
        It is not changed.
    variant : str
        "MMFF94" or "MMFF94s".

    Raises
    ------
    InputTypeError
        If `mol` is not an RDKit Mol.
    MoleculeError
        For implicit hydrogens, radicals, and atoms or terms MMFF has no parameter for;
        the message names them.
    """
    check_variant(variant)
    if not isinstance(mol, Chem.Mol):
        raise InputTypeError(
            f"expected an RDKit Mol, not {type(mol).__name__}; Chem.MolFromSmiles returns "
            f"None for what it cannot read"
        )
    mol = Chem.Mol(mol)  # MMFF's own aromaticity would otherwise be written into the caller's Mol
    _refuse(mol)
    properties = _properties(mol, variant)
    n = mol.GetNumAtoms()
    types = np.array([properties.GetMMFFAtomType(k) for k in range(n)], np.int64)
    return MMFFParameters(
        variant=variant,
        numbers=np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], np.int64),
        types=types,
        charges_e=np.array([properties.GetMMFFPartialCharge(k) for k in range(n)], np.float64),
        **_bonds(mol, properties),
        **_angles(mol, properties, types),
        **_out_of_planes(mol, properties),
        **_torsions(mol, properties),
        **_pairs(mol, properties),
    )


def _refuse(mol: Chem.Mol) -> None:
    """Raise for what RDKit would type without complaint, and wrongly."""
    if not mol.GetNumAtoms():
        raise MoleculeError("the molecule has no atoms; MMFF94 needs at least one")
    implicit = [atom for atom in mol.GetAtoms() if atom.GetTotalNumHs(includeNeighbors=False)]
    if implicit:
        raise MoleculeError(
            f"{_names(implicit)} has hydrogens that are not atoms of the Mol; call "
            f"Chem.AddHs(mol, addCoords=True) first"
        )
    radicals = [atom for atom in mol.GetAtoms() if atom.GetNumRadicalElectrons()]
    if radicals:
        raise MoleculeError(
            f"{_names(radicals)} carries unpaired electrons, and MMFF94 has no parameters "
            f"for radicals. {WAY_OUT}"
        )
    strange = [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() not in ELEMENTS]
    if strange:
        known = " ".join(Chem.GetPeriodicTable().GetElementSymbol(z) for z in sorted(ELEMENTS))
        raise MoleculeError(
            f"MMFF94 has no parameters for {_names(strange)}; its elements are {known}. {WAY_OUT}"
        )


def _names(atoms: list[Chem.Atom]) -> str:
    """Up to six atoms by symbol and index."""
    shown = ", ".join(f"{atom.GetSymbol()}{atom.GetIdx()}" for atom in atoms[:6])
    more = f" and {len(atoms) - 6} more" if len(atoms) > 6 else ""
    return f"atom{'s' if len(atoms) > 1 else ''} {shown}{more} (symbol and index from 0)"


def _properties(mol: Chem.Mol, variant: str) -> Any:
    with rdBase.BlockLogs():
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant=variant)
    if properties is None:
        raise MoleculeError(f"MMFF94 has no atom type for {_names(_untyped(mol))}. {WAY_OUT}")
    return properties


def _untyped(mol: Chem.Mol) -> list[Chem.Atom]:
    """The atoms RDKit could not type.

    It says only that there are some, so each atom is tried with its neighbours, the
    rest cut off.
    """
    failing = [
        group
        for atom in mol.GetAtoms()
        if not _typable(mol, group := {atom.GetIdx()} | {n.GetIdx() for n in atom.GetNeighbors()})
    ]
    shared = set.intersection(*failing) if failing else set()
    named = shared or set().union(*failing) or set(range(mol.GetNumAtoms()))
    atoms = [mol.GetAtomWithIdx(k) for k in sorted(named)]
    return [atom for atom in atoms if atom.GetAtomicNum() > 1] or atoms


def _typable(mol: Chem.Mol, group: set[int]) -> bool:
    """Whether MMFF types the atoms of `group` when every bond that leaves it ends in
    hydrogens.
    """
    part = Chem.RWMol(mol)
    Chem.Kekulize(part, clearAromaticFlags=True)
    for bond in bonds_in(part):
        inside = [k for k in (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) if k in group]
        if len(inside) == 1:
            for _ in range(int(bond.GetBondTypeAsDouble())):
                part.AddBond(inside[0], part.AddAtom(Chem.Atom(1)), Chem.BondType.SINGLE)
    for k in sorted(set(range(mol.GetNumAtoms())) - group, reverse=True):
        part.RemoveAtom(k)
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(part)
            return rdForceFieldHelpers.MMFFGetMoleculeProperties(part) is not None
    except (Chem.MolSanitizeException, RuntimeError):
        return False


def _array(rows: list[Any], width: int, dtype: Any = np.float64) -> NDArray[Any]:
    """Rows as (len, width), or (len,) if width is 0, also if there are none."""
    return np.array(rows, dtype).reshape((len(rows), width) if width else (len(rows),))


def _missing(mol: Chem.Mol, term: str, atoms: tuple[int, ...]) -> MoleculeError:
    return MoleculeError(
        f"MMFF94 has no {term} parameter for "
        f"{_names([mol.GetAtomWithIdx(k) for k in atoms])}. {WAY_OUT}"
    )


def _bonds(mol: Chem.Mol, properties: Any) -> dict[str, NDArray[Any]]:
    index = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in bonds_in(mol)]
    found = [properties.GetMMFFBondStretchParams(mol, *pair) for pair in index]
    for pair, row in zip(index, found, strict=True):
        if row is None:
            raise _missing(mol, "bond", pair)
    return {
        "bonds": _array(index, 2, np.int64),
        "bond_k_mdyn_per_A": _array([k for _, k, _ in found], 0),
        "bond_r0_A": _array([r0 for _, _, r0 in found], 0),
    }


def _triples(mol: Chem.Mol) -> Iterator[tuple[int, int, int]]:
    """Each i-j-k of bonded atoms once."""
    for atom in mol.GetAtoms():
        for i, k in combinations([n.GetIdx() for n in atom.GetNeighbors()], 2):
            yield i, atom.GetIdx(), k


def _angles(mol: Chem.Mol, properties: Any, types: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    index, k_theta, theta0, linear = [], [], [], []
    bends, k_bend, r0_bend, theta0_bend = [], [], [], []
    for i, j, k in _triples(mol):
        angle = properties.GetMMFFAngleBendParams(mol, i, j, k)
        if angle is None:
            raise _missing(mol, "angle", (i, j, k))
        index.append((i, j, k))
        k_theta.append(angle[1])
        theta0.append(angle[2])
        linear.append(types[j] in LINEAR_TYPES)
        bend = None if linear[-1] else properties.GetMMFFStretchBendParams(mol, i, j, k)
        if bend is not None:
            bends.append((i, j, k))
            k_bend.append(bend[1:])
            r0_bend.append([properties.GetMMFFBondStretchParams(mol, a, j)[2] for a in (i, k)])
            theta0_bend.append(angle[2])
    return {
        "angles": _array(index, 3, np.int64),
        "angle_k_mdyn_A_per_rad2": _array(k_theta, 0),
        "angle_theta0_deg": _array(theta0, 0),
        "angle_linear": _array(linear, 0, bool),
        "stretch_bends": _array(bends, 3, np.int64),
        "stretch_bend_k_mdyn_per_rad": _array(k_bend, 2),
        "stretch_bend_r0_A": _array(r0_bend, 2),
        "stretch_bend_theta0_deg": _array(theta0_bend, 0),
    }


def _out_of_planes(mol: Chem.Mol, properties: Any) -> dict[str, NDArray[Any]]:
    index, k_oop = [], []
    for atom in mol.GetAtoms():
        if atom.GetDegree() == 3:
            i, k, l = (n.GetIdx() for n in atom.GetNeighbors())
            constant = properties.GetMMFFOopBendParams(mol, i, atom.GetIdx(), k, l)
            if constant:  # None: not trigonal in MMFF; 0: no force
                index.append((i, atom.GetIdx(), k, l))
                k_oop.append(constant)
    return {
        "out_of_planes": _array(index, 4, np.int64),
        "out_of_plane_k_mdyn_A_per_rad2": _array(k_oop, 0),
    }


def _torsions(mol: Chem.Mol, properties: Any) -> dict[str, NDArray[Any]]:
    index, heights = [], []
    for bond in bonds_in(mol):
        j, k = bond.GetBeginAtom(), bond.GetEndAtom()
        for i in (n.GetIdx() for n in j.GetNeighbors() if n.GetIdx() != k.GetIdx()):
            for l in (n.GetIdx() for n in k.GetNeighbors() if n.GetIdx() not in (j.GetIdx(), i)):
                found = properties.GetMMFFTorsionParams(mol, i, j.GetIdx(), k.GetIdx(), l)
                if found is not None and any(found[1:]):
                    index.append((i, j.GetIdx(), k.GetIdx(), l))
                    heights.append(found[1:])
    return {"torsions": _array(index, 4, np.int64), "torsion_V_kcal_mol": _array(heights, 3)}


def _pairs(mol: Chem.Mol, properties: Any) -> dict[str, NDArray[Any]]:
    """Pairs beyond 1-3 by the shortest path, between fragments too (RDKit's own force
    field leaves those out unless asked).
    """
    steps = Chem.GetDistanceMatrix(mol)
    first, second = np.nonzero(np.triu(steps >= 3, 1))
    index = list(zip(first.tolist(), second.tolist(), strict=True))
    found = [properties.GetMMFFVdWParams(*pair) for pair in index]
    for pair, row in zip(index, found, strict=True):
        if row is None:
            raise _missing(mol, "van der Waals", pair)
    return {
        "pairs": _array(index, 2, np.int64),
        "pair_r_star_A": _array([row[2] for row in found], 0),
        "pair_epsilon_kcal_mol": _array([row[3] for row in found], 0),
        "pair_is_14": steps[first, second] == 3,
    }
