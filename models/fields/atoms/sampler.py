"""`AtomFieldModel`: distributions over scalars, vectors or tensors on the atoms of
molecules - fit, condition, sample, log_prob.

A geometric neural diffusion process (arXiv:2307.05431) whose points are a molecule's
atoms. The limiting GP has a learned mean and kernel (`atom_network.AtomKernel`, fitted
by marginal likelihood), and the network learns how the data differs from it, in
coordinates in which the limiting GP is white. An atom without a value still counts as a
place: subsets are marginals of one process.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.arguments import check_count
from equidrift.errors import InputError, UnknownNameError
from equidrift.models.fields.atoms.data import AtomFields, joined
from equidrift.models.fields.atoms.fit import (
    FitOptions,
    Run,
    calibrate,
    element_means,
    is_balanced,
    train_limit,
    train_score,
)
from equidrift.models.fields.atoms.inputs import (
    VALUE,
    as_atom_fields,
    as_given,
    as_molecule,
    numbers_in,
    unknown,
)
from equidrift.models.fields.atoms.network import COMPONENTS, AtomConfig, AtomGram, to_matrix
from equidrift.models.fields.atoms.objective import AtomDiffusion
from equidrift.models.fields.atoms.posterior import LEVELS, SHARES, gp_posterior, offset
from equidrift.models.fields.functions.objective import LinearBeta, OUNoising
from equidrift.models.fields.functions.sampler import draws
from equidrift.models.shared.conditioning import conditional_sample
from equidrift.models.shared.config import LICENCE, TRAINING_DATA
from equidrift.models.shared.run import load_network, own_random_state
from equidrift.models.shared.trainer import Progress
from equidrift.seeds import check_seed
from equidrift.weights import save_weights

Array = NDArray[np.float64]
LIMIT_SHARE = 0.7  # of a time budget, for mean and kernel


class AtomFieldModel:
    """A distribution over fields on the atoms of a molecule; made by
    `AtomFieldModel.fit` or `AtomFieldModel.load`.

    A molecule is `numbers` (n,) and `positions_A` (n, 3); values are (n,) scalars, (n,
    3) vectors or (n, 3, 3) symmetric tensors in the user's units. It turns with the
    molecule and does not depend on the order of the atoms.

    Attributes
    ----------
    quantity, unit : what a value is, "forces" in "eV/A" for one.
    means : value taken off the scalars of each element, by atomic number.
    quantiles : (shares, levels) half widths of intervals over the standard deviation,
        as validation molecules have them.
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
        self.quantiles: Array = np.broadcast_to(
            [NormalDist().inv_cdf(0.5 + level / 2) for level in LEVELS], (len(SHARES), len(LEVELS))
        )
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
        numbers : (n,) atomic numbers of all molecules, or one such array per molecule.
        positions_A, values : one array per molecule, (n, 3) and (n,), (n, 3) or (n, 3,
            3); NaN is a missing value.
        rank : "scalar", "vector" or "tensor".
        balanced : whether values sum to zero over a molecule (and vectors exert no
            torque); None looks at the data.
        validation : share of the molecules that calibrates the width of the
            distribution and is not trained on.
        budget_s : seconds of training, unless `schedule["steps"]` and
            `score_schedule["steps"]` say how long.
        config : sizes, as in `atom_network.AtomConfig`. schedule, score_schedule : of
            `Schedule`, for the GP and for the score.
        out : folder of checkpoints. resume : go on from those there.

        Raises
        ------
        InputError
            for arrays that do not go together, elements or positions that cannot be,
            and fields without any spread.
        """
        if rank not in COMPONENTS:
            raise UnknownNameError("rank", rank, tuple(COMPONENTS))
        data = as_atom_fields(numbers, positions_A, values, rank)
        rng = torch.Generator().manual_seed(check_seed(seed))
        order = torch.randperm(len(data), generator=rng)
        held = max(1, round(validation * len(data)))
        if len(data) < 2:
            raise InputError(
                "one molecule is too little to learn from: give at least two, some of them calibrate the model"
            )
        options = FitOptions(
            rank,
            quantity,
            unit,
            balanced,
            config or {},
            schedule or {},
            score_schedule or {},
            batch,
            seed,
        )
        return cls.fit_fields(
            data[order[held:]],
            data[order[:held]],
            options,
            budget_s,
            out=out,
            resume=resume,
            progress=progress,
        )

    @classmethod
    def fit_fields(
        cls,
        data: AtomFields,
        validation: AtomFields,
        options: FitOptions,
        budget_s: float = 300.0,
        *,
        out: Path | str | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> AtomFieldModel:
        """`fit` on padded fields that are split already."""
        balanced = is_balanced(data, options.rank) if options.balanced is None else options.balanced
        means = element_means(data) if options.rank == "scalar" else {}
        centred = data.y - offset(means, data.x, balanced)
        scale = float(centred[data.mask].square().mean().sqrt())
        if scale == 0 or not math.isfinite(scale):
            raise InputError(
                "the values are the same everywhere; there is no distribution to learn"
            )
        sizes: dict[str, Any] = {"rank": options.rank, "balanced": balanced, **options.config}
        with own_random_state(options.seed):
            diffusion = AtomDiffusion(AtomConfig(**sizes))
        elements = [int(z) for z in torch.unique(data.x[..., 3]) if z > 0]
        model = cls(
            diffusion,
            scale=scale,
            elements=elements,
            means=means,
            quantity=options.quantity,
            unit=options.unit,
        )
        with tempfile.TemporaryDirectory() if out is None else nullcontext(out) as folder:
            run = Run(Path(folder), options.batch, options.seed, resume, progress)
            share = 1.0 if diffusion.gaussian else LIMIT_SHARE
            first = train_limit(model, data, options.schedule, budget_s * share, run, validation)
            calibrate(model, validation)
            record, card = first.summary(), first.card()
            if not diffusion.gaussian:
                second = train_score(
                    model, data, options.score_schedule, budget_s * (1 - share), run
                )
                record["score_steps"], record["minutes"] = (
                    second.step,
                    (first.seconds + second.seconds) / 60,
                )
                card["trained"]["score_steps"] = second.step
                card["run"]["minutes"] = round(record["minutes"], 2)
        model.record, model.training = record, card
        return model

    def standard(self, data: AtomFields) -> AtomFields:
        """Values less the element's mean, in units of the scale; 0 where not known."""
        y = (data.y - offset(self.means, data.x, self.config.balanced)) / self.scale
        return AtomFields(data.x, y * data.mask[..., None], data.mask)

    def condition(
        self,
        numbers: ArrayLike,
        positions_A: ArrayLike,
        values: ArrayLike,
        given: ArrayLike | None = None,
    ) -> ConditionedAtoms:
        """The distribution of a molecule's field where some of its values are known.

        Parameters
        ----------
        values : (n,), (n, 3) or (n, 3, 3), NaN where not known.
        given : (n,) bool, or indices of the atoms whose values are known; all that are
            not NaN where None.

        Raises
        ------
        InputError
            for shapes, elements or positions that do not fit, and where no value is
            known, or all are.
        """
        data = self._single(numbers, positions_A, values, given)
        known = data.mask[0]
        if not known.any():
            raise InputError("no value is known; call sample of the model itself for the prior")
        if known.all():
            raise InputError(
                "all values are known and nothing is left to complete; set those to NaN that are not, or name the given atoms"
            )
        return ConditionedAtoms(self, data)

    def sample(
        self, numbers: ArrayLike, positions_A: ArrayLike, n: int = 1, seed: int = 0, **options: Any
    ) -> Array:
        """n fields of a molecule without any known value; shape and options as
        `ConditionedAtoms.sample`.
        """
        z, r = as_molecule(numbers, positions_A)
        empty = np.full((len(z), *VALUE[self.config.rank]), np.nan)
        return ConditionedAtoms(self, self._single(z, r, empty, None)).sample(n, seed, **options)

    def log_prob(
        self,
        numbers: ArrayLike,
        positions_A: ArrayLike,
        values: ArrayLike,
        mask: ArrayLike | None = None,
        **options: Any,
    ) -> Array:
        """Log densities (F,) of fields (F, n, ...) or (n, ...) of one molecule at
        positions (F, n, 3) or (n, 3).

        The density of some of the atoms' values is the marginal's: NaN, or False in
        `mask` (F, n), is unknown. Options as `likelihood.log_likelihood`.
        """
        y = numbers_in(values, "values")
        single = y.ndim == 1 + len(VALUE[self.config.rank])
        y = y[None] if single else y
        r = numbers_in(positions_A, "positions_A")
        r = np.broadcast_to(r, (len(y), *r.shape)) if r.ndim == 2 else r
        keep = np.broadcast_to(
            np.ones(1, bool) if mask is None else np.asarray(mask, bool), y.shape[:2]
        )
        if len(r) != len(y):
            raise InputError(
                f"there are {len(r)} sets of positions for {len(y)} fields; give one for all, or one each"
            )
        return self.log_prob_fields(
            joined(
                [self._single(numbers, x, one, k & ~unknown(one)) for x, one, k in zip(r, y, keep)]
            ),
            **options,
        )

    def log_prob_fields(self, data: AtomFields, **options: Any) -> Array:
        """`log_prob` of padded fields."""
        found = self.diffusion.log_prob(data.x, self.standard(data).y, data.mask, **options)
        out: Array = (
            found.double() - data.mask.sum(1) * self.components * math.log(self.scale)
        ).numpy()
        return out

    def law(self, data: AtomFields) -> tuple[Tensor, AtomGram]:
        """Mean (F, n, p) and Gram matrix of the limiting GP at all atoms of padded
        molecules, standardised.
        """
        with torch.no_grad():
            mean, gram = self.diffusion.kernel.law(data.x.float())  # type: ignore[operator]
        return mean.double(), gram

    def half_width(self, share: float, level: float) -> float:
        """Half of an interval that holds a share `level` of the values, in standard
        deviations, where a `share` of the atoms is given.
        """
        row = self.quantiles[int(np.argmin([abs(share - s) for s in SHARES]))]
        return float(np.interp(level, LEVELS, row))

    def _single(
        self, numbers: ArrayLike, positions_A: ArrayLike, values: ArrayLike, given: ArrayLike | None
    ) -> AtomFields:
        """One molecule, checked."""
        data = as_atom_fields(numbers, [positions_A], [values], self.config.rank)
        z = data.x[0, :, 3].long().tolist()
        strange = sorted(set(z) - set(self.elements))
        if strange:
            raise InputError(
                f"the model has not seen elements {strange}, but {list(self.elements)}; train it on molecules with them"
            )
        if given is None:
            return data
        chosen = as_given(given, len(z))
        if (chosen & ~data.mask[0].numpy()).any():
            raise InputError(
                f"values of given atoms {np.flatnonzero(chosen & ~data.mask[0].numpy())[:4].tolist()} are NaN"
            )
        mask = torch.tensor(chosen)[None]
        return AtomFields(data.x, data.y * mask[..., None], mask)

    def card(self, **more: Any) -> dict[str, Any]:
        """The model card: what `load` needs, and what `equidrift models` shows."""
        config: dict[str, Any] = {
            "sizes": dataclasses.asdict(self.config),
            "schedule": dataclasses.asdict(self.diffusion.schedule),
        }
        config |= {
            "scale": self.scale,
            "elements": list(self.elements),
            "means": {str(z): m for z, m in self.means.items()},
        }
        config |= {"quantiles": self.quantiles.tolist()}
        config |= {"quantity": self.quantity, "unit": self.unit}
        description = f"distribution over {self.quantity} on the atoms of molecules"
        card: dict[str, Any] = {
            "name": "my-atom-field",
            "family": "fields",
            "task": "atom-field",
            "description": description,
        }
        card |= {
            "config": config,
            "elements": list(self.elements),
            "max_atoms": 0,
            "units": f"A, {self.unit or 'as the training data'}",
        }
        return {
            **card,
            "licence": LICENCE,
            "training_data": TRAINING_DATA,
            "quality": {},
            **self.training,
            **more,
        }

    def save(self, path: str | Path, **card: Any) -> Path:
        """Write PATH.safetensors and its card; returns the former.

        Keywords go into the card.
        """
        state = {key: value.clone().float() for key, value in self.diffusion.state_dict().items()}
        return save_weights(path, state, self.card(name=Path(path).stem, **card))

    @classmethod
    def load(cls, name_or_path: str | Path) -> AtomFieldModel:
        """A model by the name of shipped weights or by a path.

        Raises `WeightsError` for another kind of model's.
        """
        diffusion, card = load_network(
            name_or_path,
            "atom-field",
            lambda c: AtomDiffusion(AtomConfig(**c["sizes"]), LinearBeta(**c["schedule"])),
        )
        c = card["config"]
        means = {int(z): m for z, m in c["means"].items()}
        model = cls(
            diffusion,
            scale=c["scale"],
            elements=c["elements"],
            means=means,
            quantity=c["quantity"],
            unit=c["unit"],
        )
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
        """n completed fields (n, n_atoms), (n, n_atoms, 3) or (n, n_atoms, 3, 3); known
        values are as given.

        Where values are known the limiting GP's conditional is drawn; the network has
        its say in the prior and in `log_prob`.

        Parameters
        ----------
        steps, corrections, psi : of `conditioning.conditional_sample`; the price is
            steps (1 + corrections) network calls.
        noise : gives standard normal arrays of a shape (n, n_atoms, components) in
            place of the seed's; for tests of equivariance.
        """
        n = check_count("n", n)
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
        draw = draws(noise, n, seed, tuple(known.shape), torch.float64)
        everywhere = torch.ones(1, known.shape[1], dtype=torch.bool)

        def score(y: Tensor, t: float) -> Tensor:
            return (
                -y
                if gaussian
                else diffusion.score(
                    torch.full((n,), t, dtype=y.dtype), data.x, y, everywhere, gram
                )
            )

        with torch.no_grad():
            times = diffusion.schedule.times(steps, 1e-3)
            made = conditional_sample(
                noising,
                score,
                known,
                ~data.mask[0],
                times,
                draw,
                corrections=corrections if any_known else 0,
                psi=psi,
                tau=1.0,
            )
        return self._as_values(
            (made + mean) * model.scale + offset(model.means, data.x, model.config.balanced)
        )

    def mean_std(self, n: int = 64, seed: int = 0, **options: Any) -> tuple[Array, Array]:
        """Mean and standard deviation of the values (n_atoms, ...): in closed form
        where values are known, else of n samples.
        """
        if not (self.model.diffusion.gaussian or self.data.mask.any()):
            made = self.sample(n, seed, **options)
            known = self.data.mask[0].numpy().reshape(-1, *[1] * (made.ndim - 2))
            spread: Array = made.std(0, ddof=1) if n > 1 else np.zeros_like(made[0])
            return np.where(known, made[0], made.mean(0)), np.where(known, 0.0, spread)
        mean, variance = gp_posterior(
            *self.model.law(self.data), self.model.standard(self.data).y, self.data.mask
        )
        centre = self._as_values(
            mean * self.model.scale
            + offset(self.model.means, self.data.x, self.model.config.balanced)
        )[0]
        width = variance.sqrt() * self.model.scale
        if self.model.config.rank == "tensor":
            width = to_matrix(width)
        return centre, width[0].reshape(centre.shape).numpy()

    def interval(self, level: float = 0.9) -> tuple[Array, Array, Array]:
        """Mean, lower and upper ends of calibrated intervals of each component of each
        atom's value, in closed form.

        From the limiting GP's posterior: its mean, and as many of its standard
        deviations on either side as hold a share `level` of the values of validation
        molecules (with that share of atoms given, the nearest of `SHARES`). (n_atoms,
        ...) each.
        """
        if not isinstance(level, int | float) or not LEVELS[0] <= level <= LEVELS[-1]:
            raise InputError(f"level must lie in {LEVELS[0]} .. {LEVELS[-1]}, not {level!r}")
        model, data = self.model, self.data
        mean, variance = gp_posterior(*model.law(data), model.standard(data).y, data.mask)
        half = (
            model.half_width(float(data.mask.double().mean()), level)
            * variance.sqrt()
            * model.scale
        )
        centre = mean * model.scale + offset(model.means, data.x, model.config.balanced)
        middle, low, high = (self._as_values(centre + sign * half)[0] for sign in (0.0, -1.0, 1.0))
        return middle, low, high

    def _as_values(self, y: Tensor) -> Array:
        """Inside values (k, n, p) in the user's shape, known ones exactly as given."""
        y = torch.where(self.data.mask[..., None], self.data.y, y)
        rank = self.model.config.rank
        out: Array = (
            y[..., 0] if rank == "scalar" else to_matrix(y) if rank == "tensor" else y
        ).numpy()
        return out
