"""Drawing torsions from the network, with the density of what was drawn.

The sampler takes explicit steps of the probability flow, from uniform torsions at the
highest noise level to the lowest (see `equidrift.models.torsions.flow`):

    phi' = phi + (sigma_k - sigma_(k+1)) sigma_k s_k(phi).

Its density is that of these steps: uniform at the start, and for each step the exact
log-determinant of I + g Ds, with the Jacobian of all torsions in one batched
vector-Jacobian product. For the score of a density no such step folds, since its
Jacobian is at least -1 / sigma^2; a network may be wrong, and its maps cannot be bounded
over the whole torus. So every draw is traced back by Newton's method. A draw that does
not come back to its start is drawn anew, and a state that cannot be traced back has
density zero. What is left is a one-to-one map between the starts and the draws that
pass, whatever the network: the density is exact up to a constant that depends on the
frozen geometry alone and cancels in a ratio (the reversibility check of Zappa,
Holmes-Cerf and Goodman 2018, doi:10.1002/cpa.21783, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.geometry import Floats, wrap
from equidrift.models.torsions.distances.data import KT_300_KCAL, measured
from equidrift.models.torsions.distances.graph import HeavyGraph, Rows, turned
from equidrift.models.torsions.distances.network import DistanceNetwork
from equidrift.models.torsions.distances.wrapped import SIGMA_MAX_RAD, rms_score
from equidrift.units import KCAL_MOL_PER_EV

LEAST_SIGMA_RAD = 0.15  # of the sampler's last level; a basin is some .2 rad wide
SAME_RAD = 1e-6  # between a start and where its draw is traced back to
RESIDUAL_RAD = 1e-9  # of an inverted step
NEWTON = 12  # iterations, after which a state counts as out of reach
MOST_DRAWS = 20  # of a sample that does not come back


def step_sigmas(steps: int) -> Floats:
    """Falling noise levels of a sampler of so many calls, in radians."""
    if steps < 1:
        raise InputError(f"steps must be at least 1, not {steps}; give for example 8")
    return np.geomspace(LEAST_SIGMA_RAD, SIGMA_MAX_RAD, steps)[::-1].copy()


class TorsionScore:
    """The network's score of one molecule's torsions, at a frozen local geometry.

    Parameters
    ----------
    network, graph : DistanceNetwork, HeavyGraph
        In the precision that is wanted of the scores; the molecule's heavy atoms, bonds
        and torsions.
    positions_A : float64, shape (n, 3) or (k, n, 3)
        Heavy atoms; of each of k states if they differ.
    kT_eV : float
        Temperature of the ensemble whose score this is.
    block : int64, shape (w,), or None
        Torsions that are drawn; the others stand as in `positions_A`. None is all.
    """

    def __init__(
        self,
        network: DistanceNetwork,
        graph: HeavyGraph,
        positions_A: Floats,
        kT_eV: float,
        block: NDArray[np.int64] | None = None,
    ):
        self.network, self.graph = network, graph
        like = next(network.parameters())
        self.options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        self.block = np.arange(graph.n_torsions) if block is None else np.asarray(block)
        self.start = measured(graph, positions_A)[..., self.block]
        self.positions = torch.from_numpy(positions_A).to(**self.options)
        self.log_kT = float(np.log(kT_eV * KCAL_MOL_PER_EV / KT_300_KCAL))
        self.columns = torch.from_numpy(self.block).to(like.device)
        self.moving = like.new_zeros(graph.n_torsions).index_fill(0, self.columns, 1.0)

    @property
    def n_torsions(self) -> int:
        """How many torsions are drawn."""
        return len(self.block)

    def _scores(self, phi: torch.Tensor, sigma: float) -> torch.Tensor:
        """(k, w) of phi (k, w)."""
        k, m = len(phi), self.graph.n_torsions
        by = (phi - torch.from_numpy(self.start).to(phi.device)).to(**self.options)
        delta = by.new_zeros(k, m).index_add(1, self.columns, by)
        x = turned(self.graph, self.positions.expand(k, -1, -1), delta)
        values = self.network(
            Rows.repeated(self.graph, k).to(x.device),
            x.reshape(-1, 3),
            x.new_full((k,), sigma),
            self.moving.repeat(k),
            x.new_full((k,), self.log_kT),
        )
        scale = float(rms_score(np.array([sigma]))[0])
        out: torch.Tensor = values.reshape(k, m)[:, self.columns] * scale
        return out

    def score(self, phi: Floats, sigma: float) -> Floats:
        """The score (k, w) of phi (k, w) at a noise level, in 1/rad."""
        with torch.no_grad():
            at = torch.from_numpy(phi).to(self.options["device"])
            return self._scores(at, sigma).double().cpu().numpy()

    def derivatives(self, phi: Floats, sigma: float) -> tuple[Floats, Floats]:
        """(score (k, w), its Jacobian (k, w, w)) of phi (k, w)."""
        if not len(phi):
            return np.zeros_like(phi), np.zeros((*phi.shape, self.n_torsions))
        with torch.enable_grad():
            at = torch.from_numpy(np.array(phi)).to(self.options["device"]).requires_grad_()
            score = self._scores(at, sigma)
            units = torch.eye(self.n_torsions, dtype=score.dtype, device=score.device)[:, None]
            units = units.expand(-1, len(phi), -1)
            rows = torch.autograd.grad(score, at, units, is_grads_batched=True)[0]
        jacobian = rows.double().cpu().numpy().transpose(1, 0, 2)  # (k, of, by)
        return score.detach().double().cpu().numpy(), jacobian


@dataclass(frozen=True, eq=False)
class Level:
    """A `TorsionScore` at one noise level."""

    scores: TorsionScore
    sigma: float

    def derivatives(self, phi: Floats) -> tuple[Floats, Floats]:
        """(score, Jacobian) of phi (k, w)."""
        return self.scores.derivatives(phi, self.sigma)


class TracedFlow:
    """The sampler of a `TorsionScore` in float64, with its exact density; a
    `TorusDensity` of the torsions that are drawn.

    Parameters
    ----------
    scores : TorsionScore
    steps : int
        Calls of the network per draw.
    """

    def __init__(self, scores: TorsionScore, steps: int = 8):
        self.scores, self.n_torsions = scores, scores.n_torsions
        sigmas = step_sigmas(steps)
        # the last step leaves some noise: a step to none would not be one to one
        ends = np.append(sigmas[1:], 0.5 * sigmas[-1])
        self.steps = [
            (float((sigma - end) * sigma), Level(scores, float(sigma)))
            for sigma, end in zip(sigmas, ends, strict=True)
        ]

    def forward(self, phi: Floats) -> tuple[Floats, Floats]:
        """From starts (k, w) to draws: (phi, log |det| of the map)."""
        total = np.zeros(len(phi))
        for step, level in self.steps:
            score, jacobian = level.derivatives(phi)
            total += _log_det(step, jacobian)
            phi = phi + step * score
        return wrap(phi), total

    def backward(self, phi: Floats) -> tuple[Floats, Floats]:
        """From draws (k, w) to starts: (phi, log |det| of the forward map there); NaN
        and infinity where a draw cannot be traced back.
        """
        total, phi = np.zeros(len(phi)), np.array(phi, np.float64)
        for step, level in reversed(self.steps):
            reached = np.flatnonzero(np.isfinite(total))
            before, jacobian, lost = step_back(step, level, phi[reached])
            phi[reached] = before
            total[reached] += np.where(lost, np.inf, _log_det(step, jacobian))
        return wrap(phi), total

    def log_prob(self, phi: Floats) -> Floats:
        """(k,) log densities of phi (k, w), up to the constant; minus infinity for what
        is never drawn.
        """
        log_q: Floats = -self.n_torsions * np.log(2 * np.pi) - self.backward(phi)[1]
        return log_q

    def sample_with_log_prob(self, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """(n, w) torsions and their (n,) log densities, up to the same constant."""
        out, log_q = np.full((n, self.n_torsions), np.nan), np.full(n, -np.inf)
        missing = np.arange(n)
        for _ in range(MOST_DRAWS):
            start = rng.uniform(-np.pi, np.pi, (len(missing), self.n_torsions))
            phi, log_det = self.forward(start)
            back, _ = self.backward(phi)
            same = (np.abs(wrap(back - start)) < SAME_RAD).all(axis=1)  # False for NaN
            out[missing[same]] = phi[same]
            log_q[missing[same]] = -self.n_torsions * np.log(2 * np.pi) - log_det[same]
            missing = missing[~same]
            if not len(missing):
                break
        return out, log_q


def step_back(
    step: float, level: Level, target: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """phi (k, w) with phi + step * score(phi) = target by Newton's method from the
    target, NaN where it does not come to that; the Jacobian (k, w, w) of the score
    there; and whether (k,) it was lost.
    """
    phi, jacobian = np.full_like(target, np.nan), np.zeros((*target.shape, target.shape[1]))
    trial, left, eye = target.copy(), np.arange(len(target)), np.eye(target.shape[1])
    for _ in range(NEWTON):
        score, slope = level.derivatives(trial)
        residual = trial + step * score - target[left]
        done = np.abs(residual).max(axis=1) < RESIDUAL_RAD
        phi[left[done]], jacobian[left[done]] = trial[done], slope[done]
        left, trial, residual, slope = (v[~done] for v in (left, trial, residual, slope))
        if not len(left):
            break
        trial = trial - np.linalg.solve(eye + step * slope, residual[..., None])[..., 0]
    lost: NDArray[np.bool_] = np.asarray(np.isnan(phi).any(axis=1))
    return phi, jacobian, lost


def _log_det(step: float, jacobian: Floats) -> Floats:
    out: Floats = np.linalg.slogdet(np.eye(jacobian.shape[-1]) + step * jacobian)[1]
    return out


def drawn_torsions(
    scores: TorsionScore, starts: Floats, steps: int = 8, *, clean: bool = True
) -> Floats:
    """Torsions (k, w) from uniform starts (k, w), in `steps` calls of the network.

    Parameters
    ----------
    clean : bool
        End with the torsions that the last level expects to be there without noise.
    """
    phi, sigmas = starts, step_sigmas(steps)
    ends = np.append(sigmas[1:], 0.0 if clean else 0.5 * sigmas[-1])
    for sigma, end in zip(sigmas, ends, strict=True):
        phi = phi + (sigma - end) * sigma * scores.score(phi, float(sigma))
    return wrap(phi)
