"""Stereo that an input leaves open: what is done with it, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import MoleculeError, UnknownNameError
from equidrift.records import Molecule
from equidrift.registry import host_function

STEREO = ("any", "require", "enumerate")
MOST_PLACES = 5  # of open stereo that are named


@dataclass(frozen=True)
class Consequence:
    """What a command makes of stereo that is not told, in words.

    Parameters
    ----------
    of_open : str
        Of a centre or double bond without a label.
    of_relative : str
        Of a racemate, or an enantiomer that is not known.
    """

    of_open: str
    of_relative: str


_EACH = "(stereo 'enumerate' makes each)"
SAMPLED = Consequence(
    f"the conformers mix isomers {_EACH}", f"only the drawn form is sampled {_EACH}"
)
SIMULATED = Consequence(
    "one isomer is simulated, the one that was embedded; label the stereo to choose it",
    "only the drawn form is simulated; run the other by itself",
)
SHOWN = Consequence("", "only the form that the coordinates show is simulated")
REFINED = Consequence(
    "each conformer is refined as the isomer that its coordinates show",
    "only the form that the coordinates show is refined",
)
CONTINUED = Consequence(
    "the new frames keep the form that the given ones show",
    "only the form that the frames show is continued",
)
KEPT = Consequence(
    "the fragment is kept as its coordinates show it",
    "the fragment is kept as its coordinates show it",
)


def check_stereo(stereo: str) -> str:
    """Refuse a way with open stereo that is none of STEREO."""
    if stereo not in STEREO:
        raise UnknownNameError("way with open stereo", str(stereo), STEREO)
    return stereo


def isomers_of(molecule: Molecule, stereo: str) -> list[Molecule]:
    """The molecules to sample of one whose stereo may be open.

    Parameters
    ----------
    molecule : Molecule
        As it was read.
    stereo : {"any", "require", "enumerate"}
        "any" takes it as it is, "require" refuses open stereo, "enumerate" gives every
        isomer.

    Raises
    ------
    MoleculeError
        For open stereo under "require", or more isomers than are made.
    """
    if stereo == "any":
        return [molecule]
    if stereo == "enumerate":
        isomers: list[Molecule] = host_function("rdkit", "stereoisomers")(molecule)
        return isomers
    relative = (_label(molecule, k) for k in molecule.stereo_groups[:, 0].tolist())
    if open_places := [*host_function("rdkit", "open_stereo")(molecule), *relative]:
        raise MoleculeError(
            f"{molecule!r} leaves the stereo of {', '.join(open_places)} open (atoms from "
            "0); label it, or take stereo='enumerate' (every isomer) or 'any' (a mixture)"
        )
    return [molecule]


def stereo_notes(molecule: Molecule, what: Consequence) -> list[str]:
    """A note on the open stereo of a molecule, and one for each group of relative stereo.

    Parameters
    ----------
    molecule : Molecule
        As it was read.
    what : Consequence
        What is made of it.
    """
    notes = []
    found = host_function("rdkit", "open_stereo")(molecule) if what.of_open else ()
    if found:
        more = f" and {len(found) - MOST_PLACES} more" if len(found) > MOST_PLACES else ""
        notes.append(f"open stereo at {', '.join(found[:MOST_PLACES])}{more}: {what.of_open}")
    places: dict[tuple[int, int], list[str]] = {}
    for centre, number, both in molecule.stereo_groups.tolist():
        places.setdefault((number, both), []).append(_label(molecule, centre))
    for (_, both), atoms in places.items():
        kind = "is a racemate" if both else "is one enantiomer or the other"
        notes.append(f"the stereo at {', '.join(atoms)} {kind}: {what.of_relative}")
    return notes


def with_stereo_in_space(molecule: Molecule, frames_A: NDArray[np.float64]) -> Molecule:
    """The molecule with the stereo that its coordinates show where its labels leave it
    open.

    Parameters
    ----------
    molecule : Molecule
        Its labels stay.
    frames_A : ndarray
        (k, n_atoms, 3) in A; the last frame without NaN counts.
    """
    whole = np.flatnonzero(np.isfinite(frames_A).all(axis=(1, 2)))
    if not whole.size or not molecule.n_atoms:
        return molecule
    seen: Molecule = host_function("rdkit", "with_stereo_in_space")(molecule, frames_A[whole[-1]])
    return seen


def _label(molecule: Molecule, k: int) -> str:
    """An atom, and the bond for which it stands if it is an end of an axis."""
    axis = molecule.axial[(molecule.axial[:, 1:3] == k).any(axis=1), 1:3]
    atoms = axis[0].tolist() if len(axis) else [k]
    return "-".join(f"{molecule.symbols[atom]}{atom}" for atom in atoms)
