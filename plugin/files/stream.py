"""Long runs in files, added piece by piece: a broken run goes on where it stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from equidrift.errors import InputError
from equidrift.files.failures import Failures
from equidrift.files.finished import recall_finished, remember_finished
from equidrift.files.formats import (
    APPENDED,
    STDOUT,
    check_output,
    suffix_of,
    topology_path,
)
from equidrift.files.journal import (
    AnyPath,
    Inputs,
    Pieces,
    Position,
    Told,
    fingerprint,
    synced_size,
)
from equidrift.files.npz import load_arrays, save_arrays
from equidrift.files.pieces import write_pieces
from equidrift.files.plain import plain
from equidrift.files.stdout import StandardOutput
from equidrift.files.tabled import TabledFailures
from equidrift.files.topologies import save_topology
from equidrift.files.unpacked import pack
from equidrift.files.whole import write_json
from equidrift.outputs import claim, moment, refuse_inputs
from equidrift.registry import ENSEMBLE_WRITERS, resolve

FLUSH_S = 10.0  # what is done reaches the disk at least as often, batches permitting
_PLACE = "place"  # in OUT.window: the position of the window it belongs to
_PIECE = re.compile(r"\d{6,}\.npz(\.\d+\.part)?$")  # a piece in OUT.part, whole or torn


class StreamWriter(TabledFailures):
    """Writes pieces to OUT so that a run that ends at any moment goes on where it
    stopped.

    What is written goes to OUT.part (for formats that cannot be added to: a folder of
    .npz pieces). After every piece a small journal, OUT.journal, records how much of it
    counts; OUT.window holds what is done of the window that is being made. Opening cuts
    off what the journal does not count; `finish` moves the whole to OUT. A continued
    run gives the bytes of one that was left alone.

    Parameters
    ----------
    path : str or PathLike
        OUT.
    command : mapping
        Everything that decides the result; a journal of another command is refused.
    inputs : sequence of str or PathLike
        The files that the run reads, which are never written.
    overwrite : bool
        Drop what another, unfinished command has left, and replace what is there.

    Attributes
    ----------
    finished : bool
        OUT is there, from this very command; `summary` is that run's.

    Raises
    ------
    InputError
        If OUT cannot be written, is an input, exists and is no run of this command, or
        has the journal of another command.
    """

    grows = True  # whether formats that can be added to are; else pieces are kept until the end

    def __init__(
        self, path: AnyPath, command: Told, *, inputs: Inputs = (), overwrite: bool = False
    ) -> None:
        self.path = check_output(path)
        self.suffix = suffix_of(path)
        self.inner = self.suffix.removesuffix(".gz")  # of OUT.part, which is packed at the end
        self.appended = self.inner in APPENDED and self.grows
        self.part = self.path.with_name(self.path.name + ".part")
        self.journal = self.path.with_name(self.path.name + ".journal")
        self.window = self.path.with_name(self.path.name + ".window")
        stem = self.path.name[: -len(self.suffix)]
        self.fresh = self.path.with_name(f".{stem}.new{self.suffix}")
        self.command = fingerprint(command)
        self.finished = False
        self.state: dict[str, Any] = self._nothing()
        self._held: tuple[Any, ...] | None = None
        self._flushed_s = time.monotonic()
        refuse_inputs([*self.outputs, self.failures, *self._scratch], inputs)
        self._open(overwrite)

    @property
    def outputs(self) -> list[Path]:
        """Every file that the finished run leaves: OUT, and its topology if the format
        holds no graph.
        """
        topology = topology_path(self.path)
        return [self.path] if topology is None else [self.path, topology]

    @property
    def _scratch(self) -> list[Path]:
        topology = topology_path(self.fresh)
        made = [self.fresh] if topology is None else [self.fresh, topology]
        return [self.part, self.journal, self.window, self._failing, *made]

    @property
    def position(self) -> Position:
        """(molecules done, samples done of the next)."""
        molecules, samples = self.state["position"]
        return molecules, samples

    @property
    def summary(self) -> dict[str, Any]:
        """What the run wanted to remember with its last piece."""
        return dict(self.state["summary"])

    # Writing -----------------------------------------------------------------------------

    def write(
        self, pieces: Pieces, position: Position, summary: Told, failures: Failures = ()
    ) -> None:
        """Add ensembles, each with the index of its first sample, and rows of the table
        of failures; the run has come to `position`.
        """
        self._begin()
        self._fail(failures)
        size = self.state["size"]
        if self.appended:
            for ensemble, first in pieces:
                resolve(ENSEMBLE_WRITERS[self.inner])(
                    ensemble, self.part, append=True, first_sample=first
                )
            size = synced_size(self.part)
        else:
            for ensemble, _ in pieces:
                piece = self.piece(size)
                resolve(ENSEMBLE_WRITERS[".npz"])(ensemble, piece)
                synced_size(piece)
                size += 1
        self._record(position, size, summary)

    def rewind(self, size: int) -> None:
        """Forget what was written after the part had this `size` (`state["size"]` at
        that time).
        """
        self.state["size"] = size
        if self.appended and self.part.is_file():
            os.truncate(self.part, size)

    def hold(self, arrays: Mapping[str, Any], summary: Mapping[str, Any] | None = None) -> None:
        """Keep what is done of the window that is being made; on disk every FLUSH_S at
        least.

        Parameters
        ----------
        arrays : mapping
            Of the engine, given back by `held` to a run that goes on from here.
        summary : mapping, optional
            What the run wants to remember, if that is more than at the last piece.
        """
        self._held = (arrays, summary)
        if time.monotonic() - self._flushed_s >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Bring to disk what `hold` was given last."""
        if self._held is None:
            return
        arrays, summary = self._held
        self._held = None
        self._begin()
        if summary is not None:
            self.state["summary"] = plain(summary)
        save_arrays(self.window, {**arrays, _PLACE: np.array(self._place(arrays))})
        synced_size(self.window)
        moment("window kept")
        self._flushed_s = time.monotonic()

    def held(self) -> dict[str, Any] | None:
        """What an earlier process did of the window that begins at `position`, None if
        nothing.
        """
        try:
            arrays = load_arrays(self.window)
        except InputError:  # none, or one that something else has damaged: the window is made anew
            return None
        place = str(arrays.pop(_PLACE, ""))
        return arrays if place == self._place(arrays) else None

    def _place(self, arrays: Mapping[str, Any]) -> str:
        """Where a window belongs, and a hash of what it holds."""
        content = sha256()
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            content.update(f"{name} {array.dtype.str} {np.shape(arrays[name])} ".encode())
            content.update(array.tobytes())
        place = [self.command, self.state["position"], self.state["size"], content.hexdigest()]
        return json.dumps(place)

    def _begin(self) -> None:
        """The journal stands before anything else of the run does: it tells whose the
        rest is.
        """
        if not self.journal.exists():
            self._write_journal()
        if not self.appended:
            self.part.mkdir(exist_ok=True)

    def _record(self, position: Position, size: int, summary: Mapping[str, Any]) -> None:
        """What is on the disk counts from now on."""
        moment("piece written")
        self._held = None
        self.state |= {"position": list(position), "size": size, "summary": plain(summary)}
        self._write_journal()
        self._flushed_s = time.monotonic()

    def finish(self) -> None:
        """Move what was written to OUT, which appears whole or not at all."""
        if self.finished:
            return
        self._closing()
        if self.suffix.endswith(".gz"):
            pack(self.part, self.fresh)
            os.replace(self.fresh, self.path)
        elif self.appended:
            os.replace(self.part, self.path)
        else:
            self._convert()
        moment("in place")
        self._close()

    def _closing(self) -> None:
        """From now on the outputs are the run's own, whenever it is taken up again."""
        if not (self.state["granted"] or self.state["closing"]):
            claim(self.outputs)
        self.state["closing"] = True
        self._write_journal()

    def _close(self) -> None:
        told = {name: self.state[name] for name in ("position", "summary", "failed")}
        remember_finished(self.outputs, self.command, told)
        self.discard()
        self.finished = True

    def discard(self) -> None:
        """Remove everything unfinished; the journal last, since it tells whose the rest
        is.
        """
        for path in self._scratch[2:]:  # without the part and the journal
            path.unlink(missing_ok=True)
        if self.part.is_dir():
            foreign = [path.name for path in self.part.iterdir() if not _PIECE.search(path.name)]
            if foreign:
                raise InputError(
                    f"{str(self.part)!r} is a folder with files of others ({foreign[0]}); "
                    "move it away, or give another name for the output"
                )
            shutil.rmtree(self.part)
        self.part.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

    def piece(self, k: int) -> Path:
        """The file of piece k, for formats that cannot be added to."""
        return self.part / f"{k:06d}.npz"

    # Opening -----------------------------------------------------------------------------

    def _nothing(self) -> dict[str, Any]:
        nothing = {"command": self.command, "position": [0, 0], "size": 0, "summary": {}}
        return nothing | {"granted": False, "closing": False, "failed": 0, "failures": 0}

    def _open(self, overwrite: bool) -> None:
        """Take up the journal, if there is one, and cut off what it does not count."""
        state = self._journal(overwrite)
        if state is not None and self._ended(state):
            self.state = state
            self._close()
            return
        own = state is not None and (state["granted"] or state["closing"])
        if not own and not overwrite:
            told = recall_finished(self.outputs, self.command) if state is None else None
            if told is not None:
                self.state |= told
                self.finished = True
                return
        claim([*self.outputs, self.failures], own=own, overwrite=overwrite)
        if state is None:
            claim(self._scratch, overwrite=overwrite)
            self.discard()
        elif self._whole(state):
            self.state = state
        else:
            self.discard()
        self.state["granted"] = bool(self.state["granted"] or overwrite)

    def _journal(self, overwrite: bool) -> dict[str, Any] | None:
        """The journal of this command, None if there is none or it may be dropped."""
        if not self.journal.exists():
            return None
        from equidrift.stored import StoredJournal, read_stored

        try:
            state = read_stored(self.journal, StoredJournal, "journal").model_dump()
        except InputError as error:
            if overwrite:
                return None
            raise InputError(f"{error}; start again with --overwrite") from error
        if state["command"] == self.command:
            return state
        if self._has_work(state) and not overwrite:
            raise InputError(
                f"{str(self.path)!r} has an unfinished run of another command (its inputs, "
                f"options, "
                "weights or version differ); repeat that command to finish it, give another path, "
                "or drop it with --overwrite"
            )
        self.discard()
        return None

    def _has_work(self, state: Mapping[str, Any]) -> bool:
        """Whether there is anything that would be a pity to drop."""
        return bool(state["size"] or any(state["position"]) or self.window.exists())

    def _ended(self, state: Mapping[str, Any]) -> bool:
        """Whether the run had moved its result into place when it was killed."""
        kept = self.part.exists() if self.appended else self._whole(state)
        gone = not kept
        return bool(state["closing"] and gone and all(path.exists() for path in self.outputs))

    def _whole(self, state: Mapping[str, Any]) -> bool:
        """Whether everything that the journal counts is there; what it does not count
        is cut off.
        """
        if not self._failures_whole(state):
            return False
        size = state["size"]
        if not self.appended:
            return all(self.piece(k).is_file() for k in range(size))
        if not size:
            self.part.unlink(missing_ok=True)
            return True
        if not self.part.is_file() or self.part.stat().st_size < size:
            return False
        os.truncate(self.part, size)
        return True

    def _write_journal(self) -> None:
        fresh = self.journal.with_name(self.journal.name + ".new")
        write_json(self.journal, self.state, what="journal", fresh=fresh)

    def _convert(self) -> None:
        """The pieces, in order, as one file."""
        first = write_pieces(map(self.piece, range(self.state["size"])), self.fresh)
        moment("converted")
        topology = save_topology(first, self.fresh)
        if topology is not None:
            os.replace(topology, self.outputs[-1])
            moment("topology in place")
        os.replace(self.fresh, self.path)


Writer = StreamWriter | StandardOutput


def open_stream(
    path: AnyPath, command: Told, *, inputs: Inputs = (), overwrite: bool = False
) -> Writer:
    """A `StreamWriter`, or what prints to standard output for "-"; errors as
    `StreamWriter`.
    """
    if os.fspath(path) == STDOUT:
        return StandardOutput()
    return StreamWriter(path, command, inputs=inputs, overwrite=overwrite)
