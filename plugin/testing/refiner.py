"""What every refiner promises.

A test class inherits `RefinerContract` and says how its refiner is made.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from equidrift.checks.geometry import GeometryCheck
from equidrift.protocols import EnergyRefiner, Refiner, RefinerJob, SurfaceRefiner
from equidrift.records import Molecule
from equidrift.registry import make_model
from equidrift.seeds import sample_seeds
from equidrift.testing.random_state import global_random_state_kept
from equidrift.testing.suite import Suite


@lru_cache
def jobs() -> tuple[RefinerJob, ...]:
    """Embedded conformers of two molecules, one with a stereocentre."""
    molecules = [Molecule.from_smiles(smiles) for smiles in ("C[C@H](O)CC", "OCC=O")]
    return tuple((m, make_model("etkdg").sample(m, sample_seeds(7, 0, 3))) for m in molecules)


class RefinerContract(Suite):
    """Inherit, and override `make`; `steps` keeps a test short."""

    tolerance_A = 1e-4

    @pytest.fixture(scope="class")
    def moved(self, model: Refiner) -> list[np.ndarray]:
        return model.refine_many(jobs(), steps=self.steps)

    def test_protocol_is_kept_without_anything_filled_in(self, model: Refiner) -> None:
        assert isinstance(model, Refiner)
        assert isinstance(model.name, str) and model.name
        assert model.elements is None or set(model.elements) >= {1, 6, 8}
        assert model.batch_size is None or model.batch_size >= 1

    def test_each_job_comes_back_in_its_shape(self, moved: list[np.ndarray]) -> None:
        assert [x.shape for x in moved] == [x.shape for _, x in jobs()]
        assert all(x.dtype == np.float64 and np.isfinite(x).all() for x in moved)

    def test_graph_and_stereo_are_kept(self, moved: list[np.ndarray]) -> None:
        for (molecule, _), x in zip(jobs(), moved, strict=True):
            assert set(GeometryCheck(molecule)(x).tolist()) == {""}

    def test_what_came_in_is_left_alone(self, model: Refiner) -> None:
        (molecule, x), *_ = jobs()
        given = x.copy()
        model.refine_many([(molecule, given)], steps=self.steps)
        assert np.array_equal(given, x)

    def test_a_conformer_does_not_depend_on_the_batch(
        self, model: Refiner, moved: list[np.ndarray]
    ) -> None:
        molecule, x = jobs()[0]
        (alone,) = model.refine_many([(molecule, x[1:2])], steps=self.steps)
        np.testing.assert_allclose(alone, moved[0][1:2], rtol=0, atol=self.tolerance_A)

    def test_a_turned_conformer_is_moved_alike(
        self, model: Refiner, moved: list[np.ndarray]
    ) -> None:
        molecule, x = jobs()[0]
        turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        (turned,) = model.refine_many([(molecule, x @ turn.T + 2.0)], steps=self.steps)
        i, j = np.triu_indices(molecule.n_atoms, 1)
        distances = [np.linalg.norm(y[:, i] - y[:, j], axis=-1) for y in (turned, moved[0])]
        np.testing.assert_allclose(distances[0], distances[1], rtol=0, atol=10 * self.tolerance_A)

    def test_no_job_gives_nothing(self, model: Refiner) -> None:
        assert list(model.refine_many([], steps=self.steps)) == []

    def test_global_random_state_is_left_alone(self, model: Refiner) -> None:
        with global_random_state_kept():
            model.refine_many(jobs()[1:], steps=self.steps)

    def test_an_energy_goes_down(self, model: Refiner, moved: list[np.ndarray]) -> None:
        if not isinstance(model, EnergyRefiner):
            pytest.skip("it has no energy")
        for (molecule, x), y in zip(jobs(), moved, strict=True):
            before, after = (model.energies_eV(molecule, z) for z in (x, y))
            assert before.shape == (len(x),) and (after <= before + 1e-6).all()

    def test_forces_are_slopes_of_the_energy(self, model: Refiner) -> None:
        if not isinstance(model, SurfaceRefiner):
            pytest.skip("its energy has no gradient")
        molecule, x = jobs()[1]
        surface, h = model.surface(molecule), 1e-3
        _, slopes = surface(x[:1])
        up, down = x[:1].copy(), x[:1].copy()
        up[0, 0, 0] += h
        down[0, 0, 0] -= h
        slope = (surface(up)[0][0] - surface(down)[0][0]) / (2 * h)
        assert slopes.shape == (1, molecule.n_atoms, 3)
        assert slopes[0, 0, 0] == pytest.approx(slope, abs=0.02 * max(1.0, abs(slope)))
