"""Losses: maximum likelihood, and the path gradient of the same divergence where the
forces at the frames are known.

With f: y -> latent, g its inverse and q the flow's density, KL(p | q) is, seen from the
latent side, E_p[log p~(f(y)) - log q0(f(y))]; the explicit dependence of p~ on the
parameters averages to zero, and what is left is

    d KL = -E_p[ s(y) . d g(z) at z = f(y) ],    s = grad log p - grad log q       (1)

(Vaitl, Nicoli, Nakajima and Kessel, ICML 2022; Vaitl, Winkler, Richter and Kessel, ICLR
2024). Every frame brings as many numbers as it has coordinates, and the noise of (1)
vanishes with s: this is what a small network and few frames need.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equidrift.models.boltzmann.network import BoltzmannFlow
from equidrift.models.shared.batches import Batched

LARGEST = 100.0  # norm of s beyond which a frame counts no more: in a clash forces know no bound


@dataclass(frozen=True, eq=False)
class Batch(Batched):
    """y (k, d) in the flow's chart; weight (k,) of the likelihood; score (k, d) =
    grad_y log p(y), None where forces are unknown.
    """

    y: Tensor
    weight: Tensor
    score: Tensor | None = None


def likelihood_loss(flow: BoltzmannFlow, batch: Batch) -> Tensor:
    """Minus the mean log-density per frame."""
    return -(batch.weight * flow.log_prob_chart(batch.y)).mean()


def path_loss(flow: BoltzmannFlow, batch: Batch, likelihood: float = 0.0) -> Tensor:
    """A number whose value is the negative log-likelihood, and whose gradient is (1)
    for p(u | s), plus `likelihood` times that of p(s).

    KL(p | q) = KL(p(s) | q(s)) + E KL(p(u | s) | q(u | s)), s the soft torsions, and
    (1) holds for each conditional. Weights enter p(s) alone: given the soft torsions, s
    of (1) vanishes at the optimum whatever the density of the frames.
    """
    if batch.score is None:
        return likelihood_loss(flow, batch)
    soft, u = (
        torch.remainder(batch.y[:, : flow.m].detach(), 2 * torch.pi),
        batch.y[:, flow.m :].detach().requires_grad_(),
    )
    with torch.set_grad_enabled(likelihood > 0):
        _, log_soft = flow.soft_to_latent(soft)
    latent, log_stiff = flow.stiff_to_latent(soft, u)
    log_q = log_stiff - 0.5 * (latent**2).sum(1)
    (own,) = torch.autograd.grad(log_q.sum(), u)
    s = batch.score[:, flow.m :] - own
    s = s * (LARGEST / s.norm(dim=1, keepdim=True)).clamp_max(1.0)
    moved, _ = flow.stiff_from_latent(soft, latent.detach())
    surrogate = -(s * moved).sum(1).mean() - likelihood * (batch.weight * log_soft).mean()
    value = -(
        batch.weight * (log_q + log_soft + flow.log_base(0 * batch.y)).detach()
    ).mean()  # log_base of zeros: the constants
    out: Tensor = surrogate - surrogate.detach() + value
    return out
