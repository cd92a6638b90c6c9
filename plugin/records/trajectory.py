"""Frames of one molecule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.frozen import Pick, frozen_array
from equidrift.records.ensemble import Ensemble
from equidrift.records.geometries import Geometries
from equidrift.shown import Viewed
from equidrift.text import counted


@dataclass(frozen=True, eq=False)
class Trajectory(Viewed, Geometries):
    """Frames of one molecule.

    Parameters
    ----------
    molecule : Molecule
        Graph of the frames' atoms, in their order.
    positions_A : (n_frames, n_atoms, 3) array_like
        Coordinates in A; `load_trajectory` makes the molecule whole and undoes its
        jumps across the box.
    time_fs : (n_frames,) array_like
        Times in fs.
    box_A : (3, 3) or (n_frames, 3, 3) array_like, optional
        The periodic box in A, for every frame or for each; its rows are the cell's
        vectors.
    provenance : mapping
        Model, seeds, options, `exact` and versions.

    Raises
    ------
    InputError
        If the positions do not fit the molecule, or times and boxes the number of
        frames.

    Examples
    --------
    >>> import equidrift
    >>> water = equidrift.Molecule.from_smiles("O")
    >>> frames = [[[0.0, 0.0, 1.0 * k] for k in range(3)]] * 2
    >>> equidrift.Trajectory(water, frames, [0.0, 5.0]).dt_fs
    5.0
    """

    time_fs: NDArray[np.float64]
    box_A: NDArray[np.float64] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    _SAVE: ClassVar[str] = "equidrift.files.trajectories:save_trajectory"
    _TO_ASE: ClassVar[str] = "equidrift.adapters.ase.frames:trajectory_to_atoms"

    def __post_init__(self) -> None:
        super().__post_init__()
        put, n = object.__setattr__, len(self)
        put(self, "time_fs", frozen_array(self.time_fs, np.float64, (n,), "time_fs"))
        if self.box_A is not None:
            one = np.ndim(self.box_A) == 2
            shape = (3, 3) if one else (n, 3, 3)
            put(self, "box_A", frozen_array(self.box_A, np.float64, shape, "box_A"))
        put(self, "provenance", MappingProxyType(dict(self.provenance)))

    def __getitem__(self, index: Pick) -> Trajectory:
        """The frames that `index` (int, slice, mask or list) picks, as a Trajectory."""
        pick = np.atleast_1d(np.arange(len(self))[index])
        box_A = self.box_A
        if box_A is not None and box_A.ndim == 3:
            box_A = box_A[pick]
        positions_A, time_fs = self.positions_A[pick], self.time_fs[pick]
        return self.replace(positions_A=positions_A, time_fs=time_fs, box_A=box_A)

    def __repr__(self) -> str:
        span = f"{self.time_fs[0]:g} to {self.time_fs[-1]:g} fs" if len(self) else "empty"
        model = self.provenance.get("model", "?")
        return (
            f"Trajectory({self.molecule!r}, {counted(len(self), 'frame')}, {span}, model {model})"
        )

    @property
    def boxes_A(self) -> NDArray[np.float64] | None:
        """The box of each frame, (n_frames, 3, 3), or None."""
        if self.box_A is None:
            return None
        return np.broadcast_to(self.box_A, (len(self), 3, 3))

    @property
    def dt_fs(self) -> float:
        """Mean time between frames.

        Raises `InputError` for a single frame, which has none.
        """
        if len(self) < 2:
            raise InputError(f"{self!r} has no time between frames; give at least two frames")
        return float(self.time_fs[-1] - self.time_fs[0]) / (len(self) - 1)

    def to_ensemble(self) -> Ensemble:
        """The frames as conformers; times and box are left out.

        Returns
        -------
        Ensemble
            A conformer for each frame.

        Examples
        --------
        >>> import equidrift
        >>> water = equidrift.Molecule.from_smiles("O")
        >>> frames = [[[0.0, 0.0, 1.0 * k] for k in range(3)]] * 2
        >>> len(equidrift.Trajectory(water, frames, [0.0, 5.0]).to_ensemble())
        2
        """
        return Ensemble(self.molecule, self.positions_A, provenance=self.provenance)
