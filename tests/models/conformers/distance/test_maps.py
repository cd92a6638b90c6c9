"""Distance scores against numerical derivatives; maps from distance changes to
coordinate moves against linear algebra.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from equidrift.errors import UnknownNameError
from equidrift.models.conformers.distance import maps as dm
from tests.models.conformers.distance import experiments as de
from tests.models.conformers.distance.experiments import four_regular_edges, random_chain


def chains(n: int = 9, count: int = 3) -> Tensor:
    return torch.from_numpy(np.stack([random_chain(n, seed) for seed in range(count)]))


def jacobian(c: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """The rigidity matrix of one conformer by autograd, one row a pair i < j with an
    edge, and the pair weights.
    """
    n = len(c)
    i, j = torch.triu_indices(n, n, 1)
    rows = edges[i, j] > 0
    i, j = i[rows], j[rows]
    full = torch.autograd.functional.jacobian(lambda x: (x[i] - x[j]).norm(dim=-1), c)
    return full.reshape(len(i), 3 * n), edges[i, j]


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5, 1.0, 3.0, 30.0])
def test_exact_score_is_the_derivative_of_the_exact_density(sigma: float) -> None:
    d = torch.tensor([0.9, 1.5, 3.0, 7.0], dtype=torch.float64)
    for shift in (-1.0, 0.0, 0.5, 2.0):
        e = (d + shift * sigma).abs().clamp_min(0.05)
        h = 1e-5 * e
        numeric = (
            de.exact_distance_log_density(e + h, d, sigma)
            - de.exact_distance_log_density(e - h, d, sigma)
        ) / (2 * h)
        assert torch.allclose(de.exact_distance_score(e, d, sigma), numeric, rtol=1e-4, atol=1e-5)


def test_exact_density_is_the_density_of_a_noisy_distance() -> None:
    sigma, d = 0.7, 1.5
    grid = torch.linspace(1e-3, 12.0, 4001, dtype=torch.float64)
    density = de.exact_distance_log_density(grid, torch.full_like(grid, d), sigma).exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1.0, abs=1e-4)
    rng = np.random.default_rng(0)
    noisy = np.linalg.norm(
        np.array([d, 0, 0]) + np.sqrt(2) * sigma * rng.standard_normal((20000, 3)), axis=1
    )
    cdf = np.cumsum(density.numpy()) * float(grid[1] - grid[0])
    assert stats.kstest(noisy, lambda x: np.interp(x, grid.numpy(), cdf)).pvalue > 0.01


def test_limits_of_the_exact_score() -> None:
    d, e = torch.tensor([1.5], dtype=torch.float64), torch.tensor([1.53], dtype=torch.float64)
    small = de.exact_distance_score(e, d, 0.02)
    assert torch.allclose(small, 1.0 / e + de.gaussian_distance_score(e, d, 0.02))
    sigma = 200.0
    assert torch.allclose(
        de.exact_distance_score(e, d, sigma), 2.0 / e - e / (2 * sigma**2), rtol=1e-6
    )


@pytest.mark.parametrize("name", list(dm.MAPS))
def test_maps_are_equivariant(name: str) -> None:
    c = chains()
    change = torch.randn(3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    change = change + change.transpose(1, 2)
    edges = dm.complete_edges(9, dtype=torch.float64)
    rotation = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )[0]
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    to_move = dm.distance_map(name)
    move = to_move(c, change, edges)
    assert torch.allclose(
        to_move(c @ rotation.T + 5.0, change, edges), move @ rotation.T, atol=1e-8
    )
    assert torch.allclose(
        to_move(c[:, order], change[:, order][:, :, order], edges), move[:, order], atol=1e-8
    )
    assert torch.allclose(move.sum(1), torch.zeros(3, 3, dtype=torch.float64), atol=1e-8)


def test_chain_rule_is_the_transposed_jacobian() -> None:
    c, edges = chains(7, 1)[0], four_regular_edges(7)
    J, _ = jacobian(c, edges)
    change = torch.rand(7, 7, dtype=torch.float64)
    change = change + change.T
    i, j = torch.triu_indices(7, 7, 1)
    picked = change[i, j][edges[i, j] > 0]
    assert torch.allclose(
        dm.chain_rule_map(c[None], change[None], edges)[0].flatten(), J.T @ picked
    )


def test_degree_map_is_a_step_of_stress_majorisation() -> None:
    c, target = chains(8, 2)
    d = dm.pair_geometry(target[None])[0][0]
    e = dm.pair_geometry(c[None])[0][0]
    move = dm.degree_normalised_map(
        c[None], (d - e)[None], dm.complete_edges(8, dtype=torch.float64)
    )[0]
    ratio = torch.where(e > 0, d / e.clamp_min(1e-9), 0.0)
    guttman = (ratio[..., None] * (c[:, None] - c[None])).sum(1) / 8
    assert torch.allclose(c + move * 7 / 8, guttman, atol=1e-10)


def test_gauss_newton_is_the_weighted_least_squares_solution() -> None:
    c = chains(8, 1)[0]
    weights = (
        torch.rand(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) + 0.2
    )
    weights = (weights + weights.T) * dm.complete_edges(8, dtype=torch.float64)
    change = 0.1 * torch.randn(
        8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    )
    change = change + change.T
    J, w = jacobian(c, weights)
    i, j = torch.triu_indices(8, 8, 1)
    wanted = torch.linalg.lstsq(
        w.sqrt()[:, None] * J, w.sqrt() * change[i, j], driver="gelsd"
    ).solution
    move = dm.gauss_newton_map(c[None], change[None], weights, n_iterations=60)[0].flatten()
    assert torch.allclose(J @ move, J @ wanted, atol=1e-6)


def test_gauss_newton_recovers_a_small_move_exactly() -> None:
    c = chains(9, 1)
    shifted = c + 1e-4 * torch.randn(
        c.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5)
    )
    change = dm.pair_geometry(c)[0] - dm.pair_geometry(shifted)[0]
    move = dm.gauss_newton_map(
        shifted, change, dm.complete_edges(9, dtype=torch.float64), n_iterations=40
    )
    left = dm.pair_geometry(shifted + move)[0] - dm.pair_geometry(c)[0]
    assert float(left.abs().max()) < 1e-6


def test_padding_changes_nothing() -> None:
    c = chains(9, 2)
    padded = torch.cat([c, torch.zeros(2, 3, 3, dtype=c.dtype)], 1)
    mask = torch.arange(12).expand(2, 12) < 9
    change = torch.ones(2, 12, 12, dtype=c.dtype)
    for to_move in dm.MAPS.values():
        small = to_move(c, change[:, :9, :9], dm.complete_edges(9, dtype=c.dtype))
        large = to_move(padded, change, dm.complete_edges(12, mask, dtype=c.dtype))
        assert torch.allclose(large[:, :9], small, atol=1e-10)
        assert not large[:, 9:].any()


@pytest.mark.long
@pytest.mark.parametrize("n", [5, 9, 20])
@pytest.mark.parametrize("name", list(dm.MAPS))
def test_gain_on_a_complete_graph_does_not_depend_on_the_coordinates(n: int, name: str) -> None:
    gain = de.largest_gain(
        chains(n),
        dm.complete_edges(n, dtype=torch.float64),
        dm.distance_map(name),
        n_iterations=200,
    )
    assert torch.allclose(gain, torch.full_like(gain, dm.map_gain(name, n)), rtol=0.01)


def test_unknown_map_is_named() -> None:
    with pytest.raises(UnknownNameError, match="gauss-newton"):
        dm.distance_map("gauss")
