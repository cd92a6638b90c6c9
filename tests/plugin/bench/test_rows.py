"""Every row of every benchmark has a count, every mean a standard error."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from equidrift.bench.rows import (
    bootstrap_se,
    mean_of_rows,
    means,
    medians,
    published,
    ratio,
    row,
    share_errors,
    shares,
)

BENCH = Path(__file__).parents[3] / "plugin" / "bench"


def test_rows_are_made_in_one_place_so_that_each_has_its_count() -> None:
    wild = [
        path.name
        for path in sorted(BENCH.glob("*.py"))
        if path.name != "rows.py" and re.search(r'\{\s*"row":', path.read_text())
    ]
    assert wild == []
    assert row("a/b", {"ADE": 1.0}, 7) == {"row": "a/b", "values": {"ADE": 1.0, "n": 7}}
    assert published("a/paper-published", {"ADE": 1.0})["values"] == {"ADE": 1.0}


def test_means_have_the_standard_error_of_repeated_samples() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(3.0, 2.0, (2000, 50))
    error = np.mean([means({"x": one})["x_se"] for one in draws])
    assert error == pytest.approx(draws.mean(1).std(), rel=0.05)
    assert means({"x": [1.0, np.nan, 3.0]}) == {"x": 2.0, "x_se": 1.0}
    assert means({"x": [1.0]}) == {"x": 1.0}
    assert means({"x": [1.0, np.inf]}) == {"x": np.inf}


def test_medians_have_the_standard_error_of_repeated_samples() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(400, 60))
    error = np.mean([medians({"x": one})["x_se"] for one in draws[:60]])
    assert error == pytest.approx(np.median(draws, 1).std(), rel=0.2)
    assert bootstrap_se(np.mean, np.zeros(9)) == 0.0


def test_shares_have_binomial_errors() -> None:
    values = shares({"valid": [True] * 30 + [False] * 70})
    assert values["valid"] == pytest.approx(30.0)
    assert values["valid_se"] == pytest.approx(
        share_errors({"valid": 30.0}, 100)["valid_se"], rel=0.01
    )


def test_means_of_rows_carry_the_errors_over() -> None:
    rows = [{"ADE": 1.0, "ADE_se": 0.3}, {"ADE": 3.0, "ADE_se": 0.4}]
    assert mean_of_rows(rows, ("ADE",)) == {"ADE": 2.0, "ADE_se": pytest.approx(0.25)}
    assert mean_of_rows([{"ADE": 1.0}, {"ADE": 2.0}], ("ADE",)) == {"ADE": 1.5}


def test_ratios_of_rows_carry_the_errors_of_both() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal([8.0, 4.0], [0.4, 0.1], (100_000, 2))
    one, other = {"speed": 8.0, "speed_se": 0.4}, {"speed": 4.0, "speed_se": 0.1}
    found = ratio("gain", one, other, "speed")
    assert found["gain"] == 2.0
    assert found["gain_se"] == pytest.approx(np.std(drawn[:, 0] / drawn[:, 1]), rel=0.03)
    assert ratio("gain", one, {"speed": 4.0}, "speed") == {"gain": 2.0}
