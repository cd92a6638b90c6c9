"""What the three engines share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from equidrift.errors import InputTypeError

MAX_ATTEMPTS = 20


def made_by(make: Callable[..., Any], name: str, options: dict[str, Any]) -> Any:
    """`make(name, **options)`; an option that the model lacks is the caller's mistake,
    and told as such.
    """
    try:
        return make(name, **options)
    except TypeError as error:
        option = next(
            (key for key in options if f"unexpected keyword argument '{key}'" in str(error)), None
        )
        if option is None:
            raise
        raise InputTypeError(
            f"the model {name!r} has no option {option!r}; check its spelling, or leave it out"
        ) from error
