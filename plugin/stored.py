"""One schema for what our own files hold: each field's type, range and length, checked
before anything is made of it.

Only this module of the core imports pydantic, and it is itself imported when a file is
read, not before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
)

from equidrift.errors import InputError
from equidrift.records import MAX_ATOM_MAP, MAX_CHARGE, MAX_ISOTOPE, MAX_MULTIPLICITY, SYMBOLS
from equidrift.text import MAX_LABEL, MAX_NAME, MAX_SMILES, MAX_VALUE

MAX_DEPTH = 100  # lists and objects inside each other
MAX_ATOMS = 10_000_000
_SHOWN = 3  # mistakes in a message

Index = Annotated[StrictInt, Field(ge=0, lt=MAX_ATOMS)]
Label = Annotated[str, Field(max_length=MAX_LABEL)]
Row = Annotated[list[Index], Field(min_length=5, max_length=5)]
Model = TypeVar("Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StoredMolecule(_Strict):
    """A Molecule as JSON values."""

    numbers: list[Annotated[StrictInt, Field(ge=1, lt=len(SYMBOLS))]]
    bonds: list[Annotated[list[Index], Field(min_length=2, max_length=2)]]
    bond_orders: list[Annotated[StrictFloat | StrictInt, Field(ge=0, le=3)]]
    formal_charges: list[Annotated[StrictInt, Field(ge=-MAX_CHARGE, le=MAX_CHARGE)]]
    tetrahedral: list[Row]
    double_bonds: list[Row]
    isotopes: list[Annotated[StrictInt, Field(ge=0, le=MAX_ISOTOPE)]] = []
    atom_maps: list[Annotated[StrictInt, Field(ge=0, le=MAX_ATOM_MAP)]] = []
    multiplicity: Annotated[StrictInt, Field(ge=1, le=MAX_MULTIPLICITY)] = 1
    name: Annotated[str, Field(max_length=MAX_NAME)] = ""
    smiles: Annotated[str, Field(max_length=MAX_SMILES)] = ""
    properties: dict[
        Annotated[str, Field(max_length=MAX_NAME)], Annotated[str, Field(max_length=MAX_VALUE)]
    ] = {}
    atom_names: list[Label] | None = None
    residue_names: list[Label] | None = None
    residue_ids: list[Annotated[StrictInt, Field(gt=-(2**31), lt=2**31)]] | None = None
    chain_ids: list[Label] | None = None
    insertion_codes: list[Label] | None = None


class StoredHeader(_Strict):
    """The JSON beside the arrays of a .npz file."""

    format: Annotated[str, Field(max_length=MAX_LABEL)]
    molecule: dict[str, Any]
    provenance: dict[str, Any]
    properties: dict[str, list[Annotated[str, Field(max_length=MAX_VALUE)]]] = {}


class StoredCounts(_Strict):
    """What became of the draws of one sample, in a piece of an unfinished trajectory
    run.
    """

    rejected: dict[str, Annotated[StrictInt, Field(ge=0)]]
    broken: dict[str, Annotated[StrictInt, Field(ge=0)]]


class StoredChunk(_Strict):
    """The counts of all samples of such a piece."""

    counts: list[StoredCounts]


class StoredJournal(BaseModel):
    """How far an unfinished run has come; `extra` fields are the writer's own."""

    model_config = ConfigDict(extra="allow", strict=True)

    command: Annotated[str, Field(max_length=MAX_NAME)]
    position: Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(min_length=2, max_length=2)]
    size: Annotated[StrictInt, Field(ge=0)]
    summary: dict[str, Any]
    granted: StrictBool = False
    closing: StrictBool = False


def molecule_fields(data: Any) -> dict[str, Any]:
    """The checked fields of a stored molecule, without those that were not stored."""
    stored = checked(data, StoredMolecule, "stored molecule")
    return stored.model_dump(exclude_unset=True)


def checked(data: Any, model: type[Model], what: str) -> Model:
    """`data` as the model has it.

    Raises
    ------
    InputError
        which names the fields that are missing, unknown, of another type or out of
        their range.
    """
    if not isinstance(data, Mapping):
        raise InputError(
            f"this is no {what}: expected an object with fields, not {type(data).__name__}"
        )
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False)
        told = "; ".join(_mistake(mistake) for mistake in mistakes[:_SHOWN])
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise InputError(f"this is no {what}: {told}{more}") from error


def _mistake(mistake: Any) -> str:
    place = ".".join(str(part)[:MAX_LABEL] for part in mistake["loc"]) or "all of it"
    if mistake["type"] in ("missing", "extra_forbidden"):
        return f"the field {place!r} is {'missing' if mistake['type'] == 'missing' else 'unknown'}"
    return f"{place}: {mistake['msg'][:1].lower()}{mistake['msg'][1:]}, got {repr(mistake['input'])[:MAX_LABEL]}"


def parsed(text: str | bytes, what: str) -> Any:
    """The value of a JSON text.

    Raises
    ------
    InputError
        where it is no JSON, or goes deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise InputError(
            f"{what} has more than {MAX_DEPTH} lists and objects inside each other"
        ) from error
    except ValueError as error:
        raise InputError(f"{what} is no JSON: {error}") from error
    check_depth(value, what)
    return value


def check_depth(value: Any, what: str) -> None:
    """Refuse lists and objects that go deeper than `MAX_DEPTH`; raises `InputError`."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise InputError(f"{what} has more than {MAX_DEPTH} lists and objects inside each other")


def _children(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []
