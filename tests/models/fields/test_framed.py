"""Networks averaged over frames, and functions that are drawn once or turned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equidrift.errors import InputError
from equidrift.models.fields.functions.data import Functions
from equidrift.models.fields.functions.network import NetworkConfig, make_network
from equidrift.models.fields.functions.sampler import FieldModel
from equidrift.models.fields.train import run_training

SIZES = {"width": 8, "layers": 1, "heads": 2, "wave_min": 0.5, "wave_max": 10.0, "radial": 3}


def network(kind: str) -> torch.nn.Module:
    """Every parameter random, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = make_network(NetworkConfig(kind, components=2, dimension=2, **SIZES)).double()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return made


def answers(kind: str, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers of a network, and those to the question turned and shifted."""
    x, y, mask = Functions("2d-se", 3, 5, 9)(0)
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    a, made = torch.tensor(turn), network(kind)
    mask[:, :3] = True
    with torch.no_grad():
        first = made(t, t.sqrt(), x.double(), y.double(), mask)
        second = made(t, t.sqrt(), x.double() @ a + 3.0, y.double() @ a, mask)
    return (first @ a)[mask].numpy(), second[mask].numpy()


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_an_average_over_frames_turns_with_the_points(mirror: float) -> None:
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((2, 2)))[0]
    turn = turn * np.array([mirror, 1.0])
    turned, found = answers("frames", turn)
    assert np.abs(found).max() > 1e-3
    np.testing.assert_allclose(found, turned, atol=1e-12)
    turned, found = answers("plain", turn)
    assert np.abs(found - turned).max() > 1e-3, "without frames it does not"


def test_a_pool_is_drawn_once_and_its_functions_come_again() -> None:
    source = Functions("2d-curl-free", 6, 0, 5, pool=2)
    seen: set[tuple[float, ...]] = set()
    for step in range(4):
        x, y, _ = source(step)
        both = torch.cat([x, y], -1)
        seen |= {tuple(sorted(f[:, 2].tolist())) for f in both}
        again = source(step)
        assert torch.equal(x, again[0]) and torch.equal(y, again[1])
    assert len(seen) == 2
    assert len({tuple(f) for f in Functions("se", 6, 0, 5)(0)[1][..., 0].tolist()}) == 6


def test_turned_functions_are_the_same_up_to_a_motion() -> None:
    plain, turned = (Functions("2d-div-free", 400, 0, 4, turns=on)(0) for on in (False, True))
    for a, b in zip(plain[:2], turned[:2], strict=True):
        torch.testing.assert_close(a @ a.mT, b @ b.mT, atol=1e-3, rtol=1e-4)
        assert not torch.allclose(a, b)
    dots = (plain[0] * plain[1]).sum(-1), (turned[0] * turned[1]).sum(-1)
    torch.testing.assert_close(*dots, atol=1e-4, rtol=1e-4)
    # turns and mirrors alike
    first, second = plain[0][:, :2], turned[0][:, :2]
    signs = (torch.linalg.det(first) * torch.linalg.det(second)).sign()
    assert 0.4 < float((signs > 0).float().mean()) < 0.6


CONFIG: dict[str, Any] = {
    "system": "2d-div-free",
    "limit": "white",
    "batch": 2,
    "points": 6,
    "functions": 8,
    "pool": 4,
    "schedule": {"steps": 2},
}


@pytest.mark.parametrize("kind", ["vector", "frames", "plain"])
def test_a_config_trains_each_network_on_few_functions(tmp_path: Path, kind: str) -> None:
    sizes = {"kind": kind, "width": 8, "layers": 1}
    made = run_training(CONFIG | {"network": sizes, "augment": kind == "plain"}, tmp_path, None)
    model = FieldModel.load(made["weights"])
    assert made["functions"] == 4
    x = np.random.default_rng(0).uniform(-3, 3, (5, 2))
    assert np.isfinite(model.sample(x, 2, steps=3)).all()


@pytest.mark.parametrize(
    ("limit", "kinds"),
    [
        ({"limit": "generator"}, ("se",)),
        ({"limit": "noisy-se", "limit_length": 0.1}, ("se",)),
        ({"limit": "white"}, ()),
    ],
)
def test_a_config_sets_the_limit(
    tmp_path: Path, limit: dict[str, Any], kinds: tuple[str, ...]
) -> None:
    config = {"system": "se", "batch": 2, "functions": 4, "schedule": {"steps": 1}, **limit}
    model = FieldModel.load(run_training(config, tmp_path, None)["weights"])
    assert tuple(model.diffusion.kernel.kinds) == kinds
    if kinds:
        length = float(model.diffusion.kernel.log_length.exp())
        assert length == pytest.approx(limit.get("limit_length", 0.25))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"system": "se", "augment": True}, "augment turns functions of 2d-se"),
        ({"system": "sawtooth", "limit": "generator"}, "limit: generator is for se, matern52"),
        ({"system": "se", "limit": "white", "limit_length": 0.1}, "the limit white has no length"),
        ({"data": "x.npz", "pool": 8}, "pool and augment are for a system"),
        ({"system": "se", "pool": 1}, "pool"),
    ],
)
def test_settings_that_do_not_go_together_are_told(
    tmp_path: Path, wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        run_training({**wrong, "schedule": {"steps": 1}}, tmp_path, None)
