"""A Simulation of one molecule: what must hold, and what it is of."""

from __future__ import annotations

import math
from typing import Any

import openmm
from openmm import app, unit

from equidrift.errors import InputError, InputTypeError
from equidrift.inputs import from_openmm
from equidrift.records import Molecule
from equidrift.text import counted
from equidrift.units import BOLTZMANN_EV_PER_K


def check_simulation(simulation: Any) -> None:
    """Refuse what is no Simulation."""
    if not isinstance(simulation, app.Simulation):
        raise InputTypeError(
            f"simulation must be an openmm.app.Simulation, not {type(simulation).__name__}"
        )


def usual_rise_eV(n_atoms: int, temperature_K: float) -> float:
    """kT (10 + 5 sqrt(3 N / 2)): five times the spread of the potential energy."""
    return BOLTZMANN_EV_PER_K * temperature_K * (10 + 5 * math.sqrt(1.5 * n_atoms))


def molecule_of(simulation: app.Simulation) -> Molecule:
    """The graph in the topology, with the stereo that the present positions show."""
    positions = simulation.context.getState(positions=True).getPositions(asNumpy=True)
    read = from_openmm(simulation.topology, positions)
    return read if isinstance(read, Molecule) else read.molecule


def check_particles(system: openmm.System, molecule: Molecule) -> None:
    """Refuse a System of other particles than the molecule's, or with virtual sites."""
    n = system.getNumParticles()
    if n != molecule.n_atoms:
        raise InputError(
            f"the System has {counted(n, 'particle')}, but {molecule!r} has "
            f"{counted(molecule.n_atoms, 'atom')}; "
            f"simulate the molecule alone, or give its "
            "molecule=: models continue one molecule without solvent"
        )
    if any(system.isVirtualSite(k) for k in range(n)):
        raise InputError(
            "the System has virtual sites, which no trajectory model knows; use a System of "
            "atoms alone"
        )


def integrator_temperature_K(integrator: openmm.Integrator) -> float:
    """The integrator's. Raises `InputError` where it has none."""
    if hasattr(integrator, "getTemperature"):
        return float(integrator.getTemperature().value_in_unit(unit.kelvin))
    raise InputError(
        f"a {type(integrator).__name__} has no temperature; give temperature_K=, say 300"
    )
