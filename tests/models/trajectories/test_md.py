"""`model="md"`: velocities that frames tell, plain dynamics behind the protocol, gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equidrift import forecast, mmff_system
from equidrift.errors import InputError
from equidrift.models.trajectories.md.sampler import DynamicsModel
from equidrift.models.trajectories.md.velocities import Bath, Modes, gains, observed, propagator
from equidrift.records import Molecule, Trajectory
from equidrift.registry import host_function, make_model, make_trajectory_model
from equidrift.seeds import sample_seeds
from equidrift.units import BOLTZMANN_AMU_A2_PER_FS2_K

Array = NDArray[np.float64]
BATH = Bath(300.0, 0.01)
SPACING_FS = 5.0


def oscillators(
    omega: Array, count: int, frames: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Positions and velocities (count, frames, m) of damped oscillators of unit mass in a
    heat bath, by the exact solution of the Ornstein-Uhlenbeck process.
    """
    flow = propagator(omega, SPACING_FS, BATH.friction_per_fs)
    still = np.zeros_like(flow)
    still[:, 0, 0], still[:, 1, 1] = BATH.kT / omega**2, BATH.kT
    noise = np.linalg.cholesky(still - flow @ still @ flow.transpose(0, 2, 1))
    state = np.sqrt(still.diagonal(0, 1, 2)) * rng.standard_normal((count, len(omega), 2))
    states = [state]
    for _ in range(frames - 1):
        kicks = np.einsum("mij,cmj->cmi", noise, rng.standard_normal(state.shape))
        states.append(np.einsum("mij,cmj->cmi", flow, states[-1]) + kicks)
    both = np.stack(states, 1)
    return both[..., 0], both[..., 1]


def test_velocities_of_oscillators_lie_about_the_mean_as_the_filter_says() -> None:
    """The exact posterior of a linear process: unbiased, and its spread is what it says."""
    periods_fs = np.array([11.0, 20.0, 60.0, 400.0, 900.0, 2000.0])
    omega = 2 * np.pi / periods_fs
    x, v = oscillators(omega, 600, 10, np.random.default_rng(0))
    modes = Modes(np.eye(6), omega, np.ones((2, 1)))
    flow = propagator(omega, SPACING_FS, BATH.friction_per_fs)

    def step(at: Array, speed: Array) -> tuple[Array, Array]:
        after = np.einsum("mij,mj->mi", flow, np.stack([at.ravel(), speed.ravel()], -1))
        return after[:, 0].reshape(2, 3), after[:, 1].reshape(2, 3)

    found = [observed(frames.reshape(-1, 2, 3), SPACING_FS, modes, step, BATH) for frames in x]
    spread = found[0][1]
    off = np.array([mean.ravel() for mean, _ in found]) - v[:, -1]
    score = off / np.sqrt(spread)
    assert np.abs(score.mean(0)).max() < 4 / np.sqrt(600)
    np.testing.assert_allclose(score.std(0), 1.0, atol=0.15)
    assert (spread < 0.2 * BATH.kT).all()  # and the frames do tell the velocities


def test_propagator_is_that_of_half_steps_when_they_are_taken_twice() -> None:
    omega = np.array([1e-4, 0.005, 0.02, 0.5])  # over-, critically and underdamped
    half, whole = propagator(omega, 2.0, 0.01), propagator(omega, 4.0, 0.01)
    np.testing.assert_allclose(half @ half, whole, rtol=1e-6, atol=1e-12)


def test_gain_is_that_of_a_free_particle_when_a_mode_is_slow() -> None:
    bath = Bath(300.0, 1e-9)
    gain, left = gains(np.array([1e-4]), np.array([bath.kT]), SPACING_FS, bath)
    assert gain[0] == pytest.approx(1 / SPACING_FS, rel=1e-3) and left[0] < 1e-3 * bath.kT


@pytest.fixture(scope="module")
def dynamics() -> tuple[Molecule, Array, Array]:
    """Ten and twenty frames of MMFF94 dynamics 5 fs apart, and the velocities at the tenth."""
    molecule = Molecule.from_smiles("CC(O)C=O")
    start = make_model("etkdg-mmff").sample(molecule, sample_seeds(0, 0, 1))[0]
    run = host_function("openmm", "Langevin")(
        mmff_system(molecule), start, temperature_K=300.0, friction_per_fs=0.01, step_fs=0.5, seed=3
    )
    run.run(1000)
    states = [run.run(10) for _ in range(30)]
    return molecule, np.array([s.positions_A for s in states]), states[9].velocities_A_fs


def given_part(molecule: Molecule, frames: Array) -> Trajectory:
    return Trajectory(molecule, frames[:10], SPACING_FS * np.arange(10.0))


@pytest.mark.long
def test_dynamics_go_on_nearly_as_from_the_true_velocities_when_frames_tell_them(
    dynamics: tuple[Molecule, Array, Array],
) -> None:
    molecule, frames, speed = dynamics
    made = make_trajectory_model("md").continue_(
        given_part(molecule, frames), 20, sample_seeds(0, 0, 6)
    )
    samples = np.array([sample.positions_A for sample in made])
    perfect = []
    for seed in range(6):
        run = host_function("openmm", "Langevin")(
            mmff_system(molecule),
            frames[9],
            temperature_K=300.0,
            friction_per_fs=0.01,
            step_fs=0.5,
            seed=seed,
            velocities_A_fs=speed,
        )
        perfect.append([run.run(10).positions_A for _ in range(20)])
    error, least = (
        np.linalg.norm(x - frames[10:], axis=-1).mean((0, 2)) for x in (samples, np.array(perfect))
    )
    still = np.linalg.norm(frames[9] - frames[10:], axis=-1).mean(1)
    assert error.mean() < 1.15 * least.mean() and error[0] < 1.5 * least[0]
    assert error[:4].mean() < 0.6 * still[:4].mean()
    assert samples.std(0)[-1].mean() > samples.std(0)[0].mean() > 0


def test_dynamics_keep_the_temperature_when_they_run_long() -> None:
    molecule = Molecule.from_smiles("CCO")
    start = make_model("etkdg-mmff").sample(molecule, sample_seeds(0, 0, 1))
    one = Trajectory(molecule, np.repeat(start, 2, 0), [0.0, 100.0])
    (long,) = make_trajectory_model("md", temperature_K=600.0, friction_per_fs=0.1).continue_(
        one.replace(time_fs=[0.0, 1.0]), 4000, sample_seeds(0, 0, 1)
    )
    speed = np.diff(long.positions_A[500:], axis=0)[:, molecule.numbers > 1]  # A/fs
    mass = np.where(molecule.numbers == 6, 12.011, 15.999)[molecule.numbers > 1]
    found = (mass[:, None] * speed**2).mean() / BOLTZMANN_AMU_A2_PER_FS2_K
    assert found == pytest.approx(600.0, rel=0.15)


def test_dynamics_turn_and_drift_with_the_frames_given(
    dynamics: tuple[Molecule, Array, Array],
) -> None:
    molecule, frames, _ = dynamics
    model = make_trajectory_model("md", temperature_K=1e-6, friction_per_fs=1e-9)
    turn = np.linalg.qr(np.cos(np.arange(9.0)).reshape(3, 3))[0]
    turn *= np.linalg.det(turn)
    boost = 0.1 * np.arange(30)[:, None, None] * np.ones(3)

    def ahead(x: Array) -> Array:
        seeds = sample_seeds(0, 0, 1)
        return model.continue_(given_part(molecule, x), 5, seeds)[0].positions_A

    moved = ahead(frames @ turn + boost)
    np.testing.assert_allclose(moved, ahead(frames) @ turn + boost[10:15], atol=1e-3)


@pytest.mark.long
def test_gap_is_joined_from_both_sides_when_frames_follow_it(
    dynamics: tuple[Molecule, Array, Array],
) -> None:
    molecule, frames, _ = dynamics
    given = (np.arange(30) < 10) | (np.arange(30) >= 18)
    asked = np.where(given[:, None, None], frames, np.nan)
    whole = Trajectory(molecule, asked, SPACING_FS * np.arange(30.0))
    made = make_trajectory_model("md").complete(whole, given, sample_seeds(0, 0, 3))[:, ~given]
    line = make_trajectory_model("constant-velocity").complete(whole, given, np.arange(1))[
        :, ~given
    ]
    off, straight = (np.abs(x - frames[~given]).mean() for x in (made, line))
    assert off < 0.6 * straight


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"temperature_K": 0.0}, "temperature_K must lie above 0"),
        ({"friction_per_fs": 2.0}, "friction_per_fs must lie above 0 and up to 1"),
        ({"step_fs": -1.0}, "step_fs"),
        ({"system": mmff_system("CCO", constraints="HBonds")}, "constraints=None"),
    ],
)
def test_settings_are_refused_when_no_dynamics_has_them(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        DynamicsModel(**options)


def test_masks_are_refused_when_md_cannot_fill_them(
    dynamics: tuple[Molecule, Array, Array],
) -> None:
    molecule, frames, _ = dynamics
    part, model = given_part(molecule, frames), make_trajectory_model("md")
    mask = np.ones((10, molecule.n_atoms), bool)
    mask[5, 0] = False
    with pytest.raises(InputError, match="single atoms are given"):
        model.complete(part, mask, np.arange(1))
    with pytest.raises(InputError, match="needs 1 given frame"):
        model.complete(part, np.zeros(10, bool), np.arange(1))
    with pytest.raises(InputError, match="9 particles"):
        DynamicsModel(system=mmff_system("CCO")).continue_(part, 1, np.arange(1))


def test_forecast_takes_md_by_name_and_says_what_made_it(
    dynamics: tuple[Molecule, Array, Array], recwarn: pytest.WarningsRecorder
) -> None:
    molecule, frames, _ = dynamics
    sparse = Trajectory(molecule, frames[:10:3], 200.0 * np.arange(4))  # no note: md has no limit
    (made,) = forecast(sparse, 2, model="md", temperature_K=350.0)
    assert len(made) == 2 and made.provenance["model"] == "md"
    assert made.provenance["exact"] is False
    assert not [w for w in recwarn if "last-frame" in str(w.message)]
