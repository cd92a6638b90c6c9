"""Conformers of molecules that no network refines, brought nearer to GFN2-xTB.

MMFF94 and UFF err in some bonds by .05 to .1 A, and UFF turns the O-H and O-C of trigonal
boron out of its plane, since it knows of no pi bond there. Springs on what is known
beforehand mend both: bond lengths within the GFN2-xTB references of their environment,
and flat boron with wide angles at its oxygens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from equidrift.adapters.rdkit.building import bonds_in
from equidrift.adapters.rdkit.force_fields import rdForceFieldHelpers
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.checks.bond_lengths import references_A
from equidrift.geometry import dihedrals
from equidrift.records import Molecule

BOND_K = 2000.0  # kcal/mol/A^2 outside the references: a single bond has some 700
TURN_K = BEND_K = 0.05  # kcal/mol/degree^2: 10 degrees cost 2.5 kcal/mol
FLAT_DEG = 10.0  # a torsion so near to 0 or 180 degrees is flat
# angle B-O-R in degrees, by whether R is a hydrogen: GFN2-xTB minima of boronic acids and esters
BORON_ANGLES_DEG = {True: (113.0, 118.0), False: (118.0, 131.0)}
ITERATIONS = 1000
BORON, OXYGEN, NITROGEN, HYDROGEN = 5, 8, 7, 1


def near_references(molecule: Molecule, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """positions_A (k, n_atoms, 3) minimised by MMFF94, or UFF, with the springs; blocks of
    NaN, and those of a molecule that neither knows, are passed through.
    """
    moved = np.array(positions_A, np.float64)
    finite = np.isfinite(moved).all((1, 2))
    if not finite.any():
        return moved
    mol = to_mol(molecule, moved[finite])
    with rdBase.BlockLogs():
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            _by_mmff(mol, molecule)
        elif rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
            _by_uff(mol, molecule)
    moved[finite] = [conformer.GetPositions() for conformer in mol.GetConformers()]
    return moved


def _by_mmff(mol: Chem.Mol, molecule: Molecule) -> None:
    """Minimise the conformers of `mol` with springs on its bonds."""
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    for conformer in mol.GetConformers():
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
            mol, properties, confId=conformer.GetId()
        )
        field.Initialize()
        for i, j, low, high in _bonds(molecule):
            field.MMFFAddDistanceConstraint(i, j, False, low, high, BOND_K)
        field.Minimize(maxIts=ITERATIONS)


def _by_uff(mol: Chem.Mol, molecule: Molecule) -> None:
    """Minimise the conformers of `mol` with springs on its bonds and on flat boron."""
    turns = _turns(mol)
    for conformer in mol.GetConformers():
        field = rdForceFieldHelpers.UFFGetMoleculeForceField(mol, confId=conformer.GetId())
        field.Initialize()
        for i, j, low, high in _bonds(molecule):
            field.UFFAddDistanceConstraint(i, j, False, low, high, BOND_K)
        _flatten(field, mol, conformer.GetPositions(), turns)
        field.Minimize(maxIts=ITERATIONS)


def _bonds(molecule: Molecule) -> list[tuple[int, int, float, float]]:
    """Bonds and the GFN2-xTB references of their environments."""
    return [
        (i, j, low, high)
        for (i, j), (low, high) in zip(
            molecule.bonds.tolist(), references_A(molecule).tolist(), strict=True
        )
        if np.isfinite(low)
    ]


def _turns(mol: Chem.Mol) -> list[tuple[int, int, int, int]]:
    """Torsions X-B-O-R and X-B-N-R of boron with three neighbours."""
    found = []
    for bond in bonds_in(mol):
        ends = (bond.GetBeginAtom(), bond.GetEndAtom())
        for b, o in (ends, ends[::-1]):
            flat = b.GetAtomicNum() == BORON and b.GetDegree() == 3
            if flat and o.GetAtomicNum() in (OXYGEN, NITROGEN) and o.GetDegree() <= 3:
                found += [
                    (x.GetIdx(), b.GetIdx(), o.GetIdx(), r.GetIdx())
                    for x in b.GetNeighbors()
                    for r in o.GetNeighbors()
                    if x.GetIdx() != o.GetIdx() and r.GetIdx() != b.GetIdx()
                ]
    return found


def _flatten(
    field: Any, mol: Chem.Mol, x: NDArray[np.float64], turns: list[tuple[int, int, int, int]]
) -> None:
    """Springs that draw the torsions to 0 or 180 degrees, and open the angles at oxygen
    outside rings.
    """
    for (a, b, o, r), middle in _middles(mol, x, turns).items():
        field.UFFAddTorsionConstraint(
            a, b, o, r, False, middle - FLAT_DEG, middle + FLAT_DEG, TURN_K
        )
        in_ring = mol.GetBondBetweenAtoms(b, o).IsInRing()
        if mol.GetAtomWithIdx(o).GetAtomicNum() == OXYGEN and not in_ring:
            hydrogen = mol.GetAtomWithIdx(r).GetAtomicNum() == HYDROGEN
            low, high = BORON_ANGLES_DEG[hydrogen]
            field.UFFAddAngleConstraint(b, o, r, False, low, high, BEND_K)


def _middles(
    mol: Chem.Mol, x: NDArray[np.float64], turns: list[tuple[int, int, int, int]]
) -> dict[tuple[int, int, int, int], float]:
    """0 or 180 degrees for each torsion X-B-O-R: R lies in the plane on the side of the X it
    is nearer to, but never two of them between the same two atoms.
    """
    angles = np.abs(np.degrees(dihedrals(x, np.array(turns, np.int64).reshape(-1, 4))))
    sides: dict[tuple[int, int], dict[int, int]] = {}  # (b, o) -> r -> the X it is cis to
    for _, b, o, r in turns:
        pair = [k for k, turn in enumerate(turns) if turn[1:] == (b, o, r)]
        near, far = sorted(pair, key=lambda k: float(angles[k]))
        cis, other = turns[near][0], turns[far][0]
        taken = sides.setdefault((b, o), {})
        movable = not mol.GetBondBetweenAtoms(b, o).IsInRing()
        if movable and (o in sides.get((b, cis), {}).values() or cis in taken.values()):
            cis = other
        taken.setdefault(r, cis)
    return {(a, b, o, r): 0.0 if sides[b, o][r] == a else 180.0 for a, b, o, r in turns}
