"""`AtomFieldModel`: distributions over scalars, vectors or tensors on the atoms of molecules - fit, condition, sample, log_prob.

A geometric neural diffusion process (arXiv:2307.05431) whose points are a molecule's atoms. The limiting GP has a learned mean and kernel
(`atom_network.AtomKernel`, fitted by marginal likelihood), and the network learns how the data differs from it, in coordinates in which
the limiting GP is white. An atom without a value still counts as a place: subsets are marginals of one process.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from equidrift.errors import InputError, InputTypeError, UnknownNameError
from equidrift.models.fields.atoms.data import AtomFields, joined, padded
from equidrift.models.fields.atoms.network import COMPONENTS, MAX_NUMBER, AtomConfig, AtomGram, AtomKernel, AtomScore, to_matrix, to_six
from equidrift.models.fields.functions.kernels import Gram
from equidrift.models.fields.functions.likelihood import log_likelihood
from equidrift.models.fields.functions.network import NetworkConfig, NoNetwork
from equidrift.models.fields.functions.objective import STD_FLOOR, FieldDiffusion, LinearBeta, OUNoising, draw_times
from equidrift.models.fields.functions.sampler import _draws
from equidrift.models.shared.conditioning import conditional_sample
from equidrift.models.shared.run import load_network, own_random_state
from equidrift.models.shared.training import Progress, Trainer, make_schedule
from equidrift.seeds import check_seed
from equidrift.weights import save_weights

Array = NDArray[np.float64]
CLOSEST_A = 0.3  # two atoms nearer than this are one
BALANCED = 1e-3  # share of the values' size that a net value may have in a field without one
FULL_PRECISION = 0.3  # last share of the kernel's training that is run in float32
SHARES, LEVELS = (0.1, 0.5, 0.9), (*(k / 20 for k in range(1, 20)), 0.99)  # of atoms given, and of intervals, that are calibrated
LIMIT_SHARE = 0.7  # of a time budget, for mean and kernel


class AtomDiffusion(FieldDiffusion):
    """Limiting GP and score network; times, noising and the preconditioned score are those of `FieldDiffusion`."""

    def __init__(self, config: AtomConfig, schedule: LinearBeta | None = None):
        super().__init__(AtomKernel(config), NetworkConfig(kind="none"), schedule)  # type: ignore[arg-type]
        self.config = config
        self.network = AtomScore(config) if config.score_layers else NoNetwork(NetworkConfig(kind="none"))

    def white_score(self, t: Tensor, u: Tensor, mask: Tensor, gram: AtomGram) -> Tensor:
        """grad log p_t of whitened values u = K^-1/2 y."""
        std, _ = self.factors(t)
        if self.gaussian:
            return -u
        small = next(self.network.parameters()).dtype  # the network is float32 wherever the values are float64
        known = gram.known
        f = self.network(t.to(small), std[:, 0, 0].to(small), u.to(small), mask, known).to(u.dtype)
        return -u + f / (std.to(u.dtype) + STD_FLOOR)

    def score(  # type: ignore[override]
        self, t: Tensor, x: Tensor, y: Tensor, mask: Tensor, gram: AtomGram, half: bool = False
    ) -> Tensor:
        """K grad log p_t(y) of residuals y (B, n, p), as in `FieldDiffusion`."""
        del x, half
        if self.gaussian:
            return -y
        return gram.root(self.white_score(t, gram.whiten(y), mask, gram))

    def loss(self, x: Tensor, y: Tensor, mask: Tensor, generator: torch.Generator, half: bool = True) -> Tensor:
        """Denoising score matching of residuals, in the metric in which the limiting GP is white."""
        with torch.no_grad():
            mean, gram = self.kernel.law(x, mask)  # type: ignore[operator]
            u = gram.whiten((y - mean) * mask[..., None]).float() * mask[..., None]
        t = draw_times(len(x), self.schedule, generator)
        std, alpha = (f.float() for f in self.factors(t))
        z = torch.randn(u.shape, generator=generator) * mask[..., None]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            score = self.white_score(t, alpha * u + std * z, mask, gram)
        error = (std * score.float() + z).square().sum(-1) * mask
        return (error.sum(-1) / mask.sum(-1)).mean()

    def log_prob(self, x: Tensor, y: Tensor, mask: Tensor, **options: Any) -> Tensor:
        """Log densities (B,) of standardised values y (B, n, p) of the atoms in mask (B, n)."""
        with torch.no_grad():
            mean, gram = self.kernel.law(x.float(), mask)  # type: ignore[operator]
            y = (y - mean) * mask[..., None]
            if self.gaussian:
                return gram.log_prob(y)
            found = log_likelihood(_White(self, gram), x, gram.whiten(y).float() * mask[..., None], mask, **options)  # type: ignore[arg-type]
            logs = gram.factor.diagonal(dim1=1, dim2=2).log().reshape(len(y), -1, self.config.components)
            return found - (logs * mask[..., None]).sum((1, 2))


class _White:
    """The same diffusion in coordinates in which the limiting GP is white: there the divergence is cheap to estimate."""

    gaussian = False

    def __init__(self, diffusion: AtomDiffusion, gram: AtomGram):
        self.diffusion, self.known, self.schedule, self.kernel = diffusion, gram, diffusion.schedule, self

    def closed_log_prob(self, x: Tensor, y: Tensor, mask: Tensor) -> None:
        """There is a network."""

    def gram(self, x: Tensor, mask: Tensor) -> Gram:
        """The white Gram matrix."""
        return Gram(None, 1.0, x.shape[1], self.diffusion.config.components, mask)

    def score(self, t: Tensor, x: Tensor, u: Tensor, mask: Tensor, gram: Gram) -> Tensor:
        """grad log p_t(u)."""
        del x, gram
        return self.diffusion.white_score(t, u, mask, self.known)


class AtomFieldModel:
    """A distribution over fields on the atoms of a molecule; made by `AtomFieldModel.fit` or `AtomFieldModel.load`.

    A molecule is `numbers` (n,) and `positions_A` (n, 3); values are (n,) scalars, (n, 3) vectors or (n, 3, 3) symmetric tensors in the
    user's units. It turns with the molecule and does not depend on the order of the atoms.

    Attributes
    ----------
    quantity, unit : what a value is, "forces" in "eV/A" for one.
    means : value taken off the scalars of each element, by atomic number.
    quantiles : (shares, levels) half widths of intervals over the standard deviation, as validation molecules have them.
    """

    def __init__(
        self,
        diffusion: AtomDiffusion,
        *,
        scale: float,
        elements: Sequence[int],
        means: dict[int, float] | None = None,
        quantity: str = "field",
        unit: str = "",
    ):
        self.diffusion, self.scale, self.elements = diffusion.eval(), scale, tuple(elements)
        self.means, self.quantity, self.unit = means or {}, quantity, unit
        self.quantiles: Array = np.broadcast_to([NormalDist().inv_cdf(0.5 + level / 2) for level in LEVELS], (len(SHARES), len(LEVELS)))
        self.record: dict[str, Any] = {}  # of the training, for whoever asked for it
        self.training: dict[str, Any] = {}  # the same for the card

    @property
    def config(self) -> AtomConfig:
        """Sizes of the networks, and the kind of values."""
        return self.diffusion.config

    @property
    def components(self) -> int:
        """Numbers a value has inside: 1, 3 or 6."""
        return self.config.components

    @classmethod
    def fit(
        cls,
        numbers: Sequence[Any],
        positions_A: Sequence[Any],
        values: Sequence[Any],
        *,
        rank: str = "vector",
        quantity: str = "field",
        unit: str = "",
        balanced: bool | None = None,
        validation: float = 0.1,
        budget_s: float = 300.0,
        config: dict[str, Any] | None = None,
        schedule: dict[str, Any] | None = None,
        score_schedule: dict[str, Any] | None = None,
        batch: int = 16,
        seed: int = 0,
        out: Path | str | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> AtomFieldModel:
        """Learn a distribution from molecules with values on their atoms.

        Parameters
        ----------
        numbers : (n,) atomic numbers of all molecules, or one such array a molecule.
        positions_A, values : one array a molecule, (n, 3) and (n,), (n, 3) or (n, 3, 3); NaN is a missing value.
        rank : "scalar", "vector" or "tensor".
        balanced : whether values sum to zero over a molecule (and vectors exert no torque); None looks at the data.
        validation : share of the molecules that calibrates the width of the distribution and is not trained on.
        budget_s : seconds of training, unless `schedule["steps"]` and `score_schedule["steps"]` say how long.
        config : sizes, as in `atom_network.AtomConfig`. schedule, score_schedule : of `Schedule`, for the GP and for the score.
        out : folder of checkpoints. resume : go on from those there.

        Raises
        ------
        InputError
            for arrays that do not go together, elements or positions that cannot be, and fields without any spread.
        """
        if rank not in COMPONENTS:
            raise UnknownNameError("rank", rank, tuple(COMPONENTS))
        data = as_atom_fields(numbers, positions_A, values, rank)
        rng = torch.Generator().manual_seed(check_seed(seed))
        order = torch.randperm(len(data), generator=rng)
        held = max(1, round(validation * len(data)))
        if len(data) < 2:
            raise InputError("one molecule is too little to learn from: give at least two, some of them calibrate the model")
        return cls.fit_fields(
            data[order[held:]], data[order[:held]], rank=rank, quantity=quantity, unit=unit, balanced=balanced, budget_s=budget_s,
            config=config, schedule=schedule, score_schedule=score_schedule, batch=batch, seed=seed, out=out, resume=resume,
            progress=progress,
        )  # fmt: skip

    @classmethod
    def fit_fields(
        cls,
        data: AtomFields,
        validation: AtomFields,
        *,
        rank: str,
        quantity: str = "field",
        unit: str = "",
        balanced: bool | None = None,
        budget_s: float = 300.0,
        config: dict[str, Any] | None = None,
        schedule: dict[str, Any] | None = None,
        score_schedule: dict[str, Any] | None = None,
        batch: int = 16,
        seed: int = 0,
        out: Path | str | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> AtomFieldModel:
        """`fit` on padded fields that are split already."""
        balanced = is_balanced(data, rank) if balanced is None else balanced
        means = element_means(data) if rank == "scalar" else {}
        centred = data.y - offset(means, data.x, balanced)
        scale = float(centred[data.mask].square().mean().sqrt())
        if scale == 0 or not math.isfinite(scale):
            raise InputError("the values are the same everywhere; there is no distribution to learn")
        sizes: dict[str, Any] = {"rank": rank, "balanced": balanced, **(config or {})}
        with own_random_state(seed):
            diffusion = AtomDiffusion(AtomConfig(**sizes))
        elements = [int(z) for z in torch.unique(data.x[..., 3]) if z > 0]
        model = cls(diffusion, scale=scale, elements=elements, means=means, quantity=quantity, unit=unit)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(out or temporary)
            common: dict[str, Any] = {"batch": batch, "seed": seed, "resume": resume, "progress": progress}
            share = 1.0 if diffusion.gaussian else LIMIT_SHARE
            first = model.train_limit(data, folder / "limit", budget_s * share, schedule or {}, held_out=validation, **common)
            model.calibrate(validation)
            record, card = first.summary(), first.card()
            if not diffusion.gaussian:
                second = model.train_score(data, folder / "score", budget_s * (1 - share), score_schedule or {}, **common)
                record["score_steps"], record["minutes"] = second.step, (first.seconds + second.seconds) / 60
                card["trained"]["score_steps"] = second.step
                card["run"]["minutes"] = round(record["minutes"], 2)
        model.record, model.training = record, card
        return model

    def standard(self, data: AtomFields) -> AtomFields:
        """Values less the element's mean, in units of the scale; 0 where not known."""
        y = (data.y - offset(self.means, data.x, self.config.balanced)) / self.scale
        return AtomFields(data.x, y * data.mask[..., None], data.mask)

    def train_limit(
        self,
        data: AtomFields,
        out: Path,
        budget_s: float,
        schedule: dict[str, Any],
        *,
        batch: int,
        seed: int,
        resume: bool,
        progress: Progress | None,
        held_out: AtomFields | None = None,
    ) -> Trainer:
        """Fit mean and kernel by marginal likelihood, with fresh noise of the kernel's white part on the values."""
        kernel: AtomKernel = self.diffusion.kernel  # type: ignore[assignment]
        generator = torch.Generator()

        def surprise(network: nn.Module, part: AtomFields, mixed: int, short: bool) -> Tensor:
            """Minus the log density per value, in bfloat16 if `short`."""
            generator.manual_seed(mixed)
            y = part.y + self.config.noise * torch.randn(part.y.shape, generator=generator, dtype=part.y.dtype)
            with torch.autocast("cpu", torch.bfloat16, enabled=short):
                mean, gram = network.law(part.x.float(), part.mask)  # type: ignore[operator]
            return -gram.log_prob((y - mean) * part.mask[..., None]).sum() / (part.mask.sum() * self.components)

        def held_out_loss(network: nn.Module, part: AtomFields) -> Tensor:
            return surprise(network, part, seed ^ 0x5EED, short=False)

        unseen = None if held_out is None else _batches(self.standard(held_out), batch, seed)
        settings = make_schedule(schedule, weight_decay=0.0, learning_rate=2e-3, clip=5.0, ema=0.998)
        trainer = Trainer(kernel, settings, out, unseen, held_out_loss)
        if resume:
            trainer.resume()

        def loss(network: nn.Module, part: AtomFields) -> Tensor:
            share = trainer.seconds / budget_s if trainer.schedule.steps is None else trainer.step / trainer.schedule.steps
            return surprise(network, part, (seed * 1_000_003 + trainer.step) ^ 0x5EED, short=share < 1 - FULL_PRECISION)

        trainer.fit(_batches(self.standard(data), batch, seed), loss, budget_s, progress)
        kernel.load_state_dict(trainer.ema)
        kernel.eval()
        return trainer

    def train_score(self, data: AtomFields, out: Path, budget_s: float, schedule: dict[str, Any], *, batch: int, seed: int, resume: bool,
                    progress: Progress | None) -> Trainer:  # fmt: skip
        """Train the score's network on values of random subsets of atoms."""
        trainer = Trainer(self.diffusion.network, make_schedule(schedule, weight_decay=0.0), out)
        if resume:
            trainer.resume()
        generator = torch.Generator()

        def loss(network: nn.Module, part: AtomFields) -> Tensor:
            del network
            generator.manual_seed((seed * 1_000_003 + trainer.step) ^ 0xA70)
            y = part.y + self.config.noise * torch.randn(part.y.shape, generator=generator, dtype=part.y.dtype)
            mask = part.mask & random_subsets(part.mask, generator)
            return self.diffusion.loss(part.x.float(), y * mask[..., None], mask, generator)

        trainer.fit(_batches(self.standard(data), batch, seed + 1), loss, budget_s, progress)
        self.diffusion.network.load_state_dict(trainer.ema)
        self.diffusion.eval()
        return trainer

    def calibrate(self, validation: AtomFields) -> float:
        """Set the factor of the kernel that validation molecules like best; returns it."""
        kernel: AtomKernel = self.diffusion.kernel  # type: ignore[assignment]
        kernel.log_scale.zero_()
        noise, factors = float(kernel.log_noise.exp()), np.exp(np.linspace(-1.0, 2.0, 31))
        total = torch.zeros(len(factors), dtype=torch.float64)
        for begin in range(0, len(validation), 32):
            part = self.standard(validation[slice(begin, begin + 32)])
            with torch.no_grad():
                mean, gram = kernel.law(part.x.float(), part.mask)
            values, vectors = torch.linalg.eigh(gram.matrix)
            here = (vectors.square() * part.mask.repeat_interleave(self.components, 1)[..., None]).sum(1)  # which are of known values
            away = (vectors.mT @ ((part.y - mean) * part.mask[..., None]).flatten(1)[..., None])[..., 0].square()
            spread = torch.tensor(factors)[:, None, None] * (values - noise).clamp(min=0) + noise
            total -= 0.5 * (away / spread + here * spread.log()).sum((1, 2))
        best = float(factors[int(total.argmax())])
        kernel.log_scale.fill_(math.log(best))
        self.calibrate_intervals(validation)
        return best

    def calibrate_intervals(self, validation: AtomFields, most: int = 150, seed: int = 0) -> None:
        """Set `quantiles` to those of deviations over standard deviations, of values of validation molecules that are not given."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(validation), generator=generator)[:most]
        scores: list[list[Tensor]] = [[] for _ in SHARES]
        for k in chosen.tolist():
            one = self.standard(validation[slice(k, k + 1)])
            law = self.law(one)
            for row, share in zip(scores, SHARES):
                given = given_share(one.mask, share, generator)
                mean, variance = gp_posterior(*law, one.y, given)
                row.append(((one.y - mean).abs() / variance.sqrt())[one.mask & ~given].reshape(-1))
        self.quantiles = np.array([np.quantile(torch.cat(row).numpy(), LEVELS) for row in scores])

    def condition(self, numbers: ArrayLike, positions_A: ArrayLike, values: ArrayLike, given: ArrayLike | None = None) -> ConditionedAtoms:
        """The distribution of a molecule's field where some of its values are known.

        Parameters
        ----------
        values : (n,), (n, 3) or (n, 3, 3), NaN where not known.
        given : (n,) bool, or indices of the atoms whose values are known; all that are not NaN where None.

        Raises
        ------
        InputError
            for shapes, elements or positions that do not fit, and where no value is known, or all are.
        """
        data = self._single(numbers, positions_A, values, given)
        known = data.mask[0]
        if not known.any():
            raise InputError("no value is known; call sample of the model itself for the prior")
        if known.all():
            raise InputError("all values are known and nothing is left to complete; set those to NaN that are not, or name the given atoms")
        return ConditionedAtoms(self, data)

    def sample(self, numbers: ArrayLike, positions_A: ArrayLike, n: int = 1, seed: int = 0, **options: Any) -> Array:
        """n fields of a molecule without any known value; shape and options as `ConditionedAtoms.sample`."""
        z, r = as_molecule(numbers, positions_A)
        empty = np.full((len(z), *VALUE[self.config.rank]), np.nan)
        return ConditionedAtoms(self, self._single(z, r, empty, None)).sample(n, seed, **options)

    def log_prob(
        self, numbers: ArrayLike, positions_A: ArrayLike, values: ArrayLike, mask: ArrayLike | None = None, **options: Any
    ) -> Array:
        """Log densities (F,) of fields (F, n, ...) or (n, ...) of one molecule at positions (F, n, 3) or (n, 3).

        The density of some of the atoms' values is the marginal's: NaN, or False in `mask` (F, n), is unknown. Options as
        `likelihood.log_likelihood`.
        """
        y = _numbers_in(values, "values")
        single = y.ndim == 1 + len(VALUE[self.config.rank])
        y = y[None] if single else y
        r = _numbers_in(positions_A, "positions_A")
        r = np.broadcast_to(r, (len(y), *r.shape)) if r.ndim == 2 else r
        keep = np.broadcast_to(np.ones(1, bool) if mask is None else np.asarray(mask, bool), y.shape[:2])
        if len(r) != len(y):
            raise InputError(f"there are {len(r)} sets of positions for {len(y)} fields; give one for all, or one each")
        return self.log_prob_fields(joined([self._single(numbers, x, one, k & ~_unknown(one)) for x, one, k in zip(r, y, keep)]), **options)

    def log_prob_fields(self, data: AtomFields, **options: Any) -> Array:
        """`log_prob` of padded fields."""
        found = self.diffusion.log_prob(data.x, self.standard(data).y, data.mask, **options)
        out: Array = (found.double() - data.mask.sum(1) * self.components * math.log(self.scale)).numpy()
        return out

    def law(self, data: AtomFields) -> tuple[Tensor, AtomGram]:
        """Mean (F, n, p) and Gram matrix of the limiting GP at all atoms of padded molecules, standardised."""
        with torch.no_grad():
            mean, gram = self.diffusion.kernel.law(data.x.float())  # type: ignore[operator]
        return mean.double(), gram

    def half_width(self, share: float, level: float) -> float:
        """Half of an interval that holds a share `level` of the values, in standard deviations, where a `share` of the atoms is given."""
        row = self.quantiles[int(np.argmin([abs(share - s) for s in SHARES]))]
        return float(np.interp(level, LEVELS, row))

    def _single(self, numbers: ArrayLike, positions_A: ArrayLike, values: ArrayLike, given: ArrayLike | None) -> AtomFields:
        """One molecule, checked."""
        data = as_atom_fields(numbers, [positions_A], [values], self.config.rank)
        z = data.x[0, :, 3].long().tolist()
        strange = sorted(set(z) - set(self.elements))
        if strange:
            raise InputError(f"the model has not seen elements {strange}, but {list(self.elements)}; train it on molecules with them")
        if given is None:
            return data
        chosen = as_given(given, len(z))
        if (chosen & ~data.mask[0].numpy()).any():
            raise InputError(f"values of given atoms {np.flatnonzero(chosen & ~data.mask[0].numpy())[:4].tolist()} are NaN")
        mask = torch.tensor(chosen)[None]
        return AtomFields(data.x, data.y * mask[..., None], mask)

    def card(self, **more: Any) -> dict[str, Any]:
        """The model card: what `load` needs, and what `equidrift models` shows."""
        config: dict[str, Any] = {"sizes": dataclasses.asdict(self.config), "schedule": dataclasses.asdict(self.diffusion.schedule)}
        config |= {"scale": self.scale, "elements": list(self.elements), "means": {str(z): m for z, m in self.means.items()}}
        config |= {"quantiles": self.quantiles.tolist()}
        config |= {"quantity": self.quantity, "unit": self.unit}
        description = f"distribution over {self.quantity} on the atoms of molecules"
        card: dict[str, Any] = {"name": "my-atom-field", "family": "fields", "task": "atom-field", "description": description}
        card |= {"config": config, "elements": list(self.elements), "max_atoms": 0, "units": f"A, {self.unit or 'as the training data'}"}
        card |= {"licence": "as the training data's owner decides"}
        return {**card, "training_data": "user data", "quality": {}, **self.training, **more}

    def save(self, path: str | Path, **card: Any) -> Path:
        """Write PATH.safetensors and its card; returns the former. Keywords go into the card."""
        state = {key: value.clone().float() for key, value in self.diffusion.state_dict().items()}
        return save_weights(path, state, self.card(name=Path(path).stem, **card))

    @classmethod
    def load(cls, name_or_path: str | Path) -> AtomFieldModel:
        """A model by the name of shipped weights or by a path. Raises `WeightsError` for another kind of model's."""
        diffusion, card = load_network(
            name_or_path, "atom-field", lambda c: AtomDiffusion(AtomConfig(**c["sizes"]), LinearBeta(**c["schedule"]))
        )
        c = card["config"]
        means = {int(z): m for z, m in c["means"].items()}
        model = cls(diffusion, scale=c["scale"], elements=c["elements"], means=means, quantity=c["quantity"], unit=c["unit"])
        if "quantiles" in c:
            model.quantiles = np.array(c["quantiles"])
        return model


@dataclasses.dataclass(frozen=True)
class ConditionedAtoms:
    """An `AtomFieldModel` of one molecule, with the values that are known."""

    model: AtomFieldModel
    data: AtomFields

    def sample(
        self,
        n: int = 1,
        seed: int = 0,
        *,
        steps: int | None = None,
        corrections: int = 2,
        psi: float | None = None,
        noise: Callable[[tuple[int, ...]], Array] | None = None,
    ) -> Array:
        """n completed fields (n, n_atoms), (n, n_atoms, 3) or (n, n_atoms, 3, 3); known values are as given.

        Where values are known the limiting GP's conditional is drawn; the network has its say in the prior and in `log_prob`.

        Parameters
        ----------
        steps, corrections, psi : of `conditioning.conditional_sample`; the price is steps (1 + corrections) network calls.
        noise : gives standard normal arrays of a shape (n, n_atoms, components) in place of the seed's; for tests of equivariance.
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise InputError(f"n must be a positive integer, not {n!r}")
        model, data = self.model, self.data
        diffusion = model.diffusion
        mean, gram = model.law(data)
        known = (model.standard(data).y - mean).expand(n, -1, -1) * data.mask[..., None]
        any_known = bool(data.mask.any())
        # Fresh noise on known values breaks, where a field is balanced, what ties them to the free ones: whitened, the joint lies far
        # outside of what the network has seen, and it measured no worse without it (0.01 per number). So it draws the prior alone.
        gaussian = diffusion.gaussian or any_known
        steps = steps or (8 if gaussian else 24)
        psi = 40.0 if psi is None else psi
        noising = OUNoising(gram, diffusion.schedule, noise_scaled=False)
        draw = _draws(noise, n, seed, tuple(known.shape), torch.float64)
        everywhere = torch.ones(1, known.shape[1], dtype=torch.bool)

        def score(y: Tensor, t: float) -> Tensor:
            return -y if gaussian else diffusion.score(torch.full((n,), t, dtype=y.dtype), data.x, y, everywhere, gram)

        with torch.no_grad():
            times = diffusion.schedule.times(steps, 1e-3)
            made = conditional_sample(
                noising, score, known, ~data.mask[0], times, draw, corrections=corrections if any_known else 0, psi=psi, tau=1.0
            )
        return self._as_values((made + mean) * model.scale + offset(model.means, data.x, model.config.balanced))

    def mean_std(self, n: int = 64, seed: int = 0, **options: Any) -> tuple[Array, Array]:
        """Mean and standard deviation of the values (n_atoms, ...): in closed form where values are known, else of n samples."""
        if not (self.model.diffusion.gaussian or self.data.mask.any()):
            made = self.sample(n, seed, **options)
            known = self.data.mask[0].numpy().reshape(-1, *[1] * (made.ndim - 2))
            spread: Array = made.std(0, ddof=1) if n > 1 else np.zeros_like(made[0])
            return np.where(known, made[0], made.mean(0)), np.where(known, 0.0, spread)
        mean, variance = gp_posterior(*self.model.law(self.data), self.model.standard(self.data).y, self.data.mask)
        centre = self._as_values(mean * self.model.scale + offset(self.model.means, self.data.x, self.model.config.balanced))[0]
        width = variance.sqrt() * self.model.scale
        if self.model.config.rank == "tensor":
            width = to_matrix(width)
        return centre, width[0].reshape(centre.shape).numpy()

    def interval(self, level: float = 0.9) -> tuple[Array, Array, Array]:
        """Mean, lower and upper ends of calibrated intervals of each component of each atom's value, in closed form.

        From the limiting GP's posterior: its mean, and as many of its standard deviations on either side as hold a share `level` of the
        values of validation molecules (with that share of atoms given, the nearest of `SHARES`). (n_atoms, ...) each.
        """
        if not isinstance(level, int | float) or not LEVELS[0] <= level <= LEVELS[-1]:
            raise InputError(f"level must lie in {LEVELS[0]} .. {LEVELS[-1]}, not {level!r}")
        model, data = self.model, self.data
        mean, variance = gp_posterior(*model.law(data), model.standard(data).y, data.mask)
        half = model.half_width(float(data.mask.double().mean()), level) * variance.sqrt() * model.scale
        centre = mean * model.scale + offset(model.means, data.x, model.config.balanced)
        middle, low, high = (self._as_values(centre + sign * half)[0] for sign in (0.0, -1.0, 1.0))
        return middle, low, high

    def _as_values(self, y: Tensor) -> Array:
        """Inside values (k, n, p) in the user's shape, known ones exactly as given."""
        y = torch.where(self.data.mask[..., None], self.data.y, y)
        rank = self.model.config.rank
        out: Array = (y[..., 0] if rank == "scalar" else to_matrix(y) if rank == "tensor" else y).numpy()
        return out


def gp_posterior(mean: Tensor, gram: AtomGram, y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (1, n, p) of a GP's values of one molecule, given y where the mask is True; given values vary by 0."""
    known = mask[0, :, None].expand(*mean.shape[1:]).reshape(-1)
    matrix = gram.matrix[0] if gram.matrix is not None else torch.zeros(0)
    flat, prior = mean.reshape(-1).clone(), matrix.diagonal().clone()
    if known.any():
        weights = torch.linalg.solve(matrix[known][:, known], matrix[known][:, ~known])
        flat[~known] += (y.reshape(-1)[known] - flat[known]) @ weights
        prior[~known] -= (weights * matrix[known][:, ~known]).sum(0)
        flat[known], prior[known] = y.reshape(-1)[known], 0.0
    return flat.reshape(mean.shape), prior.clamp(min=0).reshape(mean.shape)


def given_share(mask: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """(1, n) a random share of the atoms of one molecule that have a value: one at least, and not all."""
    there = torch.nonzero(mask[0])[:, 0]
    count = min(max(1, round(share * len(there))), len(there) - 1)
    given = torch.zeros_like(mask)
    given[0, there[torch.randperm(len(there), generator=generator)[:count]]] = True
    return given


def random_subsets(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Which atoms (B, n) have a value: all of them in two of five molecules, else each with a chance that is even in [0, 1]."""
    share = torch.rand(len(mask), 1, generator=generator)
    share = torch.where(torch.rand(len(mask), 1, generator=generator) < 0.4, torch.ones_like(share), share)
    chosen = (torch.rand(mask.shape, generator=generator) < share) & mask
    return torch.where(chosen.any(1, keepdim=True), chosen, mask)


def _batches(data: AtomFields, batch: int, seed: int) -> Callable[[int], AtomFields]:
    """Batches of molecules of about one size, by step number."""
    order = torch.argsort((data.x[..., 3] > 0).sum(1), stable=True)
    window = min(len(data), max(4 * batch, len(data) // 16))

    def draw(step: int) -> AtomFields:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        # begins that stick out at the ends are pushed in, so that the smallest and largest are as frequent as the others
        begin = int(torch.randint(-window // 2, len(data) - window // 2, (1,), generator=generator))
        begin = min(max(begin, 0), len(data) - window)
        return data[order[begin + torch.randint(window, (min(batch, len(data)),), generator=generator)]]

    return draw


def element_means(data: AtomFields) -> dict[int, float]:
    """Mean of the known scalars of each element."""
    z = data.x[..., 3][data.mask]
    return {int(k): float(data.y[data.mask][z == k].mean()) for k in torch.unique(z)}


def offset(means: dict[int, float], x: Tensor, balanced: bool) -> Tensor:
    """Means of the elements at the atoms (F, n, 1); where values sum to zero over a molecule, theirs do too."""
    table = torch.zeros(MAX_NUMBER, dtype=torch.float64)
    for z, value in means.items():
        table[z] = value
    found = table[x[..., 3].long()]
    if balanced:
        there = (x[..., 3] > 0).double()
        found = (found - found.sum(1, keepdim=True) / there.sum(1, keepdim=True)) * there
    return found[..., None]


def is_balanced(data: AtomFields, rank: str) -> bool:
    """Whether whole molecules' values sum to zero and, as vectors, exert no torque about the centre."""
    whole = data[torch.where((data.mask == (data.x[..., 3] > 0)).all(1))[0]] if len(data) else data
    if rank == "tensor" or not len(whole):
        return False
    y = whole.y * whole.mask[..., None]
    size = float(y.square().sum((1, 2)).mean().sqrt())
    net = y.sum(1)
    if rank == "vector":
        arm = whole.x[..., :3] - whole.x[..., :3].sum(1, keepdim=True) / whole.mask.sum(1)[:, None, None]
        net = torch.cat([net, torch.linalg.cross(arm * whole.mask[..., None], y).sum(1) / max(1.0, float(arm.square().mean().sqrt()))], 1)
    return float(net.square().mean().sqrt()) < BALANCED * size


VALUE: dict[str, tuple[int, ...]] = {"scalar": (), "vector": (3,), "tensor": (3, 3)}


def as_molecule(numbers: ArrayLike, positions_A: ArrayLike) -> tuple[NDArray[np.int64], Array]:
    """Atomic numbers (n,) and positions (n, 3), checked.

    Raises
    ------
    InputError
        for shapes that do not go together, numbers that are no elements, positions that are not finite, and two atoms at one place.
    """
    z, r = _numbers_in(numbers, "numbers"), _numbers_in(positions_A, "positions_A")
    if z.ndim != 1 or not len(z) or r.shape != (len(z), 3):
        raise InputError(f"a molecule is numbers (n,) and positions_A (n, 3), not arrays of shapes {z.shape} and {r.shape}")
    if (z != np.round(z)).any() or z.min() < 1 or z.max() >= MAX_NUMBER:
        raise InputError(f"numbers must be atomic numbers from 1 to {MAX_NUMBER - 1}, not {z[:6].tolist()}")
    if not np.isfinite(r).all():
        raise InputError("positions_A hold NaN or infinite numbers; a field is known or not, but an atom has its place")
    distance = np.linalg.norm(r[:, None] - r[None], axis=-1) + np.eye(len(z)) * 9.9
    if distance.min() < CLOSEST_A:
        i, j = np.unravel_index(distance.argmin(), distance.shape)
        near = f"atoms {min(i, j)} and {max(i, j)} are {distance.min():.2f} A apart"
        raise InputError(f"{near}; positions must be in A, each atom in its place")
    return z.astype(np.int64), r


def as_atom_fields(numbers: Any, positions_A: Sequence[Any], values: Sequence[Any], rank: str) -> AtomFields:
    """Molecules with their values, checked and padded; arguments as `AtomFieldModel.fit`.

    Raises
    ------
    InputError
        for what `as_molecule` refuses, values of another shape, infinite ones, and tensors that are not symmetric.
    """
    shared = np.ndim(numbers[0]) == 0 if len(numbers) else True
    count = len(positions_A)
    if len(values) != count or not (shared or len(numbers) == count):
        molecules = "" if shared else f" for {len(numbers)} molecules"
        raise InputError(f"there are {len(values)} fields and {count} sets of positions{molecules}; give one of each a molecule")
    zs, rs, ys = [], [], []
    for k in range(count):
        z, r = as_molecule(numbers if shared else numbers[k], positions_A[k])
        y = _numbers_in(values[k], "values")
        if y.shape != (len(z), *VALUE[rank]):
            raise InputError(f"values of rank {rank!r} on {len(z)} atoms have shape {(len(z), *VALUE[rank])}, not {y.shape}")
        if np.isinf(y).any():
            raise InputError("values hold infinite numbers; NaN stands for a value that is not known")
        if rank == "tensor":
            if np.nanmax(np.abs(y - y.swapaxes(1, 2)), initial=0.0) > 1e-6 * (1 + np.nanmax(np.abs(y), initial=0.0)):
                raise InputError("tensors must be symmetric: y[k] equal to its transpose; give the antisymmetric part as a vector field")
            y = to_six(torch.tensor(y)).numpy()
        zs.append(z)
        rs.append(r)
        ys.append(y.reshape(len(z), COMPONENTS[rank]))
    return padded(zs, rs, ys)


def as_given(given: ArrayLike, n: int) -> NDArray[np.bool_]:
    """A mask (n,) of given atoms from a mask or from indices. Raises `InputError` for atoms that are not there."""
    array = np.asarray(given)
    if array.dtype == bool:
        if array.shape != (n,):
            raise InputError(f"given has shape {array.shape}, the molecule has {n} atoms; one True or False an atom")
        return array
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InputTypeError(f"given must be a mask (n,) or indices of atoms, not an array of {array.dtype} and shape {array.shape}")
    if array.size and not (0 <= array.min() and array.max() < n):
        raise InputError(f"given names atom {int(array[(array < 0) | (array >= n)][0])}, the molecule has atoms 0 to {n - 1}")
    mask = np.zeros(n, bool)
    mask[array] = True
    return mask


def _unknown(values: Array) -> NDArray[np.bool_]:
    """(n,) whether a value holds NaN."""
    out: NDArray[np.bool_] = np.asarray(np.isnan(values.reshape(len(values), -1)).any(axis=1))
    return out


def _numbers_in(value: ArrayLike, label: str) -> Array:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"{label} must be an array of numbers, not {type(value).__name__}") from error
