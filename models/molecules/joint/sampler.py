"""The joint model: draws molecules from noise, by masked diffusion or a Bayesian flow,
freely or around a fragment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from equidrift.errors import InputError, InputTypeError, UnknownNameError, WeightsError
from equidrift.models.molecules.data import ALIASES
from equidrift.models.molecules.joint.additive import Additive
from equidrift.models.molecules.joint.assemble import QM9_LEVEL, Hydrogens, Raw, Tokens
from equidrift.models.molecules.joint.data import BONDS
from equidrift.models.molecules.joint.fragments import Fragment
from equidrift.models.molecules.joint.network import (
    Estimate,
    JointConfig,
    JointNetwork,
    State,
    Targets,
)
from equidrift.models.molecules.joint.objective import BETA_BONDS, BETA_TYPES, evidence
from equidrift.models.molecules.joint.pocket import Pull
from equidrift.models.molecules.joint.walk import Draws, Path, Walk, categorical
from equidrift.models.molecules.targets import Draw, DrawOptions, TargetModel, check_draw
from equidrift.models.shared.devices import Device, pick_device, short_products
from equidrift.models.shared.run import load_network
from equidrift.spectrum import HOW_TO_TRAIN, MODEL, relative_roots

SAMPLERS = ("diffusion", "bfn")
MAX_GAIN = 8.0  # of a log-likelihood by one target: what the network excludes stays excluded
CHUNK_TOKENS = 128 * 9  # samples times tokens at most that the network sees at once
Estimator = Callable[[State, Estimate | None], Estimate]
Clean = tuple[Tensor, Tensor, Tensor]  # types (b, n), bonds (b, n, n), places (b, n, 3)


class JointModel(TargetModel):
    """Draws new molecules: with the shipped weights, the default of `equidrift
    generate`, of at most nine heavy atoms C, N, O and F.

    The heavy atoms' elements, charges, numbers of hydrogens, bonds and places are drawn
    together in `steps` network calls; the same call of `sample` places the hydrogens
    and lets the package's refiner move everything. No force field takes part. The
    network does not tell mirror images apart, so enantiomers are drawn equally often.

    Parameters
    ----------
    weights : str
        Name of a shipped model, or the path of a card or safetensors file that
        `equidrift train` wrote.
    sampler : {"diffusion", "bfn"}
        "diffusion" reveals types and bonds one after the other; "bfn" gathers evidence
        on all of them by a Bayesian flow.
    refine : int
        Calls of the refiner, 0 to leave the places as they were drawn.
    level : str
        Level of theory whose geometries are wanted, as for the refiner: "GFN2-xTB",
        "MMFF94", or that of QM9. None is what the card says, QM9's where it says none.
    path : Path or None
        How the diffusion sampler goes.
    half_precision : bool
        bfloat16 in the network's layers, on a GPU and on processors that multiply in
        it themselves.
    steer : float
        How strongly the additive estimate of targets steers, times the guidance; 0
        leaves them to the network.
    device : Device
        Torch device; None is CUDA where there is one, else the CPU.

    Raises
    ------
    WeightsError
        For weights of another task.
    UnknownNameError
        For an unknown sampler.
    """

    takes_fragment = True
    takes_sites = True
    takes_pocket = True
    default_steps = 50
    default_guidance = 1.0

    def __init__(
        self,
        weights: str = "joint",
        *,
        sampler: Literal["diffusion", "bfn"] = "diffusion",
        refine: int = 3,
        level: str | None = None,
        path: Path | None = None,
        half_precision: bool = True,
        steer: float = 4.0,
        device: Device = None,
    ):
        if sampler not in SAMPLERS:
            raise UnknownNameError("sampler of the joint model", sampler, SAMPLERS)
        network, self.card = load_network(
            weights, "joint", lambda sizes: JointNetwork(JointConfig(**sizes))
        )
        self.alphabet = network.config.tokens
        self.max_atoms, self.max_heavy_atoms = self.card["max_atoms"], self.alphabet.most_heavy
        self.elements = (1, *self.alphabet.elements)
        self.name = str(self.card["name"])
        self.weights_sha256 = str(self.card["sha256"])[:12]
        self.sampler, self.path = sampler, path or Path()
        self.half_precision, self.steer = half_precision, steer
        self.device = pick_device(device)
        self.network = network.to(self.device)
        scale = self.card["properties"]
        self.properties = {
            name: (float(scale[name]["least"]), float(scale[name]["greatest"]))
            for name in self.alphabet.properties
        }
        self.additive = Additive.of(self.card["additive"], self.alphabet)
        self.hydrogens = Hydrogens(
            refine=refine,
            level=level or str(self.card.get("refine_level", QM9_LEVEL)),
            device=self.device,
            alphabet=self.alphabet,
        )
        self.default_calls = self.default_steps + refine
        embedding = network.targets.spectrum
        self.takes_spectrum = embedding is not None and embedding.learnt
        self.chunk = max(1, CHUNK_TOKENS // self.alphabet.most_heavy)

    def sample_many(
        self,
        seeds: NDArray[np.int64],
        wanted: NDArray[np.float64] | None,
        **options: Unpack[DrawOptions],
    ) -> list[Raw | None]:
        """`sample` with targets of its own for each sample: wanted (k, n_properties)
        or (n_properties,), NaN where a property is free.
        """
        draw = Draw(**options)
        steps = self.default_steps if draw.steps is None else draw.steps
        guidance = self.default_guidance if draw.guidance is None else draw.guidance
        check_draw(steps, guidance)
        held = None
        if draw.fragment is not None:
            held = Fragment.of(*draw.fragment, self.alphabet, sites=draw.sites)
        pull = None
        if draw.pocket is not None:
            pull = Pull.of(draw.pocket, self.alphabet)
        if draw.spectrum is not None and not self.takes_spectrum:
            raise InputError(f"{self.name} takes no spectrum. {HOW_TO_TRAIN}")
        rows = np.broadcast_to(
            np.nan if wanted is None else wanted, (len(seeds), len(self.properties))
        )
        out: list[Raw | None] = []
        for begin in range(0, len(seeds), self.chunk):
            part = slice(begin, begin + self.chunk)
            with torch.inference_mode(), short_products(self.device, self.half_precision):
                tokens = self._tokens(
                    Draws.of(seeds[part], steps, self.alphabet.most_heavy),
                    self._targets(rows[part], draw.spectrum),
                    guidance,
                    held,
                    steps,
                    pull,
                )
            out += self.hydrogens.complete(tokens, seeds[part], held)
            if draw.callback is not None:
                draw.callback({"done": len(out), "total": len(seeds)})
        return out

    def _wanted(self, targets: Mapping[str, float]) -> NDArray[np.float64]:
        names = tuple(self.properties)
        row = np.full(len(names), np.nan)
        for name, value in targets.items():
            known = ALIASES.get(name, name)
            if known not in names:
                aliases = [alias for alias, own in ALIASES.items() if own in names]
                raise UnknownNameError("property", name, (*names, *aliases))
            if isinstance(value, bool) or not isinstance(value, int | float | np.number):
                raise InputTypeError(f"the target {name} must be a number, not {value!r}")
            if not np.isfinite(value):
                raise InputError(
                    f"the target {name} must be a finite number, not "
                    f"{value}; leave it out to let the property be free"
                )
            row[names.index(known)] = value
        return row

    def _targets(self, rows: NDArray[np.float64], spectrum: NDArray[np.float64] | None) -> Targets:
        scale = [self.card["properties"][name] for name in self.properties]
        mean, deviation = (np.array([one[key] for one in scale]) for key in ("mean", "deviation"))
        given = np.isfinite(rows)
        values = np.where(given, (rows - mean) / deviation, 0.0)
        roots = None
        if spectrum is not None:
            roots = torch.from_numpy(relative_roots(spectrum)).float().expand(len(rows), -1)
        return Targets(
            torch.from_numpy(values.astype(np.float32)), torch.from_numpy(given), roots
        ).to(self.device)

    def _sizes(
        self, draws: Draws, targets: Targets, guidance: float, held: Fragment | None
    ) -> Tensor:
        """Numbers of tokens (b,), of p(n | targets), more than a fragment has."""
        unbiased = self.network.size_logits(targets.nothing()).log_softmax(-1)
        logits = (
            torch.tensor(self.card["sizes"], device=self.device).clamp_min(1e-9).log()
        )  # what the network was too short to learn of the rare
        logits = logits + min(guidance, 1.0) * (
            self.network.size_logits(targets).log_softmax(-1) - unbiased
        )
        if held is not None:
            logits[:, : held.size] = -torch.inf
        return categorical(logits, draws.size.to(logits)) + 1

    def _estimator(self, targets: Targets, guidance: float) -> Estimator:
        """The network, with classifier-free guidance where anything is given."""
        nothing = targets.nothing()
        if guidance == 0 or not targets.told:
            return lambda state, previous: self.network(state, nothing, previous)
        if guidance == 1:
            return lambda state, previous: self.network(state, targets, previous)

        def guided(state: State, previous: Estimate | None) -> Estimate:
            with_, without = (
                self.network(state, targets, previous),
                self.network(state, nothing, previous),
            )
            return Estimate(
                without.types.log_softmax(-1).lerp(with_.types.log_softmax(-1), guidance),
                without.bonds.log_softmax(-1).lerp(with_.bonds.log_softmax(-1), guidance),
                without.x.lerp(with_.x, guidance),
                [],
            )

        return guided

    def _tokens(
        self,
        draws: Draws,
        targets: Targets,
        guidance: float,
        held: Fragment | None,
        steps: int,
        pull: Pull | None,
    ) -> list[Tokens]:
        """(types, bonds, positions_A of the heavy atoms) of each sample."""
        sizes = self._sizes(draws, targets, guidance, held)
        estimate = self._estimator(targets, guidance)
        centre_A = None if pull is None else pull.pocket.centre_A
        walk = Walk(sizes, draws, held, steps, self.device, self.alphabet, centre_A)
        draw = self._diffuse if self.sampler == "diffusion" else self._flow
        types, bonds, x = draw(walk, _pulled(walk, estimate, pull), targets, guidance)
        if held is not None:
            x = x - x[:, :1] + torch.from_numpy(held.positions_A[0]).to(x)
        elif pull is not None:
            x = x + walk.origin_A
        t, b, p = (a.cpu().numpy() for a in (types, bonds, x.double()))
        return [(t[k, :n], b[k, :n, :n], p[k, :n]) for k, n in enumerate(sizes.tolist())]

    def _steered(
        self,
        walk: Walk,
        made: Estimate,
        codes: tuple[Tensor, Tensor],
        hidden: tuple[Tensor, Tensor],
        targets: Targets,
        guidance: float,
    ) -> Estimate:
        """The estimate, types and bonds that are hidden made likelier as the additive
        estimate of the targets says (Bayes' rule).
        """
        if guidance == 0 or not bool(targets.given.any()):
            return made
        parts = []
        for logits, code, hide, there in zip(
            (made.types, made.bonds), codes, hidden, (walk.mask, walk.off), strict=True
        ):
            known = functional.one_hot(code.clamp_min(0), logits.shape[-1]).float()
            parts.append(
                torch.where(hide[..., None], logits.float().softmax(-1), known) * there[..., None]
            )
        with torch.autocast(self.device.type, enabled=False):
            gains = self.additive.gains(parts[0], parts[1], targets.values, targets.given)
        types, bonds = (
            logits + self.steer * guidance * gain.clamp(-MAX_GAIN, MAX_GAIN)
            for logits, gain in zip((made.types, made.bonds), gains, strict=True)
        )
        return Estimate(types, bonds, made.x, [])

    def _diffuse(self, walk: Walk, estimate: Estimator, targets: Targets, guidance: float) -> Clean:
        """Masked diffusion of types and bonds beside the ancestral sampler of places."""
        path = self.path
        types, bonds = walk.unknown()
        hide_types, hide_bonds = types < 0, bonds < 0
        x, previous = walk.x, None
        for k in range(walk.steps):
            hide_types, hide_bonds = walk.hide_again(types, bonds, hide_types, hide_bonds, k, path)
            state = walk.state(
                evidence(types.clamp_min(0), hide_types, walk.kinds),
                evidence(bonds.clamp_min(0), hide_bonds, BONDS),
                x,
                k,
            )
            previous = walk.allowed(estimate(state, previous))
            previous = self._steered(
                walk, previous, (types, bonds), (hide_types, hide_bonds), targets, guidance
            )
            time = (k + 1) / walk.steps
            types, hide_types = walk.reveal(previous.types, types, hide_types, k, path, 0, time)
            bonds, hide_bonds = walk.reveal(previous.bonds, bonds, hide_bonds, k, path, 1, time)
            x = walk.ancestral(state.x, previous.x, k, path.churn)
        return types, bonds, x

    def _flow(self, walk: Walk, estimate: Estimator, targets: Targets, guidance: float) -> Clean:
        """Bayesian flow (Graves 2023; MolCRAFT): noisy observations of the estimate,
        whose evidence is gathered by Bayes' rule.
        """
        known_types, known_bonds = walk.unknown()
        log_types = torch.zeros(*known_types.shape, walk.kinds, device=self.device)
        log_bonds = torch.zeros(*known_bonds.shape, BONDS, device=self.device)
        x, previous = walk.x, None
        for k in range(walk.steps):
            types = torch.where(
                walk.free_types[..., None], log_types.softmax(-1) - 1.0 / walk.kinds, 0.0
            )
            held = evidence(known_bonds.clamp_min(0), known_bonds < 0, BONDS)
            bonds = torch.where(
                walk.free_bonds[..., None], log_bonds.softmax(-1) - 1.0 / BONDS, held
            )
            state = walk.state(types, bonds, x, k)
            made = walk.allowed(estimate(state, previous))
            made = self._steered(
                walk, made, walk.unknown(), (walk.free_types, walk.free_bonds), targets, guidance
            )
            gained = walk.accuracy(k + 1) - walk.accuracy(k)
            for gathered, logits, u, beta, noise in zip(
                (log_types, log_bonds),
                (made.types, made.bonds),
                walk.uniform(k, 1),
                (BETA_TYPES, BETA_BONDS),
                walk.flow_noise(),
                strict=True,
            ):
                kinds = logits.shape[-1]
                drawn = functional.one_hot(categorical(logits, u), kinds)
                gain = beta * gained
                gathered.add_(gain * (kinds * drawn - 1.0) + (gain * kinds) ** 0.5 * noise)
            x, previous = walk.observed(state.x, made.x, k), made
        found_bonds = torch.where(walk.free_bonds, made.bonds.argmax(-1), known_bonds)
        return made.types.argmax(-1), found_bonds, x


def _pulled(walk: Walk, estimate: Estimator, pull: Pull | None) -> Estimator:
    """The estimator, pulled by a pocket if there is one."""
    if pull is None or pull.pocket.pull == 0:
        return estimate
    return lambda state, previous: walk.pulled(walk.allowed(estimate(state, previous)), pull)


def load_joint(weights: str = "joint", **options: Any) -> JointModel:
    """The joint model; options as for `JointModel`."""
    return JointModel(weights, **options)


def load_joint_spectra(weights: str = MODEL, **options: Any) -> JointModel:
    """The joint model that takes an infrared spectrum, of weights that are still to be
    trained; options as for `JointModel`.

    Raises `WeightsError` while none are there.
    """
    try:
        return JointModel(weights, **options)
    except UnknownNameError as error:
        if error.kind != "weights":
            raise
        raise WeightsError(HOW_TO_TRAIN) from error
