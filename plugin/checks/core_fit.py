"""Whether given coordinates of some atoms fit a molecule."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.geometry import FLAT, GeometryCheck
from equidrift.records import Molecule

WITHIN_HALF_TURN = 0.5  # |cos| of a double bond's dihedral: within 60 degrees of cis or trans


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
    clashes and stereo, by name; empty if all is well.
    """
    check = GeometryCheck(part(molecule, atoms))
    i, j = check.molecule.bonds.T
    d = np.linalg.norm(positions_A[i] - positions_A[j], axis=-1)
    # the ranges are those of the whole molecule: without its hydrogen an alcohol's C-O is none
    whole, inside = GeometryCheck(molecule), np.isin(molecule.bonds, atoms).all(1)
    shortest_A, longest_A = whole.shortest_A[inside], whole.longest_A[inside]
    wrong = [
        f"the bond {atoms[i[k]]}-{atoms[j[k]]} ({_pair(check.molecule, i[k], j[k])}) is {d[k]:.2f} "
        f"A long, possible are {shortest_A[k]:.2f} to {longest_A[k]:.2f}"
        for k in np.flatnonzero((d < shortest_A) | (d > longest_A))
    ]
    i, j = check.first, check.second
    d_sq = np.square(positions_A[i] - positions_A[j]).sum(-1)
    wrong += [
        f"atoms {atoms[i[k]]} and {atoms[j[k]]} ({_pair(check.molecule, i[k], j[k])}) are not "
        f"bonded, but only {d_sq[k] ** 0.5:.2f} A apart"
        for k in np.flatnonzero(d_sq < check.clash_sq)
    ]
    return wrong + _wrong_stereo(molecule, dict(zip(atoms.tolist(), positions_A, strict=True)))


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
                f"the stereocentre {centre} has the other chirality in the core than in the "
                "molecule"
            )
    for a, i, j, b, cis in molecule.double_bonds.tolist():
        ends = _end(molecule, where, a, i, j), _end(molecule, where, b, j, i)
        if i not in where or j not in where or ends[0] is None or ends[1] is None:
            continue
        axis = where[j] - where[i]
        left, right = np.cross(ends[0], axis), np.cross(ends[1], axis)
        cosine = np.dot(left, right) / (np.linalg.norm(left) * np.linalg.norm(right) + 1e-12)
        if (2 * cis - 1) * cosine <= WITHIN_HALF_TURN:
            have, want = ("trans", "cis") if cis else ("cis", "trans")
            wrong.append(
                f"the double bond {i}={j} is {have} or twisted in the core, and {want} in the "
                "molecule"
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
