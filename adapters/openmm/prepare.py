"""`prepare`: positions into a Context, minimised and looked at; and the checks of
arguments that simulations share.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import app, unit

from equidrift.adapters.openmm.topology import positions_A_of
from equidrift.errors import InputError, InputTypeError, UnknownNameError
from equidrift.seeds import check_seed
from equidrift.text import counted
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A

# force tolerances: clashes first, the shape of the minimum last
STAGES_KJ_MOL_NM = (1000.0, 100.0, 10.0)


def prepare(
    simulation: app.Simulation | openmm.Context,
    positions: Any,
    *,
    temperature_K: float | None = None,
    seed: int | None = None,
    min_distance_A: float = 0.5,
    minimize: bool = True,
) -> float:
    """Set positions in a Context, minimise in stages, and draw velocities; look for
    trouble before and after.

    Parameters
    ----------
    simulation : app.Simulation or openmm.Context
        Left at the minimum.
    positions : Quantity or array
        (n_particles, 3), or bare numbers in nm as everywhere in OpenMM.
    temperature_K : float, optional
        Velocities are drawn at this temperature; None leaves them zero.
    seed : int, optional
        Of the velocities; None lets OpenMM choose.
    min_distance_A : float
        Closer pairs are refused (virtual sites and periodic images are not looked at);
        0 switches the check off.
    minimize : bool
        False sets the positions as they are.

    Returns
    -------
    float
        potential energy in eV.

    Raises
    ------
    InputError
        If positions have the wrong shape, hold NaN or overlapping atoms (the pair is
        named), if the energy or a force is not finite before or after minimisation,
        or if temperature, seed or distance cannot be used.
    """
    context = _context_of(simulation)
    if temperature_K is not None:
        positive("temperature_K", temperature_K, 300)
    if not 0 <= min_distance_A < math.inf:
        raise InputError(
            f"min_distance_A must be 0 or a positive length, not {min_distance_A}; give 0.5, say"
        )
    velocity_seed = None if seed is None else openmm_seed(seed)
    system = context.getSystem()
    placed = positions_A_of(positions, system.getNumParticles())
    if len(placed) != 1:
        raise InputError(
            f"positions hold {counted(len(placed), 'conformer')}, and a Context takes "
            "one; call prepare "
            f"once for each"
        )
    _check_positions(system, placed[0], min_distance_A)
    try:
        energy = _minimised_eV(context, placed[0], minimize)
    except openmm.OpenMMException as error:
        raise InputError(
            f"OpenMM cannot start from these positions: {error}; check that the System belongs to "
            "this molecule, and that it fits into its box"
        ) from error
    if temperature_K is None:
        context.setVelocities(np.zeros_like(placed[0]))
    else:
        context.setVelocitiesToTemperature(
            temperature_K, *(() if velocity_seed is None else (velocity_seed,))
        )
    return energy


def _context_of(simulation: app.Simulation | openmm.Context) -> openmm.Context:
    """The Context of a Simulation, or the Context given."""
    context = simulation.context if isinstance(simulation, app.Simulation) else simulation
    if not isinstance(context, openmm.Context):
        raise InputTypeError(
            f"expected an openmm.app.Simulation or an openmm.Context, not "
            f"{type(simulation).__name__}"
        )
    return context


def _minimised_eV(
    context: openmm.Context, positions_A: NDArray[np.float64], minimize: bool
) -> float:
    """Potential energy at the positions, or at the minimum near them."""
    context.setPositions(positions_A * NM_PER_A)
    context.computeVirtualSites()
    context.applyConstraints(context.getIntegrator().getConstraintTolerance())
    energy = finite_energy_eV(context, "before minimisation")
    if not minimize:
        return energy
    for tolerance in STAGES_KJ_MOL_NM:
        openmm.LocalEnergyMinimizer.minimize(context, tolerance)
        energy = finite_energy_eV(context, f"after minimisation to {tolerance:g} kJ/mol/nm")
    return energy


def _check_positions(
    system: openmm.System, positions_A: NDArray[np.float64], min_distance_A: float
) -> None:
    bad = np.flatnonzero(~np.isfinite(positions_A).all(axis=1))
    if len(bad):
        raise InputError(
            f"positions of atom {bad[0]} are not finite ({len(bad)} such atoms); leave this "
            f"conformer out or generate it again"
        )
    real = np.array([k for k in range(len(positions_A)) if not system.isVirtualSite(k)], np.int64)
    pair = closest_pair(positions_A[real], min_distance_A)
    if pair is not None:
        i, j, distance = pair
        raise InputError(
            f"atoms {real[i]} and {real[j]} lie {distance:.3f} A apart, closer than "
            f"min_distance_A={min_distance_A:g}; leave this "
            "conformer out or generate it again (min_distance_A=0 switches the check off)"
        )


def closest_pair(positions_A: NDArray[np.float64], below_A: float) -> tuple[int, int, float] | None:
    """The closest two atoms, (i, j, distance) with i < j, if they are closer than
    `below_A`, else None.

    A sweep along x: in this order only atoms a few places apart can be close, so memory
    stays linear for solvated systems too.
    """
    order = np.argsort(positions_A[:, 0], kind="stable")
    sorted_A = positions_A[order]
    best: tuple[int, int, float] | None = None
    for step in range(1, len(order)):
        close = np.flatnonzero(sorted_A[step:, 0] - sorted_A[:-step, 0] < below_A)
        if not len(close):
            break
        distances = np.linalg.norm(sorted_A[close + step] - sorted_A[close], axis=1)
        k = int(distances.argmin())
        if distances[k] < (below_A if best is None else best[2]):
            i, j = sorted((int(order[close[k]]), int(order[close[k] + step])))
            best = (i, j, float(distances[k]))
    return best


def finite_energy_eV(context: openmm.Context, when: str) -> float:
    """The potential energy, or InputError that names the atom with the worst force."""
    state = context.getState(energy=True, forces=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    size = np.linalg.norm(
        state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer),
        axis=1,
    )
    if math.isfinite(energy) and np.isfinite(size).all():
        return float(energy) / KJ_MOL_PER_EV
    broken = np.flatnonzero(~np.isfinite(size))
    where = (
        f"the force on atom {broken[0]} is not finite" if len(broken) else "the forces are finite"
    )
    raise InputError(
        f"the energy {when} is {energy} kJ/mol and {where}; check that the System belongs to "
        f"this molecule and atom order, "
        "and leave this conformer out or generate it again"
    )


def openmm_seed(seed: int) -> int:
    """A seed OpenMM takes: 31 bits, and never 0, which asks OpenMM for a seed of its
    own.
    """
    return check_seed(seed) % (2**31 - 2) + 1


def positive(name: str, value: Any, example: float) -> float:
    """The value of the argument `name`, refused if it is no positive finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise InputTypeError(
            f"{name} must be a number without OpenMM units, not {value!r}; give for example "
            f"{name}={example}"
        )
    if not 0 < value < math.inf:
        raise InputError(
            f"{name} must be positive and finite, not {value}; give for example {name}={example}"
        )
    return float(value)


def platform_of(platform: str | openmm.Platform | None) -> openmm.Platform | None:
    """The Platform of that name, or the one given; None leaves the choice to OpenMM."""
    if platform is None or isinstance(platform, openmm.Platform):
        return platform
    known = [
        openmm.Platform.getPlatform(k).getName() for k in range(openmm.Platform.getNumPlatforms())
    ]
    if platform not in known:
        raise UnknownNameError("OpenMM platform", str(platform), known)
    return openmm.Platform.getPlatform(platform)
