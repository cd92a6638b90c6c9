"""Frames of one molecule."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.frozen import Frozen, Pick, frozen_array
from equidrift.molecule import Molecule
from equidrift.records.ensemble import Ensemble
from equidrift.shown import Viewed

if TYPE_CHECKING:
    import ase
    import MDAnalysis
    import mdtraj


@dataclass(frozen=True, eq=False)
class Trajectory(Viewed, Frozen):
    """Frames of one molecule.

    Parameters
    ----------
    molecule : Molecule
        Their graph.
    positions_A : (n_frames, n_atoms, 3) array_like
        Coordinates in A.
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
        If shapes do not fit each other or the molecule.

    Examples
    --------
    >>> import equidrift
    >>> water = equidrift.Molecule.from_smiles("O")
    >>> frames = [[[0.0, 0.0, 1.0 * k] for k in range(3)]] * 2
    >>> equidrift.Trajectory(water, frames, [0.0, 5.0]).dt_fs
    5.0
    """

    molecule: Molecule
    positions_A: NDArray[np.float64]
    time_fs: NDArray[np.float64]
    box_A: NDArray[np.float64] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fix = object.__setattr__
        fix(
            self,
            "positions_A",
            frozen_array(
                self.positions_A, np.float64, (None, self.molecule.n_atoms, 3), "positions_A"
            ),
        )
        fix(
            self,
            "time_fs",
            frozen_array(self.time_fs, np.float64, (len(self.positions_A),), "time_fs"),
        )
        if self.box_A is not None:
            one = np.ndim(self.box_A) == 2
            shape = (3, 3) if one else (len(self.positions_A), 3, 3)
            fix(self, "box_A", frozen_array(self.box_A, np.float64, shape, "box_A"))
        fix(self, "provenance", MappingProxyType(dict(self.provenance)))

    def __len__(self) -> int:
        return len(self.positions_A)

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
        return f"Trajectory({self.molecule!r}, {len(self)} frames, {span}, model {model})"

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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file; the suffix picks the format.

        Parameters
        ----------
        path : str or PathLike
            The file, of a suffix in `equidrift.registry.TRAJECTORY_WRITERS`.

        Raises
        ------
        UnknownNameError
            For another suffix, with the nearest one.
        InputError
            If the path cannot be written.

        Examples
        --------
        >>> import equidrift, tempfile
        >>> water = equidrift.Molecule.from_smiles("O")
        >>> frames = [[[0.0, 0.0, 1.0 * k] for k in range(3)]] * 2
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     equidrift.Trajectory(water, frames, [0.0, 5.0]).save(f"{folder}/water.npz")
        ...     len(equidrift.load_trajectory(f"{folder}/water.npz"))
        2
        """
        from equidrift.files.trajectories import save_trajectory

        save_trajectory(self, path)

    def to_ase(self) -> list[ase.Atoms]:
        """One `ase.Atoms` per frame, in A.

        Returns
        -------
        list of ase.Atoms
            With the time in `info["time_fs"]`, and the box.

        Examples
        --------
        >>> import equidrift
        >>> water = equidrift.Molecule.from_smiles("O")
        >>> frames = [[[0.0, 0.0, 1.0 * k] for k in range(3)]] * 2
        >>> images = equidrift.Trajectory(water, frames, [0.0, 5.0]).to_ase()
        >>> [atoms.info["time_fs"] for atoms in images]
        [0.0, 5.0]
        """
        from equidrift.registry import resolve

        images: list[ase.Atoms] = resolve("equidrift.adapters.ase.frames:trajectory_to_atoms")(self)
        return images

    def to_openmm(self) -> tuple[Any, list[Any]]:
        """What OpenMM needs to begin from the frames.

        Returns
        -------
        topology : openmm.app.Topology
            The molecule.
        positions : list of Quantity
            (n_atoms, 3) for each frame.

        Examples
        --------
        >>> import equidrift
        >>> water = equidrift.Molecule.from_smiles("O")
        >>> frames = [[[0.0, 0.0, 1.0 * k] for k in range(3)]] * 2
        >>> topology, positions = equidrift.Trajectory(water, frames, [0.0, 5.0]).to_openmm()
        >>> topology.getNumAtoms(), len(positions)
        (3, 2)
        """
        return self.to_ensemble().to_openmm()

    def to_mdanalysis(self) -> MDAnalysis.Universe:
        """A Universe whose frames, times and box are the trajectory's.

        Returns
        -------
        MDAnalysis.Universe
            Positions in A, times in ps as everywhere in MDAnalysis.

        Examples
        --------
        >>> import equidrift
        >>> water = equidrift.Molecule.from_smiles("O")
        >>> frames = [[[0.0, 0.0, 1.0 * k] for k in range(3)]] * 2
        >>> universe = equidrift.Trajectory(water, frames, [0.0, 5.0]).to_mdanalysis()
        >>> len(universe.trajectory)
        2
        """
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mdanalysis.universe:to_universe")(self)

    def to_mdtraj(self) -> mdtraj.Trajectory:
        """An MDTraj trajectory with the same frames, times and box.

        Returns
        -------
        mdtraj.Trajectory
            Positions in nm, times in ps, as everywhere in MDTraj.

        Examples
        --------
        >>> import equidrift
        >>> water = equidrift.Molecule.from_smiles("O")
        >>> frames = [[[0.0, 0.0, 1.0 * k] for k in range(3)]] * 2
        >>> trajectory = equidrift.Trajectory(water, frames, [0.0, 5.0])
        >>> trajectory.to_mdtraj().n_frames  # doctest: +SKIP
        2
        """
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mdtraj.trajectory:to_mdtraj")(self)
