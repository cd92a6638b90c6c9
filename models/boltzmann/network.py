"""The flow: uniform angles and normal numbers <-> internal coordinates, smooth, with a
closed-form log-determinant both ways.

Coordinates y = (s, u). Soft torsions s (those that turn) stay on their circle; bond
lengths, angles and stiff torsions become unbounded and about unit-sized u = (log b - m)
/ d, (logit(theta / pi) - m) / d and (2 tan((phi - m) / 2)) / d, so that every geometry
with positive bonds has a density above zero. Of a rotor (methyl) the mean phase of its
three atoms is the soft coordinate, and its spline has period 2 pi / 3: relabelling the
hydrogens by a third of a turn leaves p(s) exactly unchanged.

    p(s) = prod_k p(s_k | s_1 .. s_{k-1})                                          (1)
    w = exp(r(s)) A (u - mu(s))                                                    (2)
    e = C_L(s) o ... o C_1(s) (w)                                                  (3)

(1) are circular rational-quadratic splines (`splines`). A is lower triangular: the full
covariance of the stiff part about its mean. (3) are couplings x_B -> exp(a) S(x_B) + t,
S(x) = sinh(exp(d) (asinh(x) + k)), with a, t, k, d of x_A and s. All maps but the
splines are infinitely smooth, so forces of the flow exist everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from equidrift.models.boltzmann.coordinates import ZMatrix, wrapped
from equidrift.models.boltzmann.couplings import asinh, bounded, log_cosh, mlp
from equidrift.models.boltzmann.features import known_features, wave_orders
from equidrift.models.boltzmann.splines import circular_spline

_TWO_PI = 2 * math.pi
RIDGE = 1e-3  # of the linear fit that a flow starts from


@dataclass(frozen=True)
class FlowConfig:
    """What fixes a flow besides its weights.

    Parameters
    ----------
    rows, rotors : sequence
        Of the `ZMatrix`.
    soft : sequence of int
        Indices of the torsions that turn, in the order of equation (1).
    width : int
        Of the hidden layers.
    layers : int
        Couplings.
    bins : int
        Of the splines (of a rotor's for a third of the circle).
    harmonics : int
        Of the torsions, as the networks see them.
    """

    rows: Sequence[Sequence[int]]
    rotors: Sequence[Sequence[int]] = ()
    soft: Sequence[int] = ()
    width: int = 128
    layers: int = 6
    bins: int = 20
    harmonics: int = 4
    seed: int = field(default=0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class BoltzmannFlow(nn.Module):
    """A density of all coordinates of one molecule.

    Positions in A; log-densities per A^(3n - 3), see `coordinates`.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, config: FlowConfig):
        super().__init__()
        self.config = config
        self.tree = ZMatrix(config.rows, config.rotors)
        n = self.tree.n_atoms
        self.soft = np.asarray(config.soft, np.int64)
        self.stiff = np.setdiff1d(np.arange(n - 3), self.soft)
        self.rotors = _soft_rotors(self.tree, self.soft)
        self.m, self.n_stiff = len(self.soft), 2 * n - 3 + len(self.stiff)
        self.register_buffer("centre", torch.zeros(self.n_stiff))
        self.register_buffer("scale", torch.ones(self.n_stiff))
        self.orders = wave_orders(self.m, config.harmonics)
        width, features = config.width, 2 * len(self.orders)
        self.folds: Tensor
        folds = torch.tensor([3 if k in self.rotors else 1 for k in range(self.m)])
        self.register_buffer("folds", folds, persistent=False)
        self.known: Tensor
        self.register_buffer("known", known_features(self.orders, self.m), persistent=False)
        self.splines = _spline_weights(self.m, features, config)
        self.trunk = nn.Sequential(
            nn.Linear(1 + features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.mean, self.log_width = (
            nn.Linear(width + 1 + features, self.n_stiff),
            nn.Linear(width, self.n_stiff),
        )
        self.triangle = nn.Parameter(
            torch.zeros(self.n_stiff, self.n_stiff)
        )  # below the diagonal A's, on it the logs of A's
        self.shuffles = _shuffles(self.n_stiff, config)
        half = self.n_stiff // 2
        self.couplings = nn.ModuleList(
            mlp(half + width, width, 4 * (self.n_stiff - half)) for _ in self.shuffles
        )
        for module in (self.mean, self.log_width):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)

    # --- the chart: positions <-> y

    def to_chart(self, positions_A: Tensor) -> tuple[Tensor, Tensor]:
        """y (..., m + n_stiff) of positions (..., n, 3), and log |dx / dy|."""
        lengths, angles, torsions = self.tree.to_internal(positions_A)
        b, t = lengths.shape[-1], lengths.shape[-1] + angles.shape[-1]
        share = angles / math.pi
        away = wrapped(torsions[..., self.stiff] - self.centre[t:])
        raw = torch.cat(
            [
                lengths.log() - self.centre[:b],
                torch.logit(share) - self.centre[b:t],
                2 * torch.tan(away / 2),
            ],
            dim=-1,
        )
        soft = torsions[..., self.soft]
        if self.rotors:
            soft = soft + self._shear(away)
        log_volume = self.tree.log_volume(lengths, angles)
        return torch.cat([wrapped(soft), raw / self.scale], dim=-1), log_volume + self._log_stretch(
            lengths, share, raw[..., t:]
        )

    def from_chart(
        self, y: Tensor, frame: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Positions (..., n, 3) of y and log |dx / dy|; `frame` as in
        `ZMatrix.to_cartesian`.
        """
        n = self.tree.n_atoms
        b, t = n - 1, 2 * n - 3
        raw = y[..., self.m :] * self.scale
        lengths, share = (
            (raw[..., :b] + self.centre[:b]).exp(),
            torch.sigmoid(raw[..., b:t] + self.centre[b:t]),
        )
        away = 2 * torch.atan(raw[..., t:] / 2)
        torsions = y.new_zeros(*y.shape[:-1], n - 3)
        torsions[..., self.stiff] = away + self.centre[t:]
        torsions[..., self.soft] = y[..., : self.m] - (self._shear(away) if self.rotors else 0.0)
        angles = share * math.pi
        log_volume = self.tree.log_volume(lengths, angles) + self._log_stretch(
            lengths, share, raw[..., t:]
        )
        return self.tree.to_cartesian(lengths, angles, torsions, frame), log_volume

    def _shear(self, away: Tensor) -> Tensor:
        """What turns the first torsion of each rotor into the mean phase of its three:
        a shear, of determinant 1.
        """
        out = away.new_zeros(*away.shape[:-1], self.m)
        for k, members in self.rotors.items():
            out[..., k] = away[..., members].sum(-1) / 3
        return out

    def _log_stretch(self, lengths: Tensor, share: Tensor, tangent: Tensor) -> Tensor:
        """log |d(b, theta, phi) / du| of the stiff part."""
        stretch = (
            lengths.log().sum(-1)
            + (math.pi * share * (1 - share)).log().sum(-1)
            - (1 + tangent**2 / 4).log().sum(-1)
        )
        return stretch + self.scale.log().sum()

    # --- the flow: y <-> latent

    def to_latent(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Latent numbers of y (k, d), the first m uniform on [0, 2 pi) and the rest
        normal under the flow, and log |d latent / dy|.
        """
        soft = torch.remainder(y[:, : self.m], _TWO_PI)
        turned, log_soft = self.soft_to_latent(soft)
        x, log_stiff = self.stiff_to_latent(soft, y[:, self.m :])
        return torch.cat([turned, x], dim=1), log_soft + log_stiff

    def from_latent(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `to_latent`: y (k, d), soft torsions in [0, 2 pi), and log |dy
        / d latent|.
        """
        soft, log_soft = latent.new_zeros(len(latent), self.m), latent.new_zeros(len(latent))
        for k in range(self.m):  # torsion by torsion: each is needed for the next
            one = slice(k, k + 1)
            value, log_slope = self._turn(
                latent[:, one], self._spline_numbers(soft)[:, one], self.folds[one], inverse=True
            )
            soft = torch.cat([soft[:, :k], value, soft[:, k + 1 :]], dim=1)
            log_soft = log_soft + log_slope[:, 0]
        u, log_stiff = self.stiff_from_latent(soft, latent[:, self.m :])
        return torch.cat([soft, u], dim=1), log_soft + log_stiff

    def soft_to_latent(self, soft: Tensor) -> tuple[Tensor, Tensor]:
        """Equation (1): numbers uniform on [0, 2 pi) of the soft torsions (k, m) in [0,
        2 pi), and the log-determinant.
        """
        turned, log_slope = self._turn(soft, self._spline_numbers(soft), self.folds, inverse=False)
        return turned, log_slope.sum(1)

    def stiff_to_latent(self, soft: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Equations (2) and (3): normal numbers of u (k, n_stiff) given the soft
        torsions, and the log-determinant.
        """
        seen, mean, log_width = self._given(soft)
        x = log_width.exp() * ((u - mean) @ self._lower().T)
        log_det = log_width.sum(1) + self.triangle.diagonal().sum()
        for shuffle, network in zip(self.shuffles, self.couplings, strict=True):
            left, part = x.tensor_split([self.n_stiff // 2], dim=1)
            t, log_scale, skew, log_tail = bounded(network(torch.cat([left, seen], dim=1)))
            inner = log_tail.exp() * (asinh(part) + skew)
            x = torch.cat([left, log_scale.exp() * torch.sinh(inner) + t], dim=1)[:, shuffle]
            log_det = log_det + (
                log_scale + log_tail + log_cosh(inner) - 0.5 * torch.log1p(part**2)
            ).sum(1)
        return x, log_det

    def stiff_from_latent(self, soft: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `stiff_to_latent` at the same soft torsions."""
        seen, mean, log_width = self._given(soft)
        log_det = -log_width.sum(1) - self.triangle.diagonal().sum()
        for shuffle, network in reversed(list(zip(self.shuffles, self.couplings, strict=True))):
            left, part = x[:, torch.argsort(shuffle)].tensor_split([self.n_stiff // 2], dim=1)
            t, log_scale, skew, log_tail = bounded(network(torch.cat([left, seen], dim=1)))
            inner = asinh((part - t) * (-log_scale).exp())
            part = torch.sinh(inner * (-log_tail).exp() - skew)
            x = torch.cat([left, part], dim=1)
            log_det = log_det - (
                log_scale + log_tail + log_cosh(inner) - 0.5 * torch.log1p(part**2)
            ).sum(1)
        u = torch.linalg.solve_triangular(self._lower(), ((-log_width).exp() * x).T, upper=False).T
        return u + mean, log_det

    def log_prob_chart(self, y: Tensor) -> Tensor:
        """log p(y) (k,)."""
        latent, log_det = self.to_latent(y)
        return self.log_base(latent) + log_det

    def log_base(self, latent: Tensor) -> Tensor:
        """log density of the latent numbers."""
        normal = latent[:, self.m :]
        return (
            -self.m * math.log(_TWO_PI)
            - 0.5 * (normal**2).sum(1)
            - 0.5 * self.n_stiff * math.log(_TWO_PI)
        )

    def log_prob(self, positions_A: Tensor) -> Tensor:
        """log p(x) (k,) of positions (k, n, 3), per A^(3n - 3)."""
        y, log_volume = self.to_chart(positions_A)
        return self.log_prob_chart(y) - log_volume

    # --- parts

    def _features(self, soft: Tensor) -> Tensor:
        """1 and the sines and cosines of the soft torsions and of their multiples, sums
        and differences.
        """
        turns = soft @ torch.as_tensor(self.orders, dtype=soft.dtype, device=soft.device).T
        return torch.cat([soft.new_ones(len(soft), 1), turns.sin(), turns.cos()], dim=1)

    def _spline_numbers(self, soft: Tensor) -> Tensor:
        """(k, m, 3 bins) of the splines of all soft torsions; those of torsion j depend
        on the torsions before j alone.
        """
        x = self._features(soft) * self.known.to(soft.dtype)[:, None]
        one = x.new_ones(*x.shape[:2], 1)
        first, second, last = self.splines
        x = silu(x @ first)
        x = silu(torch.cat([x, one], dim=2) @ second)
        out: Tensor = (torch.cat([x, one], dim=2) @ last).transpose(0, 1)
        return out

    def _turn(
        self, value: Tensor, numbers: Tensor, folds: Tensor, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        """The splines (k, j, 3 bins) of some soft torsions at value (k, j), repeated in
        every third of the circle for a rotor.
        """
        turns = value * (folds.to(value.dtype) / _TWO_PI)
        sector = torch.floor(turns).clamp_min(0).minimum(folds - 1)
        out, log_slope = circular_spline(
            (turns - sector).flatten(), numbers.flatten(0, 1), inverse=inverse
        )
        return (sector + out.view(value.shape)) * (_TWO_PI / folds.to(value.dtype)), log_slope.view(
            value.shape
        )

    def _given(self, soft: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the couplings see of the soft torsions, mu and r of equation (2)."""
        features = self._features(soft)
        seen = self.trunk(features)
        return seen, self.mean(torch.cat([features, seen], dim=1)), self.log_width(seen)

    def _lower(self) -> Tensor:
        """A of equation (2)."""
        return self.triangle.tril(-1) + torch.diag(self.triangle.diagonal().exp())

    @torch.no_grad()
    def start_from(self, positions_A: Tensor) -> None:
        """Set centres and scales of the chart, and A and mu of equation (2), from
        frames (k, n, 3): then the flow starts as a normal.
        """
        lengths, angles, torsions = self.tree.to_internal(positions_A.double())
        t = lengths.shape[-1] + angles.shape[-1]
        stiff = torsions[:, self.stiff]
        raw = torch.cat([lengths.log(), torch.logit(angles / math.pi)], dim=1)
        around = torch.atan2(stiff.sin().mean(0), stiff.cos().mean(0))
        self.centre.copy_(torch.cat([raw.mean(0), around]))
        for (
            members
        ) in self.rotors.values():  # exactly a third apart, so that their order does not matter
            for j in members:
                self.centre[t + j] = math.copysign(_TWO_PI / 3, float(around[j]))
        tangent = 2 * torch.tan(wrapped(stiff - self.centre[t:].double()) / 2)
        spread = torch.cat([raw - raw.mean(0), tangent], dim=1)
        self.scale.copy_(spread.pow(2).mean(0).sqrt().clamp_min(1e-4))
        y = self.to_chart(positions_A.double())[0]
        features, u = self._features(y[:, : self.m]), y[:, self.m :]
        normal = features.T @ features + RIDGE * len(u) * torch.eye(
            features.shape[1], dtype=u.dtype, device=u.device
        )
        linear = torch.linalg.solve(normal, features.T @ u)
        left = u - features @ linear
        covariance = left.T @ left / len(u) + 1e-4 * torch.eye(
            self.n_stiff, dtype=u.dtype, device=u.device
        )
        lower = torch.linalg.inv(torch.linalg.cholesky(covariance))
        self.mean.weight[:, : features.shape[1]] = linear.T.to(self.mean.weight.dtype)
        self.triangle.copy_(lower.tril(-1) + torch.diag(lower.diagonal().log()))


def _spline_weights(m: int, features: int, config: FlowConfig) -> nn.ParameterList:
    """Three layers of the networks of all m splines side by side; the last starts at
    zero, so that a spline starts as the identity.
    """
    half = config.width // 2
    sizes = (1 + features, half), (1 + half, half), (1 + half, 3 * config.bins)
    weights = nn.ParameterList(torch.zeros(m, a, b) for a, b in sizes)
    for layer in weights[:2]:
        nn.init.normal_(layer, std=max(layer.shape[1], 1) ** -0.5)
    return weights


def _shuffles(n_stiff: int, config: FlowConfig) -> list[Tensor]:
    """What follows each coupling, which changes the second half given the first: by
    turns a swap of the halves, and a permutation at random.
    """
    rng = np.random.default_rng(config.seed)
    swap = np.roll(np.arange(n_stiff), n_stiff // 2)
    orders = [rng.permutation(n_stiff) if k % 2 else swap for k in range(config.layers)]
    return [torch.from_numpy(order) for order in orders]


def _soft_rotors(tree: ZMatrix, soft: np.ndarray) -> dict[int, list[int]]:
    """Soft torsion -> places among the stiff torsions of the two others of its rotor."""
    stiff = np.setdiff1d(np.arange(len(tree.torsions)), soft)
    row_of = {int(i): k for k, i in enumerate(tree.torsions[:, 0])}
    out = {}
    for members in tree.rotors.tolist():
        first, *others = (row_of[i] for i in members)
        if first in soft and not set(others) & set(soft.tolist()):
            out[int(np.flatnonzero(soft == first)[0])] = [
                int(np.flatnonzero(stiff == k)[0]) for k in others
            ]
    return out
