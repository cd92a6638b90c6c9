"""How wide the values of a molecule are whose like was not trained on.

Such a molecule's values lie farther from the limiting GP than those of a trained one,
each molecule's by a factor of its own. The values that are given tell the factor s: with
a prior of `dof` degrees of freedom about `spread`, s^2 = (dof spread^2 + q) / (dof + m),
q being the squared Mahalanobis distance of the m numbers given (the scale of a Student-t
process, arXiv:1402.4306). Prior and half widths are chosen on molecules that the model
they are judged by was not trained on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.fields.atoms.data import AtomFields
from equidrift.models.fields.atoms.network import AtomGram
from equidrift.models.fields.atoms.posterior import COVERAGES, SHARES, given_share, gp_posterior

if TYPE_CHECKING:
    from equidrift.models.fields.atoms.sampler import AtomFieldModel

Array = NDArray[np.float64]
DOFS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0, 256.0)  # tried
MOST = 50  # molecules of a fold that intervals are chosen on


@dataclasses.dataclass(frozen=True)
class UnseenWidth:
    """Width of the values of molecules of another composition than those trained on.

    Attributes
    ----------
    dof, spread : float
        Of the prior of a molecule's factor.
    quantiles : array_like, shape (shares, levels)
        Half widths of intervals over factor times standard deviation.
    compositions : tuple of str
        Those that were trained on, as `composition` writes them.
    """

    dof: float
    spread: float
    quantiles: Array
    compositions: tuple[str, ...]

    def factor(self, distance: float, count: int) -> float:
        """s of a molecule whose `count` given numbers have the squared Mahalanobis
        distance.
        """
        return math.sqrt((self.dof * self.spread**2 + distance) / (self.dof + count))

    def as_card(self) -> dict[str, Any]:
        """What a card holds of it."""
        lists = {"quantiles": self.quantiles.tolist(), "compositions": list(self.compositions)}
        return dataclasses.asdict(self) | lists

    @classmethod
    def of(cls, card: dict[str, Any]) -> UnseenWidth:
        """From a card."""
        known = tuple(card["compositions"])
        return cls(card["dof"], card["spread"], np.array(card["quantiles"]), known)


def composition(numbers: Tensor) -> str:
    """Atomic numbers (n,), 0 where padded, as a text: "1x6 6x2" of ethane.

    Examples
    --------
    >>> composition(torch.tensor([6, 6, 1, 1, 1, 1, 1, 1, 0]))
    '1x6 6x2'
    """
    found, counts = torch.unique(numbers[numbers > 0].long(), return_counts=True)
    return " ".join(f"{z}x{k}" for z, k in zip(found.tolist(), counts.tolist(), strict=True))


def compositions(data: AtomFields) -> list[str]:
    """Of each molecule."""
    return [composition(z) for z in data.x[..., 3]]


def folds_of(data: AtomFields, folds: int) -> list[Tensor]:
    """Which molecules (F,) lie in each of so many parts, all of a composition in one.

    Raises
    ------
    InputError
        For fewer than two folds, or fewer compositions than folds.
    """
    names = compositions(data)
    known = list(dict.fromkeys(names))
    if not 2 <= folds <= len(known):
        raise InputError(
            f"folds={folds} needs 2 folds at least and as many molecules of different "
            f"composition; the data hold {len(known)}"
        )
    part = {name: k % folds for k, name in enumerate(known)}
    of = torch.tensor([part[name] for name in names], device=data.x.device)
    return [of == k for k in range(folds)]


def distance(mean: Tensor, gram: AtomGram, y: Tensor, mask: Tensor) -> tuple[float, int]:
    """Squared Mahalanobis distance of the values of one molecule (1, n, p) where `mask`
    (1, n) is True, and how many numbers they are.
    """
    known = mask[0, :, None].expand(*mean.shape[1:]).reshape(-1)
    away = (y - mean).reshape(-1)[known]
    solved = torch.linalg.solve(gram.dense[0][known][:, known], away)
    return float(away @ solved), len(away)


def factor_of(model: AtomFieldModel, given: AtomFields, law: tuple[Tensor, AtomGram]) -> float:
    """How much wider than the limiting GP's the values of one molecule are: 1 unless its
    composition is none of those that were trained on.

    Parameters
    ----------
    model : AtomFieldModel
        Whose intervals they are.
    given : AtomFields
        One molecule with its standardised values; the mask tells which are given.
    law : tuple[Tensor, AtomGram]
        What `model.law` says of it.
    """
    width = _width_of(model, given)
    if width is None:
        return 1.0
    return width.factor(*distance(*law, given.y, given.mask))


def half_width(
    model: AtomFieldModel, given: AtomFields, law: tuple[Tensor, AtomGram], level: float
) -> float:
    """Half of an interval that holds a share `level` of the values, in standard
    deviations of the limiting GP's posterior; arguments as `factor_of`.
    """
    width = _width_of(model, given)
    table = model.quantiles if width is None else width.quantiles
    share = float(given.mask.double().sum() / (given.x[..., 3] > 0).double().sum())
    row = table[int(np.argmin([abs(share - s) for s in SHARES]))]
    return factor_of(model, given, law) * float(np.interp(level, COVERAGES, row))


def _width_of(model: AtomFieldModel, one: AtomFields) -> UnseenWidth | None:
    """The width that holds for a molecule; None if its like was trained on."""
    width = model.unseen
    known = width is None or composition(one.x[0, :, 3]) in width.compositions
    return None if known else width


@dataclasses.dataclass(frozen=True)
class Judged:
    """One molecule at one share given: what the given values say, and deviations over
    standard deviations of those asked for.
    """

    share: int  # of `SHARES`
    distance: float
    count: int
    scores: Array


def judge(
    model: AtomFieldModel, unseen: AtomFields, generator: torch.Generator
) -> Iterator[Judged]:
    """Molecules that `model` was not trained on, each at all shares."""
    order = torch.randperm(len(unseen), generator=generator, device=generator.device)
    for k in order[:MOST].tolist():
        one = model.standard(unseen[slice(k, k + 1)])
        mean, gram = model.law(one)
        for share, value in enumerate(SHARES):
            given = given_share(one.mask, value, generator)
            centre, variance = gp_posterior(mean, gram, one.y, given)
            scores = ((one.y - centre).abs() / variance.sqrt())[one.mask & ~given]
            yield Judged(
                share, *distance(mean, gram, one.y, given), scores.reshape(-1).cpu().numpy()
            )


def chosen_width(judged: Sequence[Judged], trained: Sequence[str]) -> UnseenWidth:
    """The prior under which the given values are likeliest, and half widths that hold
    the shares `COVERAGES` of those asked for.
    """
    dof, spread = likeliest_prior(judged)
    prior = UnseenWidth(dof, spread, np.ones((len(SHARES), len(COVERAGES))), tuple(trained))
    rows = []
    for share in range(len(SHARES)):
        scores = [
            one.scores / prior.factor(one.distance, one.count)
            for one in judged
            if one.share == share
        ]
        rows.append(np.quantile(np.concatenate(scores), COVERAGES))
    return dataclasses.replace(prior, quantiles=np.array(rows))


def likeliest_prior(judged: Sequence[Judged]) -> tuple[float, float]:
    """Degrees of freedom and spread of the Student-t law under which the given values
    are likeliest, of a grid.
    """
    q, m = (
        torch.tensor([getattr(one, name) for one in judged], dtype=torch.float64, device="cpu")
        for name in ("distance", "count")
    )
    dof = torch.tensor(DOFS, dtype=torch.float64, device="cpu")[:, None, None]
    typical = float((q / m).median().clamp(min=1e-12))
    square = typical * torch.logspace(-2, 2, 81, dtype=torch.float64, device="cpu")[:, None]
    density = (
        torch.lgamma((dof + m) / 2)
        - torch.lgamma(dof / 2)
        - m / 2 * (dof * square).log()
        - (dof + m) / 2 * torch.log1p(q / (dof * square))
    ).mean(-1)
    row, column = divmod(int(density.argmax()), density.shape[1])
    return DOFS[row], math.sqrt(float(square[column]))


def width_by_folds(
    fitted: Callable[[AtomFields, int], AtomFieldModel],
    data: AtomFields,
    folds: int,
    seed: int = 0,
) -> UnseenWidth:
    """The width of unseen molecules, of models each fitted without a part of the data.

    Parameters
    ----------
    fitted : callable
        (data, fold) -> a model of them, its mean and kernel fitted.
    data : AtomFields
        Molecules of several compositions.
    folds : int
        How many models; the molecules of one composition are left out together.
    seed : int
        Of the molecules and of the atoms that are given.
    """
    generator = torch.Generator().manual_seed(seed)
    judged: list[Judged] = []
    for fold, out in enumerate(folds_of(data, folds)):
        judged += judge(fitted(data[~out], fold), data[out], generator)
    return chosen_width(judged, sorted(set(compositions(data))))
