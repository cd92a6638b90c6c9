"""What a molecule and a conformer must satisfy: supported graphs; sane bonds, no
clashes, the right stereo. numpy only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.checks.axial import wrong_axes
from equidrift.checks.bond_lengths import LONGEST, SHORTEST, references_A
from equidrift.checks.cumulenes import cumulated_bonds
from equidrift.errors import InputError, MoleculeError
from equidrift.records import SYMBOLS, Molecule

ELEMENTS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53)
MAX_ATOMS = 200
CHARGES = (-4, 4)  # least and greatest total charge, in elementary charges

NO_COORDINATES = "no coordinates"
BOND_LENGTH = "bond length"
CLASH = "clash"
TETRAHEDRAL = "tetrahedral stereo"
DOUBLE_BOND = "double-bond stereo"
STEREO_REASONS = (TETRAHEDRAL, DOUBLE_BOND)  # what @ and slashes in a SMILES say
CUMULATED = "cumulated bonds"
AXIAL = "axial stereo"
REASONS = (NO_COORDINATES, BOND_LENGTH, CLASH, TETRAHEDRAL, DOUBLE_BOND, CUMULATED, AXIAL)

# Covalent radii in A (Cordero et al., Dalton Trans. 2008, 2832), H to Xe; heavier atoms get Xe's.
_RADII_A = (
    "0 .31 .28 1.28 .96 .84 .76 .71 .66 .57 .58 1.66 1.41 1.21 1.11 1.07 1.05 1.02 1.06 2.03 1.76 "
    "1.70 1.60 1.53 1.39 1.39 1.32 1.26 1.24 1.32 1.22 1.22 1.20 1.19 1.20 1.20 1.16 2.20 1.95 "
    "1.90 1.75 1.64 1.54 1.47 1.46 1.42 1.39 1.45 1.44 1.42 1.39 1.39 1.38 1.39 1.40"
)
COVALENT_RADII_A = np.array(
    [float(radius) for radius in _RADII_A.split()] + [1.40] * (len(SYMBOLS) - 55)
)

# If no reference length of the two elements is known: bond lengths over the sum of covalent
# radii, by bond order.
_BOND_RANGE = {
    1.0: (0.80, 1.30),
    1.5: (0.78, 1.20),
    2.0: (0.75, 1.20),
    3.0: (0.70, 1.05),
    0.0: (0.60, 2.00),
}
# Bond length over the sum of covalent radii, by bond order: the middle of what molecules have.
TYPICAL_LENGTHS = {1.0: 1.0, 1.5: 0.93, 2.0: 0.87, 3.0: 0.79}
# Shortest distance of atoms not bonded over the sum of radii, by the number of hydrogens among the
# two (the same set: 1.17, 1.36, 2.62).
_CLASH_FACTOR = np.array([1.00, 1.10, 1.90])
FLAT = 0.1  # signed volume over the product of the three edges; a regular tetrahedron has 0.71
_HALF_TURN = 0.5  # |cos| of the dihedral at a double bond: within 60 degrees of cis or trans
_BLOCK_FLOATS = 4_000_000  # distances held at a time


def check_supported(
    molecule: Molecule,
    elements: Collection[int] | None = ELEMENTS,
    max_atoms: int = MAX_ATOMS,
    charges: tuple[int, int] = CHARGES,
) -> None:
    """Refuse a molecule that no conformer model here can handle.

    Parameters
    ----------
    molecule : Molecule
        The graph.
    elements : sequence of int, optional
        Atomic numbers the model knows, None for any.
    max_atoms : int, optional
        Hydrogens included.
    charges : tuple, optional
        Least and greatest total charge, in elementary charges.

    Raises
    ------
    MoleculeError
        For no atoms, several fragments, an open shell, an unsupported element, too many
        atoms, or a charge out of range; each message says what came and the way out.
    """
    if molecule.n_atoms == 0:
        raise MoleculeError("the molecule has no atoms; give one such as 'CCO'")
    _check_connected(molecule)
    unknown = sorted(set(molecule.numbers.tolist()) - set(elements)) if elements is not None else []
    if unknown:
        names = ", ".join(SYMBOLS[z] for z in unknown)
        known = " ".join(SYMBOLS[z] for z in sorted(elements or ()))
        raise MoleculeError(
            f"{molecule!r} holds the unsupported element {names}; supported are {known}. Replace "
            "or remove those atoms"
        )
    electrons = int(molecule.numbers.sum()) - molecule.charge
    if molecule.multiplicity != 1 or electrons % 2:
        raise MoleculeError(
            f"{molecule!r} is a radical (multiplicity {molecule.multiplicity}, {electrons} "
            "electrons); only closed shells are supported. Add the missing hydrogen or charge"
        )
    _check_hydrogens(molecule)
    if molecule.n_atoms > max_atoms:
        raise MoleculeError(
            f"{molecule!r} has too many atoms: at most {max_atoms} are supported, hydrogens "
            "included. Cut it into parts"
        )
    if not charges[0] <= molecule.charge <= charges[1]:
        raise MoleculeError(
            f"{molecule!r} has a total charge out of range: {charges[0]:+d} to {charges[1]:+d} are "
            "supported. Neutralise some of its groups"
        )


def _check_hydrogens(molecule: Molecule) -> None:
    """Raise for a hydrogen with two bonds or more."""
    bonds_of = np.bincount(molecule.bonds.reshape(-1), minlength=molecule.n_atoms)
    bridging = np.flatnonzero((molecule.numbers == 1) & (bonds_of > 1))
    if len(bridging):
        raise MoleculeError(
            f"{molecule!r} has a hydrogen (atom {int(bridging[0])}) with "
            f"{int(bonds_of[bridging[0]])} bonds, which no model here knows; draw one of its bonds "
            "only"
        )


def _check_connected(molecule: Molecule) -> None:
    """Raise if the graph has more than one part."""
    part = list(range(molecule.n_atoms))

    def root(k: int) -> int:
        while part[k] != k:
            part[k] = part[part[k]]
            k = part[k]
        return k

    for i, j in molecule.bonds.tolist():
        part[root(i)] = root(j)
    count = len({root(k) for k in range(molecule.n_atoms)})
    if count > 1:
        raise MoleculeError(
            f"{molecule!r} has {count} fragments, and conformers are of one; take the largest by "
            "--largest-fragment (largest_fragment=True), or give each alone"
        )


def as_conformers(positions_A: ArrayLike, molecule: Molecule) -> NDArray[np.float64]:
    """Positions as float64 (k, n_atoms, 3).

    Raises
    ------
    InputError
        If they have another shape.
    """
    positions = np.asarray(positions_A, np.float64)
    if positions.ndim != 3 or positions.shape[1:] != (molecule.n_atoms, 3):
        raise InputError(
            f"positions_A has shape {positions.shape}, expected (any, {molecule.n_atoms}, 3)"
        )
    return positions


class GeometryCheck:
    """The tables of one molecule, so that many batches of its conformers are checked
    quickly.

    Parameters
    ----------
    molecule : Molecule
        The graph whose bonds and stereo the conformers must have.
    """

    def __init__(self, molecule: Molecule) -> None:
        n, bonds = molecule.n_atoms, molecule.bonds
        self.molecule = molecule
        bonded = np.zeros((n, n), bool)
        bonded[bonds[:, 0], bonds[:, 1]] = bonded[bonds[:, 1], bonds[:, 0]] = True
        radii = COVALENT_RADII_A[molecule.numbers]
        ranges = np.array(
            [_BOND_RANGE.get(order, _BOND_RANGE[0.0]) for order in molecule.bond_orders.tolist()]
        ).reshape(-1, 2)
        lengths = radii[bonds[:, 0]] + radii[bonds[:, 1]]
        references = references_A(molecule)
        known = np.isfinite(references[:, 0])
        self.shortest_A = np.where(known, SHORTEST * references[:, 0], ranges[:, 0] * lengths)
        self.longest_A = np.where(known, LONGEST * references[:, 1], ranges[:, 1] * lengths)
        self.cumulated, self.planar = cumulated_bonds(molecule)
        self.first, self.second = np.nonzero(np.triu(~bonded, 1))
        hydrogens = (molecule.numbers == 1).astype(int)
        factor = _CLASH_FACTOR[hydrogens[self.first] + hydrogens[self.second]]
        self.clash_sq = (factor * (radii[self.first] + radii[self.second])) ** 2

    def __call__(self, positions_A: ArrayLike) -> NDArray[np.str_]:
        """The first thing wrong with each conformer.

        Parameters
        ----------
        positions_A : array_like
            (k, n_atoms, 3).

        Returns
        -------
        (k,) array of str
            One of `REASONS`, or the empty string for a valid conformer.

        Raises
        ------
        InputError
            If the shape does not fit the molecule.
        """
        positions = as_conformers(positions_A, self.molecule)
        blocks = [self._block(block) for block in self._blocks(positions)]
        return np.concatenate(blocks) if blocks else np.zeros(0, "U18")

    def _blocks(self, positions: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        size = max(1, _BLOCK_FLOATS // (3 * max(1, len(self.first))))
        for start in range(0, len(positions), size):
            yield positions[start : start + size]

    def _block(self, x: NDArray[np.float64]) -> NDArray[np.str_]:
        reasons = np.zeros(len(x), "U18")
        bad = ~np.isfinite(x).all(axis=(1, 2))
        reasons[bad] = NO_COORDINATES
        good = np.flatnonzero(~bad)
        for reason, test in (
            (BOND_LENGTH, self._bond_lengths),
            (TETRAHEDRAL, self._tetrahedral),
            (DOUBLE_BOND, self._double_bonds),
            (CUMULATED, self._cumulated_bonds),
            (AXIAL, self._axial),
            (CLASH, self._clashes),
        ):
            wrong = test(x[good])
            reasons[good[wrong]] = reason
            good = good[~wrong]
        return reasons

    def _bond_lengths(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        i, j = self.molecule.bonds.T
        lengths = np.linalg.norm(x[:, i] - x[:, j], axis=-1)
        wrong: NDArray[np.bool_] = ((lengths < self.shortest_A) | (lengths > self.longest_A)).any(
            axis=1
        )
        return wrong

    def _clashes(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        step = x[:, self.first] - x[:, self.second]
        wrong: NDArray[np.bool_] = (np.einsum("kpi,kpi->kp", step, step) < self.clash_sq).any(
            axis=1
        )
        return wrong

    def _tetrahedral(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Signed volumes that are not clearly positive."""
        a, b, c, d = (x[:, column] for column in self.molecule.tetrahedral[:, 1:].T)
        edges = a - d, b - d, c - d
        volume = np.einsum("kci,kci->kc", edges[0], np.cross(edges[1], edges[2]))
        scale = np.prod([np.linalg.norm(edge, axis=-1) for edge in edges], axis=0)
        wrong: NDArray[np.bool_] = (volume <= FLAT * scale).any(axis=1)
        return wrong

    def _double_bonds(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Dihedrals a-i=j-b on the wrong side, or twisted by more than 60 degrees."""
        a, i, j, b = (x[:, column] for column in self.molecule.double_bonds[:, :4].T)
        left, right = np.cross(a - i, j - i), np.cross(i - j, b - j)
        scale = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
        sign = 2 * self.molecule.double_bonds[:, 4] - 1
        wrong: NDArray[np.bool_] = (
            sign * np.einsum("kci,kci->kc", left, right) <= _HALF_TURN * scale
        ).any(axis=1)
        return wrong

    def _axial(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Axes of the other chirality, or flat."""
        wrong: NDArray[np.bool_] = np.asarray(wrong_axes(x, self.molecule.axial).any(axis=1))
        return wrong

    def _cumulated_bonds(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Ends of an allene more than 30 degrees from a right angle, or of a butatriene
        more than 60 from a plane.
        """
        a, i, j, b = (x[:, column] for column in self.cumulated.T)
        left, right = np.cross(a - i, j - i), np.cross(i - j, b - j)
        scale = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
        cosine = np.abs(np.einsum("kci,kci->kc", left, right))
        wrong: NDArray[np.bool_] = np.where(
            self.planar, cosine < _HALF_TURN * scale, cosine > _HALF_TURN * scale
        ).any(axis=1)
        return wrong


def check_geometry(molecule: Molecule, positions_A: ArrayLike) -> NDArray[np.str_]:
    """The first thing wrong with each conformer: one of `REASONS`, or the empty string
    for a valid one.

    Parameters
    ----------
    molecule : Molecule
        The graph whose bonds and stereo the conformers must have.
    positions_A : array_like
        (k, n_atoms, 3).

    Returns
    -------
    (k,) array of str
        One of `REASONS`, or empty.

    Raises
    ------
    InputError
        If the shape does not fit the molecule.
    """
    return GeometryCheck(molecule)(positions_A)
