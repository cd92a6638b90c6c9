"""A part of a given molecule that is to be drawn anew: which atoms it is, what is left
of the molecule, and where something may grow on it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.molecule import Raw
from equidrift.checks.targets import fragment_of
from equidrift.errors import InputError, InputTypeError
from equidrift.protocols import MoleculeModel
from equidrift.records import Molecule
from equidrift.registry import host_function
from equidrift.text import counted

BOND_A = 1.09  # of a hydrogen on a cut: about that of C-H (CRC Handbook)
LEAN = np.cos(np.pi / 3)  # of several hydrogens on one cut, to the bond that is gone
NUMBERS = re.compile(r"\s*\d+\s*(,\s*\d+\s*)*")
SHOWN = 6  # matches that a message lists


@dataclass(frozen=True, eq=False)
class Replacement:
    """What `replace` leaves of a molecule.

    Attributes
    ----------
    fragment : (Molecule, positions_A)
        What is held, with hydrogens where bonds were cut.
    sites : int64, shape (k,)
        These hydrogens, each of which may give way to a bond to something new.
    start : (Molecule, positions_A)
        The molecule as it was given, all hydrogens explicit.
    smiles : str
        Its canonical SMILES, with stereo.
    atoms : tuple of int
        What is replaced of it, without the hydrogens that go with their heavy atoms.
    """

    fragment: Raw
    sites: NDArray[np.int64]
    start: Raw
    smiles: str
    atoms: tuple[int, ...]


def check_replace(replace: object, fragment: object, model: MoleculeModel) -> Replacement:
    """The part of a molecule that is replaced, found and cut out.

    Parameters
    ----------
    replace : str or sequence of int
        SMARTS that matches one set of atoms, or the atoms' numbers from 0 on, as
        integers or as text ("3,4"). If the SMARTS has atoms with map numbers, only these
        are replaced and the others say where: "c[F:1]" is a fluorine on an aromatic
        carbon.
    fragment : path, RDKit Mol, Ensemble or tuple
        The molecule; see `equidrift.checks.targets.check_fragment`.
    model : MoleculeModel
        It must be able to hold what is left, and grow at the cuts alone.

    Raises
    ------
    InputError, InputTypeError
        If there is no molecule, no match, more than one, or nothing would be left.
    """
    if fragment is None:
        raise InputError(
            f"replace={replace!r} has no molecule to replace something of; give one as fragment "
            "(--fragment)"
        )
    if not model.takes_sites:
        raise InputError(
            f"the model {model.name!r} cannot replace a part of a molecule; use another one, such "
            "as 'default'"
        )
    molecule, positions = fragment_of(fragment)
    molecule = host_function("rdkit", "kekulised")(molecule)
    atoms = _chosen(replace, molecule)
    gone = _with_hydrogens(molecule, atoms)
    if not (molecule.numbers[~gone] != 1).any():
        raise InputError(
            f"replace={replace!r} takes all of {_told(molecule)}, and nothing is left to hold; "
            "replace less, or leave replace and fragment out"
        )
    rest, sites = _cut(molecule, positions, gone)
    start = host_function("rdkit", "perceived")(molecule, positions)
    return Replacement(rest, sites, (start, positions), str(start.smiles), atoms)


def _chosen(replace: object, molecule: Molecule) -> tuple[int, ...]:
    """The atoms that are meant, sorted."""
    if isinstance(replace, str):
        if NUMBERS.fullmatch(replace):
            return _numbered([int(part) for part in replace.split(",")], molecule)
        return _matched(replace, molecule)
    if isinstance(replace, Sequence | np.ndarray) and all(
        isinstance(k, int | np.integer) and not isinstance(k, bool) for k in replace
    ):
        return _numbered([int(k) for k in replace], molecule)
    raise InputTypeError(
        f"replace must be SMARTS or numbers of atoms, not {replace!r}; say 'C(=O)[OH]' or [3, 4]"
    )


def _numbered(atoms: Sequence[int], molecule: Molecule) -> tuple[int, ...]:
    if wrong := sorted({k for k in atoms if not 0 <= k < molecule.n_atoms}):
        raise InputError(
            f"replace names atom {wrong[0]}, and {_told(molecule)} has atoms 0 to "
            f"{molecule.n_atoms - 1}"
        )
    if not atoms:
        raise InputError("replace names no atom; give SMARTS, or one atom at least")
    return tuple(sorted(set(atoms)))


def _matched(smarts: str, molecule: Molecule) -> tuple[int, ...]:
    found: list[tuple[int, ...]] = host_function("rdkit", "smarts_matches")(molecule, smarts)
    if not found:
        raise InputError(
            f"replace={smarts!r} matches nothing in {_told(molecule)}; atoms can be named by their "
            "numbers, too: --replace 3,4"
        )
    if len(found) > 1:
        sets = [",".join(map(str, atoms)) for atoms in found[:SHOWN]]
        more = " ..." if len(found) > SHOWN else ""
        raise InputError(
            f"replace={smarts!r} matches {counted(len(found), 'place')} of {_told(molecule)}: "
            f"atoms {' | '.join(sets)}{more}; name one of them by its numbers "
            f"(--replace {sets[0]}), or say more in the SMARTS"
        )
    return found[0]


def _told(molecule: Molecule) -> str:
    return str(host_function("rdkit", "flat_smiles")(molecule))


def _with_hydrogens(molecule: Molecule, atoms: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which atoms go: those that are replaced, and the hydrogens of their heavy atoms."""
    gone = np.zeros(molecule.n_atoms, bool)
    gone[list(atoms)] = True
    heavy = gone & (molecule.numbers != 1)
    for i, j in np.concatenate([molecule.bonds, molecule.bonds[:, ::-1]]).tolist():
        if heavy[i] and molecule.numbers[j] == 1:
            gone[j] = True
    return gone


def _cut(
    molecule: Molecule, positions_A: NDArray[np.float64], gone: NDArray[np.bool_]
) -> tuple[Raw, NDArray[np.int64]]:
    """What is left, without stereo tags, with as many hydrogens on each cut as the
    order of the bond was, and which atoms they are.
    """
    kept = np.flatnonzero(~gone)
    new = np.full(molecule.n_atoms, -1)
    new[kept] = np.arange(len(kept))
    inside = ~gone[molecule.bonds].any(1)
    bonds, orders = new[molecule.bonds[inside]].tolist(), molecule.bond_orders[inside].tolist()
    places: list[NDArray[np.float64]] = []
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        if gone[i] == gone[j]:
            continue
        held, lost = (j, i) if gone[i] else (i, j)
        for u in _directions(positions_A[lost] - positions_A[held], round(order)):
            bonds.append([new[held], len(kept) + len(places)])
            orders.append(1.0)
            places.append(positions_A[held] + BOND_A * u)
    rest = Molecule(
        numbers=np.concatenate([molecule.numbers[kept], np.ones(len(places), np.int64)]),
        bonds=np.array(bonds, np.int64).reshape(-1, 2),
        bond_orders=np.array(orders),
        formal_charges=np.concatenate(
            [molecule.formal_charges[kept], np.zeros(len(places), np.int64)]
        ),
    )
    sites = len(kept) + np.arange(len(places))
    return (rest, np.concatenate([positions_A[kept], np.array(places).reshape(-1, 3)])), sites


def _directions(bond_A: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Unit vectors (count, 3) along a bond (3,) that is gone, or about it."""
    axis = bond_A / np.linalg.norm(bond_A)
    if count == 1:
        return axis[None]
    side = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    side /= np.linalg.norm(side)
    turns = 2 * np.pi * np.arange(count)[:, None] / count
    around = np.cos(turns) * side + np.sin(turns) * np.cross(axis, side)
    leaning: NDArray[np.float64] = LEAN * axis + np.sqrt(1 - LEAN**2) * around
    return leaning
