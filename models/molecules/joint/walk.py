"""A batch of molecules on its way from noise: what is held and what is free, and the
steps that places and categories make.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.molecules.joint.alphabet import ORDERS, QM9_TOKENS, Alphabet
from equidrift.models.molecules.joint.data import BONDS, MAX_HEAVY
from equidrift.models.molecules.joint.fragments import Fragment
from equidrift.models.molecules.joint.network import Estimate, State
from equidrift.models.molecules.joint.objective import COMPLETE, SIGMA_MIN_A, joint_level
from equidrift.models.molecules.joint.pocket import Pull
from equidrift.models.shared.geometry import centred
from equidrift.models.shared.layers import pairs_of
from equidrift.models.shared.solvers import ancestral_step
from equidrift.seeds import sample_rng


@dataclass(frozen=True)
class Path:
    """How the sampler goes from noise to molecules, times tau running from 0 to 1.

    What is revealed is hidden again, to be drawn anew, until the last `settle` calls; for
    atoms whose revealed bonds break their valence (`repair`) until the last one.
    """

    types: tuple[float, float] = (0.0, COMPLETE)  # when the first and the last is revealed
    bonds: tuple[float, float] = (0.0, COMPLETE)  # the same of bonds
    churn: float = 0.6  # noise added back to the places
    rehide: float = 0.15  # share that is hidden again before each call
    repair: float = 0.8  # the same of broken atoms; 0 leaves valences to the network
    settle: int = 3  # calls at the end that hide nothing
    confident: float = 0.5  # 0: random order; more prefers what the network is sure of
    temperature: float = 1.0  # of the draws


@dataclass
class Draws:
    """All the noise of a batch of samples, each from its own stream.

    size : (b,) uniform, decides the number of tokens. places : (b, steps + 1, most, 3)
        normal, most being the alphabet's tokens at most. uniform : (b, steps, 3, most,
        most + 1): for what is hidden again, what is drawn, and in which order it is
        revealed. rngs : the streams, for more.
    """

    size: Tensor
    places: Tensor
    uniform: Tensor
    rngs: list[np.random.Generator]

    @classmethod
    def of(cls, seeds: NDArray[np.int64], steps: int, most: int = MAX_HEAVY) -> Draws:
        """All that samples of these seeds draw in `steps` steps."""
        rngs = [sample_rng(int(s)) for s in seeds]
        size = torch.tensor([g.random() for g in rngs], device="cpu")
        places = np.stack([g.standard_normal((steps + 1, most, 3), dtype=np.float32) for g in rngs])
        uniform = np.stack([g.random((steps, 3, most, most + 1), dtype=np.float32) for g in rngs])
        return cls(size, torch.from_numpy(places), torch.from_numpy(uniform), rngs)


class Walk:
    """One batch on its way: what is held, what is free, and the steps that places and
    categories make.

    The tokens (b, n) are padded to the largest of `sizes`, and to `MAX_HEAVY` at least.
    """

    def __init__(
        self,
        sizes: Tensor,
        draws: Draws,
        held: Fragment | None,
        steps: int,
        device: torch.device,
        alphabet: Alphabet = QM9_TOKENS,
        centre_A: NDArray[np.float64] | None = None,
    ):
        self.steps, self.draws, self.held, self.device = steps, draws, held, device
        self.alphabet, self.kinds = alphabet, len(alphabet.types)
        b, n = len(sizes), max(MAX_HEAVY, int(sizes.max()))
        self.n = n
        self.mask = torch.arange(n, device=device) < sizes[:, None]
        self.off = pairs_of(self.mask)
        times = torch.arange(steps) / max(steps - 1, 1)
        self.levels = [*joint_level(times, alphabet).tolist(), 0.0]
        self.places = draws.places[:, :, :n].to(device)
        most = alphabet.most_heavy
        self.unit = draws.uniform[:, :, :, :n, [*range(n), most]].to(device)
        count = 0 if held is None else held.size
        self.held_tokens = self.mask & (torch.arange(n, device=device) < count)
        self.held_x = torch.zeros(b, n, 3, device=device)
        if held is not None:
            self.held_x[:, :count] = torch.from_numpy(
                held.positions_A - held.positions_A.mean(0)
            ).to(self.held_x)
        self.origin_A = torch.zeros(b, 1, 3, device=device)  # of the places
        if centre_A is not None:
            self.origin_A = self.origin_A + torch.from_numpy(centre_A).to(self.origin_A)
        self.free_types = self.mask
        self.free_bonds = self.off & ~(self.held_tokens[:, :, None] & self.held_tokens[:, None])
        noise = self.places[:, 0]
        self.x = self.put(
            self.levels[0]
            * (noise if held is not None else centred(noise, self.mask))
            * self.mask[..., None]
        )

    def put(self, x: Tensor) -> Tensor:
        """x (b, n, 3) with the held tokens in their places."""
        return torch.where(self.held_tokens[..., None], self.held_x, x)

    def pulled(self, made: Estimate, pull: Pull) -> Estimate:
        """The estimate pulled by a pocket. What a pull has of a shift moves the whole
        molecule within the pocket's ball, unless a fragment holds it.
        """
        if self.held is not None:
            first = torch.from_numpy(self.held.positions_A[0]).to(self.held_x)
            self.origin_A = first - self.held_x[:, :1]
        moved, push = pull.act(made, self.origin_A, self.mask)
        if self.held is not None:
            return Estimate(moved.types, moved.bonds, self.put(made.x + push), [])
        shift = push.sum(1, keepdim=True) / self.mask.sum(1)[:, None, None]
        centre = torch.from_numpy(pull.pocket.centre_A).to(shift)
        away = self.origin_A + shift - centre
        far = away.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        self.origin_A = centre + away * (pull.pocket.radius_A / far).clamp_max(1.0)
        x = (made.x + push - shift) * self.mask[..., None]
        return Estimate(moved.types, moved.bonds, x, [])

    def unknown(self) -> tuple[Tensor, Tensor]:
        """Types (b, n) and bonds (b, n, n), -1 where they are to be drawn; 0 at
        padding.
        """
        types = torch.where(self.mask, -1, 0)
        bonds = torch.where(self.free_bonds, -1, 0)
        if self.held is not None:
            c = self.held.size
            bonds[:, :c, :c] = torch.from_numpy(self.held.bonds).to(bonds)
        return types, bonds

    def uniform(self, k: int, which: int) -> tuple[Tensor, Tensor]:
        """Uniform numbers of step k for types (b, n) and pairs (b, n, n), symmetric."""
        u = self.unit[:, k, which]
        upper = u[:, :, : self.n].triu()
        return u[:, :, self.n], upper + upper.triu(1).transpose(1, 2)

    def state(self, types: Tensor, bonds: Tensor, x: Tensor, k: int) -> State:
        """What the network is shown at step k, places centred."""
        if self.held is not None:
            count = self.mask.sum(1)[:, None, None]
            middle = (x * self.mask[..., None]).sum(1, keepdim=True) / count
            self.held_x = self.held_x - middle
            x = (x - middle) * self.mask[..., None]
        sigma = torch.full(self.mask.shape, self.levels[k], device=self.device)
        sigma = torch.where(self.held_tokens, sigma.clamp_max(SIGMA_MIN_A), sigma)
        return State(types * self.mask[..., None], bonds * self.off[..., None], x, sigma, self.mask)

    def allowed(self, made: Estimate) -> Estimate:
        """The estimate without the types that held tokens cannot have, and with them in
        their places.
        """
        types = made.types
        if self.held is not None:
            open_ = torch.from_numpy(self.held.allowed).to(types.device)
            types = types.clone()
            types[:, : self.held.size] = types[:, : self.held.size].masked_fill(~open_, -1e9)
        return Estimate(types, made.bonds, self.put(made.x) * self.mask[..., None], [])

    def reveal(
        self,
        logits: Tensor,
        codes: Tensor,
        hidden: Tensor,
        k: int,
        path: Path,
        which: int,
        time: float,
    ) -> tuple[Tensor, Tensor]:
        """Draw what is hidden, and keep of it hidden what the path says: that of least
        score.
        """
        drawn = categorical(logits / path.temperature, self.uniform(k, 1)[which])
        codes = torch.where(hidden, drawn, codes)
        begin, end = (path.types, path.bonds)[which]
        share = min(1.0, max(0.0, 1.0 - (time - begin) / (end - begin)))
        free = (self.free_types, self.free_bonds)[which]
        if share == 0.0 or k == self.steps - 1:
            return codes, torch.zeros_like(hidden)
        if which:  # each pair counts once
            free = free.triu()
        gumbel = -(-self.uniform(k, 2)[which].clamp(1e-7, 1 - 1e-7).log()).log()
        sure = logits.log_softmax(-1).gather(-1, codes[..., None])[..., 0]
        score = (
            (path.confident * sure + gumbel)
            .masked_fill(~hidden, torch.inf)
            .masked_fill(~free, torch.inf)
            .flatten(1)
        )
        keep = torch.minimum(
            (share * free.flatten(1).sum(1)).round().long(), (hidden & free).flatten(1).sum(1)
        )
        rank = score.argsort(1).argsort(1)
        still = (rank < keep[:, None]).view(hidden.shape)
        return codes, (still | still.transpose(1, 2)) if which else still

    def hide_again(
        self,
        types: Tensor,
        bonds: Tensor,
        hide_types: Tensor,
        hide_bonds: Tensor,
        k: int,
        path: Path,
    ) -> tuple[Tensor, Tensor]:
        """Hide some of what is revealed once more: anything by chance, and what breaks
        a valence more often.
        """
        if k == 0:
            return hide_types, hide_bonds
        chance = path.rehide if k < self.steps - path.settle else 0.0
        broken = self.broken(types, bonds, hide_types, hide_bonds)
        of_types = torch.where(broken, max(chance, path.repair), chance)
        of_bonds = torch.maximum(of_types[:, :, None], of_types[:, None])
        first, second = self.uniform(k, 0)
        return hide_types | ((first < of_types) & self.free_types), hide_bonds | (
            (second < of_bonds) & self.free_bonds
        )

    def broken(
        self, types: Tensor, bonds: Tensor, hide_types: Tensor, hide_bonds: Tensor
    ) -> Tensor:
        """Atoms (b, n) whose revealed type and bonds cannot be.

        Their type has no room for the revealed bonds, or room left when all their bonds
        are revealed; or they are charged and leave the molecule charged when all types
        are revealed.
        """
        known = types.clamp_min(0)
        most = torch.tensor(self.alphabet.most, device=self.device)[known]
        orders = (bonds.clamp_min(0) * (self.off & ~hide_bonds)).sum(2)
        fits = torch.from_numpy(self.alphabet.fits).to(self.device)
        closed = fits[known, orders.clamp_max(ORDERS - 1)] & (orders < ORDERS)
        settled = ~(hide_bonds & self.off).any(2)
        charge = (
            torch.tensor([q for _, q, _ in self.alphabet.types], device=self.device)[known]
            * self.mask
        )
        lopsided = ~(hide_types & self.mask).any(1) & (charge.sum(1) != 0)
        wrong = (orders > most) | (settled & ~closed) | (lopsided[:, None] & (charge != 0))
        return self.mask & ~hide_types & wrong

    def ancestral(self, x: Tensor, clean: Tensor, k: int, churn: float) -> Tensor:
        """Places one level on."""
        sigma, following = self.levels[k], self.levels[k + 1]
        return self.put(
            ancestral_step(x, clean, sigma, following, churn, lambda: self._noise(k + 1))
        )

    def observed(self, x: Tensor, clean: Tensor, k: int) -> Tensor:
        """Places after an observation of the estimate that is as accurate as the levels
        demand, by Bayes' rule.
        """
        sigma, following = self.levels[k], self.levels[k + 1]
        if following == 0.0:
            return clean
        gained = following**-2 - sigma**-2
        seen = clean + gained**-0.5 * self._noise(k + 1)
        return self.put(following**2 * (x / sigma**2 + gained * seen))

    def accuracy(self, k: int) -> float:
        """Share of all evidence on types and bonds that is gathered after k steps."""
        return min(1.0, k / self.steps / COMPLETE) ** 2

    def flow_noise(self) -> tuple[Tensor, Tensor]:
        """Standard normal noise for the evidence on types and, symmetric, on bonds."""
        most, kinds = self.alphabet.most_heavy, self.kinds
        shape = (most, kinds + most * BONDS)
        noise = torch.from_numpy(
            np.stack([g.standard_normal(shape, dtype=np.float32) for g in self.draws.rngs])
        ).to(self.device)
        noise = noise[:, : self.n]
        pairs = noise[..., kinds:].reshape(len(noise), self.n, most, BONDS)[:, :, : self.n]
        keep = torch.ones(self.n, self.n, dtype=torch.bool, device=self.device).triu()
        either = torch.where(keep[None, :, :, None], pairs, pairs.transpose(1, 2))
        return noise[..., :kinds], either

    def _noise(self, k: int) -> Tensor:
        noise = self.places[:, k] * self.mask[..., None]
        return noise if self.held is not None else centred(noise, self.mask)


def categorical(logits: Tensor, uniform: Tensor) -> Tensor:
    """One draw of each distribution (..., kinds) by its uniform number (...)."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    return (uniform[..., None].double() > cumulative).sum(-1).clamp_max(logits.shape[-1] - 1)
