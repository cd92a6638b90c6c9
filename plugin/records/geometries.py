"""What conformers and frames share: geometries of one molecule, one after another."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equidrift.frozen import Frozen, frozen_array
from equidrift.molecule import Molecule

if TYPE_CHECKING:
    import ase
    import MDAnalysis
    import mdtraj


@dataclass(frozen=True, eq=False)
class Geometries(Frozen):
    """Geometries (n, n_atoms, 3) of one molecule; subclasses say what belongs to each,
    and raise `InputError` if shapes do not fit.
    """

    molecule: Molecule
    positions_A: NDArray[np.float64]

    # "module:function" that writes such a record, and that makes images of it
    _SAVE: ClassVar[str]
    _TO_ASE: ClassVar[str]

    def __post_init__(self) -> None:
        shape = (None, self.molecule.n_atoms, 3)
        positions_A = frozen_array(self.positions_A, np.float64, shape, "positions_A")
        object.__setattr__(self, "positions_A", positions_A)

    def __len__(self) -> int:
        return len(self.positions_A)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file; the suffix picks the format.

        Parameters
        ----------
        path : str or PathLike
            The file. For conformers its suffix is in
            `equidrift.registry.ENSEMBLE_WRITERS`, for a trajectory in
            `TRAJECTORY_WRITERS` there.

        Raises
        ------
        UnknownNameError
            For another suffix, with the nearest one.
        InputError
            If the path cannot be written.

        Examples
        --------
        >>> import equidrift, tempfile
        >>> ensemble = equidrift.sample("CCO", 2, model="etkdg")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ensemble.save(f"{folder}/ethanol.npz")
        ...     len(equidrift.load(f"{folder}/ethanol.npz"))
        2
        """
        from equidrift.registry import resolve

        resolve(self._SAVE)(self, path)

    def to_ase(self) -> list[ase.Atoms]:
        """One `ase.Atoms` per conformer or frame, in A.

        Returns
        -------
        list of ase.Atoms
            Each has the molecule in `info`; a conformer also its energy, if that is
            known, in a SinglePointCalculator, and a frame its time in
            `info["time_fs"]`, and the box.

        Examples
        --------
        >>> import equidrift
        >>> ensemble = equidrift.sample("CCO", 2, model="etkdg")
        >>> [len(atoms) for atoms in ensemble.to_ase()]
        [9, 9]
        """
        from equidrift.registry import resolve

        images: list[ase.Atoms] = resolve(self._TO_ASE)(self)
        return images

    def to_openmm(self) -> tuple[Any, list[Any]]:
        """What OpenMM needs to begin from the conformers or frames.

        Returns
        -------
        topology : openmm.app.Topology
            The molecule.
        positions : list of Quantity
            (n_atoms, 3) for each conformer or frame.

        Examples
        --------
        >>> import equidrift
        >>> topology, positions = equidrift.sample("CCO", 2, model="etkdg").to_openmm()
        >>> topology.getNumAtoms(), len(positions)
        (9, 2)
        """
        from equidrift.registry import resolve

        made: tuple[Any, list[Any]] = resolve("equidrift.adapters.openmm.topology:to_openmm")(self)
        return made

    def to_mdanalysis(self) -> MDAnalysis.Universe:
        """A Universe whose frames are the conformers or frames.

        Returns
        -------
        MDAnalysis.Universe
            Positions in A, with bonds, elements and charges; of a trajectory also the
            box, and the times in ps as everywhere in MDAnalysis.

        Examples
        --------
        >>> import equidrift
        >>> universe = equidrift.sample("CCO", 2, model="etkdg").to_mdanalysis()
        >>> len(universe.atoms), len(universe.trajectory)
        (9, 2)
        """
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mdanalysis.universe:to_universe")(self)

    def to_mdtraj(self) -> mdtraj.Trajectory:
        """An MDTraj trajectory of the conformers or frames.

        Returns
        -------
        mdtraj.Trajectory
            Positions in nm, as everywhere in MDTraj; of a trajectory also the box, and
            the times in ps.

        Examples
        --------
        >>> import equidrift
        >>> ensemble = equidrift.sample("CCO", 2, model="etkdg")
        >>> ensemble.to_mdtraj().n_frames  # doctest: +SKIP
        2
        """
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mdtraj.trajectory:to_mdtraj")(self)
