"""Infrared spectra as vectors on one grid: lines that are broadened, and a user's curve
that is read, checked and brought onto the grid.

A vector has one number for each bin of `GRID_CM1`, NaN where nothing is known. Its unit
is free: measured absorbances have none, so whatever is conditioned on a spectrum takes
its shape, the intensities over their mean (`relative_roots`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from equidrift.errors import InputError, InputTypeError
from equidrift.geometry import Floats

KM_PER_MOL = 42.2561  # of an intensity of 1 (D/A)^2/amu
STEP_CM1 = 25.0
GRID_CM1 = np.arange(200.0, 4000.1, STEP_CM1)  # centres of the bins
WIDTH_CM1 = 18.0  # standard deviation of the broadening
# what a spectrum must cover: instruments begin at 400 to 650 cm^-1 and end above 3400
COVERED_CM1 = (650.0, 3400.0)
WIDEST_GAP_CM1 = 2 * STEP_CM1  # between points of a curve; lists of lines have wider ones
FLOOR = 1e-3  # added to intensities over their mean: keeps roots apart from zero steady

# the shipped model that is to take spectra
MODEL = "joint-spectra"
HOW_TO_TRAIN = (
    "No weights that take spectra are shipped yet: train some with `equidrift train molecules "
    "examples/train_joint_spectra.yaml`, whose spectra tools/make_spectra.py makes, and give "
    "their path as the model (--model PATH)"
)


def broaden(frequencies_cm1: ArrayLike, intensities: ArrayLike) -> Floats:
    """The spectrum (bins,) in km/mol per cm^-1 at `GRID_CM1`: each line a Gaussian of
    deviation `WIDTH_CM1`.

    frequencies_cm1, intensities : (modes,), intensities in (D/A)^2/amu. Raises
        `InputError` where the two differ in length.
    """
    f, i = np.asarray(frequencies_cm1, np.float64), np.asarray(intensities, np.float64)
    if f.ndim != 1 or f.shape != i.shape:
        raise InputError(
            "frequencies_cm1 and intensities must be two lists of one "
            f"length, not of shapes {f.shape} and {i.shape}"
        )
    lines = np.exp(-0.5 * ((GRID_CM1[:, None] - f) / WIDTH_CM1) ** 2) / (
        WIDTH_CM1 * np.sqrt(2 * np.pi)
    )
    out: Floats = lines @ (i * KM_PER_MOL)
    return out


def relative_roots(vectors: Floats) -> Floats:
    """Roots (..., bins) of intensities over their mean in each spectrum, so that the
    unit of the spectra (..., bins) does not matter; NaN stays where nothing is known.
    """
    known = ~np.isnan(vectors)
    total = np.where(known, vectors, 0.0).sum(-1, keepdims=True)
    mean = total / known.sum(-1, keepdims=True).clip(1)
    roots: Floats = np.sqrt(vectors / mean.clip(1e-12) + FLOOR)
    return roots


def spectrum_of(what: object) -> Floats:
    """A spectrum as a vector (bins,) at `GRID_CM1`, NaN where it says nothing.

    Parameters
    ----------
    what : path or array
        A text file of two columns (see `read_curve`), a curve (k, 2) of wavenumbers in
        cm^-1 and absorbances in any unit, or a vector (bins,) on the grid.

    Raises
    ------
    InputError, InputTypeError
        If it cannot be read, is no curve, holds negative or infinite numbers, or does
        not cover 650 to 3400 cm^-1.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(400.0, 4001.0, 2.0)
    >>> curve = np.stack([x, np.exp(-(((x - 1700.0) / 30.0) ** 2))], axis=1)
    >>> vector = spectrum_of(curve)
    >>> float(GRID_CM1[np.nanargmax(vector)])
    1700.0
    """
    if isinstance(what, str | os.PathLike):
        return on_grid(read_curve(what))
    try:
        table = np.asarray(what, np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            "spectrum must be the path of a file of two columns or an array (k, 2) of wavenumbers "
            f"in cm^-1 and absorbances, not {type(what).__name__}"
        ) from error
    if table.shape == GRID_CM1.shape:
        return _checked_vector(table)
    return on_grid(table)


def on_grid(curve: Floats) -> Floats:
    """A curve (k, 2) of wavenumbers in cm^-1 and absorbances as a vector (bins,).

    Points finer than the grid are averaged over each bin, coarser ones are joined by
    straight lines. What lies beyond the grid is left out; bins beyond the curve are NaN.
    Raises as `spectrum_of`.
    """
    x, y = _sorted_points(curve)
    _check_coverage(x)
    inside = (x[0] - 1e-6 <= GRID_CM1) & (x[-1] + 1e-6 >= GRID_CM1)
    fine = np.median(np.diff(x)) <= STEP_CM1 / 2
    vector = _averages(x, y) if fine else np.interp(GRID_CM1, x, y)
    return _checked_vector(np.where(inside, vector, np.nan))


def _sorted_points(curve: Floats) -> tuple[Floats, Floats]:
    """Wavenumbers in rising order and their absorbances, those of one wavenumber
    averaged.
    """
    if curve.ndim != 2 or curve.shape[1] != 2:
        raise InputError(
            "a spectrum must be an array (k, 2) of wavenumbers in cm^-1 and absorbances, or a "
            f"vector of {len(GRID_CM1)} bins, not of shape {curve.shape}"
        )
    if not np.isfinite(curve).all():
        row = int(np.flatnonzero(~np.isfinite(curve).all(1))[0])
        raise InputError(
            f"the spectrum holds NaN or infinite numbers, first in point {row + 1}; leave such "
            "points out"
        )
    if (curve[:, 1] < 0).any():
        row = int(np.flatnonzero(curve[:, 1] < 0)[0])
        raise InputError(
            f"the spectrum has a negative intensity, {curve[row, 1]:g} at {curve[row, 0]:g} cm^-1; "
            "give absorbances of 0 or more: subtract the baseline, and take -log10 of a "
            "transmittance"
        )
    x, which = np.unique(curve[:, 0], return_inverse=True)
    return x, np.bincount(which.ravel(), curve[:, 1]) / np.bincount(which.ravel())


def _check_coverage(x: Floats) -> None:
    """Refuse wavenumbers in rising order that cover too little, or have gaps."""
    least, most = COVERED_CM1
    if not len(x):
        raise InputError("the spectrum is empty; give wavenumbers in cm^-1 and absorbances")
    if x[0] > least or x[-1] < most:
        raise InputError(
            f"the spectrum covers {x[0]:g} to {x[-1]:g} cm^-1, and it must reach from {least:g} or "
            f"less to {most:g} or more; the first column must be wavenumbers in cm^-1"
        )
    gaps = np.diff(x) * ((x[1:] > GRID_CM1[0]) & (x[:-1] < GRID_CM1[-1]))
    if gaps.max() > WIDEST_GAP_CM1:
        k = int(gaps.argmax())
        raise InputError(
            f"the spectrum has no point between {x[k]:g} and {x[k + 1]:g} cm^-1, and a curve needs "
            f"one every {WIDEST_GAP_CM1:g}; if it is a list of lines, broaden them with "
            "equidrift.spectrum.broaden"
        )


def _averages(x: Floats, y: Floats) -> Floats:
    """Means (bins,) over each bin of a curve of straight lines, as far as it goes."""
    edges = np.append(GRID_CM1 - STEP_CM1 / 2, GRID_CM1[-1] + STEP_CM1 / 2).clip(x[0], x[-1])
    nodes = np.union1d(x, edges)
    values = np.interp(nodes, x, y)
    areas = np.append(0.0, np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(nodes)))
    total = np.interp(edges, nodes, areas)  # every edge is a node
    means: Floats = np.diff(total) / np.diff(edges).clip(1e-9)
    return means


def _checked_vector(vector: Floats) -> Floats:
    """A vector on the grid; refuses what cannot be one."""
    known = ~np.isnan(vector)
    least, most = COVERED_CM1
    if not known[(least <= GRID_CM1) & (most >= GRID_CM1)].all():
        raise InputError(
            f"the spectrum has bins without a value between {least:g} and {most:g} cm^-1, and "
            "needs all of these"
        )
    if not np.isfinite(vector[known]).all() or (vector[known] < 0).any():
        raise InputError("the spectrum holds negative or infinite numbers; give absorbances")
    if not vector[known].any():
        raise InputError("the spectrum absorbs nowhere: all of its intensities are 0")
    return vector


def read_curve(path: str | os.PathLike[str]) -> Floats:
    """The two columns (k, 2) of a text file: wavenumbers in cm^-1 and absorbances.

    Columns are parted by a comma, semicolon, tab or spaces; a first line of words and
    lines that begin with # are passed over. Raises `InputError` for what is no such
    file.
    """
    told = repr(str(path))
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"there is no file {told}; give one of two columns") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{told} cannot be read as text: {error}; give a file of two columns, wavenumber in "
            "cm^-1 and absorbance"
        ) from error
    points: list[list[float]] = []
    header = False
    for number, line in enumerate(text.splitlines(), 1):
        words = re.split(r"[,;\s]+", line.split("#")[0].strip(" \t,;"))
        if words == [""]:
            continue
        try:
            points.append([float(word) for word in words])
        except ValueError as error:
            if points or header:
                raise InputError(
                    f"line {number} of {told} is no pair of numbers: {line.strip()[:60]!r}"
                ) from error
            header = True
            continue
        if len(words) != 2:
            raise InputError(
                f"line {number} of {told} has {len(words)} columns, and two are wanted: wavenumber "
                "in cm^-1 and absorbance"
            )
    if not points:
        raise InputError(f"{told} holds no numbers; give wavenumbers in cm^-1 and absorbances")
    return np.array(points)
