"""What turning about bonds changes in an OpenMM System, as arrays: the surrogate energy
of heat-bath moves.

Read are NonbondedForce (as if without cut-off), PeriodicTorsionForce, and the pair
terms of an MMFF94 System of `equidrift.mmff_system`. Bonds, angles and whatever else
rigid turning leaves alone are not needed; implicit solvent and custom forces are left
out, and the acceptance by the full energy makes up for that.
"""

from __future__ import annotations

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from equidrift.mmff import COULOMB_EXPRESSION, VDW_EXPRESSION
from equidrift.montecarlo.turns import MOST_ATOMS, TurnTerms
from equidrift.units import COULOMB_EV_A_PER_E2, KJ_MOL_PER_EV, NM_PER_A

Floats = NDArray[np.float64]


def turn_terms(system: openmm.System) -> TurnTerms | None:
    """The terms of a System; None where it has no pair terms that can be read, or too
    many atoms for tables of pairs.

    Particles are the atoms; virtual sites are no atoms a torsion turns, so a System
    with them gives None too.
    """
    n = system.getNumParticles()
    if n > MOST_ATOMS or any(system.isVirtualSite(k) for k in range(n)):
        return None
    forces = list(system.getForces())
    plain = [force for force in forces if isinstance(force, openmm.NonbondedForce)]
    custom = [force for force in forces if isinstance(force, openmm.CustomBondForce)]
    if len(plain) == 1 and not any(force.getEnergyFunction() == VDW_EXPRESSION for force in custom):
        form, tables = "lennard-jones", _nonbonded(plain[0], n)
    else:
        form, tables = "mmff", _mmff(custom, n)
    r0, epsilon, coulomb = tables
    pairs = np.argwhere(np.triu((epsilon != 0) | (coulomb != 0), 1))
    if not len(pairs):
        return None
    first, second = pairs.T
    torsions = [force for force in forces if isinstance(force, openmm.PeriodicTorsionForce)]
    rows = [
        force.getTorsionParameters(k) for force in torsions for k in range(force.getNumTorsions())
    ]
    rows = [row for row in rows if _number(row[6])]
    return TurnTerms(
        n_atoms=n,
        form=form,
        pairs=pairs,
        r0_A=r0[first, second],
        epsilon_eV=epsilon[first, second],
        coulomb_eV_A=coulomb[first, second],
        torsions=np.array([row[:4] for row in rows], np.int64).reshape(-1, 4),
        orders=np.array([row[4] for row in rows], np.int64),
        phases_rad=np.array([_number(row[5]) for row in rows], np.float64),
        heights_eV=np.array([_number(row[6]) / KJ_MOL_PER_EV for row in rows], np.float64),
    )


def _number(value: unit.Quantity) -> float:
    """In OpenMM's units: nm, kJ/mol, elementary charges and radians."""
    return float(value.value_in_unit_system(unit.md_unit_system))


def _nonbonded(force: openmm.NonbondedForce, n: int) -> tuple[Floats, Floats, Floats]:
    """(n, n) tables of sigma (A), epsilon (eV) and charge products (eV A), exceptions
    applied.
    """
    charges, sigmas, epsilons = np.array(
        [[_number(value) for value in force.getParticleParameters(k)] for k in range(n)]
    ).T
    r0 = 0.5 * (sigmas[:, None] + sigmas) / NM_PER_A
    epsilon = np.sqrt(epsilons[:, None] * epsilons) / KJ_MOL_PER_EV
    coulomb = np.outer(charges, charges) * COULOMB_EV_A_PER_E2
    for k in range(force.getNumExceptions()):
        i, j, product, sigma, depth = force.getExceptionParameters(k)
        for a, b in ((i, j), (j, i)):
            r0[a, b], epsilon[a, b] = _number(sigma) / NM_PER_A, _number(depth) / KJ_MOL_PER_EV
            coulomb[a, b] = _number(product) * COULOMB_EV_A_PER_E2
    r0[r0 <= 0] = 1.0  # hydrogens without a size have no depth either
    return r0, epsilon, coulomb


def _mmff(forces: list[openmm.CustomBondForce], n: int) -> tuple[Floats, Floats, Floats]:
    """The same of the two pair terms of MMFF94; zero where there are none."""
    r0, epsilon, coulomb = np.ones((n, n)), np.zeros((n, n)), np.zeros((n, n))
    for force in forces:
        for k in range(force.getNumBonds()):
            i, j, values = force.getBondParameters(k)
            i, j = min(i, j), max(i, j)
            if force.getEnergyFunction() == VDW_EXPRESSION:
                epsilon[i, j], r0[i, j] = values[0] / KJ_MOL_PER_EV, values[1] / NM_PER_A
            elif force.getEnergyFunction() == COULOMB_EXPRESSION:
                coulomb[i, j] = values[0] / KJ_MOL_PER_EV / NM_PER_A
    return r0, epsilon, coulomb
