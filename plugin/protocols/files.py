"""What reads and writes files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from equidrift.protocols.values import Floats
from equidrift.records import Ensemble, Molecule, Trajectory


class FileRecord(Protocol):
    """One entry of a file of molecules.

    Attributes
    ----------
    index : int
        Its place among the entries of the file, from 0.
    title : str
        Its name in the file, else its SMILES.
    molecule : Molecule or None
        With its name and properties; None if `error` says what is wrong.
    positions_A : (k, n_atoms, 3) array or None
        Its conformers in A, None if it has none in 3D.
    error : str or None
        What is wrong with the entry.
    own : mapping
        What `equidrift` wrote of this conformer, by field.
    """

    @property
    def index(self) -> int: ...  # noqa: D102 - above
    @property
    def title(self) -> str: ...  # noqa: D102 - above
    @property
    def molecule(self) -> Molecule | None: ...  # noqa: D102 - above
    @property
    def positions_A(self) -> Floats | None: ...  # noqa: D102 - above
    @property
    def error(self) -> str | None: ...  # noqa: D102 - above
    @property
    def own(self) -> Mapping[str, str]: ...  # noqa: D102 - above


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
