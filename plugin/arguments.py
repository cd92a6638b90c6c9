"""Checks of arguments that many functions share."""

from __future__ import annotations

import numpy as np

from equidrift.errors import InputError, InputTypeError


def check_count(label: str, value: int, least: int = 1) -> int:
    """Return an integer that must be `least` or more, or say why it cannot be used."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputTypeError(
            f"{label} must be an integer, not {value!r}; give for example {label}=10"
        )
    if value < least:
        raise InputError(f"{label} must be {least} or more, not {value}")
    return int(value)
