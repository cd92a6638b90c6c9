"""Intervals of molecules whose like was not trained on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.errors import InputError
from equidrift.models.fields.atoms.data import AtomFields, joined, padded
from equidrift.models.fields.atoms.fit import FitOptions
from equidrift.models.fields.atoms.network import AtomGram
from equidrift.models.fields.atoms.posterior import COVERAGES, SHARES
from equidrift.models.fields.atoms.sampler import AtomFieldModel
from equidrift.models.fields.atoms.unseen import (
    Judged,
    UnseenWidth,
    chosen_width,
    composition,
    distance,
    folds_of,
)
from equidrift.models.fields.train import run_training

SIZES = {"width": 8, "layers": 1, "radial": 6, "features": 3, "score_layers": 0}
PLACES_A = np.array([[0.0, 0, 0], [1.4, 0.1, 0], [-0.4, 1.0, 0.1], [1.8, 0.3, 0.8], [2, 2, 2]])
MOLECULES = ((6, 8, 1, 1), (6, 6, 1, 1, 1), (8, 8, 1, 1), (6, 1, 1, 1))


def fields(numbers: tuple[int, ...], count: int = 8, size: float = 1.0) -> AtomFields:
    """Scalars of standard deviation `size` on frames of a molecule."""
    rng = np.random.default_rng(sum(numbers))
    x = PLACES_A[: len(numbers)] + 0.05 * rng.standard_normal((count, len(numbers), 3))
    values = size * rng.standard_normal((count, len(numbers), 1))
    return padded([np.array(numbers)] * count, list(x), list(values))


def options(folds: int) -> FitOptions:
    return FitOptions("scalar", balanced=False, config=SIZES, schedule={"steps": 3}, folds=folds)


@pytest.fixture(scope="module")
def model() -> AtomFieldModel:
    """Trained on three compositions, with an element of the fourth."""
    data = joined([fields(numbers) for numbers in MOLECULES[:3]])
    held = joined([fields(numbers, 4) for numbers in MOLECULES[:3]])
    return AtomFieldModel.fit_fields(data, held, options(3))


def test_all_frames_of_a_composition_lie_in_one_fold() -> None:
    data = joined([fields(numbers) for numbers in MOLECULES])
    parts = folds_of(data, 3)
    assert torch.stack(parts).sum(0).eq(1).all()
    for part in parts:
        names = [{composition(z) for z in data.x[rows][..., 3]} for rows in (part, ~part)]
        assert names[0] and not names[0] & names[1]


@pytest.mark.parametrize("folds", [1, 5, -1])
def test_folds_that_the_data_cannot_fill_are_told(folds: int) -> None:
    data = joined([fields(numbers, 2) for numbers in MOLECULES])
    with pytest.raises(InputError, match=rf"folds={folds} .* the data hold 4"):
        folds_of(data, folds)


def test_the_distance_is_that_of_the_given_values_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(1, 6, 6, generator=generator, dtype=torch.float64)
    gram = AtomGram(root @ root.mT + torch.eye(6, dtype=torch.float64), 1.0, 3, 2)
    y = torch.randn(1, 3, 2, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True, False, True]])
    rows = [0, 1, 4, 5]
    expected = y.reshape(-1)[rows] @ torch.linalg.inv(gram.dense[0][rows][:, rows])
    found, count = distance(torch.zeros_like(y), gram, y, mask)
    assert count == 4 and found == pytest.approx(float(expected @ y.reshape(-1)[rows]))


def drawn(dof: float, spread: float, molecules: int, seed: int) -> list[Judged]:
    """Molecules of a Student-t process of unit covariance, judged in all shares."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(molecules):
        factor = spread * math.sqrt(dof / rng.chisquare(dof))
        for share, count in enumerate((6, 30, 54)):
            given = factor * rng.standard_normal(count)
            asked = np.abs(factor * rng.standard_normal(60 - count))
            out.append(Judged(share, float(given @ given), count, asked))
    return out


def test_prior_and_intervals_of_molecules_with_factors_of_their_own() -> None:
    width = chosen_width(drawn(4.0, 3.0, 300, 0), ["1x4 6x1"])
    assert 2 <= width.dof <= 8 and width.spread == pytest.approx(3.0, rel=0.2)
    assert width.compositions == ("1x4 6x1",)
    fresh = drawn(4.0, 3.0, 300, 1)
    for share in range(len(SHARES)):
        for level in (0.5, 0.9):
            half = float(np.interp(level, COVERAGES, width.quantiles[share]))
            inside = [
                (one.scores < half * width.factor(one.distance, one.count)).mean()
                for one in fresh
                if one.share == share
            ]
            assert np.mean(inside) == pytest.approx(level, abs=0.04)


def interval_of(model: AtomFieldModel, numbers: tuple[int, ...], size: float) -> np.ndarray:
    """Widths of the 90 % interval of the atoms that are not given."""
    one = fields(numbers, 1, size)
    x, y = one.x[0].numpy(), one.y[0, :, 0].numpy()
    _, low, high = model.condition(x[:, 3].astype(int), x[:, :3], y, [0, 1]).interval(0.9)
    return (high - low)[2:]


def test_far_values_widen_the_intervals_of_a_molecule_not_trained_on(
    model: AtomFieldModel,
) -> None:
    near, far = (interval_of(model, MOLECULES[3], size) for size in (1.0, 30.0))
    assert (far > 3 * near).all()
    same, again = (interval_of(model, MOLECULES[0], size) for size in (1.0, 30.0))
    np.testing.assert_allclose(same, again, rtol=1e-12)


def test_samples_are_as_wide_as_the_deviations_say(model: AtomFieldModel) -> None:
    one = fields(MOLECULES[3], 1, 30.0)
    x, y = one.x[0].numpy(), one.y[0, :, 0].numpy()
    known = model.condition(x[:, 3].astype(int), x[:, :3], y, [0, 1])
    made = known.sample(2000, seed=1)
    mean, std = known.mean_std()
    np.testing.assert_allclose(made.mean(0), mean, atol=0.1 * std.max())
    np.testing.assert_allclose(made.std(0), std, rtol=0.08, atol=1e-12)
    np.testing.assert_array_equal(made[:, :2], np.broadcast_to(y[:2], (2000, 2)))


def test_the_card_keeps_what_is_known_of_unseen_molecules(
    model: AtomFieldModel, tmp_path: Path
) -> None:
    assert isinstance(model.unseen, UnseenWidth)
    assert model.unseen.compositions == ("1x2 6x1 8x1", "1x2 8x2", "1x3 6x2")
    again = AtomFieldModel.load(model.save(tmp_path / "mine"), device="cpu")
    np.testing.assert_allclose(
        interval_of(again, MOLECULES[3], 5.0), interval_of(model, MOLECULES[3], 5.0), rtol=1e-5
    )


def test_the_shipped_forces_know_what_they_were_trained_on() -> None:
    width = AtomFieldModel.load("atom-forces").unseen
    assert width is not None and len(width.compositions) == 9
    aspirin, paracetamol = "1x8 6x9 8x4", "1x9 6x8 7x1 8x2"
    assert aspirin in width.compositions and paracetamol not in width.compositions
    assert width.factor(600.0, 6) > 5 * width.factor(6.0, 6) > 0


def test_a_config_asks_for_folds(tmp_path: Path) -> None:
    parts = [fields(numbers, 6) for numbers in (MOLECULES[0], MOLECULES[2])]
    data = joined(parts)
    arrays = {"numbers": data.x[..., 3].long().numpy(), "positions_A": data.x[..., :3].numpy()}
    np.savez(tmp_path / "two.npz", values=data.y[..., 0].numpy(), **arrays)
    config = {"kind": "atoms", "data": str(tmp_path / "two.npz"), "rank": "scalar"}
    config |= {"sizes": SIZES, "schedule": {"steps": 2}, "folds": 2}
    made = AtomFieldModel.load(run_training(config, tmp_path / "out", None)["weights"])
    assert made.unseen is not None and len(made.unseen.compositions) == 2
    with pytest.raises(InputError, match="folds=3 needs"):
        run_training(config | {"folds": 3}, tmp_path / "other", None)
