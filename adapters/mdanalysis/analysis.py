"""An analysis in MDAnalysis' manner over the conformers of a Universe."""

from __future__ import annotations

from typing import Any

import MDAnalysis as mda
import numpy as np
from MDAnalysis.analysis.base import AnalysisBase

from equidrift.adapters.mdanalysis.graph import complete, graph_of
from equidrift.checks.geometry import GeometryCheck
from equidrift.errors import InputError, InputTypeError
from equidrift.geometry import dihedrals, superposed
from equidrift.torsions import TorsionTree


class ConformerAnalysis(AnalysisBase):
    """Shape, torsions and validity of each frame of one molecule.

    Parameters
    ----------
    atoms : Universe or AtomGroup
        One whole molecule with elements and bonds: what `Ensemble.to_mdanalysis` makes,
        or a ligand of a simulation, unwrapped.
    verbose : bool
        Show MDAnalysis' progress bar.

    Attributes
    ----------
    results.torsions_deg : (n_frames, n_torsions) array
        Torsions about the rotatable bonds, in (-180, 180].
    results.torsion_atoms : (n_torsions, 4) array
        The atoms that each is measured by.
    results.rgyr_A : (n_frames,) array
        Radii of gyration, by mass.
    results.rmsd_A : (n_frames,) array
        Of the heavy atoms to the first frame that is analysed, superposed. Symmetric
        atoms are not exchanged.
    results.reasons : (n_frames,) array of str
        What is wrong with the frame, empty if nothing is.

    Raises
    ------
    InputError
        If elements or bonds are missing; InputTypeError for another object.

    Examples
    --------
    >>> import equidrift
    >>> ensemble = equidrift.sample("CCCO", 3, model="etkdg")
    >>> found = ConformerAnalysis(ensemble.to_mdanalysis()).run()
    >>> found.results.torsions_deg.shape
    (3, 1)
    """

    def __init__(self, atoms: mda.Universe | mda.AtomGroup, verbose: bool = False) -> None:
        if not isinstance(atoms, mda.Universe | mda.AtomGroup):
            raise InputTypeError(
                f"expected a Universe or an AtomGroup, not {type(atoms).__name__}; "
                "ensemble.to_mdanalysis() makes a Universe"
            )
        self.atoms = atoms.atoms
        super().__init__(atoms.universe.trajectory, verbose=verbose)
        graph, charged = graph_of(self.atoms)
        if not len(graph.bonds) and graph.n_atoms > 1:
            raise InputError(
                "the atoms have no bonds; universe.guess_TopologyAttrs(to_guess=['bonds']) "
                "makes them"
            )
        self.molecule = complete(graph, self.atoms.positions.astype(np.float64), charged)

    def _prepare(self) -> None:
        tree = TorsionTree.of(self.molecule)
        self._check = GeometryCheck(self.molecule)
        self._heavy = self.molecule.numbers > 1
        self._first: Any = None
        self.results.torsion_atoms = tree.atoms
        self.results.torsions_deg = np.empty((self.n_frames, len(tree.atoms)))
        self.results.rgyr_A = np.empty(self.n_frames)
        self.results.rmsd_A = np.empty(self.n_frames)
        self.results.reasons = np.empty(self.n_frames, dtype=object)

    def _single_frame(self) -> None:
        x = self.atoms.positions.astype(np.float64)
        k = self._frame_index
        heavy = x[self._heavy] if self._heavy.any() else x
        if self._first is None:
            self._first = heavy
        off = superposed(heavy, heavy, self._first) - self._first
        self.results.torsions_deg[k] = np.degrees(dihedrals(x, self.results.torsion_atoms))
        self.results.rgyr_A[k] = self.atoms.radius_of_gyration()
        self.results.rmsd_A[k] = np.sqrt(np.square(off).sum(1).mean())
        self.results.reasons[k] = str(self._check(x[None])[0])
