"""MMFF94 and MMFF94s as OpenMM forces: a parameter record becomes a System in the gas
phase, without cut-off.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import openmm
from openmm import app, unit

from equidrift.errors import InputError, UnknownNameError
from equidrift.mmff import CONSTRAINTS, COULOMB_EXPRESSION, VDW_EXPRESSION, MMFFParameters
from equidrift.units import (
    COULOMB_KCAL_A_PER_MOL_E2,
    KCAL_MOL_PER_MDYN_A,
    KJ_MOL_PER_KCAL_MOL,
    NM_PER_A,
)

# Constants of the functional form (Halgren 1996, part I): cubic and quartic bonds,
# cubic angles, buffers, 1-4 scaling.
CUBIC_BOND_PER_A = -2.0
CUBIC_ANGLE_PER_DEG = -0.006981317
SCALE_14 = 0.75

KJ_PER_MDYN_A = KCAL_MOL_PER_MDYN_A * KJ_MOL_PER_KCAL_MOL
COULOMB_KJ_NM = COULOMB_KCAL_A_PER_MOL_E2 * KJ_MOL_PER_KCAL_MOL * NM_PER_A
# The arms i-j and k-j of a compound bond with its centre at p2.
ARMS = "ax = x1 - x2; ay = y1 - y2; az = z1 - z2; bx = x3 - x2; by = y3 - y2; bz = z3 - z2"
# Rounding must not push a cosine past 1, nor a straight angle divide by zero: both
# would make NaN of a geometry that is only odd.
NEAR_ONE = "0.999999999999"
TINY_NM4 = "1e-24"
GROUPS = (
    "bond",
    "angle",
    "linear angle",
    "stretch-bend",
    "out-of-plane",
    "torsion",
    "van der Waals",
    "electrostatics",
)


def to_system(
    parameters: MMFFParameters,
    *,
    constraints: str | None = None,
    hydrogenMass_amu: float | None = None,
) -> openmm.System:
    """An OpenMM System whose potential is MMFF94 or MMFF94s.

    Each term is a force with a name ("MMFF94 bond") and a force group, numbered as in
    `GROUPS`; terms the molecule lacks are left out. The van der Waals and Coulomb terms
    run over an explicit list of pairs, since MMFF scales them pair by pair.

    Parameters
    ----------
    parameters : MMFFParameters
        The record of `equidrift.mmff.mmff_parameters`.
    constraints : str, optional
        None, or "HBonds": bonds to hydrogen are held at their reference lengths, and
        lose their stretching term.
    hydrogenMass_amu : float, optional
        Mass of each hydrogen bonded to a heavy atom, taken from that atom; None keeps
        the element's.

    Raises
    ------
    InputError
        For another kind of constraint, or a hydrogen mass that is not positive or
        leaves the heavy atom none.
    """
    if constraints is not None and constraints not in CONSTRAINTS:
        raise UnknownNameError("kind of constraint", str(constraints), (*CONSTRAINTS, "None"))
    system = openmm.System()
    for mass in _masses(parameters, hydrogenMass_amu):
        system.addParticle(mass)
    held = _held_bonds(parameters) if constraints == "HBonds" else set()
    for row in sorted(held):
        i, j = parameters.bonds[row].tolist()
        system.addConstraint(i, j, float(parameters.bond_r0_A[row]) * NM_PER_A)
    for force in mmff_forces(parameters, held):
        system.addForce(force)
    return system


def mmff_forces(parameters: MMFFParameters, held: Collection[int] = ()) -> list[openmm.Force]:
    """The forces that a molecule's parameters ask for, named and grouped as in
    `to_system`.

    Parameters
    ----------
    parameters : MMFFParameters
        The indices of its atoms are those of the System's particles.
    held : collection of int
        Rows of `parameters.bonds` that are constraints, and so have no stretching term.
    """
    made = {
        "bond": _bond_force(parameters, held),
        "angle": _angle_force(parameters),
        "linear angle": _linear_angle_force(parameters),
        "stretch-bend": _stretch_bend_force(parameters),
        "out-of-plane": _out_of_plane_force(parameters),
        "torsion": _torsion_force(parameters),
        "van der Waals": _vdw_force(parameters),
        "electrostatics": _electrostatic_force(parameters),
    }
    forces = []
    for name, (force, n_terms) in made.items():
        if n_terms:
            force.setName(f"{parameters.variant} {name}")
            force.setForceGroup(GROUPS.index(name))
            forces.append(force)
    return forces


def _masses(parameters: MMFFParameters, hydrogenMass_amu: float | None) -> list[float]:
    """Masses of elements and isotopes in amu, with mass moved from heavy atoms to their
    hydrogens if asked.
    """
    masses = [
        app.Element.getByAtomicNumber(int(z)).mass.value_in_unit(unit.dalton)
        for z in parameters.numbers
    ]
    masses = [
        own or mass
        for own, mass in zip(
            parameters.isotope_masses_amu.tolist() or [0.0] * len(masses), masses, strict=True
        )
    ]
    if hydrogenMass_amu is None:
        return masses
    if not 0 < hydrogenMass_amu < math.inf:
        raise InputError(
            f"hydrogenMass_amu must be positive and finite, not {hydrogenMass_amu}; give for "
            f"example 1.5"
        )
    for pair in parameters.bonds.tolist():
        light = [k for k in pair if parameters.numbers[k] == 1]
        if len(light) == 1:
            heavy = sum(pair) - light[0]
            masses[heavy] -= hydrogenMass_amu - masses[light[0]]
            masses[light[0]] = float(hydrogenMass_amu)
            if masses[heavy] <= 0:
                raise InputError(
                    f"hydrogenMass_amu={hydrogenMass_amu} takes all mass from atom {heavy}; "
                    f"give a smaller one, such as 1.5"
                )
    return masses


def _held_bonds(parameters: MMFFParameters) -> set[int]:
    return {row for row, pair in enumerate(parameters.bonds) if 1 in parameters.numbers[pair]}


def _bond_force(parameters: MMFFParameters, held: Collection[int]) -> tuple[openmm.Force, int]:
    cubic = CUBIC_BOND_PER_A / NM_PER_A
    force = openmm.CustomBondForce(
        f"k*d^2*(1 + d*({cubic!r} + {7 / 12 * cubic**2!r}*d)); d = r - r0"
    )
    force.addPerBondParameter("k")
    force.addPerBondParameter("r0")
    unit_k = 0.5 * KJ_PER_MDYN_A / NM_PER_A**2
    for row, ((i, j), k, r0) in enumerate(
        zip(
            parameters.bonds.tolist(),
            parameters.bond_k_mdyn_per_A.tolist(),
            parameters.bond_r0_A.tolist(),
            strict=True,
        )
    ):
        if row not in held:
            force.addBond(i, j, [k * unit_k, r0 * NM_PER_A])
    return force, force.getNumBonds()


def _angle_force(parameters: MMFFParameters) -> tuple[openmm.Force, int]:
    force = openmm.CustomAngleForce(
        f"k*d^2*(1 + {math.degrees(CUBIC_ANGLE_PER_DEG)!r}*d); d = theta - theta0"
    )
    force.addPerAngleParameter("k")
    force.addPerAngleParameter("theta0")
    for (i, j, k), constant, theta0, linear in zip(
        parameters.angles.tolist(),
        parameters.angle_k_mdyn_A_per_rad2.tolist(),
        parameters.angle_theta0_deg.tolist(),
        parameters.angle_linear.tolist(),
        strict=True,
    ):
        if not linear:
            force.addAngle(i, j, k, [0.5 * KJ_PER_MDYN_A * constant, math.radians(theta0)])
    return force, force.getNumAngles()


def _linear_angle_force(parameters: MMFFParameters) -> tuple[openmm.Force, int]:
    force = openmm.CustomAngleForce("k*(1 + cos(theta))")
    force.addPerAngleParameter("k")
    for (i, j, k), constant, linear in zip(
        parameters.angles.tolist(),
        parameters.angle_k_mdyn_A_per_rad2.tolist(),
        parameters.angle_linear.tolist(),
        strict=True,
    ):
        if linear:
            force.addAngle(i, j, k, [KJ_PER_MDYN_A * constant])
    return force, force.getNumAngles()


def _stretch_bend_force(parameters: MMFFParameters) -> tuple[openmm.Force, int]:
    """The product of the stretches of i-j and k-j with the bend.

    Written in coordinates: OpenMM's `angle()` inside a compound bond costs five times
    as much.
    """
    force = openmm.CustomCompoundBondForce(
        3,
        "(ki*(ra - ri) + kk*(rb - rk))*(theta - theta0);"
        f"theta = acos(max(-{NEAR_ONE}, min({NEAR_ONE}, (ax*bx + ay*by + az*bz)/(ra*rb))));"
        "ra = sqrt(ax^2 + ay^2 + az^2); rb = sqrt(bx^2 + by^2 + bz^2);" + ARMS,
    )
    for name in ("ki", "kk", "ri", "rk", "theta0"):
        force.addPerBondParameter(name)
    unit_k = KJ_PER_MDYN_A / NM_PER_A
    for atoms, constants, lengths, theta0 in zip(
        parameters.stretch_bends.tolist(),
        parameters.stretch_bend_k_mdyn_per_rad.tolist(),
        parameters.stretch_bend_r0_A.tolist(),
        parameters.stretch_bend_theta0_deg.tolist(),
        strict=True,
    ):
        force.addBond(
            atoms,
            [
                *(c * unit_k for c in constants),
                *(r * NM_PER_A for r in lengths),
                math.radians(theta0),
            ],
        )
    return force, force.getNumBonds()


def _out_of_plane_force(parameters: MMFFParameters) -> tuple[openmm.Force, int]:
    """The Wilson angle between the bond j-l and the plane i-j-k, for the three choices
    of l at the centre j (here p2).
    """
    force = openmm.CustomCompoundBondForce(
        4,
        f"k*asin(max(-{NEAR_ONE}, min({NEAR_ONE}, (cx*lx + cy*ly + cz*lz)/(rc*rl))))^2;"
        f"rc = sqrt({TINY_NM4} + cx^2 + cy^2 + cz^2); rl = sqrt(lx^2 + ly^2 + lz^2);"
        "cx = ay*bz - az*by; cy = az*bx - ax*bz; cz = ax*by - ay*bx;"
        "lx = x4 - x2; ly = y4 - y2; lz = z4 - z2;" + ARMS,
    )
    force.addPerBondParameter("k")
    for (i, j, k, l), constant in zip(
        parameters.out_of_planes.tolist(),
        parameters.out_of_plane_k_mdyn_A_per_rad2.tolist(),
        strict=True,
    ):
        for atoms in ((i, j, k, l), (i, j, l, k), (k, j, l, i)):
            force.addBond(atoms, [0.5 * KJ_PER_MDYN_A * constant])
    return force, force.getNumBonds()


def _torsion_force(parameters: MMFFParameters) -> tuple[openmm.Force, int]:
    """V1/2 (1 + cos phi) + V2/2 (1 - cos 2 phi) + V3/2 (1 + cos 3 phi), the periodic
    form every OpenMM tool knows.
    """
    force = openmm.PeriodicTorsionForce()
    for atoms, heights in zip(
        parameters.torsions.tolist(), parameters.torsion_V_kcal_mol.tolist(), strict=True
    ):
        for n, height in enumerate(heights, start=1):
            if height:
                force.addTorsion(
                    *atoms, n, math.pi if n == 2 else 0.0, 0.5 * height * KJ_MOL_PER_KCAL_MOL
                )
    return force, force.getNumTorsions()


def _vdw_force(parameters: MMFFParameters) -> tuple[openmm.Force, int]:
    """Halgren's buffered 14-7 form."""
    force = openmm.CustomBondForce(VDW_EXPRESSION)
    force.addPerBondParameter("epsilon")
    force.addPerBondParameter("rstar")
    for (i, j), epsilon, r_star in zip(
        parameters.pairs.tolist(),
        parameters.pair_epsilon_kcal_mol.tolist(),
        parameters.pair_r_star_A.tolist(),
        strict=True,
    ):
        if epsilon:
            force.addBond(i, j, [epsilon * KJ_MOL_PER_KCAL_MOL, r_star * NM_PER_A])
    return force, force.getNumBonds()


def _electrostatic_force(parameters: MMFFParameters) -> tuple[openmm.Force, int]:
    """Coulomb with the distance buffered by 0.05 A, and three quarters of it for 1-4
    pairs.
    """
    force = openmm.CustomBondForce(COULOMB_EXPRESSION)
    force.addPerBondParameter("qq")
    charges = parameters.charges_e
    for (i, j), is_14 in zip(
        parameters.pairs.tolist(), parameters.pair_is_14.tolist(), strict=True
    ):
        qq = float(charges[i] * charges[j]) * COULOMB_KJ_NM * (SCALE_14 if is_14 else 1.0)
        if qq:
            force.addBond(i, j, [qq])
    return force, force.getNumBonds()
