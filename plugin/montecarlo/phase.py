"""The adaptive phase of a run on disk: what is done is kept, and repeated on resuming
without running it again.

Adapting is a series of short runs, each with a proposer that follows from the frames of
those before. A resumed phase goes through the same series: runs that were finished give
their stored frames, the interrupted one goes on from the stored state of the host, and
so the proposer and the chain are those of an uninterrupted run.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.montecarlo.metropolis import Statistics
from equidrift.protocols import Proposer, StorableProposer


class ChainSampler(Protocol):
    """What a host's sampler must offer to be run and kept on disk."""

    statistics: Statistics
    cycle: int

    @property
    def proposer(self) -> StorableProposer:
        """What proposes its moves."""
        ...

    @property
    def torsions_rad(self) -> Floats:
        """(cycles, m) torsions after each cycle."""
        ...

    @property
    def energies_eV(self) -> Floats:
        """(cycles,) potential energy after each cycle."""
        ...

    def run(self, cycles: int) -> None:
        """So many cycles of dynamics and moves."""
        ...

    def save(
        self, path: Path, files: Sequence[str] = (), extra: Mapping[str, Any] | None = None
    ) -> None:
        """Write a checkpoint; `files` are cut to their present lengths by `load`."""
        ...

    def load(self, path: Path) -> dict[str, Any]:
        """Go on from a checkpoint; its `extra`."""
        ...


@dataclass(frozen=True)
class Host:
    """What the phase needs of a run.

    Parameters
    ----------
    sampler : callable
        (proposer, cycles done before) -> a sampler of the host.
    positions_A : callable
        () -> (n_atoms, 3) where the host stands.
    n_atoms : int
        Atoms of a frame.
    save : callable
        (sampler, plain data of the phase): writes the checkpoint.
    checkpoint : Path
        Where that is.
    report : callable
        (cycles done, cycles in all, acceptance): shows progress.
    every_s : float
        Seconds between checkpoints.
    """

    sampler: Callable[[Proposer, int], ChainSampler]
    positions_A: Callable[[], Floats]
    n_atoms: int
    save: Callable[[ChainSampler, dict[str, Any]], None]
    checkpoint: Path
    report: Callable[[int, int, float], None]
    every_s: float


class AdaptivePhase:
    """Runs cycles for `equidrift.montecarlo.adapt.adapt`, and keeps what is done.

    Parameters
    ----------
    host : Host
        Of the run.
    total : int
        Cycles of the phase.
    stored : mapping, optional
        What an interrupted phase left: its own `total` is kept.

    Raises
    ------
    InputError
        If what is stored is damaged.
    """

    def __init__(self, host: Host, total: int, stored: Mapping[str, Any] | None = None) -> None:
        self.host, self.total, self.done = host, total, 0
        self._past: list[tuple[Floats, Statistics]] = []
        self._stored: list[tuple[Floats, Statistics]] = []
        self._begun: Floats | None = None  # frames of the interrupted run
        self._earlier_s, self._start_s = 0.0, time.monotonic()
        if stored is not None:
            self._read(stored)
        self._saved_s = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time of the phase, that before an interruption included."""
        return self._earlier_s + time.monotonic() - self._start_s

    def advance(self, proposer: Proposer, cycles: int) -> tuple[Floats, Statistics]:
        """Frames (cycles, n_atoms, 3) in A after each cycle, and what became of the
        proposals.
        """
        if self._stored:
            frames_A, statistics = self._stored.pop(0)
            self.done += len(frames_A)
            self._past.append((frames_A, statistics))
            return frames_A, statistics
        sampler = self.host.sampler(proposer, self.done)
        frames_A, first = np.empty((cycles, self.host.n_atoms, 3)), 0
        if self._begun is not None:
            sampler.load(self.host.checkpoint)
            first = len(self._begun)
            frames_A[:first] = self._begun
            self._begun, self.done = None, self.done + first
        for k in range(first, cycles):
            sampler.run(1)
            frames_A[k] = self.host.positions_A()
            self.done += 1
            self.host.report(self.done, self.total, sampler.statistics.acceptance)
            self._save_if_due(sampler, frames_A[: k + 1])
        self._past.append((frames_A, sampler.statistics))
        return frames_A, sampler.statistics

    def _save_if_due(self, sampler: ChainSampler, frames_A: Floats) -> None:
        if time.monotonic() - self._saved_s <= self.host.every_s:
            return
        done = [
            {"frames_A": _packed(frames), "statistics": statistics.to_dict()}
            for frames, statistics in self._past
        ]
        plain = {"total": self.total, "seconds": self.seconds, "begun_A": _packed(frames_A)}
        self.host.save(sampler, {**plain, "done": done})
        self._saved_s = time.monotonic()

    def _read(self, stored: Mapping[str, Any]) -> None:
        try:
            self.total, self._earlier_s = int(stored["total"]), float(stored["seconds"])
            for part in stored["done"]:
                statistics = Statistics(**part["statistics"])
                self._stored.append((self._unpacked(part["frames_A"]), statistics))
            self._begun = self._unpacked(stored["begun_A"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{str(self.host.checkpoint)!r} is damaged: the field 'extra.adapting' cannot be "
                f"read ({error}); remove it to start anew"
            ) from error

    def _unpacked(self, text: str) -> Floats:
        raw = np.frombuffer(base64.b64decode(text, validate=True), np.float64)
        frames_A = raw.reshape(-1, self.host.n_atoms, 3)
        if not np.isfinite(frames_A).all():
            raise ValueError("frames that are not finite")
        return frames_A


def _packed(frames_A: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(frames_A).tobytes()).decode()
