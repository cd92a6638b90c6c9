"""A System, its Topology and graph from a PDB file and force field files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import app, unit

from equidrift.adapters.openmm.topology import residue_id
from equidrift.errors import InputError
from equidrift.fragments import largest_atoms
from equidrift.records import Molecule

_ORDERS = {app.Single: 1.0, app.Double: 2.0, app.Triple: 3.0, app.Aromatic: 1.5, app.Amide: 1.0}

# edges of a CRYST1 record up to this stand for no box
NO_BOX_A = 1.001
PME_CUTOFF_NM = 0.9
# what OpenMM raises for files and residues that it cannot use
_OPENMM_ERRORS = (
    openmm.OpenMMException,
    ValueError,
    KeyError,
    OSError,
    IndexError,
    AttributeError,
    TypeError,
)


def read_pdb(
    path: str | os.PathLike[str],
    forcefield: Sequence[str],
    constraints: str | None,
    largest_fragment: bool = False,
) -> tuple[app.Topology, openmm.System, NDArray[np.float64], Molecule]:
    """Topology, System, positions_A (n, 3) and graph of a PDB file with any OpenMM
    force field files.

    Parameters
    ----------
    path : path
        A PDB file with every hydrogen.
    forcefield : files for `app.ForceField`, for example amber14-all.xml and
        implicit/obc2.xml.
    constraints : str, optional
        "HBonds", "AllBonds", "HAngles" or None.
    largest_fragment : bool
        Keep the largest molecule alone.

    Raises
    ------
    InputError
        For a file that cannot be read, or residues the force field has no parameters
        for.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {os.fspath(path)!r}")
    try:
        pdb = app.PDBFile(os.fspath(path))
        field = app.ForceField(*forcefield)
    except _OPENMM_ERRORS as error:
        raise _unusable(path, forcefield, error) from error
    topology, positions = pdb.topology, pdb.getPositions(asNumpy=True)
    if largest_fragment:
        topology, positions = _largest(topology, positions)
    if not _is_a_box(topology):
        topology.setPeriodicBoxVectors(None)
    options = {"constraints": None if constraints is None else getattr(app, constraints)}
    try:
        system = field.createSystem(topology, nonbondedMethod=app.NoCutoff, **options)
        if _is_implicit(system):
            topology.setPeriodicBoxVectors(None)  # a continuum has no box
        elif topology.getPeriodicBoxVectors() is not None:
            _check_box(path, topology)
            pme = {"nonbondedMethod": app.PME, "nonbondedCutoff": PME_CUTOFF_NM * unit.nanometer}
            system = field.createSystem(topology, **pme, **options)
    except _OPENMM_ERRORS as error:
        raise _unusable(path, forcefield, error) from error
    positions_A = np.asarray(positions.value_in_unit(unit.angstrom), np.float64)
    return topology, system, positions_A, graph_of(topology)


def _largest(
    topology: app.Topology, positions: unit.Quantity
) -> tuple[app.Topology, unit.Quantity]:
    """The molecule with most heavy atoms alone."""
    kept = largest_atoms(graph_of(topology))
    cut = app.Modeller(topology, positions)
    inside = set(kept.tolist())
    cut.delete([atom for atom in topology.atoms() if atom.index not in inside])
    return cut.topology, positions[kept]


def _unusable(
    path: str | os.PathLike[str], forcefield: Sequence[str], error: Exception
) -> InputError:
    return InputError(
        f"{os.fspath(path)!r} with {', '.join(forcefield)}: {type(error).__name__}: {error} Add "
        "missing hydrogens (openmm.app.Modeller), or give other --forcefield files"
    )


def _is_a_box(topology: app.Topology) -> bool:
    """Whether a CRYST1 record is a box: 1 x 1 x 1 A stands for none in PDB files."""
    vectors = topology.getPeriodicBoxVectors()
    if vectors is None:
        return False
    edges = np.linalg.norm(np.array(vectors.value_in_unit(unit.angstrom)), axis=1)
    return bool((edges > NO_BOX_A).all())


def _is_implicit(system: openmm.System) -> bool:
    """Whether a System has a continuum as its solvent."""
    kinds = (openmm.GBSAOBCForce, openmm.CustomGBForce)
    return any(isinstance(force, kinds) for force in system.getForces())


def _check_box(path: str | os.PathLike[str], topology: app.Topology) -> None:
    """Refuse a box that PME's cutoff does not fit into."""
    box = np.array(topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer))
    width = float(np.diag(box).min())
    if width < 2 * PME_CUTOFF_NM:
        raise InputError(
            f"the box of {os.fspath(path)!r} (CRYST1) is {10 * width:.1f} A wide, and the "
            f"cutoff of "
            f"{10 * PME_CUTOFF_NM:.0f} A needs {20 * PME_CUTOFF_NM:.0f}; remove the CRYST1 "
            f"record for a "
            "molecule in vacuum, add an implicit solvent (--forcefield ...,implicit/obc2.xml), or "
            "solvate it in a larger box"
        )


def graph_of(topology: app.Topology) -> Molecule:
    """The atoms and bonds of a Topology; orders it does not have are 0, charges 0."""
    atoms = list(topology.atoms())
    missing = [atom.name for atom in atoms if atom.element is None]
    if missing:
        raise InputError(
            f"atom {missing[0]} has no element; remove virtual sites and extra particles "
            f"from the PDB file"
        )
    bonds = [
        (bond.atom1.index, bond.atom2.index, _ORDERS.get(bond.type, float(bond.order or 0)))
        for bond in topology.bonds()
    ]
    return Molecule(
        numbers=np.array([atom.element.atomic_number for atom in atoms]),
        bonds=np.array([bond[:2] for bond in bonds], np.int64),
        bond_orders=np.array([bond[2] for bond in bonds]),
        formal_charges=np.array([atom.formalCharge or 0 for atom in atoms]),
        atom_names=tuple(atom.name for atom in atoms),
        residue_names=tuple(atom.residue.name for atom in atoms),
        residue_ids=tuple(residue_id(atom.residue) for atom in atoms),
        chain_ids=tuple(atom.residue.chain.id for atom in atoms),
        insertion_codes=tuple(atom.residue.insertionCode.strip() for atom in atoms),
    )
