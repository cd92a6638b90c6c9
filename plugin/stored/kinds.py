"""Kinds of fields that our own files hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
)

from equidrift.text import MAX_LABEL

MAX_ATOMS = 10_000_000

Index = Annotated[StrictInt, Field(ge=0, lt=MAX_ATOMS)]
Label = Annotated[str, Field(max_length=MAX_LABEL)]
Count = Annotated[StrictInt, Field(ge=0)]
Number = StrictFloat | StrictInt
Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
Row = Annotated[list[Index], Field(min_length=5, max_length=5)]
Block = Annotated[StrictInt, Field(ge=1)] | None
# a grid of up to three dimensions
Table = list[Number] | list[list[Number]] | list[list[list[Number]]] | Number


class Strict(BaseModel):
    """Fields as they are named, of their types, and finite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
