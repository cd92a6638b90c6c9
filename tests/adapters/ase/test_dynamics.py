"""DiffusionDynamics: observers, trajectory and logfile as for any dynamics of ASE, with
a calculator and without.
"""

from __future__ import annotations

import io

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.constraints import FixAtoms
from ase.md.md import MolecularDynamics
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

import equidrift
from equidrift.adapters.ase.calculators import MMFF
from equidrift.adapters.ase.dynamics import DiffusionDynamics
from equidrift.errors import InputError, InputTypeError, NoValidSamplesError, UnknownNameError
from tests.conftest import make_trajectory
from tests.doubles import Walker

FS = units.fs


def warm(calculator=True):
    atoms = make_trajectory("CCO")[:1].to_ase()[0]
    atoms.calc = MMFF() if calculator else None
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(1))
    return atoms


def test_trajectory_logfile_and_observers_work_as_for_any_dynamics(tmp_path):
    atoms, seen = warm(), []
    dynamics = DiffusionDynamics(
        atoms,
        2 * FS,
        Walker(),
        trajectory=str(tmp_path / "d.traj"),
        logfile=str(tmp_path / "d.log"),
        loginterval=2,
    )
    dynamics.attach(lambda mark: seen.append((mark, dynamics.nsteps)), 3, "x")
    assert (
        isinstance(dynamics, MolecularDynamics)
        and dynamics.run(9)
        and dynamics.get_time() == pytest.approx(18 * FS)
    )
    assert seen == [("x", 0), ("x", 3), ("x", 6), ("x", 9)]
    images = ase.io.read(tmp_path / "d.traj", ":")
    assert (
        len(images) == 5 and np.isfinite([image.get_potential_energy() for image in images]).all()
    )
    lines = (tmp_path / "d.log").read_text().splitlines()
    assert (
        len(lines) == 6 and lines[0].split()[0] == "Time[ps]" and lines[-1].split()[0] == "0.0160"
    )
    assert "nan" not in "".join(lines)
    with ase.io.Trajectory(tmp_path / "d.traj") as reader:
        assert (
            reader.description["exact"] is False
            and reader.description["md-type"] == "DiffusionDynamics"
        )
        assert reader.description["model"] == "walker"
    read = equidrift.load_trajectory(tmp_path / "d.traj")
    assert read.dt_fs == pytest.approx(4.0) and len(read) == 5


def test_the_first_frames_are_plain_dynamics_and_the_rest_the_models():
    atoms, plain = warm(), warm()
    model = Walker()
    model.min_frames = 4
    dynamics = DiffusionDynamics(atoms, 2 * FS, model, frames=2)
    for k in range(1, 4):
        dynamics.run(1)
        VelocityVerlet(plain, 0.5 * FS).run(4)
        np.testing.assert_allclose(
            atoms.positions, plain.positions, atol=1e-9, err_msg=f"frame {k}"
        )
        np.testing.assert_allclose(atoms.get_momenta(), plain.get_momenta(), atol=1e-9)
    assert model.calls == []
    before = atoms.positions.copy()
    dynamics.run(1)
    assert model.calls == [(1, 4 + 20)] and np.abs(atoms.positions - before).max() < 0.03
    np.testing.assert_allclose(
        atoms.get_velocities(), (atoms.positions - before) / (2 * FS), atol=1e-9
    )


def test_without_a_calculator():
    given = make_trajectory("CCO")
    atoms = Atoms(given.molecule.numbers, given.positions_A[0] + 5.0)
    atoms.info["equidrift"] = given.to_ase()[0].info["equidrift"]
    log = io.StringIO()
    dynamics = DiffusionDynamics(atoms, 10 * FS, Walker(), history=given, logfile=log)
    np.testing.assert_array_equal(atoms.positions, given.positions_A[-1])
    dynamics.run(3)
    rows = log.getvalue().splitlines()
    assert len(rows) == 5
    assert rows[-1].split()[:3] == ["0.0300", "nan", "nan"] and float(rows[-1].split()[3]) > 0


@pytest.mark.parametrize("kind", ["trajectory", "images", "bare images"])
def test_history_in_several_forms(kind):
    given = make_trajectory("CCO")
    images = given.to_ase()
    if kind == "bare images":
        for image in images:
            del image.info["time_fs"]
    ends = []
    for history in (given, given if kind == "trajectory" else images):
        atoms = given.to_ase()[-1]
        DiffusionDynamics(atoms, 10 * FS, Walker(), history=history, seed=3).run(4)
        ends.append(atoms.positions)
    np.testing.assert_array_equal(*ends)


def test_seeds_and_blocks():
    given = make_trajectory("CCO")

    def end(seed, block, steps=6):
        atoms = given.to_ase()[-1]
        dynamics = DiffusionDynamics(
            atoms, 10 * FS, Walker(), history=given, seed=seed, block=block
        )
        for _ in range(steps):
            dynamics.run(1)
        return atoms.positions

    np.testing.assert_array_equal(end(1, 4), end(1, 4))
    assert not np.array_equal(end(1, 4), end(2, 4))
    model = Walker()
    DiffusionDynamics(given.to_ase()[-1], 10 * FS, model, history=given, block=3).run(7)
    assert model.calls == [(1, 12 + 3), (1, 15 + 3), (1, 18 + 3)]


def test_atoms_moved_by_the_user_begin_anew():
    atoms = warm()
    dynamics = DiffusionDynamics(atoms, 2 * FS, Walker(), frames=2)
    dynamics.run(4)
    atoms.positions += 7.0
    dynamics.run(1)
    assert abs(atoms.positions.mean() - 7.0) < 1.0, (
        "the step goes on from where the user put the atoms"
    )
    lone = make_trajectory("CCO").to_ase()[-1]
    dynamics = DiffusionDynamics(lone, 10 * FS, Walker(), history=make_trajectory("CCO"))
    dynamics.run(1)
    lone.positions += 1.0
    with pytest.raises(
        InputError,
        match=r"2 frames are needed before .* there are 1, and the atoms have no calculator",
    ):
        dynamics.run(1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"atoms": "CCO"}, InputTypeError, "must be an ase.Atoms, not str"),
        ({"model": "last-fram"}, UnknownNameError, "Did you mean 'last-frame'"),
        ({"block": 0}, InputError, "block must be 1 or more"),
        ({"seed": -1}, InputError, "seed must lie in"),
        (
            {"history": make_trajectory("CCN")},
            InputError,
            "history is of .*; give frames of these atoms",
        ),
        (
            {"timestep": 5 * FS},
            InputError,
            "frames of history are 10 fs apart, and the time step is 5 fs",
        ),
    ],
)
def test_bad_arguments(change, error, message):
    given = make_trajectory("CCO")
    arguments = {
        "atoms": given.to_ase()[-1],
        "timestep": 10 * FS,
        "model": Walker(),
        "history": given,
        **change,
    }
    with pytest.raises(error, match=message):
        DiffusionDynamics(arguments.pop("atoms"), arguments.pop("timestep"), **arguments)


def test_constraints_are_refused():
    atoms = warm()
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(InputError, match="constraints, which a model does not keep"):
        DiffusionDynamics(atoms, FS, Walker())


def test_time_steps_the_model_was_not_trained_on():
    model = Walker()
    with pytest.raises(
        InputError, match=r"0.5 fs apart, and the model 'walker' was trained on 1 to 1000 fs"
    ):
        DiffusionDynamics(warm(), 0.5 * FS, model, frames=2).run(3)


def test_broken_draws_do_not_reach_the_atoms():
    atoms = warm()
    with pytest.raises(NoValidSamplesError):
        DiffusionDynamics(
            atoms, 2 * FS, Walker(share=1.0), frames=2, options={"max_attempts": 2}
        ).run(5)
    assert np.linalg.norm(atoms.positions[0] - atoms.positions[1]) < 2.0
