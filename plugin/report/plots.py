"""Figures by matplotlib, drawn on objects of their own: nothing of pyplot is touched."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equidrift.text import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Floats = NDArray[np.float64]

WIDTH_IN, HEIGHT_IN = 4.6, 3.1
DPI = 150  # of PNG files and of pictures inside an SVG
MAX_MATRIX_LABELS = 12
_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
_ID = re.compile(r'\bid="([^"]+)"')
_USE = re.compile(r'(\bid="|href="#|url\(#)([^")]+)')


@lru_cache(maxsize=1)
def _figure_class() -> type[Canvas]:
    """matplotlib's Figure, which here shows itself in a notebook without pyplot."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A Figure that a notebook shows as SVG."""

        def _repr_svg_(self) -> str:
            return svg_of(self).replace("PLACE", f"figure-{id(self)}")

    return Shown


def canvas(width_in: float = WIDTH_IN, height_in: float = HEIGHT_IN) -> Canvas:
    """An empty figure of this size in inches."""
    return _figure_class()(figsize=(width_in, height_in), layout="constrained")


def svg_of(figure: Canvas) -> str:
    """The figure as an SVG element; its ids begin with PLACE, which the page replaces by
    a name of its own, and the same figure gives the same text.
    """
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", dpi=DPI, metadata={"Date": None, "Creator": None})
    text = _COMMENT.sub("", _HEAD.sub("", stream.getvalue().decode("utf-8")))
    names = {name: f"PLACE-{k}" for k, name in enumerate(dict.fromkeys(_ID.findall(text)))}
    return _USE.sub(lambda found: found[1] + names.get(found[2], found[2]), text).strip()


def save_png(figure: Canvas, path: Any) -> None:
    """Write the figure as a PNG file."""
    figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})


def energy_ladder(relative_kcal_mol: Floats, ax: Axes) -> None:
    """One rung for each conformer, from the lowest up."""
    ordered = np.sort(relative_kcal_mol)
    ax.hlines(ordered, 0.1, 0.9, color="#2667a8", linewidth=1.2)
    ax.set_xticks([])
    ax.set_xlim(0, 1)
    ax.set_ylabel("energy over the lowest, kcal/mol")
    ax.set_title(f"{counted(len(ordered), 'conformer')}", fontsize=10)


def rmsd_map(rmsd_A: Floats, ax: Axes) -> None:
    """The matrix of RMSD between conformers, in the order that it has."""
    image = ax.imshow(rmsd_A, cmap="viridis", vmin=0, interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="RMSD, Å")
    ax.set_xlabel("conformer")
    ax.set_ylabel("conformer")
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True))


def roses(angles_rad: Floats, labels: Sequence[str]) -> Canvas:
    """A polar histogram of each torsion.

    Parameters
    ----------
    angles_rad : (n, m) array
        One column for each torsion.
    labels : sequence of str
        (m,) their names.
    """
    columns = min(4, max(1, len(labels)))
    rows = max(1, math.ceil(len(labels) / columns))
    figure = canvas(1.75 * columns, 2.05 * rows)
    bins = np.linspace(-np.pi, np.pi, 37)
    for k, label in enumerate(labels):
        ax: Any = figure.add_subplot(rows, columns, k + 1, projection="polar")
        counts, _ = np.histogram(angles_rad[:, k], bins)
        ax.bar(bins[:-1], counts, width=np.diff(bins), align="edge", color="#2667a8")
        ax.set_theta_zero_location("N")
        ax.set_theta_direction(-1)
        ax.set_xticks(np.radians([0, 60, 120, 180, 240, 300]))
        ax.set_xticklabels(["0°", "60°", "120°", "180°", "-120°", "-60°"], fontsize=6)
        ax.set_yticks([])
        ax.set_title(label, fontsize=7, parse_math=False)
    return figure


def histogram(values: Floats, label: str, training: Mapping[str, float] | None, ax: Axes) -> None:
    """Values of a property, beside mean and deviation of the training data if they are
    known.
    """
    ax.hist(values, bins=min(40, max(5, len(values) // 3)), color="#2667a8")
    if training is not None:
        mean, sd = training["mean"], training["deviation"]
        ax.axvspan(mean - sd, mean + sd, color="#d39e00", alpha=0.25, label="training, mean ± sd")
        ax.axvline(mean, color="#d39e00")
        ax.legend(fontsize=7)
    ax.set_xlabel(label, parse_math=False)
    ax.set_ylabel("molecules")
    from matplotlib.ticker import MaxNLocator

    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True))


def lines(
    x: Floats,
    series: Mapping[str, Floats],
    x_label: str,
    y_label: str,
    ax: Axes,
    *,
    marker: str = "",
) -> None:
    """One or more series over the same axis."""
    for name, values in series.items():
        ax.plot(x, values, linewidth=0.9, label=name, marker=marker, markersize=3)
    if len(series) > 1:
        ax.legend(fontsize=7)
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label, parse_math=False)


def surface(free_kJ_mol: Floats, error_kJ_mol: Floats | None, names: Sequence[str]) -> Canvas:
    """A free-energy map over two torsions, and its standard error beside it.

    Parameters
    ----------
    free_kJ_mol : (b, b) array
        Over the lowest bin; NaN where nothing was seen. First axis: the first torsion.
    error_kJ_mol : (b, b) array or None
        Of the map; None if it is not known.
    names : sequence of str
        Of the two torsions.
    """
    parts = [(free_kJ_mol, "F, kJ/mol", "viridis")]
    if error_kJ_mol is not None:
        parts.append((error_kJ_mol, "standard error, kJ/mol", "magma"))
    figure = canvas(WIDTH_IN * (1.5 if len(parts) > 1 else 1), HEIGHT_IN)
    for k, (values, label, colours) in enumerate(parts):
        ax = figure.add_subplot(1, len(parts), k + 1)
        image = ax.imshow(
            values.T, origin="lower", extent=(-180, 180, -180, 180), cmap=colours, aspect="equal"
        )
        figure.colorbar(image, ax=ax, label=label)
        ax.set_xlabel(f"{names[0]}, °", parse_math=False)
        ax.set_ylabel(f"{names[1]}, °", parse_math=False)
        ax.set_xticks([-180, -90, 0, 90, 180])
        ax.set_yticks([-180, -90, 0, 90, 180])
    return figure


def profiles(
    centres_deg: Floats, free: Sequence[Floats], errors: Sequence[Floats], names: Sequence[str]
) -> Canvas:
    """Free energy along each torsion, with a band of one standard error.

    Parameters
    ----------
    centres_deg : (b,) array
        Centres of the bins.
    free, errors : sequence of (b,) arrays
        In kJ/mol; NaN where nothing was seen.
    names : sequence of str
        Of the torsions.
    """
    columns = min(3, max(1, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    figure = canvas(2.5 * columns, 2.1 * rows)
    for k, name in enumerate(names):
        ax = figure.add_subplot(rows, columns, k + 1)
        ax.plot(centres_deg, free[k], color="#2667a8", linewidth=1)
        ax.fill_between(centres_deg, free[k] - errors[k], free[k] + errors[k], alpha=0.3)
        ax.set_title(name, fontsize=8, parse_math=False)
        ax.set_xticks([-180, 0, 180])
        ax.set_xlabel("torsion, °", fontsize=8)
        ax.set_ylabel("F, kJ/mol", fontsize=8)
        ax.tick_params(labelsize=7)
    return figure
