"""What several commands make of their options before any work; each error names the
option that it came by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from equidrift.errors import (
    OTHER_FORMATS,
    EquidriftError,
    InputError,
    InputTypeError,
    UnknownNameError,
    WeightsError,
)
from equidrift.files.topologies import TOPOLOGIES
from equidrift.files.unpacked import names_file, plain_suffix
from equidrift.records import Molecule

M = TypeVar("M")


@contextmanager
def blamed_on(option: str) -> Iterator[None]:
    """While this is open, an error in an input names the option that it came by."""
    try:
        yield
    except (InputError, InputTypeError) as error:
        raise InputError(f"{option}: {error}") from error


def loaded(make: Callable[..., M], name: str, options: dict[str, Any]) -> M:
    """The model of that name with the options of --set.

    Raises
    ------
    InputError
        For weights that cannot be loaded, and for an option that the model lacks or
        cannot take.
    """
    from equidrift.engine.run import made_by

    flag = "--device" if set(options) == {"device"} else "--set"
    try:
        made: M = made_by(make, name, options)
    except (WeightsError, UnknownNameError) as error:
        raise InputError(f"--model: {error}") from error
    except EquidriftError as error:
        if options and isinstance(error, InputError | InputTypeError):
            raise InputError(f"{flag}: {error}") from error
        raise
    except (TypeError, ValueError) as error:
        if not options:
            raise
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise InputError(
            f"{flag}: the model {name!r} cannot take {given} ({error}); "
            f"`equidrift models {name}` lists its options"
        ) from error
    return made


def model_options(pairs: Sequence[str] | None, device: str | None = None) -> dict[str, Any]:
    """KEY=VALUE pairs, values read as YAML scalars, and the device if one is given.

    Raises `InputError` for anything else.
    """
    import yaml

    options: dict[str, Any] = {} if device is None else {"device": device}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--set takes KEY=VALUE, say --set num_threads=2; got {pair!r}")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(
                f"--set {pair!r} has a value that is no number, word or list"
            ) from error
    return options


def check_smiles(smiles: str | None) -> None:
    """Refuse what --smiles cannot be."""
    if smiles is not None:
        with blamed_on("--smiles"):
            Molecule.from_smiles(smiles)


def check_topology(top: str | None) -> None:
    """Refuse what --top cannot be: neither a file of a molecule nor a SMILES."""
    if top is None:
        return
    with blamed_on("--top"):
        suffix, there = plain_suffix(top), names_file(top)
        if suffix in OTHER_FORMATS:
            raise UnknownNameError("topology suffix", suffix, TOPOLOGIES)
        if suffix not in TOPOLOGIES and not there:
            Molecule.from_smiles(top)
        elif not there:
            raise InputError(
                f"there is no file {top!r}; give a .pdb, .sdf, .mol or .mol2 file, or a SMILES"
            )


def model_files(model: str) -> list[Path]:
    """The files of a model given by its path: weights and card; none for a name."""
    path = Path(model)
    named = [path, path.with_suffix(".json"), path.with_suffix(".safetensors")]
    return named if path.suffix else []
