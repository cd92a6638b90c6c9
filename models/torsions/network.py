"""The transferable score network: a molecule at its frozen local geometry gives the
coefficients of a `TrigSeries` a noise level.

A graph network reads distances that no torsion changes (bonds, angles, rigid parts).
Every pair of substituents across a rotatable bond then adds a series in its own
dihedral, and every pair of substituents at the far ends of two bonds a series in
theirs, with even coefficients (cosines). Those dihedrals differ from the torsions by
frozen offsets, which become phases: handedness enters there alone, so a mirror image
has the mirrored score exactly, and rotations, translations and the choice of reference
atoms change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equidrift.models.shared.graph_codes import ATOM_CODES, PAIR_CODES
from equidrift.models.torsions.data import MAX_PATH, FrameBatch

_RBF_A = (0.9, 4.2)


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a `TorsionNetwork`."""

    width: int = 64  # of the state of an atom
    layers: int = 4  # rounds of messages
    rbf: int = 20  # Gaussians that a distance is expanded in
    k1: int = 6  # orders of the series of single torsions
    k2: int = 4  # orders of that of pairs


class Block(nn.Module):
    """One round of messages along the frozen distances."""

    def __init__(self, width: int, edge: int):
        super().__init__()
        self.filter = nn.Sequential(nn.Linear(edge, width), nn.SiLU(), nn.Linear(width, width))
        self.send = nn.Linear(width, width, bias=False)
        self.update = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, h: Tensor, edges: Tensor, feature: Tensor) -> Tensor:
        """h (atoms, width) -> the same shape."""
        message = self.send(h)[edges[1]] * self.filter(feature)
        gathered = torch.zeros_like(h).index_add_(0, edges[0], message)
        out: Tensor = h + self.update(torch.cat([h, gathered], dim=-1))
        return out


class TorsionNetwork(nn.Module):
    """Series coefficients of every frame at every noise level asked for."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config, w = config, config.width
        self.atom = nn.ModuleList(nn.Embedding(size + 1, w) for size in ATOM_CODES)
        self.pair = nn.ModuleList(nn.Embedding(size + 1, 16) for size in PAIR_CODES)
        self.blocks = nn.ModuleList(Block(w, config.rbf + 16) for _ in range(config.layers))
        self.end = nn.Linear(2 * w, 2 * w)  # of a single's end: substituent and axis atom
        self.single = nn.Sequential(nn.SiLU(), nn.Linear(2 * w, w))
        self.side = nn.Linear(
            4 * w, 2 * w
        )  # of a pair's side: substituent, far, near and next atom
        self.path = nn.Embedding(MAX_PATH + 2, 2 * w)
        self.couple = nn.Sequential(nn.SiLU(), nn.Linear(2 * w, w))
        self.noise = nn.Sequential(nn.Linear(4, w), nn.SiLU(), nn.Linear(w, 4 * w))
        self.single_out = nn.Linear(w, config.k1)
        self.pair_out = nn.Linear(w, 2 * config.k2 * config.k2)
        for head in (self.single_out, self.pair_out):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, batch: FrameBatch, sigmas: Tensor) -> tuple[Tensor, Tensor]:
        """singles (frames, L, m, K1) and pairs (frames, L, m (m - 1) / 2, K2, 2 K2),
        complex, at sigmas (frames, L) radians.
        """
        h, x = self._atoms(batch), batch.positions_A
        gains = self._gains(sigmas, batch.log_kT)
        scale = torch.exp(-batch.log_kT)[:, None, None]  # energies over kT
        phi = torsion(x, batch.reference)
        m, (k1, k2) = batch.n_torsions, (self.config.k1, self.config.k2)
        frames, levels = sigmas.shape

        left, right = (
            self.end(torch.cat([h[batch.singles[a]], h[batch.singles[j]]], dim=-1))
            for a, j in ((0, 1), (3, 2))
        )
        token = self.single(left + right)
        at = batch.frame_of_single
        value = (
            self.single_out(nn.functional.silu(token[:, None] * gains[0][at] + gains[1][at]))
            * scale[at]
        )  # (s, L, K1)
        n = torch.arange(1, k1 + 1, dtype=torch.float32, device=x.device)
        offset = torsion(x, batch.singles) - phi[batch.single_of]
        angle = offset[:, None] * n
        wave = torch.polar(torch.ones_like(angle), angle)
        singles = wave.new_zeros(frames * m, levels, k1)
        singles = singles.index_add(0, batch.single_of, value * wave[:, None])
        singles = singles.reshape(frames, m, levels, k1).transpose(1, 2)
        singles = singles * torch.exp(-0.5 * n * sigmas[..., None, None].square())

        n_pairs = m * (m - 1) // 2
        pairs = wave.new_zeros(frames * n_pairs, levels, k2, 2 * k2)
        if batch.pairs.shape[1]:
            pairs = self._pairs(batch, h, x, phi, gains, scale, pairs)
        pairs = pairs.reshape(frames, n_pairs, levels, k2, 2 * k2).transpose(1, 2)
        order = n[:k2, None] + torch.cat([n[:k2].flip(0), n[:k2]])
        return singles, pairs * torch.exp(-0.5 * order * sigmas[..., None, None, None].square())

    def _pairs(
        self,
        batch: FrameBatch,
        h: Tensor,
        x: Tensor,
        phi: Tensor,
        gains: tuple[Tensor, ...],
        scale: Tensor,
        out: Tensor,
    ) -> Tensor:
        k2, rows = self.config.k2, batch.pairs
        value = self._pair_values(batch, h, gains, scale)
        i, j = torch.triu_indices(batch.n_torsions, batch.n_torsions, 1, device=x.device)
        n_pairs = len(i)
        frame, which = batch.pair_of // n_pairs, batch.pair_of % n_pairs
        n = torch.arange(1, k2 + 1, dtype=torch.float32, device=x.device)
        l = torch.cat([-n.flip(0), n])
        delta_1 = torsion(x, rows[:4]) - phi[frame * batch.n_torsions + i[which]]
        delta_2 = torsion(x, rows[4:]) - phi[frame * batch.n_torsions + j[which]]
        angle = delta_1[:, None, None] * n[:, None] + delta_2[:, None, None] * l
        return out.index_add(
            0, batch.pair_of, value * torch.polar(torch.ones_like(angle), angle)[:, None]
        )

    def _pair_values(
        self, batch: FrameBatch, h: Tensor, gains: tuple[Tensor, ...], scale: Tensor
    ) -> Tensor:
        """Coefficients of the pairs in the frames of their own ends."""
        k2, at, rows = self.config.k2, batch.frame_of_pair, batch.pairs
        sides = [
            torch.cat([h[rows[k]] for k in group], dim=-1) for group in ((0, 1, 2, 3), (4, 5, 6, 7))
        ]
        first, second = (self.side(side) for side in sides)
        path = self.path(batch.path)
        # the rolled copy makes the two sides tell apart, and both orders together make the
        # sum symmetric
        tokens = (
            self.couple(a + b.roll(1, dims=-1) + path)
            for a, b in ((first, second), (second, first))
        )
        straight, swapped = (
            (
                self.pair_out(nn.functional.silu(t[:, None] * gains[2][at] + gains[3][at]))
                * scale[at]
            ).unflatten(-1, (k2, 2 * k2))
            for t in tokens
        )
        # cos(n psi1 + l psi2) seen from the other end: n and |l| change places
        negative, positive = (
            swapped[..., :k2].flip(-1).transpose(-1, -2).flip(-1),
            swapped[..., k2:].transpose(-1, -2),
        )
        out: Tensor = straight + torch.cat([negative, positive], dim=-1)
        return out

    def _atoms(self, batch: FrameBatch) -> Tensor:
        """(atoms, width) states."""
        h = torch.stack([table(batch.atom_codes[:, k]) for k, table in enumerate(self.atom)]).sum(
            dim=0
        )
        i, j = batch.edges
        distance = (batch.positions_A[i] - batch.positions_A[j]).norm(dim=-1, keepdim=True)
        points = torch.linspace(*_RBF_A, self.config.rbf, device=h.device)
        wave = torch.exp(-0.5 * ((distance - points) / (points[1] - points[0])).square())
        code = torch.stack(
            [table(batch.edge_codes[:, k]) for k, table in enumerate(self.pair)]
        ).sum(dim=0)
        feature = torch.cat([wave, code], dim=-1)
        for block in self.blocks:
            h = block(h, batch.edges, feature)
        return h

    def _gains(self, sigmas: Tensor, log_kT: Tensor) -> tuple[Tensor, ...]:
        """Four tensors (frames, L, width): scale and shift of the singles' and the
        pairs' tokens.
        """
        kT = log_kT[:, None].expand_as(sigmas)
        feature = torch.stack([sigmas.log(), kT, sigmas.clamp(max=2.0), sigmas.log() * kT], dim=-1)
        scale_1, shift_1, scale_2, shift_2 = self.noise(feature).chunk(4, dim=-1)
        return 1 + scale_1, shift_1, 1 + scale_2, shift_2


def torsion(x: Tensor, atoms: Tensor) -> Tensor:
    """Dihedral angles (t,) of atoms (4, t) at x (n, 3), sign as in
    `equidrift.geometry.dihedrals`.
    """
    a, b, c, d = (x[k] for k in atoms)
    axis = c - b
    left, right = torch.linalg.cross(b - a, axis), torch.linalg.cross(axis, d - c)
    sine = (torch.linalg.cross(left, right) * axis).sum(-1) / axis.norm(dim=-1).clamp_min(1e-12)
    return torch.atan2(sine, (left * right).sum(-1))
