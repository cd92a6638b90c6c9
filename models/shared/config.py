"""What a training config may say, and what is said of one that does not fit."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from equidrift.errors import ConfigError, InputError
from equidrift.models.shared.split import HELD_OUT
from equidrift.models.shared.trainer import Schedule
from equidrift.weights import load_weights

LICENCE, TRAINING_DATA = (
    "as the training data's owner decides",
    "user data",
)  # of a card, if the user says nothing
# `data` of a training config: names, or a single one
Names = Annotated[
    list[str],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(min_length=1),
]
# `name` of a training config: also the stem of the files that are written
Name = Annotated[str, Field(pattern=r"^[\w.+-]+$")]


class TrainingConfig(BaseModel):
    """What the training YAML of every family may say; families add their own fields.

    Unknown keys are errors.

    Attributes
    ----------
    name : str
        Of the weights file and in the card.
    network : dict
        Sizes, where they are not the defaults.
    schedule : dict
        Fields of `Schedule`, where they are not the defaults.
    seed : int
        Of the first weights, of the order of batches and of noise.
    licence, training_data : str
        For the card.
    """

    model_config = ConfigDict(extra="forbid")
    schedule_defaults: ClassVar[dict[str, Any]] = {}

    name: Name = "my-model"
    network: dict[str, Any] = {}
    schedule: dict[str, Any] = {}
    seed: int = Field(default=0, ge=0)
    licence: str = LICENCE
    training_data: str = TRAINING_DATA

    def make_schedule(self) -> Schedule:
        """The schedule asked for. Raises `ConfigError` for settings that it has not."""
        return make_schedule(self.schedule, **self.schedule_defaults)

    def begin(self) -> Any:
        """What can be made, and so checked, before any data is read: the network, in
        most families.
        """
        return None


class SplitTraining(TrainingConfig):
    """What the YAML of a training may say whose data are parted by a share.

    Attributes
    ----------
    data : list of str
        Names of the files to learn from, or of folders of them.
    held_out : float
        Share of the data that is not trained on; it tells the loss before and after.
    """

    data: Names
    held_out: float = Field(default=HELD_OUT, ge=0, lt=0.5)


def initial(
    init: str, tasks: Collection[str], network: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state dict, card) of the weights that a training begins with.

    Parameters
    ----------
    init : str
        Name or path.
    tasks : Collection[str]
        What its card's task may be.
    network : mapping
        Sizes that the config asks for.

    Raises
    ------
    InputError
        for a model of another task, or of another network than the one asked for.
    """
    state, card = load_weights(init)
    if card.get("task") not in tasks:
        raise InputError(
            f"init: {init} is a model for task {card.get('task')!r}, expected "
            f"{' or '.join(map(repr, tasks))}"
        )
    if other := {key: value for key, value in network.items() if card["config"].get(key) != value}:
        raise InputError(
            f"init: {init} has another network than the config asks for ({other}); leave "
            "`network` out"
        )
    return state, card


@contextmanager
def config_errors() -> Iterator[None]:
    """What a training config is refused with, as a `ConfigError`: a line per mistake,
    each with its field.

    An `InputError` from within goes through as it is.
    """
    try:
        yield
    except InputError:
        raise
    except ValidationError as error:
        raise ConfigError([_line(mistake) for mistake in error.errors()]) from error
    except TypeError as error:
        raise ConfigError([_unknown_argument(str(error))]) from error
    except ValueError as error:
        raise ConfigError([str(error)]) from error


def _line(mistake: Any) -> str:
    """One of pydantic's mistakes as `field: what is wrong, what was given`."""
    field = ".".join(str(part) for part in mistake["loc"])
    context, given = mistake.get("ctx", {}), mistake.get("input")
    known = {
        "missing": "is missing; give it",
        "extra_forbidden": "is no field of this config; `equidrift train FAMILY --template` lists "
        "them",
        "string_pattern_mismatch": f"must fit the pattern {context.get('pattern')}, not {given!r}",
        "literal_error": f"must be {context.get('expected')}, not {given!r}",
    }
    message = str(mistake["msg"]).removeprefix("Value error, ")
    text = known.get(mistake["type"])
    if text is None and mistake["type"] == "value_error":
        text = message
    if text is None:
        wanted = message.removeprefix("Input should be ").removeprefix("a valid ")
        text = f"must be {wanted}, not {given!r}"
    return f"{field}: {text}" if field else text


def _unknown_argument(message: str) -> str:
    """Python's complaint about a keyword, as `field.key: ...`."""
    match = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", message)
    if match is None:
        return message
    field = "schedule" if match[1] == Schedule.__name__ else "network"
    return f"{field}.{match[2]}: is no setting of the {field}"


def make_schedule(settings: Mapping[str, Any], **defaults: Any) -> Schedule:
    """The schedule of a config.

    Raises `ConfigError` for keys that it has not, or values that are no numbers above
    0.
    """
    known = {field.name for field in dataclasses.fields(Schedule)}
    mistakes = []
    for key, value in settings.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            mistakes.append(f"schedule.{key}: is no setting of the schedule; {hint}")
        elif value is None and key == "steps":
            continue
        elif (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value < math.inf
        ):
            mistakes.append(f"schedule.{key}: must be a number of 0 or more, not {value!r}")
        elif key in ("steps", "warmup_steps") and value != int(value):
            mistakes.append(f"schedule.{key}: must be a whole number, not {value!r}")
        elif key in ("hold", "ema") and value >= 1:
            mistakes.append(f"schedule.{key}: must be below 1, not {value!r}")
    if mistakes:
        raise ConfigError(mistakes)
    return Schedule(**{**defaults, **settings})


def check_run(out: Path, budget_s: float | None, steps: int | None, resume: bool) -> float:
    """The seconds that a run may take, infinity where only `steps` ends it.

    Raises
    ------
    InputError
        where neither a budget nor steps are given, for a budget that is not positive,
        or a folder `out` that holds a checkpoint when `resume` is not given.
    """
    if budget_s is None and steps is None:
        raise InputError(
            "how long to train is not given; add --budget 25m, or `steps` to the schedule in the "
            "config"
        )
    budget_s = math.inf if budget_s is None else budget_s
    if budget_s <= 0:
        raise InputError(
            f"the time budget must be positive, not {budget_s} s; for example --budget 25m"
        )
    if (out / "checkpoint.json").exists() and not resume:
        raise InputError(
            f"{out} holds a checkpoint; add --resume to go on from it, or give another --output"
        )
    return budget_s
