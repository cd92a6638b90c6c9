"""What an option's value may be: each function makes a `parser` for `typer.Option`.

A parser turns the text of the command line into the value, or says what is allowed and
what came. The name of the option is put before that in `equidrift.cli.main`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import typer

from equidrift.errors import EquidriftError, UnknownNameError

T = TypeVar("T")
Names = Collection[str] | Callable[[], Collection[str]]  # a function: looked up when needed
_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}  # s in a unit of time
MAX_SEED = 2**63 - 1


def integer(least: int | None = None, most: int | None = None) -> Callable[[object], int]:
    """An integer, from `least` to `most` where they are given."""
    allowed = "an integer" + _range("", least, most)

    def parse(value: object) -> int:
        text = str(value).strip()
        if not re.fullmatch(r"[+-]?\d{1,30}", text) or _outside(int(text), least, most):
            raise typer.BadParameter(f"must be {allowed}, not {value!r}")
        return int(text)

    return parse


def number(
    unit: str = "",
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> Callable[[object], float]:
    """A finite number of this unit: more than `above`, or from `least` on, to `most`."""
    allowed = f"a number{f' of {unit}' if unit else ''}"
    allowed += _range("" if above is None else f" above {above:g}", least, most)

    def parse(value: object) -> float:
        found = _float(str(value))
        low = above is not None and not found > above
        if not math.isfinite(found) or low or _outside(found, least, most):
            raise typer.BadParameter(f"must be {allowed}, not {value!r}")
        return found

    return parse


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _outside(value: float, least: float | None, most: float | None) -> bool:
    return (least is not None and value < least) or (most is not None and value > most)


def _range(above: str, least: float | None, most: float | None) -> str:
    """How a range is told: " above 0 and at most 1", " from 1 to 20", " of 1 or more"."""
    if above:
        return above if most is None else f"{above} and at most {most:g}"
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}" if most < MAX_SEED else f" from {least:g} to 2**63-1"
    return "" if least is None else f" of {least:g} or more"


def one_of(kind: str, names: Names) -> Callable[[object], str]:
    """One of these names; the nearest one is suggested for another."""

    def parse(value: object) -> str:
        text, known = str(value), names() if callable(names) else names
        if text not in known:
            raise typer.BadParameter(str(UnknownNameError(kind, text, known)))
        return text

    return parse


def model_name(kind: str, names: Names) -> Callable[[object], str]:
    """A model's name, or the path of weights: a .safetensors file or its .json card."""
    named = one_of(kind, names)

    def parse(value: object) -> str:
        text = str(value)
        if Path(text).suffix not in (".safetensors", ".json"):
            return named(text)
        return str(existing_file("the weights or the card of a trained model")(text))

    return parse


def existing_file(what: str) -> Callable[[object], Path]:
    """The path of a file that is there."""

    def parse(value: object) -> Path:
        path = Path(str(value))
        if not path.is_file():
            came = (
                f"{str(path)!r} is a folder" if path.is_dir() else f"there is no file {str(path)!r}"
            )
            raise typer.BadParameter(f"{came}; give {what}")
        return path

    return parse


def checked(check: Callable[[str], T]) -> Callable[[object], T]:
    """What `check` returns of a text; its errors become those of the option."""

    def parse(value: object) -> T:
        try:
            return check(str(value))
        except EquidriftError as error:
            raise typer.BadParameter(" ".join(str(error).split())) from error

    return parse


def duration_s(value: object) -> float:
    """Seconds in '90s', '25m' or '2h'."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value).strip())
    if not match or float(match[1]) <= 0:
        raise typer.BadParameter(f"must be a time above 0 such as 90s, 25m or 2h, not {value!r}")
    return float(match[1]) * _S[match[2]]
