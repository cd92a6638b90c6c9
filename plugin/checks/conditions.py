"""A request to hold a core or to keep distances: made once, for many molecules. For
each of them it becomes a record of indices (`Known`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.known import HELD_A, MOVED, RESTRAINT, TOLERANCE_A, Known
from equidrift.errors import InputError, InputTypeError
from equidrift.records import Ensemble, Molecule
from equidrift.registry import host_function

__all__ = [
    "HELD_A",
    "MOVED",
    "RESTRAINT",
    "TOLERANCE_A",
    "Conditions",
    "Core",
    "IndexedCore",
    "Known",
    "make_conditions",
    "read_restraints",
]

MAX_KEPT = 1000  # molecules whose `Known` a request keeps
Restraint = tuple[int, int, float, float]  # i, j, lower_A, upper_A


class Core(Protocol):
    """Coordinates to hold, and the atoms of a molecule that have them."""

    def match(self, molecule: Molecule) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
        """(atoms (k,), positions_A (k, 3), what a user should know of the match)."""
        ...

    def content(self) -> bytes:
        """All that decides the match, for a hash."""
        ...


class Conditions:
    """A request to hold a core, or to keep distances, for any molecule.

    Made by `make_conditions`.

    Parameters
    ----------
    core : Core or None
        What is held.
    restraints : sequence of (i, j, lower_A, upper_A)
        Atom indices from 0, and distances in A.
    tolerance_A : float
        By how much a valid sample may miss a bound.
    """

    def __init__(
        self, core: Core | None, restraints: Sequence[Restraint], tolerance_A: float = TOLERANCE_A
    ) -> None:
        self.core, self.restraints, self.tolerance_A = core, tuple(restraints), tolerance_A
        self._known: dict[Molecule, Known] = {}

    def of(self, molecule: Molecule) -> Known:
        """What is known of this molecule.

        Raises `InputError` if the core or the restraints do not fit it.
        """
        if molecule not in self._known:
            if len(self._known) > MAX_KEPT:
                self._known.clear()
            self._known[molecule] = self._make(molecule)
        return self._known[molecule]

    def _make(self, molecule: Molecule) -> Known:
        parts: dict[str, Any] = {"tolerance_A": self.tolerance_A}
        if self.core is not None:
            parts["atoms"], parts["positions_A"], parts["note"] = self.core.match(molecule)
        if self.restraints:
            table = np.array(self.restraints, np.float64)
            parts |= {
                "pairs": table[:, :2].astype(np.int64),
                "lower_A": table[:, 2],
                "upper_A": table[:, 3],
            }
        return Known(molecule, **parts)

    def fingerprint(self) -> str:
        """A hash of everything that decides the samples."""
        digest = hashlib.sha256(
            repr((self.restraints, self.tolerance_A if self.restraints else None)).encode()
        )
        digest.update(self.core.content() if self.core is not None else b"")
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class IndexedCore:
    """A core given as {atom index: coordinates}."""

    atoms: NDArray[np.int64]
    positions_A: NDArray[np.float64]

    def match(
        self,
        molecule: Molecule,  # noqa: ARG002 - of the protocol
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
        """The atoms as given; whether the molecule has them is for `Known` to say."""
        return self.atoms, self.positions_A, ""

    def content(self) -> bytes:
        """Atoms and coordinates."""
        return self.atoms.tobytes() + np.round(self.positions_A, 6).tobytes()


def make_conditions(
    fix: object = None, restrain: object = None, tolerance_A: float | None = None
) -> Conditions | None:
    """The request that the arguments `fix` and `restrain` make; None if there is
    nothing to hold.

    Parameters
    ----------
    fix : path, Mol, tuple or mapping
        The path of a .sdf, .mol or .pdb file or an RDKit Mol, with coordinates, matched
        as a substructure; (Mol, {core atom: atom}) with the match given; (SMARTS,
        coordinates (k, 3)); or {atom index: (x, y, z)} as RDKit's coordMap has it. All
        in A.
    restrain : path or sequence of rows
        The path of a file with lines `i j lower upper`, or such rows: atom indices from
        0 and distances in A.
    tolerance_A : float, optional
        By how much a valid sample may miss a restraint, 0.1 if None.

    Raises
    ------
    InputError, InputTypeError
        For anything else, empty cores, and numbers that cannot be.
    """
    if fix is None and restrain is None:
        return None
    tolerance = TOLERANCE_A if tolerance_A is None else tolerance_A
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not tolerance >= 0:
        raise InputError(
            f"restraint_tolerance_A must be a number of A, 0 or more, not {tolerance!r}"
        )
    core = None if fix is None else _core(fix)
    return Conditions(core, [] if restrain is None else _restraints(restrain), float(tolerance))


def _core(fix: object) -> Core:
    """The core of the argument `fix`; `make_conditions` says what it may be."""
    made: Core
    if isinstance(fix, Mapping):
        made = _indexed_core(fix)
    elif isinstance(fix, str | os.PathLike):
        made = host_function("rdkit", "read_core")(Path(fix))
    elif isinstance(fix, tuple) and len(fix) == 2:
        made = _matched_core(*fix)
    else:
        mol = fix.to_rdkit() if isinstance(fix, Ensemble) else fix
        made = host_function("rdkit", "mol_core")(mol)
    return made


def _indexed_core(fix: Mapping[Any, Any]) -> IndexedCore:
    if not fix:
        raise InputError("fix holds no atom; give at least one, as {atom index: (x, y, z)}")
    atoms = [_index(key, "fix") for key in fix]
    places = _coordinates([_point(value) for value in fix.values()], len(atoms))
    return IndexedCore(np.array(atoms, np.int64), places)


def _matched_core(core: object, where: object) -> Core:
    """The core of fix=(SMARTS, coordinates) or fix=(core, match)."""
    made: Core
    if isinstance(core, str):
        if isinstance(where, Mapping):
            raise InputTypeError(
                "fix=(SMARTS, coordinates) takes an array (k, 3), a row for each atom of the SMARTS"
            )
        made = host_function("rdkit", "smarts_core")(core, _coordinates(where, None))
        return made
    if not isinstance(where, Mapping):
        raise InputTypeError(
            "fix=(core, match) takes the match as {core atom: atom of the molecule}, not "
            f"{type(where).__name__}"
        )
    match = {_index(k, "fix"): _index(v, "fix") for k, v in where.items()}
    made = host_function("rdkit", "mol_core")(core, match)
    return made


@runtime_checkable
class _Point3D(Protocol):
    """A point as RDKit's coordMap has it."""

    x: float
    y: float
    z: float


def _point(value: object) -> object:
    return (value.x, value.y, value.z) if isinstance(value, _Point3D) else value


def _coordinates(value: object, count: int | None) -> NDArray[np.float64]:
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"the coordinates in fix must be numbers (x, y, z) in A, one row per atom; got "
            f"{value!r}"
        ) from error
    if array.ndim != 2 or array.shape[1] != 3 or (count is not None and len(array) != count):
        raise InputError(
            f"the coordinates in fix have shape {array.shape}, expected "
            f"({'k' if count is None else count}, 3)"
        )
    if not np.isfinite(array).all():
        raise InputError(
            "the coordinates in fix hold NaN or infinite numbers; leave out atoms whose place is "
            "not known"
        )
    return array


def _index(value: object, label: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputTypeError(
            f"{label} names atoms by their index, an integer from 0, not {value!r}"
        )
    return int(value)


def read_restraints(path: str | os.PathLike[str]) -> list[list[Any]]:
    """The rows `i j lower upper` of a file; '#' begins a comment.

    Raises `InputError` for a line that is none.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no restraint file {str(path)!r}")
    rows: list[list[Any]] = []
    for number, line in enumerate(
        file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1
    ):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            i, j, low, high = words
            rows.append([int(i), int(j), float(low), float(high)])
        except ValueError as error:
            told = f"line {number} of {str(path)!r} is {line.strip()!r}"
            raise InputError(
                f"{told}; expected `i j lower_A upper_A`, atoms counted from 0"
            ) from error
    if not rows:
        raise InputError(f"{str(path)!r} holds no restraint; expected lines `i j lower_A upper_A`")
    return rows


def _restraints(restrain: object) -> list[Restraint]:
    """The rows of the argument `restrain`, one for each pair of atoms."""
    rows = read_restraints(restrain) if isinstance(restrain, str | os.PathLike) else restrain
    try:
        given = [tuple(row) for row in rows]  # type: ignore[attr-defined]
    except TypeError as error:
        raise InputTypeError(
            f"restrain must be a file or rows (i, j, lower_A, upper_A), not {restrain!r}"
        ) from error
    if not given:
        raise InputError(
            "restrain holds no restraint; give rows (i, j, lower_A, upper_A), or leave it out"
        )
    merged: dict[tuple[int, int], tuple[float, float]] = {}
    for row in given:
        i, j, low, high = _restraint(row)
        before = merged.get((i, j), (0.0, np.inf))
        merged[i, j] = max(low, before[0]), min(high, before[1])
        if merged[i, j][0] > merged[i, j][1]:
            told = f"{before[0]:g} to {before[1]:g} A and {low:g} to {high:g} A"
            raise InputError(f"two restraints on atoms {i} and {j} contradict each other: {told}")
    return [(i, j, low, high) for (i, j), (low, high) in merged.items()]


def _restraint(row: tuple[Any, ...]) -> Restraint:
    """One row, the smaller index first."""
    if len(row) != 4:
        raise InputError(f"a restraint is (i, j, lower_A, upper_A), not {row!r}")
    i, j = sorted((_restrained(row[0]), _restrained(row[1])))
    try:
        low, high = float(row[2]), float(row[3])
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"the bounds of restraint {row!r} must be numbers of A") from error
    if i == j or i < 0:
        raise InputError(f"restraint {row!r} must name two different atoms, counted from 0")
    if not 0 <= low <= high or np.isinf(low):  # NaN fails too
        raise InputError(f"restraint {row!r} must have 0 <= lower <= upper, in A")
    return i, j, low, high


def _restrained(value: object) -> int:
    """An atom's index; rows of a float array hold whole floats."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    return _index(value, "restrain")
