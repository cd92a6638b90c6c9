"""What MMFF94 gives to small molecules in a System that an `openmm.app.ForceField`
makes: their inner energy, exactly, and Lennard-Jones parameters towards all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import openmm
from numpy.typing import NDArray

from equidrift.adapters.openmm.mmff import mmff_forces
from equidrift.mmff import MMFFParameters, mmff_parameters, placed
from equidrift.records import Molecule
from equidrift.units import KJ_MOL_PER_KCAL_MOL, NM_PER_A

# oxygen of TIP3P (Jorgensen et al. 1983), as in OpenMM's amber14/tip3p.xml
TIP3P_SIGMA_NM = 0.3150752406575124
TIP3P_EPSILON_KJ_MOL = 0.635968
SIGMA_OF_R_MIN = 2 ** (-1 / 6)  # of a 12-6 potential
WATER = (8, 1, 1)  # atomic numbers of the probe


@dataclass(frozen=True, eq=False)
class Ligand:
    """A small molecule as the generator knows it.

    Parameters
    ----------
    name : str
        Of its residue template; the same parameters have the same name.
    molecule : Molecule
        One fragment.
    parameters : MMFFParameters
        Of the molecule.
    sigma_nm, epsilon_kJ_mol : (n,) arrays
        Lennard-Jones parameters of its atoms, see `lennard_jones`.
    masses_amu : (n,) array
        Of its atoms.
    """

    name: str
    molecule: Molecule
    parameters: MMFFParameters
    sigma_nm: NDArray[np.float64]
    epsilon_kJ_mol: NDArray[np.float64]
    masses_amu: NDArray[np.float64]

    @property
    def types(self) -> list[str]:
        """Names of the force field's types of its atoms, each of its own."""
        return [f"{self.name}-{k}" for k in range(self.molecule.n_atoms)]


def lennard_jones(
    molecule: Molecule, variant: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lennard-Jones parameters of the atoms of a molecule for the Lorentz-Berthelot rule.

    Each atom is given those by which its well with the oxygen of TIP3P water lies where
    MMFF94's buffered 14-7 well with the oxygen of a water molecule lies, and is as deep:
    sigma = 2 * 2^(-1/6) R* - sigma_O and epsilon = (epsilon*)^2 / epsilon_O. R* and
    epsilon* hold MMFF94's own rules of mixing, and its shorter and shallower wells of
    donors of hydrogen bonds with acceptors.

    Returns
    -------
    sigma_nm, epsilon_kJ_mol : (n_atoms,) arrays

    References
    ----------
    Halgren, J. Comput. Chem. 17, 520 (1996), equations 5 to 8.
    """
    n = molecule.n_atoms
    with_water = Molecule(
        numbers=np.append(molecule.numbers, WATER),
        bonds=np.concatenate([molecule.bonds.reshape(-1, 2), [[n, n + 1], [n, n + 2]]]),
        bond_orders=np.append(molecule.bond_orders, [1.0, 1.0]),
        formal_charges=np.append(molecule.formal_charges, [0, 0, 0]),
    )
    both = mmff_parameters(with_water, variant)
    rows = np.flatnonzero((both.pairs[:, 0] < n) & (both.pairs[:, 1] == n))
    rows = rows[np.argsort(both.pairs[rows, 0])]
    r_star_nm = both.pair_r_star_A[rows] * NM_PER_A
    well_kJ_mol = both.pair_epsilon_kcal_mol[rows] * KJ_MOL_PER_KCAL_MOL
    return (
        2 * SIGMA_OF_R_MIN * r_star_nm - TIP3P_SIGMA_NM,
        well_kJ_mol**2 / TIP3P_EPSILON_KJ_MOL,
    )


class LigandTerms:
    """A generator of forces in OpenMM's manner, for `ForceField.registerGenerator`.

    Every molecule of a template of ours gets MMFF94's terms among its own atoms, and the
    NonbondedForce leaves its pairs out.
    """

    def __init__(self) -> None:
        self.places: dict[str, tuple[Ligand, int]] = {}  # atom type -> (its ligand, its atom)

    def add(self, ligand: Ligand) -> None:
        """Know the types of a ligand."""
        self.places |= {name: (ligand, k) for k, name in enumerate(ligand.types)}

    def createForce(
        self,
        sys: openmm.System,
        data: Any,
        nonbondedMethod: Any,  # noqa: ARG002 - OpenMM's signature
        nonbondedCutoff: Any,  # noqa: ARG002
        args: Any,
    ) -> None:
        """Called by `ForceField.createSystem`."""
        found = self._found(data)
        constrained = {
            frozenset((bond.atom1, bond.atom2)): bond for bond in data.bonds if bond.isConstrained
        }
        for variant in sorted({ligand.parameters.variant for ligand, _ in found}):
            parts = [
                (ligand.parameters, places)
                for ligand, places in found
                if ligand.parameters.variant == variant
            ]
            joined = placed(parts, sys.getNumParticles())
            held = set()
            for row, (pair, r0_A) in enumerate(
                zip(joined.bonds.tolist(), joined.bond_r0_A.tolist(), strict=True)
            ):
                bond = constrained.get(frozenset(pair))
                if bond is not None:
                    bond.length = r0_A * NM_PER_A
                    data.addConstraint(sys, *pair, bond.length)
                    held.add(row)
            _constrain_angles(sys, data, joined, constrained)
            flexible = args.get("flexibleConstraints", False)
            for force in mmff_forces(joined, () if flexible else held):
                force.setForceGroup(0)  # as all forces of a ForceField
                sys.addForce(force)

    def postprocessSystem(self, sys: openmm.System, data: Any, args: Any) -> None:
        """Called by `ForceField.createSystem` once all forces are made."""
        del args
        (nonbonded,) = [f for f in sys.getForces() if isinstance(f, openmm.NonbondedForce)]
        for _, places in self._found(data):
            for i, j in combinations(places.tolist(), 2):
                nonbonded.addException(i, j, 0.0, 1.0, 0.0, True)

    def _found(self, data: Any) -> list[tuple[Ligand, NDArray[np.int64]]]:
        """Each molecule of ours in a system, with the particles of its atoms."""
        ours = {
            atom.index: self.places[kind]
            for atom, kind in data.atomType.items()
            if kind in self.places
        }
        found, seen = [], set[int]()
        for first in sorted(ours):
            if first in seen:
                continue
            members = connected(first, data.bondedToAtom)
            seen.update(members)
            places = np.empty(len(members), np.int64)
            places[[ours[k][1] for k in members]] = members
            found.append((ours[first][0], places))
        return found


def connected(first: int, neighbours: Sequence[Sequence[int]]) -> list[int]:
    """Everything that bonds join to `first`, in ascending order."""
    seen, todo = {first}, [first]
    while todo:
        further = set(neighbours[todo.pop()]) - seen
        seen |= further
        todo.extend(further)
    return sorted(seen)


def _constrain_angles(
    sys: openmm.System, data: Any, joined: MMFFParameters, constrained: dict[frozenset[int], Any]
) -> None:
    """Hold the distances across the angles that `HAngles` asks for, as OpenMM does."""
    wanted = {
        angle for angle, held in zip(data.angles, data.isAngleConstrained, strict=True) if held
    }
    for (i, j, k), theta0 in zip(
        joined.angles.tolist(), np.radians(joined.angle_theta0_deg).tolist(), strict=True
    ):
        if (min(i, k), j, max(i, k)) not in wanted:
            continue
        a, b = (constrained[frozenset(pair)].length for pair in ((i, j), (j, k)))
        across = float(np.sqrt(a * a + b * b - 2 * a * b * np.cos(theta0)))
        data.addConstraint(sys, i, k, across)
