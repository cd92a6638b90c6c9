"""Trajectories of a long run: chunks of frames are kept until the run is whole."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.files.formats import topology_path
from equidrift.files.journal import synced_size
from equidrift.files.npz import check_fields, load_arrays, save_arrays
from equidrift.files.stream import StreamWriter
from equidrift.files.topologies import save_topology
from equidrift.outputs import moment
from equidrift.records import Chunk, Trajectory
from equidrift.registry import TRAJECTORY_WRITERS, resolve


class TrajectoryStream(StreamWriter):
    """Keeps chunks of frames until a run is whole, then writes one file for each
    sample.

    Parameters, errors and journal are `StreamWriter`'s; `position` is (samples done,
    frames done of the next batch).

    Parameters
    ----------
    n : int
        Samples, each a file of its own (`sample_paths`).
    topology : bool
        Whether the topology goes beside formats that hold no graph (`topology_path`).
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
            {"rejected": dict(rejected), "broken": dict(broken)}
            for rejected, broken in zip(chunk.rejected, chunk.broken, strict=True)
        ]
        piece = self.piece(self.state["size"])
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
            chunk = _chunk_of(self.piece(k))
            if batch and chunk.first_frame == 0:
                yield batch
                batch = []
            batch.append(chunk)
        if batch:
            yield batch

    def unfinished(self, frames: int) -> NDArray[np.float64] | None:
        """The last `frames` frames (n_samples, any, n_atoms, 3) of the batch that is
        under way, None if none is.
        """
        if not self.position[1]:
            return None
        parts: list[NDArray[np.float64]] = []
        for k in reversed(range(self.state["size"])):
            chunk = _chunk_of(self.piece(k))
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
        n : int
            Samples.
        trajectories : callable
            What a batch of chunks is as Trajectories.
        first : Trajectory, optional
            Frames of which the topology is written, if one goes beside the format.
        """
        paths = sample_paths(self.path, n)
        if self.finished:
            return paths
        self._closing()
        place = 0
        for batch in self.batches():
            for trajectory in trajectories(batch):
                resolve(TRAJECTORY_WRITERS[self.suffix])(trajectory, self.fresh)
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
