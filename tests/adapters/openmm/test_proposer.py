"""TrajectoryProposer: frames by a reporter, proposals judged, the Context left alone or
moved.
"""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app, unit

import equidrift
from equidrift.adapters.openmm.proposer import ENERGY, OVERLAP, TrajectoryProposer
from equidrift.adapters.openmm.simulation import prepare
from equidrift.errors import (
    InputError,
    InputTypeError,
    MoleculeError,
    NoValidSamplesError,
    UnknownNameError,
)
from equidrift.registry import make_trajectory_model
from tests.doubles import Walker


def simulation(smiles="CCO", step_fs=0.5, integrator=None):
    ensemble = equidrift.sample(smiles, 1, model="etkdg-mmff", seed=1)
    topology, positions = ensemble.to_openmm()
    integrator = integrator or openmm.LangevinMiddleIntegrator(300, 1, step_fs / 1000)
    if hasattr(integrator, "setRandomNumberSeed"):
        integrator.setRandomNumberSeed(1)
    made = app.Simulation(
        topology,
        equidrift.mmff_system(ensemble.molecule),
        integrator,
        openmm.Platform.getPlatform("Reference"),
    )
    prepare(made, positions[0], temperature_K=300, seed=1)
    return made


def of(context):
    state = context.getState(positions=True, velocities=True, energy=True)
    return (
        np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)),
        np.array(state.getVelocities(asNumpy=True).value_in_unit(unit.angstrom / unit.femtosecond)),
        state.getTime().value_in_unit(unit.femtosecond),
        state.getStepCount(),
    )


def test_frames_are_collected_by_a_reporter_beside_others(tmp_path):
    sim = simulation()
    proposer = TrajectoryProposer(sim, Walker(), interval_fs=2, frames=2)
    sim.reporters.append(app.XTCReporter(str(tmp_path / "x.xtc"), 4, enforcePeriodicBox=False))
    sim.step(20)
    history = proposer.history()
    assert proposer.every == 4 and len(history) == 5 and history.dt_fs == pytest.approx(2)
    np.testing.assert_allclose(history.time_fs, [2, 4, 6, 8, 10], atol=1e-9)
    np.testing.assert_array_equal(history.positions_A[-1], of(sim.context)[0])
    assert history.molecule.symbols[:3] == ["C", "C", "O"] and len(history.molecule.bonds) == 8


def test_proposing_leaves_the_context_alone():
    sim = simulation()
    proposer = TrajectoryProposer(sim, Walker(), interval_fs=2, frames=2)
    proposer.collect()
    before = of(sim.context)
    proposals = proposer.propose(5, 3)
    for old, new in zip(before, of(sim.context), strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(proposals) == 3 and len({p.energy_eV for p in proposals}) == 3
    for proposal in proposals:
        assert (
            proposal.exact is False
            and proposal.trajectory.provenance["exact"] is False
            and len(proposal.trajectory) == 5
        )
        assert proposal.state.getTime().value_in_unit(unit.femtosecond) == pytest.approx(
            before[2] + 10
        )
        assert proposal.state.getStepCount() == before[3] + 20
        positions = proposal.state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        np.testing.assert_allclose(positions, proposal.trajectory.positions_A[-1], atol=1e-6)


def test_applying_moves_the_context_and_dynamics_goes_on():
    sim = simulation()
    proposer = TrajectoryProposer(sim, Walker(), interval_fs=2, frames=2)
    proposer.collect()
    (proposal,) = proposer.propose(5)
    proposer.apply(proposal)
    positions, _, time_fs, steps = of(sim.context)
    np.testing.assert_allclose(positions, proposal.trajectory.positions_A[-1], atol=1e-6)
    assert (
        time_fs == pytest.approx(proposal.trajectory.time_fs[-1])
        and sim.currentStep == steps == 8 + 20
    )
    kinetic = sim.context.getState(energy=True).getKineticEnergy() / unit.kilojoule_per_mole
    assert 0.3 < kinetic / (1.5 * 9 * 0.0083145 * 300) < 2.0, "velocities are drawn at 300 K"
    with pytest.raises(
        InputError,
        match=r"2 frames 2 fs apart are needed before .* and 0 were collected; run simulation.step",
    ):
        proposer.propose(5)
    proposer.collect()
    assert sim.currentStep == 36 and len(proposer.propose(2)) == 1


def test_velocities_of_the_proposal_go_on_without_new_frames():
    """Constant velocity, proposed: the velocities are those of the last given step, and
    the history goes on.
    """
    sim = simulation(step_fs=0.25)
    proposer = TrajectoryProposer(
        sim, "constant-velocity", interval_fs=0.25, frames=2, velocities="proposal", max_rise_eV=100
    )
    history = proposer.collect()
    (proposal,) = proposer.propose(3)
    proposer.apply(proposal)
    expected = (history.positions_A[-1] - history.positions_A[-2]) / 0.25
    np.testing.assert_allclose(of(sim.context)[1], expected, atol=1e-6)
    again = proposer.history()
    np.testing.assert_allclose(again.positions_A[-3:], proposal.trajectory.positions_A, atol=1e-9)
    assert len(again) == len(history) + 3
    sim.step(1)
    assert len(proposer.history()) == len(again) + 1


def test_stepping_collects_proposes_and_chooses():
    sim = simulation()
    proposer = TrajectoryProposer(sim, Walker(), interval_fs=2, frames=2, seed=3)
    lowest = proposer.step(4, 5, choose="lowest")
    twin = TrajectoryProposer(other := simulation(), Walker(), interval_fs=2, frames=2, seed=3)
    twin.collect()
    assert lowest.energy_eV == min(proposal.energy_eV for proposal in twin.propose(4, 5))
    assert other.currentStep == 8 and sim.currentStep == 24
    first = TrajectoryProposer(simulation(), Walker(), interval_fs=2, frames=2, seed=4).step(4)
    assert first.energy_eV != lowest.energy_eV
    with pytest.raises(UnknownNameError, match="Did you mean 'lowest'"):
        proposer.step(4, choose="lowst")


def test_bad_proposals_are_refused_and_counted():
    """Frames that rise too far, and atoms on top of each other, whatever the model
    thinks of them.
    """

    class Crusher(Walker):
        def complete(self, trajectory, given, seeds, **_):
            made = super().complete(trajectory, given, seeds)
            made[::2, -1, 3] = made[::2, -1, 4] + 0.01
            return made

    sim = simulation()
    proposer = TrajectoryProposer(
        sim, Crusher(), interval_fs=2, frames=2, broken="report", max_attempts=3
    )
    proposer.collect()
    before = of(sim.context)
    with pytest.raises(
        NoValidSamplesError, match=r"[123] of 4 proposals passed the checks in 3 rounds"
    ) as told:
        proposer.propose(2, 4)
    assert (
        told.value.reasons[OVERLAP] >= 3
        and proposer.rejected[OVERLAP] == told.value.reasons[OVERLAP]
    )
    np.testing.assert_array_equal(before[0], of(sim.context)[0])
    picky = TrajectoryProposer(
        simulation(), Walker(), interval_fs=2, frames=2, max_rise_eV=-1.0, max_attempts=2
    )
    picky.collect()
    with pytest.raises(NoValidSamplesError, match="raise max_rise_eV") as told:
        picky.propose(2, 4)
    assert told.value.reasons == {ENERGY: 8}


def test_a_model_that_always_breaks_leaves_the_context_and_is_counted():
    sim = simulation()
    proposer = TrajectoryProposer(sim, Walker(share=1.0), interval_fs=2, frames=2, max_attempts=3)
    proposer.collect()
    before = of(sim.context)
    with pytest.raises(NoValidSamplesError, match="has broken frames"):
        proposer.step(4)
    assert proposer.rejected == {"bond length": 3}
    for old, new in zip(before, of(sim.context), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_same_seed_gives_the_same_jump():
    made = []
    for _ in range(2):
        sim = simulation()
        TrajectoryProposer(sim, Walker(), interval_fs=2, frames=2, seed=11).step(3)
        sim.step(3)
        made.append(of(sim.context)[0])
    np.testing.assert_array_equal(*made)


def test_a_gap_begins_a_new_history():
    sim = simulation()
    proposer = TrajectoryProposer(sim, Walker(), interval_fs=2, frames=2)
    sim.step(12)
    sim.currentStep = 100  # as after loading a checkpoint
    sim.step(4)
    with pytest.raises(InputError, match=r"1 were collected; run simulation.step\(4\)"):
        proposer.history()
    sim.step(5)
    with pytest.raises(InputError, match="the Simulation is 1 step beyond the last frame"):
        proposer.history()
    proposer.collect()
    assert len(proposer.history()) == 3


def test_spacing_follows_the_model():
    model = Walker()
    assert TrajectoryProposer(simulation(), model).interval_fs == pytest.approx(10)
    assert TrajectoryProposer(simulation(), model).needed == 10
    model.dt_range_fs = (20.0, 40.0)
    assert TrajectoryProposer(simulation(), model).interval_fs == pytest.approx(20)
    model.dt_range_fs = (0.1, 5.2)
    assert TrajectoryProposer(simulation(), model).interval_fs == pytest.approx(5)
    proposer = TrajectoryProposer(simulation(), model, interval_fs=20)
    proposer.collect()
    with pytest.raises(
        InputError, match=r"20 fs apart, and the model 'walker' was trained on 0.1 to 5.2 fs"
    ):
        proposer.propose(2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"simulation": "sim"}, InputTypeError, "must be an openmm.app.Simulation, not str"),
        (
            {"interval_fs": 0.7},
            InputError,
            "interval_fs=0.7 must be a whole number of integration steps of 0.5 fs; give for "
            "example 5",
        ),
        ({"interval_fs": -1}, InputError, "whole number of integration steps"),
        ({"velocities": "keep"}, UnknownNameError, "unknown way with velocities 'keep'"),
        ({"model": "last-fram"}, UnknownNameError, "Did you mean 'last-frame'"),
        (
            {"molecule": equidrift.Molecule.from_smiles("CCN")},
            InputError,
            "the System has 9 particles, but .* has 10 atoms",
        ),
        ({"seed": "a"}, InputTypeError, "seed must be an integer"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"simulation": simulation(), "model": Walker(), **change}
    with pytest.raises(error, match=message):
        TrajectoryProposer(arguments.pop("simulation"), **arguments)


def test_no_temperature():
    with pytest.raises(
        InputError, match="a VerletIntegrator has no temperature; give temperature_K"
    ):
        TrajectoryProposer(simulation(integrator=openmm.VerletIntegrator(0.0005)), Walker())
    assert (
        TrajectoryProposer(
            simulation(integrator=openmm.VerletIntegrator(0.0005)), Walker(), temperature_K=250
        ).temperature_K
        == 250
    )


def test_virtual_sites_are_refused():
    sim = simulation()
    sim.system.setVirtualSite(8, openmm.TwoParticleAverageSite(0, 1, 0.5, 0.5))
    with pytest.raises(InputError, match="virtual sites"):
        TrajectoryProposer(sim, Walker())


def test_elements_the_model_does_not_know():
    model = make_trajectory_model("last-frame")
    model.elements = (1, 6)
    proposer = TrajectoryProposer(simulation(), model, interval_fs=2, frames=2)
    proposer.collect()
    with pytest.raises(MoleculeError, match="unsupported element O"):
        proposer.propose(1)


def test_constraints_are_kept():
    """A System with constrained bonds: what is handed back obeys them."""
    ensemble = equidrift.sample("CCO", 1, model="etkdg-mmff", seed=1)
    topology, positions = ensemble.to_openmm()
    system = equidrift.mmff_system(ensemble.molecule, constraints="HBonds")
    sim = app.Simulation(
        topology,
        system,
        openmm.LangevinMiddleIntegrator(300, 1, 0.001),
        openmm.Platform.getPlatform("Reference"),
    )
    prepare(sim, positions[0], temperature_K=300, seed=1)
    TrajectoryProposer(sim, Walker(), interval_fs=2, frames=2).step(3)
    i, j, length = system.getConstraintParameters(0)
    x = of(sim.context)[0]
    assert np.linalg.norm(x[i] - x[j]) == pytest.approx(
        length.value_in_unit(unit.angstrom), abs=1e-4
    )
