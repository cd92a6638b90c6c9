"""AutoDock Vina's own score of a molecule in a pocket, both rigid, by its Python package.

The text that Vina reads (.pdbqt) is written here: AutoDock's types of atoms, from bonds
and hydrogens. The molecule has no torsions in it, so that Vina scores the pose as it is;
the factor of its rotors is applied after.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import MissingDependencyError
from equidrift.graph import neighbours_of
from equidrift.records import SYMBOLS, Ensemble, Molecule
from equidrift.vina import CUTOFF_A, PER_ROTOR, POLAR, kinds_of, rotors

MARGIN_A = 4.0  # of the box about the molecule
Floats = NDArray[np.float64]


def score(pocket: Ensemble, molecule: Molecule, positions_A: Floats) -> float:
    """AutoDock Vina's score in kcal/mol of a molecule at positions (n_atoms, 3).

    Parameters
    ----------
    pocket : Ensemble
        Of one conformer, with all hydrogens; what is near counts.
    molecule : Molecule
        With all hydrogens.
    positions_A : array
        (n_atoms, 3), in the frame of the pocket.

    Raises
    ------
    MissingDependencyError
        If the package vina is not installed.
    InputError
        For an element that Vina does not know.
    """
    try:
        from vina import Vina
    except ImportError as error:
        raise MissingDependencyError("vina", "vina") from error
    low, high = positions_A.min(0) - MARGIN_A, positions_A.max(0) + MARGIN_A
    places = pocket.positions_A[0]
    gap = np.linalg.norm(places - np.clip(places, low, high), axis=1)
    judge = Vina(sf_name="vina", cpu=1, verbosity=0)
    with tempfile.TemporaryDirectory() as folder:
        receptor = Path(folder) / "receptor.pdbqt"
        receptor.write_text("".join(atom_lines(pocket.molecule, places, gap < CUTOFF_A)))
        judge.set_receptor(str(receptor))
    every = np.ones(molecule.n_atoms, bool)
    lines = atom_lines(molecule, positions_A, every)
    judge.set_ligand_from_string("".join(["ROOT\n", *lines, "ENDROOT\nTORSDOF 0\n"]))
    judge.compute_vina_maps(center=(0.5 * (low + high)).tolist(), box_size=(high - low).tolist())
    return float(judge.score()[0]) / (1 + PER_ROTOR * rotors(molecule))


def atom_lines(molecule: Molecule, positions_A: Floats, wanted: NDArray[np.bool_]) -> list[str]:
    """Lines of a .pdbqt file: heavy atoms and the hydrogens of donors, in A."""
    kinds = atom_types(molecule)
    lines: list[str] = []
    for k in np.flatnonzero(wanted).tolist():
        if kinds[k]:
            x, y, z = positions_A[k]
            lines.append(
                f"ATOM  {len(lines) + 1:5d}  {kinds[k]:<3} UNL A   1    "
                f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00    {0:6.3f} {kinds[k]:<2}\n"
            )
    return lines


def atom_types(molecule: Molecule) -> list[str]:
    """AutoDock's type of each atom, empty for a hydrogen that is left out."""
    rows, kinds = kinds_of(molecule)
    takes = dict(zip(rows.tolist(), kinds.acceptor.tolist(), strict=True))
    near = neighbours_of(molecule.n_atoms, molecule.bonds)
    types = []
    for k, z in enumerate(molecule.numbers.tolist()):
        if z == 1:
            types.append("HD" if any(molecule.numbers[j] in POLAR for j in near[k]) else "")
        elif z in POLAR:
            types.append(SYMBOLS[z] + ("A" if takes[k] else ""))
        else:
            types.append(SYMBOLS[z])
    return types
