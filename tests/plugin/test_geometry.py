"""Vectors and angles."""

from __future__ import annotations

import numpy as np

from equidrift.geometry import cross


def test_cross_products_are_numpys_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    for left, right in (((5, 3), (5, 3)), ((4, 1, 3), (4, 7, 3)), ((3,), (3,)), ((0, 3), (0, 3))):
        a, b = rng.standard_normal(left), rng.standard_normal(right)
        np.testing.assert_array_equal(cross(a, b), np.cross(a, b))
