"""The joint model behind the protocol: draws molecules from noise, by masked diffusion or a Bayesian flow, freely or around a fragment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from equidrift.errors import InputError, InputTypeError, UnknownNameError, WeightsError
from equidrift.models.conformers.generator import churn_level
from equidrift.models.molecules.data import ALIASES, PROPERTIES
from equidrift.models.molecules.joint.assemble import Hydrogens
from equidrift.models.molecules.joint.data import BONDS, CAPACITY, MAX_HEAVY, TYPES
from equidrift.models.molecules.joint.fragments import Fragment
from equidrift.models.molecules.joint.network import Estimate, JointConfig, JointNetwork, State, Targets
from equidrift.models.molecules.joint.objective import BETA_BONDS, BETA_TYPES, centred, evidence, noise_level
from equidrift.protocols import Callback
from equidrift.records import Molecule
from equidrift.seeds import sample_rng
from equidrift.weights import load_weights

SAMPLERS = ("diffusion", "bfn")
CHUNK = 128  # samples that the network sees at once


@dataclass(frozen=True)
class Path:
    """How the sampler goes from noise to molecules, times tau running from 0 to 1.

    types, bonds : times at which the first and the last of them is revealed. churn : noise added back to the places.
    rehide : share of what is revealed that is hidden again before each call, to be drawn anew, until the last `settle` calls.
    repair : the same for atoms whose revealed bonds break their valence, their types and bonds, until the last call; 0 leaves all valences
        to the network.
    confident : 0 reveals in random order, more prefers what the network is sure of. temperature : of the draws.
    """

    types: tuple[float, float] = (0.0, 0.8)
    bonds: tuple[float, float] = (0.0, 0.8)
    churn: float = 0.6
    rehide: float = 0.15
    repair: float = 0.5
    settle: int = 3
    confident: float = 0.5
    temperature: float = 1.0


@dataclass
class Draws:
    """All the noise of a batch of samples, each from its own stream: normal (b, steps + 1, 9, 3 + 21), uniform (b, steps, 9, 9, 3)."""

    size: Tensor
    places: Tensor
    uniform: Tensor
    rngs: list[np.random.Generator]

    @classmethod
    def of(cls, seeds: NDArray[np.int64], steps: int) -> Draws:
        rngs = [sample_rng(int(s)) for s in seeds]
        size = torch.tensor([g.random() for g in rngs])
        places = np.stack([g.standard_normal((steps + 1, MAX_HEAVY, 3), dtype=np.float32) for g in rngs])
        uniform = np.stack([g.random((steps, 3, MAX_HEAVY, MAX_HEAVY + 1), dtype=np.float32) for g in rngs])
        return cls(size, torch.from_numpy(places), torch.from_numpy(uniform), rngs)


class JointModel:
    """Draws new molecules of at most nine heavy atoms C, N, O and F: the default of `equidrift generate`.

    The heavy atoms' elements, charges, numbers of hydrogens, bonds and places are drawn together in `steps` network calls; the same call of
    `sample` places the hydrogens and lets the package's refiner move everything (GFN2-xTB level). No force field takes part. The network
    does not tell mirror images apart, so enantiomers are drawn equally often.

    Parameters
    ----------
    weights : name of a shipped model, or the path of a card or safetensors file that `equidrift train` wrote.
    sampler : "diffusion" reveals types and bonds one after the other; "bfn" gathers evidence on all of them by a Bayesian flow.
    refine : calls of the refiner, 0 to leave the places as they were drawn.
    path : how the diffusion sampler goes.
    device : torch device; None is CUDA where there is one, else the CPU.

    Raises
    ------
    WeightsError
        for weights of another task. UnknownNameError, for an unknown sampler.
    """

    max_atoms = 29
    max_heavy_atoms = MAX_HEAVY
    takes_fragment = True
    default_steps = 50
    default_guidance = 1.0

    def __init__(
        self,
        weights: str = "joint",
        *,
        sampler: Literal["diffusion", "bfn"] = "diffusion",
        refine: int = 3,
        path: Path | None = None,
        half_precision: bool = True,
        device: str | torch.device | None = None,
    ):
        if sampler not in SAMPLERS:
            raise UnknownNameError("sampler of the joint model", sampler, SAMPLERS)
        state, self.card = load_weights(weights)
        if self.card.get("task") != "joint":
            raise WeightsError(f"{weights} is a model for task {self.card.get('task')!r}, expected 'joint'")
        self.name = str(self.card["name"])
        self.weights_sha256 = str(self.card["sha256"])[:12]
        self.sampler, self.path, self.half_precision = sampler, path or Path(), half_precision
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with torch.random.fork_rng(devices=[]):
            self.network = JointNetwork(JointConfig(**self.card["config"]))
        self.network.load_state_dict(state)
        self.network.to(self.device).eval()
        scale = self.card["properties"]
        self.properties = {name: (float(scale[name]["least"]), float(scale[name]["greatest"])) for name in PROPERTIES}
        self.hydrogens = Hydrogens(refine=refine, device=self.device)

    def sample(
        self,
        seeds: NDArray[np.int64],
        *,
        targets: Mapping[str, float] | None = None,
        guidance: float | None = None,
        fragment: tuple[Molecule, NDArray[np.float64]] | None = None,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[tuple[Molecule, NDArray[np.float64]] | None]:
        """New molecules, one a seed, as they were drawn; see `MoleculeModel`.

        Raises
        ------
        UnknownNameError
            for a property that is not among `properties`.
        InputError
            for a target that is not a finite number, a guidance below 0, steps outside 1 .. 1000, or a fragment that cannot be held.
        """
        wanted = None if not targets else self._wanted(targets)
        return self.sample_many(seeds, wanted, guidance=guidance, fragment=fragment, steps=steps, callback=callback)

    def sample_many(
        self,
        seeds: NDArray[np.int64],
        wanted: NDArray[np.float64] | None,
        *,
        guidance: float | None = None,
        fragment: tuple[Molecule, NDArray[np.float64]] | None = None,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[tuple[Molecule, NDArray[np.float64]] | None]:
        """`sample` with targets of its own for each sample: wanted (k, 12) or (12,), NaN where a property is free."""
        steps = self.default_steps if steps is None else steps
        guidance = self.default_guidance if guidance is None else guidance
        if not 1 <= steps <= 1000:
            raise InputError(f"steps must lie in 1 .. 1000, not {steps}")
        if not guidance >= 0:
            raise InputError(f"guidance must be 0 (targets are ignored), 1 (plain conditioning) or more, not {guidance}")
        held = None if fragment is None else Fragment.of(*fragment)
        rows = np.full((len(seeds), len(PROPERTIES)), np.nan) if wanted is None else np.broadcast_to(wanted, (len(seeds), len(PROPERTIES)))
        out: list[tuple[Molecule, NDArray[np.float64]] | None] = []
        for begin in range(0, len(seeds), CHUNK):
            part = slice(begin, begin + CHUNK)
            with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half_precision):
                tokens = self._tokens(Draws.of(seeds[part], steps), self._targets(rows[part]), guidance, held, steps)
            out += self.hydrogens.complete(tokens, seeds[part], held)
            if callback is not None:
                callback({"done": len(out), "total": len(seeds)})
        return out

    def _wanted(self, targets: Mapping[str, float]) -> NDArray[np.float64]:
        row = np.full(len(PROPERTIES), np.nan)
        for name, value in targets.items():
            known = ALIASES.get(name, name)
            if known not in PROPERTIES:
                raise UnknownNameError("property", name, (*PROPERTIES, *ALIASES))
            if isinstance(value, bool) or not isinstance(value, int | float | np.number):
                raise InputTypeError(f"the target {name} must be a number, not {value!r}")
            if not np.isfinite(value):
                raise InputError(f"the target {name} must be a finite number, not {value}; leave it out to let the property be free")
            row[PROPERTIES.index(known)] = value
        return row

    def _targets(self, rows: NDArray[np.float64]) -> Targets:
        scale = [self.card["properties"][name] for name in PROPERTIES]
        mean, deviation = (np.array([one[key] for one in scale]) for key in ("mean", "deviation"))
        given = np.isfinite(rows)
        values = np.where(given, (rows - mean) / deviation, 0.0)
        return Targets(torch.from_numpy(values.astype(np.float32)).to(self.device), torch.from_numpy(given).to(self.device))

    def _sizes(self, draws: Draws, targets: Targets, guidance: float, held: Fragment | None) -> Tensor:
        """Numbers of tokens (b,), of p(n | targets), more than a fragment has."""
        free = Targets(targets.values, torch.zeros_like(targets.given))
        unbiased = self.network.size_logits(free).log_softmax(-1)
        logits = torch.tensor(self.card["sizes"], device=self.device).clamp_min(1e-9).log()  # what the network was too short to learn of the rare
        logits = logits + min(guidance, 1.0) * (self.network.size_logits(targets).log_softmax(-1) - unbiased)
        if held is not None:
            logits[:, : held.size] = -torch.inf
        return categorical(logits, draws.size.to(logits)) + 1

    def _estimator(self, targets: Targets, guidance: float) -> Callable[[State, Estimate | None], Estimate]:
        """The network, with classifier-free guidance where a property is given."""
        nothing = Targets(targets.values, torch.zeros_like(targets.given))
        if guidance == 0 or not bool(targets.given.any()):
            return lambda state, previous: self.network(state, nothing, previous)
        if guidance == 1:
            return lambda state, previous: self.network(state, targets, previous)

        def guided(state: State, previous: Estimate | None) -> Estimate:
            with_, without = self.network(state, targets, previous), self.network(state, nothing, previous)
            return Estimate(
                without.types.log_softmax(-1).lerp(with_.types.log_softmax(-1), guidance),
                without.bonds.log_softmax(-1).lerp(with_.bonds.log_softmax(-1), guidance),
                without.x.lerp(with_.x, guidance),
                [],
            )

        return guided

    def _tokens(
        self, draws: Draws, targets: Targets, guidance: float, held: Fragment | None, steps: int
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
        """(types, bonds, positions_A of the heavy atoms) of each sample."""
        sizes = self._sizes(draws, targets, guidance, held)
        estimate = self._estimator(targets, guidance)
        walk = Walk(sizes, draws, held, steps, self.device)
        types, bonds, x = (self._diffuse if self.sampler == "diffusion" else self._flow)(walk, estimate)
        if held is not None:
            x = x - x[:, :1] + torch.from_numpy(held.positions_A[0]).to(x)
        arrays = [a.cpu().numpy() for a in (types, bonds, x.double())]
        return [tuple(a[k][(slice(n),) * (2 if a.ndim == 3 and a.shape[2] == MAX_HEAVY else 1)] for a in arrays) for k, n in enumerate(sizes.tolist())]  # type: ignore[misc]

    def _diffuse(self, walk: Walk, estimate: Callable[[State, Estimate | None], Estimate]) -> tuple[Tensor, Tensor, Tensor]:
        """Masked diffusion of types and bonds beside the ancestral sampler of places."""
        path = self.path
        types, bonds = walk.unknown()
        hide_types, hide_bonds = types < 0, bonds < 0
        x, previous = walk.x, None
        for k in range(walk.steps):
            hide_types, hide_bonds = walk.hide_again(types, bonds, hide_types, hide_bonds, k, path)
            state = walk.state(evidence(types.clamp_min(0), hide_types, len(TYPES)), evidence(bonds.clamp_min(0), hide_bonds, BONDS), x, k)
            previous = walk.allowed(estimate(state, previous))
            time = (k + 1) / walk.steps
            types, hide_types = walk.reveal(previous.types, types, hide_types, k, path, 0, time)
            bonds, hide_bonds = walk.reveal(previous.bonds, bonds, hide_bonds, k, path, 1, time)
            x = walk.ancestral(state.x, previous.x, k, path.churn)
        return types, bonds, x

    def _flow(self, walk: Walk, estimate: Callable[[State, Estimate | None], Estimate]) -> tuple[Tensor, Tensor, Tensor]:
        """Bayesian flow (Graves 2023; MolCRAFT): noisy observations of the estimate, whose evidence is gathered by Bayes' rule."""
        known_types, known_bonds = walk.unknown()
        log_types = torch.zeros(*known_types.shape, len(TYPES), device=self.device)
        log_bonds = torch.zeros(*known_bonds.shape, BONDS, device=self.device)
        x, previous = walk.x, None
        for k in range(walk.steps):
            soft_types = log_types.softmax(-1) - 1.0 / len(TYPES)
            soft_bonds = log_bonds.softmax(-1) - 1.0 / BONDS
            soft_types = torch.where(walk.free_types[..., None], soft_types, evidence(known_types.clamp_min(0), known_types < 0, len(TYPES)))
            soft_bonds = torch.where(walk.free_bonds[..., None], soft_bonds, evidence(known_bonds.clamp_min(0), known_bonds < 0, BONDS))
            state = walk.state(soft_types, soft_bonds, x, k)
            previous = walk.allowed(estimate(state, previous))
            gained = walk.accuracy(k + 1) - walk.accuracy(k)
            uniform = walk.uniform(k, 1)
            for log, logits, u, beta, noise in zip(
                (log_types, log_bonds), (previous.types, previous.bonds), uniform, (BETA_TYPES, BETA_BONDS), walk.flow_noise()
            ):
                kinds = logits.shape[-1]
                drawn = functional.one_hot(categorical(logits, u), kinds)
                log += beta * gained * (kinds * drawn - 1.0) + (beta * gained * kinds) ** 0.5 * noise
            x = walk.observed(state.x, previous.x, k)
        assert_made: Estimate = previous  # type: ignore[assignment]
        types = torch.where(walk.free_types, assert_made.types.argmax(-1), known_types)
        bonds = torch.where(walk.free_bonds, assert_made.bonds.argmax(-1), known_bonds)
        return types, bonds, x


class Walk:
    """One batch on its way: what is held, what is free, and the steps that places and categories make."""

    def __init__(self, sizes: Tensor, draws: Draws, held: Fragment | None, steps: int, device: torch.device):
        self.steps, self.draws, self.held, self.device = steps, draws, held, device
        b, n = len(sizes), MAX_HEAVY
        self.mask = torch.arange(n, device=device) < sizes[:, None]
        self.off = self.mask[:, :, None] & self.mask[:, None] & ~torch.eye(n, dtype=torch.bool, device=device)
        self.levels = noise_level(torch.arange(steps) / max(steps - 1, 1)).tolist() + [0.0]
        self.places = draws.places.to(device)
        self.unit = draws.uniform.to(device)
        count = 0 if held is None else held.size
        self.held_tokens = self.mask & (torch.arange(n, device=device) < count)
        self.held_x = torch.zeros(b, n, 3, device=device)
        if held is not None:
            self.held_x[:, :count] = torch.from_numpy(held.positions_A - held.positions_A.mean(0)).to(self.held_x)
        self.free_types = self.mask
        self.free_bonds = self.off & ~(self.held_tokens[:, :, None] & self.held_tokens[:, None])
        noise = self.places[:, 0]
        self.x = self.put(self.levels[0] * (noise if held is not None else centred(noise, self.mask)) * self.mask[..., None])

    def put(self, x: Tensor) -> Tensor:
        """x (b, 9, 3) with the held tokens in their places."""
        return torch.where(self.held_tokens[..., None], self.held_x, x)

    def unknown(self) -> tuple[Tensor, Tensor]:
        """Types (b, 9) and bonds (b, 9, 9), -1 where they are to be drawn; 0 at padding."""
        types = torch.where(self.mask, -1, 0)
        bonds = torch.where(self.free_bonds, -1, 0)
        if self.held is not None:
            c = self.held.size
            bonds[:, :c, :c] = torch.from_numpy(self.held.bonds).to(bonds)
        return types, bonds

    def uniform(self, k: int, which: int) -> tuple[Tensor, Tensor]:
        """Uniform numbers of step k for types (b, 9) and pairs (b, 9, 9), symmetric."""
        u = self.unit[:, k, which]
        upper = u[:, :, :MAX_HEAVY].triu()
        return u[:, :, MAX_HEAVY], upper + upper.triu(1).transpose(1, 2)

    def state(self, types: Tensor, bonds: Tensor, x: Tensor, k: int) -> State:
        """What the network is shown at step k, places centred."""
        if self.held is not None:
            middle = (x * self.mask[..., None]).sum(1, keepdim=True) / self.mask.sum(1)[:, None, None]
            self.held_x = self.held_x - middle
            x = (x - middle) * self.mask[..., None]
        sigma = torch.full(self.mask.shape, self.levels[k], device=self.device)
        sigma = torch.where(self.held_tokens, sigma.clamp_max(noise_level(torch.ones(())).item()), sigma)
        return State(types * self.mask[..., None], bonds * self.off[..., None], x, sigma, self.mask)

    def allowed(self, made: Estimate) -> Estimate:
        """The estimate without the types that held tokens cannot have, and with them in their places."""
        types = made.types
        if self.held is not None:
            open_ = torch.from_numpy(self.held.allowed).to(types.device)
            types = types.clone()
            types[:, : self.held.size] = types[:, : self.held.size].masked_fill(~open_, -1e9)
        return Estimate(types, made.bonds, self.put(made.x) * self.mask[..., None], [])

    def reveal(
        self, logits: Tensor, codes: Tensor, hidden: Tensor, k: int, path: Path, which: int, time: float
    ) -> tuple[Tensor, Tensor]:
        """Draw what is hidden, and keep of it hidden what the path says: that of least score."""
        drawn = categorical(logits / path.temperature, self.uniform(k, 1)[which])
        codes = torch.where(hidden, drawn, codes)
        begin, end = (path.types, path.bonds)[which]
        share = 0.0 if k == self.steps - 1 else min(1.0, max(0.0, 1.0 - (time - begin) / (end - begin)))
        free = (self.free_types, self.free_bonds)[which]
        if share == 0.0:
            return codes, torch.zeros_like(hidden)
        if which:  # each pair counts once
            free = free.triu()
        gumbel = -(-self.uniform(k, 2)[which].clamp(1e-7, 1 - 1e-7).log()).log()
        sure = logits.log_softmax(-1).gather(-1, codes[..., None])[..., 0]
        score = (path.confident * sure + gumbel).masked_fill(~hidden, torch.inf).masked_fill(~free, torch.inf).flatten(1)
        keep = torch.minimum((share * free.flatten(1).sum(1)).round().long(), (hidden & free).flatten(1).sum(1))
        rank = score.argsort(1).argsort(1)
        still = (rank < keep[:, None]).view(hidden.shape)
        return codes, (still | still.transpose(1, 2)) if which else still

    def hide_again(
        self, types: Tensor, bonds: Tensor, hide_types: Tensor, hide_bonds: Tensor, k: int, path: Path
    ) -> tuple[Tensor, Tensor]:
        """Hide some of what is revealed once more: anything by chance, and what breaks a valence more often."""
        if k == 0:
            return hide_types, hide_bonds
        chance = path.rehide if k < self.steps - path.settle else 0.0
        broken = self.broken(types, bonds, hide_types, hide_bonds)
        of_types = torch.where(broken, max(chance, path.repair), chance)
        of_bonds = torch.maximum(of_types[:, :, None], of_types[:, None])
        first, second = self.uniform(k, 0)
        return hide_types | ((first < of_types) & self.free_types), hide_bonds | ((second < of_bonds) & self.free_bonds)

    def broken(self, types: Tensor, bonds: Tensor, hide_types: Tensor, hide_bonds: Tensor) -> Tensor:
        """Atoms (b, 9) whose revealed type has no room for the revealed bonds, or room left when all bonds are revealed."""
        capacity = torch.tensor(CAPACITY, device=self.device)[types.clamp_min(0)]
        orders = (bonds.clamp_min(0) * (self.off & ~hide_bonds)).sum(2)
        settled = ~(hide_bonds & self.off).any(2)
        return self.mask & ~hide_types & ((orders > capacity) | (settled & (orders != capacity)))

    def ancestral(self, x: Tensor, clean: Tensor, k: int, churn: float) -> Tensor:
        """Places one level on."""
        sigma, following = self.levels[k], self.levels[k + 1]
        down, up = churn_level(sigma, following, churn)
        moved = clean + (x - clean) * (down / sigma)
        return self.put(moved + up * self._noise(k + 1))

    def observed(self, x: Tensor, clean: Tensor, k: int) -> Tensor:
        """Places after an observation of the estimate that is as accurate as the levels demand, by Bayes' rule."""
        sigma, following = self.levels[k], self.levels[k + 1]
        if following == 0.0:
            return clean
        gained = following**-2 - sigma**-2
        seen = clean + gained**-0.5 * self._noise(k + 1)
        return self.put(following**2 * (x / sigma**2 + gained * seen))

    def accuracy(self, k: int) -> float:
        """Share of all evidence on types and bonds that is gathered after k steps."""
        return min(1.0, k / self.steps / 0.8) ** 2

    def flow_noise(self) -> tuple[Tensor, Tensor]:
        """Standard normal noise for the evidence on types and, symmetric, on bonds."""
        shape = (MAX_HEAVY, len(TYPES) + MAX_HEAVY * BONDS)
        noise = torch.from_numpy(np.stack([g.standard_normal(shape, dtype=np.float32) for g in self.draws.rngs])).to(self.device)
        pairs = noise[..., len(TYPES) :].view(-1, MAX_HEAVY, MAX_HEAVY, BONDS)
        keep = torch.ones(MAX_HEAVY, MAX_HEAVY, dtype=torch.bool, device=self.device).triu()[None, :, :, None]
        return noise[..., : len(TYPES)], torch.where(keep, pairs, pairs.transpose(1, 2))

    def _noise(self, k: int) -> Tensor:
        noise = self.places[:, k] * self.mask[..., None]
        return noise if self.held is not None else centred(noise, self.mask)


def categorical(logits: Tensor, uniform: Tensor) -> Tensor:
    """One draw of each distribution (..., kinds) by its uniform number (...)."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    return (uniform[..., None].double() > cumulative).sum(-1).clamp_max(logits.shape[-1] - 1)


def load_joint(weights: str = "joint", **options) -> JointModel:  # type: ignore[no-untyped-def]
    """The joint model; options as for `JointModel`."""
    return JointModel(weights, **options)
