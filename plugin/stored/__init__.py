"""One schema for what our own files hold: each field's type, range and length, checked
before anything is made of it.

Only this room of the core imports pydantic, and it is itself imported when a file is
read, not before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from equidrift.errors import InputError
from equidrift.records import MAX_ATOM_MAP, MAX_CHARGE, MAX_ISOTOPE, MAX_MULTIPLICITY, SYMBOLS
from equidrift.stored.kinds import (
    Count,
    Hex,
    Index,
    Label,
    Number,
    Row,
    Strict,
)
from equidrift.stored.proposers import StoredProposer
from equidrift.text import MAX_LABEL, MAX_NAME, MAX_SMILES, MAX_VALUE

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_DEPTH = 100  # lists and objects inside each other
_SHOWN = 3  # mistakes in a message
Model = TypeVar("Model", bound=BaseModel)


class StoredMolecule(Strict):
    """A Molecule as JSON values."""

    numbers: list[Annotated[StrictInt, Field(ge=1, lt=len(SYMBOLS))]]
    bonds: list[Annotated[list[Index], Field(min_length=2, max_length=2)]]
    bond_orders: list[Annotated[StrictFloat | StrictInt, Field(ge=0, le=3)]]
    formal_charges: list[Annotated[StrictInt, Field(ge=-MAX_CHARGE, le=MAX_CHARGE)]]
    tetrahedral: list[Row]
    double_bonds: list[Row]
    isotopes: list[Annotated[StrictInt, Field(ge=0, le=MAX_ISOTOPE)]] = Field(default_factory=list)
    atom_maps: list[Annotated[StrictInt, Field(ge=0, le=MAX_ATOM_MAP)]] = Field(
        default_factory=list
    )
    axial: list[Row] = Field(default_factory=list)
    stereo_groups: list[Annotated[list[Index], Field(min_length=3, max_length=3)]] = Field(
        default_factory=list
    )
    multiplicity: Annotated[StrictInt, Field(ge=1, le=MAX_MULTIPLICITY)] = 1
    name: Annotated[str, Field(max_length=MAX_NAME)] = ""
    smiles: Annotated[str, Field(max_length=MAX_SMILES)] = ""
    properties: dict[
        Annotated[str, Field(max_length=MAX_NAME)], Annotated[str, Field(max_length=MAX_VALUE)]
    ] = Field(default_factory=dict)
    atom_names: list[Label] | None = None
    residue_names: list[Label] | None = None
    residue_ids: list[Annotated[StrictInt, Field(gt=-(2**31), lt=2**31)]] | None = None
    chain_ids: list[Label] | None = None
    insertion_codes: list[Label] | None = None


class StoredHeader(Strict):
    """The JSON beside the arrays of a .npz file."""

    format: Annotated[str, Field(max_length=MAX_LABEL)]
    molecule: dict[str, Any]
    provenance: dict[str, Any]
    properties: dict[str, list[Annotated[str, Field(max_length=MAX_VALUE)]]] = Field(
        default_factory=dict
    )


class StoredCounts(Strict):
    """What became of the draws of one sample, in a piece of an unfinished trajectory
    run.
    """

    rejected: dict[str, Count]
    broken: dict[str, Count]


class StoredChunk(Strict):
    """Where a piece belongs, and the counts of its samples."""

    first_sample: Count
    first_frame: Count
    counts: list[StoredCounts]


class StoredDraw(Strict):
    """A draw of a new molecule: what was made, or why it was rejected."""

    seed: StrictInt
    reason: Annotated[str, Field(max_length=MAX_LABEL)]
    molecule: dict[str, Any] | None = None
    positions_A: list[Annotated[list[Number], Field(min_length=3, max_length=3)]] | None = None
    energy_eV: Number | None = None


class StoredDraws(Strict):
    """A batch of draws, in a folder of shards."""

    command: Annotated[str, Field(max_length=MAX_NAME)]
    draws: list[StoredDraw]


class StoredGenerate(Strict):
    """What the jobs of `equidrift generate --shard` were asked for."""

    n: Annotated[StrictInt, Field(ge=1)]
    model: str
    seed: Count
    target: list[str] | None
    candidates: Annotated[StrictInt, Field(ge=1)] | None
    guidance: Number | None
    force: StrictBool
    judge: list[str] | None
    fragment: str | None
    replace: str | None
    pocket: str | None = None
    centre: Annotated[list[Number], Field(min_length=3, max_length=3)] | None = None
    ligand: str | None = None
    pull: Annotated[Number, Field(ge=0)] | None = None
    spectrum: str | None = None
    relax: str
    strict: StrictBool
    steps: Annotated[StrictInt, Field(ge=1)] | None
    batch_size: Annotated[StrictInt, Field(ge=1)] | None
    max_attempts: Annotated[StrictInt, Field(ge=1)]
    device: str | None
    set_: list[str] | None


class StoredJournal(Strict):
    """How far an unfinished run has come."""

    command: Annotated[str, Field(max_length=MAX_NAME)]
    position: Annotated[list[Count], Field(min_length=2, max_length=2)]
    size: Count
    summary: dict[str, Any]
    granted: StrictBool = False
    closing: StrictBool = False
    failed: Count = 0
    failures: Count = 0


class StoredCard(BaseModel):
    """What every model card holds; further fields are the family's own."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    description: str
    family: str
    config: dict[str, Any]
    elements: list[str | int] | str  # symbols, or atomic numbers
    max_atoms: Count
    units: dict[str, str] | str
    licence: str
    training_data: str
    sha256: Hex
    quality: dict[str, Any]
    dtype: Literal["bfloat16", "float16", "float32", "float64"] = "float32"
    task: str = ""
    options: dict[str, Any] = Field(default_factory=dict)


class StoredTraining(Strict):
    """How far a training has come; the tensors lie in `file`, beside it."""

    file: Annotated[str, Field(pattern=r"^checkpoint-[0-9]+\.safetensors$")]
    step: Count
    samples: Count
    seconds: Annotated[Number, Field(ge=0)]
    # a loss may have come out infinite or not a number
    held_out_losses: dict[
        Literal["before", "after"], Annotated[StrictFloat, Field(allow_inf_nan=True)]
    ] = Field(default_factory=dict)


class StoredStatistics(Strict):
    """What became of the proposals of a chain, in a checkpoint of MD."""

    labels: list[Label]
    proposed: Count
    accepted: Count
    not_finite: Count
    turned: list[Count]
    turned_accepted: list[Count]
    energy_sum_kT: Number
    work_sum_kT: Number
    seconds: dict[str, Number]

    @model_validator(mode="after")
    def _one_count_a_label(self) -> StoredStatistics:
        for counts in (self.turned, self.turned_accepted):
            if len(counts) not in (0, len(self.labels)):
                raise ValueError(f"{len(counts)} counts of turns for {len(self.labels)} torsions")
        return self


class StoredCheckpoint(Strict):
    """Where MD with proposals stands; the state of OpenMM lies beside it."""

    cycle: Count
    seed: StrictInt
    md_steps: Count
    n_proposals: Count
    outputs: dict[str, Count]
    heads: dict[str, Hex]
    moved: StrictBool
    statistics: StoredStatistics
    temperature_K: Annotated[Number, Field(gt=0)]
    extra: dict[str, Any]

    @model_validator(mode="after")
    def _a_head_of_each_output(self) -> StoredCheckpoint:
        if set(self.heads) != set(self.outputs):
            raise ValueError("the fields 'outputs' and 'heads' name different files")
        return self


class StoredRun(BaseModel):
    """What `equidrift md` keeps in the `extra` of its checkpoint."""

    model_config = ConfigDict(extra="allow", strict=True)

    identity: Annotated[str, Field(max_length=MAX_NAME)]
    proposer: dict[str, Any]
    adaptation: dict[str, Any]

    @field_validator("proposer")
    @classmethod
    def _is_a_proposer(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Checked, and kept as it is: a number may not change by a reading. While a
        proposer is still fitted, none is stored.
        """
        if data:
            TypeAdapter(StoredProposer).validate_python(data)
        return data


def molecule_fields(data: object) -> dict[str, Any]:
    """The checked fields of a stored molecule, without those that were not stored."""
    stored = checked(data, StoredMolecule, "stored molecule")
    return stored.model_dump(exclude_unset=True)


def read_stored(path: str | os.PathLike[str], model: type[Model], what: str) -> Model:
    """A JSON file as the model has it.

    Parameters
    ----------
    path : str or PathLike
        The file.
    model : type of BaseModel
        What it must hold.
    what : str
        Name for messages, such as ``"journal"``.

    Raises
    ------
    InputError
        If the file is missing, is no JSON, or a field is missing, unknown, of another
        type or out of its range. The message names the file and the fields.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from error
    try:
        return checked(parsed(text, f"the {what}"), model, what)
    except InputError as error:
        raise InputError(f"{os.fspath(path)!r} is damaged: {error}") from error


def checked(data: object, model: type[Model], what: str) -> Model:
    """`data` as the model has it.

    Raises
    ------
    InputError
        Names the fields that are missing, unknown, of another type or out of their
        range.
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


def _mistake(mistake: ErrorDetails) -> str:
    place = ".".join(str(part)[:MAX_LABEL] for part in mistake["loc"])
    if mistake["type"] == "missing":
        return f"the field {place!r} is missing"
    if mistake["type"] == "extra_forbidden":
        return f"the field {place!r} is unknown"
    message = mistake["msg"].removeprefix("Value error, ")
    if not place:  # several fields that do not fit together: the message names them
        return str(message)
    return f"{place}: {message[:1].lower()}{message[1:]}, got {repr(mistake['input'])[:MAX_LABEL]}"


def parsed(text: str | bytes, what: str) -> object:
    """The value of a JSON text; `checked` makes a record of it.

    Raises
    ------
    InputError
        If it is no JSON, or goes deeper than `MAX_DEPTH`.
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


def check_depth(value: object, what: str) -> None:
    """Refuse lists and objects that go deeper than `MAX_DEPTH`; raises `InputError`."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise InputError(f"{what} has more than {MAX_DEPTH} lists and objects inside each other")


def _children(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []
