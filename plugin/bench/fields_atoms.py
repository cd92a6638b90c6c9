"""Fields on atoms: the rows `forces-.../...`, `virial-.../...` and `charges-.../...` of
`equidrift bench fields`.

Test frames of nine molecules of rMD17, the frames of one that was not trained on
(`UNSEEN`), and test molecules of QM9, with 10, 50 and 90 % of the atoms given. `loglik`
is that of the values asked given the others, per number, under the limiting GP; for it
alone values carry fresh noise of the size of the model's white part (1e-3 of their
spread): balanced fields are exact in some directions, and without noise have no
density. `coverage50`, `coverage90` are in percent, of the intervals of
`ConditionedAtoms.interval`, calibrated on validation data; those of the unseen molecule
on molecules that fits to the others had not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equidrift.bench.rows import Row, means, row
from equidrift.errors import UnknownNameError
from equidrift.models.fields.atoms.data import RMD17, UNSEEN, AtomFields, joined, qm9_charges, rmd17
from equidrift.models.fields.atoms.network import AtomGram
from equidrift.models.fields.atoms.posterior import SHARES, given_share, gp_posterior
from equidrift.models.fields.atoms.sampler import AtomFieldModel
from equidrift.models.fields.atoms.unseen import half_width
from equidrift.models.fields.functions.kernels import fit_kernel, fitted_family

QUICK, FULL = 4, 25  # frames per molecule of rMD17; ten times as many molecules of QM9
PLAIN_MOLECULES, PLAIN_STEPS = 45, 40  # of the fit of the plain kernel
HALF_WIDTHS = {0.5: 0.6745, 0.9: 1.6449}  # of intervals: the normal law's half width in deviations
Law = Callable[[AtomFields], tuple[Tensor, AtomGram]]


def atom_rows(
    folder: Path, full: bool = False, progress: Callable[[object], None] | None = None
) -> list[Row]:
    """The rows of all shipped models of fields on atoms, beside their baselines."""
    rows: list[Row] = []
    for name in ("forces", "virial", "charges"):
        try:
            model = AtomFieldModel.load(f"atom-{name}")
        except UnknownNameError:
            continue
        for label, data in test_sets(folder, name, FULL if full else QUICK).items():
            if progress is not None:
                progress(label)
            rows += set_rows(label, model, data, training(folder, name))
    return rows


def test_sets(folder: Path, name: str, count: int) -> dict[str, AtomFields]:
    """The test data of a model."""
    if name == "charges":
        return {"charges": qm9_charges(folder, "test", 10 * count)}
    seen = joined([rmd17(folder, m, "test", name, count) for m in RMD17 if m != UNSEEN])
    return {name: seen, f"{name}-unseen": rmd17(folder, UNSEEN, "test", name, 4 * count)}


def training(folder: Path, name: str) -> AtomFields:
    """A few training molecules, for the baselines."""
    if name == "charges":
        return qm9_charges(folder, "train", PLAIN_MOLECULES)
    return joined(
        [rmd17(folder, m, "train", name, PLAIN_MOLECULES // 9) for m in RMD17 if m != UNSEEN]
    )


def set_rows(label: str, model: AtomFieldModel, data: AtomFields, train: AtomFields) -> list[Row]:
    """Rows of one test set: ours, a GP with a plain kernel on positions, and no
    knowledge but the mean and the spread.
    """
    laws: dict[str, Law] = {
        "equidrift": model.law,
        "plain-gp": plain(model, train),
        "mean": white,
    }
    rows = []
    for share in SHARES:
        for method, law in laws.items():
            values = measured(model, data, law, share, ours=method == "equidrift")
            rows.append(row(f"{label}-{round(100 * share)}/{method}", values, len(data)))
    return rows


def measured(
    model: AtomFieldModel, data: AtomFields, law: Law, share: float, *, ours: bool
) -> dict[str, float]:
    """One row."""
    generator = torch.Generator().manual_seed(20_240_003)
    columns: dict[str, list[float]] = {}
    for k in range(len(data)):
        one = model.standard(data[slice(k, k + 1)])
        for name, value in molecule_values(model, one, law, share, generator, ours=ours).items():
            columns.setdefault(name, []).append(value)
    mean_square = float(np.mean(columns.pop("square")))
    values = means(columns)
    return values | {
        "error": 1.96 * values.get("loglik_se", math.nan),
        "RMSE": math.sqrt(mean_square),
    }


def molecule_values(
    model: AtomFieldModel,
    one: AtomFields,
    law: Law,
    share: float,
    generator: torch.Generator,
    *,
    ours: bool,
) -> dict[str, float]:
    """The figures of one molecule: log-likelihood, errors, and the share in percent of
    the values asked for that lie in intervals: the model's own, or the normal law's.
    """
    noise = model.config.noise * torch.randn(one.y.shape, generator=generator, dtype=torch.float64)
    given = given_share(one.mask, share, generator)
    mean, gram = law(one)
    asked = ~given[0]
    density = conditional(mean, gram, one.y + noise, given) / (int(asked.sum()) * model.components)
    centre, variance = gp_posterior(mean, gram, one.y, given)
    miss, spread = (one.y - centre)[0, asked].abs(), variance[0, asked].sqrt()
    values = {
        "loglik": density - math.log(model.scale),
        "MAE": float(miss.mean()) * model.scale,
        "square": float(miss.square().mean()) * model.scale**2,
    }
    known = AtomFields(one.x, one.y, given)
    for level, normal in HALF_WIDTHS.items():
        width = half_width(model, known, (mean, gram), level) if ours else normal
        inside = (miss < width * spread).double().mean()
        values[f"coverage{round(100 * level)}"] = 100 * float(inside)
    return values


def conditional(mean: Tensor, gram: AtomGram, y: Tensor, given: Tensor) -> float:
    """log p(asked values | given ones) of the standardised values of one molecule (1,
    n, p).
    """
    matrix = (
        gram.matrix[0]
        if gram.matrix is not None
        else gram.variance * torch.eye(y[0].numel(), dtype=torch.float64)
    )
    flat, known = (y - mean).reshape(-1), given[0, :, None].expand(*y.shape[1:]).reshape(-1)

    def log_prob(part: Tensor, covariance: Tensor) -> Tensor:
        factor = torch.linalg.cholesky(covariance)
        whitened = torch.linalg.solve_triangular(factor, part[:, None], upper=False)
        determinant = factor.diagonal().log().sum()
        constant = 0.5 * len(part) * math.log(2 * math.pi)
        density: Tensor = -0.5 * whitened.square().sum() - determinant - constant
        return density

    return float(log_prob(flat, matrix) - log_prob(flat[known], matrix[known][:, known]))


def white(one: AtomFields) -> tuple[Tensor, AtomGram]:
    """The law of independent values of the training's mean and spread."""
    _, n, p = one.y.shape
    return torch.zeros_like(one.y), AtomGram(torch.eye(n * p, dtype=torch.float64)[None], 1.0, n, p)


def plain(model: AtomFieldModel, train: AtomFields) -> Law:
    """A GP over positions alone: squared exponentials and a Matern kernel, for vectors
    also curl-free and divergence-free ones.
    """
    p = model.components
    data = model.standard(train)
    kernel = fitted_family(p if p == 3 else 1, 3, 8.0, 1.0)
    columns = range(1) if p in (1, 3) else range(p)
    x = torch.cat([data.x[..., :3]] * len(columns))
    y = data.y if p in (1, 3) else torch.cat([data.y[..., c : c + 1] for c in columns])
    fit_kernel(
        kernel,
        x,
        y,
        torch.cat([data.mask] * len(columns)),
        steps=PLAIN_STEPS,
        batch=8,
        noise_floor=model.config.noise**2,
    )

    def law(one: AtomFields) -> tuple[Tensor, AtomGram]:
        n = one.x.shape[1]
        with torch.no_grad():
            matrix = kernel.gram(one.x[..., :3]).matrix
        if matrix is None:
            raise RuntimeError("the plain kernel is not white")
        if p == 6:
            matrix = (
                matrix[:, :, None, :, None] * torch.eye(p, dtype=matrix.dtype)[:, None]
            ).reshape(1, n * p, n * p)
        return torch.zeros_like(one.y), AtomGram(matrix, 1.0, n, p)

    return law
