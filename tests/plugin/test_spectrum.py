"""A user's spectrum on the grid: any spacing and unit, files of two columns, and what is
refused with which words.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equidrift.errors import EquidriftError
from equidrift.spectrum import (
    GRID_CM1,
    STEP_CM1,
    WIDTH_CM1,
    broaden,
    on_grid,
    read_curve,
    relative_roots,
    spectrum_of,
)

LINES = np.array([820.0, 1715.0, 2960.0])


def curve(step_cm1: float, first: float = 200.0, last: float = 4000.0) -> np.ndarray:
    """Three lines of the training's width, as points (k, 2)."""
    x = np.arange(first, last + 1e-6, step_cm1)
    y = np.exp(-0.5 * ((x[:, None] - LINES) / WIDTH_CM1) ** 2) @ np.array([1.0, 3.0, 2.0])
    return np.stack([x, y], axis=1)


def test_a_spectrum_on_the_grid_stays_as_it_is() -> None:
    spectrum = broaden(LINES, [1.0, 3.0, 2.0])
    np.testing.assert_allclose(spectrum_of(spectrum), spectrum)
    np.testing.assert_allclose(spectrum_of(np.stack([GRID_CM1, spectrum], 1)), spectrum)


@pytest.mark.parametrize("step", [0.5, 1.0, 3.8, 8.0])
def test_the_spacing_of_points_does_not_matter(step: float) -> None:
    one, other = (spectrum_of(curve(s)) for s in (step, 2.0))
    curvature = 3.0 * (step / WIDTH_CM1) ** 2 / 8  # what straight lines cut off the peak of 3
    np.testing.assert_allclose(one, other, atol=0.01 + curvature)
    assert one.sum() * STEP_CM1 == pytest.approx(np.trapezoid(*curve(2.0).T[::-1]), rel=2e-3)


def test_points_are_taken_in_any_order_and_twice() -> None:
    points = curve(4.0)
    order = np.random.default_rng(0).permutation(len(points))
    np.testing.assert_allclose(on_grid(points[order]), on_grid(points))
    np.testing.assert_allclose(on_grid(np.concatenate([points, points])), on_grid(points))


@given(st.floats(1e-6, 1e6))
def test_the_unit_does_not_matter(unit: float) -> None:
    vector = spectrum_of(curve(4.0, first=400.0))
    np.testing.assert_allclose(relative_roots(unit * vector), relative_roots(vector), rtol=1e-6)
    relative = relative_roots(vector) ** 2 - 1e-3
    assert np.nanmean(relative) == pytest.approx(1.0)


def test_bins_beyond_the_curve_are_not_known() -> None:
    vector = spectrum_of(curve(2.0, first=550.0, last=3500.0))
    np.testing.assert_array_equal(np.isnan(vector), (GRID_CM1 < 550) | (GRID_CM1 > 3500))
    inner = ~np.isnan(vector)
    np.testing.assert_allclose(vector[inner], spectrum_of(curve(2.0))[inner], atol=0.01)
    assert np.isnan(relative_roots(vector)).sum() == (~inner).sum()


@pytest.mark.parametrize("comma", [",", ";", "\t", " ", ", "])
@pytest.mark.parametrize("head", ["", "wavenumber_cm1,intensity\n", "# a comment\n\n"])
def test_files_of_two_columns_are_read(tmp_path: Path, comma: str, head: str) -> None:
    path, points = tmp_path / "ir.csv", curve(4.0)
    path.write_text(head + "\n".join(f"{x:.3f}{comma}{y:.8f}" for x, y in points) + "\n")
    np.testing.assert_allclose(read_curve(path), points, atol=1e-7)
    np.testing.assert_allclose(spectrum_of(str(path)), spectrum_of(points), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no numbers"),
        ("wavenumber,intensity\n", "holds no numbers"),
        ("400\n500\n", "line 1 of .* has 1 columns, and two are wanted"),
        ("a,b\n400,1,2\n", "line 2 of .* has 3 columns"),
        ("400,1\nhigh,2\n", "line 2 of .* is no pair of numbers: 'high,2'"),
        ("one\ntwo\n", "line 2 of .* is no pair of numbers: 'two'"),
        ("400,1\n500,nan\n4000,1\n", "NaN or infinite numbers, first in point 2"),
        ("400,1\n500,-0.5\n4000,1\n", r"negative intensity, -0.5 at 500 cm\^-1"),
        ("4000,1\n3000,1\n2000,1\n", r"covers 2000 to 4000 cm\^-1, and it must reach from 650"),
        ("5000,1\n6000,1\n", "covers 5000 to 6000"),
        ("400,1\n1700,1\n4000,1\n", r"no point between 1700 and 4000 .*equidrift.spectrum.broaden"),
    ],
)
def test_a_file_that_cannot_be_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ir.csv"
    path.write_text(text)
    with pytest.raises(EquidriftError, match=message):
        spectrum_of(path)


def holed() -> np.ndarray:
    vector = spectrum_of(curve(4.0))
    vector[40] = np.nan
    return vector


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda: "none.csv", "there is no file 'none.csv'"),
        (lambda: {"a": 1}, "spectrum must be the path of a file of two columns or an array"),
        (lambda: np.zeros((3, 3)), r"or a vector of 153 bins, not of shape \(3, 3\)"),
        (lambda: np.zeros((0, 2)), "the spectrum is empty"),
        (lambda: np.zeros(153), "absorbs nowhere"),
        (lambda: -np.ones(153), "negative or infinite"),
        (lambda: np.full(153, np.inf), "negative or infinite"),
        (holed, "bins without a value between 650 and 3400"),
    ],
)
def test_what_is_no_spectrum_is_refused(what: Callable[[], object], message: str) -> None:
    with pytest.raises(EquidriftError, match=message):
        spectrum_of(what())


def test_a_file_that_is_no_text_and_a_folder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ir.csv"
    path.write_bytes(b"\xff\xfe\x00\x01\x80")
    with pytest.raises(EquidriftError, match="cannot be read as text"):
        spectrum_of(path)
    with pytest.raises(EquidriftError, match="there is no file"):
        spectrum_of(tmp_path)
