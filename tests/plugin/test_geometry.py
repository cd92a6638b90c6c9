"""Vectors and angles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equidrift.geometry import align, cross, rmsd_pairs


def test_cross_products_are_numpys_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    for left, right in (((5, 3), (5, 3)), ((4, 1, 3), (4, 7, 3)), ((3,), (3,)), ((0, 3), (0, 3))):
        a, b = rng.standard_normal(left), rng.standard_normal(right)
        np.testing.assert_array_equal(cross(a, b), np.cross(a, b))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3, 4, 12]), st.sampled_from([1, 2, 3]))
def test_rmsd_of_all_pairs_is_that_of_each_laid_on_the_other(
    seed: int, n: int, dimensions: int
) -> None:
    """Points, rods and plates too, of which a rotation and a mirror do the same."""
    within = 1e-6 if dimensions > 1 and n > 2 else 1e-3
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(3, n, 3)), rng.normal(size=(2, n, 3))
    first[..., dimensions:] = second[..., dimensions:] = 0.0
    orders = np.array([np.arange(n), rng.permutation(n)])
    found = rmsd_pairs(first, second, orders)
    for j, k in np.ndindex(3, 2):
        each = [align(second[k][order], first[j]) - first[j] for order in orders]
        wanted = min(np.sqrt(np.square(gap).sum(-1).mean()) for gap in each)
        assert found[j, k] == pytest.approx(wanted, abs=within)
    itself = rmsd_pairs(first, first, orders[:1]).diagonal()
    np.testing.assert_allclose(itself, 0.0, atol=1e-3)


def test_pairs_of_many_structures_are_those_of_few() -> None:
    rng = np.random.default_rng(0)
    many, order = rng.normal(size=(300, 5, 3)), np.arange(5)[None]
    whole = rmsd_pairs(many, many[:7], order)
    np.testing.assert_allclose(whole[140:145], rmsd_pairs(many[140:145], many[:7], order))
    np.testing.assert_allclose(rmsd_pairs(many, many, order)[:, :7], whole)
