"""Bonds, bond orders, charges and stereo from a geometry alone.

RDKit finds which atoms are bonded; `equidrift.bond_orders` finds the orders and the
charges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds

from equidrift.adapters.rdkit.building import add_bond, bonds_in, sanitised
from equidrift.adapters.rdkit.molecule import add_conformers, from_mol
from equidrift.adapters.rdkit.template import check_template_stereo, template_mol
from equidrift.bond_orders import (
    IONS,
    STATES,
    Skeleton,
    Structure,
    best_structure,
    fitting_structure,
)
from equidrift.errors import InputError, MoleculeError
from equidrift.records import SYMBOLS, Molecule

CHARGES = (0, -1, 1, -2, 2, -3, 3, -4, 4)  # that a message may offer
FLAT_A = 0.02  # thickness of a flat molecule (rms); planar ones of real geometries pass all else


def molecule_from_xyz(
    numbers: ArrayLike,
    positions_A: ArrayLike,
    charge: int | None = None,
    smiles: str | None = None,
) -> Molecule:
    """The Molecule of a bare geometry; atom order is kept.

    Parameters
    ----------
    numbers : array
        (n,) atomic numbers; every hydrogen must be there.
    positions_A : array
        (n, 3).
    charge : int, optional
        Total charge. None takes the molecule as neutral, and is refused if no neutral
        structure fits.
    smiles : str, optional
        The molecule, if it is known: bond orders and charges are its, and the geometry
        must be of it.

    Raises
    ------
    InputError
        For shapes that do not fit or positions that are not finite.
    MoleculeError
        If no bond orders fit the charge; the message names charges that would fit. If
        the geometry is not of the SMILES; the message names the atoms that differ.
    """
    z, positions = np.asarray(numbers, np.int64), np.asarray(positions_A, np.float64)
    if z.ndim != 1 or positions.shape != (len(z), 3):
        raise InputError(
            f"numbers {z.shape} and positions_A {positions.shape} do not fit; expected (n,) and "
            "(n, 3)"
        )
    if not np.isfinite(positions).all():
        raise InputError(
            "positions_A holds NaN or infinite numbers, from which no bond can be told"
        )
    skeleton = Skeleton(z, connect(z, positions), positions)
    if smiles is None:
        molecule: Molecule = from_mol(mol_of(skeleton, fit_charge(skeleton, charge)))
        return molecule
    mol = template_mol(smiles, skeleton)
    check_charge(mol, charge)
    add_conformers(mol, positions[None])
    refuse_drawing(mol)
    Chem.AssignStereochemistryFrom3D(mol)
    return check_template_stereo(from_mol(mol), smiles, positions[None])


def check_charge(mol: Chem.Mol, charge: int | None) -> None:
    """Refuse a total charge that is not the template's."""
    total = Chem.GetFormalCharge(mol)
    if charge not in (None, total):
        raise MoleculeError(
            f"the SMILES has the charge {total:+d}, and charge={charge:+d} was given; leave it "
            "out, or give the SMILES of that charge"
        )


def complete(molecule: Molecule, positions_A: NDArray[np.float64], charges_known: bool) -> Molecule:
    """A graph from elsewhere with its bond orders and formal charges; stereo from the
    geometry.

    Parameters
    ----------
    molecule : Molecule
        Its bonds; an order of 0 is unknown. If all are, and there is no bond, the
        geometry tells them.
    positions_A : array
        (n, 3).
    charges_known : bool
        Whether its formal charges are; else they come from the bonds, every hydrogen
        explicit.

    Raises
    ------
    MoleculeError
        If charges do not fit the bonds (an acetate with charges of 0 would be a
        radical).
    """
    numbers = molecule.numbers
    if not np.isin(numbers, list(STATES)).all():
        if charges_known and len(molecule.bonds):
            return molecule  # of elements whose valences are anybody's guess
        raise MoleculeError(
            "the molecule has elements whose charges and bonds cannot be told; set its formal "
            "charges and bonds with orders"
        )
    bonds, fixed = molecule.bonds, np.array(molecule.bond_orders)
    if not len(bonds):
        bonds = connect(numbers, positions_A)
        fixed = np.zeros(len(bonds))
    unknown = bool((fixed == 0).any())
    skeleton = Skeleton(numbers, bonds, positions_A if unknown else None, fixed=fixed)
    if unknown:
        structure = fit_charge(skeleton, molecule.charge if charges_known else None)
    else:
        structure = _fit_atoms(molecule, skeleton, charges_known)
    found = mol_of(Skeleton(numbers, bonds, positions_A), structure)
    graph: Molecule = from_mol(found)
    orders = graph.bond_orders
    return molecule.replace(
        bonds=graph.bonds,
        bond_orders=orders,
        formal_charges=graph.formal_charges,
        tetrahedral=graph.tetrahedral,
        double_bonds=graph.double_bonds,
    )


def _fit_atoms(molecule: Molecule, skeleton: Skeleton, charges_known: bool) -> Structure:
    """The structure with the given orders and, if they are known, charges of the atoms."""
    free = best_structure(skeleton)
    if free is None:
        raise MoleculeError(
            "the bond orders do not make a molecule with every electron paired; check that every "
            "hydrogen is there"
        )
    if not charges_known:
        return free
    each = np.eye(molecule.n_atoms, dtype=bool)
    charges = molecule.formal_charges.tolist()
    fitted = best_structure(skeleton, list(zip(each, charges, strict=True)))
    if fitted is not None:
        return fitted
    k = int(np.flatnonzero(free.charges != molecule.formal_charges)[0])
    raise MoleculeError(
        f"the formal charge {charges[k]:+d} of atom {k} ({molecule.symbols[k]}) does not fit its "
        f"bonds, {free.charges[k]:+d} would; set the charges to {free.charges.tolist()}, or leave "
        "them out, and they are taken from the bonds"
    )


def connect(numbers: NDArray[np.int64], positions_A: NDArray[np.float64]) -> NDArray[np.int64]:
    """(m, 2) atoms that are bonded by their distances, as RDKit finds them."""
    unknown = sorted({SYMBOLS[z] for z in numbers.tolist() if z not in STATES})
    if unknown:
        raise MoleculeError(
            f"bonds of {', '.join(unknown)} cannot be told from a geometry; give the molecule as "
            "SMILES or SDF, which carry bonds"
        )
    mol = _bare(numbers)
    add_conformers(mol, positions_A[None])
    with rdBase.BlockLogs():
        rdDetermineBonds.DetermineConnectivity(mol)
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds_in(mol)]
    free = [pair for pair in bonds if not {int(numbers[k]) for k in pair} & IONS]
    return np.array(free, np.int64).reshape(-1, 2)


def fit_charge(
    skeleton: Skeleton, charge: int | None, atoms: NDArray[np.bool_] | None = None
) -> Structure:
    """The structure of that total charge, or `MoleculeError` with the charges that fit.

    atoms (n,) are those whose charges are counted; None counts all.
    """
    everything = np.ones(len(skeleton.numbers), bool) if atoms is None else atoms
    fitted = fitting_structure(skeleton, [(everything, charge or 0)])
    if fitted is not None:
        return fitted
    what = f"no structure of charge {charge or 0:+d} fits"
    if charge is None:
        what = "the charge is not given and no neutral structure fits"
    best = best_structure(skeleton)
    others = [other for other in CHARGES if other != (charge or 0)]
    fits = [q for q in others if best and fitting_structure(skeleton, [(everything, q)])]
    hint = "charges -4 to 4 do not fit either"
    if fits:
        hint = f"charge {' or '.join(f'{q:+d}' for q in fits)} would fit"
    raise MoleculeError(
        f"the bonds of this geometry are ambiguous: {what}; {hint}. Give charge=..., check that "
        "every hydrogen is there, or give the molecule as SMILES or SDF, which carry bonds"
    )


def mol_of(skeleton: Skeleton, structure: Structure) -> Chem.Mol:
    """A sanitised Mol of the structure, with the geometry and its stereo if there is
    one.
    """
    rw = _bare(skeleton.numbers)
    for atom, charge in zip(rw.GetAtoms(), structure.charges.tolist(), strict=True):
        atom.SetFormalCharge(charge)
    for (i, j), order in zip(skeleton.bonds.tolist(), structure.orders.tolist(), strict=True):
        add_bond(rw, i, j, order)
    mol = sanitised(rw, "the bonds found do not make a molecule")
    if skeleton.positions_A is not None:
        add_conformers(mol, skeleton.positions_A[None])
        refuse_drawing(mol)
        Chem.AssignStereochemistryFrom3D(mol)
    return mol


def refuse_drawing(mol: Chem.Mol) -> None:
    """Raise `MoleculeError` for a flat drawing that says it has three dimensions.

    All its atoms lie in one plane, and one with four neighbours, or an sp3 atom with
    three, among them: in no conformer do these.
    """
    x = mol.GetConformer().GetPositions()
    if len(x) < 4:
        return
    thickness = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[-1] / np.sqrt(len(x))
    if thickness > FLAT_A:
        return
    for atom in mol.GetAtoms():
        sp3 = atom.GetHybridization() == Chem.HybridizationType.SP3 and atom.GetSymbol() == "C"
        if atom.GetDegree() >= 4 or (atom.GetDegree() == 3 and sp3):
            raise MoleculeError(
                f"the coordinates are a flat drawing, though they are said to be 3D: all "
                f"atoms lie in "
                f"one plane, atom {atom.GetIdx()} ({atom.GetSymbol()}) with its {atom.GetDegree()} "
                "neighbours among them; sample conformers of the molecule instead (equidrift "
                "sample)"
            )


def _bare(numbers: NDArray[np.int64]) -> Chem.RWMol:
    rw = Chem.RWMol()
    for number in numbers.tolist():
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        rw.AddAtom(atom)
    return rw


def assign_from_3d(mol: Chem.Mol, confId: int = -1) -> Chem.Mol:
    """A copy of an RDKit Mol whose tetrahedral and double-bond tags are those of a
    conformer; the given Mol is not changed.
    """
    mol = Chem.Mol(mol)
    Chem.AssignStereochemistryFrom3D(mol, confId, replaceExistingTags=True)
    return mol
