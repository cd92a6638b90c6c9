"""Rows of a benchmark in the cards of the models that they measure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# card -> rows that go into its `quality`
CARDS = {
    "refine": ("qm9-test/refine", "qm9-test/equidrift", "zinc-test/equidrift"),
    "conformer": ("qm9-test/conformer", "qm9-test/conformer-refine"),
    "se3-distance": ("qm9-test/se3-distance", "qm9-test/se3-distance-gauss-newton"),
}


MOLECULE_CARDS = {
    "joint": ("joint/", "conditional-"),
    "latent": ("latent/",),
    "spectra": ("spectra",),
}


def update_cards(result: Mapping[str, Any], folder: Path) -> None:
    """Put the rows of `CARDS` into the cards of a folder; a row that was not measured
    keeps what the card says.
    """
    rows = {row["row"]: row["values"] for row in result["rows"]}
    for name, wanted in CARDS.items():
        add_quality(folder / f"{name}.json", {row: rows[row] for row in wanted if row in rows})


def own_rows(name: str) -> str:
    """A pattern of the rows of trajectories, sampling and fields that a card carries;
    empty for none.
    """
    fixed = {
        "trajectory": r"^(gfn2md17|heldout|speed|interpolate)-.*/equidrift(-chained)?$",
        "geotdm": "^(gfn2md17-.*|speed-aspirin)/geotdm(-1000)?$",
        "torsions": "^(ala2/fourier-table|drugs/torsion)$",
        "ala2": "^ala2/boltzmann$",
        "leap": "^leap-.*/(equidrift|exact|md)$",
        "field-cyclones": "^cyclones/(inter|extra)polation$",
    }
    family, _, rest = name.partition("-")
    by_family = {
        "nbody": f"^{rest}/equidrift$",
        "egnn": f"^{rest}/egnn$",
        "pedestrians": f"^eth-ucy-{rest}/equidrift$",
        "geotdm": f"^{rest}/geotdm$",
        "atom": f"^{rest}-.*/equidrift$",
        "field": f"^{rest.removesuffix('-network')}/[a-z]+"
        + ("-network$" if "-network" in name else "$"),
    }
    return fixed.get(name, by_family.get(family, "") if rest else "")


def update_other_cards(result: Mapping[str, Any], folder: Path) -> None:
    """Put the rows of `own_rows` into the cards of a folder."""
    for path in sorted(folder.glob("*.json")):
        pattern = own_rows(path.stem)
        rows = {
            str(row["row"]): row["values"]
            for row in result["rows"]
            if pattern and re.search(pattern, str(row["row"]))
        }
        if rows:
            add_quality(path, rows)


def update_molecule_cards(result: Mapping[str, Any], folder: Path) -> None:
    """Put a model's own rows, those that begin as `MOLECULE_CARDS` says, into its card
    where there is one.
    """
    for name, prefixes in MOLECULE_CARDS.items():
        own = {
            str(row["row"]): row["values"]
            for row in result["rows"]
            if str(row["row"]).startswith(prefixes)
        }
        own = {
            row: values
            for row, values in own.items()
            if row.endswith(("equidrift", name)) or not row.startswith("conditional-")
        }
        if (folder / f"{name}.json").exists():
            add_quality(folder / f"{name}.json", own)


def add_quality(path: Path, rows: Mapping[str, Any]) -> None:
    """Put measured rows into a card; one that has them stays as it is."""
    card = json.loads(path.read_text())
    known = card.get("quality", {})
    if known == known | rows:
        return
    card["quality"] = known | rows
    text = json.dumps(card, indent=1)
    text = re.sub(
        r"\[\s+([^\[\]{}]*?)\s+\]", lambda found: "[" + " ".join(found[1].split()) + "]", text
    )  # a list of numbers is one line
    path.write_text(text + "\n")
