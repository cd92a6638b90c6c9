"""A field on the atoms of one molecule, given some of its values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.arguments import check_count
from equidrift.errors import InputError
from equidrift.models.fields.atoms.data import AtomFields
from equidrift.models.fields.atoms.network import AtomGram, to_matrix
from equidrift.models.fields.atoms.objective import AtomDiffusion
from equidrift.models.fields.atoms.posterior import COVERAGES, gp_posterior, offset
from equidrift.models.fields.atoms.unseen import factor_of, half_width
from equidrift.models.fields.functions.data import PAIRS_PER_BATCH
from equidrift.models.fields.functions.objective import OUNoising
from equidrift.models.shared.conditioning import conditional_sample
from equidrift.models.shared.draws import Noise, in_batches, normal_draws

if TYPE_CHECKING:
    from equidrift.models.fields.atoms.sampler import AtomFieldModel

Array = NDArray[np.float64]


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
        noise: Noise | None = None,
    ) -> Array:
        """n completed fields (n, n_atoms), (n, n_atoms, 3) or (n, n_atoms, 3, 3); known
        values are as given.

        Where values are known the limiting GP's conditional is drawn, as wide as
        `mean_std` says; the network has its say in the prior and in `log_prob`.

        Parameters
        ----------
        steps, corrections, psi : int or None, int, float or None
            Of `conditioning.conditional_sample`; the price is steps (1 + corrections)
            network calls.
        noise : Noise or None
            Gives standard normal arrays of a shape (n, n_atoms, components) in place of
            the seed's; for tests of equivariance.
        """
        n = check_count("n", n)
        model, data, diffusion = self.model, self.data, self.model.diffusion
        mean, gram = model.law(data)
        context = (model.standard(data).y - mean) * data.mask[..., None]  # (1, n, p)
        any_known = bool(data.mask.any())
        # Fresh noise on known values breaks, where a field is balanced, what ties them to
        # the free ones: whitened, the joint lies far outside of what the network has seen,
        # and it measured no worse without it (0.01 per number). So it draws the prior alone.
        gaussian = diffusion.gaussian or any_known

        def drawn(rows: slice) -> Tensor:
            known = context.repeat(rows.stop - rows.start, 1, 1)
            return conditional_sample(
                OUNoising(gram, diffusion.schedule, noise_scaled=False),
                _limit_score if gaussian else _network_score(diffusion, data, gram),
                known,
                ~data.mask[0],
                diffusion.schedule.times(steps or (8 if gaussian else 24), 1e-3),
                normal_draws(tuple(known.shape), seed, known, noise, rows.start),
                corrections=corrections if any_known else 0,
                psi=40.0 if psi is None else psi,
                tau=1.0,
            )

        pairs = 0 if noise is not None else context.shape[1] ** 2  # `noise` is of all samples
        with torch.no_grad():
            made = in_batches(drawn, n, pairs, PAIRS_PER_BATCH, context.device)
        return self._as_values(
            (self._widened(made, mean, gram) + mean) * model.scale + self._offset()
        )

    def _widened(self, made: Tensor, mean: Tensor, gram: AtomGram) -> Tensor:
        """Samples (k, n, p) less the mean, as far from the posterior's mean as values of
        such a molecule are.
        """
        given = self.model.standard(self.data)
        if not given.mask.any():
            return made
        factor = factor_of(self.model, given, (mean, gram))
        if factor == 1.0:
            return made
        centre = gp_posterior(mean, gram, given.y, given.mask)[0] - mean
        return centre + factor * (made - centre)

    def mean_std(self, n: int = 64, seed: int = 0, **options: Any) -> tuple[Array, Array]:
        """Mean and standard deviation of the values (n_atoms, ...): in closed form
        where values are known, else of n samples.
        """
        if not (self.model.diffusion.gaussian or self.data.mask.any()):
            made = self.sample(n, seed, **options)
            known = self.data.mask[0].cpu().numpy().reshape(-1, *[1] * (made.ndim - 2))
            spread: Array = made.std(0, ddof=1) if n > 1 else np.zeros_like(made[0])
            return np.where(known, made[0], made.mean(0)), np.where(known, 0.0, spread)
        law, given = self.model.law(self.data), self.model.standard(self.data)
        mean, variance = gp_posterior(*law, given.y, given.mask)
        centre = self._as_values(mean * self.model.scale + self._offset())[0]
        width = factor_of(self.model, given, law) * variance.sqrt() * self.model.scale
        if self.model.config.rank == "tensor":
            width = to_matrix(width)
        return centre, width[0].reshape(centre.shape).cpu().numpy()

    def interval(self, level: float = 0.9) -> tuple[Array, Array, Array]:
        """Mean, lower and upper ends of calibrated intervals of each component of each
        atom's value, in closed form.

        From the limiting GP's posterior: its mean, and as many of its standard
        deviations on either side as hold a share `level` of the values of validation
        molecules (with that share of atoms given, the nearest of `SHARES`). Where the
        model knows how wide molecules are that were not trained on (`model.unseen`),
        their given values widen the interval. (n_atoms, ...) each.
        """
        if not isinstance(level, int | float) or not COVERAGES[0] <= level <= COVERAGES[-1]:
            raise InputError(f"level must lie in {COVERAGES[0]} .. {COVERAGES[-1]}, not {level!r}")
        model, data = self.model, self.data
        law, given = model.law(data), model.standard(data)
        mean, variance = gp_posterior(*law, given.y, data.mask)
        half = half_width(model, given, law, level) * variance.sqrt() * model.scale
        centre = mean * model.scale + self._offset()
        middle, low, high = (self._as_values(centre + sign * half)[0] for sign in (0.0, -1.0, 1.0))
        return middle, low, high

    def _offset(self) -> Tensor:
        """What standardised values are without: (1, n, p)."""
        return offset(self.model.means, self.data.x, self.model.config.balanced)

    def _as_values(self, y: Tensor) -> Array:
        """Inside values (k, n, p) in the user's shape, known ones exactly as given."""
        y = torch.where(self.data.mask[..., None], self.data.y, y)
        rank = self.model.config.rank
        if rank == "scalar":
            return np.asarray(y[..., 0].cpu().numpy())
        return np.asarray((to_matrix(y) if rank == "tensor" else y).cpu().numpy())


def _limit_score(y: Tensor, _t: float) -> Tensor:
    """The preconditioned score of the limiting GP, at any time."""
    return -y


def _network_score(
    diffusion: AtomDiffusion, data: AtomFields, gram: AtomGram
) -> Callable[[Tensor, float], Tensor]:
    """The preconditioned score of the network, all atoms having a value."""

    def score(y: Tensor, t: float) -> Tensor:
        everywhere = torch.ones(1, y.shape[1], dtype=torch.bool, device=y.device)
        return diffusion.score(y.new_full((len(y),), t), data.x, y, everywhere, gram)

    return score
