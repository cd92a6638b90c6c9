"""Equivariant kernels, and the Gram matrices they give (arXiv:2307.05431, kernels):
k(gx, gx') = rho(g) k(x, x') rho(g)^T.

A kernel is a sum of terms and a white part; it is a module, so that its logarithmic
parameters can be fitted by maximum marginal likelihood (`fit_kernel`) and saved with a
model's weights. A `Gram` knows when its matrix is a multiple of the unit matrix and
then never builds one.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equidrift.errors import InputError, UnknownNameError

SCALAR = ("se", "matern12", "matern32", "matern52", "periodic", "weakly-periodic", "spectral")
VECTOR = ("se", "curl-free", "div-free")
KINDS = tuple(dict.fromkeys(("white", *SCALAR, *VECTOR)))
JITTER_STEPS = (
    0.0,
    1e-8,
    1e-6,
    1e-5,
    1e-4,
    1e-3,
)  # shares of the variance; above the last one a Gram matrix is called singular
QUIET_JITTER = 1e-6
NOISY_SHARE, SHORT = 0.05, 0.1


class JitterWarning(UserWarning):
    """More than 1e-6 of the variance was added to the diagonal of a Gram matrix."""


class Kernel(nn.Module):
    """Sum of terms `kinds` plus white noise, with p components of the values.

    Parameters
    ----------
    kinds : names of `SCALAR` (p = 1, or the same for each component) or of `VECTOR` (p
        = dimension of the points).
    variance, length, period : of each term; `period` is that of the periodic kinds and
        of the cosine of "spectral".
    inner : length scale of the periodic factor, on the scale of its argument.
    noise : variance of the white part.
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
        self.log_variance: nn.Parameter
        self.log_length: nn.Parameter
        self.log_period: nn.Parameter
        for kind in kinds:
            if kind not in KINDS or kind == "white":
                raise UnknownNameError("kernel", kind, KINDS)
        self.kinds, self.components = tuple(kinds), components
        for name, value in (
            ("log_variance", variance),
            ("log_length", length),
            ("log_period", period),
        ):
            values = (
                [float(value)] * len(kinds)
                if isinstance(value, int | float)
                else [float(v) for v in value]
            )
            if len(values) != len(kinds) or any(v <= 0 for v in values):
                raise InputError(
                    f"{name[4:]} must be positive, one for each of {list(kinds)}, not {value}"
                )
            setattr(
                self,
                name,
                nn.Parameter(torch.tensor(values, dtype=torch.float64).log(), requires_grad=False),
            )
        if noise < 0 or (not kinds and noise == 0):
            raise InputError(
                f"the white part of a kernel must be positive where there is nothing else, and never negative, not {noise}"
            )
        self.log_inner = nn.Parameter(
            torch.tensor(inner, dtype=torch.float64).log(), requires_grad=False
        )
        self.log_noise = nn.Parameter(
            torch.tensor(max(noise, 1e-30), dtype=torch.float64).log(), requires_grad=False
        )

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
            for kind, v in zip(self.kinds, self.log_variance.exp())
        ]
        return self.noise + sum(shares, start=torch.zeros((), dtype=torch.float64))

    def config(self) -> dict[str, object]:
        """What rebuilds the module; the parameters come with the weights."""
        return {"kinds": list(self.kinds), "components": self.components}

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        """Smooth part of the covariance of points x (B, n, d) and z (B, m, d): (B, n,
        p, m, p).
        """
        difference = x[:, :, None] - z[:, None]
        p, d = self.components, x.shape[-1]
        unit = torch.eye(p, dtype=x.dtype)
        total = x.new_zeros(*difference.shape[:3], p, p)
        # rounding: parameters are float64, points may be float32
        scale = [
            t.to(x.dtype)
            for t in (self.log_variance.exp(), self.log_length.exp(), self.log_period.exp())
        ]
        for kind, v, length, period in zip(self.kinds, *scale):
            if kind in ("curl-free", "div-free"):
                if p != d:
                    raise InputError(
                        f"the {kind} kernel is for fields of {d} components in {d} dimensions, not {p} components"
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
            return Gram(None, float(self.noise.detach()), n, p, mask)
        total = self.variance.to(x.dtype)
        size = n * p
        matrix = self.between(x, x).reshape(b, size, size) + self.noise.to(x.dtype) * torch.eye(
            size, dtype=x.dtype
        )
        if mask is not None:
            keep = mask[:, :, None].expand(b, n, p).reshape(b, size).to(x.dtype)
            matrix = matrix * keep[:, :, None] * keep[:, None] + torch.diag_embed(
                (1 - keep) * total
            )
        return Gram(matrix, float(total.detach()), n, p, mask)


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


class Gram:
    """Gram matrix of n points with p components: a dense matrix (B or 1, n p, n p), or
    a multiple of the unit matrix.

    Fields are (B, n, p); a Gram of batch 1 serves every one of them.
    """

    def __init__(
        self, matrix: Tensor | None, variance: float, n: int, p: int, mask: Tensor | None = None
    ):
        self.matrix, self.variance, self.n, self.p, self.mask = matrix, variance, n, p, mask
        self.jitter = 0.0
        self._factor: Tensor | None = None
        self._root: Tensor | None = None
        self._weights: tuple[Tensor, Tensor] | None = None  # of the last `free` in `project`

    @property
    def factor(self) -> Tensor:
        """Lower Cholesky factor, with as little jitter as it takes.

        Raises
        ------
        InputError
            where 1e-3 of the variance is not enough; `JitterWarning` reports more than
            1e-6.
        """
        if self._factor is None:
            self._factor, self.jitter = _cholesky(self.dense, self.variance)
        return self._factor

    @property
    def dense(self) -> Tensor:
        """The matrix, built where it is a multiple of the unit matrix."""
        return (
            self.variance * torch.eye(self.n * self.p, dtype=torch.float64)[None]
            if self.matrix is None
            else self.matrix
        )

    def _apply(self, matrix: Tensor, y: Tensor) -> Tensor:
        flat = y.reshape(y.shape[0], -1)
        flat = flat @ matrix[0].T if len(matrix) == 1 else (matrix @ flat[..., None])[..., 0]
        return flat.reshape(y.shape)

    def mul(self, y: Tensor) -> Tensor:
        """K y."""
        return self.variance * y if self.matrix is None else self._apply(self.matrix, y)

    def root(self, z: Tensor) -> Tensor:
        """S z with S S^T = K: S is the Cholesky factor for scalars, the symmetric root
        for vectors, which turns with the frame.
        """
        if self.matrix is None:
            return math.sqrt(self.variance) * z
        if self.p == 1:
            return self._apply(self.factor, z)
        if self._root is None:
            self._root = _symmetric_root(self.matrix, self.variance)
        return self._apply(self._root, z)

    def root_cheap(self, z: Tensor) -> Tensor:
        """S z by the Cholesky factor, for training, where only the distribution counts."""
        return math.sqrt(self.variance) * z if self.matrix is None else self._apply(self.factor, z)

    def solve_root(self, y: Tensor, transposed: bool = False) -> Tensor:
        """S^-1 y or S^-T y, with the Cholesky factor S."""
        if self.matrix is None:
            return y / math.sqrt(self.variance)
        factor = self.factor.expand(len(y), -1, -1) if len(self.factor) != len(y) else self.factor
        flat = y.reshape(len(y), -1, 1)
        solved = torch.linalg.solve_triangular(
            factor.mT if transposed else factor, flat, upper=transposed
        )
        return solved.reshape(y.shape)

    def solve(self, y: Tensor) -> Tensor:
        """K^-1 y."""
        if self.matrix is None:
            return y / self.variance
        if len(self.factor) == 1:
            flat = y.reshape(len(y), -1)
            return torch.cholesky_solve(flat.T, self.factor[0]).T.reshape(y.shape)
        return torch.cholesky_solve(y.reshape(len(y), -1, 1), self.factor).reshape(y.shape)

    def log_prob(self, y: Tensor) -> Tensor:
        """log N(y; 0, K) of fields (B, n, p), over the points that are not masked."""
        keep = (
            torch.ones(y.shape[:2], dtype=y.dtype)
            if self.mask is None
            else self.mask.to(y.dtype).expand(y.shape[:2])
        )
        y = y * keep[..., None]
        count = keep.sum(-1) * self.p
        if self.matrix is None:
            return -0.5 * (
                y.square().sum((1, 2)) / self.variance
                + count * math.log(2 * math.pi * self.variance)
            )
        flat = keep[..., None].expand(*keep.shape, self.p).reshape(len(y), -1)
        logs = (self.factor.diagonal(dim1=1, dim2=2).log() * flat).sum(-1)
        return (
            -0.5 * self.solve_root(y).square().sum((1, 2))
            - logs
            - 0.5 * count * math.log(2 * math.pi)
        )

    def project(self, v: Tensor, free: Tensor) -> Tensor:
        """v_free - K_fk K_kk^-1 v_known at free points, 0 at known ones; free: bool
        (n,).

        Applied to K grad log p it gives G grad_free log p, and to a draw of N(0, K) one
        of N(0, G), where G is the covariance that the limiting GP leaves to the free
        points: the natural metric of their Langevin dynamics.
        """
        spread = free[None, :, None].expand(1, self.n, self.p)
        if self.matrix is None or bool(free.all()):
            return torch.where(spread, v, torch.zeros_like(v))
        flat = spread.reshape(-1)
        if len(self.matrix) != 1:
            raise InputError(
                f"conditioning needs all samples at the same points, not {len(self.matrix)} sets of points"
            )
        matrix = self.matrix[0]
        if self._weights is None or not torch.equal(self._weights[0], flat):
            factor, _ = _cholesky(matrix[~flat][:, ~flat][None], self.variance)
            self._weights = flat, torch.cholesky_solve(matrix[~flat][:, flat], factor[0])
        carried = v.reshape(len(v), -1)[:, ~flat] @ self._weights[1]
        out = torch.zeros_like(v).reshape(len(v), -1)
        out[:, flat] = v.reshape(len(v), -1)[:, flat] - carried
        return out.reshape(v.shape)


def _cholesky(matrix: Tensor, variance: float) -> tuple[Tensor, float]:
    """(factor, jitter as a share of the variance)."""
    unit = torch.eye(matrix.shape[-1], dtype=matrix.dtype)
    for share in JITTER_STEPS:
        factor, info = torch.linalg.cholesky_ex(matrix + share * variance * unit)
        if not bool(info.any()):
            if share > QUIET_JITTER:
                warnings.warn(
                    f"the Gram matrix of {matrix.shape[-1]} values is nearly singular: a jitter of {share:.0e} of the variance was added; "
                    "give the kernel a white part (noise=) or move points apart",
                    JitterWarning,
                    stacklevel=3,
                )
            return factor, share
    raise InputError(
        f"the Gram matrix of {matrix.shape[-1]} values is singular, even with a jitter of 1e-3 of the variance: "
        "points coincide or hold NaN; give each point once, or a kernel with a white part (noise=)"
    )


def _symmetric_root(matrix: Tensor, variance: float) -> Tensor:
    """K^1/2 by eigenvalues; those below zero by more than rounding are an error."""
    values, vectors = torch.linalg.eigh(matrix)
    if not bool(torch.isfinite(values).all()) or float(values.min()) < -1e-3 * variance:
        least = f"{float(values.min()):.2e}"
        raise InputError(
            f"the Gram matrix is not positive (smallest eigenvalue {least}); check the points for NaN and repeats"
        )
    return (vectors * values.clamp(min=0).sqrt()[:, None]) @ vectors.mT


def fitted_family(
    components: int, dimension: int, span: float, spacing: float, period: float | None = None
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
    frequencies = torch.linspace(2 / span, 1 / (1.5 * spacing), 400, dtype=torch.float64)
    phase = 2 * math.pi * x[:256] * frequencies
    power = (
        (y[:256] * phase.cos()).sum(1).square() + (y[:256] * phase.sin()).sum(1).square()
    ).mean(0)
    # a peak: smooth functions have most power at the lowest frequencies, without one
    around = torch.nn.functional.max_pool1d(power[None, None], 41, stride=1, padding=20)[0, 0]
    peaks = torch.where(power == around, power, torch.zeros(())).clone()
    peaks[:20] = 0
    return 1.0 / float(frequencies[peaks.argmax()]) if bool(peaks.any()) else None


def fit_kernel(
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
    x, y, mask : (F, n, d), (F, n, p), (F, n) functions; the values should have a
        variance near 1.
    share : (F,) what each function counts; 1 where not given.
    noise_floor : least variance of the white part, which keeps Gram matrices regular.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = x.double(), y.double()
    parameters = [
        kernel.log_variance,
        kernel.log_length,
        kernel.log_period,
        kernel.log_inner,
        kernel.log_noise,
    ]
    optimiser = torch.optim.Adam([p.requires_grad_() for p in parameters], lr=0.05)
    value = -math.inf
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        pick = torch.multinomial(
            torch.ones(len(x)) if share is None else share,
            min(batch, len(x)),
            True,
            generator=generator,
        )
        chosen = None if mask is None else mask[pick]
        count = y[pick].numel() if chosen is None else float(chosen.sum()) * y.shape[-1]
        optimiser.zero_grad()
        loss = -kernel.gram(x[pick], chosen).log_prob(y[pick]).sum() / count
        loss.backward()
        if all(bool(torch.isfinite(p.grad).all()) for p in parameters if p.grad is not None):
            optimiser.step()
        with torch.no_grad():
            kernel.log_noise.clamp_(min=math.log(noise_floor))
            kernel.log_variance.clamp_(min=-20.0)
        value = -float(loss.detach())
    for p in parameters:
        p.requires_grad_(False)
        p.grad = None
    return value
