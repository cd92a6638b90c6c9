"""What every model of new molecules promises.

A test class inherits `MoleculeModelContract` and says how its model is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equidrift.errors import InputError, UnknownNameError
from equidrift.protocols import MoleculeModel
from equidrift.seeds import sample_seeds
from equidrift.testing.random_state import global_random_state_kept
from equidrift.testing.suite import Suite

SEEDS = sample_seeds(7, 0, 4)


class MoleculeModelContract(Suite):
    """Inherit, and override `make`. `steps`: of the sampler, to keep a test short."""

    @pytest.fixture(scope="class")
    def made(self, model: Any) -> list[Any]:
        return list(model.sample(SEEDS, steps=self.steps))

    def test_protocol(self, model: Any) -> None:
        assert isinstance(model, MoleculeModel) and isinstance(model.name, str) and model.name
        assert all(least < greatest for least, greatest in model.properties.values())

    def test_samples_are_molecules_without_stereo_tags(self, model: Any, made: list[Any]) -> None:
        assert len(made) == len(SEEDS) and any(raw is not None for raw in made)
        for molecule, positions in (raw for raw in made if raw is not None):
            assert 0 < molecule.n_atoms <= model.max_atoms
            assert (
                positions.shape == (molecule.n_atoms, 3)
                and positions.dtype == np.float64
                and np.isfinite(positions).all()
            )
            assert not len(molecule.tetrahedral) and not len(molecule.double_bonds)
            assert set(molecule.bond_orders.tolist()) <= {1.0, 1.5, 2.0, 3.0}

    def test_a_sample_depends_on_its_seed_alone(self, model: Any, made: list[Any]) -> None:
        order = np.array([2, 0])
        for again, k in zip(model.sample(SEEDS[order], steps=self.steps), order, strict=True):
            same_molecule(again, made[k])

    def test_seeds_differ(self, made: list[Any]) -> None:
        assert len({None if raw is None else raw[0].key() for raw in made}) > 1

    def test_progress_is_reported(self, model: Any) -> None:
        seen: list[dict[str, Any]] = []
        model.sample(SEEDS[:2], steps=self.steps, callback=seen.append)
        assert seen and seen[-1]["done"] == seen[-1]["total"] == 2

    def test_guidance_zero_ignores_targets(self, model: Any, made: list[Any]) -> None:
        if not model.properties:
            pytest.skip("the model takes no targets")
        name, (least, greatest) = next(iter(model.properties.items()))
        wanted = {name: 0.5 * (least + greatest)}
        for again, before in zip(
            model.sample(SEEDS[:2], targets=wanted, guidance=0.0, steps=self.steps),
            made[:2],
            strict=True,
        ):
            same_molecule(again, before)

    def test_global_random_state_is_left_alone(self, model: Any) -> None:
        with global_random_state_kept():
            model.sample(SEEDS[:1], steps=self.steps)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"steps": 0},
            {"guidance": -1.0},
            {"guidance": float("nan")},
            {"targets": {"gap_eV": float("nan")}},
        ],
    )
    def test_numbers_that_cannot_be(self, model: Any, wrong: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=str(next(iter(wrong)))[:6]):
            model.sample(SEEDS[:1], **{"targets": {"gap_eV": 7.0}, **wrong})

    def test_unknown_property(self, model: Any) -> None:
        with pytest.raises(UnknownNameError, match="gap_eV"):
            model.sample(SEEDS[:1], targets={"gap_ev": 7.0})


def same_molecule(one: Any, other: Any) -> None:
    """The same graph in the same places."""
    assert (one is None) == (other is None)
    if one is not None:
        assert one[0].key() == other[0].key()
        np.testing.assert_allclose(one[1], other[1], atol=1e-3)
