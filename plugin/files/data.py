"""The folder of data for benchmarks and trainings, which no wheel holds."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "EQUIDRIFT_DATA"


def data_given() -> Path | None:
    """The folder that the environment variable EQUIDRIFT_DATA names; None if it names
    none.
    """
    folder = os.environ.get(VARIABLE)
    return Path(folder) if folder else None


def data_or_here() -> Path:
    """The same, or else the folder of the process: for files that are left out, or
    refused by name, where they are missing.
    """
    return data_given() or Path()
