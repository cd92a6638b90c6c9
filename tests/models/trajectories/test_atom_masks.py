"""Trajectories of which some atoms are known in some frames."""

from __future__ import annotations

import numpy as np
import pytest

import equidrift
from equidrift.checks.geometry import GeometryCheck
from equidrift.errors import InputError
from equidrift.models.trajectories.sampler import load_default, load_geotdm
from equidrift.seeds import sample_seeds
from tests.conftest import make_trajectory

N_FRAMES = 9


def masks(n_atoms: int, heavy: np.ndarray) -> dict[str, np.ndarray]:
    some = np.random.default_rng(0).random((N_FRAMES, n_atoms)) < 0.5
    led = np.arange(N_FRAMES)[:, None] < np.full(n_atoms, 3)
    led[-1, heavy] = True
    return {"heavy": np.broadcast_to(heavy, (N_FRAMES, n_atoms)).copy(), "random": some, "led": led}


@pytest.mark.parametrize("kind", ["heavy", "random", "led"])
def test_known_atoms_stay_exactly_and_the_rest_is_a_molecule(kind: str) -> None:
    trajectory = make_trajectory("CCO", N_FRAMES, 5.0)
    molecule = trajectory.molecule
    given = masks(molecule.n_atoms, molecule.numbers > 1)[kind]
    positions_A = np.where(given[..., None], trajectory.positions_A, np.nan)
    made = load_default().complete(
        trajectory.replace(positions_A=positions_A), given, sample_seeds(1, 0, 2)
    )
    for frames in made:
        np.testing.assert_array_equal(frames[given], trajectory.positions_A[given])
    # half of the atoms known at random, in frames of which none is whole, tears a frame
    # now and then
    if kind != "random":
        assert (GeometryCheck(molecule)(made.reshape(-1, molecule.n_atoms, 3)) == "").all()
    again = load_default().complete(
        trajectory.replace(positions_A=positions_A), given, sample_seeds(1, 1, 2)
    )
    np.testing.assert_allclose(again[0], made[1], atol=1e-4)
    if kind == "led":  # an atom on its way to where it is known does not jump there
        step = np.linalg.norm(np.diff(made, axis=1), axis=-1).max()
        assert (
            step < 3 * np.linalg.norm(np.diff(trajectory.positions_A, axis=0), axis=-1).max() + 0.3
        )


def test_the_diffusion_model_keeps_atoms_too() -> None:
    trajectory = make_trajectory("CCO", N_FRAMES, 5.0)
    given = masks(trajectory.molecule.n_atoms, trajectory.molecule.numbers > 1)["led"]
    made = load_geotdm().complete(trajectory, given, sample_seeds(1, 0, 1), steps=4)
    np.testing.assert_array_equal(made[0][given], trajectory.positions_A[given])
    assert np.isfinite(made).all()


def test_a_mask_of_whole_frames_is_a_mask_of_frames() -> None:
    trajectory = make_trajectory("CCO", N_FRAMES, 5.0)
    frames = np.arange(N_FRAMES) < 4
    by_frame = load_default().complete(trajectory, frames, sample_seeds(1, 0, 1))
    by_atom = load_default().complete(
        trajectory, np.repeat(frames[:, None], 9, 1), sample_seeds(1, 0, 1)
    )
    np.testing.assert_array_equal(by_frame, by_atom)


def test_interpolate_takes_a_mask() -> None:
    trajectory = make_trajectory("CCO", N_FRAMES, 5.0)
    given = masks(9, trajectory.molecule.numbers > 1)["led"]
    made = equidrift.interpolate(trajectory, given=given, n=2, seed=3)
    assert (
        len(made) == 2
        and len(made[0]) == N_FRAMES
        and made[0].provenance["given_atoms"] == int(given.sum())
    )
    np.testing.assert_array_equal(made[1].positions_A[given], trajectory.positions_A[given])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.ones((3, 9), bool), "n_frames, n_atoms"),
        (np.zeros((N_FRAMES, 9), bool), "no atom is given"),
        (np.ones((N_FRAMES, 9), bool), "none is missing"),
        (np.arange(N_FRAMES * 9).reshape(N_FRAMES, 9) != 40, "atom 2 of frame 1"),
    ],
)
def test_masks_that_cannot_be(given: np.ndarray, told: str) -> None:
    trajectory = make_trajectory("CCO", N_FRAMES, 5.0)
    positions_A = trajectory.positions_A.copy()
    positions_A[1, 2] = np.nan
    with pytest.raises(InputError, match=told):
        equidrift.interpolate(trajectory.replace(positions_A=positions_A), given=given)


def test_too_few_atoms_to_begin_from() -> None:
    trajectory = make_trajectory("CCO", N_FRAMES, 5.0)
    given = np.zeros((N_FRAMES, 9), bool)
    given[:, 0] = True
    with pytest.raises(InputError, match="no frame is known whole"):
        load_default().complete(trajectory, given, sample_seeds(1, 0, 1))
