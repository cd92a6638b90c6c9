"""Molecules as the page's script draws them: 2D structure, conformers, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from equidrift.records import Molecule
from equidrift.registry import host_function
from equidrift.report import analysis
from equidrift.report.parts import Card, Figure

MAX_FRAMES = 300  # conformers or frames of one molecule that a page holds
PER_A = 1000  # coordinates are whole thousandths of an A: an SDF file has four decimals


def card(
    molecule: Molecule,
    positions_A: NDArray[np.float64],
    labels: Sequence[str],
    *,
    title: str = "",
    lines: Sequence[str] = (),
    figures: Sequence[Figure] = (),
    data: Mapping[str, Sequence[str]] | None = None,
    frames: bool = False,
) -> Card:
    """One molecule.

    Parameters
    ----------
    molecule : Molecule
        The graph.
    positions_A : (n, n_atoms, 3) array
        Conformers or frames; they are laid on the first one.
    labels : sequence of str
        (n,) what is said of each.
    title : str
        Shown as its name; the molecule's own if empty.
    lines : sequence of str
        Said of the molecule in the grid.
    figures : sequence of Figure
        Shown when it is looked at.
    data : mapping of str to sequence of str, optional
        Fields of each conformer in the SDF file that the page gives.
    frames : bool
        They follow each other in time.
    """
    laid = analysis.aligned(molecule, positions_A, positions_A[0])
    block = host_function("rdkit", "mol_block")(molecule, positions_A[0])
    bonds = [
        [i, j, order]
        for (i, j), order in zip(
            molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True
        )
    ]
    return {
        "t": title or molecule.name,
        "s": molecule.smiles,
        "l": list(lines),
        "v": host_function("rdkit", "depiction")(molecule),
        "e": molecule.symbols,
        "b": bonds,
        "c": np.rint(laid * PER_A).astype(np.int64).ravel().tolist(),
        "p": list(labels),
        "m": "frames" if frames else "conformers",
        "k": block,
        "l3": "V3000" in block.split("\n", 4)[3],
        "r": molecule.name,
        "d": {
            _field(name): [_value(text) for text in texts] for name, texts in (data or {}).items()
        },
        "f": [
            [figure.svg.replace("PLACE", f"detail{k}"), figure.caption, figure.wide]
            for k, figure in enumerate(figures)
        ],
    }


def evenly(n: int, most: int = MAX_FRAMES) -> NDArray[np.int64]:
    """Indices of at most `most` of n things, evenly spread, the first and last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _field(name: str) -> str:
    return " ".join(name.split()).replace("<", "(").replace(">", ")") or "?"


def _value(text: str) -> str:
    """A value that ends no record of an SDF file."""
    return " ".join(text.split()).replace("$$$$", "$ $$$")
