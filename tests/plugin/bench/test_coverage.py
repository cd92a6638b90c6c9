"""Coverage and matching, by hand and by their bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from equidrift.bench.coverage import coverage


def test_by_hand() -> None:
    first = np.array([[0.05, 0.3, 0.2], [0.6, 0.4, 0.7]])  # 2 references, 3 samples
    second = np.array([[0.1]])
    values = coverage([first, second], (0.1, 0.5))
    assert values["AMR-R"] == pytest.approx(((0.05 + 0.4) / 2 + 0.1) / 2)
    assert values["AMR-P"] == pytest.approx(((0.05 + 0.3 + 0.2) / 3 + 0.1) / 2)
    assert values["COV-R@0.1"] == pytest.approx((50 + 100) / 2) and values["COV-R@0.5"] == 100
    assert values["COV-P@0.1"] == pytest.approx((100 / 3 + 100) / 2)
    assert values["COV-R@0.1-median"] == pytest.approx(75)


def test_a_molecule_without_samples_counts() -> None:
    values = coverage([np.zeros((2, 0)), np.zeros((1, 1))])
    assert values["COV-R@0.1"] == 50 and values["AMR-R"] == np.inf


@given(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(0, 3))
)
def test_bounds_and_monotone_thresholds(matrix: np.ndarray) -> None:
    thresholds = (0.0, 0.5, 1.0, 3.0)
    values = coverage([matrix], thresholds)
    for letter in "RP":
        covered = [values[f"COV-{letter}@{t:g}"] for t in thresholds]
        assert covered == sorted(covered) and covered[-1] == 100 and covered[0] >= 0
        assert matrix.min() - 1e-12 <= values[f"AMR-{letter}"] <= matrix.max() + 1e-12
