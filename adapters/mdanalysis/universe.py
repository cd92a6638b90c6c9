"""Ensemble, Trajectory <-> MDAnalysis Universe; trajectory files; and
`atoms.convert_to.ase()`, which MDAnalysis lacks.

MDAnalysis registers parsers, readers and converters when their classes are made:
`mda.Universe(ensemble)` and `convert_to.ase()` work once this module is imported.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import MDAnalysis as mda
import numpy as np
from MDAnalysis.converters.base import ConverterBase
from MDAnalysis.coordinates.memory import MemoryReader
from MDAnalysis.core import topologyattrs as attrs
from MDAnalysis.core.topology import Topology
from MDAnalysis.guesser.tables import masses as MASSES
from MDAnalysis.topology.base import TopologyReaderBase, change_squash
from numpy.typing import NDArray

from equidrift.errors import (
    CrashError,
    InputError,
    InputTypeError,
    MissingDependencyError,
    TimeLimitError,
    UnknownNameError,
)
from equidrift.files.binary import check_binary
from equidrift.files.trajectories import from_frames
from equidrift.isolated import run_apart
from equidrift.records import SYMBOLS, Ensemble, Molecule, Trajectory
from equidrift.registry import host_function
from equidrift.residues import record_types
from equidrift.units import PS_PER_FS

FORMAT = "EQUIDRIFT"
PER_FRAME = ("seed", "energy_eV", "log_prob")
READING_S, READING_BYTES_PER_S = (
    60.0,
    1e6,
)  # time that reading a file may take, however slow the disk
XTC_PRECISION = (
    5  # digits behind the point in nm: 1e-4 A, where the default of 3 would round bonds to 0.01 A
)
TRAJECTORIES = (".xtc", ".dcd", ".h5md")
AKMA_FS = 48.88821  # CHARMM's unit of time, sqrt(amu A^2 mol/kcal)
_DCD_TIME = "LAMMPS, VMD and MDTraj write no time in CHARMM's unit into a .dcd"


class EnsembleParser(TopologyReaderBase):
    """A record's Molecule as a Topology: ids, names, types, elements, masses, formal
    charges, bonds with orders, residues.
    """

    format = FORMAT

    @staticmethod
    def _format_hint(thing: Any) -> bool:
        return isinstance(thing, Ensemble | Trajectory)

    def parse(self, **kwargs: Any) -> Topology:
        """Called by MDAnalysis."""
        del kwargs
        return to_topology(self.filename.molecule)


def to_topology(molecule: Molecule) -> Topology:
    """The molecule as an MDAnalysis Topology; without names of its own, one residue MOL
    with C1, C2, H1, ...
    """
    n = molecule.n_atoms
    symbols = np.array(molecule.symbols, object)
    chain_ids = np.array(molecule.chain_ids or ("A",) * n, object)
    labels = (
        np.array(molecule.residue_ids or (1,) * n, np.int64),
        np.array(molecule.residue_names or ("MOL",) * n, object),
        np.array(molecule.insertion_codes or ("",) * n, object),
        chain_ids,
    )
    residue_of, (resids, resnames, icodes, residue_chains) = change_squash(labels, labels)
    segids = np.array([chain or "A" for chain in residue_chains], object)
    segment_of, (segids,) = change_squash((segids,), (segids,))
    per_atom = [
        attrs.Atomids(np.arange(1, n + 1)),
        attrs.Atomnames(np.array(molecule.atom_names or _default_names(molecule), object)),
        attrs.Atomtypes(symbols.copy()),
        attrs.Elements(symbols),
        attrs.Masses(_masses_amu(molecule)),
        attrs.FormalCharges(np.array(molecule.formal_charges, int)),
        attrs.RecordTypes(np.array(record_types(molecule), object)),
        attrs.AltLocs(np.array([""] * n, object)),
        attrs.ChainIDs(chain_ids),
        attrs.Occupancies(np.ones(n)),
        attrs.Tempfactors(np.zeros(n)),
    ]
    bonds = attrs.Bonds(
        [tuple(bond) for bond in molecule.bonds.tolist()], order=molecule.bond_orders.tolist()
    )
    per_residue = [
        attrs.Resids(resids),
        attrs.Resnums(resids.copy()),
        attrs.Resnames(resnames),
        attrs.ICodes(icodes),
    ]
    return Topology(
        n,
        len(resids),
        len(segids),
        attrs=[*per_atom, bonds, *per_residue, attrs.Segids(segids)],
        atom_resindex=residue_of,
        residue_segindex=segment_of,
    )


def _masses_amu(molecule: Molecule) -> NDArray[np.float64]:
    """(n,) masses of the atoms: of their isotopes, else MDAnalysis' of the elements."""
    elements = np.array(
        [MASSES.get(symbol.upper(), 0.0) for symbol in molecule.symbols], np.float64
    )
    if not molecule.isotopes.any():
        return elements
    known = host_function("rdkit", "isotope_masses_amu")(molecule, strict=False)
    return np.where(molecule.isotopes > 0, known, elements)


def _default_names(molecule: Molecule) -> list[str]:
    """C1, C2, H1, ..."""
    seen: Counter[str] = Counter()
    names = []
    for symbol in molecule.symbols:
        seen[symbol] += 1
        names.append(f"{symbol}{seen[symbol]}")
    return names


class EnsembleReader(MemoryReader):
    """Conformers, or a Trajectory's frames with their times and box, in a float32 copy
    of their own.

    `ts.data` holds seed, energy_eV and log_prob of a conformer where known.
    """

    format = FORMAT
    units = {"time": "ps", "length": "Angstrom"}  # noqa: RUF012

    @staticmethod
    def _format_hint(thing: Any) -> bool:
        return isinstance(thing, Ensemble | Trajectory)

    @staticmethod
    def parse_n_atoms(filename: Ensemble | Trajectory, **kwargs: Any) -> int:
        """Called by MDAnalysis."""
        del kwargs
        return filename.molecule.n_atoms

    def __init__(
        self,
        coordinate_array: Ensemble | Trajectory | NDArray[np.float32],
        per_frame: Any = None,
        times_ps: Any = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(coordinate_array, Ensemble | Trajectory):
            record = coordinate_array
            if not len(record):
                raise InputError(
                    "the ensemble has no conformer, and a Universe needs a frame; sample some first"
                )
            coordinate_array = np.array(record.positions_A, np.float32)
            if isinstance(record, Trajectory):
                times_ps = record.time_fs * PS_PER_FS
                kwargs = {
                    "dimensions": _dimensions(record),
                    "dt": record.dt_fs * PS_PER_FS if len(record) > 1 else 1.0,
                    **kwargs,
                }
            else:
                columns = {
                    "seed": record.seeds,
                    "energy_eV": record.energies_eV,
                    "log_prob": record.log_prob,
                }
                per_frame = {
                    name: np.array(values) for name, values in columns.items() if values is not None
                }
        self._per_frame, self._times_ps = per_frame or {}, times_ps
        kwargs.setdefault("order", "fac")
        super().__init__(coordinate_array, **kwargs)
        self._kwargs |= {
            "per_frame": self._per_frame,
            "times_ps": times_ps,
        }  # MemoryReader.copy hands these to the copy

    def _read_next_timestep(self, ts: Any = None) -> Any:
        ts = super()._read_next_timestep(ts)
        for name, values in self._per_frame.items():
            ts.data[name] = values[ts.frame].item()
        if self._times_ps is not None:
            ts.time = float(self._times_ps[ts.frame])
        return ts


def _dimensions(trajectory: Trajectory) -> NDArray[np.float32] | None:
    """The box as three lengths and three angles, per frame if it changes; None for no
    box.
    """
    if trajectory.box_A is None:
        return None
    boxes = trajectory.box_A.reshape(-1, 3, 3)
    dimensions = np.array([mda.lib.mdamath.triclinic_box(*box) for box in boxes], np.float32)
    return dimensions if trajectory.box_A.ndim == 3 else dimensions[0]


def _not_a_chain(chain_hint: Any) -> Any:
    """MDAnalysis takes everything with a length for a list of files to chain; records
    have one too.
    """

    def hint(thing: Any) -> bool:
        return not isinstance(thing, Ensemble | Trajectory) and bool(chain_hint(thing))

    return hint


mda._READER_HINTS["CHAIN"] = _not_a_chain(mda._READER_HINTS["CHAIN"])


def to_universe(ensemble: Ensemble | Trajectory) -> mda.Universe:
    """A Universe of the conformers, or a trajectory's frames (A, ps), with names,
    elements, masses, formal charges and bonds with orders.

    Raises
    ------
    InputError
        where the ensemble is empty; InputTypeError where it is no Ensemble.
    """
    if not isinstance(ensemble, Ensemble | Trajectory):
        raise InputTypeError(
            f"expected an Ensemble or a Trajectory, not {type(ensemble).__name__}; equidrift.sample makes one"
        )
    return mda.Universe(ensemble)


def from_universe(universe: mda.Universe | mda.AtomGroup) -> Ensemble:
    """Graph and frames of a Universe, or of whole molecules in one; stereo of the first
    frame.

    Parameters
    ----------
    universe : with elements. Bonds and orders that are missing come from the first
        frame, formal charges that are missing from the bonds. Every hydrogen must be
        there. Its place in the trajectory is left as it was.

    Raises
    ------
    InputTypeError
        if it is neither Universe nor AtomGroup.
    InputError
        if there are no elements, or bonds lead out of the group; MoleculeError if bonds
        and charges do not fit together. The message says what to set.
    """
    if not isinstance(universe, mda.Universe | mda.AtomGroup):
        raise InputTypeError(
            f"expected an MDAnalysis Universe or AtomGroup, not {type(universe).__name__}"
        )
    atoms = universe.atoms
    molecule, charged = _graph_of(atoms)
    trajectory = atoms.universe.trajectory
    here, frames, data = trajectory.frame, [], []
    for ts in trajectory:
        frames.append(atoms.positions.astype(np.float64))
        data.append({name: ts.data[name] for name in PER_FRAME if name in ts.data})
    trajectory[here]
    columns = {
        name: [row[name] for row in data] for name in PER_FRAME if all(name in row for row in data)
    }
    ensemble = Ensemble(
        _complete(molecule, frames[0], charged),
        np.array(frames),
        seeds=np.array(columns["seed"], np.int64) if "seed" in columns else None,
        energies_eV=np.array(columns["energy_eV"]) if "energy_eV" in columns else None,
        log_prob=np.array(columns["log_prob"]) if "log_prob" in columns else None,
        provenance={"model": "given", "source": "MDAnalysis"},
    )
    return ensemble


def _graph_of(atoms: mda.AtomGroup) -> tuple[Molecule, bool]:
    """(graph without stereo, unknown orders 0; whether its formal charges are known)."""
    if not hasattr(atoms, "elements"):
        raise InputError(
            "the Universe has no elements; set them, one symbol per atom: "
            "universe.add_TopologyAttr('elements', ['C', 'H', ...])"
        )
    place = {index: k for k, index in enumerate(atoms.indices.tolist())}
    bonds, orders = [], []
    for bond in atoms.bonds if hasattr(atoms, "bonds") else ():
        i, j = (place.get(index) for index in bond.indices.tolist())
        if i is None or j is None:
            raise InputError(
                "bonds lead out of the group; give whole molecules: atoms.fragments, or the Universe"
            )
        bonds.append((i, j))
        orders.append(_order(bond.order))
    charged = hasattr(atoms, "formalcharges")
    charges = np.array(atoms.formalcharges if charged else np.zeros(len(atoms)), np.int64)
    molecule = Molecule(
        numbers=np.array([_number(element) for element in atoms.elements]),
        bonds=np.array(bonds, np.int64).reshape(-1, 2),
        bond_orders=np.array(orders),
        formal_charges=charges,
        atom_names=tuple(map(str, atoms.names)) if hasattr(atoms, "names") else None,
        residue_names=tuple(map(str, atoms.resnames)) if hasattr(atoms, "resnames") else None,
        residue_ids=tuple(map(int, atoms.resids)) if hasattr(atoms, "resids") else None,
        chain_ids=tuple(map(str, atoms.chainIDs)) if hasattr(atoms, "chainIDs") else None,
        insertion_codes=tuple(map(str, atoms.icodes)) if hasattr(atoms, "icodes") else None,
    )
    return molecule, charged


def _complete(molecule: Molecule, frame_A: NDArray[np.float64], charged: bool) -> Molecule:
    """The molecule with what a Universe does not have: RDKit's work, reached by the
    core.
    """
    complete = host_function("rdkit", "complete")
    found: Molecule = complete(molecule, frame_A, charged)
    return found


def _number(element: str) -> int:
    symbol = str(element).capitalize()
    if symbol not in SYMBOLS[1:]:
        raise InputError(
            f"the Universe has an atom of element {element!r}; set universe.atoms.elements to symbols such as 'C'"
        )
    return SYMBOLS.index(symbol)


def _order(order: Any) -> float:
    """A bond order as MDAnalysis and its sources write it: a number, "ar", or None: 0."""
    if order is None:
        return 0.0
    if order in ("ar", "AR"):
        return 1.5
    if order in ("am", "AM"):  # an amide, in MOL2 files
        return 1.0
    try:
        number = float(order)
    except (TypeError, ValueError):
        number = -1.0
    if number not in (0.0, 1.0, 1.5, 2.0, 3.0):
        raise InputError(
            f"the Universe has a bond of order {order!r}; orders 1, 2, 3 or 1.5 are needed. Set "
            "them: universe.del_TopologyAttr('bonds'), then universe.add_TopologyAttr("
            "MDAnalysis.core.topologyattrs.Bonds(pairs, order=orders)); or without orders: "
            "universe.add_TopologyAttr('bonds', pairs), and they are taken from the geometry"
        )
    return number


def trajectory_of(
    universe: mda.Universe | mda.AtomGroup, *, dt_fs: float | None = None
) -> Trajectory:
    """Graph, frames, times and box of a Universe, or of whole molecules in one;
    unwrapped where there is a box.

    Parameters
    ----------
    universe : as for `from_universe`.
    dt_fs : time between frames; None takes the times of the trajectory.

    Raises
    ------
    InputError, InputTypeError
        as `from_universe`; InputError also if the frames come from a .dcd file whose
        header tells no time.
    """
    ensemble = from_universe(universe)
    trajectory = universe.universe.trajectory
    here = trajectory.frame
    if dt_fs is None and not _tells_time(trajectory):
        raise InputError(
            f"{trajectory.filename!r} does not tell the time between its frames ({_DCD_TIME}); read it "
            "by equidrift.load_trajectory(file, topology, dt_fs=...)"
        )
    times_ps, dimensions = zip(*((ts.time, _copied(ts.dimensions)) for ts in trajectory))
    trajectory[here]
    if dt_fs is None:
        time_fs = np.array(times_ps, np.float64) / PS_PER_FS
    else:
        time_fs = float(dt_fs) * np.arange(len(ensemble), dtype=np.float64)
    return from_frames(
        ensemble.molecule, ensemble.positions_A, time_fs, _boxes(dimensions), "MDAnalysis"
    )


def read_frames(
    path: str | os.PathLike[str],
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64] | None,
    NDArray[np.float64] | None,
    NDArray[np.int64] | None,
]:
    """(positions_A, time_fs, boxes_A, None) of a trajectory file.

    Times are None for .pdb, which has none, and for a .dcd whose header is not in
    CHARMM's unit of time.

    Raises
    ------
    InputError
        where the file cannot be read.
    """
    check_binary(path)
    limit_s = READING_S + os.path.getsize(path) / READING_BYTES_PER_S
    try:  # in another process: what is broken in a file may end the one that reads it
        return run_apart(
            frames_here,
            os.path.abspath(path),
            timeout_s=limit_s,
            what=f"reading {os.fspath(path)!r}",
        )
    except (CrashError, TimeLimitError) as error:
        raise InputError(
            f"cannot read {os.fspath(path)!r}: {error}; it may be damaged, write it again"
        ) from error


def frames_here(path: str) -> Any:
    """`read_frames` in this process; nothing is left beside the file, where MDAnalysis
    would keep its offsets.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _frames_of(path, _linked(path, folder))


def _linked(path: str, folder: str) -> str:
    """The file under a name in another folder."""
    link = os.path.join(folder, os.path.basename(path))
    try:
        os.symlink(path, link)
    except OSError:  # a system, or a user, that may not make links
        return path
    return link


def _frames_of(path: str, name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mda.coordinates.core.reader(name) as reader:
                timed = not name.lower().endswith(".pdb") and _tells_time(reader)
                frames = [_frame(ts) for ts in reader]
    except Exception as error:  # MDAnalysis's readers raise whatever a broken file leads to
        what = f"{type(error).__name__}: {error}".replace(name, path)
        raise InputError(f"cannot read {path!r}: {what}; write it again") from error
    if not frames:
        raise InputError(f"{path!r} holds no frames")
    positions, times_ps, dimensions = zip(*frames)
    if len({len(frame) for frame in positions}) > 1:
        raise InputError(
            f"{path!r} has frames of different numbers of atoms; give the frames of one molecule"
        )
    time_fs = np.array(times_ps, np.float64) / PS_PER_FS if timed else None
    return np.array(positions), time_fs, _boxes(dimensions), None


def _frame(ts: Any) -> tuple[NDArray[np.float64], float, NDArray[np.float32] | None]:
    """(positions_A, time in ps, box) of a time step, as values that the next one keeps."""
    return ts.positions.astype(np.float64), float(ts.time), _copied(ts.dimensions)


def _copied(dimensions: Any) -> NDArray[np.float32] | None:
    """A box as a value: readers hand out views that the next frame overwrites."""
    return None if dimensions is None else np.array(dimensions, np.float32)


def _tells_time(reader: Any) -> bool:
    """Whether the times of a reader can be believed.

    A .dcd header counts time in CHARMM's unit of 48.89 fs. LAMMPS writes its own unit
    there, VMD and MDTraj always 1. A time that is round in the header and not in fs
    gives them away.
    """
    readers = getattr(reader, "readers", [reader])
    return all(_dcd_tells_time(part) for part in readers if getattr(part, "format", "") == "DCD")


def _dcd_tells_time(reader: Any) -> bool:
    header = reader._file.header
    if "LAMMPS" in str(header.get("remarks", "")).upper():
        return False
    delta = float(header["delta"])
    return delta > 0 and (_is_round(delta * AKMA_FS) or not _is_round(delta))


def _is_round(number: float) -> bool:
    """Whether a number has at most three decimals, to single precision."""
    return abs(number - round(number, 3)) <= 4 * float(np.finfo(np.float32).eps) * abs(number)


def _boxes(dimensions: Any) -> NDArray[np.float64] | None:
    """Cell vectors (n_frames, 3, 3) in A where every frame has a box with a volume,
    else None.
    """
    if any(box is None or not (np.asarray(box)[:3] > 0).all() for box in dimensions):
        return None
    boxes = np.array(
        [mda.lib.mdamath.triclinic_vectors(box, dtype=np.float64) for box in dimensions]
    )
    return (
        boxes if (np.abs(np.linalg.det(boxes)) > 1.001).all() else None
    )  # PDB's placeholder for no box is 1 A wide


def write_trajectory(
    record: Ensemble | Trajectory,
    path: str | os.PathLike[str],
    *,
    topology: str | os.PathLike[str] | None = None,
) -> None:
    """Write conformers, or a trajectory with its times and box, as frames of an .xtc
    (to 1e-4 A), .dcd or .h5md file.

    Parameters
    ----------
    path : the trajectory; these formats hold no graph.
    topology : where given, a .pdb file of the first frame, with which the trajectory
        can be read.

    Raises
    ------
    UnknownNameError
        for another suffix, InputError where a path cannot be written,
        MissingDependencyError for .h5md without h5py.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in TRAJECTORIES:
        raise UnknownNameError("trajectory suffix", suffix or os.fspath(path), TRAJECTORIES)
    if suffix == ".h5md" and importlib.util.find_spec("h5py") is None:
        raise MissingDependencyError("h5py")
    atoms = to_universe(record).atoms
    options: dict[str, Any] = {"precision": XTC_PRECISION} if suffix == ".xtc" else {}
    if (
        suffix == ".dcd" and isinstance(record, Trajectory) and len(record) > 1
    ):  # which counts frames from a first one
        options = {
            "dt": record.dt_fs * PS_PER_FS,
            "istart": max(0, round(float(record.time_fs[0]) / record.dt_fs)),
        }
    _write(atoms, path, frames="all", **options)
    if suffix == ".h5md" and isinstance(record, Trajectory) and len(record) > 1:
        _store_dt(path, record.dt_fs * PS_PER_FS)
    if topology is not None:
        _write(atoms, topology)


def _store_dt(path: str | os.PathLike[str], dt_ps: float) -> None:
    """Add dt to an H5MD file as an observable of each frame: MDAnalysis does not derive
    it from the times, and takes 1 ps.
    """
    import h5py

    with h5py.File(path, "a") as file:
        position = next(iter(file["particles"].values()))["position"]
        group = file.require_group("observables/dt")
        group["value"] = np.full(len(position["time"]), dt_ps)
        group["step"], group["time"] = position["step"], position["time"]


def _write(atoms: mda.AtomGroup, path: str | os.PathLike[str], **options: Any) -> None:
    if not Path(path).resolve().parent.is_dir():
        raise InputError(
            f"cannot write {os.fspath(path)!r}: there is no such folder; give a path in a folder you can write to"
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="(?s).*(dimensions|unit cell|unitcell|CRYST1)"
            )  # molecules in vacuum have no box
            atoms.write(os.fspath(path), **options)
    except OSError as error:
        raise InputError(
            f"cannot write {os.fspath(path)!r}: {error.strerror or error}; give a path in a folder you can write to"
        ) from error


class ASEConverter(ConverterBase):
    """`atoms.convert_to.ase()`: the present frame as `ase.Atoms`."""

    lib = "ASE"
    units = {"time": None, "length": "Angstrom"}  # noqa: RUF012

    def convert(self, obj: Any) -> Any:
        """Atoms in A with the cell where there is a box.

        A whole Universe with bond orders and formal charges takes its graph along; a
        part of one, elements and positions only.

        Raises
        ------
        InputError
            where there are no elements.
        """
        atoms = obj.atoms
        if not hasattr(atoms, "elements"):
            raise InputError(
                "the Universe has no elements; set them, one symbol per atom: "
                "universe.add_TopologyAttr('elements', ['C', 'H', ...])"
            )
        numbers = np.array([_number(element) for element in atoms.elements])
        build = host_function("ase", "from_arrays")
        return build(numbers, atoms.positions, cell=atoms.dimensions, molecule=_whole_graph(atoms))


def _whole_graph(atoms: mda.AtomGroup) -> Molecule | None:
    """The graph if the group is closed under bonds and has orders and charges, else
    None.
    """
    try:
        molecule, charged = _graph_of(atoms)
        if not charged or not (len(molecule.bonds) and molecule.bond_orders.all()):
            return None
        return _complete(molecule, atoms.positions.astype(np.float64), charged)
    except InputError:
        return None
