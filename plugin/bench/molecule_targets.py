"""Rows `conditional-PROPERTY/...` of `equidrift bench molecules`: samples for targets,
seen by a network that was trained on other molecules.

Targets are drawn from the generators' half of the training data; the judge was trained
on the other half, and its own error is the row `floor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from equidrift.bench.machine import Progress
from equidrift.bench.molecule_metrics import Each
from equidrift.bench.molecule_published import target_papers
from equidrift.bench.molecule_work import in_parts, sampled, values_of_one
from equidrift.bench.rows import Row, means, row
from equidrift.checks.judges import gfn2_scales
from equidrift.checks.molecule import Raw
from equidrift.errors import MissingDependencyError
from equidrift.models.molecules.data import PROPERTIES, QM9, USUAL
from equidrift.models.molecules.properties.sampler import PropertyNetwork
from equidrift.protocols import MoleculeModel
from equidrift.seeds import sample_seeds

CHOOSER = "joint-best-of"  # takes part in these rows alone
NETWORK = "network"  # so does the joint model with its targets left to the network: steer=0
LEAST_CORRELATED = 3  # values that a rank correlation needs


def conditional_rows(
    data: QM9,
    models: Mapping[str, MoleculeModel],
    judge: PropertyNetwork,
    count: int,
    each: Each,
    say: Progress,
) -> list[Row]:
    """For each of the six usual properties the errors of each model, of samples without
    targets, of the judge, and as published.

    Parameters
    ----------
    data : QM9
        The packed data.
    models : mapping of str to MoleculeModel
        By name; all but `CHOOSER` and `NETWORK` have a row without targets, too.
    judge : PropertyNetwork
        Trained on half b.
    count : int
        Targets per property; the judge's own error is that of four times as many test
        molecules.
    each : callable
        Applies a function to each of several, such as a process pool's `map`.
    say : callable
        Is told what is measured.
    """
    test, half = data.rows("test")[: 4 * count], data.rows("train", "a")
    own = judge.predict([(data.molecule(int(k)), data.positions(int(k))) for k in test])
    free = {
        name: sampled((name, sample_seeds(3, 0, count), None))
        for name in models
        if name not in (CHOOSER, NETWORK)
    }
    rows: list[Row] = []
    for name in USUAL:
        say(f"conditional-{name}")
        index = PROPERTIES.index(name)
        rng = np.random.default_rng(index)
        targets = rng.choice(data.props[half, index], count, replace=False)
        for label, model in models.items():
            if name in model.properties:
                made = conditioned(label, model, name, targets, each)
                values = errors(judge, made, name, targets)
                values |= independent(made, name, targets, each) | {"samples": len(made)}
                values["calls"] = int(model.default_calls or model.default_steps or 0)
                rows.append(row(f"conditional-{name}/{shown(label, model)}", values, len(made)))
        for label, made in free.items():
            values = errors(judge, made, name, targets)
            rows.append(row(f"conditional-{name}/{label}-no-target", values, len(made)))
        floor = means({"MAE": np.abs(own[name] - data.props[test, index])})
        rows.append(row(f"conditional-{name}/floor", floor | {"samples": len(test)}, len(test)))
        rows += target_papers(name)
    return rows


def shown(label: str, model: MoleculeModel) -> str:
    """The method's name in the table."""
    if label == CHOOSER:
        return model.name.replace("joint", "equidrift")  # with the number of candidates
    return "equidrift" if label == "joint" else label


def conditioned(
    label: str, model: MoleculeModel, name: str, targets: NDArray[np.float64], each: Each
) -> list[Raw | None]:
    """A sample of a model for each target (k,) of a property, raw."""
    properties = list(model.properties)
    wanted = np.full((len(targets), len(properties)), np.nan)
    wanted[:, properties.index(name)] = targets
    seeds = sample_seeds(4, 0, len(targets))
    parts = [(label, seeds[k], wanted[k]) for k in in_parts(len(targets))]
    return [raw for part in each(sampled, parts) for raw in part]


def errors(
    judge: PropertyNetwork, made: Sequence[Raw | None], name: str, targets: NDArray[np.float64]
) -> dict[str, float]:
    """Mean absolute error of what the judge sees in each sample that is a molecule,
    valid or not, and the share of those in %.
    """
    there = molecules_among(made)
    if not there:
        return {"judged": 0.0}
    values = judge.predict([raw for k in there if (raw := made[k]) is not None])[name]
    return means({"MAE": np.abs(values - targets[there])}) | {
        "judged": 100.0 * len(there) / len(made)
    }


def independent(
    made: Sequence[Raw | None], name: str, targets: NDArray[np.float64], each: Each
) -> dict[str, float]:
    """Rank correlation of targets with GFN2-xTB's values, which no network here learnt
    from, and its standard error (1 - r^2) / sqrt(n - 1); empty for properties that
    GFN2-xTB does not give.
    """
    if name not in gfn2_scales():
        return {}
    there = molecules_among(made)
    try:
        found = each(values_of_one, [made[k] for k in there])
        values = np.array([one[name][0] for one in found])
    except MissingDependencyError:
        return {}
    good = np.isfinite(values)
    if good.sum() < LEAST_CORRELATED:
        return {}
    first, second = (
        np.argsort(np.argsort(column[good])).astype(np.float64)
        for column in (values, targets[there])
    )
    r = float(np.corrcoef(first, second)[0, 1])
    error = (1 - r**2) / np.sqrt(good.sum() - 1)
    return {"gfn2_rank_correlation": r, "gfn2_rank_correlation_se": float(error)}


def molecules_among(made: Sequence[Raw | None]) -> list[int]:
    """Which samples are molecules with coordinates."""
    return [
        k
        for k, raw in enumerate(made)
        if raw is not None and raw[0].n_atoms and np.isfinite(raw[1]).all()
    ]
