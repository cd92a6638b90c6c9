"""The data fields of an SDF record: the user's, which pass through, and ours, which say
what a conformer is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.records import TITLE, Ensemble
from equidrift.text import one_line, tidy

MARKS = (
    "smiles",
    "sample",
    "seed",
    "model",
)  # which every record of ours has, and no other file has all of
OPTIONAL = ("energy_eV", "log_prob", "valid", "equidrift_scores")
INPUT = "input_"  # before the name of a user's field that would be taken for one of ours
_HEAD = re.compile(r">.*?<(.*)>")


def parse_fields(lines: Iterable[str]) -> dict[str, str]:
    """Field -> value of the lines after a mol block; a name that comes twice gets a
    number.
    """
    fields: dict[str, list[str]] = {}
    values: list[str] | None = None
    for line in lines:
        head = _HEAD.match(line)
        if head:
            name = base = one_line(tidy(head[1])) or "?"
            count = 1
            while name in fields:
                count += 1
                name = f"{base}_{count}"
            values = fields[name] = []
        elif not line.strip():
            values = None
        elif values is not None:
            values.append(line.rstrip("\r\n"))
    return {name: tidy("\n".join(value), lines=True) for name, value in fields.items()}


def split_fields(fields: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(ours, the user's). A record is ours if it has every field of `MARKS`."""
    if not all(name in fields for name in MARKS):
        return {}, dict(fields)
    scores = fields.get("equidrift_scores", "").split("\n")
    names = {*MARKS, *OPTIONAL, *scores}
    own = {name: value for name, value in fields.items() if name in names}
    return own, {name: value for name, value in fields.items() if name not in names}


def merged_fields(own: Mapping[str, Any], properties: Mapping[str, str]) -> dict[str, str]:
    """The user's fields, then ours; one of the user's that has the name of one of ours
    gets `INPUT` before it.
    """
    fields = {}
    for given, value in properties.items():
        name = given
        while name in own or name in OPTIONAL or name in fields:
            name = INPUT + name
        fields[name] = value
    return fields | {name: str(value) for name, value in own.items()}


def field_lines(fields: Mapping[str, str]) -> str:
    """Fields as an SDF record holds them; a blank line would end a value, and becomes a
    line with a full stop.
    """
    return "".join(
        f">  <{_field_name(name)}>\n{_field_value(value)}\n\n" for name, value in fields.items()
    )


def _field_name(name: str) -> str:
    return one_line(name).replace("<", "(").replace(">", ")") or "?"


def _field_value(value: str) -> str:
    lines = [line if line.strip() else "." for line in value.splitlines()] or [""]
    return "\n".join(f" {line}" if line.startswith((">", "$$$$")) else line for line in lines)


def own_fields(ensemble: Ensemble, smiles: str, first_sample: int) -> list[dict[str, str]]:
    """Our fields of each sample."""
    optional = {"energy_eV": ensemble.energies_eV, "log_prob": ensemble.log_prob, **ensemble.scores}
    columns = {name: values for name, values in optional.items() if values is not None}
    seeds, valid = np.asarray(ensemble.seeds), np.asarray(ensemble.valid)
    rows = []
    for k in range(len(ensemble)):
        row = {"smiles": smiles, "sample": str(first_sample + k), "seed": str(seeds[k])}
        row["model"] = str(ensemble.provenance.get("model", "unknown"))
        row |= {} if valid[k] else {"valid": "False"}
        row |= {name: f"{column[k]:.10g}" for name, column in columns.items()}
        rows.append(
            row | ({"equidrift_scores": "\n".join(ensemble.scores)} if ensemble.scores else {})
        )
    return rows


def columns_of(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Fields of an Ensemble from our fields of its samples; those that are missing or
    broken in one row are left out.
    """
    columns: dict[str, Any] = {"valid": [row.get("valid") != "False" for row in rows]}
    for name, field, kind in (
        ("seeds", "seed", int),
        ("energies_eV", "energy_eV", float),
        ("log_prob", "log_prob", float),
    ):
        values = _numbers([row.get(field, "") for row in rows], kind)
        columns |= {} if values is None else {name: values}
    names = [name for name in rows[0].get("equidrift_scores", "").split("\n") if name]
    read = {name: _numbers([row.get(name, "") for row in rows], float) for name in names}
    columns["scores"] = {name: values for name, values in read.items() if values is not None}
    models = {row.get("model", "given") for row in rows}
    columns["provenance"] = {"model": models.pop() if len(models) == 1 else "given"}
    return columns


def _numbers(
    texts: Sequence[str], kind: type[int] | type[float]
) -> NDArray[np.int64] | NDArray[np.float64] | None:
    try:
        numbers = [kind(text) for text in texts]
        return np.array(numbers, np.int64) if kind is int else np.array(numbers, np.float64)
    except (ValueError, OverflowError):
        return None


def shared_and_own(
    rows: Sequence[Mapping[str, str]],
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """(properties that every row has alike, the others by name with one text a row)."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    same = {
        name: rows[0][name]
        for name in names
        if name in rows[0] and all(row.get(name) == rows[0][name] for row in rows)
    }
    return same, {name: [row.get(name, "") for row in rows] for name in names if name not in same}


def titles_of(ensemble: Ensemble) -> list[str]:
    """The title of each sample: its own, else the molecule's name."""
    return list(ensemble.properties.get(TITLE, [ensemble.molecule.name] * len(ensemble)))


def properties_of(ensemble: Ensemble) -> list[dict[str, str]]:
    """The user's properties of each sample: the molecule's, and its own that are not
    empty.
    """
    own = {name: texts for name, texts in ensemble.properties.items() if name != TITLE}
    return [
        {
            **ensemble.molecule.properties,
            **{name: texts[k] for name, texts in own.items() if texts[k]},
        }
        for k in range(len(ensemble))
    ]
