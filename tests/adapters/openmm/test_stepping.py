"""What OpenMM raises while it works on a user's System is told as an error of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def add_cutoff(system: openmm.System) -> None:
    """A force without energy whose cut-off fits into OpenMM's own box of 2 nm."""
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(1.0)
    for _ in range(system.getNumParticles()):
        force.addParticle(0.0, 0.1, 0.0)
    system.addForce(force)


def shrink_box(context: openmm.Context) -> None:
    """Make the box too small for the cut-off, so that the platform raises."""
    context.setPeriodicBoxVectors([1, 0, 0], [0, 1, 0], [0, 0, 1])


def failing() -> app.Simulation:
    """A Simulation of butane whose platform raises in its first step."""
    simulated = simulation()
    add_cutoff(simulated.system)
    simulated.context.reinitialize()
    simulated.context.setPositions(start_A() * 0.1)
    shrink_box(simulated.context)
    return simulated


@pytest.mark.parametrize("md_steps", [0, 20])
def test_sampler_names_the_way_out_when_the_energy_is_nan(md_steps: int) -> None:
    sampler = ProposalSampler(simulation(system=poisoned()), UNIFORM, md_steps)
    with pytest.raises(InputError, match=r"minimise first"):
        sampler.run(1)


def advance(iteration: Callable[[], Any]) -> None:
    iteration()


def platform_failures() -> dict[str, Any]:
    states = [{"temperature": 300.0}, {"temperature": 310.0}]
    return {
        "sampler": lambda: ProposalSampler(failing(), UNIFORM, 20).run(1),
        "moves": lambda: ProposalSampler(failing(), UNIFORM, 0).run(1),
        "exchange with moves": lambda: ProposalReplicaExchange(
            states, failing(), 20, UNIFORM
        ).simulate(1),
        "exchange": lambda: advance(replica_exchange(failing(), [300.0, 310.0], 20)),
        "trajectories": lambda: TrajectoryProposer(
            failing(), "constant-velocity", molecule=BUTANE
        ).collect(),
    }


@pytest.mark.parametrize("name", list(platform_failures()))
def test_steps_name_the_way_out_when_the_platform_fails(name: str) -> None:
    with pytest.raises(InputError, match=WAY_OUT) as caught:
        platform_failures()[name]()
    assert isinstance(caught.value.__cause__, openmm.OpenMMException)


def test_langevin_names_the_way_out_when_the_platform_fails() -> None:
    system = mmff_system(BUTANE)
    add_cutoff(system)
    run = Langevin(system, start_A(), temperature_K=300, friction_per_fs=1e-3, step_fs=1.0, seed=1)
    shrink_box(run.context)
    with pytest.raises(InputError, match=WAY_OUT):
        run.run(1)


def test_errors_of_others_pass_unchanged_while_steps_are_taken() -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_steps(interrupted, 3)
    with pytest.raises(ZeroDivisionError), explained("dividing"):
        1 / 0  # noqa: B018 - what a reporter of the user may do
