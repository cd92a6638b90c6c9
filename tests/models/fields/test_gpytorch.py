"""Kernels and Gaussian processes against gpytorch, on random parameters."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from equidrift.models.fields.functions.kernels import SCALAR, Kernel, make_kernel

SEEDS = range(3)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(scope="module")
def gpytorch() -> ModuleType:
    """A host of the tests alone (extra `test`)."""
    module: ModuleType = pytest.importorskip("gpytorch")
    return module


def exact(value: float) -> Tensor:
    """What gpytorch would round to float32 if it were no tensor."""
    return torch.tensor(value, dtype=torch.float64)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(seed: int, n: int, d: int) -> Tensor:
    return 3 * torch.rand(n, d, generator=generator(seed), dtype=torch.float64)


def parameters(seed: int, terms: int = 1) -> dict[str, list[float]]:
    """Random ones of each term."""
    rng = np.random.default_rng(seed)
    names = ("variance", "length", "period")
    return {name: rng.uniform(0.3, 1.5, terms).tolist() for name in names}


def theirs(gpytorch: ModuleType, kind: str, v: float, length: float, period: float, inner: float):
    """gpytorch's kernel of a scalar term in one dimension."""
    kernels = gpytorch.kernels
    smooth = kernels.RBFKernel().double()
    if kind.startswith("matern"):
        smooth = kernels.MaternKernel(nu=int(kind[-2]) / int(kind[-1])).double()
    smooth.lengthscale = exact(length)
    made = smooth
    if "periodic" in kind:
        # its length scale stands where our square does
        wave = kernels.PeriodicKernel().double()
        wave.period_length, wave.lengthscale = exact(period), exact(inner**2)
        made = wave if kind == "periodic" else wave * smooth
    if kind == "spectral":
        wave = kernels.CosineKernel().double()
        wave.period_length = exact(period / 2)  # a cosine of pi times the distance over it
        made = wave * smooth
    scaled = kernels.ScaleKernel(made).double()
    scaled.outputscale = exact(v)
    return scaled


def sum_of_terms(gpytorch: ModuleType, seed: int) -> tuple[Kernel, object]:
    """Our kernel of three random terms and noise, and theirs without noise."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(SCALAR, 3, replace=False).tolist()
    drawn, inner = parameters(seed, 3), float(rng.uniform(0.5, 1.5))
    ours = Kernel(kinds, **drawn, inner=inner, noise=0.05)
    terms = zip(kinds, drawn["variance"], drawn["length"], drawn["period"], strict=True)
    parts = [theirs(gpytorch, *term, inner) for term in terms]
    return ours, parts[0] + parts[1] + parts[2]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", SCALAR)
def test_scalar_kernels_are_gpytorchs(gpytorch: ModuleType, kind: str, seed: int) -> None:
    drawn, inner = parameters(seed), 0.4 + 0.3 * seed
    x, z = points(seed, 9, 1), points(seed + 100, 7, 1)
    made = Kernel([kind], **drawn, inner=inner).between(x[None], z[None])[0, :, 0, :, 0]
    values = (drawn[name][0] for name in ("variance", "length", "period"))
    wanted = theirs(gpytorch, kind, *values, inner)(x, z).to_dense()
    torch.testing.assert_close(made, wanted.detach(), **CLOSE)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("d", [2, 3])
def test_isotropic_kernels_are_gpytorchs_in_more_dimensions(
    gpytorch: ModuleType, d: int, seed: int
) -> None:
    x, length = points(seed, 8, d), 0.5 + 0.3 * seed
    made = make_kernel("matern52", length=length).between(x[None], x[None])[0, :, 0, :, 0]
    wanted = theirs(gpytorch, "matern52", 1.0, length, 1.0, 1.0)(x).to_dense()
    torch.testing.assert_close(made, wanted.detach(), **CLOSE)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("d", [2, 3])
def test_curl_free_fields_are_gpytorchs_gradients(gpytorch: ModuleType, d: int, seed: int) -> None:
    x, length = points(seed, 6, d), 0.5 + 0.3 * seed
    kernel = gpytorch.kernels.RBFKernelGrad().double()
    kernel.lengthscale = exact(length)
    # of the function and its d derivatives at each point, in this order
    both = kernel(x).to_dense().detach().reshape(6, d + 1, 6, d + 1)
    made = make_kernel("curl-free", d, length=length).between(x[None], x[None])[0]
    torch.testing.assert_close(made, length**2 * both[:, 1:, :, 1:], **CLOSE)
    if d == 2:  # turned by a right angle, a gradient has no divergence
        turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
        free = make_kernel("div-free", d, length=length).between(x[None], x[None])[0]
        turned = torch.einsum("ab,nbmc,dc->namd", turn, both[:, 1:, :, 1:], turn)
        torch.testing.assert_close(free, length**2 * turned, **CLOSE)


@pytest.mark.parametrize("seed", SEEDS)
def test_densities_are_gpytorchs(gpytorch: ModuleType, seed: int) -> None:
    ours, kernel = sum_of_terms(gpytorch, seed)
    x, y = points(seed, 20, 1), torch.randn(4, 20, generator=generator(seed), dtype=torch.float64)
    matrix = kernel(x).to_dense() + 0.05 * torch.eye(20, dtype=torch.float64)
    law = gpytorch.distributions.MultivariateNormal(torch.zeros_like(y[0]), matrix)
    made = ours.gram(x[None]).log_prob(y[..., None])
    torch.testing.assert_close(made, law.log_prob(y).detach(), rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_posteriors_are_gpytorchs(gpytorch: ModuleType, seed: int) -> None:
    ours, kernel = sum_of_terms(gpytorch, seed)
    x, y = points(seed, 25, 1), torch.randn(25, generator=generator(seed), dtype=torch.float64)
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    likelihood.noise = exact(0.05)

    class Process(gpytorch.models.ExactGP):
        def forward(self, at: Tensor) -> object:
            zeros = torch.zeros(len(at), dtype=at.dtype)
            return gpytorch.distributions.MultivariateNormal(zeros, kernel(at))

    process = Process(x[:10], y[:10], likelihood).double().eval()
    with torch.no_grad(), gpytorch.settings.fast_computations(False, False, False):
        wanted = likelihood.eval()(process(x[10:]))
        known = torch.where(torch.arange(25) < 10, y, torch.zeros_like(y))[None, :, None]
        gram = ours.gram(x[None])
        mean = -gram.project(known, torch.arange(25) >= 10)[0, 10:, 0]
        torch.testing.assert_close(mean, wanted.mean, rtol=1e-6, atol=1e-6)
        context = ours.gram(x[None, :10]).log_prob(y[None, :10, None])
        density = gram.log_prob(y[None, :, None]) - context
        torch.testing.assert_close(density[0], wanted.log_prob(y[10:]), rtol=1e-5, atol=1e-5)
