"""The pull of a pocket on the joint model's draws: nothing at 0, towards better scores by
more than its error, at places and at types.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equidrift.models.molecules.joint.alphabet import QM9_TOKENS
from equidrift.models.molecules.joint.network import Estimate
from equidrift.models.molecules.joint.pocket import FARTHEST_A, Pull
from equidrift.models.molecules.joint.sampler import JointModel
from equidrift.records import Molecule
from equidrift.seeds import sample_seeds
from equidrift.vina import Kinds, Pocket, kinds_of
from tests.doubles import geometry


def cup(pull: float, centre_A: tuple[float, float, float] = (3.0, -2.0, 1.0)) -> Pocket:
    """Half a sphere of 7 A about a centre, its 60 atoms hydrophobic or acceptors."""
    k = np.arange(120) + 0.5
    height, turn = 1 - 2 * k / 120, np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - height**2)
    ball = 7.0 * np.stack([ring * np.cos(turn), ring * np.sin(turn), height], -1)[:60]
    odd = np.arange(60) % 3 == 0
    kinds = Kinds(np.where(odd, 1.7, 1.9), ~odd, np.zeros(60, bool), odd)
    return Pocket(ball + np.array(centre_A), kinds, np.array(centre_A), 4.0, pull)


@pytest.fixture(scope="module")
def model() -> JointModel:
    return JointModel(device="cpu", refine=0, half_precision=False)


def totals(model: JointModel, pull: float, seeds: np.ndarray, steps: int) -> np.ndarray:
    """The sum of Vina's terms of each draw, as it was drawn."""
    pocket = cup(pull)
    out = []
    for raw in model.sample(seeds, pocket=pocket, steps=steps):
        assert raw is not None
        rows, kinds = kinds_of(raw[0])
        out.append(float(pocket.pairs(raw[1][rows], kinds)[0].sum()))
    return np.array(out)


@pytest.mark.long
@pytest.mark.parametrize("sampler", ["diffusion", "bfn"])
def test_the_pull_betters_scores_by_more_than_its_error(sampler: str) -> None:
    model = JointModel(device="cpu", refine=0, sampler=sampler)  # type: ignore[arg-type]
    seeds = sample_seeds(5, 0, 32)
    gain = totals(model, 0.0, seeds, 15) - totals(model, 3.0, seeds, 15)
    error = gain.std(ddof=1) / len(gain) ** 0.5
    assert gain.mean() > 3 * error > 0, (gain.mean(), error)


def test_draws_without_pull_are_those_without_a_pocket_moved_to_its_centre(
    model: JointModel,
) -> None:
    seeds = sample_seeds(6, 0, 3)
    free = model.sample(seeds, steps=6)
    for one, other in zip(free, model.sample(seeds, steps=6, pocket=cup(0.0)), strict=True):
        assert one is not None and other is not None and one[0].key() == other[0].key()
        np.testing.assert_allclose(one[1] + cup(0.0).centre_A, other[1], atol=1e-4)


def test_draws_turn_with_their_frame_alone_and_stay_in_the_ball(model: JointModel) -> None:
    seeds = sample_seeds(7, 0, 4)
    near, far = (
        model.sample(seeds, steps=8, pocket=cup(2.0, centre_A=at))
        for at in ((0.0, 0.0, 0.0), (30.0, 0.0, -5.0))
    )
    for one, other in zip(near, far, strict=True):
        assert one is not None and other is not None and one[0].key() == other[0].key()
        np.testing.assert_allclose(one[1] + np.array([30.0, 0.0, -5.0]), other[1], atol=1e-3)
        heavy = one[1][one[0].numbers != 1]
        assert np.linalg.norm(heavy.mean(0)) < 4.5


def test_a_fragment_stays_in_the_pocket_and_the_rest_is_pulled(model: JointModel) -> None:
    ethanol = Molecule.from_smiles("CCO")
    x = geometry(ethanol) + cup(1.0).centre_A
    for raw in model.sample(sample_seeds(1, 0, 3), fragment=(ethanol, x), pocket=cup(1.0), steps=8):
        assert raw is not None
        np.testing.assert_array_equal(raw[1][:3], x[:3])


def test_types_that_fit_become_likelier_and_places_move_down_the_slope() -> None:
    """Beside one acceptor: who gives a hydrogen bond gains, who is too near is pushed."""
    yes = np.array([True])
    pocket = Pocket(np.zeros((1, 3)), Kinds(np.array([1.7]), ~yes, ~yes, yes), np.zeros(3), 4.0)
    pull = Pull.of(pocket, QM9_TOKENS)
    x = torch.tensor([[[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
    nothing = Estimate(torch.zeros(1, 2, len(QM9_TOKENS.types)), torch.zeros(1, 2, 2, 4), x, [])
    here = torch.zeros(1, 1, 3)
    made, push = pull.act(nothing, here, torch.tensor([[True, True]]))
    best = QM9_TOKENS.types[int(made.types[0, 0].argmax())]
    assert best[0] in (7, 8) and best[2] > 0, best
    np.testing.assert_allclose(push[0, 1, [0, 2]].numpy(), 0.0, atol=1e-5)
    assert 0.9 * FARTHEST_A < float(push[0, 1, 1]) <= FARTHEST_A + 1e-6
    _, away = pull.act(nothing, here + 30.0, torch.tensor([[True, True]]))
    assert float(away.abs().max()) == 0
    _, padded = pull.act(nothing, here, torch.tensor([[True, False]]))
    assert float(padded[0, 1].abs().max()) == 0
