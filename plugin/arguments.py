"""Checks of arguments that many functions share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

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


def fields_among(kind: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of the `locals()` of a function that begins, the arguments that are fields of a
    dataclass.
    """
    return {one.name: arguments[one.name] for one in fields(kind) if one.name in arguments}


def check_address(text: str) -> str:
    """The address of a cluster: auto, HOST:PORT or ray://HOST:PORT.

    Raises
    ------
    InputError
        For another text.
    """
    if text == "auto" or re.fullmatch(r"(ray://)?[^\s:/]+:\d{1,5}", text):
        return text
    raise InputError(f"must be auto, HOST:PORT or ray://HOST:PORT, not {text!r}")


def check_device(text: str) -> str:
    """Return the name of a torch device, or say why it is none.

    Whether the device is there is seen when a model is loaded.
    """
    if not re.fullmatch(r"(cpu|cuda|mps|xpu)(:\d+)?", text):
        raise InputError(
            f"{text!r} is no device; give cpu, cuda, or cuda:0 for the first of several"
        )
    return text
