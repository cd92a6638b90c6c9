"""Losses: maximum likelihood, and the path gradient of the same divergence where the forces at the frames are known.

With f: y -> latent, g its inverse and q the flow's density, KL(p | q) is, seen from the latent side, E_p[log p~(f(y)) - log q0(f(y))]; the
explicit dependence of p~ on the parameters averages to zero, and what is left is

    d KL = -E_p[ s(y) . d g(z) at z = f(y) ],    s = grad log p - grad log q                                                   (1)

(Vaitl, Nicoli, Nakajima and Kessel, ICML 2022; Vaitl, Winkler, Richter and Kessel, ICLR 2024). Every frame brings as many numbers as it has
coordinates, and the noise of (1) vanishes with s: this is what a small network and few frames need.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equidrift.models.boltzmann.network import BoltzmannFlow

LIKELIHOOD = 0.1
LARGEST = 100.0  # norm of s beyond which a frame counts no more: in a clash forces know no bound


@dataclass(frozen=True, eq=False)
class Batch:
    """y (k, d) in the flow's chart; weight (k,) of the likelihood; score (k, d) = grad_y log p(y), None where forces are unknown."""

    y: Tensor
    weight: Tensor
    score: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)


def likelihood_loss(flow: BoltzmannFlow, batch: Batch) -> Tensor:
    """Minus the mean log-density per frame."""
    return -(batch.weight * flow.log_prob_chart(batch.y)).mean()


def path_loss(flow: BoltzmannFlow, batch: Batch, likelihood: float = LIKELIHOOD) -> Tensor:
    """A number whose value is the negative log-likelihood, and whose gradient is (1) of every conditional of the flow by itself.

    KL(p | q) is the sum of those of p(s_k | s_1 .. s_{k-1}) and of p(u | s), s the soft torsions. The score of p(s_k | ..) is the mean of
    the frame's own derivative over what comes later; taking the flow's derivative of all coordinates from it, not of s_k alone, removes
    the noise of that mean as the later conditionals become right, and all noise where p = q. A share `likelihood` of the likelihood's
    gradient for p(s) sets the populations of basins between which no frame lies; weights enter there alone.
    """
    if batch.score is None:
        return likelihood_loss(flow, batch)
    m = flow.m
    soft = torch.remainder(batch.y[:, :m].detach(), 2 * torch.pi).requires_grad_()
    u = batch.y[:, m:].detach().requires_grad_()
    turned, log_soft = flow.soft_to_latent(soft)
    latent, log_stiff = flow.stiff_to_latent(soft, u)
    log_q = log_soft + log_stiff - 0.5 * (latent**2).sum(1)
    inputs = (soft, u) if m else (u,)
    own = torch.cat(torch.autograd.grad(log_q.sum(), inputs, retain_graph=True), dim=1)
    s = batch.score - own
    s = s * (LARGEST / s.norm(dim=1, keepdim=True)).clamp_max(1.0)
    moved = torch.cat([flow.soft_from_latent(soft.detach(), turned.detach()), flow.stiff_from_latent(soft.detach(), latent.detach())[0]], 1)
    surrogate = -(s * moved).sum(1).mean() - likelihood * (batch.weight * log_soft).mean()
    value = -(batch.weight * (log_q.detach() + flow.log_base(0 * batch.y))).mean()  # log_base of zeros: the constants
    return surrogate - surrogate.detach() + value
