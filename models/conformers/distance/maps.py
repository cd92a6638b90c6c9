"""From distance scores to coordinate moves, without projection (arXiv:2403.01430), on
dense batches.

Notation: c (B, n, 3) coordinates in A at noise level sigma (a coordinate); e_ij their
distances; u_ij = (c_i - c_j) / e_ij; d_ij clean distances. A *change* is Delta d = d -
e, (B, n, n), symmetric. A *move* is Delta c, (B, n, 3): the estimate of c_0 - c_t, so
that the coordinate score is S = Delta c / sigma^2. Edges are a symmetric (B, n, n) or
(n, n) table of weights, 0 where there is no edge; the diagonal never counts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from equidrift.errors import UnknownNameError

_TINY = 1e-6


def pair_geometry(positions_A: Tensor) -> tuple[Tensor, Tensor]:
    """Distances e (B, n, n) in A and unit vectors u (B, n, n, 3), u_ij pointing from j
    to i; both 0 on the diagonal.
    """
    difference = positions_A[..., :, None, :] - positions_A[..., None, :, :]
    e = difference.square().sum(-1).sqrt()
    return e, difference / e.clamp_min(_TINY)[..., None]


def complete_edges(
    n: int,
    mask: Tensor | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Weights of the complete graph, (n, n), or (B, n, n) for padded batches with
    `mask` (B, n).
    """
    edges = 1.0 - torch.eye(n, dtype=dtype, device=device)
    return edges if mask is None else edges * (mask[:, :, None] & mask[:, None, :]).to(edges.dtype)


def stretch(u: Tensor, move: Tensor) -> Tensor:
    """J Delta c: the first-order change u_ij . (Delta c_i - Delta c_j) of every
    distance, (B, n, n).
    """
    along = torch.einsum("...ijk,...ik->...ij", u, move)
    return along - torch.einsum("...ijk,...jk->...ij", u, move)


def pull(u: Tensor, change: Tensor) -> Tensor:
    """J^T Delta d: sum_j u_ij Delta d_ij, each pair counted once per atom, (B, n, 3)."""
    return torch.einsum("...ijk,...ij->...ik", u, change)


def chain_rule_map(positions_A: Tensor, change_A: Tensor, edges: Tensor) -> Tensor:
    """sum_j u_ij w_ij Delta d_ij: the chain rule of ConfGF and GeoDiff;
    arXiv:2403.01430, from distances to coordinates.

    With Delta d = 2 sigma^2 s this is sigma^2 times 2 sum_j u_ij s_ij. It is exact when
    s is the joint score in distances.
    """
    return pull(pair_geometry(positions_A)[1], edges * change_A)


def degree_normalised_map(positions_A: Tensor, change_A: Tensor, edges: Tensor) -> Tensor:
    """(1 / deg_i) sum_j u_ij w_ij Delta d_ij: system A's linear map (arXiv:2403.01430),
    whose factors are those of arXiv:2310.04915, eq. 9 (complete graph) and 11 (degree).

    With weights 1/n in place of 1/(n-1) it is one step of stress majorisation (SMACOF).
    It under-moves: see the corrector k.
    """
    degree = edges.expand_as(change_A).sum(-1, keepdim=True)
    return chain_rule_map(positions_A, change_A, edges) / degree.clamp_min(_TINY)


def gauss_newton_map(
    positions_A: Tensor, change_A: Tensor, edges: Tensor, n_iterations: int = 16
) -> Tensor:
    """argmin over Delta c of sum_{i<j} w_ij (u_ij . (Delta c_i - Delta c_j) - Delta
    d_ij)^2: the problem of arXiv:2310.04915, eq. 8, to first order.

    By `n_iterations` of conjugate gradients on J^T W J from zero, preconditioned by the
    degrees: the projection on the tangent space of valid distance matrices to first
    order, which needs no corrector.
    """
    u = pair_geometry(positions_A)[1]
    edges = edges.expand_as(change_A) * (
        1.0 - torch.eye(change_A.shape[-1], dtype=change_A.dtype, device=change_A.device)
    )
    inverse = 1.0 / edges.sum(-1, keepdim=True).clamp_min(_TINY)
    move = torch.zeros_like(positions_A)
    residual = pull(u, edges * change_A)
    z = inverse * residual
    direction, power = z, _inner(residual, z)
    for _ in range(n_iterations):
        curved = pull(u, edges * stretch(u, direction))
        length = power / _inner(direction, curved).clamp_min(1e-20)
        move = move + length * direction
        residual = residual - length * curved
        z = inverse * residual
        new = _inner(residual, z)
        direction = z + new / power.clamp_min(1e-20) * direction
        power = new
    return move


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each member, (B, 1, 1)."""
    return (a * b).sum((-2, -1), keepdim=True)


DistanceMap = Callable[[Tensor, Tensor, Tensor], Tensor]
MAPS: dict[str, DistanceMap] = {
    "chain": chain_rule_map,
    "degree": degree_normalised_map,
    "gauss-newton": gauss_newton_map,
}


def distance_map(name: str) -> DistanceMap:
    """The map of that name: `chain`, `degree` or `gauss-newton`; called as
    `map(positions_A, change_A, edges) -> move`.
    """
    if name not in MAPS:
        raise UnknownNameError("distance map", name, MAPS)
    return MAPS[name]


def map_gain(name: str, n: int) -> float:
    """lambda_max of a map times J on the complete graph of n atoms, whatever the
    coordinates.

    The mode of largest gain of the first two is the dilation Delta c = c: J c = e and
    J^T e = n c. So it is n for the chain rule and n/(n-1) for the degree-normalised map
    (the paper's factor 1/(2(n-1)) halves that: the 0.5 of arXiv:2403.01430);
    Gauss-Newton is a projection, 1.
    """
    distance_map(name)
    return {"chain": float(n), "degree": n / max(1, n - 1), "gauss-newton": 1.0}[name]
