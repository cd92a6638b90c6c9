"""What the three engines share: settings, their checks, origin and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Self, TypeVar

from equidrift._version import __version__
from equidrift.arguments import check_count, fields_among
from equidrift.errors import InputTypeError
from equidrift.protocols import Callback, Model

MAX_ATTEMPTS = 20


T = TypeVar("T")
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, kw_only=True)
class RunSettings(Generic[M]):
    """What the settings of every run hold.

    Parameters
    ----------
    model : Model
        Draws the samples.
    seed : int
        Of the run.
    steps : int or None
        Of the model's solver, None for its own default.
    batch_size : int
        Samples in one call of the model.
    max_attempts : int
        Draws for a sample before it is given up.
    options : dict
        What else was asked for; provenance tells it.
    callback : Callback or None
        Called with counts as the run goes on.
    """

    model: M
    seed: int = 0
    steps: int | None = None
    batch_size: int
    max_attempts: int = MAX_ATTEMPTS
    options: dict[str, Any] = field(default_factory=dict)
    callback: Callback | None = None

    def origin(self, **asked: Any) -> dict[str, Any]:
        """Where the samples come from: model, weights, seed, options and version.

        Parameters
        ----------
        **asked
            Further options; those that are None are left out.
        """
        options = {"steps": self.steps, **asked, **self.options}
        return {
            "model": str(self.model.name),
            "weights_sha256": self.model.weights_sha256,
            "seed": self.seed,
            "options": {key: value for key, value in options.items() if value is not None},
            "equidrift": __version__,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class RunOptions:
    """The options of a public function as a record; what is no field is the model's."""

    model_options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, **given: Any) -> Self:
        """The record of options by their names.

        Parameters
        ----------
        **given
            Options; those that are no fields go to the model.
        """
        names = {one.name for one in fields(cls)} - {"model_options"}
        own = {key: value for key, value in given.items() if key in names}
        return cls(**own, model_options={k: v for k, v in given.items() if k not in names})

    @classmethod
    def of_call(cls, arguments: Mapping[str, Any]) -> Self:
        """`of` the arguments of a public function, which holds those of its model in
        `model_options`.

        Parameters
        ----------
        arguments : mapping
            The `locals()` of the function; other names in it are passed over.
        """
        own = fields_among(cls, arguments)
        further = own.pop("model_options")
        return cls.of(**own, **further)


def check_counts(**counts: int | None) -> None:
    """Refuse an argument that is neither None nor an integer of 1 or more."""
    for label, value in counts.items():
        if value is not None:
            check_count(label, value)


def model_of(
    make: Callable[..., object],
    accept: Callable[[object], M],
    model: object,
    options: dict[str, Any],
) -> M:
    """The model of a run: by its name, `make(name, **options)`, or an object.

    Parameters
    ----------
    make : callable
        Makes the model of a name.
    accept : callable
        Returns an object as a model, or refuses it.
    model : str or object
        What was asked for.
    options : dict
        Of the model of a name.

    Raises
    ------
    InputTypeError
        For an option that the model of a name lacks, and for options beside an object.
    """
    if isinstance(model, str):
        return accept(made_by(make, model, options))
    made = accept(model)
    if options:
        raise InputTypeError(
            f"the options {', '.join(map(repr, options))} are none of a run, and the model is an "
            f"object ({type(model).__name__}), which takes none; check their spelling, or give "
            "them to the object"
        )
    return made


def made_by(make: Callable[..., T], name: str, options: dict[str, Any]) -> T:
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
