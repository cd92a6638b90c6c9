"""Counts with their nouns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import equidrift
from equidrift.text import counted


@pytest.mark.parametrize(
    ("number", "noun", "told"),
    [
        (0, "entry", "0 entries"),
        (1, "entry", "1 entry"),
        (2, "entry", "2 entries"),
        (1, "heavy atom", "1 heavy atom"),
        (2, "trajectory", "2 trajectories"),
        (3, "assay", "3 assays"),
    ],
)
def test_counted_puts_the_noun_in_the_plural_unless_there_is_one(
    number: int, noun: str, told: str
) -> None:
    assert counted(number, noun) == told
    assert counted(1, noun, "is", "are").endswith(" is")
    assert counted(2, noun, "is", "are").endswith("s are")


# nouns whose number a user's own input decides, so that it may be 1
_COUNTED = "conformers|molecules|frames|samples|entries|trajectories|draws|atoms|torsions|proposals"
_BARE = re.compile(rf"\{{(?:len\([^{{}}]*\)|n|count|done|n_[a-z]+)\}} (?:{_COUNTED})\b")


def test_summaries_and_reports_count_by_one_function() -> None:
    rooms = [Path(equidrift.__file__).parent / room for room in ("cli", "report", "records")]
    bare = [
        f"{path.name}: {line.strip()}"
        for room in rooms
        for path in sorted(room.glob("*.py"))
        for line in path.read_text().splitlines()
        if _BARE.search(line)
    ]
    assert bare == []
    assert all(list(room.glob("*.py")) for room in rooms)
