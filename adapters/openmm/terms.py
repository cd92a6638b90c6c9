"""What turning about bonds changes in an OpenMM System, as arrays: the surrogate energy
of heat-bath moves.

Read are NonbondedForce (within the molecule as if without cut-off, with what stands
round it by `equidrift.adapters.openmm.surroundings`), PeriodicTorsionForce, and the
pair terms of an MMFF94 System of `equidrift.mmff_system`. Bonds, angles and whatever else
rigid turning leaves alone are not needed; implicit solvent and custom forces are left
out, and the acceptance by the full energy makes up for that.
"""

from __future__ import annotations

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray

from equidrift.adapters.openmm.surroundings import number, surrounding_terms
from equidrift.errors import InputError
from equidrift.mmff import COULOMB_EXPRESSION, VDW_EXPRESSION
from equidrift.montecarlo.turns import MOST_ATOMS, TurnTerms
from equidrift.units import COULOMB_EV_A_PER_E2, KJ_MOL_PER_EV, NM_PER_A

Floats = NDArray[np.float64]


def turn_terms(system: openmm.System, atoms: ArrayLike | None = None) -> TurnTerms | None:
    """The terms of a System, or of some of its atoms; None if it has no pair terms that
    can be read.

    Parameters
    ----------
    system : openmm.System
        The user's.
    atoms : (n,) array of int, optional
        Particles of the molecule that is turned, in the order of its torsions; the
        terms hold its pairs with the other ones (solvent, ions) too. None takes all
        particles.

    Returns
    -------
    TurnTerms or None
        None too if one of the atoms is a virtual site, which no torsion turns, or there
        are more than `MOST_ATOMS` in MMFF94. Of so many atoms in other force fields
        pairs are read within the cutoff alone, as those with the surroundings are.

    Raises
    ------
    InputError
        If atoms are not different particles of the System.
    """
    chosen = _chosen(system, atoms)
    n = len(chosen)
    if any(system.isVirtualSite(k) for k in chosen.tolist()):
        return None
    forces = list(system.getForces())
    plain = [force for force in forces if isinstance(force, openmm.NonbondedForce)]
    custom = [force for force in forces if isinstance(force, openmm.CustomBondForce)]
    local = {int(atom): k for k, atom in enumerate(chosen)}
    mmff, large = any(f.getEnergyFunction() == VDW_EXPRESSION for f in custom), n > MOST_ATOMS
    if len(plain) == 1 and not mmff:
        form, tables = "lennard-jones", _nonbonded(plain[0], local, exceptions_only=large)
    elif large:
        return None  # every pair of MMFF94 has terms of its own
    else:
        form, tables = "mmff", _mmff(custom, local)
    r0, epsilon, coulomb = tables
    pairs = np.argwhere(np.triu((epsilon != 0) | (coulomb != 0), 1))
    around = surrounding_terms(system, chosen, unlisted=large)
    if not len(pairs) and around is None:
        return None
    first, second = pairs.T
    rows = _torsions(forces, local)
    return TurnTerms(
        n_atoms=n,
        form=form,
        pairs=pairs,
        r0_A=r0[first, second],
        epsilon_eV=epsilon[first, second],
        coulomb_eV_A=coulomb[first, second],
        torsions=np.array([row[0] for row in rows], np.int64).reshape(-1, 4),
        orders=np.array([row[1] for row in rows], np.int64),
        phases_rad=np.array([row[2] for row in rows], np.float64),
        heights_eV=np.array([row[3] for row in rows], np.float64),
        surroundings=around,
    )


def _chosen(system: openmm.System, atoms: ArrayLike | None) -> NDArray[np.int64]:
    """The particles whose terms are read."""
    n = system.getNumParticles()
    if atoms is None:
        return np.arange(n)
    chosen = np.asarray(atoms, np.int64)
    inside = chosen.ndim == 1 and len(chosen) and 0 <= chosen.min() <= chosen.max() < n
    if not inside or len(np.unique(chosen)) < len(chosen):
        raise InputError(f"atoms must be different particles 0 to {n - 1}, got {chosen.tolist()}")
    return chosen


def _torsions(
    forces: list[openmm.Force], local: dict[int, int]
) -> list[tuple[list[int], int, float, float]]:
    """(atoms, order, phase in rad, height in eV) of the cosine terms among the atoms."""
    found = []
    for force in forces:
        if not isinstance(force, openmm.PeriodicTorsionForce):
            continue
        for k in range(force.getNumTorsions()):
            *four, order, phase, height = force.getTorsionParameters(k)
            if number(height) and all(atom in local for atom in four):
                atoms = [local[atom] for atom in four]
                found.append((atoms, order, number(phase), number(height) / KJ_MOL_PER_EV))
    return found


def _nonbonded(
    force: openmm.NonbondedForce, local: dict[int, int], *, exceptions_only: bool
) -> tuple[Floats, Floats, Floats]:
    """(n, n) tables of sigma (A), epsilon (eV) and charge products (eV A), exceptions
    applied, or holding nothing else.
    """
    charges, sigmas, epsilons = np.array(
        [[number(value) for value in force.getParticleParameters(k)] for k in local]
    ).T
    r0 = 0.5 * (sigmas[:, None] + sigmas) / NM_PER_A
    epsilon = np.sqrt(epsilons[:, None] * epsilons) / KJ_MOL_PER_EV
    coulomb = np.outer(charges, charges) * COULOMB_EV_A_PER_E2
    if exceptions_only:
        epsilon[:], coulomb[:] = 0.0, 0.0
    for k in range(force.getNumExceptions()):
        i, j, product, sigma, depth = force.getExceptionParameters(k)
        if i not in local or j not in local:
            continue
        for a, b in ((local[i], local[j]), (local[j], local[i])):
            r0[a, b], epsilon[a, b] = number(sigma) / NM_PER_A, number(depth) / KJ_MOL_PER_EV
            coulomb[a, b] = number(product) * COULOMB_EV_A_PER_E2
    r0[r0 <= 0] = 1.0  # hydrogens without a size have no depth either
    return r0, epsilon, coulomb


def _mmff(
    forces: list[openmm.CustomBondForce], local: dict[int, int]
) -> tuple[Floats, Floats, Floats]:
    """The same of the two pair terms of MMFF94; zero if there are none."""
    n = len(local)
    r0, epsilon, coulomb = np.ones((n, n)), np.zeros((n, n)), np.zeros((n, n))
    for force in forces:
        for k in range(force.getNumBonds()):
            *pair, values = force.getBondParameters(k)
            if not all(atom in local for atom in pair):
                continue
            i, j = sorted(local[atom] for atom in pair)
            if force.getEnergyFunction() == VDW_EXPRESSION:
                epsilon[i, j], r0[i, j] = values[0] / KJ_MOL_PER_EV, values[1] / NM_PER_A
            elif force.getEnergyFunction() == COULOMB_EXPRESSION:
                coulomb[i, j] = values[0] / KJ_MOL_PER_EV / NM_PER_A
    return r0, epsilon, coulomb
