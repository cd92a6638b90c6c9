"""The loss: implicit score matching of noised torsions, with the exact divergence of
the series.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equidrift.models.torsions.data import FrameBatch
from equidrift.models.torsions.flow import SIGMA_MAX, SIGMA_MIN
from equidrift.models.torsions.network import torsion

NOISE_LEVELS, NOISES = 4, 4  # noise levels per frame, and draws of noise per level


def score_and_divergence(singles: Tensor, pairs: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
    """Score (..., k, m) and its divergence (..., k) of phi (..., k, m); the torch twin
    of `TrigSeries.derivatives`.

    singles (..., m, K1) and pairs (..., p, K2, 2 K2) complex; leading axes are the
    same.
    """
    m, k1 = singles.shape[-2:]
    k2 = pairs.shape[-2]
    n = torch.arange(1, k1 + 1, dtype=torch.float32, device=phi.device)
    one = torch.ones((), device=phi.device)
    waves = torch.polar(one.expand(*phi.shape, k1), phi[..., None] * n)
    term = waves * (singles * n)[..., None, :, :]
    score, divergence = term.imag.sum(-1), (term.real * n).sum((-1, -2))
    if m > 1:
        i, j = torch.triu_indices(m, m, 1, device=phi.device)
        n = n[:k2]
        l = torch.cat([-n.flip(0), n])
        first = waves[..., i, :k2].transpose(-2, -3)  # (..., p, k, K2)
        second = waves[..., j, :k2].transpose(-2, -3)
        second = torch.cat([second.conj().flip(-1), second], dim=-1)
        t0, t1, t2 = (
            ((first * weight) @ pairs) * second for weight in (torch.ones_like(n), n, n * n)
        )
        to_i, to_j = t1.imag.sum(-1).transpose(-1, -2), (t0.imag * l).sum(-1).transpose(-1, -2)
        score = score.index_add(-1, i, to_i).index_add(-1, j, to_j)
        divergence = divergence + (t2.real.sum(-1) + (t0.real * l * l).sum(-1)).sum(-2)
    return score, divergence


def squared_kernel_score(sigma: Tensor) -> Tensor:
    """E |d log WN / d x|^2 of a wrapped normal: 1 / sigma^2 when narrow, exp(-sigma^2)
    * 2 when wide.
    """
    narrow = sigma.clamp(max=1.0).square().reciprocal()
    wide = 2 * torch.exp(-sigma.square())
    return torch.where(sigma < 1.0, narrow, torch.maximum(wide, torch.full_like(wide, 1e-3)))


def torsion_loss(network: nn.Module, batch: FrameBatch) -> Tensor:
    """E [|s|^2 / 2 + div s] over noised torsions, each level weighted by the kernel's
    own score, a torsion.
    """
    frames, m = batch.n_frames, batch.n_torsions
    # stratified levels, log-uniform a little beyond those the sampler visits; drawn on the CPU,
    # so that a seed means the same on every device
    generator = torch.Generator().manual_seed(batch.seed)
    on = batch.positions_A.device
    places = torch.rand(frames, NOISE_LEVELS, generator=generator, device="cpu").to(on)
    u = (torch.arange(NOISE_LEVELS, device=on) + places) / NOISE_LEVELS
    low, high = math.log(0.8 * SIGMA_MIN), math.log(1.05 * SIGMA_MAX)
    sigmas = torch.exp(low + (high - low) * u)
    singles, pairs = network(batch, sigmas)
    phi = torsion(batch.positions_A, batch.reference).reshape(frames, 1, 1, m)
    shape = (frames, NOISE_LEVELS, NOISES // 2, m)
    noise = torch.randn(shape, generator=generator, device="cpu").to(on)
    noised = phi + sigmas[..., None, None] * torch.cat([noise, -noise], dim=2)
    score, divergence = score_and_divergence(singles, pairs, noised)
    loss = (0.5 * score.square().sum(-1) + divergence).mean(-1) / m
    return (loss / squared_kernel_score(sigmas)).mean()
