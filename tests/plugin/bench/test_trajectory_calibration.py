"""Calibration of samples, on an Ornstein-Uhlenbeck process whose futures are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from equidrift.bench import pedestrians
from equidrift.bench.trajectories_calibration import (
    DRAWS,
    LARGEST_NLL,
    calibration,
    covered,
    energy_score,
    negative_log_density,
)
from equidrift.models.shared.run import Request
from equidrift.models.trajectories.arrays.inputs import Arrays
from equidrift.models.trajectories.arrays.pedestrians import FRAMES, PAST, features
from equidrift.models.trajectories.train import fit_arrays
from equidrift.records import Molecule

Array = NDArray[np.float64]
LAGS = np.array([0.2, 1.0, 3.0])  # in units of the relaxation time
COUNT = 4000


def futures(width: float, seed: int = 0) -> tuple[Array, Array, Array]:
    """Samples (DRAWS, COUNT, 3), truth (COUNT, 3) of x(t + lag) given x(t), and the exact
    spread (3,). `width`: of the samples' spread over the exact one.
    """
    rng = np.random.default_rng(seed)
    start = rng.standard_normal((COUNT, 1))
    mean, std = start * np.exp(-LAGS), np.sqrt(1 - np.exp(-2 * LAGS))
    truth = mean + std * rng.standard_normal(mean.shape)
    made = mean + width * std * rng.standard_normal((DRAWS, *mean.shape))
    return made, truth, std


def test_exact_futures_are_covered_as_often_as_said() -> None:
    made, truth, _ = futures(1.0)
    found = covered(made, truth)
    assert found["coverage_50"] == pytest.approx(50, abs=1.5)
    assert found["coverage_90"] == pytest.approx(90, abs=1.0)


@pytest.mark.parametrize(("width", "sign"), [(0.5, -1), (2.0, 1)])
def test_coverage_tells_spread_that_is_too_narrow_or_too_wide(width: float, sign: int) -> None:
    made, truth, _ = futures(width)
    found = covered(made, truth)
    assert sign * (found["coverage_50"] - 50) > 15 and sign * (found["coverage_90"] - 90) > 4


def test_score_of_exact_futures_is_the_gaussians() -> None:
    """Of N(m, s) about a truth of the same law, the CRPS is s / sqrt(pi)."""
    made, truth, std = futures(1.0)
    expected = float(std.mean()) / math.sqrt(math.pi)
    assert energy_score(made[..., None], truth[..., None]) == pytest.approx(expected, rel=0.02)


def test_score_is_least_where_the_spread_is_right() -> None:
    scores = {}
    for width in (0.0, 0.5, 1.0, 2.0):
        made, truth, _ = futures(width)
        scores[width] = energy_score(made[..., None], truth[..., None])
    assert min(scores, key=lambda width: scores[width]) == 1.0
    made, truth, _ = futures(0.0)  # a point forecast: its absolute error
    assert scores[0.0] == pytest.approx(float(np.abs(made[0] - truth).mean()))


def test_score_does_not_depend_on_how_many_samples_are_drawn() -> None:
    made, truth, _ = futures(1.0)
    few = energy_score(made[:3, ..., None], truth[..., None])
    assert few == pytest.approx(energy_score(made[..., None], truth[..., None]), rel=0.03)


def test_coverage_is_refused_for_numbers_of_samples_without_these_ranks() -> None:
    made, truth, _ = futures(1.0)
    with pytest.raises(ValueError, match="19 samples, not 5"):
        covered(made[:5], truth)


def test_calibration_of_a_molecule_sees_no_rotation_and_no_cut_at_180_degrees() -> None:
    molecule = Molecule.from_smiles("CCO")
    rng = np.random.default_rng(0)
    base = rng.standard_normal((1, molecule.n_atoms, 3)) * 2.0
    truth = base + 0.1 * rng.standard_normal((200, molecule.n_atoms, 3))
    made = base + 0.1 * rng.standard_normal((DRAWS, 200, molecule.n_atoms, 3))
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn *= np.linalg.det(turn)
    found = calibration(molecule, made, truth)
    turned = calibration(molecule, made @ turn, truth @ turn)
    assert found == pytest.approx(turned)
    assert found["coverage_50_distances"] == pytest.approx(50, abs=4)
    assert found["coverage_90_torsions"] == pytest.approx(90, abs=4)
    still = calibration(molecule, np.repeat(made[:1], DRAWS, 0), truth)
    assert still["CRPS"] > found["CRPS"] and still["coverage_90_distances"] < 1


def test_log_density_is_scipys_kernel_estimate() -> None:
    rng = np.random.default_rng(5)
    made = rng.standard_normal((60, 3, 2)) @ np.array([[1.0, 0.4], [0.0, 0.3]])
    truth = 0.5 * rng.standard_normal((3, 2))
    wanted = [-gaussian_kde(made[:, k].T).logpdf(truth[k])[0] for k in range(3)]
    np.testing.assert_allclose(negative_log_density(made, truth), wanted, rtol=1e-5)


def test_log_density_of_exact_samples_is_the_entropy_and_far_ones_are_bounded() -> None:
    rng = np.random.default_rng(6)
    made, truth = rng.standard_normal((200, 400, 2)), rng.standard_normal((400, 2))
    found = negative_log_density(made, truth).mean()
    assert found == pytest.approx(1 + math.log(2 * math.pi), abs=0.2)
    assert (negative_log_density(made, truth + 1e4) == LARGEST_NLL).all()


@pytest.mark.long
def test_density_of_pedestrians_has_a_likelihood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    people = features(6)[0].shape[1]
    speed = 0.3 * rng.standard_normal((6, 1, people, 2))
    x = speed * np.arange(FRAMES)[:, None, None] + 3.0 * rng.standard_normal((6, 1, people, 2))
    x = x + 0.3 * np.cumsum(rng.standard_normal(x.shape), 1)
    config = {
        "kind": "geotdm",
        "options": {"form": "residual"},
        "network": {"width": 8, "layers": 1, "heads": 1},
        "frames": FRAMES,
        "context": PAST,
        "pairs_per_batch": 3000,
        "schedule": {"steps": 2},
    }
    weights = fit_arrays(Arrays(x, *features(6)), Request(config, tmp_path))
    monkeypatch.setattr(pedestrians, "DRAWS", 21)
    real = np.ones((6, people), bool)
    values = pedestrians.density_values(str(weights), x, real)
    assert values["ADE"] > 0.05 and values["FDE"] > 0
    assert -LARGEST_NLL < values["NLL"] <= LARGEST_NLL
