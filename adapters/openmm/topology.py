"""Ensemble <-> OpenMM Topology and positions, a careful start of a simulation, and
short dynamics from every conformer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from openmm import app, unit

from equidrift.errors import InputError, InputTypeError
from equidrift.records import Ensemble, Geometries, Molecule
from equidrift.registry import host_function
from equidrift.residues import default_names, reordered, residue_keys, residue_order
from equidrift.text import counted
from equidrift.units import NM_PER_A

G = TypeVar("G", bound=Geometries)
BOND_TYPES = {1.0: app.Single, 2.0: app.Double, 3.0: app.Triple, 1.5: app.Aromatic}


def to_openmm(ensemble: Geometries) -> tuple[app.Topology, list[unit.Quantity]]:
    """Conformers or frames as OpenMM takes them.

    Returns
    -------
    topology : app.Topology
        chains, residues and atom names as in the Molecule, else one residue MOL with
        names C1, C2, H1, ...; elements, formal charges and bond orders are set (stereo
        has no place in a Topology: `from_openmm` reads it back from the positions).
    positions : list of Quantity
        (n_atoms, 3) in nm, one per conformer or frame.

    Notes
    -----
    OpenMM wants the atoms of a residue in one piece. If they are not, as in
    an RDKit peptide whose hydrogens come last, topology and positions have them in the
    order of `equidrift.residues.residue_order`.
    """
    ensemble = whole_residues(ensemble)
    return to_topology(ensemble.molecule), [
        unit.Quantity(frame * NM_PER_A, unit.nanometer) for frame in ensemble.positions_A
    ]


def whole_residues(ensemble: G) -> G:
    """The geometries with the atoms of each residue in one piece; itself if they are."""
    order = residue_order(ensemble.molecule)
    if np.array_equal(order, np.arange(len(order))):
        return ensemble
    molecule = reordered(ensemble.molecule, order)
    return ensemble.replace(molecule=molecule, positions_A=ensemble.positions_A[:, order])


def to_topology(molecule: Molecule) -> app.Topology:
    """The molecule as an OpenMM Topology, in its own order of atoms.

    Elements, names, residues, chains, formal charges, bond types and orders are set. A
    residue whose atoms are not in one piece is split; see `whole_residues`.
    """
    topology = app.Topology()
    names = molecule.atom_names or default_names(molecule)
    keys = residue_keys(molecule)
    atoms: list[Any] = []
    chain = residue = None
    for k, (number, charge) in enumerate(
        zip(molecule.numbers.tolist(), molecule.formal_charges.tolist(), strict=True)
    ):
        chain_id, residue_id, insertion_code, residue_name = keys[k]
        if chain is None or chain_id != keys[k - 1][0]:
            chain, residue = (
                topology.addChain("A" if molecule.chain_ids is None else chain_id),
                None,
            )
        if residue is None or keys[k] != keys[k - 1]:
            residue = topology.addResidue(residue_name, chain, str(residue_id), insertion_code)
        atoms.append(
            topology.addAtom(
                names[k], app.Element.getByAtomicNumber(number), residue, formalCharge=charge
            )
        )
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        whole = (
            int(order) if order != 1.5 else None
        )  # OpenMM's orders are integers; aromatic is a type
        topology.addBond(atoms[i], atoms[j], type=BOND_TYPES.get(order), order=whole)
    return topology


def from_topology(
    topology: app.Topology, positions: Any = None, *, formal_charges: ArrayLike | None = None
) -> Molecule | Ensemble:
    """The graph of an OpenMM Topology, without stereo (`equidrift.inputs.from_openmm`
    adds it); with positions, an Ensemble.

    A Topology has no spin multiplicity either: a closed shell is assumed.

    Parameters
    ----------
    topology : app.Topology
        Its bonds need orders or types, its atoms elements and formal charges (0 counts,
        None does not).
    positions : Quantity, array or list, optional
        (n_atoms, 3), (k, n_atoms, 3) or a list of the former; Quantities, or
        bare numbers in nm as everywhere in OpenMM.
    formal_charges : array, optional
        (n_atoms,) for topologies that lack them.

    Raises
    ------
    InputTypeError
        If `topology` is not an app.Topology.
    InputError
        If bond orders, elements or formal charges are missing, or shapes do not fit;
        the message names the atoms and the way out.
    """
    if not isinstance(topology, app.Topology):
        raise InputTypeError(
            f"topology must be an openmm.app.Topology, not {type(topology).__name__}"
        )
    atoms = list(topology.atoms())
    for atom in atoms:
        if atom.element is None:
            raise InputError(
                f"atom {atom.index} ({atom.name}) has no element; remove virtual sites, or "
                f"set atom.element"
            )
    molecule = Molecule(
        numbers=np.array([atom.element.atomic_number for atom in atoms], np.int64),
        bonds=np.array(
            [(bond.atom1.index, bond.atom2.index) for bond in topology.bonds()], np.int64
        ),
        bond_orders=np.array([_bond_order(bond) for bond in topology.bonds()], np.float64),
        formal_charges=_formal_charges(atoms, formal_charges),
        atom_names=tuple(atom.name for atom in atoms),
        residue_names=tuple(atom.residue.name for atom in atoms),
        residue_ids=tuple(residue_id(atom.residue) for atom in atoms),
        chain_ids=tuple(atom.residue.chain.id for atom in atoms),
        insertion_codes=tuple(atom.residue.insertionCode.strip() for atom in atoms),
    )
    if positions is None:
        return molecule
    return Ensemble(
        molecule, positions_A_of(positions, len(atoms)), provenance={"source": "openmm"}
    )


def _bond_order(bond: Any) -> float:
    for order, kind in BOND_TYPES.items():
        if bond.type is kind:
            return order
    if bond.type is app.Amide:
        return 1.0
    if bond.order is None:
        raise InputError(
            f"the bond {bond.atom1.name}-{bond.atom2.name} (atoms {bond.atom1.index} and "
            f"{bond.atom2.index}) has no order; set bond.order "
            "or bond.type on every bond, or read the molecule from its SMILES, SDF or PDB "
            "with RDKit, which finds the orders"
        )
    return float(bond.order)


def _formal_charges(atoms: Sequence[Any], given: ArrayLike | None) -> NDArray[np.int64]:
    charges = [atom.formalCharge for atom in atoms] if given is None else np.asarray(given).tolist()
    if len(charges) != len(atoms):
        raise InputError(
            f"formal_charges has {counted(len(charges), 'entry')} for {counted(len(atoms), 'atom')}"
        )
    missing = [atom for atom, charge in zip(atoms, charges, strict=True) if charge is None]
    if missing:
        raise InputError(
            f"{counted(len(missing), 'atom', 'has', 'have')} no formal charge, the first is "
            f"{missing[0].name} (atom {missing[0].index}); set atom.formalCharge "
            "(0 for neutral atoms), or pass formal_charges=[...]"
        )
    return np.array(charges, np.int64)


def residue_id(residue: Any) -> int:
    """The residue's number if it is one (PDB ids may be hexadecimal or letters),
    else its index counted from 1.
    """
    try:
        return int(residue.id)
    except ValueError:
        return int(residue.index) + 1


def positions_A_of(positions: Any, n_atoms: int) -> NDArray[np.float64]:
    """(k, n_atoms, 3) in A from a Quantity, bare nm, or a list of either."""
    if (
        not unit.is_quantity(positions)
        and len(positions)
        and unit.is_quantity(positions[0])
        and np.ndim(_in_nm(positions[0])) == 2
    ):
        array = np.array([_in_nm(frame) for frame in positions], np.float64)
    else:
        array = np.array(_in_nm(positions), np.float64)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[1:] != (n_atoms, 3):
        raise InputError(
            f"positions have shape {array.shape}, expected ({n_atoms}, 3) or (any, {n_atoms}, 3)"
        )
    return array / NM_PER_A


def _in_nm(value: Any) -> Any:
    """Numbers in nm, also of a list of Vec3 quantities."""
    if unit.is_quantity(value):
        return np.asarray(value.value_in_unit(unit.nanometer), np.float64)
    if len(value) and unit.is_quantity(value[0]):
        return np.array([row.value_in_unit(unit.nanometer) for row in value], np.float64)
    return np.asarray(value, np.float64)


# Masses


def masses_amu(molecule: Molecule) -> NDArray[np.float64]:
    """(n,) masses of the atoms: of their isotopes, else OpenMM's of the elements."""
    elements = np.array(
        [
            app.Element.getByAtomicNumber(int(z)).mass.value_in_unit(unit.dalton)
            for z in molecule.numbers
        ]
    )
    if not molecule.isotopes.any():
        return elements
    return np.where(
        molecule.isotopes > 0, host_function("rdkit", "isotope_masses_amu")(molecule), elements
    )
