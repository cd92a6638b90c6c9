"""AutoDock Vina's score of a molecule in a pocket, from its published equation.

The score sums five terms over pairs of heavy atoms less than 8 A apart, one of each side,
by the distance d of their surfaces (Trott and Olson 2010, equations 3 to 7, table 1), and
divides the sum by 1 + 0.0585 N_rot. This is an implementation of that equation, and not
AutoDock Vina: atoms are typed from bonds and hydrogens, not from a .pdbqt file.

References
----------
O. Trott, A. J. Olson, J. Comput. Chem. 31, 455 (2010), doi:10.1002/jcc.21334.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.graph import neighbours_of, ring_size
from equidrift.molecule import SYMBOLS, Molecule

Floats = NDArray[np.float64]

# kcal/mol, of table 1
GAUSS_1 = -0.0356
GAUSS_2 = -0.00516
REPULSION = 0.840  # kcal/mol/A^2
HYDROPHOBIC = -0.0351
HYDROGEN_BOND = -0.587
PER_ROTOR = 0.0585
CUTOFF_A = 8.0
LEAST_A = 1e-3  # nearer atoms have no direction

# X-Score's radii in A, which the paper takes over: Wang, Lai, Wang,
# J. Comput.-Aided Mol. Des. 16, 11 (2002)
RADII_A = {6: 1.9, 7: 1.8, 8: 1.7, 9: 1.5, 15: 2.1, 16: 2.0, 17: 1.8, 35: 2.0, 53: 2.2}
METAL_A = 1.2
METALS = (12, 20, 25, 26, 30)  # Mg, Ca, Mn, Fe, Zn: donors
HALOGENS = (9, 17, 35, 53)
POLAR = (7, 8)


@dataclass(frozen=True, eq=False)
class Kinds:
    """What the score knows of k atoms: radii_A (k,), and which are hydrophobic, give or
    take a hydrogen bond, each (k,).
    """

    radii_A: Floats
    hydrophobic: NDArray[np.bool_]
    donor: NDArray[np.bool_]
    acceptor: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.radii_A)

    def take(self, rows: NDArray[np.int64]) -> Kinds:
        """Some of them."""
        return Kinds(
            self.radii_A[rows], self.hydrophobic[rows], self.donor[rows], self.acceptor[rows]
        )


def kinds_of(molecule: Molecule) -> tuple[NDArray[np.int64], Kinds]:
    """(the heavy atoms (k,) of a molecule, their kinds).

    Carbon bonded to carbon and hydrogen alone, and halogens, are hydrophobic. Nitrogen and
    oxygen with a hydrogen, and metal ions, are donors; oxygen, and nitrogen whose lone
    pair is free, are acceptors.

    Parameters
    ----------
    molecule : Molecule
        With all hydrogens.

    Raises
    ------
    InputError
        For an element without a radius.

    Examples
    --------
    >>> from equidrift import Molecule
    >>> rows, kinds = kinds_of(Molecule.from_smiles("CCO"))
    >>> kinds.hydrophobic.tolist(), kinds.donor.tolist()
    ([True, False, False], [False, False, True])
    """
    numbers = molecule.numbers
    rows = np.flatnonzero(numbers != 1)
    known = {**RADII_A, **dict.fromkeys(METALS, METAL_A)}
    if strange := sorted({SYMBOLS[z] for z in numbers[rows].tolist() if z not in known}):
        names = " ".join(SYMBOLS[z] for z in known)
        raise InputError(
            f"Vina's score has no radius for {', '.join(strange)}; it knows H {names}. Take such "
            "atoms out of the pocket, or another molecule"
        )
    near = neighbours_of(molecule.n_atoms, molecule.bonds)
    carries = np.array([bool((numbers[near[k]] == 1).any()) for k in rows], bool)
    z = numbers[rows]
    apolar = np.array([bool(np.isin(numbers[near[k]], (1, 6)).all()) for k in rows], bool)
    return rows, Kinds(
        np.array([known[int(one)] for one in z], np.float64),
        ((z == 6) & apolar) | np.isin(z, HALOGENS),
        (np.isin(z, POLAR) & carries) | np.isin(z, METALS),
        (z == 8) | ((z == 7) & ~carries & _lone_pairs(molecule, near)[rows]),
    )


def _lone_pairs(molecule: Molecule, near: list[list[int]]) -> NDArray[np.bool_]:
    """Which atoms (n,) of a molecule have a lone pair that is not spread, if they are
    nitrogen: no positive charge, and not three bonds beside a multiple one.
    """
    multiple = np.zeros(molecule.n_atoms, bool)
    multiple[molecule.bonds[molecule.bond_orders > 1].ravel()] = True
    spread = [
        len(bonded) > 2 and bool(multiple[[k, *bonded]].any()) for k, bonded in enumerate(near)
    ]
    free: NDArray[np.bool_] = (molecule.formal_charges <= 0) & ~np.array(spread, bool)
    return free


def rotors(molecule: Molecule) -> int:
    """How many bonds turn: single, in no ring, no amide's, with heavy atoms beyond both
    ends.
    """
    numbers = molecule.numbers
    near = neighbours_of(molecule.n_atoms, molecule.bonds)
    double = {
        frozenset(pair)
        for pair, order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True)
        if order > 1
    }

    def carbonyl(k: int) -> bool:
        return numbers[k] == 6 and any(numbers[j] == 8 and {k, j} in double for j in near[k])

    count = 0
    for i, j in molecule.bonds.tolist():
        if {i, j} in double or min((numbers[near[k]] != 1).sum() for k in (i, j)) < 2:
            continue
        amide = any(numbers[k] == 7 and carbonyl(other) for k, other in ((i, j), (j, i)))
        if not amide and not ring_size(near, i, j):
            count += 1
    return count


def pair_terms(
    distance_A: Floats,
    radii_A: Floats,
    hydrophobic: NDArray[np.bool_],
    bonded: NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """(energies in kcal/mol, their slopes in kcal/mol/A) of pairs, arrays of one shape.

    Parameters
    ----------
    distance_A : array
        Of the atoms' centres.
    radii_A : array
        Sums of the two radii.
    hydrophobic, bonded : array of bool
        Whether both are hydrophobic; whether one gives and the other takes a hydrogen
        bond.

    Examples
    --------
    >>> import numpy as np
    >>> energy, _ = pair_terms(np.array(3.8), np.array(3.8), np.array(True), np.array(False))
    >>> round(float(energy), 4)  # -0.0356 - 0.00516 exp(-9 / 4) - 0.0351
    -0.0712
    """
    d = distance_A - radii_A
    one, two = np.exp(-((d / 0.5) ** 2)), np.exp(-(((d - 3.0) / 2.0) ** 2))
    inside = np.minimum(d, 0.0)
    energy = GAUSS_1 * one + GAUSS_2 * two + REPULSION * inside**2
    slope = -8.0 * GAUSS_1 * d * one - 0.5 * GAUSS_2 * (d - 3.0) * two + 2 * REPULSION * inside
    energy += HYDROPHOBIC * hydrophobic * np.clip(1.5 - d, 0.0, 1.0)
    slope -= HYDROPHOBIC * (hydrophobic & (d > 0.5) & (d < 1.5))
    energy += HYDROGEN_BOND * bonded * np.clip(d / -0.7, 0.0, 1.0)
    slope -= HYDROGEN_BOND / 0.7 * (bonded & (d > -0.7) & (d < 0.0))
    near = distance_A < CUTOFF_A
    return energy * near, slope * near


@dataclass(frozen=True, eq=False)
class Pocket:
    """Heavy atoms that stand still, and the ball a molecule is wanted in."""

    positions_A: Floats  # (m, 3), of its heavy atoms
    kinds: Kinds  # of these m atoms
    centre_A: Floats  # (3,), of the ball
    radius_A: float  # how far from the centre the mean position of the molecule may be
    pull: float = 1.0  # how strongly it guides a model of new molecules; 0 is not at all

    def pairs(self, positions_A: Floats, kinds: Kinds) -> tuple[Floats, Floats]:
        """(energies (..., k) in kcal/mol, gradients (..., k, 3) in kcal/mol/A) of atoms
        at positions (..., k, 3), or (..., 1, 3) for k kinds of atom at one place.
        """
        away = positions_A[..., None, :] - self.positions_A  # (..., k or 1, m, 3)
        r = np.sqrt(np.square(away).sum(-1))
        other = self.kinds
        either = kinds.donor[:, None] & other.acceptor | kinds.acceptor[:, None] & other.donor
        both = kinds.hydrophobic[:, None] & other.hydrophobic
        reach = kinds.radii_A[:, None] + other.radii_A
        shape = np.broadcast_shapes(r.shape, reach.shape)
        energy, slope = pair_terms(*(np.broadcast_to(a, shape) for a in (r, reach, both, either)))
        push = slope / np.maximum(r, LEAST_A)
        gradients = (push[..., None] * np.broadcast_to(away, (*shape, 3))).sum(-2)
        return energy.sum(-1), gradients

    def near(self, reach_A: float) -> Pocket:
        """The part of it within a distance of the centre."""
        there = np.linalg.norm(self.positions_A - self.centre_A, axis=1) < reach_A
        rows = np.flatnonzero(there)
        return replace(self, positions_A=self.positions_A[rows], kinds=self.kinds.take(rows))

    def score(self, molecule: Molecule, positions_A: Floats) -> float:
        """The score in kcal/mol of a molecule, with all hydrogens, at positions
        (n_atoms, 3).
        """
        rows, kinds = kinds_of(molecule)
        energy = float(self.pairs(positions_A[rows], kinds)[0].sum())
        return energy / (1 + PER_ROTOR * rotors(molecule))
