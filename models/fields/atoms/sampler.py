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
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import NormalDist
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.fields.atoms.conditioned import ConditionedAtoms
from equidrift.models.fields.atoms.data import AtomFields, joined
from equidrift.models.fields.atoms.fit import (
    FitOptions,
    FitRun,
    element_means,
    is_balanced,
    train_both,
)
from equidrift.models.fields.atoms.inputs import (
    VALUE,
    as_atom_fields,
    as_given,
    as_molecule,
    unknown,
)
from equidrift.models.fields.atoms.network import COMPONENTS, AtomConfig, AtomGram
from equidrift.models.fields.atoms.objective import AtomDiffusion
from equidrift.models.fields.atoms.posterior import COVERAGES, SHARES, offset
from equidrift.models.fields.atoms.unseen import UnseenWidth
from equidrift.models.fields.cards import Saves, field_card
from equidrift.models.fields.functions.data import as_array
from equidrift.models.fields.functions.objective import LinearBeta
from equidrift.models.shared.devices import Device, pick_device
from equidrift.models.shared.run import Kept, load_network, own_random_state
from equidrift.models.shared.trainer import Progress
from equidrift.seeds import check_seed

Array = NDArray[np.float64]


class AtomFieldModel(Saves):
    """A distribution over fields on the atoms of a molecule; made by
    `AtomFieldModel.fit` or `AtomFieldModel.load`.

    A molecule is `numbers` (n,) and `positions_A` (n, 3); values are (n,) scalars, (n,
    3) vectors or (n, 3, 3) symmetric tensors in the user's units. It turns with the
    molecule and does not depend on the order of the atoms.

    Attributes
    ----------
    quantity, unit : str
        What a value is, "forces" in "eV/A" for one.
    means : dict or None
        Value taken off the scalars of each element, by atomic number.
    quantiles : array_like, shape (shares, levels)
        Half widths of intervals over the standard deviation, of validation molecules.
    unseen : UnseenWidth or None
        The same of molecules of compositions that were not trained on.
    """

    diffusion: AtomDiffusion

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
        normal = [NormalDist().inv_cdf(0.5 + level / 2) for level in COVERAGES]
        self.quantiles: Array = np.broadcast_to(normal, (len(SHARES), len(COVERAGES)))
        self.unseen: UnseenWidth | None = None
        self.record: dict[str, Any] = {}  # of the training, for whoever asked for it
        self.training: dict[str, Any] = {}  # the same for the card

    @property
    def config(self) -> AtomConfig:
        """Sizes of the networks, and the kind of values."""
        return self.diffusion.config

    @property
    def device(self) -> torch.device:
        """Where the kernel and the network are."""
        return next(self.diffusion.parameters()).device

    @property
    def components(self) -> int:
        """Numbers a value has inside: 1, 3 or 6."""
        return self.config.components

    @classmethod
    def fit(  # noqa: PLR0913 - public: arrays and settings by name
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
        folds: int = 0,
        seed: int = 0,
        **kept: Unpack[Kept],
    ) -> AtomFieldModel:
        """Learn a distribution from molecules with values on their atoms.

        Parameters
        ----------
        numbers : array_like, shape (n,), or sequence of them
            Atomic numbers of all molecules, or one such array per molecule.
        positions_A, values : sequence of array_like
            One array per molecule: (n, 3) in A, and (n,), (n, 3) or (n, 3, 3); NaN is a
            missing value.
        rank : str
            "scalar", "vector" or "tensor".
        balanced : bool or None
            Whether values sum to zero over a molecule (and vectors exert no torque);
            None looks at the data.
        validation : float
            Share of the molecules that calibrates the width and is not trained on.
        budget_s : float
            Seconds of training, unless `schedule["steps"]` and
            `score_schedule["steps"]` say how long.
        config, schedule, score_schedule : dict or None
            Sizes, as in `AtomConfig`; fields of `Schedule` for the GP and for the score.
        batch : int
            Molecules of a training step.
        folds : int
            How many more fits, each without a part of the compositions, tell how wide
            intervals of a molecule are that was not trained on; 0 for none.
        seed : int
            Of the split, of the first weights, of the order and of the noise.
        **kept
            out, resume and progress; see `Kept`.

        Raises
        ------
        InputError
            for arrays that do not go together, elements or positions that cannot be,
            and fields without any spread.
        """
        if rank not in COMPONENTS:
            raise UnknownNameError("rank", rank, tuple(COMPONENTS))
        data = as_atom_fields(numbers, positions_A, values, rank)
        if len(data) < 2:
            raise InputError(
                "one molecule is too little to learn from: give at least two, "
                "some of them calibrate the model"
            )
        generator = torch.Generator().manual_seed(check_seed(seed))
        order = torch.randperm(len(data), generator=generator, device=generator.device)
        held = max(1, round(validation * len(data)))
        settings = config or {}, schedule or {}, score_schedule or {}
        options = FitOptions(rank, quantity, unit, balanced, *settings, batch, seed, folds)
        train, unseen = data[order[held:]], data[order[:held]]
        return cls.fit_fields(train, unseen, options, budget_s, **kept)

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
        model = cls.unfitted(data, options)
        with tempfile.TemporaryDirectory() if out is None else nullcontext(out) as folder:
            run = FitRun(Path(folder), options.batch, options.seed, resume, progress)
            train_both(model, data, validation, options, budget_s, run)
        return model

    @classmethod
    def unfitted(cls, data: AtomFields, options: FitOptions) -> AtomFieldModel:
        """A model of random weights with the scale, means and elements of the data."""
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
        return cls(
            diffusion,
            scale=scale,
            elements=[int(z) for z in torch.unique(data.x[..., 3]) if z > 0],
            means=means,
            quantity=options.quantity,
            unit=options.unit,
        )

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
        numbers, positions_A : array_like, shape (n,) and (n, 3)
            Atomic numbers, and positions in A.
        values : array_like, shape (n,), (n, 3) or (n, 3, 3)
            NaN where not known.
        given : array_like or None
            bool (n,), or indices of the atoms whose values are known; all that are not NaN
            where None.

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
                "all values are known and nothing is left to complete; set those to NaN that are "
                "not, or name the given atoms"
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
        y = as_array("values", values)
        single = y.ndim == 1 + len(VALUE[self.config.rank])
        y = y[None] if single else y
        r = as_array("positions_A", positions_A)
        r = np.broadcast_to(r, (len(y), *r.shape)) if r.ndim == 2 else r
        keep = np.broadcast_to(
            np.ones(1, bool) if mask is None else np.asarray(mask, bool), y.shape[:2]
        )
        if len(r) != len(y):
            raise InputError(
                f"there are {len(r)} sets of positions for {len(y)} fields; give one for all, or "
                "one each"
            )
        return self.log_prob_fields(
            joined(
                [
                    self._single(numbers, x, one, k & ~unknown(one))
                    for x, one, k in zip(r, y, keep, strict=True)
                ]
            ),
            **options,
        )

    def log_prob_fields(self, data: AtomFields, **options: Any) -> Array:
        """`log_prob` of padded fields."""
        data = data.to(self.device)
        found = self.diffusion.log_prob(data.x, self.standard(data).y, data.mask, **options)
        logs = data.mask.sum(1) * self.components * math.log(self.scale)
        out: Array = (found.double() - logs).cpu().numpy()
        return out

    def law(self, data: AtomFields) -> tuple[Tensor, AtomGram]:
        """Mean (F, n, p) and Gram matrix of the limiting GP at all atoms of padded
        molecules, standardised.
        """
        with torch.no_grad():
            mean, gram = self.diffusion.kernel.law(data.x.float())  # type: ignore[operator]
        return mean.double(), gram

    def _single(
        self, numbers: ArrayLike, positions_A: ArrayLike, values: ArrayLike, given: ArrayLike | None
    ) -> AtomFields:
        """One molecule, checked."""
        data = as_atom_fields(numbers, [positions_A], [values], self.config.rank).to(self.device)
        z = data.x[0, :, 3].long().tolist()
        strange = sorted(set(z) - set(self.elements))
        if strange:
            raise InputError(
                f"the model has not seen elements {strange}, but {list(self.elements)}; train it "
                "on molecules with them"
            )
        if given is None:
            return data
        chosen, known = as_given(given, len(z)), data.mask[0].cpu().numpy()
        if (chosen & ~known).any():
            raise InputError(
                f"values of given atoms {np.flatnonzero(chosen & ~known)[:4].tolist()} are NaN"
            )
        mask = torch.from_numpy(chosen)[None].to(data.x.device)
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
        config |= {} if self.unseen is None else {"unseen": self.unseen.as_card()}
        config |= {"quantity": self.quantity, "unit": self.unit}
        own = {
            "description": f"distribution over {self.quantity} on the atoms of molecules",
            "elements": list(self.elements),
            "units": f"A, {self.unit or 'as the training data'}",
        }
        return field_card("atom-field", config, own, self.training, more)

    @classmethod
    def load(cls, name_or_path: str | Path, *, device: Device = None) -> AtomFieldModel:
        """A model by the name of shipped weights or by a path, on a device; None is
        CUDA if there is one, else the CPU.

        Raises `WeightsError` for another kind of model's.
        """
        made = lambda c: AtomDiffusion(AtomConfig(**c["sizes"]), LinearBeta(**c["schedule"]))  # noqa: E731
        diffusion, card = load_network(name_or_path, "atom-field", made)
        c = card["config"]
        means = {int(z): m for z, m in c["means"].items()}
        model = cls(
            diffusion.to(pick_device(device)),
            scale=c["scale"],
            elements=c["elements"],
            means=means,
            quantity=c["quantity"],
            unit=c["unit"],
        )
        model.quantiles = np.array(c.get("quantiles", model.quantiles))
        model.unseen = UnseenWidth.of(c["unseen"]) if "unseen" in c else None
        return model
