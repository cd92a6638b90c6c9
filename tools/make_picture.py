"""Make docs/ensemble.png: conformers of ibuprofen by the default model, laid on one
another by their ring and coloured by energy.

    python tools/make_picture.py

It needs the extra xtb for the energies; matplotlib comes with ASE.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

import equidrift
from equidrift.adapters.ase.xtb import gfn2_relax
from equidrift.adapters.rdkit.rmsd import distinct
from equidrift.records import Ensemble
from equidrift.units import KCAL_MOL_PER_EV

IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O"
RING = [4, 5, 6, 7, 8, 9]
SHOWN = 6  # conformers drawn one by one
APART_A = 0.3  # heavy-atom RMSD of any two of them, at least
ELEMENT_COLOURS = {1: "#f2f2f2", 6: "#4a4f57", 8: "#d7352b"}
ELEMENT_SIZES = {1: 0.19, 6: 0.30, 8: 0.30}
Array = NDArray[np.float64]


def aligned(positions_A: Array) -> Array:
    """Every conformer (k, n, 3) rotated onto the first by its ring, which lies flat,
    its long axis along x.
    """
    ring = positions_A[:, RING]
    moved = positions_A - ring.mean(1, keepdims=True)
    first = moved[0, RING]
    axes = np.linalg.svd(first)[2]
    x = first[0] - first[3]  # from the isobutyl to the propionic acid, left to right
    x = -x / np.linalg.norm(x)
    z = axes[2]
    target = first @ np.stack([x, np.cross(z, x), z], axis=1)
    out = []
    for conformer in moved:
        u, _, vt = np.linalg.svd(conformer[RING].T @ target)
        flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        out.append(conformer @ (u @ flip @ vt))
    return np.stack(out)


def seen(positions_A: Array, tilt_deg: float, turn_deg: float) -> Array:
    """Positions as the viewer has them: x right, y up, z towards the viewer."""
    a, b = np.radians([tilt_deg, turn_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    return positions_A @ (about_x @ about_y).T


def overlay(
    axes: Axes,
    ensemble: Ensemble,
    positions_A: Array,
    energies: Array,
    norm: plt.Normalize,
    cmap: str,
) -> None:
    """All conformers as heavy-atom skeletons, the far bonds first."""
    numbers = ensemble.molecule.numbers
    bonds = np.array(
        [(i, j) for i, j in ensemble.molecule.bonds if numbers[i] > 1 and numbers[j] > 1]
    )
    x = seen(positions_A, -38, -18)
    segments = x[:, bonds][..., :2].reshape(-1, 2, 2)
    depth = x[:, bonds, 2].mean(2).ravel()
    value = np.repeat(energies, len(bonds))
    order = np.argsort(depth)
    near = (depth - depth.min()) / np.ptp(depth)
    colours = plt.get_cmap(cmap)(norm(value))
    colours[np.tile(np.isin(bonds, RING).all(1), len(x))] = (
        0.29,
        0.31,
        0.34,
        1.0,
    )  # the ring, which all share
    colours[:, :3] = 1 - (1 - colours[:, :3]) * (0.5 + 0.5 * near)[:, None]
    axes.add_collection(
        LineCollection(
            segments[order], colors=colours[order], linewidths=2.4, capstyle="round", zorder=2
        )
    )
    oxygen = x[:, numbers == 8].reshape(-1, 3)
    axes.scatter(oxygen[:, 0], oxygen[:, 1], s=13, color=ELEMENT_COLOURS[8], linewidths=0, zorder=3)
    low, high = segments.reshape(-1, 2).min(0), segments.reshape(-1, 2).max(0)
    axes.set(xlim=(low[0] - 0.4, high[0] + 0.4), ylim=(low[1] - 0.4, high[1] + 0.4), aspect="equal")
    axes.axis("off")


def balls(axes: Axes, ensemble: Ensemble, positions_A: Array) -> None:
    """One conformer as balls and sticks, painted from the back to the front."""
    numbers = ensemble.molecule.numbers
    x = seen(positions_A, -38, -18)
    items = [(x[atom, 2] + 0.01, "atom", atom, atom) for atom in range(len(x))]
    items += [(x[[i, j], 2].mean(), "bond", i, j) for i, j in ensemble.molecule.bonds.tolist()]
    for rank, (_, kind, i, j) in enumerate(sorted(items)):
        if kind == "atom":
            radius = ELEMENT_SIZES[int(numbers[i])]
            fill = ELEMENT_COLOURS[int(numbers[i])]
            axes.add_patch(
                plt.Circle(
                    x[i, :2],
                    radius,
                    facecolor=fill,
                    edgecolor="#2b2e33",
                    linewidth=0.5,
                    zorder=rank,
                )
            )
            shine = x[i, :2] + 0.35 * radius * np.array([-1.0, 1.0])
            axes.add_patch(
                plt.Circle(
                    shine, 0.28 * radius, facecolor="white", alpha=0.45, linewidth=0, zorder=rank
                )
            )
        else:
            axes.plot(
                *x[[i, j], :2].T, color="#2b2e33", linewidth=3.0, solid_capstyle="butt", zorder=rank
            )
            axes.plot(
                *x[[i, j], :2].T, color="#b9bec6", linewidth=2.0, solid_capstyle="butt", zorder=rank
            )
    axes.set(
        xlim=(x[:, 0].min() - 0.4, x[:, 0].max() + 0.4),
        ylim=(x[:, 1].min() - 0.4, x[:, 1].max() + 0.4),
        aspect="equal",
    )
    axes.axis("off")


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", type=int, default=50)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path(__file__).resolve().parents[1] / "docs" / "ensemble.png",
    )
    options = parser.parse_args()

    ensemble = equidrift.sample(IBUPROFEN, options.n, seed=0)
    energies = gfn2_relax(ensemble.molecule, ensemble.positions_A, 0)[1] * KCAL_MOL_PER_EV
    energies = energies - energies.min()
    positions_A = aligned(ensemble.positions_A)
    order = np.argsort(energies)
    norm, cmap = plt.Normalize(0, float(np.quantile(energies, 0.95))), "viridis"

    figure = plt.figure(figsize=(9.6, 4.0), dpi=130, facecolor="white")
    left = figure.add_axes((0.0, 0.13, 0.6, 0.84))
    overlay(left, ensemble, positions_A, energies, norm, cmap)
    apart = distinct(ensemble.molecule, ensemble.positions_A, APART_A, order)
    order = order[apart[order]]
    shown = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).astype(int)]
    for k, index in enumerate(shown):
        axes = figure.add_axes((0.61 + 0.195 * (k % 2), 0.68 - 0.325 * (k // 2), 0.19, 0.27))
        balls(axes, ensemble, positions_A[index])
        axes.set_title(f"{energies[index]:.1f} kcal/mol", fontsize=8, color="#33373d", pad=1)
    bar = figure.add_axes((0.1, 0.105, 0.4, 0.025))
    figure.colorbar(
        plt.cm.ScalarMappable(norm, cmap), cax=bar, orientation="horizontal", extend="max"
    )
    bar.tick_params(labelsize=8)
    bar.set_xlabel("GFN2-xTB energy above the lowest, kcal/mol", fontsize=9)
    options.output.parent.mkdir(exist_ok=True)
    figure.savefig(options.output)


if __name__ == "__main__":
    main()
