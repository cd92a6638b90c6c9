"""Which of OpenMM's integrators may run between Monte Carlo moves, and at which
temperature.

Moves leave exp(-U / kT) of the whole potential energy unchanged. So the steps between
them must do the same, in the positions that the Context shows, and at the same
temperature; what does not is refused by name. Thermostats and barostats that are Forces
of the System (AndersenThermostat, MonteCarloBarostat and its kin) keep a temperature of
their own, which is compared too.

A Nosé-Hoover chain keeps its momenta over an accepted move: their joint density with
positions and velocities is a product.
"""

from __future__ import annotations

import math
from typing import Any

import openmm
from openmm import unit

from equidrift.errors import InputError

_SAME_KELVIN = 1e-3  # the platform holds parameters in its own precision
_VARIABLE = (
    "its steps are short where forces are large, so that frames a fixed number of steps "
    "apart show such places too often"
)
_BOOSTED = "it samples a boosted potential, while moves are accepted by the plain one"
_DRUDE = "Drude particles are kept at a temperature of their own, and no move carries them along"
_CHANGES = "it changes the potential while it runs"
_MINIMISES = "it minimises, and samples nothing"
REFUSED = {
    "VariableLangevinIntegrator": _VARIABLE,
    "VariableVerletIntegrator": _VARIABLE,
    "RPMDIntegrator": "it holds many copies of the System, of which the Context shows one",
    "QTBIntegrator": "it samples a quantum distribution, not exp(-U / kT)",
    "DrudeLangevinIntegrator": _DRUDE,
    "DrudeNoseHooverIntegrator": _DRUDE,
    "DrudeSCFIntegrator": _DRUDE,
    "AMDIntegrator": _BOOSTED,
    "AMDForceGroupIntegrator": _BOOSTED,
    "DualAMDIntegrator": _BOOSTED,
    "NonequilibriumLangevinIntegrator": _CHANGES,
    "GradientDescentMinimizationIntegrator": _MINIMISES,
    "FIREMinimizationIntegrator": _MINIMISES,
    "DummyIntegrator": "it does nothing; leave out the dynamics with md_steps=0",
}
USUAL_SPACING_FS = 10.0
# Global variables of accelerated MD: they tell it apart if its class was lost, as in
# a System read from XML
_BOOST_VARIABLES = ("EGroup", "ETotal", "alphaGroup", "alphaTotal")
_WAY_OUT = "use LangevinMiddleIntegrator, or leave out the dynamics with md_steps=0"


def check_integrator(integrator: openmm.Integrator) -> None:
    """Refuse an integrator whose steps do not keep exp(-U / kT) of the Context's
    positions.

    Raises
    ------
    InputError
        Which names it, the reason, and what to use.
    """
    for kind in type(integrator).__mro__:
        if kind.__name__ in REFUSED:
            reason = REFUSED[kind.__name__]
            name = type(integrator).__name__
            raise InputError(f"{name} cannot run between exact moves: {reason}; {_WAY_OUT}")
    if isinstance(integrator, openmm.CompoundIntegrator):
        for k in range(integrator.getNumIntegrators()):
            check_integrator(integrator.getIntegrator(k))
    if isinstance(integrator, openmm.CustomIntegrator):
        names = _global_names(integrator)
        boosted = any(name in names for name in _BOOST_VARIABLES) or {"alpha", "E"} <= set(names)
        if boosted:
            raise InputError(
                f"this CustomIntegrator cannot run between exact moves: {_BOOSTED}; {_WAY_OUT}"
            )


def temperatures(integrator: openmm.Integrator) -> dict[str, float]:
    """What keeps which temperature in K; empty for constant energy, or if nobody can
    tell.
    """
    name = type(integrator).__name__
    if isinstance(integrator, openmm.CompoundIntegrator):
        parts = [integrator.getIntegrator(k) for k in range(integrator.getNumIntegrators())]
        return {key: value for part in parts for key, value in temperatures(part).items()}
    if isinstance(integrator, openmm.NoseHooverIntegrator):
        chains = range(integrator.getNumThermostats())
        return {f"{name}, chain {k}": _kelvin(integrator.getTemperature(k)) for k in chains}
    if hasattr(integrator, "getTemperature"):
        return {name: _kelvin(integrator.getTemperature())}
    if isinstance(integrator, openmm.CustomIntegrator) and "kT" in _global_names(integrator):
        kT = integrator.getGlobalVariableByName("kT")  # kJ/mol
        return {name: kT / unit.MOLAR_GAS_CONSTANT_R.value_in_unit_system(unit.md_unit_system)}
    return {}


def sampled_temperature(
    context: openmm.Context,
    integrator: openmm.Integrator,
    given: float | None,
    *,
    steps: bool = True,
) -> float:
    """The temperature to sample at: what integrator, thermostats and barostats keep, or
    the one given.

    Parameters
    ----------
    context, integrator : openmm.Context, openmm.Integrator
        Of the run.
    given : float, optional
        In K; None takes the one that is kept.
    steps : bool
        Whether the integrator will take steps at all.

    Raises
    ------
    InputError
        If two of them differ, none is known, or the integrator cannot be used
        (`check_integrator`).
    """
    if steps:
        check_integrator(integrator)
    kept = temperatures(integrator) | _of_forces(context)
    if given is not None and not 0 < given < math.inf:
        raise InputError(
            f"temperature_K must be positive and finite, not {given}; give for example "
            f"temperature_K=300"
        )
    if given is None and not kept:
        raise InputError(
            "temperature_K is needed: this integrator has none; give that of your "
            "thermostat, say temperature_K=300"
        )
    wanted = next(iter(kept.values())) if given is None else float(given)
    for name, kelvin in kept.items():
        if abs(kelvin - wanted) <= _SAME_KELVIN:
            continue
        if given is None:
            raise InputError(
                f"{next(iter(kept))} keeps {wanted:g} K and {name} {kelvin:g} K; give both "
                f"the same temperature"
            )
        what = "the integrator" if name in temperatures(integrator) else name
        raise InputError(
            f"temperature_K={given:g}, but {what} keeps {kelvin:g} K, and both cannot be; "
            f"leave temperature_K out"
        )
    return wanted


def _of_forces(context: openmm.Context) -> dict[str, float]:
    """Temperatures of the thermostats and barostats among the forces of a System."""
    parameters, found = dict(context.getParameters()), {}
    for force in context.getSystem().getForces():
        name = force.Temperature() if hasattr(type(force), "Temperature") else None
        off = hasattr(force, "getFrequency") and force.getFrequency() == 0
        if name is not None and name in parameters and not off:
            found[type(force).__name__] = float(parameters[name])
    return found


def _global_names(integrator: openmm.CustomIntegrator) -> list[str]:
    return [integrator.getGlobalVariableName(k) for k in range(integrator.getNumGlobalVariables())]


def _kelvin(value: Any) -> float:
    return float(value.value_in_unit(unit.kelvin) if unit.is_quantity(value) else value)


def step_fs(integrator: openmm.Integrator) -> float:
    """The integration step in fs."""
    return float(integrator.getStepSize().value_in_unit(unit.femtosecond))


def steps_between(
    integrator: openmm.Integrator, dt_range_fs: tuple[float, float], interval_fs: float | None
) -> int:
    """Integration steps between two frames."""
    step = step_fs(integrator)
    if interval_fs is None:
        least, most = (bound / step for bound in dt_range_fs)
        usual = max(USUAL_SPACING_FS / step, math.ceil(least - 1e-6))
        return max(1, round(min(usual, math.floor(most + 1e-6) if most < math.inf else usual)))
    steps = round(float(interval_fs) / step) if 0 < interval_fs < math.inf else 0
    if steps < 1 or abs(steps * step - interval_fs) > 1e-3 * step:
        raise InputError(
            f"interval_fs={interval_fs!r} must be a whole number of integration steps of "
            f"{step:g} fs; give for example {10 * step:g}"
        )
    return steps
