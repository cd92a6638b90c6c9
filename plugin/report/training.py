"""Sections of trainings: loss, learning rate, held-out figures, the cards that were
written.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from equidrift.errors import InputError
from equidrift.report import plots
from equidrift.report.parts import Figure, Section, Table
from equidrift.report.sources import TRAINING_FILE, Source

LOSSES = "losses.csv"  # of `equidrift.models.shared.history`
COLUMNS = ("step", "loss", "learning_rate", "seconds")


def section_of(source: Source) -> Section:
    """The section of the folder of a training.

    Raises
    ------
    InputError
        If a file in it is damaged.
    """
    folder = source.paths[0]
    facts: dict[str, str] = {}
    held_out: dict[str, float] = {}
    if (folder / TRAINING_FILE).is_file():
        stored = _checkpoint(folder / TRAINING_FILE)
        facts |= {"steps": str(stored["step"]), "samples": str(stored["samples"])}
        facts["minutes"] = f"{stored['seconds'] / 60:.1f}"
        held_out = dict(stored["held_out_losses"])
    tables = []
    for path in sorted(folder.glob("*.json")):
        if path.with_suffix(".safetensors").is_file():
            card = _card(path)
            facts |= _card_facts(card)
            held_out = held_out or dict(card.get("trained", {}).get("held_out_loss", {}))
            tables.append(Table(f"Card of {path.stem}", ["field", "value"], _card_rows(card)))
    if held_out:
        rows = [[f"{when} training", value] for when, value in held_out.items()]
        tables.insert(0, Table("Held-out loss", ["when", "mean loss"], rows))
    figures, notes = _curves(folder)
    return Section(
        title=source.title,
        kind="training run",
        facts=facts,
        figures=figures,
        notes=notes,
        tables=tables,
    )


def _checkpoint(path: Path) -> dict[str, Any]:
    from equidrift.stored import StoredTraining, read_stored

    return read_stored(path, StoredTraining, "checkpoint of a training").model_dump()


def _card(path: Path) -> dict[str, Any]:
    from equidrift.stored import StoredCard, read_stored

    return read_stored(path, StoredCard, "model card").model_dump()


def _card_facts(card: Mapping[str, Any]) -> dict[str, str]:
    facts = {"model": str(card["name"]), "family": str(card["family"])}
    return facts | {"weights (sha256)": str(card["sha256"]), "data": str(card["training_data"])}


def _card_rows(card: Mapping[str, Any]) -> list[list[str]]:
    left_out = ("name", "family", "sha256", "training_data")
    return [[key, str(value)] for key, value in card.items() if key not in left_out]


def _curves(folder: Path) -> tuple[list[Figure], list[str]]:
    """Loss and learning rate over the steps; what to say if there are none."""
    path = folder / LOSSES
    if not path.is_file():
        return [], [f"There is no {LOSSES} in this folder, so there is no curve of the loss."]
    table = read_losses(path)
    if len(table) < 2:
        return [], ["The training was too short for a curve of the loss."]
    figures = []
    for column, label, caption in (
        (1, "loss (running mean)", "Loss on the training data"),
        (2, "learning rate", "Learning rate"),
    ):
        figure = plots.canvas()
        ax = figure.add_subplot()
        plots.lines(table[:, 0], {label: table[:, column]}, "step", label, ax)
        if column == 1 and (table[:, 1] > 0).all():
            ax.set_yscale("log")
        figures.append(Figure(plots.svg_of(figure), caption))
    return figures, []


def read_losses(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The rows (n, 4) of `COLUMNS` that a training has noted.

    Raises
    ------
    InputError
        If the file holds something else.
    """
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
        if not rows or tuple(rows[0]) != COLUMNS:
            raise ValueError(f"its first line is not {','.join(COLUMNS)}")
        numbers = [[float(text) for text in row] for row in rows[1:]]
        if any(len(row) != len(COLUMNS) or not math.isfinite(row[0]) for row in numbers):
            raise ValueError(f"a row has not the {len(COLUMNS)} numbers that it should")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{str(path)!r} is no record of losses: {error}") from error
    return np.array(numbers, np.float64).reshape(-1, len(COLUMNS))
