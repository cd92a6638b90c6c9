"""What an option's value may be, and how it is called in the help.

The parser of a `Kind` turns the text of the command line into the value, or says what
is allowed and what came. `equidrift.cli.main` puts the name of the option before that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import typer

from equidrift.errors import EquidriftError, UnknownNameError

T = TypeVar("T")
Names = Collection[str] | Callable[[], Collection[str]]  # a function: looked up when needed
_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}  # s in a unit of time
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of value: its name in the help, and what makes the value of a text."""

    metavar: str
    parser: Callable[[object], T]

    def __call__(self, value: object) -> T:
        """The value of a text; errors as the parser's."""
        return self.parser(value)


def option(
    kind: Kind[Any], about: str, *names: str, panel: str | None = None, many: bool = False
) -> Any:
    """The `typer.Option` of such a value.

    Parameters
    ----------
    kind : Kind
        What the value may be.
    about : str
        The help.
    *names : str
        On the command line; that of the field if there are none.
    panel : str, optional
        The group of options that it belongs to in the help.
    many : bool
        Whether it may be repeated.
    """
    further = " May be repeated." if many else ""
    return typer.Option(
        *names,
        metavar=kind.metavar,
        parser=kind.parser,
        rich_help_panel=panel,
        help=about + further,
    )


def flag(name: str, about: str, panel: str | None = None) -> Any:
    """The `typer.Option` of a switch."""
    return typer.Option(name, rich_help_panel=panel, help=about)


def integer(least: int | None = None, most: int | None = None, metavar: str = "N") -> Kind[int]:
    """An integer, from `least` to `most` if they are given."""
    allowed = "an integer" + _range("", least, most)

    def parse(value: object) -> int:
        text = str(value).strip()
        if not re.fullmatch(r"[+-]?\d{1,30}", text) or _outside(int(text), least, most):
            raise typer.BadParameter(f"must be {allowed}, not {value!r}")
        return int(text)

    return Kind(metavar, parse)


def number(
    unit: str = "",
    metavar: str = "X",
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> Kind[float]:
    """A finite number of this unit: more than `above`, or from `least` on, to `most`."""
    allowed = f"a number{f' of {unit}' if unit else ''}"
    allowed += _range("" if above is None else f" above {above:g}", least, most)

    def parse(value: object) -> float:
        found = _float(str(value))
        low = above is not None and not found > above
        if not math.isfinite(found) or low or _outside(found, least, most):
            raise typer.BadParameter(f"must be {allowed}, not {value!r}")
        return found

    return Kind(metavar, parse)


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


def one_of(kind: str, names: Names) -> Kind[str]:
    """One of these names; the nearest one is suggested for another."""

    def parse(value: object) -> str:
        text, known = str(value), names() if callable(names) else names
        if text not in known:
            raise typer.BadParameter(str(UnknownNameError(kind, text, known)))
        return text

    return Kind("NAME" if callable(names) else "|".join(names), parse)


def model_name(kind: str, names: Names) -> Kind[str]:
    """A model's name, or the path of weights: a .safetensors file or its .json card."""
    named = one_of(kind, names).parser
    path = existing_file("the weights or the card of a trained model").parser

    def parse(value: object) -> str:
        text = str(value)
        if Path(text).suffix not in (".safetensors", ".json"):
            return named(text)
        return str(path(text))

    return Kind("NAME", parse)


def existing_file(what: str, metavar: str = "FILE") -> Kind[Path]:
    """The path of a file that is there."""

    def parse(value: object) -> Path:
        path = Path(str(value))
        if not path.is_file():
            came = (
                f"{str(path)!r} is a folder" if path.is_dir() else f"there is no file {str(path)!r}"
            )
            raise typer.BadParameter(f"{came}; give {what}")
        return path

    return Kind(metavar, parse)


def checked(check: Callable[[str], T], metavar: str = "TEXT") -> Kind[T]:
    """What `check` returns of a text; its errors become those of the option."""

    def parse(value: object) -> T:
        try:
            return check(str(value))
        except EquidriftError as error:
            raise typer.BadParameter(" ".join(str(error).split())) from error

    return Kind(metavar, parse)


def _duration_s(value: object) -> float:
    """Seconds in '90s', '25m' or '2h'."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value).strip())
    if not match or float(match[1]) <= 0:
        raise typer.BadParameter(f"must be a time above 0 such as 90s, 25m or 2h, not {value!r}")
    return float(match[1]) * _S[match[2]]


DURATION_S = Kind("TIME", _duration_s)


@dataclass(frozen=True)
class Part:
    """One of K jobs that share the work: number k of them, from 1."""

    number: int
    jobs: int

    def __str__(self) -> str:
        return f"{self.number}/{self.jobs}"

    def has(self, index: int) -> bool:
        """Whether the shard of that number, from 0, is this job's."""
        return index % self.jobs == self.number - 1


def _part(value: object) -> Part:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(value).strip())
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise typer.BadParameter(
            f"must be k/K, the k-th of K jobs, such as 1/100 to 100/100, not {value!r}"
        )
    return Part(int(match[1]), int(match[2]))


PART = Kind("k/K", _part)
