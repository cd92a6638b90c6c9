"""Trajectories in files: read with their topology, written by suffix, and streamed so
that a run can be broken off and continued.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.trajectory import check_finite, check_same_atoms, check_units, unwrapped
from equidrift.errors import InputError, UnknownNameError
from equidrift.files.ensembles import StreamWriter, check_output
from equidrift.files.journal import synced_size
from equidrift.files.npz import check_fields, load_arrays, save_arrays
from equidrift.outputs import moment, topology_beside
from equidrift.records import Chunk, Molecule, Trajectory
from equidrift.registry import host_function, resolve

# suffix -> "module:function"; function(trajectory, path) writes a whole file
WRITERS = {
    ".xtc": "equidrift.adapters.mdanalysis.universe:write_trajectory",
    ".dcd": "equidrift.adapters.mdanalysis.universe:write_trajectory",
    ".h5md": "equidrift.adapters.mdanalysis.universe:write_trajectory",
    ".traj": "equidrift.adapters.ase.io:write_trajectory",
    ".extxyz": "equidrift.adapters.ase.io:write_trajectory",
    ".xyz": "equidrift.adapters.ase.io:write_trajectory",
    ".pdb": "equidrift.adapters.rdkit.io:write_pdb",
    ".npz": "equidrift.files.npz:save_trajectory_npz",
}
WITHOUT_GRAPH = (".xtc", ".dcd", ".h5md")  # which a topology must go with
# suffix -> "module:function"; function(path) -> (positions_A, time_fs | None, boxes_A (n_frames, 3, 3) | None, numbers | None)
_MDA, _ASE = (
    "equidrift.adapters.mdanalysis.universe:read_frames",
    "equidrift.adapters.ase.io:read_frames",
)
READERS = {
    **dict.fromkeys((".xtc", ".trr", ".dcd", ".h5md", ".nc", ".ncdf", ".pdb"), _MDA),
    **dict.fromkeys((".traj", ".extxyz", ".xyz"), _ASE),
}
TOPOLOGIES = (".pdb", ".sdf", ".mol")
_BOX_TOLERANCE_A = 1e-3


def check_trajectory_output(path: str | os.PathLike[str]) -> Path:
    """Make sure, before any work, that a trajectory of this name can be written; errors
    as `equidrift.files.ensembles.check_output`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise UnknownNameError("suffix for a trajectory", suffix or os.fspath(path), WRITERS)
    return check_output(path)


def save_trajectory(trajectory: Trajectory, path: str | os.PathLike[str]) -> None:
    """Write a Trajectory; the suffix picks the format (`WRITERS`). .xtc rounds to 1e-4
    A; .pdb and .xyz readers of others drop the times.

    Raises
    ------
    UnknownNameError
        for a suffix that is not written, with the nearest one. InputError where the
        path cannot be written.
    """
    target = check_trajectory_output(path)
    resolve(WRITERS[target.suffix.lower()])(trajectory, target)


# Reading -------------------------------------------------------------------------------------------------------------------


def load_topology(what: Any, *, charge: int | None = None) -> Molecule:
    """The Molecule of a topology: a .pdb, .sdf or .mol file, a SMILES, or anything that
    `equidrift.sample` takes.

    Raises
    ------
    InputError
        where the file is missing or holds no molecule, or several that differ;
        MoleculeError for what cannot be read.
    """
    from equidrift.inputs import as_molecule

    if isinstance(what, os.PathLike) or (
        isinstance(what, str) and (Path(what).suffix.lower() in TOPOLOGIES or Path(what).is_file())
    ):
        return _topology_file(Path(what), charge)
    molecule: Molecule = as_molecule(what)
    return molecule


def _topology_file(path: Path, charge: int | None) -> Molecule:
    if path.suffix.lower() not in TOPOLOGIES:
        raise UnknownNameError("topology suffix", path.suffix.lower() or str(path), TOPOLOGIES)
    records = list(host_function("rdkit", "read_molecules")(path, charge=charge))
    bad = next((record for record in records if record.molecule is None), None)
    if bad is not None:
        raise InputError(f"cannot read the topology {str(path)!r}: {bad.error}")
    molecule: Molecule = records[0].molecule
    if any(record.molecule != molecule for record in records):
        raise InputError(
            f"the topology {str(path)!r} holds {len(records)} different molecules; give a file with the trajectory's alone"
        )
    return molecule


def load_trajectory(
    path: str | os.PathLike[str],
    topology: Any = None,
    *,
    dt_fs: float | None = None,
    stride: int = 1,
    charge: int | None = None,
) -> Trajectory:
    """Read a trajectory: .xtc .trr .dcd .h5md .nc .pdb by MDAnalysis, .traj .extxyz
    .xyz by ASE, or our own .npz.

    Parameters
    ----------
    path : the file.
    topology : a .pdb, .sdf or .mol file, SMILES, Molecule, RDKit Mol or `ase.Atoms`
        with the trajectory's atoms in its order. None for files that know their
        molecule: .npz, .pdb, and .traj, .extxyz and .xyz, whose bonds are perceived
        where they carry none.
    dt_fs : time between the frames of the file; needed where it holds no times (.xyz,
        ASE's .traj), and right where they are wrong.
    stride : keep every stride-th frame.
    charge : total charge, where bonds are perceived.

    Returns
    -------
    Trajectory in A and fs. If the file has a box, the molecule is made whole and its
    jumps are undone, with each frame's own box (provenance["unwrapped_frames"]).

    Raises
    ------
    UnknownNameError
        for a suffix that is not read.
    InputError
        where a file is missing or damaged, times are missing, atoms do not fit the
        topology (MoleculeError), or positions are not finite or look like nm.
    """
    from equidrift.arguments import check_count
    from equidrift.files.npz import load_trajectory_npz

    check_count("stride", stride)
    file = Path(path)
    if file.suffix.lower() == ".npz":
        whole: Trajectory = load_trajectory_npz(file)
        return whole[::stride]
    if file.suffix.lower() not in READERS:
        raise UnknownNameError(
            "trajectory suffix", file.suffix.lower() or str(path), [*READERS, ".npz"]
        )
    if not file.is_file():
        raise InputError(f"there is no file {str(path)!r}; give a trajectory such as run.xtc")
    positions_A, time_fs, boxes_A, numbers = resolve(READERS[file.suffix.lower()])(file)
    molecule = _molecule_for(file, topology, charge)
    check_same_atoms(molecule, positions_A.shape[1], numbers, repr(str(path)))
    times = _times(time_fs, dt_fs, len(positions_A), file)
    return from_frames(molecule, positions_A, times, boxes_A, str(path))[::stride]


def _molecule_for(file: Path, topology: Any, charge: int | None) -> Molecule:
    if topology is not None:
        return load_topology(topology, charge=charge)
    if file.suffix.lower() == ".pdb":
        return _first_molecule(file, charge)
    if READERS[file.suffix.lower()] == _ASE:
        molecule: Molecule = host_function("ase", "molecule_of_file")(file, charge)
        return molecule
    raise InputError(
        f"a {file.suffix} file holds no bonds: give the topology too, a PDB, an SDF or a SMILES with its atoms in this order"
    )


def _first_molecule(file: Path, charge: int | None) -> Molecule:
    """The molecule of the first MODEL; whether the others are its frames, the checks
    tell.
    """
    records = host_function("rdkit", "read_molecules")(file, charge=charge)
    record = next(iter(records))
    if record.molecule is None:
        raise InputError(f"cannot read the topology {str(file)!r}: {record.error}")
    molecule: Molecule = record.molecule
    return molecule


def _times(
    time_fs: NDArray[np.float64] | None, dt_fs: float | None, n_frames: int, file: Path
) -> NDArray[np.float64]:
    """Times of the frames, from dt_fs where that is given."""
    if dt_fs is not None:
        if (
            isinstance(dt_fs, bool)
            or not isinstance(dt_fs, int | float | np.number)
            or not 0 < dt_fs < np.inf
        ):
            raise InputError(
                f"dt_fs must be a time in fs above 0, not {dt_fs!r}; give for example dt_fs=5"
            )
        first = 0.0 if time_fs is None or not np.isfinite(time_fs[:1]).all() else float(time_fs[0])
        return np.asarray(first + float(dt_fs) * np.arange(n_frames), np.float64)
    if time_fs is None:
        why = "holds no times"
        if file.suffix.lower() == ".dcd":
            why = (
                "does not tell the time between its frames (LAMMPS, VMD and MDTraj write none in "
                "CHARMM's unit into a .dcd)"
            )
        raise InputError(
            f"{str(file)!r} {why}; give dt_fs (on the command line --dt), the time between its "
            "frames in fs"
        )
    return time_fs


def from_frames(
    molecule: Molecule,
    positions_A: NDArray[np.float64],
    time_fs: NDArray[np.float64],
    boxes_A: NDArray[np.float64] | None,
    source: str,
) -> Trajectory:
    """The frames of a file as a Trajectory, unwrapped with each frame's own box."""
    trajectory = Trajectory(molecule, positions_A, time_fs, provenance={"source": source})
    if not len(trajectory):
        raise InputError(f"{source!r} holds no frames")
    if boxes_A is None:
        return trajectory
    check_finite(trajectory)
    check_units(trajectory)
    x = unwrapped(molecule, positions_A, boxes_A)
    changed = int((x != positions_A).any(axis=(1, 2)).sum())
    fixed = float(np.abs(boxes_A - boxes_A[:1]).max()) < _BOX_TOLERANCE_A
    box_A = boxes_A[0] if fixed else boxes_A
    provenance = {**trajectory.provenance, **({"unwrapped_frames": changed} if changed else {})}
    return trajectory.replace(positions_A=x, box_A=box_A, provenance=provenance)


# Streaming -----------------------------------------------------------------------------------------------------------------


class TrajectoryStream(StreamWriter):
    """Keeps chunks of frames until a run is whole, then writes one file for each
    sample.

    Parameters, errors and journal are `StreamWriter`'s; `position` is (samples done,
    frames done of the next batch).

    Parameters
    ----------
    n : samples, each a file of its own (`sample_paths`).
    topology : whether the topology goes beside formats that hold no graph
        (`topology_path`).
    """

    grows = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        command: Mapping[str, Any],
        *,
        n: int = 1,
        topology: bool = False,
        **options: Any,
    ) -> None:
        beside = topology_path(path) if topology else None
        self._outputs = [*sample_paths(path, n), *([] if beside is None else [beside])]
        super().__init__(path, command, **options)

    @property
    def outputs(self) -> list[Path]:
        """Every file that the finished run leaves."""
        return self._outputs

    def add(self, chunk: Chunk, position: tuple[int, int], summary: Mapping[str, Any]) -> None:
        """Keep a chunk, and record that the run has come to `position`."""
        self._begin()
        counts = [
            {name: dict(getattr(chunk, name)[k]) for name in ("rejected", "broken")}
            for k in range(len(chunk.seeds))
        ]
        piece = self._piece(self.state["size"])
        place = np.array([chunk.first_sample, chunk.first_frame])
        arrays = {
            "positions_A": chunk.positions_A,
            "seeds": chunk.seeds,
            "place": place,
            "counts": np.array(json.dumps(counts)),
        }
        save_arrays(piece, arrays)
        synced_size(piece)
        self._record(position, self.state["size"] + 1, summary)

    def batches(self) -> Iterator[list[Chunk]]:
        """The chunks kept, batch of samples by batch."""
        batch: list[Chunk] = []
        for k in range(self.state["size"]):
            chunk = _chunk_of(self._piece(k))
            if batch and chunk.first_frame == 0:
                yield batch
                batch = []
            batch.append(chunk)
        if batch:
            yield batch

    def unfinished(self, frames: int) -> NDArray[np.float64] | None:
        """The last `frames` frames (n_samples, any, n_atoms, 3) of the batch that is
        under way, None where none is.
        """
        if not self.position[1]:
            return None
        parts: list[NDArray[np.float64]] = []
        for k in reversed(range(self.state["size"])):
            chunk = _chunk_of(self._piece(k))
            parts.insert(0, chunk.positions_A)
            if chunk.first_frame == 0 or sum(part.shape[1] for part in parts) >= frames:
                break
        last: NDArray[np.float64] = np.concatenate(parts, axis=1)[:, -frames:]
        return last

    def close(
        self,
        n: int,
        trajectories: Callable[[list[Chunk]], list[Trajectory]],
        first: Trajectory | None = None,
    ) -> list[Path]:
        """Write the samples, each to its file, and remove the pieces; the paths of the
        samples.

        Parameters
        ----------
        n : samples.
        trajectories : what a batch of chunks is as Trajectories.
        first : frames of which the topology is written, where one goes beside the
            format.
        """
        paths = sample_paths(self.path, n)
        if self.finished:
            return paths
        self._closing()
        place = 0
        for batch in self.batches():
            for trajectory in trajectories(batch):
                resolve(WRITERS[self.suffix])(trajectory, self.fresh)
                os.replace(self.fresh, paths[place])
                moment("in place")
                place += 1
        if first is not None:
            save_topology(first, self.path)
        self._close()
        return paths


def _chunk_of(path: Path) -> Chunk:
    """A piece that is read back, each of its fields checked."""
    from equidrift.stored import StoredChunk, checked, parsed

    arrays = load_arrays(path)
    try:
        check_fields(arrays, ("positions_A", "seeds", "place", "counts"), texts=("counts",))
        _check_shapes(arrays)
        counts = parsed(str(arrays["counts"][()]), "the array 'counts'")
        place = dict(zip(("first_sample", "first_frame"), arrays["place"].tolist(), strict=True))
        stored = checked({**place, "counts": counts}, StoredChunk, "piece of a trajectory")
        if len(stored.counts) != len(arrays["seeds"]):
            raise InputError(
                f"counts: there are {len(stored.counts)} for {len(arrays['seeds'])} samples"
            )
    except InputError as error:
        raise InputError(
            f"{str(path)!r} is damaged: {error}; start again with --overwrite"
        ) from error
    return Chunk(
        stored.first_sample,
        stored.first_frame,
        arrays["positions_A"],
        arrays["seeds"],
        tuple(Counter(entry.rejected) for entry in stored.counts),
        tuple(Counter(entry.broken) for entry in stored.counts),
    )


def _check_shapes(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse arrays of a piece whose shapes do not fit together."""
    n_samples = len(arrays["seeds"]) if arrays["seeds"].ndim == 1 else -1
    shape = arrays["positions_A"].shape
    if len(shape) != 4 or shape[0] != n_samples or shape[3] != 3:
        raise InputError(
            f"positions_A: expected the shape ({n_samples}, frames, atoms, 3), got {shape}"
        )
    for name, expected in (("place", (2,)), ("counts", ())):
        if arrays[name].shape != expected:
            raise InputError(f"{name}: expected the shape {expected}, got {arrays[name].shape}")


def sample_paths(path: str | os.PathLike[str], n: int) -> list[Path]:
    """OUT for one sample; OUT with _0000, _0001, ... before its suffix for several."""
    target = Path(path)
    if n == 1:
        return [target]
    width = max(4, len(str(n - 1)))
    return [target.with_name(f"{target.stem}_{k:0{width}d}{target.suffix}") for k in range(n)]


def topology_path(path: str | os.PathLike[str]) -> Path | None:
    """OUT.top.pdb for OUT.xtc, None if the format holds the graph."""
    return topology_beside(path) if Path(path).suffix.lower() in WITHOUT_GRAPH else None


def save_topology(trajectory: Trajectory, path: str | os.PathLike[str]) -> Path | None:
    """Write the topology of OUT from the first frame (`topology_path`); its path, None
    if not needed.
    """
    topology = topology_path(path)
    if topology is None:
        return None
    finite = np.isfinite(trajectory.positions_A).all(axis=(1, 2))  # of an interpolation: given
    resolve(WRITERS[".pdb"])(trajectory[finite][:1], topology)
    return topology
