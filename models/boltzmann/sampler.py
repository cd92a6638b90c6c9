"""Samples with an exact density: the generator, and the Monte Carlo proposer made of
it.

Densities are per A^(3n - 3): over all Cartesian coordinates, per unit volume of the
translation, uniform in orientation (`coordinates`). So w = exp(-U / kT) / q needs no
further factor for a molecule in free space, and its mean over samples of q is Z / V,
with V the volume of the translation and Z the configurational integral in A^(3n).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.arguments import check_count
from equidrift.errors import InputError
from equidrift.models.boltzmann.network import BoltzmannFlow, FlowConfig
from equidrift.models.shared.backbones.votes import matrices
from equidrift.models.shared.devices import Device, batch_size, pick_device
from equidrift.models.shared.run import load_network, own_random_state
from equidrift.montecarlo.proposals import DrawnAnew
from equidrift.records import Proposal
from equidrift.seeds import sample_rng, sample_seeds

Floats = NDArray[np.float64]
SAMPLES_PER_BATCH = 1024  # geometries in one call of the flow, on a CPU
_TWO_PI = 2 * math.pi


class BoltzmannGenerator:
    """Draws configurations of one molecule with their exact log-density.

    Parameters
    ----------
    flow : BoltzmannFlow
        A trained `BoltzmannFlow`; used in float64.
    numbers : array_like, shape (n,)
        Atomic numbers.
    bonds : array_like, shape (b, 2)
        Pairs of atoms.
    temperature_K : float
        It was trained for.
    source : str or None
        Name or path it was loaded from: what a pickle holds instead of the weights.
    """

    def __init__(
        self,
        flow: BoltzmannFlow,
        numbers: ArrayLike,
        bonds: ArrayLike,
        temperature_K: float,
        source: str | None = None,
    ):
        self.flow = flow.double().eval().requires_grad_(False)
        self.numbers = np.asarray(numbers, np.int64)
        self.bonds = np.asarray(bonds, np.int64).reshape(-1, 2)
        self.temperature_K, self.source = float(temperature_K), source
        if len(self.numbers) != self.n_atoms:
            raise InputError(
                f"numbers has {len(self.numbers)} atoms, the flow {self.n_atoms}; give those it "
                "was trained on"
            )

    @property
    def n_atoms(self) -> int:
        """Atoms of the molecule."""
        return self.flow.tree.n_atoms

    @property
    def device(self) -> torch.device:
        """Where the flow is."""
        return next(self.flow.parameters()).device

    @property
    def soft_torsions(self) -> NDArray[np.int64]:
        """(m, 4) atoms of the torsions that turn, in the order of the flow.

        Of a rotor its mean phase is drawn, not this one torsion.
        """
        return self.flow.tree.torsions[self.flow.soft]

    def sample(
        self, n: int, seed: int = 0, *, first_torsion_rad: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        """n configurations and their log-densities.

        Parameters
        ----------
        n : int
            How many.
        seed : int
            Of the run: sample k is the same whatever n.
        first_torsion_rad : (float, float) or None
            low < high <= low + 2 pi: only samples whose first soft torsion lies there;
            the density is then that of the flow within this range, so that the mean
            weight is the configurational integral over it.

        Returns
        -------
        positions_A : ndarray, shape (n, n_atoms, 3)
            Centred and turned at random.
        log_prob : ndarray, shape (n,)
            Per A^(3 n_atoms - 3).
        """
        n = check_count("n", n)
        positions, densities = [], []
        size = batch_size(SAMPLES_PER_BATCH, self.device)
        for start in range(0, n, size):
            seeds = sample_seeds(seed, start, min(start + size, n))
            draws = [self._draw(sample_rng(int(s))) for s in seeds]
            latent = torch.from_numpy(np.stack([draw[0] for draw in draws])).to(self.device)
            log_mass = 0.0
            if first_torsion_rad is not None:
                log_mass = self._into(latent, first_torsion_rad)
            y, log_det = self.flow.from_latent(latent)
            x, log_volume = self.flow.from_chart(y)
            x = x - x.mean(dim=1, keepdim=True)
            turn = torch.from_numpy(np.stack([draw[1] for draw in draws])).to(self.device)
            logs = self.flow.log_base(latent) - log_det - log_volume - log_mass
            positions.append((x @ turn).cpu().numpy())
            densities.append(logs.cpu().numpy())
        return np.concatenate(positions), np.concatenate(densities)

    def log_prob(self, positions_A: ArrayLike) -> Floats:
        """(k,) log-densities of positions_A (k, n_atoms, 3), or one of (n_atoms, 3);
        any orientation and place.

        -inf where the geometry has no density: three atoms along the tree on one line,
        two at one place.
        """
        x = np.asarray(positions_A, np.float64)
        if x.ndim not in (2, 3) or x.shape[-2:] != (self.n_atoms, 3):
            raise InputError(
                f"positions_A has shape {x.shape}, expected (k, {self.n_atoms}, 3) or "
                f"({self.n_atoms}, 3), in A"
            )
        many = torch.from_numpy(x.reshape(-1, self.n_atoms, 3)).to(self.device)
        parts = torch.split(many, batch_size(SAMPLES_PER_BATCH, self.device))
        out = torch.cat([self.flow.log_prob(part) for part in parts]).cpu().numpy()
        out[~np.isfinite(out)] = -np.inf
        return out if x.ndim == 3 else out[0]

    def torsion_mass(self, low_rad: float, high_rad: float) -> float:
        """Probability under the flow that the first soft torsion lies in a range."""
        low, high = self._range((low_rad, high_rad))
        return (high - low) / _TWO_PI

    def _draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Latent numbers of one sample, and its rotation."""
        m = self.flow.m
        latent = np.concatenate(
            [rng.uniform(0, _TWO_PI, m), rng.standard_normal(self.flow.n_stiff)]
        )
        return latent, _rotation(rng.standard_normal(4))

    def _into(self, latent: Tensor, range_rad: tuple[float, float]) -> float:
        """Move the first torsion's uniform numbers into a range, in place; the log of
        the share that lies there.
        """
        low, high = self._range(range_rad)
        latent[:, 0] = torch.remainder(low + latent[:, 0] / _TWO_PI * (high - low), _TWO_PI)
        return math.log((high - low) / _TWO_PI)

    def _range(self, range_rad: tuple[float, float]) -> tuple[float, float]:
        low, high = (float(v) for v in range_rad)
        if not self.flow.m or 0 in self.flow.rotors or not low < high <= low + _TWO_PI + 1e-12:
            raise InputError(
                "first_torsion_rad must be (low, high) with low < high <= low + 2 pi, of a flow "
                f"with a torsion; got {range_rad}"
            )
        angles = self.flow.centre.new_zeros(2, self.flow.m)
        angles[:, 0] = torch.remainder(angles.new_tensor([low, high]), _TWO_PI)
        values = self.flow.soft_to_latent(angles)[0][:, 0].tolist()
        start, end = (
            v + _TWO_PI * math.floor(x / _TWO_PI) for v, x in zip(values, (low, high), strict=True)
        )
        return start, end

    def __reduce__(self) -> tuple[Any, ...]:
        if self.source is not None:
            return load_boltzmann, (self.source,)
        state = {key: value.cpu().numpy() for key, value in self.flow.state_dict().items()}
        return _rebuilt, (
            self.flow.config.to_dict(),
            state,
            self.numbers,
            self.bonds,
            self.temperature_K,
        )


def _rebuilt(config: dict[str, Any], state: Mapping[str, Any], *rest: Any) -> BoltzmannGenerator:
    with own_random_state():
        flow = BoltzmannFlow(FlowConfig(**config)).double()
    flow.load_state_dict({key: torch.as_tensor(value) for key, value in state.items()})
    return BoltzmannGenerator(flow, *rest)


def load_boltzmann(weights: str | Path = "ala2", *, device: Device = None) -> BoltzmannGenerator:
    """A shipped generator by name, or a trained one by the path of its card or weights,
    on a device; None is CUDA if there is one, else the CPU.

    Raises
    ------
    WeightsError
        where the file is missing or altered, or is another kind of model.
        UnknownNameError for an unknown name.
    """
    flow, card = load_network(
        weights, "boltzmann", lambda sizes: BoltzmannFlow(FlowConfig(**sizes))
    )
    return BoltzmannGenerator(
        flow.to(pick_device(device)),
        card["numbers"],
        card["bonds"],
        card["temperature_K"],
        source=str(weights),
    )


def _rotation(quaternion: Floats) -> Floats:
    """(3, 3) of four normal numbers, the scalar first: uniform on SO(3)."""
    unit = torch.from_numpy(quaternion / np.linalg.norm(quaternion))
    return np.asarray(matrices(unit).numpy(), np.float64)


class BoltzmannProposer(DrawnAnew):
    """Independent Monte Carlo moves of all coordinates: every proposal is a new sample
    of the generator.

    The place of the molecule and the orientation of its first three atoms stay, so the
    move is exact in an external field or a box too; log_q_ratio = log q(x) - log q(x')
    with the density of `BoltzmannGenerator`. Bond lengths change: hosts refuse it on a
    System with constraints, where this density has no meaning. Any kT is exact; that of
    the training accepts most.

    Parameters
    ----------
    generator : BoltzmannGenerator or str or Path
        The generator, or the name or path of its weights.
    """

    exact = True
    name = "boltzmann"

    def __init__(self, generator: BoltzmannGenerator | str | Path):
        if not isinstance(generator, BoltzmannGenerator):
            generator = load_boltzmann(generator)
        self.generator = generator

    def propose_many(
        self,
        positions_A: Floats,
        *,
        kT_eV: float,  # noqa: ARG002 - of the contract; the density is that of the training's
        rng: np.random.Generator,
    ) -> list[Proposal]:
        """One proposal from each of k states (k, n_atoms, 3)."""
        x = np.asarray(positions_A, np.float64)
        return self._proposals(x, np.atleast_1d(self.generator.log_prob(x)), rng)

    def propose_independent(
        self,
        positions_A: Floats,
        n: int,
        *,
        kT_eV: float,  # noqa: ARG002 - of the contract; the density is that of the training's
        rng: np.random.Generator,
    ) -> list[Proposal]:
        """n proposals from one state, to be tried one after the other: after one was
        accepted, the others stay valid (`info["log_q"]`).
        """
        x = np.asarray(positions_A, np.float64)
        return self._proposals(x[None], np.full(n, self.generator.log_prob(x)), rng)

    def _proposals(
        self, positions_A: Floats, old: Floats, rng: np.random.Generator
    ) -> list[Proposal]:
        """A proposal for each log-density `old` of the states (1 or n, n_atoms, 3)."""
        new, log_q = self._drawn(positions_A, len(old), rng)
        ratios = (old - log_q).tolist()
        return [Proposal(*found) for found in zip(new, ratios, _info(old, log_q), strict=True)]

    def _drawn(
        self, positions_A: Floats, n: int, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """n samples in the place and orientation of the states (1 or n, n_atoms, 3),
        and their log-densities.
        """
        flow = self.generator.flow
        uniform, normal = (
            rng.uniform(0, _TWO_PI, (n, flow.m)),
            rng.standard_normal((n, flow.n_stiff)),
        )
        device = self.generator.device
        latent = torch.from_numpy(np.concatenate([uniform, normal], axis=1)).to(device)
        y, log_det = flow.from_latent(latent)
        origin, axes = flow.tree.frame_of(torch.from_numpy(positions_A).to(device))
        x, log_volume = flow.from_chart(y, (origin.expand(n, 3), axes.expand(n, 3, 3)))
        log_q = flow.log_base(latent) - log_det - log_volume
        return x.cpu().numpy(), log_q.cpu().numpy()

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `equidrift.montecarlo.proposals.proposer_from_dict` is the
        inverse.
        """
        if self.generator.source is None:
            raise InputError(
                "this generator was not loaded from a file, so it has no plain form; save its "
                "weights, or pickle it"
            )
        return {"proposer": "boltzmann", "weights": self.generator.source}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BoltzmannProposer:
        """The proposer that `to_dict` wrote."""
        return cls(data["weights"])


def _info(old: Floats, new: Floats) -> list[dict[str, Any]]:
    """What each proposal says of itself."""
    return [
        {"kind": "independent", "log_q_current": float(a), "log_q": float(b)}
        for a, b in zip(old, new, strict=True)
    ]
