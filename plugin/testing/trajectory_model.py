"""What every trajectory model promises.

A test class inherits `TrajectoryModelContract` and says how its model is made.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from equidrift.protocols import TrajectoryModel
from equidrift.records import Molecule, Trajectory
from equidrift.registry import make_model
from equidrift.seeds import sample_seeds
from equidrift.testing.random_state import global_random_state_kept
from equidrift.testing.suite import Suite

SEEDS = sample_seeds(7, 0, 3)


@lru_cache
def breathing(smiles: str, n_frames: int, dt_fs: float) -> Trajectory:
    """A molecule that drifts and breathes a little: small harmonic motion about an
    ETKDG geometry.
    """
    molecule = Molecule.from_smiles(smiles)
    rest = make_model("etkdg").sample(molecule, sample_seeds(0, 0, 1))[0]
    rng = np.random.default_rng(1)
    amplitude, drift = 0.03 * rng.standard_normal(rest.shape), np.array([0.01, 0.0, -0.02])
    k = np.arange(n_frames)[:, None, None]
    positions_A = rest + amplitude * np.sin(0.4 * k) + drift * k
    return Trajectory(
        molecule,
        positions_A,
        dt_fs * np.arange(n_frames, dtype=np.float64),
        provenance={"model": "given"},
    )


class TrajectoryModelContract(Suite):
    """Inherit, and override `make`. `steps`: of the solver, to keep a test short."""

    smiles = "CCO"
    n_frames = 16

    @pytest.fixture(scope="class")
    def trajectory(self, model: Any) -> Trajectory:
        low, high = model.dt_range_fs
        return breathing(self.smiles, self.n_frames, float(np.clip(10.0, low, high)))

    def test_protocol(self, model: Any) -> None:
        assert isinstance(model, TrajectoryModel) and isinstance(model.name, str) and model.name
        assert isinstance(model.min_frames, int) and model.min_frames >= 0
        low, high = model.dt_range_fs
        assert 0 <= low < high

    @pytest.mark.parametrize("mask", ["forecast", "interpolation", "random"])
    def test_given_frames_stay_exactly(self, model: Any, trajectory: Trajectory, mask: str) -> None:
        n = len(trajectory)
        given = {
            "forecast": np.arange(n) < max(model.min_frames, n // 2),
            "interpolation": (np.arange(n) < n // 3) | (np.arange(n) >= n - n // 3),
            "random": np.random.default_rng(3).permutation(n) < max(model.min_frames, n // 2),
        }[mask]
        positions_A = np.where(given[:, None, None], trajectory.positions_A, np.nan)
        made = model.complete(
            trajectory.replace(positions_A=positions_A), given, SEEDS, steps=self.steps
        )
        assert (
            made.shape == (len(SEEDS), *trajectory.positions_A.shape) and made.dtype == np.float64
        )
        assert np.isfinite(made).all()
        for frames in made:
            np.testing.assert_array_equal(frames[given], trajectory.positions_A[given])

    def test_continuation_is_the_new_frames_alone(self, model: Any, trajectory: Trajectory) -> None:
        made = model.continue_(trajectory, 5, SEEDS, steps=self.steps)
        assert len(made) == len(SEEDS)
        for sample in made:
            assert len(sample) == 5 and sample.molecule == trajectory.molecule
            np.testing.assert_allclose(
                sample.time_fs, trajectory.time_fs[-1] + trajectory.dt_fs * np.arange(1, 6)
            )

    def test_a_sample_depends_on_its_seed_alone(self, model: Any, trajectory: Trajectory) -> None:
        made = model.continue_(trajectory, 3, SEEDS, steps=self.steps)
        again = model.continue_(trajectory, 3, SEEDS[[2, 0]], steps=self.steps)
        for k, sample in zip((2, 0), again, strict=True):
            np.testing.assert_allclose(sample.positions_A, made[k].positions_A, atol=1e-4)

    def test_global_random_state_is_left_alone(self, model: Any, trajectory: Trajectory) -> None:
        with global_random_state_kept():
            model.continue_(trajectory, 2, SEEDS[:1], steps=self.steps)
