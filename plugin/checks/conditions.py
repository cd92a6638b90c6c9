"""What is known of a molecule beforehand: atoms held at given coordinates, and
distances within bounds. numpy only.

A request (`Conditions`) is made once and serves many molecules; for each of them it
becomes a record of indices (`Known`), which is where everything that cannot be is
refused: models then only see what a geometry can satisfy.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.geometry import FLAT, GeometryCheck
from equidrift.errors import InputError, InputTypeError
from equidrift.geometry import superposed
from equidrift.records import Molecule
from equidrift.registry import host_function

HELD_A = 1e-3  # by how much a held atom may be off
TOLERANCE_A = 0.1  # by how much a sample may miss a distance bound
PLANAR_A = 0.05
MOVED = "held atoms moved"
RESTRAINT = "distance restraint"
MAX_LISTED = 4
Restraint = tuple[int, int, float, float]


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of one molecule.

    Parameters
    ----------
    molecule : the graph.
    atoms : (k,) indices of held atoms, their coordinates positions_A (k, 3).
    pairs : (r, 2) atoms whose distance lies within lower_A (r,) and upper_A (r,).
    tolerance_A : by how much a valid sample may miss a bound.
    note : what a user should know about the match of the core, or empty.

    Raises
    ------
    InputError
        where no geometry of the molecule can satisfy it; the message names the atoms.
    """

    molecule: Molecule
    atoms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    positions_A: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    pairs: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    lower_A: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    upper_A: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    tolerance_A: float = TOLERANCE_A
    note: str = ""

    def __post_init__(self) -> None:
        n = self.molecule.n_atoms
        for label, index in (("fix", self.atoms), ("restrain", self.pairs)):
            if index.size and not (0 <= index.min() and index.max() < n):
                raise InputError(
                    f"{label} names atom {_outside(index, n)}, but {self.molecule!r} has atoms 0 to {n - 1}"
                )
        if len(np.unique(self.atoms)) != len(self.atoms):
            raise InputError("fix names an atom twice; give each atom one position")
        if n and len(self.atoms) == n:
            raise InputError(
                f"fix holds all {n} atoms of {self.molecule!r}, so nothing is left to sample; leave out what may move"
            )
        wrong = problems(self.molecule, self.atoms, self.positions_A)
        if wrong:
            raise InputError(
                f"the fixed coordinates do not fit {self.molecule!r}: {_listed(wrong)}"
            )
        self._bounds()

    @property
    def held(self) -> NDArray[np.bool_]:
        """(n_atoms,) which atoms are held."""
        mask = np.zeros(self.molecule.n_atoms, bool)
        mask[self.atoms] = True
        return mask

    def placed(self, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """positions_A (..., n_atoms, 3), each conformer superposed on the held atoms,
        and these exactly where they belong.
        """
        moved = np.array(positions_A, np.float64)
        if not len(self.atoms):
            return moved
        for x in moved.reshape(-1, *moved.shape[-2:]):
            if np.isfinite(x).all():
                x[:] = superposed(x, x[self.atoms], self.positions_A)
        moved[..., self.atoms, :] = self.positions_A
        return moved

    def mirrored(self, positions_A: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The mirror image (n_atoms, 3) of a placed conformer that keeps the held
        atoms, None where they lie in no plane.
        """
        if not len(self.atoms):
            return positions_A * [1.0, 1.0, -1.0]
        centre = self.positions_A.mean(0)
        normal = np.linalg.svd(self.positions_A - centre)[2][-1]
        if np.abs((self.positions_A - centre) @ normal).max() > PLANAR_A:
            return None
        image: NDArray[np.float64] = positions_A - 2.0 * np.outer(
            (positions_A - centre) @ normal, normal
        )
        return self.placed(image)

    def violation_A(self, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how much each conformer of positions_A (k, n_atoms, 3) misses each bound:
        (k, r).
        """
        d = np.linalg.norm(
            positions_A[:, self.pairs[:, 0]] - positions_A[:, self.pairs[:, 1]], axis=-1
        )
        missed: NDArray[np.float64] = np.maximum(
            np.maximum(self.lower_A - d, d - self.upper_A), 0.0
        )
        return missed

    def reasons(
        self, positions_A: NDArray[np.float64], reasons: NDArray[np.str_]
    ) -> NDArray[np.str_]:
        """`reasons` (k,) of a geometry check, with what else is wrong with conformers
        that passed it.
        """
        out = reasons.copy()
        off = (
            np.abs(positions_A[:, self.atoms] - self.positions_A).max((1, 2), initial=0.0) > HELD_A
        )
        missed = self.violation_A(positions_A).max(1, initial=0.0) > self.tolerance_A
        out[(out == "") & off] = MOVED
        out[(out == "") & missed] = RESTRAINT
        return out

    def scores(self, positions_A: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """What is reported of each sample: how many restraints it satisfies, and by how
        much it misses the worst.
        """
        if not len(self.pairs):
            return {}
        missed = self.violation_A(positions_A)
        return {
            "restraints_satisfied": (missed <= HELD_A).sum(1).astype(np.float64),
            "restraint_violation_A": missed.max(1),
        }

    def describe(self) -> dict[str, Any]:
        """What a sample's provenance says."""
        parts: dict[str, Any] = {"fixed_atoms": self.atoms.tolist()} if len(self.atoms) else {}
        if self.note:
            parts["fix_note"] = self.note
        return parts | ({"restraints": len(self.pairs)} if len(self.pairs) else {})

    def bounds_A(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper bounds (n, n) of all distances that bonds, held atoms and
        restraints leave, smoothed by triangles.
        """
        return self._bounds()

    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        lower, upper = graph_bounds(self.molecule)
        i, j = (self.atoms[k] for k in np.triu_indices(len(self.atoms), 1))
        first, second = np.triu_indices(len(self.atoms), 1)
        d = np.linalg.norm(self.positions_A[first] - self.positions_A[second], axis=-1)
        far = np.flatnonzero(d > upper[i, j] + HELD_A)
        if len(far):
            k = far[0]
            raise InputError(
                f"the fixed coordinates do not fit {self.molecule!r}: atoms {i[k]} and {j[k]} are {d[k]:.2f} A apart, but the bonds "
                f"between them reach {upper[i[k], j[k]]:.2f} A at most; check which atoms the core is matched to"
            )
        lower, upper = lower.copy(), upper.copy()
        lower[i, j] = lower[j, i] = d - HELD_A
        upper[i, j] = upper[j, i] = d + HELD_A
        for (a, b), low, high in zip(
            self.pairs.tolist(), self.lower_A.tolist(), self.upper_A.tolist()
        ):
            lower[a, b] = lower[b, a] = max(lower[a, b], low)
            upper[a, b] = upper[b, a] = min(upper[a, b], high)
        lower, upper = smoothed(lower, upper)
        slack = np.triu(upper - lower, 1)
        if slack.min(initial=0.0) < -2 * HELD_A:
            self._contradiction(lower, upper)
        return lower, upper

    def _contradiction(self, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> None:
        """Name the restraint that is hardest hit, or the pair of atoms where none is."""
        gap = (lower - upper)[self.pairs[:, 0], self.pairs[:, 1]]
        if len(gap) and gap.max() > 0:
            k = int(gap.argmax())
            a, b = self.pairs[k].tolist()
            wanted = f"{self.lower_A[k]:g} to {self.upper_A[k]:g} A"
            left = (
                f"at most {upper[a, b]:.2f} A"
                if upper[a, b] < self.lower_A[k]
                else f"at least {lower[a, b]:.2f} A"
            )
            raise InputError(
                f"the distance restraints contradict each other or the molecule: atoms {a} and {b} of {self.molecule!r} are to be {wanted} "
                f"apart, but bonds, fixed atoms and the other restraints leave {left}. Widen this restraint or another, or remove it"
            )
        a, b = np.unravel_index(np.argmax(lower - upper), lower.shape)
        raise InputError(
            f"fixed atoms and restraints leave no distance to atoms {a} and {b} of {self.molecule!r}: at least {lower[a, b]:.2f} A and at "
            f"most {upper[a, b]:.2f} A. Widen the restraints, or hold fewer atoms"
        )


def _outside(index: NDArray[np.int64], n: int) -> int:
    return int(index[(index < 0) | (index >= n)].reshape(-1)[0])


def _listed(wrong: Sequence[str]) -> str:
    more = f" and {len(wrong) - MAX_LISTED} more" if len(wrong) > MAX_LISTED else ""
    return "; ".join(wrong[:MAX_LISTED]) + more


@lru_cache(maxsize=256)
def graph_bounds(molecule: Molecule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bounds (n, n) in A of the distances in any valid geometry: bonds
    and clashes of `GeometryCheck`, and triangles.
    """
    check, n = GeometryCheck(molecule), molecule.n_atoms
    i, j = molecule.bonds.T
    lower, upper = np.zeros((n, n)), np.full((n, n), np.inf)
    np.fill_diagonal(upper, 0.0)
    lower[check.first, check.second] = lower[check.second, check.first] = np.sqrt(check.clash_sq)
    lower[i, j] = lower[j, i] = check.shortest_A
    upper[i, j] = upper[j, i] = check.longest_A
    return smoothed(lower, upper)


def smoothed(
    lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance bounds made as tight as triangles make them (Floyd's shortest paths;
    Crippen and Havel 1988, chapter 5).
    """
    lower, upper = lower.copy(), upper.copy()
    for k in range(len(upper)):
        np.minimum(upper, upper[:, k, None] + upper[None, k], out=upper)
    for k in range(len(upper)):
        np.maximum(
            lower,
            np.maximum(lower[:, k, None] - upper[None, k], lower[None, k] - upper[:, k, None]),
            out=lower,
        )
    np.fill_diagonal(lower, 0.0)
    return lower, upper


def part(molecule: Molecule, atoms: NDArray[np.int64]) -> Molecule:
    """The graph of some atoms and the bonds among them, without stereo."""
    place = np.full(molecule.n_atoms, -1)
    place[atoms] = np.arange(len(atoms))
    bonds = place[molecule.bonds].reshape(-1, 2)
    inside = (bonds >= 0).all(1)
    return Molecule(
        molecule.numbers[atoms],
        bonds[inside],
        molecule.bond_orders[inside],
        molecule.formal_charges[atoms],
    )


def problems(
    molecule: Molecule, atoms: NDArray[np.int64], positions_A: NDArray[np.float64]
) -> list[str]:
    """What makes it impossible that these atoms of the molecule are there: bonds,
    clashes and stereo, by name; empty where all is well.
    """
    check = GeometryCheck(part(molecule, atoms))
    i, j = check.molecule.bonds.T
    d = np.linalg.norm(positions_A[i] - positions_A[j], axis=-1)
    wrong = [
        f"the bond {atoms[i[k]]}-{atoms[j[k]]} ({_pair(check.molecule, i[k], j[k])}) is {d[k]:.2f} A long, possible are "
        f"{check.shortest_A[k]:.2f} to {check.longest_A[k]:.2f}"
        for k in np.flatnonzero((d < check.shortest_A) | (d > check.longest_A))
    ]
    i, j = check.first, check.second
    d_sq = np.square(positions_A[i] - positions_A[j]).sum(-1)
    wrong += [
        f"atoms {atoms[i[k]]} and {atoms[j[k]]} ({_pair(check.molecule, i[k], j[k])}) are not bonded, but only {d_sq[k] ** 0.5:.2f} A apart"
        for k in np.flatnonzero(d_sq < check.clash_sq)
    ]
    return wrong + _wrong_stereo(molecule, dict(zip(atoms.tolist(), positions_A)))


def _pair(molecule: Molecule, i: int, j: int) -> str:
    return f"{molecule.symbols[i]}-{molecule.symbols[j]}"


def _wrong_stereo(molecule: Molecule, where: Mapping[int, NDArray[np.float64]]) -> list[str]:
    """Stereo that the given coordinates decide, against the graph's: one missing
    neighbour is opposite to those that are there.
    """
    wrong = []
    for centre, *row in molecule.tetrahedral.tolist():
        present = [k for k in row if k in where]
        if centre not in where or len(present) < (4 if centre in row else 3):
            continue
        arms = [where[k] - where[centre] for k in present[:3] if k != centre]
        opposite = where[centre] - np.sum([arm / np.linalg.norm(arm) for arm in arms], axis=0)
        corners = [where.get(k, opposite) for k in row]
        edges = [corner - corners[3] for corner in corners[:3]]
        if np.dot(edges[0], np.cross(edges[1], edges[2])) <= FLAT * np.prod(
            [np.linalg.norm(e) for e in edges]
        ):
            wrong.append(
                f"the stereocentre {centre} has the other hand in the core than in the molecule"
            )
    for a, i, j, b, cis in molecule.double_bonds.tolist():
        ends = _end(molecule, where, a, i, j), _end(molecule, where, b, j, i)
        if i not in where or j not in where or ends[0] is None or ends[1] is None:
            continue
        axis = where[j] - where[i]
        left, right = np.cross(ends[0], axis), np.cross(ends[1], axis)
        cosine = np.dot(left, right) / (np.linalg.norm(left) * np.linalg.norm(right) + 1e-12)
        if (2 * cis - 1) * cosine <= 0.5:  # as `checks` has it: within 60 degrees of cis or trans
            have, want = ("trans", "cis") if cis else ("cis", "trans")
            wrong.append(
                f"the double bond {i}={j} is {have} or twisted in the core, and {want} in the molecule"
            )
    return wrong


def _end(
    molecule: Molecule, where: Mapping[int, NDArray[np.float64]], a: int, i: int, j: int
) -> NDArray[np.float64] | None:
    """The direction of substituent a of the double-bond end i, from itself or from the
    other substituent, which is opposite.
    """
    if i not in where:
        return None
    if a in where:
        return where[a] - where[i]
    bonds = molecule.bonds
    around = set(bonds[(bonds == i).any(1)].reshape(-1).tolist()) - {i, j, a}
    return next((where[i] - where[k] for k in around if k in where), None)


class Conditions:
    """A request to hold a core, or to keep distances, for any molecule.

    Made by `make_conditions`.

    Parameters
    ----------
    core : an object with `match(molecule) -> (atoms, positions_A, note)` and `content()
        -> bytes`, or None.
    restraints : (i, j, lower_A, upper_A) rows.
    tolerance_A : by how much a valid sample may miss a bound.
    """

    def __init__(
        self, core: Any, restraints: Sequence[Restraint], tolerance_A: float = TOLERANCE_A
    ):
        self.core, self.restraints, self.tolerance_A = core, tuple(restraints), tolerance_A
        self._known: dict[Molecule, Known] = {}

    def of(self, molecule: Molecule) -> Known:
        """What is known of this molecule.

        Raises `InputError` where the core or the restraints do not fit it.
        """
        if molecule not in self._known:
            if len(self._known) > 1000:
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

    def match(self, molecule: Molecule) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
        """The atoms as given; whether the molecule has them is for `Known` to say."""
        return self.atoms, self.positions_A, ""

    def content(self) -> bytes:
        return self.atoms.tobytes() + np.round(self.positions_A, 6).tobytes()


def make_conditions(
    fix: Any = None, restrain: Any = None, tolerance_A: float | None = None
) -> Conditions | None:
    """The request behind the arguments `fix` and `restrain`; None where there is
    nothing to hold.

    Parameters
    ----------
    fix : the path of a .sdf, .mol or .pdb file or an RDKit Mol, with coordinates,
        matched as a substructure; (Mol, {core atom: atom}) with the match given;
        (SMARTS, coordinates (k, 3)); or {atom index: (x, y, z)} as RDKit's coordMap has
        it. All in A.
    restrain : the path of a file with lines `i j lower upper`, or such rows: atom
        indices from 0 and distances in A.
    tolerance_A : by how much a valid sample may miss a restraint, 0.1 where None.

    Raises
    ------
    InputError, InputTypeError
        for anything else, empty cores, and numbers that cannot be.
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


def _core(fix: Any) -> Any:
    if isinstance(fix, Mapping):
        if not fix:
            raise InputError("fix holds no atom; give at least one, as {atom index: (x, y, z)}")
        atoms = [_index(key, "fix") for key in fix]
        return IndexedCore(
            np.array(atoms, np.int64),
            _coordinates([_point(value) for value in fix.values()], len(atoms)),
        )
    if isinstance(fix, str | os.PathLike):
        return host_function("rdkit", "read_core")(Path(fix))
    if isinstance(fix, tuple) and len(fix) == 2:
        core, where = fix
        if isinstance(core, str):
            if isinstance(where, Mapping):
                raise InputTypeError(
                    "fix=(SMARTS, coordinates) takes an array (k, 3), one row an atom of the SMARTS"
                )
            return host_function("rdkit", "smarts_core")(core, _coordinates(where, None))
        if not isinstance(where, Mapping):
            raise InputTypeError(
                f"fix=(core, match) takes the match as {{core atom: atom of the molecule}}, not {type(where).__name__}"
            )
        return host_function("rdkit", "mol_core")(
            core, {_index(k, "fix"): _index(v, "fix") for k, v in where.items()}
        )
    if hasattr(fix, "to_rdkit"):
        fix = fix.to_rdkit()
    return host_function("rdkit", "mol_core")(fix)


def _point(value: Any) -> Any:
    return (value.x, value.y, value.z) if hasattr(value, "x") else value  # RDKit's Point3D


def _coordinates(value: Any, count: int | None) -> NDArray[np.float64]:
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"the coordinates in fix must be numbers (x, y, z) in A, one row an atom; got {value!r}"
        ) from error
    if array.ndim != 2 or array.shape[1] != 3 or (count is not None and len(array) != count):
        raise InputError(
            f"the coordinates in fix have shape {array.shape}, expected ({'k' if count is None else count}, 3)"
        )
    if not np.isfinite(array).all():
        raise InputError(
            "the coordinates in fix hold NaN or infinite numbers; leave out atoms whose place is not known"
        )
    return array


def _index(value: Any, label: str) -> int:
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


def _restraints(restrain: Any) -> list[Restraint]:
    rows = read_restraints(restrain) if isinstance(restrain, str | os.PathLike) else restrain
    try:
        given = [tuple(row) for row in rows]
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
        before = merged.get((i, j), (0.0, np.inf))
        merged[i, j] = max(low, before[0]), min(high, before[1])
        if merged[i, j][0] > merged[i, j][1]:
            told = f"{before[0]:g} to {before[1]:g} A and {low:g} to {high:g} A"
            raise InputError(f"two restraints on atoms {i} and {j} contradict each other: {told}")
    return [(i, j, low, high) for (i, j), (low, high) in merged.items()]


def _restrained(value: Any) -> int:
    if (
        isinstance(value, float | np.floating) and float(value).is_integer()
    ):  # rows of a float array
        return int(value)
    return _index(value, "restrain")
