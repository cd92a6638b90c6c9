"""Energies for importance weights, and the shipped generator against the force field it
was trained for.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from openmm import LangevinMiddleIntegrator, app, unit

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.simulation import SystemEnergy
from equidrift.adapters.openmmtools.systems import alanine_dipeptide
from equidrift.errors import InputError
from equidrift.models.boltzmann.sampler import BoltzmannProposer, load_boltzmann
from equidrift.models.boltzmann.weights import ess, free_energy_difference, log_weights
from equidrift.montecarlo.proposals import proposer_from_dict
from equidrift.units import KJ_MOL_PER_EV


@pytest.fixture(scope="module")
def system() -> tuple[Any, Any, Any]:
    return alanine_dipeptide(constrained=False)


def test_energies_are_those_of_a_context_and_nan_where_there_is_none(
    system: tuple[Any, Any, Any],
) -> None:
    topology, openmm_system, x = system
    positions = x * unit.angstrom
    found = SystemEnergy(openmm_system)(np.stack([x, np.full_like(x, np.nan), x + 5.0]))
    simulation = app.Simulation(topology, openmm_system, LangevinMiddleIntegrator(300, 1, 0.001))
    simulation.context.setPositions(positions)
    kj_mol = (
        simulation.context.getState(energy=True)
        .getPotentialEnergy()
        .value_in_unit(unit.kilojoule_per_mole)
    )
    assert found[0] == pytest.approx(kj_mol / KJ_MOL_PER_EV, abs=1e-4)
    assert np.isnan(found[1]) and found[2] == pytest.approx(found[0], abs=1e-4)


def test_constrained_systems_and_other_shapes_are_refused(system: tuple[Any, Any, Any]) -> None:
    from openmmtools.testsystems import AlanineDipeptideImplicit

    with pytest.raises(InputError, match=r"12 constraints.*constraints=None"):
        SystemEnergy(AlanineDipeptideImplicit().system)
    with pytest.raises(InputError, match="expected"):
        SystemEnergy(system[1])(np.zeros((22, 3)))


@pytest.mark.long
def test_shipped_generator_is_worth_its_weights(system: tuple[Any, Any, Any]) -> None:
    generator = load_boltzmann("ala2")
    energy = SystemEnergy(system[1])
    x, log_q = generator.sample(600, 1)
    assert ess(log_weights(log_q, energy(x), generator.temperature_K)) > 0.275
    shipped = system[2][None]
    handedness = [
        np.einsum("ki,ki->k", np.cross(y[:, 6] - y[:, 8], y[:, 10] - y[:, 8]), y[:, 14] - y[:, 8])
        for y in (shipped, x)
    ]
    assert np.all(np.sign(handedness[1]) == np.sign(handedness[0]))
    sides = [generator.sample(300, 2, first_torsion_rad=r) for r in ((2.0, 2 * np.pi), (0.0, 2.0))]
    weights = [log_weights(q, energy(y), generator.temperature_K) for y, q in sides]
    delta, error = free_energy_difference(*weights)
    assert 5.0 < delta < 7.5 and error < 0.5


def test_proposer_in_openmm_and_its_refusals(system: tuple[Any, Any, Any]) -> None:
    topology, openmm_system, x = system
    positions = x * unit.angstrom
    proposer = proposer_from_dict(BoltzmannProposer("ala2").to_dict())
    assert pickle.loads(pickle.dumps(proposer)).generator.source == "ala2"
    simulation = app.Simulation(
        topology,
        openmm_system,
        LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 0.001),
    )
    simulation.context.setPositions(positions)
    simulation.minimizeEnergy(maxIterations=50)
    sampler = ProposalSampler(simulation, proposer, md_steps=10, n_proposals=50)
    sampler.run(4)
    assert sampler.statistics.acceptance > 0.2 and sampler.statistics.not_finite == 0

    from openmmtools.testsystems import AlanineDipeptideImplicit

    rigid = AlanineDipeptideImplicit()
    simulation = app.Simulation(
        rigid.topology,
        rigid.system,
        LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 0.001),
    )
    simulation.context.setPositions(rigid.positions)
    with pytest.raises(InputError, match=r"constrained distance.*constraints=None"):
        ProposalSampler(simulation, proposer, md_steps=1, n_proposals=1).run(1)
