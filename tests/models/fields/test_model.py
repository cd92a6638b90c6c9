"""`FieldModel`: exactness against GPs, equivariance of the whole process, seeds, files,
and every message.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.errors import InputError, WeightsError
from equidrift.models.fields.functions.data import as_fields, draw_functions
from equidrift.models.fields.functions.kernels import make_kernel
from equidrift.models.fields.functions.likelihood import log_likelihood
from equidrift.models.fields.functions.network import NetworkConfig
from equidrift.models.fields.functions.objective import (
    PARAMETRISATIONS,
    AnalyticScore,
    FieldDiffusion,
    LinearBeta,
)
from equidrift.models.fields.functions.sampler import FieldModel

SE = make_kernel("se", length=0.25, noise=0.0025)


def gp_model(**options: float) -> FieldModel:
    return FieldModel(FieldDiffusion(SE, NetworkConfig("none")), **options)


def loud(kernel: object, config: NetworkConfig) -> FieldDiffusion:
    """A diffusion whose network does something: its last layer is not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        diffusion = FieldDiffusion(kernel, config)  # type: ignore[arg-type]
        for parameter in diffusion.network.leave.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return diffusion


SCALAR = NetworkConfig("attention", width=16, layers=2, heads=2)
VECTOR = NetworkConfig("vector", width=8, layers=2, components=2, dimension=2, wave_max=3.0)


class Analytic(FieldDiffusion):
    """White noising of a GP with its exact score in the network's place."""

    def __init__(self) -> None:
        super().__init__(make_kernel("white"), NetworkConfig("none"))
        self.exact = AnalyticScore(SE, self.kernel, self.schedule)

    gaussian = False

    def score(self, t, x, y, mask, gram, half=False):  # type: ignore[no-untyped-def,override]
        return self.exact.at(x[:1])(y, float(t[0]))


def test_likelihood_of_the_flow_is_the_gps() -> None:
    x = torch.linspace(-0.5, 0.5, 6, dtype=torch.float64)[None, :, None]
    y = SE.gram(x).root(
        torch.randn(3, 6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    found = log_likelihood(Analytic(), x.expand(3, -1, -1), y, steps=50, first_std=1e-3)
    assert torch.allclose(
        found, SE.gram(x).log_prob(y), atol=0.05
    )  # at t = 1 the data is not quite gone


@pytest.mark.long
def test_hutchinson_agrees_with_the_trace() -> None:
    diffusion = loud(make_kernel("white"), SCALAR)
    x, y = (
        torch.linspace(-1, 1, 6)[None, :, None].expand(2, -1, -1),
        torch.randn(2, 6, 1, generator=torch.Generator().manual_seed(1)),
    )
    exact = log_likelihood(diffusion, x, y, steps=4, probes=0, first_std=0.05)
    assert torch.allclose(
        log_likelihood(diffusion, x, y, steps=4, probes=60, first_std=0.05), exact, atol=0.3
    )


@pytest.mark.long
def test_conditional_density_is_the_posteriors() -> None:
    model = gp_model(centre=1.0, scale=2.0)
    x, y = np.array([0.0, 0.3]), np.array([0.5, 2.0])
    k = 4 * SE.gram(torch.tensor([[[0.0], [0.3], [0.1]]], dtype=torch.float64)).matrix[0].numpy()
    weights = np.linalg.solve(k[:2, :2], k[:2, 2])
    mean, variance = 1 + weights @ (y - 1), k[2, 2] - weights @ k[:2, 2]
    exact = -0.5 * ((0.7 - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    assert model.condition(x, y).log_prob([0.1], [0.7]) == pytest.approx(exact)
    made = model.condition(x, y).sample([0.1], 4000, seed=1)[:, 0, 0]
    assert made.mean() == pytest.approx(
        mean, abs=4 * np.sqrt(variance / 4000)
    ) and made.var() == pytest.approx(variance, rel=0.1)


def score_at(diffusion: FieldDiffusion, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The preconditioned score halfway."""
    t, mask = torch.tensor([0.4], dtype=torch.float64), torch.ones(y.shape[:2], dtype=torch.bool)
    with torch.no_grad():
        return diffusion.score(t, x, y, mask, diffusion.kernel.gram(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_translation_of_the_whole_process(dtype: torch.dtype) -> None:
    model = FieldModel(loud(make_kernel("noisy-se"), SCALAR).to(dtype))
    model.diffusion.kernel.double()
    x, y, q = np.array([0.0, 0.5, 0.75]), np.array([0.3, -0.2, 0.1]), np.array([0.25, 1.0])
    options = {"steps": 6, "corrections": 2, "dtype": dtype}
    here = model.condition(x, y).sample(q, 2, seed=3, **options)
    there = model.condition(x + 8, y).sample(q + 8, 2, seed=3, **options)
    assert np.abs(here - there).max() < (1e-3 if dtype == torch.float32 else 1e-9)
    xt, yt = (
        torch.tensor(x, dtype=dtype)[None, :, None],
        torch.tensor(y, dtype=dtype)[None, :, None],
    )
    scores = [score_at(model.diffusion, p, yt) for p in (xt, xt + 8)]
    a, b = (log_likelihood(model.diffusion, p, yt, steps=6, first_std=0.05) for p in (xt, xt + 8))
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    assert torch.allclose(*scores, atol=tolerance) and torch.allclose(a, b, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("limit", ["noisy-se", "white", "div-free"])
def test_motion_of_the_whole_process(limit: str, dtype: torch.dtype) -> None:
    kernel = make_kernel(limit, 2, length=0.8, **({} if limit != "div-free" else {"noise": 0.05}))
    model = FieldModel(loud(kernel, VECTOR).to(dtype), dimension=2)
    model.diffusion.kernel.double()
    g = np.random.default_rng(0)
    x, y, q = g.normal(size=(4, 2)), g.normal(size=(4, 2)), g.normal(size=(3, 2))
    c, s = np.cos(0.7), np.sin(0.7)
    r = np.array([[c, -s], [s, c]]) @ np.diag([1.0, -1.0])  # with a reflection

    def noise(turn: np.ndarray):  # type: ignore[no-untyped-def,type-arg]
        stream = np.random.default_rng(5)
        return lambda shape: stream.standard_normal(shape) @ turn.T

    options = {"steps": 6, "corrections": 2, "dtype": dtype}
    here = model.condition(x, y).sample(q, 2, noise=noise(np.eye(2)), **options)
    there = model.condition(x @ r.T + 2, y @ r.T).sample(q @ r.T + 2, 2, noise=noise(r), **options)
    assert np.abs(here @ r.T - there).max() < (5e-3 if dtype == torch.float32 else 1e-9)
    xt, yt = torch.tensor(x, dtype=dtype)[None], torch.tensor(y, dtype=dtype)[None]
    rt = torch.tensor(r, dtype=dtype)
    turned = score_at(model.diffusion, xt @ rt.T + 2, yt @ rt.T)
    assert torch.allclose(
        score_at(model.diffusion, xt, yt) @ rt.T,
        turned,
        atol=5e-3 if dtype == torch.float32 else 1e-9,
    )
    a, b = (
        log_likelihood(model.diffusion, p, v, steps=5, probes=0, first_std=0.05)
        for p, v in ((xt, yt), (xt @ rt.T + 2, yt @ rt.T))
    )
    assert torch.allclose(a, b, atol=5e-3 if dtype == torch.float32 else 1e-8)


def test_vector_network_in_three_dimensions() -> None:
    config = NetworkConfig("vector", width=8, layers=2, components=3, dimension=3, wave_max=3.0)
    network = loud(make_kernel("white", 3), config).network.double()
    g = torch.Generator().manual_seed(1)
    x, y = (
        torch.randn(1, 5, 3, generator=g, dtype=torch.float64),
        torch.randn(1, 5, 3, generator=g, dtype=torch.float64),
    )
    r = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64))[0]
    t, mask = (
        torch.tensor([0.4], dtype=torch.float64),
        torch.tensor([[True, True, True, True, False]]),
    )
    out, turned = network(t, t, x, y, mask), network(t, t, x @ r.T + 1, y @ r.T, mask)
    assert torch.allclose(out @ r.T, turned, atol=1e-9) and out.abs().max().item() > 1e-3
    assert torch.allclose(network(t, t, x[:, :4], y[:, :4], mask[:, :4]), out[:, :4], atol=1e-9), (
        "a masked point is seen"
    )


def test_points_may_be_permuted_and_masked() -> None:
    network = loud(
        make_kernel("white"), NetworkConfig("attention", width=16, layers=2, heads=2, dimension=2)
    ).network.double()
    g = torch.Generator().manual_seed(1)
    x, y = (
        torch.randn(2, 5, 2, generator=g, dtype=torch.float64),
        torch.randn(2, 5, 1, generator=g, dtype=torch.float64),
    )
    t, mask, order = (
        torch.tensor([0.4, 0.1], dtype=torch.float64),
        torch.ones(2, 5, dtype=torch.bool),
        torch.tensor([3, 0, 4, 1, 2]),
    )
    out = network(t, t, x, y, mask)
    assert torch.allclose(network(t, t, x[:, order], y[:, order], mask), out[:, order])
    assert torch.allclose(network(t, t, x.flip(-1), y, mask), out)
    mask[:, 4] = False
    assert torch.allclose(
        network(t, t, x[:, :4], y[:, :4], mask[:, :4]), network(t, t, x, y, mask)[:, :4]
    )


@pytest.mark.parametrize("kind", PARAMETRISATIONS)
def test_parametrisations_have_the_same_optimum(kind: str) -> None:
    """Where data and limit are one GP, a network of zeros is the exact score, and no
    other constant factor of it has a lower loss.
    """
    kernel = make_kernel("se", length=0.3, noise=0.05)
    diffusion = FieldDiffusion(kernel, NetworkConfig("none"), kind=kind)  # type: ignore[arg-type]
    x = torch.rand(256, 8, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = kernel.gram(x).root(
        torch.randn(256, 8, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )
    score = diffusion.score

    def loss(factor: float) -> float:
        diffusion.score = lambda *a, **k: factor * score(*a, **k)  # type: ignore[method-assign]
        return float(
            diffusion.loss(
                x,
                y,
                torch.ones(256, 8, dtype=torch.bool),
                torch.Generator().manual_seed(2),
                half=False,
            )
        )

    t, mask = torch.full((256,), 0.3, dtype=torch.float64), torch.ones(256, 8, dtype=torch.bool)
    assert torch.allclose(score(t, x, y, mask, kernel.gram(x)), -y, atol=1e-8)
    assert loss(1.0) < loss(0.6) and loss(1.0) < loss(1.4)


def test_fit_sample_save_load(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(40, 12, 1, generator=g, dtype=torch.float64)
    y = (3 + 2 * draw_functions("se", x, g)).numpy()
    y[3, 4] = np.nan
    model = FieldModel.fit(
        x.numpy(), y[..., 0], limit="white", network=SCALAR, schedule={"steps": 3}, budget_s=60.0
    )
    assert model.record["steps"] == 3 and model.centre == pytest.approx(3, abs=0.5)
    path = model.save(tmp_path / "mine")
    again = FieldModel.load(path)
    query = np.linspace(0, 1, 3)
    made = model.condition([0.1], [2.0]).sample(query, 3, seed=5, steps=4)
    assert np.allclose(
        made, again.condition([0.1], [2.0]).sample(query, 3, seed=5, steps=4), atol=1e-5
    )
    assert np.allclose(
        made[:2], model.condition([0.1], [2.0]).sample(query, 2, seed=5, steps=4), atol=1e-4
    ), "sample k depends on n"
    from equidrift.weights import load_weights, save_weights

    state, card = load_weights(path)
    save_weights(tmp_path / "other", state, {**card, "task": "refine"})
    with pytest.raises(WeightsError, match="expected 'field'"):
        FieldModel.load(tmp_path / "other.safetensors")


def test_repeated_points_and_context_points() -> None:
    model = gp_model()
    made = model.condition([0.0, 0.4, 0.0], [1.0, 2.0, 1.0]).sample([0.2, 0.4, 0.2], 2, seed=0)
    assert np.array_equal(made[:, 0], made[:, 2]) and np.allclose(made[:, 1], 2.0)
    with pytest.raises(
        InputError, match="context points 0 and 2 lie at the same place with other values"
    ):
        model.condition([0.0, 0.4, 0.0], [1.0, 2.0, 1.5])
    with pytest.raises(InputError, match="two values at one point"):
        model.log_prob([[0.0], [0.0]], [[1.0, 1.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: m.condition([0.0], [1.0]).sample([[0.0, 1.0]]),
            "x has 2 coordinates per point, the model was fitted with 1",
        ),
        (lambda m: m.condition([0.0, 1.0], [1.0]), "y_context"),
        (lambda m: m.condition([0.0], ["a"]), "must be an array of numbers"),
        (lambda m: m.condition([np.nan], [1.0]), "not finite"),
        (lambda m: m.condition([0.0], [np.nan]), "no known value"),
        (
            lambda m: m.condition([0.0], [1.0]).sample([9.0]),
            "extend over 9, the model has seen functions over 2",
        ),
        (lambda m: m.sample([0.0], 0), "n must be 1 or more"),
        (lambda m: m.sample([0.0], 1, seed=-1), "seed must lie in"),
        (lambda m: m.log_prob([0.0, 1.0], [[1.0, 2.0, 3.0]]), "y must be"),
        (lambda m: FieldModel.fit([0.0, 1.0], [[1.0, 1.0]]), "the same value everywhere"),
        (
            lambda m: FieldModel.fit(np.zeros((2, 3)), np.zeros((4, 2, 2)), vector=True),
            "vector=True is for fields of 3 components",
        ),
        (
            lambda m: FieldModel.fit(np.zeros((3, 2)), np.zeros((4, 3, 2))),
            "give vector=True for a vector field",
        ),
        (lambda m: as_fields([0.0, 1.0], [[1.0, 2.0]], [[1, 0]]), "mask must be bool"),
        (
            lambda m: m.sample([[[0.0]]]),
            r"x_query must be \(points, 1\), not an array of shape \(1, 1, 1\)",
        ),
        (lambda m: m.sample(np.zeros((0, 1))), "with a point at least"),
        (
            lambda m: m.log_prob([[0.0]], np.zeros((1, 1, 2))),
            "y has 2 components per point, the model was fitted with 1",
        ),
        (
            lambda m: m.log_prob([[0.0], [9.0]], [[1.0, 2.0]]),
            "extend over 9, the model has seen functions over 2",
        ),
        (lambda m: m.condition([0.0, 1.0], [1.0, 2.0], [False, False]), "no known value at all"),
        (lambda m: m.sample([0.0], steps=2, mode="both"), "unknown context noise 'both'"),
        (
            lambda m: FieldModel.fit([0.0, 1.0], [[1.0, 2.0]], network="small"),
            "network must be 'auto', 'none', sizes or a NetworkConfig",
        ),
        (
            lambda m: FieldModel.fit([0.0, 1.0], [[1.0, 2.0]], network={"wide": 9}),
            "size of a network 'wide'",
        ),
        (
            lambda m: FieldModel.fit([0.0, 1.0], [[1.0, 2.0]], limit=make_kernel("se", 2)),
            "limit is a kernel of 2 components",
        ),
        (lambda m: FieldModel.fit([0.0, 1.0], [[1.0, 2.0]], limit="sea"), "unknown kernel 'sea'"),
        (lambda m: FieldDiffusion(SE, SCALAR, kind="x0"), "unknown parametrisation 'x0'"),  # type: ignore[arg-type]
        (
            lambda m: as_fields([0.0, 1.0], [[1.0, np.nan]], [[True, True]]),
            "y is NaN or infinite where mask says it is known",
        ),
    ],
)
def test_arguments_that_cannot_be_are_refused_by_name(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((InputError, TypeError), match=message):
        call(gp_model(span=2.0))


def test_extrapolation_on_request() -> None:
    assert gp_model(span=2.0).condition([0.0], [1.0]).sample([9.0], extrapolate=True).shape == (
        1,
        1,
        1,
    )


def test_times_of_the_schedule_fall_from_one_to_the_least_noise() -> None:
    schedule = LinearBeta()
    std = torch.tensor([1e-3, 0.1, 0.9], dtype=torch.float64)
    assert [schedule.std(float(t)) for t in schedule.time_of(std)] == pytest.approx(std.tolist())
    times = schedule.times(10, 1e-2)
    assert (
        times[0] == 1.0
        and schedule.std(times[-1]) == pytest.approx(1e-2)
        and sorted(times, reverse=True) == times
    )
