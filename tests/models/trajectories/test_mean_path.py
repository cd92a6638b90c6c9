"""The diffusion over the integrator's mean path: training, samples, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from equidrift.errors import InputError, UnknownNameError, WeightsError
from equidrift.files.trajectories import load_trajectory
from equidrift.models.trajectories.config import TrajectoryTraining
from equidrift.models.trajectories.diffusion.mean_path import MeanPath
from equidrift.models.trajectories.diffusion.sampler import DiffusionModel
from equidrift.models.trajectories.train import plan_of, run_training
from equidrift.records import Trajectory
from equidrift.registry import make_trajectory_model

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[3]
FRAMES = 8


@pytest.fixture(scope="module")
def aspirin() -> Trajectory:
    folder = ROOT / "examples" / "data"
    return load_trajectory(folder / "aspirin.xtc", folder / "aspirin.pdb")[:FRAMES]


def config(**changes: Any) -> dict[str, Any]:
    """The example's config, its data and sizes small."""
    read = yaml.safe_load((ROOT / "examples" / "train_molecules_residual.yaml").read_text())
    folder = ROOT / "examples" / "data"
    small = {
        "data": str(folder / "aspirin.xtc"),
        "topology": str(folder / "aspirin.pdb"),
        "share": [0.0, 1.0],
        "held_out": 0,
        "spacing_fs": None,
        "stride": 1,
        "frames": FRAMES,
        "context": 4,
        "network": {"width": 8, "layers": 1, "heads": 2},
        "pairs_per_batch": 8000,
    }
    return read | small | {"schedule": {"steps": 3}} | changes


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("residual") / "run"
    return str(run_training(config(), out, None)["weights"])


def blanked(trajectory: Trajectory, given: NDArray[np.bool_]) -> Trajectory:
    x = np.where(given[:, None, None], trajectory.positions_A, np.nan)
    return trajectory.replace(positions_A=x)


def test_samples_are_the_integrators_mean_path_when_the_residual_is_none(
    weights: str, aspirin: Trajectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, seeds = np.arange(FRAMES) < 4, np.arange(2)
    model = DiffusionModel(weights)
    asked = blanked(aspirin, given)
    wide = model.complete(asked, given, seeds)
    monkeypatch.setattr(model.network, "denoised", lambda known, y, *_: torch.zeros_like(y))
    narrow = model.complete(asked, given, seeds)
    mean = make_trajectory_model("default", noise=0.0).complete(asked, given, seeds[:1])
    np.testing.assert_array_equal(wide[:, given], np.repeat(asked.positions_A[None, given], 2, 0))
    assert np.isfinite(wide).all()
    assert np.abs(wide - mean)[:, ~given].max() > 0.01
    np.testing.assert_allclose(narrow, np.repeat(mean, 2, 0), atol=1e-5)


def test_refinement_keeps_the_frames_that_the_network_was_always_given(
    weights: str, aspirin: Trajectory
) -> None:
    made = DiffusionModel(weights).refine(aspirin, np.arange(2), level=0.2)
    moved = np.abs(made - aspirin.positions_A).max((0, 2, 3))
    np.testing.assert_allclose(moved[:4], 0.0, atol=1e-5)
    assert (moved[4:] > 1e-3).all()


@pytest.mark.parametrize(
    ("changes", "near_alone"),
    [({}, False), ({"kind": "flow", "options": {}}, False), ({"options": {"steps": 5}}, True)],
)
def test_networks_learn_from_the_pairs_that_they_see_when_they_sample(
    changes: dict[str, Any], near_alone: bool
) -> None:
    """GeoTDM as published sees atoms three bonds apart or fewer; all others see all."""
    plan = plan_of(TrajectoryTraining.model_validate(config(**changes)))
    assert (plan.batch(0).graph.linked is not None) is near_alone


def test_mean_path_moves_with_the_frames_when_they_turn_shift_and_drift(
    aspirin: Trajectory,
) -> None:
    given = torch.arange(FRAMES) < 4
    x = torch.from_numpy(np.array(aspirin.positions_A))
    turn = torch.linalg.qr(torch.arange(9.0).reshape(3, 3).double().cos())[0]
    turn = turn * torch.linalg.det(turn)
    boost = 0.02 * torch.arange(FRAMES).double()[:, None, None] * torch.ones(3).double()
    prior = MeanPath()

    def path(frames: torch.Tensor) -> torch.Tensor:
        return prior(aspirin.molecule, frames[None], given, float(aspirin.dt_fs))[0]

    torch.testing.assert_close(path(x @ turn + boost), path(x) @ turn + boost, atol=1e-5, rtol=0)


def test_single_atoms_are_refused_when_the_prior_is_the_integrators_path(
    weights: str, aspirin: Trajectory
) -> None:
    mask = np.zeros((FRAMES, aspirin.molecule.n_atoms), bool)
    mask[0], mask[1:, :3] = True, True
    with pytest.raises(InputError, match="single atoms are given; give whole frames"):
        DiffusionModel(weights).complete(aspirin, mask, np.arange(1))


def test_integrator_of_other_weights_is_refused() -> None:
    with pytest.raises(WeightsError, match="train it again"):
        MeanPath("0" * 64)


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"options": {"form": "residual", "prior": "lin"}}, UnknownNameError, "prior path 'lin'"),
        ({"data": "nbody:spring", "trajectories": 4}, InputError, "set prior_weights"),
        ({"prior_weights": "nbody-spring"}, InputError, "prior_weights is for plain arrays"),
        ({"spacing_fs": 7.0}, InputError, "of which 7 fs is no multiple"),
    ],
)
def test_prior_is_refused_when_it_does_not_fit(
    changes: dict[str, Any], error: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told):
        run_training(config(**changes), tmp_path / "run", None)
