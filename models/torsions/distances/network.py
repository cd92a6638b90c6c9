"""The score network of noised torsions with all distances in view.

Messages run between all heavy atoms within a cutoff and read their distance, the bonds
between them and how many of the torsions in between are noised. Two terms make the
score of a torsion, both odd when the molecule is mirrored and even in which end is
called first:

* the torque of pair forces. Every pair gets forces f_c (invariants) along the line
  between its atoms; with F_ic their sum on atom i, torsion k gets
  t_kc = sum over the turning atoms of (u_k x (r_i - o_k)) . F_ic, which is
  sum_pairs f_c d distance / d phi_k: the form that the gradient of every energy of
  distances has. Which side turns does not matter, since forces between the atoms of a
  side have no torque.
* a series sum_n c_n sin(n psi) in the dihedral psi of every two neighbours across the
  bond, with coefficients that see the surroundings.

The score is the sum times the root mean square score of the noise, so that the network
answers with values of order one at every level (the same scaling as Jing et al. 2022,
arXiv:2206.01729, equation 6 and its appendix).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from equidrift.models.shared.graph_codes import ATOM_CODES, PAIR_CODES
from equidrift.models.shared.layers import RadialBasis
from equidrift.models.torsions.distances.graph import Rows
from equidrift.models.torsions.network import torsion

MOST_NOISED = 4  # torsions between two atoms; more share one code
CODE_WIDTH = 12
NEIGHBOURS = 0.2  # about one over the root of the usual number of messages that are summed
LEAST_INERTIA_A2 = 0.5


@dataclass(frozen=True)
class DistanceConfig:
    """Sizes of a `DistanceNetwork`."""

    width: int = 64  # of the state of an atom
    rounds: int = 4  # of messages
    radial: int = 24  # Gaussians that a distance is expanded in
    forces: int = 12  # pair forces whose torques are summed
    orders: int = 6  # of the sine series of each dihedral
    cutoff_A: float = 12.0  # longest distance of atoms that exchange messages


class Message(nn.Module):
    """What two atoms say to each other: a gated function of both and of their pair, the
    same in both directions.
    """

    def __init__(self, width: int, edge: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.atoms = nn.Linear(width, 2 * width)
        self.pair = nn.Linear(edge, 2 * width, bias=False)

    def forward(self, h: Tensor, film: Tensor, pairs: Tensor, feature: Tensor) -> Tensor:
        """(P, width) of atoms h (N, width) with scale and shift film (N, 2 width)."""
        scale, shift = film.chunk(2, dim=-1)
        sent = self.atoms(self.norm(h) * (1 + scale) + shift)
        value, gate = (
            sent.index_select(0, pairs[0]) + sent.index_select(0, pairs[1]) + self.pair(feature)
        ).chunk(2, dim=-1)
        out: Tensor = functional.silu(gate) * value
        return out


class Round(nn.Module):
    """One round of messages."""

    def __init__(self, width: int, edge: int):
        super().__init__()
        self.message = Message(width, edge)
        self.update = nn.Sequential(
            nn.LayerNorm(2 * width),
            nn.Linear(2 * width, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, width),
        )

    def forward(
        self, h: Tensor, film: Tensor, pairs: Tensor, feature: Tensor, envelope: Tensor
    ) -> Tensor:
        """h (N, width) -> the same shape."""
        message = self.message(h, film, pairs, feature) * envelope
        gathered = torch.zeros_like(h).index_add(0, pairs[0], message)
        gathered = gathered.index_add(0, pairs[1], message)
        out: Tensor = h + self.update(torch.cat([h, gathered * NEIGHBOURS], dim=-1))
        return out


class DistanceNetwork(nn.Module):
    """Scores of noised torsions over those of the noise; see the module."""

    def __init__(self, config: DistanceConfig):
        super().__init__()
        self.config, w = config, config.width
        self.radial = RadialBasis(config.radial, config.cutoff_A)
        self.atom = nn.ModuleList(nn.Embedding(size + 1, w) for size in ATOM_CODES)
        self.pair = nn.ModuleList(nn.Embedding(size + 1, CODE_WIDTH) for size in PAIR_CODES)
        self.noised = nn.Embedding(MOST_NOISED + 1, CODE_WIDTH)
        edge = config.radial + CODE_WIDTH
        self.level = nn.Sequential(nn.Linear(4, w), nn.SiLU(), nn.Linear(w, w), nn.SiLU())
        self.films = nn.ModuleList(nn.Linear(w, 2 * w) for _ in range(config.rounds + 1))
        self.rounds = nn.ModuleList(Round(w, edge) for _ in range(config.rounds))
        self.force = Message(w, edge)
        self.force_out = nn.Linear(w, config.forces, bias=False)
        self.axis = nn.Linear(w, w)
        self.inertia = nn.Linear(2, w)
        self.gate = nn.Linear(w, config.forces)
        self.end = nn.Linear(2 * w, w)
        self.cosines = nn.Linear(config.orders, w)
        self.series = nn.Sequential(nn.SiLU(), nn.Linear(w, w), nn.SiLU())
        self.series_out = nn.Linear(w, config.orders)
        for head in (self.gate, self.series_out):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(
        self, rows: Rows, positions_A: Tensor, sigmas: Tensor, moving: Tensor, log_kT: Tensor
    ) -> Tensor:
        """The score of each torsion (T,) over `rms_score` of its row's sigma.

        Of joined conformers `rows`; the other arguments are those of a `NoisedBatch`.
        """
        h, film, (pairs, feature, envelope, unit) = self._states(
            rows, positions_A, sigmas, moving, log_kT
        )
        message = self.force(h, film, pairs, feature) * envelope
        force = self.force_out(message)[:, :, None] * unit[:, None]  # (P, c, 3)
        force = (
            force.new_zeros(len(h), *force.shape[1:])
            .index_add(0, pairs[0], force)
            .index_add(0, pairs[1], -force)
        )
        return self._torques(rows, positions_A, h, force) + self._series(rows, positions_A, h)

    def _states(
        self, rows: Rows, x: Tensor, sigmas: Tensor, moving: Tensor, log_kT: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Atom states (N, width), the level's last scale and shift (N, 2 width), and of
        the pairs within the cutoff: indices, features, envelope and unit vectors.
        """
        pairs, feature, envelope, unit = self._pairs(rows, x, moving)
        h = torch.stack([table(rows.atom_codes[:, k]) for k, table in enumerate(self.atom)]).sum(
            dim=0
        )
        log = sigmas.log()
        level = self.level(torch.stack([log, log_kT, sigmas, log * log_kT], dim=-1))
        for film, block in zip(self.films, self.rounds, strict=False):
            h = block(h, film(level)[rows.row_of_atom], pairs, feature, envelope)
        return h, self.films[-1](level)[rows.row_of_atom], (pairs, feature, envelope, unit)

    def _pairs(self, rows: Rows, x: Tensor, moving: Tensor) -> tuple[Tensor, ...]:
        """Indices (2, P), features (P, edge), envelope (P, 1), unit vectors (P, 3)."""
        between = x.new_zeros(rows.pairs.shape[1]).index_add(
            0, rows.separated[0], moving[rows.separated[1]]
        )
        pairs, codes, between = rows.pairs, rows.pair_codes, between.long()
        with torch.no_grad():
            apart = (x[pairs[0]] - x[pairs[1]]).square().sum(-1)
            near = apart < self.config.cutoff_A**2
        if not bool(near.all()):
            pairs, codes, between = pairs[:, near], codes[near], between[near]
        arm = x[pairs[0]] - x[pairs[1]]
        distance = arm.square().sum(-1).clamp_min(1e-4).sqrt()
        code = torch.stack([table(codes[:, k]) for k, table in enumerate(self.pair)]).sum(dim=0)
        code = code + self.noised(between.clamp(max=MOST_NOISED))
        feature = torch.cat([self.radial(distance), code], dim=-1)
        envelope = 0.5 * (1 + torch.cos(math.pi * distance / self.config.cutoff_A))
        return pairs, feature, envelope[:, None], arm / distance[:, None]

    def _torques(self, rows: Rows, x: Tensor, h: Tensor, force: Tensor) -> Tensor:
        """(T,) gated torques of the pair forces (N, c, 3), over the root of the reduced
        moment of inertia.
        """
        first, second = x[rows.axes[0]], x[rows.axes[1]]
        axis = functional.normalize(second - first, dim=-1)
        side, atom = rows.arms
        torsion_of = side // 2
        lever = torch.linalg.cross(axis[torsion_of], x[atom] - second[torsion_of])
        inertia = x.new_zeros(2 * len(axis)).index_add(0, side, lever.square().sum(-1))
        inertia = inertia.view(-1, 2).clamp_min(LEAST_INERTIA_A2)
        reduced = inertia.reciprocal().sum(-1)
        turning = side % 2 == 1
        torque = torch.einsum("ax,acx->ac", lever[turning], force[atom[turning]])
        torque = x.new_zeros(len(axis), force.shape[1]).index_add(0, torsion_of[turning], torque)
        size = inertia.log()
        about = torch.stack([size.sum(-1), (size[:, 0] - size[:, 1]).square()], dim=-1)
        token = functional.silu(self.axis(h[rows.axes[0]] + h[rows.axes[1]]) + self.inertia(about))
        out: Tensor = (self.gate(token) * torque).sum(-1) * reduced.sqrt()
        return out

    def _series(self, rows: Rows, x: Tensor, h: Tensor) -> Tensor:
        """(T,) sine series of the dihedrals about each axis."""
        a, j, k, b, torsion_of = rows.ends
        psi = torsion(x, rows.ends[:4])
        order = torch.arange(1, self.config.orders + 1, dtype=x.dtype, device=x.device)
        wave = psi[:, None] * order
        token = self.end(torch.cat([h[a], h[j]], dim=-1)) + self.end(
            torch.cat([h[b], h[k]], dim=-1)
        )
        coefficient = self.series_out(self.series(token + self.cosines(torch.cos(wave))))
        value = (coefficient * torch.sin(wave)).sum(-1)
        return x.new_zeros(rows.axes.shape[1]).index_add(0, torsion_of, value)
