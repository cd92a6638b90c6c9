"""Noising and loss of the joint model: types and bonds absorbed or blurred, places
noised, everything predicted at once.

Time tau runs from 0 (noise) to 1. `joint_level` and `hidden_share` are the path that
the sampler goes; training strays from it, so that the sampler may choose another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from equidrift.models.molecules.joint.alphabet import QM9_TOKENS, Alphabet
from equidrift.models.molecules.joint.data import BONDS, Heavy
from equidrift.models.molecules.joint.network import Estimate, JointNetwork, State, Targets
from equidrift.models.shared.batches import Batched, Epochs
from equidrift.models.shared.geometry import centre, centred
from equidrift.models.shared.layers import pairs_of
from equidrift.models.shared.newton import distances
from equidrift.models.shared.schedules import noise_level

SIGMA_MIN_A, RHO = 0.02, 3.0
COMPLETE = 0.8  # time at which the last type and bond are revealed
BETA_TYPES, BETA_BONDS = 1.5, 4.0  # what a Bayesian flow has gathered at its end
FLOW_SHARE = 0.12  # of the training samples: with the evidence of a Bayesian flow
FRAGMENT_SHARE = 0.10  # of the training samples: with a held fragment
UNCONDITIONAL = 0.12  # of those that may be conditioned: no property given
SINGLE = 0.7  # of those that may be conditioned: a single property, else several
USUAL_OFTEN = 4.0  # how often a usual property is the single one, against the others


@dataclass(frozen=True)
class Weights:
    """What the parts of the loss count."""

    types: float = 1.0
    bonds: float = 4.0  # four times as many as types, for molecules of nine tokens
    places: float = 2.0
    near: float = 0.25
    size: float = 0.1
    signal: tuple[float, float] = (0.05, 400.0)  # limits of the signal-to-noise ratio, 1/A^2

    @property
    def parts(self) -> tuple[float, ...]:
        """In the order of the loss."""
        return self.types, self.bonds, self.places, self.near, self.size


QM9_WEIGHTS = Weights()


def joint_level(tau: Tensor, alphabet: Alphabet = QM9_TOKENS) -> Tensor:
    """Noise in A at time tau."""
    return noise_level(tau, alphabet.noise_A, SIGMA_MIN_A, RHO)


def hidden_share(tau: Tensor) -> Tensor:
    """Share of types and bonds that is absorbed at time tau."""
    return (1.0 - tau / COMPLETE).clamp(0.0, 1.0)


def evidence(codes: Tensor, hidden: Tensor, kinds: int) -> Tensor:
    """Evidence (..., kinds) on categorical codes: corners of the simplex less its
    middle, zero where hidden.
    """
    return (functional.one_hot(codes, kinds).float() - 1.0 / kinds) * ~hidden[..., None]


def blurred(codes: Tensor, beta: Tensor, kinds: int, noise: Tensor) -> Tensor:
    """Evidence that a Bayesian flow of accuracy beta (...) has gathered (Graves 2023,
    equation 182).
    """
    logits = (
        beta[..., None] * (kinds * functional.one_hot(codes, kinds) - 1.0)
        + (beta[..., None] * kinds).sqrt() * noise
    )
    return logits.softmax(-1) - 1.0 / kinds


def symmetric(upper: Tensor) -> Tensor:
    """(b, n, n, ...) with the lower triangle taken from the upper one."""
    n = upper.shape[1]
    keep = (
        torch.ones(n, n, dtype=torch.bool, device=upper.device)
        .triu()
        .view(1, n, n, *[1] * (upper.ndim - 3))
    )
    return torch.where(keep, upper, upper.transpose(1, 2))


@dataclass
class Example(Batched):
    """A training batch: the state, the clean molecules, and where a variable counts
    (types (b, n), bonds (b, n, n), places (b, n)).
    """

    state: State
    targets: Targets
    clean: Heavy
    type_weight: Tensor
    bond_weight: Tensor
    place_weight: Tensor
    recycle: bool


class Data(Protocol):
    """Molecules that batches are made of."""

    @property
    def conditional(self) -> Tensor:
        """Whose properties may be learnt from (m,)."""
        ...

    def __len__(self) -> int: ...

    def take(self, rows: NDArray[np.int64]) -> Heavy:
        """The molecules of those rows."""
        ...


class Batches:
    """Batch number `step` of an endless, seeded sequence; each epoch is a permutation
    of the molecules.

    `repeat` : how often an epoch shows the molecules whose properties may be learnt
        from. `alphabet` : that of the tokens.
    """

    def __init__(
        self,
        data: Data,
        mean: Tensor,
        deviation: Tensor,
        *,
        size: int,
        seed: int,
        repeat: int = 1,
        alphabet: Alphabet = QM9_TOKENS,
    ):
        self.data, self.mean, self.deviation, self.alphabet = data, mean, deviation, alphabet
        often = [USUAL_OFTEN if name in alphabet.usual else 1.0 for name in alphabet.properties]
        self.often = torch.from_numpy(np.cumsum(often, dtype=np.float32))
        self.size, self.seed = min(size, len(data)), seed
        self.rows = np.repeat(np.arange(len(data)), np.where(data.conditional.numpy(), repeat, 1))
        self.epochs = Epochs(len(self.rows) // self.size, seed, self._order)

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The rows of one epoch."""
        order: NDArray[np.int64] = rng.permutation(self.rows)
        return order

    def __call__(self, step: int) -> Example:
        """The training batch of a step."""
        order, k = self.epochs(step)
        rows = order[k * self.size : (k + 1) * self.size]
        return self.example(rows, np.random.default_rng((self.seed, 1 << 32, step)))

    def example(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Example:
        """The training batch of some molecules, `rows` of the data."""
        clean = self.data.take(rows)
        b = len(clean)
        draw = _Draw(rng)
        tau = (draw.uniform(1) + torch.arange(b, device=clean.x.device) / b) % 1.0  # stratified
        shares = _stray(hidden_share(tau), draw)
        held = self._fragments(clean.mask, draw)
        known = _categories(clean, shares, held, draw, len(self.alphabet.types))
        x, sigma = _places(clean, joint_level(tau, self.alphabet), held, draw)
        middle = centre(x, clean.mask)
        x = (x - middle) * clean.mask[..., None]
        clean.x = (clean.x - middle) * clean.mask[..., None]
        off = pairs_of(clean.mask)
        of_types, of_bonds = (known.of_types & clean.mask).float(), (known.of_bonds & off).float()
        return Example(
            State(known.types, known.bonds, x, sigma, clean.mask),
            self._targets(clean, draw),
            clean,
            _shared(of_types, clean.mask),
            _shared(of_bonds.flatten(1), off.flatten(1)).view(of_bonds.shape),
            (clean.mask & ~held).float(),
            rng.random() < 0.5,
        )

    def _fragments(self, mask: Tensor, draw: _Draw) -> Tensor:
        """Tokens (b, n) that are held: a random part of some of the molecules."""
        b, n = mask.shape
        chosen = (
            (draw.uniform(b) < FRAGMENT_SHARE)[:, None]
            & (draw.uniform(b, n) < draw.uniform(b, 1))
            & mask
        )
        return chosen & (mask & ~chosen).any(1, keepdim=True)

    def _targets(self, clean: Heavy, draw: _Draw) -> Targets:
        """The properties that the network is told: those of molecules that may be
        conditioned on, often one alone.
        """
        values = (clean.props - self.mean) / self.deviation
        b, k = values.shape
        alone = functional.one_hot(
            torch.searchsorted(self.often, draw.uniform(b) * self.often[-1]).clamp_max(k - 1), k
        ).bool()
        several = draw.uniform(b, k) < draw.uniform(b, 1)
        given = torch.where((draw.uniform(b) < SINGLE)[:, None], alone, several)
        given &= ((draw.uniform(b) >= UNCONDITIONAL) & clean.conditional)[:, None]
        return Targets(values, given)


@dataclass
class _Categories:
    """Evidence on types (b, n, kinds) and bonds (b, n, n, 4) of a training batch, and which
    of them the network is to tell.
    """

    types: Tensor
    bonds: Tensor
    of_types: Tensor
    of_bonds: Tensor


def _stray(share: Tensor, draw: _Draw) -> list[Tensor]:
    """Hidden shares (b,) of types and of bonds: near the path's, and some anywhere."""
    b = len(share)
    stray = draw.uniform(b) < 0.15
    shares = []
    for _ in range(2):
        near = (share + 0.6 * (draw.uniform(b) - 0.5)).clamp(0.0, 1.0)
        shares.append(torch.where(stray, draw.uniform(b), near))
    return shares


def _categories(
    clean: Heavy, shares: list[Tensor], held: Tensor, draw: _Draw, kinds: int
) -> _Categories:
    """Types and bonds hidden by these shares, or blurred as a Bayesian flow has them."""
    b, n = clean.types.shape
    hide_types = (draw.uniform(b, n) < shares[0][:, None]) & ~held
    hide_bonds = symmetric(draw.uniform(b, n, n)) < shares[1][:, None, None]
    hide_bonds &= ~(held[:, :, None] & held[:, None])
    flows = draw.uniform(b) < FLOW_SHARE
    accuracy = (1.0 - torch.stack(shares)).square()
    soft_types = blurred(
        clean.types,
        BETA_TYPES * accuracy[0][:, None].expand(b, n),
        kinds,
        draw.normal(b, n, kinds),
    )
    soft_bonds = blurred(
        clean.bonds,
        BETA_BONDS * accuracy[1][:, None, None].expand(b, n, n),
        BONDS,
        symmetric(draw.normal(b, n, n, BONDS)),
    )
    types = evidence(clean.types, hide_types, kinds)
    bonds = evidence(clean.bonds, hide_bonds, BONDS)
    return _Categories(
        torch.where(flows[:, None, None], soft_types, types) * clean.mask[..., None],
        torch.where(flows[:, None, None, None], soft_bonds, bonds)
        * pairs_of(clean.mask)[..., None],
        hide_types | flows[:, None],
        hide_bonds | flows[:, None, None],
    )


def _places(clean: Heavy, level: Tensor, held: Tensor, draw: _Draw) -> tuple[Tensor, Tensor]:
    """Places (b, n, 3) with noise of level (b,), and its levels (b, n), all in A; next
    to none where a token is held.
    """
    b, n = clean.types.shape
    sigma = level[:, None].expand(b, n)
    noise = draw.normal(b, n, 3)
    any_held = held.any(1)
    noise = torch.where(any_held[:, None, None], noise, centred(noise, clean.mask))
    sigma = torch.where(held, sigma.clamp_max(SIGMA_MIN_A), sigma)
    return clean.x + sigma[..., None] * noise, sigma


class _Draw:
    """Uniform and normal tensors of one stream."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def uniform(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1 in this shape."""
        return torch.from_numpy(self.rng.random(shape, dtype=np.float32))

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers in this shape."""
        return torch.from_numpy(self.rng.standard_normal(shape, dtype=np.float32))


def _shared(counts: Tensor, all_of: Tensor) -> Tensor:
    """Weights of the variables that count (b, k), each sample's in all like one, less
    where few count: their gradient would be loud.
    """
    return counts / counts.sum(1, keepdim=True).clamp_min(
        0.15 * all_of.sum(1, keepdim=True)
    ).clamp_min(1.0)


def joint_loss(network: nn.Module, example: Example, weights: Weights = QM9_WEIGHTS) -> Tensor:
    """Cross-entropy of hidden types and bonds, error of places with a clamped
    signal-to-noise weight, of near distances, of the size.
    """
    state, clean = example.state, example.clean
    previous = None
    if example.recycle:  # self-conditioning (Chen 2022)
        with torch.no_grad():
            previous = network(state, example.targets).detached()
    made: Estimate = network(state, example.targets, previous)
    of_types = functional.cross_entropy(
        made.types.flatten(0, 1), clean.types.flatten(), reduction="none"
    ).view(clean.types.shape)
    of_bonds = functional.cross_entropy(
        made.bonds.flatten(0, 2), clean.bonds.flatten(), reduction="none"
    ).view(clean.bonds.shape)
    types = (example.type_weight * of_types).sum() / len(clean)
    bonds = (example.bond_weight * of_bonds).sum() / len(clean)
    spread_A = cast(JointNetwork, network).config.tokens.spread_A
    places, near = _place_loss(made, example, spread_A, weights.signal)
    size = functional.cross_entropy(
        cast(JointNetwork, network).size_logits(example.targets), clean.mask.sum(1) - 1
    )
    parts = (types, bonds, places / 3.0, near, size)
    return torch.stack([w * part for w, part in zip(weights.parts, parts, strict=True)]).sum()


def _place_loss(
    made: Estimate, example: Example, spread_A: float, signal: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Errors of places and of near distances, those of earlier stages by a quarter."""
    state, clean = example.state, example.clean
    snr = 1.0 / state.sigma.square() + 1.0 / spread_A**2
    snr = snr.clamp(*signal) * example.place_weight
    apart = ~torch.eye(clean.mask.shape[1], dtype=torch.bool, device=clean.mask.device)
    pair = example.place_weight[:, :, None] * clean.mask[:, None] * apart
    true = distances(clean.x)[1]
    close = pair * torch.exp(-((true / 2.5) ** 2)) / (0.1 + state.sigma.clamp_max(2.0)[..., None])
    places, near = true.new_zeros(()), true.new_zeros(())
    share = (1.0, *(0.25 for _ in made.stages[1:]))
    for x, s in zip(reversed(made.stages), share, strict=True):
        off = ((x - clean.x).square().sum(-1) * snr).sum()
        places = places + s * off / example.place_weight.sum()
        wrong = functional.smooth_l1_loss(distances(x)[1], true, beta=0.05, reduction="none")
        near = near + s * (close * wrong).sum() / pair.sum().clamp_min(1.0)
    return places, near
