"""Ensemble, Trajectory <-> MDAnalysis Universe; trajectory files; and
`atoms.convert_to.ase()`, which MDAnalysis lacks.

MDAnalysis registers parsers, readers and converters when their classes are made:
`mda.Universe(ensemble)` and `convert_to.ase()` work once this module is imported.
"""

from __future__ import annotations

from typing import Any, ClassVar

import MDAnalysis as mda
import numpy as np
from MDAnalysis.converters.base import ConverterBase

from equidrift.adapters.mdanalysis.carried import Carried, with_data
from equidrift.adapters.mdanalysis.frames import (
    NO_DCD_TIME,
    boxes_A,
    copied,
    frames_here,
    read_frames,
    tells_time,
)
from equidrift.adapters.mdanalysis.graph import NO_ELEMENTS, complete, graph_of, number_of
from equidrift.adapters.mdanalysis.reader import EnsembleReader, universe_of
from equidrift.adapters.mdanalysis.topology import EnsembleParser, to_topology
from equidrift.adapters.mdanalysis.writing import write_trajectory
from equidrift.errors import InputError, InputTypeError
from equidrift.files.trajectories import from_frames
from equidrift.records import Ensemble, Frames, Molecule, Trajectory
from equidrift.registry import host_function
from equidrift.units import PS_PER_FS

__all__ = [
    "ASEConverter",
    "EnsembleParser",
    "EnsembleReader",
    "frames_here",
    "from_universe",
    "read_frames",
    "to_topology",
    "to_universe",
    "trajectory_of",
    "write_trajectory",
]

PROVENANCE = {"model": "given", "source": "MDAnalysis"}


def to_universe(ensemble: Ensemble | Trajectory) -> mda.Universe:
    """A Universe of the conformers, or a trajectory's frames (A, ps), with names,
    elements, masses, formal charges and bonds with orders.

    Raises
    ------
    InputError
        If the ensemble is empty; InputTypeError if it is no Ensemble.
    """
    if not isinstance(ensemble, Ensemble | Trajectory):
        raise InputTypeError(
            f"expected an Ensemble or a Trajectory, not {type(ensemble).__name__}; "
            "equidrift.sample makes one"
        )
    return universe_of(ensemble)


def from_universe(universe: mda.Universe | mda.AtomGroup) -> Ensemble:
    """Graph and frames of a Universe, or of whole molecules in one; stereo of the first
    frame.

    Parameters
    ----------
    universe : Universe or AtomGroup
        With elements. Bonds and orders that are missing come from the first frame,
        formal charges that are missing from the bonds. Every hydrogen must be there.
        Its place in the trajectory is left as it was. Isotopes are told by the masses,
        energies, seeds, scores, names and properties by the frames' data (see
        `equidrift.adapters.mdanalysis.reader.EnsembleReader`); atom maps have no place.

    Raises
    ------
    InputTypeError
        If it is neither Universe nor AtomGroup.
    InputError
        If there are no elements, or bonds lead out of the group; MoleculeError if bonds
        and charges do not fit together. The message says what to set.
    """
    if not isinstance(universe, mda.Universe | mda.AtomGroup):
        raise InputTypeError(
            f"expected an MDAnalysis Universe or AtomGroup, not {type(universe).__name__}"
        )
    atoms = universe.atoms
    molecule, charged = graph_of(atoms)
    trajectory = atoms.universe.trajectory
    here, frames, data = trajectory.frame, [], []
    for ts in trajectory:
        frames.append(atoms.positions.astype(np.float64))
        data.append(dict(ts.data))
    trajectory[here]
    whole = complete(molecule, frames[0], charged)
    carried = trajectory.carried if isinstance(trajectory, EnsembleReader) else Carried()
    return with_data(Ensemble(whole, np.array(frames), provenance=PROVENANCE), data, carried)


def trajectory_of(
    universe: mda.Universe | mda.AtomGroup, *, dt_fs: float | None = None
) -> Trajectory:
    """Graph, frames, times and box of a Universe, or of whole molecules in one;
    unwrapped if there is a box.

    Parameters
    ----------
    universe : Universe or AtomGroup
        As for `from_universe`.
    dt_fs : float, optional
        Time between frames; None takes the times of the trajectory.

    Raises
    ------
    InputError, InputTypeError
        As `from_universe`; InputError also if the frames come from a .dcd file whose
        header tells no time.
    """
    ensemble = from_universe(universe)
    trajectory = universe.universe.trajectory
    here = trajectory.frame
    if dt_fs is None and not tells_time(trajectory):
        raise InputError(
            f"{trajectory.filename!r} does not tell the time between its frames ({NO_DCD_TIME}); "
            "read it "
            "by equidrift.load_trajectory(file, topology, dt_fs=...)"
        )
    times_ps, dimensions = zip(
        *((ts.time, copied(ts.dimensions)) for ts in trajectory), strict=True
    )
    trajectory[here]
    if dt_fs is None:
        time_fs = np.array(times_ps, np.float64) / PS_PER_FS
    else:
        time_fs = float(dt_fs) * np.arange(len(ensemble), dtype=np.float64)
    frames = Frames(ensemble.positions_A, time_fs, boxes_A(dimensions))
    return from_frames(ensemble.molecule, frames, "MDAnalysis")


class ASEConverter(ConverterBase):
    """`atoms.convert_to.ase()`: the present frame as `ase.Atoms`."""

    lib = "ASE"
    units: ClassVar = {"time": None, "length": "Angstrom"}

    def convert(self, obj: Any) -> Any:
        """Atoms in A with the cell if there is a box.

        A whole Universe with bond orders and formal charges takes its graph along; a
        part of one, elements and positions only.

        Raises
        ------
        InputError
            If there are no elements.
        """
        atoms = obj.atoms
        if not hasattr(atoms, "elements"):
            raise InputError(NO_ELEMENTS)
        numbers = np.array([number_of(element) for element in atoms.elements])
        return host_function("ase", "from_arrays")(
            numbers, atoms.positions, cell=atoms.dimensions, molecule=_whole_graph(atoms)
        )


def _whole_graph(atoms: mda.AtomGroup) -> Molecule | None:
    """The graph if the group is closed under bonds and has orders and charges, else
    None.
    """
    try:
        molecule, charged = graph_of(atoms)
        if not charged or not (len(molecule.bonds) and molecule.bond_orders.all()):
            return None
        return complete(molecule, atoms.positions.astype(np.float64), charged)
    except InputError:
        return None
