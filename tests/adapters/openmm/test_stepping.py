"""What OpenMM raises while it works on a user's System is told as an error of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
import pytest
from openmm import app

from equidrift.adapters.openmm.proposer import TrajectoryProposer
from equidrift.adapters.openmm.sampler import ProposalReplicaExchange, ProposalSampler
from equidrift.adapters.openmm.simulation import Langevin, replica_exchange
from equidrift.adapters.openmm.stepping import explained, take_steps
from equidrift.errors import InputError
from equidrift.mmff import mmff_system
from tests.sampling import BUTANE, UNIFORM, simulation, start_A

WAY_OUT = r"minimise first.*shorter step.*'CPU' or 'Reference'"


def poisoned() -> openmm.System:
    """Butane with a force whose energy is NaN everywhere."""
    system = mmff_system(BUTANE)
    force = openmm.CustomExternalForce("sqrt(-1 - x^2)")
    force.addParticle(0)
    system.addForce(force)
    return system


def failing_at(simulated: app.Simulation, distance_nm: float = 50.0) -> app.Simulation:
    """A Simulation whose platform raises in its first step: a box too small for its
    cut-off cannot be computed.
    """
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(1.0)
    for _ in range(simulated.system.getNumParticles()):
        force.addParticle(0.0, 0.1, 0.0)
    simulated.system.addForce(force)
    simulated.context.reinitialize()
    simulated.context.setPositions(start_A() * 0.1)
    simulated.context.setPeriodicBoxVectors([1, 0, 0], [0, 1, 0], [0, 0, 1])
    return simulated


@pytest.mark.parametrize("md_steps", [0, 20])
def test_sampler_names_the_way_out_when_the_energy_is_nan(md_steps: int) -> None:
    sampler = ProposalSampler(simulation(system=poisoned()), UNIFORM, md_steps)
    with pytest.raises(InputError, match=r"minimise first"):
        sampler.run(1)


def platform_failures() -> dict[str, Any]:
    states = [{"temperature": 300.0}, {"temperature": 310.0}]
    return {
        "sampler": lambda: ProposalSampler(failing_at(simulation()), UNIFORM, 20).run(1),
        "moves": lambda: ProposalSampler(failing_at(simulation()), UNIFORM, 0).run(1),
        "exchange with moves": lambda: ProposalReplicaExchange(
            states, failing_at(simulation()), 20, UNIFORM
        ).simulate(1),
        "exchange": lambda: replica_exchange(failing_at(simulation()), [300.0, 310.0], 20)(),
        "trajectories": lambda: TrajectoryProposer(
            failing_at(simulation()), "constant-velocity", molecule=BUTANE
        ).collect(),
    }


@pytest.mark.parametrize("name", list(platform_failures()))
def test_steps_name_the_way_out_when_the_platform_fails(name: str) -> None:
    with pytest.raises(InputError, match=WAY_OUT) as caught:
        platform_failures()[name]()
    assert isinstance(caught.value.__cause__, openmm.OpenMMException)


def test_langevin_names_the_way_out_when_the_platform_fails() -> None:
    system = mmff_system(BUTANE)
    run = Langevin(
        system, start_A(), temperature_K=300, friction_per_fs=1e-3, step_fs=1.0, seed=1
    )
    run.context.setPositions(np.full((BUTANE.n_atoms, 3), np.nan))
    with pytest.raises(InputError):
        run.run(1)


def test_errors_of_others_pass_unchanged_while_steps_are_taken() -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_steps(interrupted, 3)
    with pytest.raises(ZeroDivisionError), explained("dividing"):
        1 / 0  # noqa: B018 - what a reporter of the user may do
