"""Ornstein-Uhlenbeck noising towards a GP, the score parametrisations, and the loss
(arXiv:2307.05431, noising and score).

The one form of score that everything here hands on is the preconditioned one, K grad
log p: it needs no solve in the SDE, in the ODE and in Langevin dynamics, and it is
minus the field itself where the data is the limiting GP.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.fields.functions.experts import Experts
from equidrift.models.fields.functions.gram import Gram
from equidrift.models.fields.functions.kernels import Kernel
from equidrift.models.fields.functions.network import NetworkConfig, NoNetwork, make_network
from equidrift.models.shared.devices import short_products

Parametrisation = Literal["none", "preconditioned-s", "preconditioned-k", "y0"]
PARAMETRISATIONS = ("none", "preconditioned-s", "preconditioned-k", "y0")
STD_FLOOR = 1e-3


@dataclass(frozen=True)
class LinearBeta:
    """beta(t) linear from beta0 at t0 to beta1 at 1."""

    t0: float = 5e-4
    beta0: float = 0.0
    beta1: float = 10.0

    def beta(self, t: float) -> float:
        """Rate at time t."""
        return self.beta0 + (self.beta1 - self.beta0) * (t - self.t0) / (1 - self.t0)

    def integral(self, t: Tensor) -> Tensor:
        """B(t), 0 up to t0."""
        u = ((t - self.t0) / (1 - self.t0)).clamp(min=0)
        return (1 - self.t0) * (self.beta0 * u + 0.5 * (self.beta1 - self.beta0) * u.square())

    def _integral_at(self, t: float) -> float:
        return float(self.integral(torch.tensor(t, dtype=torch.float64, device="cpu")))

    def alpha(self, t: float) -> float:
        """exp(-B/2), the factor of the clean field."""
        return math.exp(-0.5 * self._integral_at(t))

    def std(self, t: float) -> float:
        """sqrt(1 - exp(-B)), the factor of the noise."""
        return math.sqrt(-math.expm1(-self._integral_at(t)))

    def time_of(self, std: Tensor) -> Tensor:
        """The time at which the noise has that factor."""
        total = -torch.log1p(-std.square()) / (1 - self.t0)
        slope = self.beta1 - self.beta0
        u = (-self.beta0 + (self.beta0**2 + 2 * slope * total).sqrt()) / slope
        return self.t0 + (1 - self.t0) * u

    def times(self, steps: int, last_std: float = 2e-3) -> list[float]:
        """steps + 1 times falling from 1, even in the log of std / alpha, down to the
        time of `last_std`.
        """
        high = math.log(self.std(1.0) / self.alpha(1.0))
        low = math.log(last_std / math.sqrt(1 - last_std**2))
        ratio = torch.linspace(high, low, steps + 1, dtype=torch.float64, device="cpu").exp()
        times = self.time_of(ratio / (1 + ratio.square()).sqrt())
        times[0] = 1.0
        return [float(t) for t in times]


class OUNoising:
    """`conditioning.Noising` towards the GP of a Gram matrix; scores are preconditioned
    (K grad log p), fields are (B, n, p).

    Parameters
    ----------
    gram : Gram
        Of all points, context and queries, the limiting kernel's.
    schedule : LinearBeta
        beta(t).
    noise_scaled : bool
        Whether Langevin steps are scaled by the noise's variance 1 - exp(-B). Where the
        limiting GP is far from the data (white, say) that is what keeps them stable;
        where it has been fitted to the data, steps need no scaling.
    """

    def __init__(self, gram: Gram, schedule: LinearBeta, noise_scaled: bool = True):
        self.gram, self.schedule, self.noise_scaled = gram, schedule, noise_scaled

    def prior(self, noise: Tensor) -> Tensor:
        """A draw of the limiting GP."""
        return self.gram.root(noise)

    def _decay(self, earlier: float, later: float) -> float:
        return self.schedule.alpha(later) / self.schedule.alpha(earlier)

    def transition(self, y: Tensor, earlier: float, later: float, noise: Tensor) -> Tensor:
        """Y_later | Y_earlier = y."""
        a = self._decay(earlier, later)
        return a * y + math.sqrt(1 - a * a) * self.gram.root(noise)

    def reverse(
        self, y: Tensor, t: float, to: float, score: Tensor, noise: Tensor | None
    ) -> Tensor:
        """One step by the mean of q(y_to | y_t, y_0 = posterior mean): exact for a
        limiting GP, and stable at every size.
        """
        alpha, std2 = self.schedule.alpha(t), self.schedule.std(t) ** 2
        clean = (y + std2 * score) / alpha
        alpha_to, std2_to = self.schedule.alpha(to), self.schedule.std(to) ** 2
        if noise is None:
            return alpha_to * clean + math.sqrt(std2_to / std2) * (y - alpha * clean)
        a = alpha / alpha_to
        rest = 1 - a * a
        y = alpha_to * rest / std2 * clean + a * std2_to / std2 * y
        return y + math.sqrt(rest) * self.gram.root(
            noise
        )  # the noise of the OU process: exact for the limiting GP

    def langevin(
        self, y: Tensor, t: float, step: float, score: Tensor, noise: Tensor, free: Tensor
    ) -> Tensor:
        """Langevin dynamics of the free points in the metric of the GP's conditional
        covariance (`Gram.project`).

        Without noise scaling the weights are those of an exact Ornstein-Uhlenbeck step,
        which hits a target that is the GP's conditional at any step size; with it they
        are Euler's, whose error is then a share step / 4 of the *noise's* variance and
        so vanishes towards the data. The paper writes K and K^1/2 of all points and keeps the
        queries, which is stationary at the *un*conditional law where K couples context
        and queries; hence the projection.
        """
        if self.noise_scaled:
            scale = self.schedule.std(t) ** 2
            drift, spread = 0.5 * step * scale, step * scale
        else:
            drift, spread = 1 - math.exp(-0.5 * step), -math.expm1(-step)
        move = drift * score + math.sqrt(spread) * self.gram.root(noise)
        return y + self.gram.project(move, free)


def preconditioned(
    output: Tensor,
    y: Tensor,
    std: Tensor,
    alpha: Tensor,
    gram: Gram,
    kind: Parametrisation,
    *,
    std_trick: bool,
    residual: bool,
) -> Tensor:
    """K grad log p_t(y) of a network's output f (B, n, p), by parametrisation; std,
    alpha: (B, 1, 1).

    The std trick divides f by std + 1e-3; the residual trick adds what makes f = 0 the
    score of the limiting GP.
    """
    if std_trick and kind != "y0":
        output = output / (std + STD_FLOOR)
    if kind == "y0":
        clean = output + alpha * y if residual else output
        return -(y - alpha * clean) / std.square()
    if kind == "none":
        output = gram.mul(output)
    elif kind == "preconditioned-s":
        output = gram.root_cheap(output)
    return output - y if residual else output


def denoising_loss(
    score: Tensor,
    z: Tensor,
    std: Tensor,
    alpha: Tensor,
    gram: Gram,
    kind: Parametrisation,
    mask: Tensor,
) -> Tensor:
    """Denoising score matching of a preconditioned score against noise z, in the metric
    of the parametrisation (arXiv:2307.05431, score).

    Mean over the known points, sum over components. K: |std s + S z|^2 with s = K grad
    log p; the others multiply by S^-1 or K^-1; y0: the error of the clean field, (std /
    alpha)^2 times that of K.
    """
    error = std * score + gram.root_cheap(z)
    if kind == "preconditioned-s":
        error = gram.solve_root(error)
    elif kind == "none":
        error = gram.solve(error)
    elif kind == "y0":
        error = error * std / alpha
    square = error.square().sum(-1) * mask
    return (square.sum(-1) / mask.sum(-1)).mean()


def draw_times(
    count: int, schedule: LinearBeta, generator: torch.Generator, late: float = 0.5
) -> Tensor:
    """Times (count,) on low-discrepancy grids: a share `late` even in log std, where
    the likelihood is made, the others even in t.
    """
    n_late = round(count * late)
    u = torch.rand(2, generator=generator, device=generator.device, dtype=torch.float64)
    even = ((u[0] + torch.arange(count - n_late, device=u.device)) / max(1, count - n_late)) % 1.0
    logs = ((u[1] + torch.arange(n_late, device=u.device)) / max(1, n_late)) % 1.0
    std = (math.log(STD_FLOOR) * logs).exp() * 0.995
    t = torch.cat([schedule.t0 + 1e-6 + (1 - schedule.t0 - 1e-6) * even, schedule.time_of(std)])
    return t[torch.randperm(count, generator=generator, device=generator.device)]


class AnalyticScore:
    """The exact preconditioned score where the data is itself a GP: a network's
    stand-in, and the optimum to be measured against.

    Called with (t, x, y): (B, n, p) and K grad log p_t(y) = -K (alpha^2 K_data + std^2
    K)^-1 y.
    """

    def __init__(self, data: Kernel, limit: Kernel, schedule: LinearBeta):
        self.data, self.limit, self.schedule = data, limit, schedule

    def at(self, x: Tensor) -> Callable[[Tensor, float], Tensor]:
        """The score at points x (1, n, d), factored once a time."""
        limit = self.limit.gram(x)
        data = self.data.gram(x)
        size = x.shape[1] * self.data.components
        unit = torch.eye(size, dtype=x.dtype, device=x.device)[None]
        k_limit = limit.matrix if limit.matrix is not None else limit.variance * unit
        k_data = data.matrix if data.matrix is not None else data.variance * unit

        def score(y: Tensor, t: float) -> Tensor:
            alpha, std = self.schedule.alpha(t), self.schedule.std(t)
            operator = torch.linalg.solve(
                alpha**2 * k_data + std**2 * k_limit, k_limit
            )  # (A^-1 K)^T = K A^-1
            out: Tensor = -(y.reshape(len(y), -1) @ operator[0]).reshape(y.shape)
            return out

        return score


class FieldDiffusion(nn.Module):
    """Limiting kernel and network as one model of the preconditioned score: what is
    trained, saved and sampled from.
    """

    def __init__(
        self,
        kernel: Kernel,
        config: NetworkConfig,
        schedule: LinearBeta | None = None,
        kind: Parametrisation = "preconditioned-k",
        std_trick: bool = True,
        residual: bool = True,
        experts: Experts | None = None,
    ):
        super().__init__()
        if kind not in PARAMETRISATIONS:
            raise UnknownNameError("parametrisation", kind, PARAMETRISATIONS)
        if experts is not None and (kernel.kinds or not residual or kind == "y0"):
            raise InputError(
                "experts go with a white limiting kernel, the residual trick, and a score for the "
                "network's output"
            )
        self.kernel, self.network, self.experts = kernel, make_network(config), experts
        self.schedule, self.kind, self.std_trick, self.residual = (
            schedule or LinearBeta(),
            kind,
            std_trick,
            residual,
        )

    @property
    def gaussian(self) -> bool:
        """Whether the model is the limiting GP itself: there is neither a network nor a
        mixture of experts.
        """
        return isinstance(self.network, NoNetwork) and self.experts is None

    def closed_log_prob(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor | None:
        """The log density (B,) where there is no network, so that it is known in closed
        form; else None.
        """
        if self.gaussian:
            return self.kernel.gram(x, mask).log_prob(y)
        if self.experts is None or not isinstance(self.network, NoNetwork):
            return None
        one = torch.ones(len(y), 1, 1, dtype=torch.float64, device=y.device)
        with torch.no_grad():
            return self.experts.log_prob(x.double(), y.double(), mask, one, 0 * one)

    def score(
        self, t: Tensor, x: Tensor, y: Tensor, mask: Tensor, gram: Gram, half: bool = False
    ) -> Tensor:
        """K grad log p_t(y) at times (B,), points (B, n, d), fields (B, n, p); `half`
        runs the network in bfloat16 where that is faster.
        """
        std, alpha = self.factors(t)
        with short_products(y.device, half):
            output = self.network(t.to(y.dtype), std[:, 0, 0].to(y.dtype), x, y, mask)
        found = preconditioned(
            output.to(y.dtype),
            y,
            std.to(y.dtype),
            alpha.to(y.dtype),
            gram,
            self.kind,
            std_trick=self.std_trick,
            residual=self.residual,
        )
        if self.experts is None:
            return found
        # in place of the limiting GP's score -y, the mixture's; std and the smallest noise of the
        # experts bound it
        return (
            found
            + y
            + gram.variance
            * self.experts.score(x.double(), y.double(), mask, alpha, std).to(y.dtype)
        )

    def factors(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(std, alpha) of the noise and of the clean field at times (B,): (B, 1, 1)
        each.
        """
        integral = self.schedule.integral(t.double())[:, None, None]
        return (-torch.expm1(-integral)).sqrt(), (-0.5 * integral).exp()

    def loss(
        self, x: Tensor, y: Tensor, mask: Tensor, generator: torch.Generator, half: bool = True
    ) -> Tensor:
        """Denoising score matching of a batch of functions."""
        t = draw_times(len(x), self.schedule, generator).to(y.device)
        std, alpha = (u.to(y.dtype) for u in self.factors(t))
        gram = self.kernel.gram(x, mask)
        z = torch.randn(y.shape, generator=generator, device=generator.device, dtype=y.dtype).to(y)
        noisy = (alpha * y + std * gram.root_cheap(z)) * mask[..., None]
        score = self.score(t, x, noisy, mask, gram, half)
        return denoising_loss(score, z, std, alpha, gram, self.kind, mask.to(y.dtype))
