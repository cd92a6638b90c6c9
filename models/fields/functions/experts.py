"""A learned mixture of Gaussian processes: the exact score of data that is of several
kinds, or periodic with unknown periods.

A network of zeros then is the score of this mixture instead of the limiting GP's. With
a white limiting kernel the noised density is known in closed form, p_t(y) = sum_j w_j
N(y; 0, alpha^2 K_j + std^2 I); its gradient is the score. The harmonic expert is a GP
of H harmonics of a fundamental frequency f that each function draws for itself; f is
integrated over numerically, on a grid of cells that is refined around the best of them
until the spacing is below the width that the noise leaves to the peak.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.fields.functions.gram import Gram
from equidrift.models.fields.functions.kernels import Kernel, fit_kernel

HARMONICS = 20
REFINED, ZOOMS, FINE = (
    4,
    4,
    33,
)  # cells looked into, steps of the search inside, points of the final sum
COARSE = 0.2  # noise above which the grid of cells is fine enough by itself
NOISE_FLOOR = 1e-5  # least variance of the white part of an expert; values have variance 1


class Experts(nn.Module):
    """Mixture of kernels and, where `span` is given, of one harmonic expert, for scalar
    fields on a line.

    Parameters
    ----------
    kernels : sequence of Kernel
        The stationary experts.
    span : float or None
        Largest extent of a function; None leaves the harmonic expert out.
    band : (float, float)
        Lowest and highest fundamental frequency.
    """

    def __init__(
        self,
        kernels: Sequence[Kernel],
        span: float | None = None,
        band: tuple[float, float] = (1.0, 2.0),
    ):
        super().__init__()
        if span is not None and not (span > 0 and 0 < band[0] < band[1]):
            raise InputError(
                "the harmonic expert needs a positive span and frequencies 0 < low < high, not "
                f"{span} and {band}"
            )
        self.kernels, self.span = nn.ModuleList(kernels), span
        count = len(kernels) + (span is not None)
        self.log_weight = nn.Parameter(
            torch.full((count,), -math.log(count), dtype=torch.float64), requires_grad=False
        )
        power = torch.arange(1, HARMONICS + 1, dtype=torch.float64) ** -2.0
        self.log_power = nn.Parameter(
            (power / power.sum()).log(), requires_grad=False
        )  # variance of each harmonic
        self.log_offset = nn.Parameter(
            torch.tensor(1e-4, dtype=torch.float64).log(), requires_grad=False
        )  # of the constant part
        self.log_noise = nn.Parameter(
            torch.tensor(0.01, dtype=torch.float64).log(), requires_grad=False
        )
        self.band = nn.Parameter(torch.tensor(band, dtype=torch.float64), requires_grad=False)

    def config(self) -> dict[str, object]:
        """What rebuilds the module; the parameters come with the weights."""
        return {"kernels": [list(kernel.kinds) for kernel in self.stationary], "span": self.span}

    @property
    def stationary(self) -> list[Kernel]:
        """The kernels, the harmonic expert left out."""
        return cast(list[Kernel], list(self.kernels))

    @classmethod
    def of(cls, config: dict[str, object]) -> Experts:
        """The module of a card's configuration."""
        return cls([Kernel(kinds, noise=1.0) for kinds in config["kernels"]], config["span"])  # type: ignore[arg-type, attr-defined]

    def parts(
        self, x: Tensor, y: Tensor, mask: Tensor, alpha: Tensor, std: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """(log density (B, experts) of noised fields under each expert, fundamental
        frequencies (B,) of the harmonic one).

        x (1, n, 1) and mask (1, n) are shared by the fields y (B, n, 1), as are alpha
        and std (1, 1, 1); all float64.
        """
        a2, s2 = alpha.square(), std.square()
        unit = torch.eye(x.shape[1], dtype=y.dtype, device=y.device)
        matrices = [kernel.gram(x, mask).dense for kernel in self.stationary]
        logs = [
            Gram(a2 * matrix + s2 * unit, 1.0, x.shape[1], 1, mask).log_prob(y)
            for matrix in matrices
        ]
        if self.span is None:
            return torch.stack(logs, -1), None
        harmonic, frequency = self._harmonic(x, y, mask, a2[:, 0, 0], s2[:, 0, 0])
        return torch.stack([*logs, harmonic], -1), frequency

    def log_prob(self, x: Tensor, y: Tensor, mask: Tensor, alpha: Tensor, std: Tensor) -> Tensor:
        """log p_t(y) (B,) of fields (B, n, 1) at points (B, n, 1), with masks (B, n),
        factors alpha and std (B, 1, 1).
        """
        everything = x, mask, alpha, std
        if all(bool((u == u[:1]).all()) for u in everything):  # one set of Gram matrices for all
            x, mask, alpha, std = (u[:1] for u in everything)
            return (self.parts(x, y, mask, alpha, std)[0] + self.log_weight).logsumexp(-1)
        rows = [torch.split(u, 1) for u in (x, y, mask, alpha, std)]
        return torch.cat(
            [
                (self.parts(*row)[0] + self.log_weight).logsumexp(-1)
                for row in zip(*rows, strict=True)
            ]
        )

    def score(self, x: Tensor, y: Tensor, mask: Tensor, alpha: Tensor, std: Tensor) -> Tensor:
        """grad_y log p_t(y) (B, n, 1); arguments as `log_prob`."""
        with torch.enable_grad():
            further = y.requires_grad  # the divergence is wanted as well
            y = y if further else y.detach().requires_grad_()
            found = torch.autograd.grad(
                self.log_prob(x, y, mask, alpha, std).sum(), y, create_graph=further
            )[0]
        return found if further else found.detach()

    def _harmonic(
        self, x: Tensor, y: Tensor, mask: Tensor, a2: Tensor, s2: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(log of the integral of p(f) p_t(y | f) (B,), best f (B,)); to a nat where
        there are fewer values than waves and no noise.
        """
        span = float(self.span or 1.0)
        low, high = (float(v) for v in self.band)
        cells = max(2, math.ceil((high - low) * 8 * HARMONICS * span))
        width = (high - low) / cells
        cell = torch.arange(cells, dtype=torch.float64, device=x.device)
        grid = low + width * (cell + 0.5)
        noise = s2 + a2 * self.log_noise.exp()
        coarse = torch.cat(
            [self._given(part[None], x, y, mask, a2, noise) for part in torch.split(grid, 256)], 1
        )  # (B, cells)
        if float(noise) > COARSE**2:  # peaks are broader than cells
            return coarse.logsumexp(1) - math.log(cells), grid[coarse.argmax(1)]
        # spacing of the last sum: the change of f that moves the highest harmonic by one noise
        # level over the span
        fine = min(float(noise.sqrt()) / (2 * math.pi * HARMONICS * span), width / (FINE - 1))
        top = coarse.topk(min(REFINED, cells), 1).indices

        def given(f: Tensor) -> Tensor:
            return self._given(f, x, y, mask, a2, noise)

        points, foreign = self._refined(grid[top], width, fine, given)
        inside = given(points).masked_fill(foreign, -math.inf)
        best = points.gather(1, inside.argmax(1, keepdim=True))[:, 0]
        rest = coarse.scatter(1, top, -math.inf)
        total = torch.cat([rest + math.log(width), inside + math.log(fine)], 1).logsumexp(1)
        return total - math.log(high - low), best

    @staticmethod
    @torch.no_grad()
    def _refined(
        cells: Tensor, width: float, fine: float, given: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Frequencies (B, P) `fine` apart around the peaks of cells (B, k) of a width, and
        which of them (B, P) are the next cell's, which may be looked into too.
        """
        device = cells.device
        shrink = (fine * (FINE // 2) / (0.5 * width)) ** (1 / ZOOMS)
        centre, half = cells, 0.5 * width
        for _ in range(ZOOMS if shrink < 1 else 0):
            trial = centre[..., None] + half * torch.linspace(
                -1, 1, 9, dtype=torch.float64, device=device
            )
            value = given(trial.flatten(1)).reshape(trial.shape)
            centre = trial.gather(-1, value.argmax(-1, keepdim=True))[..., 0]
            half = half * shrink
        around = fine * torch.arange(
            -(FINE // 2), FINE // 2 + 1, dtype=torch.float64, device=device
        )
        points = (centre[..., None] + around).flatten(1)
        return points, (points - cells.repeat_interleave(FINE, 1)).abs() > 0.5 * width

    def _design(self, f: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(scaled waves (B, P, n, K), their products (B, P, K, K), roots of their
        variances (K,)) at frequencies f (B, P); K = 2 H + 1.
        """
        phase = 2 * math.pi * f[..., None] * x[:, None, :, 0]
        cosine, sine = [phase.cos()], [phase.sin()]
        for _ in range(
            1, HARMONICS
        ):  # by addition theorems: trigonometric functions would take most of the time
            c, s = cosine[-1], sine[-1]
            cosine.append(c * cosine[0] - s * sine[0])
            sine.append(s * cosine[0] + c * sine[0])
        root = torch.cat(
            [0.5 * self.log_power, 0.5 * self.log_power, 0.5 * self.log_offset[None]]
        ).exp()
        waves = (
            torch.stack([*cosine, *sine, torch.ones_like(phase)], -1)
            * root
            * mask[:, None, :, None]
        )
        return waves, waves.mT @ waves, root

    def _given(
        self, f: Tensor, x: Tensor, y: Tensor, mask: Tensor, a2: Tensor, noise: Tensor
    ) -> Tensor:
        """log N(y; 0, a2 Phi W Phi^T + noise I) (B, P) at frequencies f (1 or B, P)."""
        keep = mask.double()
        waves, product, _ = self._design(f, x, keep)
        unit = torch.eye(2 * HARMONICS + 1, dtype=torch.float64, device=x.device)
        ratio = a2 / noise
        factor = torch.linalg.cholesky(unit + ratio * product)
        known = y[..., 0] * keep
        if len(factor) == 1:  # the same points and frequencies for every field
            heard = torch.einsum("pnk,bn->pkb", waves[0], known)
            solved = torch.linalg.solve_triangular(factor[0], heard, upper=False).square().sum(1).T
        else:
            heard = (waves.mT @ known[:, None, :, None]).expand(*factor.shape[:-1], 1)
            solved = (
                torch.linalg.solve_triangular(factor, heard, upper=False)[..., 0].square().sum(-1)
            )
        count = keep.sum(-1)[:, None]
        quadratic = (known.square().sum(-1)[:, None] - ratio * solved) / noise
        logs = (
            2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            + count * (2 * math.pi * noise).log()
        )
        out: Tensor = -0.5 * (quadratic + logs)
        return out

    def amplitudes(self, f: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Mean squares (B, 2 H + 1) of the waves' amplitudes given fields (B, n, 1) and
        f (B,).
        """
        keep = mask.double()
        waves, product, root = (
            u[:, 0] if u.ndim == 4 else u for u in self._design(f[:, None], x, keep)
        )
        noise = self.log_noise.exp()
        covariance = torch.linalg.inv(
            torch.eye(2 * HARMONICS + 1, dtype=torch.float64, device=x.device) + product / noise
        )
        mean = (covariance @ waves.mT @ (y * keep[..., None]))[..., 0] / noise
        out: Tensor = (mean.square() + covariance.diagonal(dim1=1, dim2=2)) * root.square()
        return out

    def quieter(self, f: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """The variance of the noise under which fields (B, n, 1) of frequencies f (B,)
        are most likely, down to `NOISE_FLOOR`.

        A field that a candidate makes less likely than the present noise does keeps
        that one: it may be one whose frequency was missed.
        """
        one = torch.ones(1, dtype=torch.float64, device=x.device)
        noise = self.log_noise.exp()
        trials = [(noise / 2**k).clamp(min=NOISE_FLOOR)[None] for k in range(11)]
        logs = torch.stack(
            [self._given(f[:, None], x, y, mask, one, trial)[:, 0] for trial in trials]
        )
        return torch.cat(trials)[torch.logaddexp(logs, logs[:1]).sum(1).argmax()]


def expert_family(span: float, spacing: float, period: float | None) -> Experts:
    """The mixture that `fit_experts` starts from: smooth, rough and weakly periodic
    functions, and periodic ones of any frequency.
    """
    kernels = [Kernel([kind], length=span / 16, noise=0.01) for kind in ("se", "matern52")]
    if period is not None:
        kernels.append(Kernel(["weakly-periodic"], length=span / 8, period=period, noise=0.01))
    return Experts(kernels, span, (2 / span, 1 / (1.5 * spacing)))


def fit_experts(
    experts: Experts,
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    *,
    rounds: int = 8,
    functions: int = 128,
    seed: int = 0,
) -> float:
    """Expectation maximisation in place on functions (F, n, 1) of variance 1; returns
    the last log-likelihood per value.

    The kernels take gradient steps on their share of the likelihood, the harmonic
    expert has its updates in closed form.
    """
    x, y, mask = (u[:functions] for u in (x.double(), y.double(), mask))
    value = -math.inf
    for turn in range(rounds):
        value, share = _expectation(experts, x, y, mask)
        for k, kernel in enumerate(experts.stationary):
            if float(share[:, k].sum()) < 1:  # no function is its own
                continue
            own, steps = share[:, k] + 1e-9, 40 if turn else 80
            fit_kernel(kernel, x, y, mask, share=own, steps=steps, seed=seed + turn)
    return value


@torch.no_grad()
def _expectation(experts: Experts, x: Tensor, y: Tensor, mask: Tensor) -> tuple[float, Tensor]:
    """(log-likelihood per value, each expert's share (F, k) of each function); weights
    and the harmonic expert take their new values.
    """
    one = torch.ones(1, 1, 1, dtype=torch.float64, device=x.device)
    singles = zip(torch.split(x, 1), torch.split(y, 1), torch.split(mask, 1), strict=True)
    rows = [experts.parts(*single, one, 0 * one) for single in singles]
    logs = torch.cat([row[0] for row in rows]) + experts.log_weight
    share = (logs - logs.logsumexp(-1, keepdim=True)).exp()
    experts.log_weight.copy_((share.mean(0) + 1e-3).log().log_softmax(-1))
    if experts.span is not None:
        frequencies = torch.cat([row[1] for row in rows if row[1] is not None])
        _update_harmonic(experts, frequencies, x, y, mask, share[:, -1])
    return float(logs.logsumexp(-1).sum() / mask.sum()), share


def _update_harmonic(
    experts: Experts, f: Tensor, x: Tensor, y: Tensor, mask: Tensor, share: Tensor
) -> None:
    if float(share.max()) < 0.5:  # no function is its own
        return
    own = share > 0.5
    square = share[own] / share[own].sum() @ experts.amplitudes(f[own], x[own], y[own], mask[own])
    experts.log_power.copy_(
        (0.5 * (square[:HARMONICS] + square[HARMONICS:-1])).clamp(min=1e-9).log()
    )
    experts.log_offset.copy_(square[-1].clamp(min=1e-9).log())
    experts.log_noise.copy_(experts.quieter(f[own], x[own], y[own], mask[own]).log())
    # quantiles: a function whose frequency was missed, by a half or a third, would spoil
    # extremes; wide margins, for a function beyond the band has no density to speak of
    low, high = (float(v) for v in torch.quantile(f[own], f.new_tensor([0.02, 0.98])))
    margin = (high - low) * max(0.1, 4 / int(own.sum())) + 1e-3 * high
    band = [max(low - margin, 0.5 * low), high + margin]
    experts.band.copy_(torch.tensor(band, device=experts.band.device))
