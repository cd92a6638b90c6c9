"""Networks trained within `equidrift bench fields`."""

from __future__ import annotations

import pytest
import torch

from equidrift.bench.fields_cost import _known, rejection
from equidrift.bench.fields_learning import (
    METHODS,
    Effort,
    Judged,
    few_rows,
    limit_rows,
    optimal_score,
)
from equidrift.bench.machine import silent

SMALL = Effort(steps=2, batch=2, points=22, unseen=8, flow=3)


def test_rows_of_few_functions_are_judged_on_the_same_functions_and_noise() -> None:
    rows = {row["row"]: row["values"] for row in few_rows(SMALL, silent, few=(8,))}
    assert list(rows) == [f"few-2d-div-free/{name}-8" for name in METHODS]
    assert len({values["optimum"] for values in rows.values()}) == 1
    for values in rows.values():
        assert values["n"] == 8 and values["steps"] == 2 and values["cpu_s"] > 0
        assert values["above_optimum"] == pytest.approx(values["loss"] - values["optimum"])
        assert values["above_optimum_se"] > 0


def test_no_score_is_better_than_the_exact_one() -> None:
    """Its error is that of a white limit at the optimum; a network of zeros is worse."""
    test = Judged.drawn(Effort(steps=1, batch=1, points=22, unseen=64, flow=1))
    best = test.errors(optimal_score(test))
    zeros = test.errors(lambda noisy: -noisy)
    other = test.errors(lambda noisy: 0.9 * optimal_score(test)(noisy))
    assert float((zeros - best).mean()) > 3 * float((zeros - best).std()) / 8
    assert float((other - best).mean()) > 0


@pytest.mark.long
def test_limits_that_know_more_are_nearer_to_the_optimum_before_any_training() -> None:
    rows = {row["row"]: row["values"] for row in limit_rows(SMALL, silent)}
    lacks = {name.partition("/")[2]: values for name, values in rows.items()}
    assert list(lacks) == ["white", "noisy-se-0.1", "noisy-se-0.25", "noisy-se-0.6", "true"]
    assert lacks["white"]["over_white"] == 0.0
    assert abs(lacks["true"]["below_optimum"]) < 0.05 < lacks["noisy-se-0.25"]["below_optimum"]
    assert lacks["noisy-se-0.25"]["below_optimum"] < lacks["white"]["below_optimum"]
    assert [values["knows_generator"] for values in lacks.values()] == [0, 0, 0, 0, 1]


@pytest.mark.long
def test_rejection_finds_the_posterior_of_the_context() -> None:
    values, kept = rejection(batches=2, nearest=0.3)
    assert kept > 100 and values["mean_error_sd"] < 0.5 and values["covariance_error"] < 0.8
    known = _known()
    exact = torch.distributions.MultivariateNormal(known.mean, known.covariance)
    torch.manual_seed(0)
    errors = known.errors(exact.sample((20_000,)))
    assert errors["mean_error_sd"] < 0.03 and errors["covariance_error"] < 0.05
