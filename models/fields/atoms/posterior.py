"""What the limiting GP says of the values that are not given, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from equidrift.models.fields.atoms.network import MAX_NUMBER, AtomGram

SHARES = (0.1, 0.5, 0.9)  # of atoms given, for which intervals are calibrated
COVERAGES = (*(k / 20 for k in range(1, 20)), 0.99)  # of the intervals that are calibrated


def gp_posterior(mean: Tensor, gram: AtomGram, y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (1, n, p) of a GP's values of one molecule, given y where the
    mask is True; given values vary by 0.
    """
    known = mask[0, :, None].expand(*mean.shape[1:]).reshape(-1)
    matrix = gram.dense[0]
    flat, prior = mean.reshape(-1).clone(), matrix.diagonal().clone()
    if known.any():
        weights = torch.linalg.solve(matrix[known][:, known], matrix[known][:, ~known])
        flat[~known] += (y.reshape(-1)[known] - flat[known]) @ weights
        prior[~known] -= (weights * matrix[known][:, ~known]).sum(0)
        flat[known], prior[known] = y.reshape(-1)[known], 0.0
    return flat.reshape(mean.shape), prior.clamp(min=0).reshape(mean.shape)


def given_share(mask: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """(1, n) a random share of the atoms of one molecule that have a value: one at
    least, and not all.
    """
    there = torch.nonzero(mask[0])[:, 0]
    count = min(max(1, round(share * len(there))), len(there) - 1)
    given = torch.zeros_like(mask)
    given[
        0, there[torch.randperm(len(there), generator=generator, device=generator.device)[:count]]
    ] = True
    return given


def offset(means: dict[int, float], x: Tensor, balanced: bool) -> Tensor:
    """Means of the elements at the atoms (F, n, 1); where values sum to zero over a
    molecule, theirs do too.
    """
    table = torch.zeros(MAX_NUMBER, dtype=torch.float64, device=x.device)
    for z, value in means.items():
        table[z] = value
    found = table[x[..., 3].long()]
    if balanced:
        there = (x[..., 3] > 0).double()
        found = (found - found.sum(1, keepdim=True) / there.sum(1, keepdim=True)) * there
    return found[..., None]
