"""Kernels: equivariance, values, structure, and what happens to singular Gram matrices."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.fields.functions.gram import JitterWarning
from equidrift.models.fields.functions.kernels import (
    Gram,
    Kernel,
    fit_kernel,
    fitted_family,
    main_period,
    make_kernel,
)


def rotation(d: int, dtype: torch.dtype) -> Tensor:
    q, r = torch.linalg.qr(
        torch.randn(d, d, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    )
    return (q * r.diagonal().sign()).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["se", "noisy-se", "short-se", "curl-free", "div-free", "white"])
@pytest.mark.parametrize("d", [2, 3])
def test_vector_kernels_turn_with_the_points(name: str, d: int, dtype: torch.dtype) -> None:
    x = torch.randn(1, 5, d, generator=torch.Generator().manual_seed(1), dtype=dtype)
    y, r = (
        torch.randn(1, 5, d, generator=torch.Generator().manual_seed(4), dtype=dtype),
        rotation(d, dtype),
    )
    kernel = make_kernel(name, d, length=0.8)
    here, there = kernel.gram(x), kernel.gram(x @ r.T + 3.0)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    assert torch.allclose(here.mul(y) @ r.T, there.mul(y @ r.T), atol=tolerance)
    if name != "short-se" or dtype == torch.float64:
        assert torch.allclose(here.root(y) @ r.T, there.root(y @ r.T), atol=30 * tolerance)


def test_curl_free_and_div_free_kernels_have_their_closed_forms() -> None:
    x = torch.tensor([[[0.0, 0.0], [0.6, 0.0]]], dtype=torch.float64)
    r = 0.6 / 0.5
    curl, div = (
        make_kernel(name, 2, length=0.5).between(x, x)[0, 0, :, 1]
        for name in ("curl-free", "div-free")
    )
    assert torch.allclose(
        curl,
        math.exp(-0.5 * r * r) * torch.tensor([[1 - r * r, 0.0], [0.0, 1.0]], dtype=torch.float64),
    )
    assert torch.allclose(
        div,
        math.exp(-0.5 * r * r) * torch.tensor([[1.0, 0.0], [0.0, 1 - r * r]], dtype=torch.float64),
    )
    line = torch.tensor([[[0.0], [0.5]]], dtype=torch.float64)
    assert float(
        make_kernel("matern12", length=0.5).between(line, line)[0, 0, 0, 1, 0]
    ) == pytest.approx(math.exp(-1))
    assert float(
        make_kernel("periodic", period=0.5).between(line, line)[0, 0, 0, 1, 0]
    ) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["curl-free", "div-free"])
def test_fields_have_no_curl_or_no_divergence(name: str) -> None:
    kernel, source = (
        make_kernel(name, 2, length=0.7),
        torch.tensor([[[0.1, -0.3]]], dtype=torch.float64),
    )
    at = torch.tensor([0.4, 0.2], dtype=torch.float64)
    for column in range(2):
        j = torch.autograd.functional.jacobian(
            lambda u, c=column: kernel.between(u[None, None], source)[0, 0, :, 0, c], at
        )
        assert abs(float(j[0, 0] + j[1, 1] if name == "div-free" else j[0, 1] - j[1, 0])) < 1e-12
        assert float(j.abs().max()) > 1e-3


@pytest.mark.parametrize(
    "name", ["se", "matern32", "matern52", "periodic", "weakly-periodic", "white"]
)
def test_gram_operations_agree_with_matrices(name: str) -> None:
    kernel = make_kernel(name, noise=0.01, period=0.7)
    g = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(2, 6, 1, generator=g, dtype=torch.float64),
        torch.randn(2, 6, 1, generator=g, dtype=torch.float64),
    )
    gram = kernel.gram(x)
    k = (
        gram.matrix
        if gram.matrix is not None
        else gram.variance * torch.eye(6, dtype=torch.float64).expand(2, 6, 6)
    )
    assert torch.allclose(gram.solve(gram.mul(y)), y, atol=1e-8)
    assert torch.allclose(gram.solve_root(gram.root(y)), y) and torch.allclose(gram.mul(y), k @ y)
    exact = torch.distributions.MultivariateNormal(torch.zeros(6, dtype=torch.float64), k).log_prob(
        y[..., 0]
    )
    assert torch.allclose(gram.log_prob(y), exact)


def test_masked_points_do_not_count() -> None:
    kernel = make_kernel("se", noise=0.01)
    g = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(1, 6, 1, generator=g, dtype=torch.float64),
        torch.randn(1, 6, 1, generator=g, dtype=torch.float64),
    )
    mask = torch.tensor([[True, True, False, True, False, True]])
    part = kernel.gram(x[:, mask[0]]).log_prob(y[:, mask[0]])
    assert torch.allclose(kernel.gram(x, mask).log_prob(y), part)


def test_jitter_is_reported_and_bounded() -> None:
    x = torch.tensor([[[0.0], [1e-5], [1.0]]])
    gram = Kernel(["se"], length=1.0).gram(torch.linspace(0, 1, 300)[None, :, None])
    with pytest.warns(JitterWarning, match="a jitter of 1e-0[3-6] of the variance was added"):
        _ = gram.factor
    assert 1e-6 < gram.jitter <= 1e-3
    x[0, 1] = math.nan
    with pytest.raises(InputError, match="singular, even with a jitter of 1e-3 of the variance"):
        _ = Kernel(["se"]).gram(x).factor


def test_a_fit_finds_the_kernel() -> None:
    g = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(64, 16, 1, generator=g, dtype=torch.float64)
    truth = make_kernel("weakly-periodic", length=0.8, period=0.5, noise=0.01)
    y = truth.gram(x).root(torch.randn(64, 16, 1, generator=g, dtype=torch.float64))
    assert main_period(x, y, 2.0, 0.125) == pytest.approx(0.5, rel=0.1)
    kernel = fitted_family(1, 1, 2.0, 0.125, 0.5)
    before = float(kernel.gram(x).log_prob(y).mean())
    fit_kernel(kernel, x, y, steps=60)
    best, after = float(truth.gram(x).log_prob(y).mean()), float(kernel.gram(x).log_prob(y).mean())
    assert before < after and abs(after - best) < 0.25 * (best - before)


def test_kernels_that_cannot_be_are_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'div-free'"):
        make_kernel("divfree", 2)
    with pytest.raises(
        InputError, match="curl-free kernel is for fields of 3 components in 3 dimensions, not 2"
    ):
        make_kernel("curl-free", 2).gram(torch.zeros(1, 2, 3))
    with pytest.raises(
        InputError, match="white part of a kernel must be positive where there is nothing else"
    ):
        Kernel(())
    with pytest.raises(InputError, match="never negative, not -1"):
        make_kernel("se", noise=-1.0)
    with pytest.raises(
        InputError, match="conditioning needs all samples at the same points, not 2 sets of points"
    ):
        make_kernel("se").gram(torch.rand(2, 3, 1)).project(
            torch.zeros(2, 3, 1), torch.tensor([True, False, False])
        )
    with pytest.raises(InputError, match="the Gram matrix is not positive"):
        Gram(-torch.eye(4)[None], 1.0, 2, 2).root(torch.ones(1, 2, 2))
    with pytest.raises(InputError, match="length must be positive"):
        make_kernel("se", length=-1.0)
