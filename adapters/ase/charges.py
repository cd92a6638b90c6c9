"""The total charge that atoms from elsewhere carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from equidrift.adapters.ase.typed import initial_charges
from equidrift.errors import InputError

KEYS = ("charge", "total_charge", "net_charge", "tot_charge")  # of `atoms.info`, in any case
WHOLE = 1e-6  # how far from a whole number a total charge may lie
ROUNDING = 0.05  # ... if it is a sum of partial charges, which files round


def charge_of(atoms: Atoms) -> int | None:
    """The total charge that the atoms carry, None if they say nothing."""
    named = {key: value for key, value in atoms.info.items() if key.lower() in KEYS}
    if named:
        given = {_whole(key, value, atoms.info) for key, value in named.items()}
        if len(given) > 1:
            raise InputError(f"the atoms have several charges, {named}; set atoms.info['charge']")
        return given.pop()
    charges = initial_charges(atoms)
    if not charges.any():
        return None
    total = float(charges.sum())
    partial = bool(np.abs(charges - np.rint(charges)).max() > WHOLE)
    allowed = ROUNDING if partial else WHOLE
    if not math.isfinite(total) or abs(total - round(total)) > allowed:
        raise InputError(
            f"the atoms' initial charges sum to {total:g}, and the charge must be a whole number; "
            "set atoms.info['charge']"
        )
    return round(total)


def _whole(key: str, value: Any, info: Mapping[str, Any]) -> int:
    """A charge in `atoms.info` as a whole number.

    ASE reads the comment "charge -1" as two flags: charge=True and -1=True.
    """
    if isinstance(value, bool | np.bool_):
        flags = [other for other, flag in info.items() if flag is True and _is_integer(other)]
        if len(flags) == 1:
            return int(flags[0])
        raise InputError(
            f"the atoms have {key}={value}, as ASE reads a comment like '{key} -1'; write "
            f"'{key}=-1' there, or set atoms.info['charge']"
        )
    try:
        number = float(value)
        whole = round(number)
    except (TypeError, ValueError, OverflowError):
        number, whole = np.nan, 0
    if isinstance(value, str | bytes) or not abs(number - whole) <= WHOLE:
        raise InputError(
            f"the charge of the atoms must be a whole number, not {value!r}; set "
            "atoms.info['charge']"
        )
    return whole


def _is_integer(text: Any) -> bool:
    return isinstance(text, str) and text.strip().lstrip("+-").isdecimal()
