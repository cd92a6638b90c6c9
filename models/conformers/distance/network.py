"""GeoDiff-type dual network for distance scores: a SchNet encoder on all pairs, a GIN
encoder on local pairs, two edge heads.

Written from the descriptions of GeoDiff (arXiv:2203.02923) and system A
(arXiv:2403.01430). Departures, each on purpose:

* pairs are dense and undirected: every edge feature is computed once for i < j, in
  exact-size batches, without a scatter extension;
* the filters of SchNet's interactions are linear in one shared, deeper edge encoding
  (the per-layer filter networks took half the time);
* the network is told the noise level (log sigma enters the edge encoder and the atoms),
  since training time is short;
* the heads predict the clean distance after a preconditioning (below) from which the
  distance score follows as (d - e) / (2 sigma^2), arXiv:2403.01430, distance
  distribution; lengths enter as radial basis functions next to the raw, scaled length;
* the cut-off of 10 A widens with the noise, r_c = 10 A sqrt(1 + 9 sigma^2), so that the
  graph is complete at high noise.

Preconditioning: for an edge class with prior mean mu and spread s (over molecules), the
clean distance given a noisy one e is, to linear order, c_skip e + (1 - c_skip) mu with
c_skip = s^2 / (s^2 + 2 sigma^2), left uncertain by c_out = sqrt(2) sigma s / sqrt(s^2 +
2 sigma^2). The head predicts the rest in units of c_out.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

ELEMENTS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53)
EDGE_FAR, EDGE_SINGLE, EDGE_DOUBLE, EDGE_TRIPLE, EDGE_AROMATIC, EDGE_HOP2, EDGE_HOP3, EDGE_OTHER = (
    range(8)
)
N_EDGE_TYPES = 8
BOND_TYPE = {1.0: EDGE_SINGLE, 2.0: EDGE_DOUBLE, 3.0: EDGE_TRIPLE, 1.5: EDGE_AROMATIC}
# prior mean and spread of a distance in A, by edge type
PRIOR_MEAN_A = (4.4, 1.2, 1.3, 1.18, 1.4, 2.2, 2.9, 1.8)
PRIOR_SPREAD_A = (1.3, 0.2, 0.1, 0.05, 0.05, 0.25, 0.5, 0.4)


@dataclass(frozen=True)
class DistanceConfig:
    """Sizes of the network; stored in the weights' metadata."""

    hidden: int = 64  # width of the state of an atom
    global_layers: int = 4  # over all pairs within the cutoff
    local_layers: int = 3  # over pairs near in the graph
    n_rbf: int = 32  # radial functions of a distance
    rbf_max_A: float = 6.4  # centre of the last of them
    cutoff_A: float = 10.0  # longest distance of atoms that exchange messages

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DistanceConfig:
        """From a mapping; keys that are not fields are ignored."""
        return cls(**{f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values})


def edge_types(
    n_atoms: int, bonds: NDArray[np.int64], orders: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Edge type of every pair: bond order, else number of bonds between (2, 3), else
    far; GeoDiff, arXiv:2203.02923.

    Parameters
    ----------
    n_atoms : int
        Number of atoms n.
    bonds : int64, shape (m, 2)
        Atom indices.
    orders : float64, shape (m,)
        1, 2, 3, 1.5; anything else becomes EDGE_OTHER.

    Returns
    -------
    (n, n) symmetric, with EDGE_FAR on the diagonal.
    """
    adjacency = np.zeros((n_atoms, n_atoms), bool)
    for i, j in np.asarray(bonds, np.int64).reshape(-1, 2):
        adjacency[i, j] = adjacency[j, i] = True
    types = np.full((n_atoms, n_atoms), EDGE_FAR, np.int64)
    step = adjacency.astype(np.float32)
    two = step @ step
    types[two @ step > 0] = EDGE_HOP3
    types[two > 0] = EDGE_HOP2
    for (i, j), order in zip(np.asarray(bonds, np.int64).reshape(-1, 2), orders, strict=True):
        types[i, j] = types[j, i] = BOND_TYPE.get(float(order), EDGE_OTHER)
    np.fill_diagonal(types, EDGE_FAR)
    return types


def element_index(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row of each atomic number in `ELEMENTS`; -1 where the element is not supported."""
    table = np.full(256, -1, np.int64)
    table[list(ELEMENTS)] = np.arange(len(ELEMENTS))
    return table[np.asarray(numbers, np.int64)]


def pair_indices(n: int, device: torch.device | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(i, j, full) for n atoms, on a device (the CPU if None): the P = n(n-1)/2 pairs i <
    j, and for each ordered pair of the (n, n) table its row in that list.
    """
    return _pair_indices(n, device or torch.device("cpu"))


@functools.lru_cache(maxsize=256)
def _pair_indices(n: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    i, j = torch.triu_indices(n, n, 1, device=device)
    full = torch.zeros(n, n, dtype=torch.long, device=device)
    full[i, j] = full[j, i] = torch.arange(len(i), device=device)
    return i, j, full.reshape(-1)


class _Unfold(torch.autograd.Function):
    """(P, ...) values of pairs -> (n * n, ...) table, by gathering; the gradient
    gathers too (index_add is slow on CPU).
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, n: int) -> Tensor:
        ctx.n = n
        return values.index_select(0, pair_indices(n, values.device)[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        i, j, _ = pair_indices(ctx.n, grad.device)
        return grad.index_select(0, i * ctx.n + j) + grad.index_select(0, j * ctx.n + i), None


def unfold_pairs(values: Tensor, n: int) -> Tensor:
    """(P, B, h) -> (n, n, B, h), symmetric; the diagonal holds the first pair and has
    to be masked.
    """
    table: Tensor = _Unfold.apply(values, n)
    return table.view(n, n, *values.shape[1:])


class ShiftedSoftplus(nn.Module):
    """log(1 + exp(x)) - log 2, SchNet's activation."""

    def forward(self, x: Tensor) -> Tensor:
        """See `torch.nn.Module.forward`."""
        return nn.functional.softplus(x) - math.log(2.0)


class GlobalLayer(nn.Module):
    """One SchNet interaction on all pairs; layout (n, B, h), filters (P, B, h)."""

    def __init__(self, hidden: int):
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.filter = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden, bias=False)
        self.out = nn.Sequential(
            nn.Linear(hidden, hidden), ShiftedSoftplus(), nn.Linear(hidden, hidden)
        )

    def forward(self, x: Tensor, edges: Tensor, envelope: Tensor, scale: Tensor) -> Tensor:
        """See `torch.nn.Module.forward`."""
        n = len(x)
        filters = unfold_pairs(self.filter(edges) * envelope, n)
        value = self.value(self.norm(x))
        itself = filters.diagonal(dim1=0, dim2=1).permute(2, 0, 1)
        message = (filters * value).sum(1) - itself * value
        out: Tensor = x + self.out(message * scale)
        return out


class LocalLayer(nn.Module):
    """One GIN layer (with edge features, GINE) on bonds and 2- and 3-hop pairs."""

    def __init__(self, hidden: int):
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden))

    def forward(self, x: Tensor, local_edges: Tensor, local: Tensor) -> Tensor:
        """See `torch.nn.Module.forward`."""
        value = self.norm(x)
        message = (torch.relu(local_edges + value) * local).sum(1)
        out: Tensor = x + self.out(value + message / 3.0)
        return out


def noise_features(sigma: Tensor) -> Tensor:
    """What a distance network is told of the noise levels (B,): (B, 9)."""
    level = torch.log(sigma)[:, None] / 4.0
    waves = level * torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=level.dtype, device=level.device)
    return torch.cat([level, torch.sin(waves), torch.cos(waves)], 1)


class DistanceNetwork(nn.Module):
    """Predicts the clean distance of every pair from noisy coordinates, invariant to
    E(3), equivariant to permutation.

    Parameters
    ----------
    config : DistanceConfig or None
        Sizes.
    """

    prior_mean: Tensor
    prior_spread: Tensor
    centres: Tensor

    def __init__(self, config: DistanceConfig | None = None):
        super().__init__()
        self.config = config or DistanceConfig()
        h, n_rbf = self.config.hidden, self.config.n_rbf
        self.atoms = nn.Embedding(len(ELEMENTS), h)
        self.graph = nn.Linear(N_EDGE_TYPES - 1, h)
        self.noise = nn.Sequential(nn.Linear(9, h), nn.SiLU(), nn.Linear(h, 2 * h))
        self.length = nn.Linear(n_rbf + 3, h)
        self.length_mid = nn.Linear(h, h)
        self.length_out = nn.Linear(h, h)
        self.edge_kind = nn.Embedding(N_EDGE_TYPES, h)
        self.edge_shift = nn.Embedding(N_EDGE_TYPES, h)
        self.global_layers = nn.ModuleList(GlobalLayer(h) for _ in range(self.config.global_layers))
        self.local_layers = nn.ModuleList(LocalLayer(h) for _ in range(self.config.local_layers))
        self.head_atoms = nn.Linear(2 * h, 2 * h)
        self.heads = nn.ModuleList(self._head(h) for _ in range(2))
        self.register_buffer("prior_mean", torch.tensor(PRIOR_MEAN_A), persistent=False)
        self.register_buffer("prior_spread", torch.tensor(PRIOR_SPREAD_A), persistent=False)
        self.register_buffer(
            "centres", torch.linspace(0.0, self.config.rbf_max_A, n_rbf), persistent=False
        )

    @staticmethod
    def _head(h: int) -> nn.ModuleDict:
        last = nn.Linear(h // 2, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        tail = nn.Sequential(nn.SiLU(), nn.Linear(h, h // 2), nn.SiLU(), last)
        return nn.ModuleDict(
            {"product": nn.Linear(2 * h, h), "edge": nn.Linear(h, h, bias=False), "tail": tail}
        )

    def _edges(self, e: Tensor, kind: Tensor, sigma: Tensor, shift: Tensor) -> Tensor:
        """Edge features (P, B, h): MLP of the length and the noise, times an embedding
        of the edge type.
        """
        width = self.config.rbf_max_A / (self.config.n_rbf - 1)
        radial = torch.exp(
            -((e[..., None] - self.centres) / width).square().clamp_max(30.0)
        )  # no denormals: slow
        c_in = torch.rsqrt(9.0 + 6.0 * sigma**2)
        scaled = torch.stack([e * c_in, torch.log1p(e) - 1.0, torch.log(e / sigma + 1.0) - 2.0], -1)
        hidden = nn.functional.silu(
            self.length(torch.cat([radial, scaled], -1)) + shift + self.edge_shift(kind)
        )
        hidden = self.length_mid(hidden) * (1.0 + self.edge_kind(kind))
        edges: Tensor = nn.functional.silu(self.length_out(nn.functional.silu(hidden)))
        return edges

    def forward(
        self,
        positions_A: Tensor,
        elements: Tensor,
        kinds: Tensor,
        sigma_A: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Clean distances in A of the pairs i < j.

        Parameters
        ----------
        positions_A : Tensor, shape (B, n, 3)
            Noisy coordinates.
        elements : Tensor, shape (B, n)
            Rows of `ELEMENTS`.
        kinds : Tensor, shape (B, n, n)
            Edge types.
        sigma_A : Tensor, shape (B,)
            Noise level of each component.
        mask : Tensor, shape (B, n), or None
            True for atoms, or None for exact-size batches.

        Returns
        -------
        (B, P) in the order of `pair_indices(n)`.
        """
        n = positions_A.shape[1]
        i, j, _ = pair_indices(n, positions_A.device)
        x = positions_A.transpose(0, 1)
        e = (x[i] - x[j]).square().sum(-1).clamp_min(1e-10).sqrt()
        table = kinds.permute(1, 2, 0)
        kind = table[i, j]
        real = e.new_ones(()) if mask is None else (mask.T[i] & mask.T[j]).to(e.dtype)
        size = e.new_full((1,), float(n)) if mask is None else mask.sum(1).to(e.dtype)
        scale = torch.rsqrt(size.to(e))[:, None]
        edges, atoms = self._encode(e, elements, table, kind, sigma_A, real, scale)
        product = atoms.index_select(0, i) * atoms.index_select(0, j)
        prior = self.prior_spread[kind]
        both = 2.0 * sigma_A**2
        skip = prior**2 / (prior**2 + both)
        out = torch.sqrt(both * skip)
        residual = self._read(product, edges, self.head_atoms(atoms), kind, i, j)
        d = skip * e + (1.0 - skip) * self.prior_mean[kind] + out * residual
        return d.T

    def _encode(
        self,
        e: Tensor,
        elements: Tensor,
        table: Tensor,
        kind: Tensor,
        sigma: Tensor,
        real: Tensor,
        scale: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Edge features (P, B, h) and both encoders' atom features (n, B, 2h)."""
        n = len(table)
        shift_edge, shift_atom = self.noise(noise_features(sigma)).chunk(2, -1)
        edges = self._edges(e, kind, sigma, shift_edge)
        cutoff = self.config.cutoff_A * torch.sqrt(1.0 + 9.0 * sigma**2)
        envelope = (0.5 * (torch.cos(math.pi * (e / cutoff).clamp_max(1.0)) + 1.0) * real)[
            ..., None
        ]
        local = unfold_pairs(((kind != EDGE_FAR).to(e.dtype) * real)[..., None], n)
        local = local * (1.0 - torch.eye(n, dtype=e.dtype, device=e.device))[:, :, None, None]
        degree = torch.stack([(table == k).sum(1) for k in range(1, N_EDGE_TYPES)], -1).to(e.dtype)
        far = near = self.atoms(elements.T) + self.graph(degree / 4.0) + shift_atom
        for layer in self.global_layers:
            far = layer(far, edges, envelope, scale)
        local_edges = unfold_pairs(edges, n)
        for layer in self.local_layers:
            near = layer(near, local_edges, local)
        return edges, torch.cat([far, near], -1)

    def _read(
        self, product: Tensor, edges: Tensor, ends: Tensor, kind: Tensor, i: Tensor, j: Tensor
    ) -> Tensor:
        """Residuals (P, B): the global head for far pairs, the local head for the
        others.
        """
        h = edges.shape[-1]
        shape = kind.shape
        flat_kind = kind.reshape(-1)
        result = torch.zeros(flat_kind.shape, dtype=edges.dtype, device=edges.device)
        flat_product, flat_edges = product.reshape(-1, product.shape[-1]), edges.reshape(-1, h)
        for which, head in enumerate(self.heads):
            rows = torch.nonzero(
                (flat_kind == EDGE_FAR) if which == 0 else (flat_kind != EDGE_FAR)
            ).squeeze(-1)
            if not len(rows):
                continue
            part = ends[..., which * h : (which + 1) * h]
            both = (part.index_select(0, i) + part.index_select(0, j)).reshape(-1, h)
            products, edges = flat_product.index_select(0, rows), flat_edges.index_select(0, rows)
            hidden = head["product"](products) + head["edge"](edges)  # type: ignore[index]
            hidden = hidden + both.index_select(0, rows)
            result = result.index_copy(0, rows, head["tail"](hidden).squeeze(-1))  # type: ignore[index]
        return result.view(shape)
