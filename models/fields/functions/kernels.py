"""Equivariant kernels (arXiv:2307.05431, kernels):
k(gx, gx') = rho(g) k(x, x') rho(g)^T.

A kernel is a sum of terms and a white part; it is a module, so that its logarithmic
parameters can be fitted by maximum marginal likelihood (`fit_kernel`) and saved with a
model's weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.fields.functions.gram import Gram

SCALAR = ("se", "matern12", "matern32", "matern52", "periodic", "weakly-periodic", "spectral")
VECTOR = ("se", "curl-free", "div-free")
KINDS = tuple(dict.fromkeys(("white", *SCALAR, *VECTOR)))
NOISY_SHARE = 0.05  # of the variance, of the white part of a "noisy-" kernel
SHORT = 0.1  # of the length, in a "short-" kernel
FIT_RATE = 0.05  # of Adam at the start of a fit
LEAST_LOG_VARIANCE = -20.0  # below it a term is gone, and its gradient with it


class Kernel(nn.Module):
    """Sum of terms `kinds` plus white noise, with p components of the values.

    Parameters
    ----------
    kinds : sequence of str
        Names of `SCALAR` (p = 1, or the same for each component) or of `VECTOR` (p =
        dimension of the points).
    variance, length, period : sequence of float or float
        Of each term; `period` is that of the periodic kinds and of the cosine of
        "spectral".
    inner : float
        Length scale of the periodic factor, on the scale of its argument.
    noise : float
        Variance of the white part.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        *,
        components: int = 1,
        variance: Sequence[float] | float = 1.0,
        length: Sequence[float] | float = 0.25,
        period: Sequence[float] | float = 1.0,
        inner: float = 1.0,
        noise: float = 0.0,
    ):
        super().__init__()
        for kind in kinds:
            if kind not in KINDS or kind == "white":
                raise UnknownNameError("kernel", kind, KINDS)
        self.kinds, self.components = tuple(kinds), components
        self.log_variance = self._logs("variance", variance)
        self.log_length = self._logs("length", length)
        self.log_period = self._logs("period", period)
        if noise < 0 or (not kinds and noise == 0):
            raise InputError(
                "the white part of a kernel must be positive where there is nothing else, and "
                f"never negative, not {noise}"
            )
        self.log_inner = _log_parameter(inner)
        self.log_noise = _log_parameter(max(noise, 1e-30))

    def _logs(self, name: str, value: Sequence[float] | float) -> nn.Parameter:
        """Logarithms of one value per term, or of one for all."""
        many = [value] * len(self.kinds) if isinstance(value, int | float) else value
        values = [float(v) for v in many]
        if len(values) != len(self.kinds) or any(v <= 0 for v in values):
            raise InputError(
                f"{name} must be positive, one for each of {list(self.kinds)}, not {value}"
            )
        return _log_parameter(values)

    @property
    def noise(self) -> Tensor:
        """Variance of the white part."""
        return self.log_noise.exp()

    @property
    def variance(self) -> Tensor:
        """k(x, x) of one component, the white part included; div-free terms in n
        dimensions count n - 1 times.
        """
        shares = [
            v * (max(1, self.components - 1) if kind == "div-free" else 1.0)
            for kind, v in zip(self.kinds, self.log_variance.exp(), strict=True)
        ]
        return self.noise + sum(shares, start=torch.zeros_like(self.noise))

    def config(self) -> dict[str, object]:
        """What rebuilds the module; the parameters come with the weights."""
        return {"kinds": list(self.kinds), "components": self.components}

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        """Smooth part of the covariance of points x (B, n, d) and z (B, m, d): (B, n,
        p, m, p).
        """
        difference = x[:, :, None] - z[:, None]
        p, d = self.components, x.shape[-1]
        unit = torch.eye(p, dtype=x.dtype, device=x.device)
        total = x.new_zeros(*difference.shape[:3], p, p)
        # rounding: parameters are float64, points may be float32
        scale = [
            t.to(x.dtype)
            for t in (self.log_variance.exp(), self.log_length.exp(), self.log_period.exp())
        ]
        for kind, v, length, period in zip(self.kinds, *scale, strict=True):
            if kind in ("curl-free", "div-free"):
                if p != d:
                    raise InputError(
                        f"the {kind} kernel is for fields of {d} components in {d} dimensions, "
                        f"not {p} components"
                    )
                r = difference / length
                square = r.square().sum(-1)[..., None, None]
                outer = r[..., :, None] * r[..., None, :]
                tensor = unit - outer if kind == "curl-free" else outer + (d - 1 - square) * unit
                total = total + v * (-0.5 * square).exp() * tensor
            else:
                value = _scalar(kind, difference, length, period, self.log_inner.exp().to(x.dtype))
                total = total + v * value[..., None, None] * unit
        return total.transpose(2, 3)

    def gram(self, x: Tensor, mask: Tensor | None = None) -> Gram:
        """Gram matrix of points x (B, n, d), white part included; masked points (False)
        are independent of all others.
        """
        b, n, _ = x.shape
        p = self.components
        if not self.kinds:
            return Gram(None, float(self.noise.detach()), n, p, mask, x.device)
        total = self.variance.to(x.dtype)
        size = n * p
        matrix = self.between(x, x).reshape(b, size, size) + self.noise.to(x.dtype) * torch.eye(
            size, dtype=x.dtype, device=x.device
        )
        if mask is not None:
            keep = mask[:, :, None].expand(b, n, p).reshape(b, size).to(x.dtype)
            matrix = matrix * keep[:, :, None] * keep[:, None] + torch.diag_embed(
                (1 - keep) * total
            )
        return Gram(matrix, float(total.detach()), n, p, mask)


def _log_parameter(value: float | list[float]) -> nn.Parameter:
    """A logarithm in float64 that no optimiser changes until `fit_kernel` asks for it."""
    made = torch.tensor(value, dtype=torch.float64, device="cpu")
    return nn.Parameter(made.log(), requires_grad=False)


def _scalar(kind: str, difference: Tensor, length: Tensor, period: Tensor, inner: Tensor) -> Tensor:
    """Correlation of a scalar kernel at differences (..., d)."""
    square = difference.square().sum(-1) / length**2
    if kind == "se":
        return (-0.5 * square).exp()
    if kind.startswith("matern"):
        r = (square + 1e-20).sqrt()
        if kind == "matern12":
            return (-r).exp()
        a = r * math.sqrt(3.0 if kind == "matern32" else 5.0)
        return (1 + a) * (-a).exp() if kind == "matern32" else (1 + a + a.square() / 3) * (-a).exp()
    if kind == "spectral":
        return (-0.5 * square).exp() * (2 * math.pi * difference / period).cos().prod(-1)
    # per coordinate: isotropic periodic kernels in several dimensions are no kernels
    wave = (-2 * (math.pi * difference / period).sin().square().sum(-1) / inner**2).exp()
    return wave if kind == "periodic" else wave * (-0.5 * square).exp()


def make_kernel(
    name: str,
    components: int = 1,
    *,
    variance: float = 1.0,
    length: float = 0.25,
    noise: float | None = None,
    **more: float,
) -> Kernel:
    """A kernel by name: one of `KINDS`, with "noisy-" (5 % of the variance is white) or
    "short-" (a tenth of the length) before it.

    Raises
    ------
    UnknownNameError
        for another name.
    """
    match = re.fullmatch(r"(noisy-|short-)?(.+)", name)
    prefix, kind = (match[1] or "", match[2]) if match else ("", name)
    if kind not in KINDS:
        raise UnknownNameError("kernel", name, KINDS)
    if kind == "white":
        return Kernel((), components=components, noise=variance)
    if prefix == "noisy-":
        variance, noise = variance * (1 - NOISY_SHARE), variance * NOISY_SHARE
    length = length * (SHORT if prefix == "short-" else 1.0)
    return Kernel(
        (kind,), components=components, variance=variance, length=length, noise=noise or 0.0, **more
    )


def fitted_family(
    components: int,
    dimension: int,
    span: float,
    spacing: float,  # noqa: ARG001 - callers give `period` by place
    period: float | None = None,
) -> Kernel:
    """The kernel that `fit_kernel` starts from: general enough for most stationary
    data.

    Scalars: two squared exponentials, a Matern-5/2 and, in one dimension, two spectral
    terms and, with the `period` that the data shows most of, a weakly periodic one;
    vectors: squared exponential, curl-free and div-free terms of two lengths each
    (every isotropic field is such a mixture, by Helmholtz).
    """
    if components > 1:
        kinds = ["se", "curl-free", "div-free"] * 2
        lengths = [span / 10] * 3 + [span / 3] * 3
        return Kernel(
            kinds, components=components, variance=1 / len(kinds), length=lengths, noise=0.01
        )
    kinds, lengths, periods = ["se", "se", "matern52"], [span / 10, span / 30, span / 16], [1.0] * 3
    if dimension == 1:
        kinds, lengths, periods = (
            kinds + ["spectral"] * 2,
            lengths + [span / 8] * 2,
            [*periods, span / 4, span / 12],
        )
        if period is not None:
            kinds, lengths, periods = (
                [*kinds, "weakly-periodic"],
                [*lengths, span / 8],
                [*periods, period],
            )
    return Kernel(kinds, variance=1 / len(kinds), length=lengths, period=periods, noise=0.01)


def main_period(x: Tensor, y: Tensor, span: float, spacing: float) -> float | None:
    """The period with the highest peak of power in functions (F, n, 1), among those
    from half the span to one and a half spacings.
    """
    frequencies = torch.linspace(
        2 / span, 1 / (1.5 * spacing), 400, dtype=torch.float64, device=x.device
    )
    phase = 2 * math.pi * x[:256] * frequencies
    power = (
        (y[:256] * phase.cos()).sum(1).square() + (y[:256] * phase.sin()).sum(1).square()
    ).mean(0)
    # a peak: smooth functions have most power at the lowest frequencies, without one
    around = torch.nn.functional.max_pool1d(power[None, None], 41, stride=1, padding=20)[0, 0]
    peaks = torch.where(power == around, power, 0.0).clone()
    peaks[:20] = 0
    return 1.0 / float(frequencies[peaks.argmax()]) if bool(peaks.any()) else None


def fit_kernel(  # noqa: PLR0913 - data and settings, by name
    kernel: Kernel,
    x: Tensor,
    y: Tensor,
    mask: Tensor | None = None,
    *,
    steps: int = 250,
    batch: int = 16,
    seed: int = 0,
    noise_floor: float = 1e-5,
    share: Tensor | None = None,
) -> float:
    """Fit a kernel's parameters in place by maximum marginal likelihood; returns the
    last log-likelihood per value.

    Parameters
    ----------
    x, y, mask : Tensor, shape (F, n, d), (F, n, p) and (F, n)
        Functions; the values should have a variance near 1. No mask: all are known.
    share : Tensor, shape (F,), or None
        What each function counts; 1 if not given.
    noise_floor : float
        Least variance of the white part, which keeps Gram matrices regular.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    weights = torch.ones(len(x), device=x.device) if share is None else share
    parameters = list(kernel.parameters())
    optimiser = torch.optim.Adam([p.requires_grad_() for p in parameters], lr=FIT_RATE)
    value = -math.inf
    for step in range(steps):
        for group in optimiser.param_groups:
            wave = 0.5 * (1 + math.cos(math.pi * step / steps))
            group["lr"] = FIT_RATE * (0.02 + 0.98 * wave)
        pick = torch.multinomial(weights, min(batch, len(x)), True, generator=generator)
        chosen = None if mask is None else mask[pick]
        loss = _negative_likelihood(kernel, x[pick].double(), y[pick].double(), chosen)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        if all(bool(torch.isfinite(p.grad).all()) for p in parameters if p.grad is not None):
            optimiser.step()
        with torch.no_grad():
            kernel.log_noise.clamp_(min=math.log(noise_floor))
            kernel.log_variance.clamp_(min=LEAST_LOG_VARIANCE)
        value = -float(loss.detach())
    for p in parameters:
        p.requires_grad_(False)
        p.grad = None
    return value


def _negative_likelihood(kernel: Kernel, x: Tensor, y: Tensor, mask: Tensor | None) -> Tensor:
    """Minus the log-likelihood per known value of functions (F, n, p)."""
    count = y.numel() if mask is None else float(mask.sum()) * y.shape[-1]
    return -kernel.gram(x, mask).log_prob(y).sum() / count
