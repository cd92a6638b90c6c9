"""The shipped trajectory model on molecules: the contract, symmetry, seeds, masks of
every kind, options, refinement.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import Tensor

from equidrift.errors import InputError, UnknownNameError, WeightsError
from equidrift.models.trajectories.diffusion.frames import KnownFrames
from equidrift.models.trajectories.model import link_seed
from equidrift.models.trajectories.sampler import load_geotdm
from equidrift.records import Trajectory
from equidrift.registry import make_trajectory_model
from equidrift.seeds import sample_seeds
from equidrift.testing.trajectory_model import TrajectoryModelContract
from tests.conftest import make_trajectory


class TestDefault(TrajectoryModelContract):
    n_frames = 12

    def make(self) -> Any:
        return make_trajectory_model("default")


@pytest.fixture(scope="module")
def mean_path() -> Any:
    return make_trajectory_model("default", noise=0.0)


def ends(model: Any, trajectory: Trajectory, frames: int = 3) -> np.ndarray:
    return model.continue_(trajectory, frames, sample_seeds(0, 0, 1))[0].positions_A


@pytest.mark.long
def test_symmetries_and_boost(mean_path: Any) -> None:
    """Rotation, reflection, translation, time shift, permutation of like atoms and
    boost, to 1e-5 of what moves.
    """
    t = make_trajectory("CCO", 8, 5.0)
    made = ends(mean_path, t)
    size = np.abs(made - t.positions_A[-1]).max()
    assert size > 1e-3
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    shift, velocity = np.array([5.0, -3.0, 8.0]), np.array([0.01, -0.02, 0.005])
    later = 5.0 * np.arange(8, 11)[:, None, None] * velocity
    cases = {
        "rotation": (t.positions_A @ q, t.time_fs, made @ q),
        "translation": (t.positions_A + shift, t.time_fs, made + shift),
        "time shift": (t.positions_A, t.time_fs + 1000.0, made),
        "boost": (
            t.positions_A + 5.0 * np.arange(8)[:, None, None] * velocity,
            t.time_fs,
            made + later,
        ),
    }
    for name, (x, time, wanted) in cases.items():
        assert (
            np.abs(ends(mean_path, t.replace(positions_A=x, time_fs=time)) - wanted).max() / size
            < 1e-5
        ), name
    order = np.arange(9)
    order[[3, 4]] = order[[4, 3]]  # two hydrogens of the methyl group: the same graph
    swapped = ends(mean_path, t.replace(positions_A=t.positions_A[:, order]))
    assert np.abs(swapped - made[:, order]).max() / size < 1e-5


def test_seeds_make_samples_and_noise_makes_them_differ(mean_path: Any) -> None:
    t = make_trajectory("CCO", 8, 5.0)
    same = mean_path.continue_(t, 3, sample_seeds(0, 0, 2))
    np.testing.assert_allclose(same[0].positions_A, same[1].positions_A, atol=1e-5)
    other = make_trajectory_model("default").continue_(t, 3, sample_seeds(0, 0, 2))
    assert np.abs(other[0].positions_A - other[1].positions_A).max() > 1e-4
    assert other[0].provenance["exact"] is False and other[0].provenance["weights_sha256"]
    assert link_seed(5, 0) == 5 and len({link_seed(5, k) for k in range(4)}) == 4


def test_one_given_side_frame_and_backwards() -> None:
    model = make_trajectory_model("default")
    t = make_trajectory("CCO", 10, 5.0)
    for given in (
        [0, 0, 0, 0, 0, 0, 1, 1, 1, 1],
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        [1, 0, 1, 0, 1, 0, 1, 0, 1, 0],
    ):
        mask = np.array(given, bool)
        made = model.complete(t, mask, sample_seeds(0, 0, 1))
        assert np.isfinite(made).all()
        np.testing.assert_array_equal(made[0][mask], t.positions_A[mask])


def test_interpolation_keeps_bonds() -> None:
    """The two runs that meet in a gap are different samples; their mean must not
    shorten bonds.
    """
    model = make_trajectory_model("default")
    t = make_trajectory("CCO", 14, 5.0)
    mask = np.r_[np.ones(4, bool), np.zeros(6, bool), np.ones(4, bool)]
    made = model.complete(t, mask, sample_seeds(0, 0, 2))
    i, j = t.molecule.bonds.T

    def lengths(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x[..., i, :] - x[..., j, :], axis=-1)

    assert (lengths(made) / lengths(t.positions_A).mean(0)).min() > 0.7 and (
        lengths(made) / lengths(t.positions_A).mean(0)
    ).max() < 1.4


def test_refinement_stays_near() -> None:
    model = make_trajectory_model("default")
    t = make_trajectory("CCO", 4, 5.0)
    made = model.refine(t, sample_seeds(0, 0, 2), level=0.2)
    assert made.shape == (2, 4, 9, 3) and 0 < np.abs(made - t.positions_A).max() < 0.6
    for level in (0.0, 1.5):
        with pytest.raises(InputError, match="level"):
            model.refine(t, sample_seeds(0, 0, 1), level=level)


def test_diffusion_refines_with_masks_that_it_was_trained_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network of given frames never runs without them, and each frame is refined."""
    model = load_geotdm()
    t, seen = make_trajectory("CCO", 6, 5.0), []
    noise_of = model.network.noise_of

    def watched(known: KnownFrames, y: Tensor, tau: Tensor) -> Tensor:
        seen.append(known.given.tolist())
        return noise_of(known, y, tau)

    monkeypatch.setattr(model.network, "noise_of", watched)
    made = model.refine(t, sample_seeds(0, 0, 1), level=0.05)[0]
    assert seen and all(any(given) and not all(given) for given in seen)
    moved = np.abs(made - t.positions_A).max((1, 2))
    assert (moved > 1e-5).all() and moved.max() < 1.0


def test_options_say_what_is_wrong() -> None:
    for options, message in (({"noise": 2.0}, "noise"), ({"temperature_K": -1.0}, "temperature_K")):
        with pytest.raises(InputError, match=message):
            make_trajectory_model("default", **options)
    with pytest.raises(UnknownNameError, match="level of theory of this model"):
        make_trajectory_model("default", level="GFN-xTB")
    from equidrift.models.trajectories.diffusion.sampler import DiffusionModel

    with pytest.raises(WeightsError, match="kind flow or geotdm"):
        DiffusionModel("trajectory")
    t = make_trajectory("CCO", 4, 5.0)
    with pytest.raises(InputError, match="needs 2 given frames"):
        make_trajectory_model("default").complete(t, np.arange(4) < 1, sample_seeds(0, 0, 1))
    with pytest.raises(InputError, match="NaN"):
        make_trajectory_model("default").complete(
            t.replace(positions_A=np.full((4, 9, 3), np.nan)),
            np.arange(4) < 2,
            sample_seeds(0, 0, 1),
        )
