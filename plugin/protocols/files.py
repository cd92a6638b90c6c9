"""What reads and writes files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from equidrift.records import Ensemble, Trajectory


class EnsembleWriter(Protocol):
    """Writes conformers to one file; those that append take `append` and
    `first_sample`, the number of the first of these samples in the file.
    """

    def __call__(self, ensemble: Ensemble, path: Path, /) -> None:
        """Write the whole file."""
        ...


class TrajectoryWriter(Protocol):
    """Writes a trajectory to one file."""

    def __call__(self, trajectory: Trajectory, path: Path, /) -> None:
        """Write the whole file."""
        ...


class EnsembleReader(Protocol):
    """Reads the conformers of a file, one ensemble for each molecule in it."""

    def __call__(self, path: Path, /) -> Iterator[Ensemble]:
        """The ensembles in the order of the file."""
        ...
