"""The score as a force in ASE, OpenMM and openmmml: what it is, that it pickles and
serializes, and that a walk jumps to conformers.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import openmm
import pytest
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.langevin import Langevin
from openmm import app, unit
from openmmtools import states

from equidrift.adapters.ase.atoms import to_atoms
from equidrift.adapters.ase.calculators import ScoreCalculator
from equidrift.adapters.openmm.score import score_force
from equidrift.adapters.openmm.topology import to_topology
from equidrift.errors import InputError, MoleculeError
from equidrift.records import Ensemble, Molecule
from equidrift.score import DenoiserScore
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV
from tests.sampling import BUTANE, start_A

NOISY = start_A() + 0.2 * np.random.default_rng(0).standard_normal(start_A().shape)


def bond_error(positions_A: np.ndarray) -> float:
    """Mean deviation of bond lengths from those of the minimum, in A."""
    i, j = BUTANE.bonds.T
    lengths = [np.linalg.norm(x[i] - x[j], axis=1) for x in (positions_A, start_A())]
    return float(np.abs(lengths[0] - lengths[1]).mean())


@pytest.fixture(scope="module")
def score() -> DenoiserScore:
    return DenoiserScore(BUTANE, sigma_A=0.3)


def test_jump_denoises_and_the_force_is_tweedies(score):
    clean = score.jump(NOISY)
    assert bond_error(clean) < 0.3 * bond_error(NOISY)
    expected = BOLTZMANN_EV_PER_K * 300 / 0.3**2 * (clean - NOISY)
    assert score.forces_eV_A(NOISY) == pytest.approx(expected, abs=1e-6)
    assert score.forces_eV_A(NOISY).sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-6)
    moved = score.jump(np.stack([NOISY, NOISY + 5.0]))
    assert moved.shape == (2, *NOISY.shape) and moved[1] == pytest.approx(clean + 5.0, abs=1e-3)


def test_plain_data_carries_no_weights(score):
    score.jump(NOISY)
    stored = pickle.dumps(score)
    assert len(stored) < 10_000
    again = pickle.loads(stored)
    assert again.to_dict() == score.to_dict() and again.jump(NOISY) == pytest.approx(
        score.jump(NOISY), abs=1e-5
    )


def test_it_says_what_it_is(score):
    assert (
        score.exact is False
        and "not Boltzmann" in score.notice
        and "not Boltzmann" in score_force(BUTANE).getName()
    )
    assert ScoreCalculator.exact is False and "not a force field" in ScoreCalculator.notice


def test_score_refuses_arguments_and_molecules_by_name():
    with pytest.raises(InputError, match=r"sigma_A must lie in 0\.02"):
        DenoiserScore(BUTANE, sigma_A=20)
    with pytest.raises(InputError, match="temperature_K must be positive"):
        DenoiserScore(BUTANE, temperature_K=0)
    with pytest.raises(MoleculeError, match="unsupported element"):
        DenoiserScore(Molecule.from_smiles("C[Se]C"))
    with pytest.raises(InputError, match="'etkdg' has no denoiser"):
        DenoiserScore(BUTANE, model="etkdg").jump(NOISY)
    with pytest.raises(InputError, match=r"expected \(\.\.\., 14, 3\)"):
        DenoiserScore(BUTANE).jump(np.zeros((3, 3)))


def test_walk_and_jump_in_ase():
    (atoms,) = to_atoms(Ensemble(BUTANE, NOISY[None]))
    atoms.calc = ScoreCalculator(sigma_A=0.3, temperature_K=300)
    with pytest.raises(PropertyNotImplementedError, match="energy"):
        atoms.get_potential_energy()
    Langevin(
        atoms,
        2 * units.fs,
        temperature_K=300,
        friction=0.1 / units.fs,
        fixcm=False,
        rng=np.random.default_rng(1),
    ).run(5)
    assert np.isfinite(atoms.positions).all() and not np.allclose(atoms.positions, NOISY)
    conformer = atoms.calc.jump(atoms)
    assert bond_error(conformer.positions) < 0.3 * bond_error(atoms.positions)
    assert "not Boltzmann" in conformer.info["walk_jump"]["notice"] and conformer.calc is None
    before = atoms.get_forces()
    assert atoms.calc.set(sigma_A=0.6) == {"sigma_A": 0.6} and not np.allclose(
        before, atoms.get_forces()
    )


def system_of(molecule: Molecule) -> openmm.System:
    system = openmm.System()
    for atom in to_topology(molecule).atoms():
        system.addParticle(atom.element.mass)
    return system


def test_python_force_serializes_copies_and_enters_a_thermodynamic_state(score):
    system = system_of(BUTANE)
    system.addForce(score_force(BUTANE, sigma_A=0.3))
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    for one in (
        system,
        again,
        copy.deepcopy(system),
        states.ThermodynamicState(system, 300 * unit.kelvin).system,
    ):
        context = openmm.Context(
            one, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
        )
        context.setPositions(NOISY * 0.1)
        state = context.getState(forces=True, energy=True)
        forces = state.getForces(asNumpy=True)._value / KJ_MOL_PER_EV / 10
        assert (
            forces == pytest.approx(score.forces_eV_A(NOISY), abs=1e-5)
            and state.getPotentialEnergy()._value == 0
        )


def test_walk_in_openmm(score):
    system = system_of(BUTANE)
    system.addForce(score_force(BUTANE, sigma_A=0.3))
    integrator = openmm.LangevinMiddleIntegrator(300, 50, 0.002)
    simulation = app.Simulation(
        to_topology(BUTANE), system, integrator, openmm.Platform.getPlatform("Reference")
    )
    simulation.context.setPositions(NOISY * 0.1)
    simulation.step(5)
    walked = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value * 10
    assert np.isfinite(walked).all() and bond_error(score.jump(walked)) < 0.5 * bond_error(walked)


def test_openmmml_potential(score):
    openmmml = pytest.importorskip("openmmml", reason="openmmml is optional")
    from equidrift.adapters.openmmml.score import ScorePotentialImplFactory

    openmmml.MLPotential.registerImplFactory("equidrift-score", ScorePotentialImplFactory())
    topology = to_topology(BUTANE)
    system = openmmml.MLPotential("equidrift-score", sigma_A=0.3).createSystem(topology)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(NOISY * 0.1)
    forces = context.getState(forces=True).getForces(asNumpy=True)._value / KJ_MOL_PER_EV / 10
    assert forces == pytest.approx(score.forces_eV_A(NOISY), abs=1e-5)
    with pytest.raises(InputError, match="whole molecule"):
        ScorePotentialImplFactory().createImpl("x").addForces(topology, system, [0, 1], 0)
