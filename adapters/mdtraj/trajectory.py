"""Ensemble or Trajectory -> `mdtraj.Trajectory`."""

from __future__ import annotations

import mdtraj
import numpy as np
from mdtraj.core import topology as parts

from equidrift.errors import InputTypeError
from equidrift.records import SYMBOLS, Ensemble, Molecule, Trajectory
from equidrift.residues import default_names, reordered, residue_keys, residue_order
from equidrift.units import NM_PER_A, PS_PER_FS

BOND_TYPES = {
    1.0: parts.Single,
    1.5: parts.Aromatic,
    2.0: parts.Double,
    3.0: parts.Triple,
}


def to_mdtraj(frames: Ensemble | Trajectory) -> mdtraj.Trajectory:
    """Conformers, or the frames of a trajectory, as MDTraj takes them.

    Parameters
    ----------
    frames : Ensemble or Trajectory
        Positions in A, times in fs.

    Returns
    -------
    mdtraj.Trajectory
        Positions in nm (float32), times in ps (0, 1, 2, ... for conformers), the box if
        there is one; names, residues, chains, elements, formal charges and bonds with
        types. Atoms of a residue come in one piece, as in `Ensemble.to_openmm`.

    Raises
    ------
    InputTypeError
        For another object.
    """
    if not isinstance(frames, Ensemble | Trajectory):
        raise InputTypeError(
            f"expected an Ensemble or a Trajectory, not {type(frames).__name__}; "
            "equidrift.load reads one from a file"
        )
    order = residue_order(frames.molecule)
    molecule = reordered(frames.molecule, order)
    time_ps = None
    if isinstance(frames, Trajectory):
        time_ps = frames.time_fs * PS_PER_FS
    made = mdtraj.Trajectory(
        (frames.positions_A[:, order] * NM_PER_A).astype(np.float32), _topology(molecule), time_ps
    )
    if isinstance(frames, Trajectory) and frames.boxes_A is not None:
        made.unitcell_vectors = (frames.boxes_A * NM_PER_A).astype(np.float32)
    return made


def _topology(molecule: Molecule) -> mdtraj.Topology:
    """The graph, residue by residue."""
    topology = mdtraj.Topology()
    names = molecule.atom_names or default_names(molecule)
    keys = residue_keys(molecule)
    atoms, chain, residue = [], None, None
    for k, (chain_id, residue_id, _, residue_name) in enumerate(keys):
        if chain is None or chain_id != keys[k - 1][0]:
            chain, residue = topology.add_chain(chain_id or None), None
        if residue is None or keys[k] != keys[k - 1]:
            residue = topology.add_residue(residue_name, chain, residue_id)
        element = mdtraj.element.Element.getBySymbol(SYMBOLS[molecule.numbers[k]])
        charge = int(molecule.formal_charges[k])
        atoms.append(topology.add_atom(names[k], element, residue, formal_charge=charge))
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        whole = int(order) if order in (1.0, 2.0, 3.0) else None
        topology.add_bond(atoms[i], atoms[j], type=BOND_TYPES.get(order), order=whole)
    return topology
