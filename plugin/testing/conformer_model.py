"""What every conformer model promises.

A test class inherits `ConformerModelContract` and says how its model is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equidrift.protocols import BatchedConformerModel, ConformerModel
from equidrift.records import Molecule
from equidrift.seeds import sample_seeds
from equidrift.testing.random_state import global_random_state_kept
from equidrift.testing.suite import Suite

SEEDS = sample_seeds(7, 0, 4)


class ConformerModelContract(Suite):
    """Inherit, and override `make`.

    `steps`: of the solver, to keep a test short; `tolerance_A`: see `ConformerModel`.
    """

    smiles = ("CCO", "OCC=O")
    tolerance_A = 1e-4

    @pytest.fixture(scope="class")
    def made(self, model: Any) -> tuple[Molecule, np.ndarray]:
        molecule = Molecule.from_smiles(self.smiles[0])
        return molecule, model.sample(molecule, SEEDS, steps=self.steps)

    def test_protocol(self, model: Any) -> None:
        assert isinstance(model, ConformerModel) and isinstance(model.name, str) and model.name
        assert isinstance(model, BatchedConformerModel) == hasattr(model, "sample_many")

    def test_shape_and_nan_policy(self, made: tuple[Molecule, np.ndarray]) -> None:
        molecule, positions = made
        assert (
            positions.shape == (len(SEEDS), molecule.n_atoms, 3) and positions.dtype == np.float64
        )
        finite = np.isfinite(positions).reshape(len(SEEDS), -1)
        assert (finite.all(1) | ~finite.any(1)).all(), "a sample is whole, or NaN as a whole"
        assert finite.all(1).any()

    def test_a_sample_depends_on_its_seed_alone(
        self, model: Any, made: tuple[Molecule, np.ndarray]
    ) -> None:
        molecule, positions = made
        order = np.array([2, 0])
        np.testing.assert_allclose(
            model.sample(molecule, SEEDS[order], steps=self.steps),
            positions[order],
            atol=self.tolerance_A,
        )

    def test_mixed_batches_change_nothing(
        self, model: Any, made: tuple[Molecule, np.ndarray]
    ) -> None:
        if not hasattr(model, "sample_many"):
            pytest.skip("the model takes one molecule at a time")
        molecule, positions = made
        other = Molecule.from_smiles(self.smiles[1])
        blocks = model.sample_many([(other, SEEDS[:1]), (molecule, SEEDS[1:3])], steps=self.steps)
        assert [block.shape for block in blocks] == [
            (1, other.n_atoms, 3),
            (2, molecule.n_atoms, 3),
        ]
        np.testing.assert_allclose(blocks[1], positions[1:3], atol=self.tolerance_A)

    def test_global_random_state_is_left_alone(
        self, model: Any, made: tuple[Molecule, np.ndarray]
    ) -> None:
        with global_random_state_kept():
            model.sample(made[0], SEEDS[:1], steps=self.steps)
