"""Commands whose options are the fields of a dataclass, each described once."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, get_type_hints

R = TypeVar("R")


def command_of(request: type[R]) -> Callable[[Callable[[R], int]], Callable[..., int]]:
    """A decorator: the function of a request becomes a command for typer.

    Parameters
    ----------
    request : type
        A frozen dataclass. A field is an option: its annotation holds the
        `typer.Option`, its default is the option's, and a field without default must be
        given. Fields of base classes come last in the help.
    """

    def decorate(run: Callable[[R], int]) -> Callable[..., int]:
        @wraps(run)
        def command(**options: Any) -> int:
            return run(request(**options))

        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = hints
        return command

    hints = get_type_hints(request, include_extras=True)
    own = inspect.get_annotations(request)
    fields = sorted(
        dataclasses.fields(request),  # type: ignore[arg-type] # mypy has no name for dataclasses
        key=lambda field: field.name not in own,
    )
    signature = inspect.Signature([_parameter(field, hints) for field in fields])
    return decorate


def _parameter(field: dataclasses.Field[Any], hints: dict[str, Any]) -> inspect.Parameter:
    given = field.default is dataclasses.MISSING
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=hints[field.name],
        default=inspect.Parameter.empty if given else field.default,
    )
