"""Every integrator of OpenMM between moves: samples a well as its formula says, or is
refused by name; temperatures that differ are.
"""

from __future__ import annotations

import inspect

import numpy as np
import openmm
import pytest
from openmm import amd, app, mtsintegrator, unit

from equidrift.adapters.openmm.integrators import REFUSED, check_integrator, sampled_temperature
from equidrift.adapters.openmm.sampler import ProposalReplicaExchange, ProposalSampler
from equidrift.errors import InputError
from equidrift.mmff import mmff_system
from equidrift.records import Proposal
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV
from tests.sampling import BUTANE, UNIFORM, simulation

T, DT = 300.0, 0.002
PARTICLES, SPRING = 60, 12.0 * (0.2 / DT) ** 2  # w dt = .2: discretisation is below the tolerance
GROUPS = [(0, 1), (1, 2)]


def compound() -> openmm.CompoundIntegrator:
    made = openmm.CompoundIntegrator()
    made.addIntegrator(openmm.LangevinMiddleIntegrator(T, 1, DT))
    made.addIntegrator(openmm.VerletIntegrator(DT))
    return made


def custom() -> openmm.CustomIntegrator:
    made = openmm.CustomIntegrator(DT)
    made.addUpdateContextState()
    made.addComputePerDof("v", "v + 0.5*dt*f/m")
    made.addComputePerDof("x", "x + dt*v")
    made.addComputePerDof("v", "v + 0.5*dt*f/m")
    return made


MADE = {
    "LangevinMiddleIntegrator": lambda: openmm.LangevinMiddleIntegrator(T, 1, DT),
    "LangevinIntegrator": lambda: openmm.LangevinIntegrator(T, 1, DT),
    "VerletIntegrator": lambda: openmm.VerletIntegrator(DT),
    "BrownianIntegrator": lambda: openmm.BrownianIntegrator(T, 5000, DT),
    "NoseHooverIntegrator": lambda: openmm.NoseHooverIntegrator(T, 10, DT),
    "DPDIntegrator": lambda: openmm.DPDIntegrator(T, 1, 1.0, DT),
    "CustomIntegrator": custom,
    "CompoundIntegrator": compound,
    "MTSIntegrator": lambda: mtsintegrator.MTSIntegrator(DT, GROUPS),
    "MTSLangevinIntegrator": lambda: mtsintegrator.MTSLangevinIntegrator(T, 1, DT, GROUPS),
    "VariableLangevinIntegrator": lambda: openmm.VariableLangevinIntegrator(T, 1, 1e-4),
    "VariableVerletIntegrator": lambda: openmm.VariableVerletIntegrator(1e-4),
    "RPMDIntegrator": lambda: openmm.RPMDIntegrator(4, T, 1, DT),
    "QTBIntegrator": lambda: openmm.QTBIntegrator(T, 1, DT),
    "DrudeLangevinIntegrator": lambda: openmm.DrudeLangevinIntegrator(T, 1, 1, 20, DT),
    "DrudeNoseHooverIntegrator": lambda: openmm.DrudeNoseHooverIntegrator(T, 10, 1, 10, DT),
    "DrudeSCFIntegrator": lambda: openmm.DrudeSCFIntegrator(DT),
    "AMDIntegrator": lambda: amd.AMDIntegrator(DT, 10.0, 100.0),
    "AMDForceGroupIntegrator": lambda: amd.AMDForceGroupIntegrator(DT, 1, 10.0, 100.0),
    "DualAMDIntegrator": lambda: amd.DualAMDIntegrator(DT, 1, 10.0, 100.0, 10.0, 100.0),
}
WITHOUT_TEMPERATURE = {"VerletIntegrator", "CustomIntegrator", "MTSIntegrator"}


def well(integrator: openmm.Integrator, force: openmm.Force | None = None) -> app.Simulation:
    """Independent particles, each in a harmonic well of two force groups, drawn from
    their density.
    """
    system, topology = openmm.System(), app.Topology()
    residue = topology.addResidue("W", topology.addChain())
    for group in range(2):
        part = openmm.CustomExternalForce(f"0.25*{SPRING!r}*(x^2 + y^2 + z^2)")
        part.setForceGroup(group)
        for k in range(PARTICLES):
            part.addParticle(k, [])
        system.addForce(part)
    for _ in range(PARTICLES):
        system.addParticle(12.0)
        topology.addAtom("C", app.element.carbon, residue)
    if force is not None:
        system.addForce(force)
    if hasattr(integrator, "setRandomNumberSeed"):
        integrator.setRandomNumberSeed(3)
    made = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform("Reference"))
    start = np.random.default_rng(0).normal(size=(PARTICLES, 3)) * np.sqrt(variance())
    made.context.setPositions(start)
    made.context.setVelocitiesToTemperature(T, 1)
    return made


def variance() -> float:
    return BOLTZMANN_EV_PER_K * T * KJ_MOL_PER_EV / SPRING


class Same:
    """Always accepted: nothing moves, but velocities are drawn anew."""

    def propose(self, positions_A, *, kT_eV, rng):
        return Proposal(positions_A.copy(), 0.0)


def test_every_integrator_of_openmm_is_made_here():
    named = {
        name
        for module in (openmm, amd, mtsintegrator)
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, openmm.Integrator)
    }
    assert named - {"Integrator", "DrudeIntegrator"} == set(MADE), (
        "OpenMM has an integrator that nobody has checked"
    )


@pytest.mark.parametrize("name", sorted(set(MADE) - set(REFUSED)))
def test_wells_have_the_width_of_their_formula_between_accepted_moves(name):
    given = T if name in WITHOUT_TEMPERATURE else None
    sampler = ProposalSampler(
        well(MADE[name]()), Same(), md_steps=10, n_proposals=1, temperature_K=given
    )
    squares = []
    for _ in range(100):
        sampler.run(1)
        x = sampler.simulation.context.getState(positions=True).getPositions(asNumpy=True)._value
        squares.append((x**2).mean())
    assert sampler.temperature_K == pytest.approx(T)
    # 18,000 squares, a tenth of them independent: their mean has an error of 3.3 %
    assert np.mean(squares) == pytest.approx(variance(), rel=0.1)


def test_verlet_with_andersen_thermostat_takes_its_temperature():
    force = openmm.AndersenThermostat(T, 10)
    sim = well(openmm.VerletIntegrator(DT), force)
    assert ProposalSampler(sim, Same()).temperature_K == pytest.approx(T)
    with pytest.raises(InputError, match="temperature_K=310, but AndersenThermostat keeps 300"):
        ProposalSampler(sim, Same(), temperature_K=310)


@pytest.mark.parametrize("name", sorted(set(MADE) & set(REFUSED)))
def test_integrators_that_do_not_sample_are_refused_by_name(name):
    with pytest.raises(InputError, match=rf"^{name} cannot run between exact moves: "):
        check_integrator(MADE[name]())


def test_refused_integrators_are_taken_if_they_never_step():
    sim = well(openmm.VariableVerletIntegrator(1e-4))
    with pytest.raises(InputError, match="VariableVerletIntegrator cannot run"):
        ProposalSampler(sim, Same(), temperature_K=T)
    sampler = ProposalSampler(sim, Same(), md_steps=0, temperature_K=T)
    sampler.run(1)
    assert sampler.statistics.accepted == 10


def test_a_boosted_integrator_is_known_by_its_variables_after_xml():
    text = openmm.XmlSerializer.serialize(amd.DualAMDIntegrator(DT, 1, 10.0, 100.0, 10.0, 100.0))
    again = openmm.XmlSerializer.deserialize(text)
    assert type(again) is openmm.CustomIntegrator
    with pytest.raises(InputError, match="boosted potential"):
        check_integrator(again)


def test_a_compound_integrator_is_refused_for_any_of_its_parts():
    made = compound()
    made.addIntegrator(openmm.VariableVerletIntegrator(1e-4))
    with pytest.raises(InputError, match="VariableVerletIntegrator cannot run"):
        check_integrator(made)


def test_parts_that_keep_different_temperatures_are_refused():
    barostat = openmm.MonteCarloBarostat(1.0, 310.0, 25)
    system = mmff_system(BUTANE)
    system.setDefaultPeriodicBoxVectors(*np.eye(3) * 4.0)
    periodic = openmm.CustomExternalForce("0*periodicdistance(x, y, z, 0, 0, 0)")
    periodic.addParticle(0)
    system.addForce(periodic)
    system.addForce(barostat)
    sim = simulation(system=system)
    with pytest.raises(InputError, match="keeps 300 K and MonteCarloBarostat 310 K"):
        ProposalSampler(sim, UNIFORM)
    chains = openmm.NoseHooverIntegrator(DT)
    chains.addSubsystemThermostat(range(30), [], T, 10, T, 10, 3, 3, 7)
    chains.addSubsystemThermostat(range(30, 60), [], 350.0, 10, 350.0, 10, 3, 3, 7)
    with pytest.raises(
        InputError, match="chain 0 keeps 300 K and NoseHooverIntegrator, chain 1 350 K"
    ):
        sampled_temperature(well(chains).context, chains, None)


def test_a_temperature_changed_on_the_way_is_refused():
    sim = simulation()
    sampler = ProposalSampler(sim, UNIFORM, md_steps=1, n_proposals=1)
    sampler.run(1)
    sim.integrator.setTemperature(400 * unit.kelvin)
    with pytest.raises(InputError, match="temperature_K=300, but the integrator keeps 400 K"):
        sampler.run(1)


def test_replica_exchange_refuses_integrators_that_do_not_sample():
    sim = well(openmm.VariableLangevinIntegrator(T, 1, 1e-4))
    with pytest.raises(InputError, match="VariableLangevinIntegrator cannot run"):
        ProposalReplicaExchange([{"temperature": T * unit.kelvin}], sim, 2, Same())
