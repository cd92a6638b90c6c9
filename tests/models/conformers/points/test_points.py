"""`PointModel`: equivariance, mirror images, seeds, fit to sample to file, and what bad
input is told.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from equidrift.errors import InputError, InputTypeError, NoValidSamplesError, UnknownNameError
from equidrift.geometry import align, rmsd_pairs
from equidrift.models.conformers.points.angle_table import AngleTable
from equidrift.models.conformers.points.handedness import Handedness, volumes
from equidrift.models.conformers.points.network import PointNetwork, PointSizes
from equidrift.models.conformers.points.objective import pair_distances
from equidrift.models.conformers.points.sampler import PointModel
from equidrift.models.conformers.points.skeletons import (
    PARENTS,
    apart,
    articulated_skeletons,
    bone_error_percent,
)


def hinges(n: int, seed: int = 0) -> np.ndarray:
    """Two rigid rods on a stereocentre: the last point turns about the second bond."""
    angle = np.random.default_rng(seed).uniform(0.3, 2.0, n)
    fixed = np.array([[0.0, 0, 0], [1.5, 0, 0], [1.5, 1.5, 0], [0.2, 0.3, 1.0]])
    turning = fixed[2] + np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1)
    return np.concatenate([np.repeat(fixed[None], n, 0), turning[:, None]], 1)


@pytest.fixture(scope="module")
def model() -> PointModel:
    return PointModel.fit(
        hinges(300),
        hidden=32,
        layers=2,
        budget_s=None,
        schedule={"steps": 200, "warmup_steps": 10, "learning_rate": 3e-3},
        batch=64,
    )


def random_network(dtype: torch.dtype = torch.float64) -> PointNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = PointNetwork(PointSizes(5, 16, 2), torch.rand(10) + 1, torch.rand(10))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return network.to(dtype)


def test_predicted_distances_do_not_change_under_motions_and_mirroring() -> None:
    network, rng = random_network(), np.random.default_rng(0)
    x = rng.standard_normal((4, 5, 3))
    turned = x @ Rotation.random(rng=rng).as_matrix().T + 3.0
    sigma = torch.tensor([0.01, 0.1, 1.0, 3.0], dtype=torch.float64)
    found = [network(torch.from_numpy(y), sigma).detach() for y in (x, turned, -x)]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-10)


def test_points_with_their_labels_exchanged_are_other_points() -> None:
    network = random_network()
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 5, 3)))
    one = torch.ones(1, dtype=torch.float64)
    swapped = network(x[:, [1, 0, 2, 3, 4]], one)
    # their distance is the same, and so would be its prediction if the labels did not count
    assert (swapped[:, 0] - network(x, one)[:, 0]).abs() > 1e-5


@pytest.mark.long
def test_samples_keep_rigid_distances_and_the_hand_that_all_training_sets_have(
    model: PointModel,
) -> None:
    made = model.sample(40, seed=3, steps=60)
    distances = pair_distances(torch.from_numpy(made))[:, :3].numpy()
    true = pair_distances(torch.from_numpy(hinges(1)))[0, :3].numpy()
    assert np.abs(distances / true - 1).max() < 0.1
    four = np.array([[0, 1, 2, 3]])
    assert (np.sign(volumes(made, four)) == np.sign(volumes(hinges(1), four))).all()


@pytest.mark.long
def test_a_sample_depends_on_its_seed_and_place_alone(model: PointModel) -> None:
    # the sharpest map, for a model that was hardly trained
    drawn = partial(model.sample, steps=10, map="degree", corrector=20.0)
    many, few = drawn(6, seed=1), drawn(2, seed=1)
    np.testing.assert_allclose(few, many[:2], rtol=0, atol=1e-9)
    assert np.abs(drawn(2, seed=2) - few).max() > 1e-3
    assert np.abs(many.mean(1)).max() < 1e-9


@pytest.mark.long
def test_units_of_the_sets_are_those_of_the_samples(model: PointModel) -> None:
    large = PointModel.fit(
        10 * hinges(300),
        hidden=32,
        layers=2,
        budget_s=None,
        schedule={"steps": 200, "warmup_steps": 10, "learning_rate": 3e-3},
        batch=64,
    )
    np.testing.assert_allclose(
        large.sample(2, steps=10), 10 * model.sample(2, steps=10), rtol=1e-4, atol=1e-3
    )


def test_training_beats_the_gaussian_prior_of_each_pair(model: PointModel) -> None:
    loss = model.training["trained"]["held_out_loss"]
    assert loss["after"] < 0.95 * loss["before"]


def test_a_saved_model_is_loaded_as_it_was(model: PointModel, tmp_path: Path) -> None:
    path = model.save(tmp_path / "hinges", licence="MIT")
    again = PointModel.load(path)
    assert again.card()["licence"] == "MIT" and again.n_points == 5
    np.testing.assert_allclose(
        again.sample(2, steps=10), model.sample(2, steps=10), rtol=0, atol=1e-4
    )


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def fitted(out: Path, steps: int, **more: Any) -> PointModel:
        schedule = {"steps": steps, "hold": 0.99}
        settings: dict[str, Any] = {"hidden": 8, "layers": 1, "budget_s": None}
        return PointModel.fit(hinges(60), out=out, schedule=schedule, **settings, **more)

    whole = fitted(tmp_path / "whole", 20)
    fitted(tmp_path / "parts", 10)
    parts = fitted(tmp_path / "parts", 20, resume=True)
    for key, value in whole.network.state_dict().items():
        torch.testing.assert_close(parts.network.state_dict()[key], value, rtol=0, atol=0)


def test_flat_sets_have_no_hand_and_are_said_to_have_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flat = hinges(60)[:, :3] + 0.1 * np.random.default_rng(0).standard_normal((60, 3, 3))
    model = PointModel.fit(flat, hidden=8, layers=1, budget_s=None, schedule={"steps": 2})
    assert "mirror images cannot be told apart" in caplog.text
    assert model.sample(2, steps=4).shape == (2, 3, 3)


def test_handedness_turns_mirror_images_back_and_finds_a_wrong_centre() -> None:
    sets = hinges(100)
    rule = Handedness.of(sets)
    mirrored = sets * np.array([1.0, 1.0, -1.0])
    turned, right = rule.oriented(mirrored)
    assert rule.told == 1.0 and right.all()
    assert max(np.abs(align(a, b) - b).max() for a, b in zip(turned, sets, strict=True)) < 1e-9
    broken = sets.copy()
    broken[:, 4] = sets[:, 4] - 2 * (sets[:, 4] - sets[:, 2]) * np.array([1, 0, 0])
    assert not rule.oriented(broken)[1].all()
    kept = Handedness.from_card(rule.card())
    np.testing.assert_array_equal(kept.oriented(mirrored)[1], right)


def test_a_model_that_never_comes_out_right_says_so_and_gives_what_was_right() -> None:
    model = PointModel.fit(
        hinges(60), hidden=8, layers=1, budget_s=None, schedule={"steps": 1}, seed=1
    )
    rule = model.handedness
    impossible = Handedness(
        np.repeat(rule.quadruples[:1], 2, 0), np.zeros(2), np.array([1.0, -1.0]), 1.0
    )
    model.handedness = impossible
    with pytest.raises(NoValidSamplesError, match="2 of 2 sets have volumes") as told:
        model.sample(2, steps=4)
    assert told.value.partial.shape == (0, 5, 3)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((20, 5)), r"sets of K points, \(N, K, 3\), not \(20, 5\)"),
        (np.zeros((20, 5, 2)), r"not \(20, 5, 2\)"),
        (hinges(5), "5 sets of 5 points; at least 10"),
        (hinges(20)[:, :2], "20 sets of 2 points"),
        (np.where(np.arange(20)[:, None, None] == 7, np.nan, hinges(20)), "set 7 has a value"),
        (np.repeat(hinges(1), 20, 0), "every set has the same shape"),
        (np.zeros((20, 5, 3)), "lie in one place"),
        ("many", "must be an array of numbers"),
    ],
)
def test_sets_that_cannot_be_learnt_from_are_refused(points: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PointModel.fit(points)


def test_bad_requests_are_refused_before_anything_is_drawn(model: PointModel) -> None:
    with pytest.raises(InputError, match="n must be 1 or more"):
        model.sample(0)
    with pytest.raises(InputTypeError, match="n must be an integer"):
        model.sample(2.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="steps must be 2 or more"):
        model.sample(1, steps=1)
    with pytest.raises(UnknownNameError, match="mapp"):
        model.sample(1, mapp="degree")
    with pytest.raises(InputError, match="how long to train"):
        PointModel.fit(hinges(20), budget_s=None)


def test_skeletons_have_fixed_bones_no_overlap_and_correlated_limbs() -> None:
    poses = articulated_skeletons(300, seed=5)
    assert poses.shape == (300, 17, 3) and apart(poses).all()
    assert bone_error_percent(poses).max() < 1e-6
    np.testing.assert_array_equal(poses, articulated_skeletons(300, seed=5))
    knees = poses[:, [2, 5], 1]
    assert np.corrcoef(knees.T)[0, 1] > 0.3  # both forward when sitting


def test_the_angle_table_keeps_bones_and_gives_back_its_only_set() -> None:
    poses = articulated_skeletons(200, seed=6)
    made = AngleTable(poses, PARENTS).sample(50)
    assert bone_error_percent(made).max() < 1e-6
    one = AngleTable(poses[:1], PARENTS).sample(2)
    assert rmsd_pairs(one, poses[:1]).max() < 1e-6
    with pytest.raises(InputError, match="stands before its point"):
        AngleTable(poses, [-1, 2, *PARENTS[2:]])


def test_rmsd_is_zero_for_turned_sets_and_not_for_mirror_images() -> None:
    sets = hinges(3)
    turned = sets @ Rotation.random(rng=np.random.default_rng(0)).as_matrix().T + 1.0
    found = rmsd_pairs(sets, turned)
    assert np.abs(np.diag(found)).max() < 1e-6
    assert rmsd_pairs(sets, -sets).min() > 0.1
    oracle = align(sets[0], turned[1]) - turned[1]
    assert found[0, 1] == pytest.approx(np.sqrt(np.square(oracle).sum(1).mean()))
