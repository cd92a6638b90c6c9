"""What a chemist asks of new molecules by their graphs: values, limits and extremes of
properties that RDKit computes exactly.

A limit must hold: a molecule that breaks it is rejected, with that reason. A value or an
extreme is aimed at: of `candidates` draws the one with the least sum of misses is kept,
each in units of the property's spread over drug-size molecules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError, InputTypeError

EXACT = "rdkit"  # the judge of these properties; its scores are named by the property alone
EXTREMES, LIMITS = ("max", "min"), ("<", ">")
AIMED_SHARE = 0.1  # an extreme is aimed at this far from the end of the training data's range


@dataclass(frozen=True)
class GraphProperty:
    """A property of a graph: its `unit`, the values it can have, and its standard
    deviation over 3,000 molecules of ZINC's training part (`spread`), the unit of misses.
    """

    unit: str
    least: float
    greatest: float
    spread: float


GRAPH_PROPERTIES = {
    "MW": GraphProperty("g/mol", 1.0, math.inf, 62.0),
    "QED": GraphProperty("", 0.0, 1.0, 0.14),
    "SA": GraphProperty("", 1.0, 10.0, 0.82),
    "TPSA": GraphProperty("A^2", 0.0, math.inf, 23.0),
    "logP": GraphProperty("", -math.inf, math.inf, 1.4),
}


@dataclass(frozen=True)
class Goal:
    """What one property is to be.

    Attributes
    ----------
    name : str
        Of `GRAPH_PROPERTIES`.
    kind : str
        "=", "<", ">", "max" or "min".
    value : float
        The value or the limit; NaN of an extreme.
    """

    name: str
    kind: str
    value: float = math.nan

    @classmethod
    def of(cls, name: str, wanted: Any) -> Goal:
        """The goal of a name and a number, "max", "min", "<90" or ">20".

        Raises `InputError` or `InputTypeError` for anything else.
        """
        if isinstance(wanted, str):
            text = wanted.strip()
            if text in EXTREMES:
                return cls(name, text)
            kind = text[:1] if text[:1] in LIMITS else "="
            return cls(name, kind, _checked(name, wanted, text.removeprefix(kind)))
        if isinstance(wanted, bool) or not isinstance(wanted, int | float | np.number):
            raise InputTypeError(f"the target of {name} must be {_choices(name)}, not {wanted!r}")
        return cls(name, "=", _checked(name, wanted, wanted))

    @property
    def told(self) -> float | str:
        """As it was asked for: a number or a text."""
        if self.kind == "=":
            return self.value
        return self.kind if self.kind in EXTREMES else f"{self.kind}{self.value:g}"

    @property
    def limit(self) -> bool:
        """Whether molecules that miss it are rejected."""
        return self.kind in LIMITS

    @property
    def reason(self) -> str:
        """Why a molecule that breaks the limit is rejected."""
        return f"{self.name} not {'below' if self.kind == '<' else 'above'} {self.value:g}"

    def met(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether values (k,) keep the limit; all do if there is none."""
        if self.kind == "<":
            return values < self.value
        return values > self.value if self.kind == ">" else np.ones(len(values), bool)

    def misses(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far values (k,) are from the goal, less is better: the distance from a
        value or beyond a limit; of an extreme the value itself, negative for a
        maximum.
        """
        if self.kind in EXTREMES:
            return -values if self.kind == "max" else values
        off = values - self.value
        if self.kind == "=":
            return np.abs(off)
        return np.maximum(off if self.kind == "<" else -off, 0.0)

    def aim(self, limits: tuple[float, float]) -> float | None:
        """The value that a model trained on the range `limits` is told; None for a
        limit, which molecules are only held to.
        """
        if self.limit:
            return None
        if self.kind == "=":
            return self.value
        end, other = (1, 0) if self.kind == "max" else (0, 1)
        return (1 - AIMED_SHARE) * limits[end] + AIMED_SHARE * limits[other]


def _choices(name: str) -> str:
    return f"a number, 'max', 'min', or a limit such as '<90' or '>20' ({name}=2.5)"


def _checked(name: str, given: Any, number: Any) -> float:
    """The number of a goal; raises `InputError` if it is none, or none the property can
    have.
    """
    try:
        value = float(number)
    except ValueError as error:
        raise InputError(f"the target of {name} must be {_choices(name)}, not {given!r}") from error
    known = GRAPH_PROPERTIES[name]
    if not (math.isfinite(value) and known.least <= value <= known.greatest):
        between = f"between {known.least:g} and {known.greatest:g}"
        if math.isinf(known.greatest):
            between = f"{known.least:g} or more, and finite"
        if math.isinf(known.least):
            between = "a finite number"
        raise InputError(f"the target of {name} must be {between}, not {given}")
    return value


def goals_of(targets: Mapping[str, Any]) -> tuple[tuple[Goal, ...], dict[str, Any]]:
    """(the goals among targets, in the order of their names; all other targets)."""
    goals = tuple(
        Goal.of(name, wanted)
        for name, wanted in sorted(targets.items())
        if name in GRAPH_PROPERTIES
    )
    return goals, {name: v for name, v in targets.items() if name not in GRAPH_PROPERTIES}


def broken(goals: Sequence[Goal], values: Mapping[str, float]) -> str:
    """The reason of the first limit that a molecule breaks, empty if it keeps all."""
    for goal in goals:
        if not goal.met(np.array([values[goal.name]]))[0]:
            return goal.reason
    return ""


def total_miss(goals: Sequence[Goal], values: Mapping[str, float]) -> float:
    """The misses of a molecule, summed, each in units of its property's spread."""
    return sum(
        float(goal.misses(np.array([values[goal.name]]))[0]) / GRAPH_PROPERTIES[goal.name].spread
        for goal in goals
        if not goal.limit
    )


def pareto_front(misses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows (n, k) no other row is better than or equal to in all columns, and
    better in one; less is better.
    """
    no_worse = (misses[:, None] <= misses[None]).all(axis=-1)
    better = (misses[:, None] < misses[None]).any(axis=-1)
    return ~np.asarray((no_worse & better).any(axis=0), bool)
