"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

ModelOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set an option of the model (`equidrift models NAME` lists them). May be repeated.",
    ),
]
LargestFragment = Annotated[
    bool,
    typer.Option("--largest-fragment", help="Keep only the largest fragment of a salt or solvate."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output files.")]
SummaryAsJson = Annotated[
    bool, typer.Option("--json", help="Print the summary as one JSON object.")
]


def model_options(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE pairs, values read as YAML scalars.

    Raises `InputError` for anything else.
    """
    import yaml

    from equidrift.errors import InputError

    options = {}
    for pair in pairs:
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


def model_files(model: str) -> list[Path]:
    """The files of a model given by its path: weights and card; none for a name."""
    path = Path(model)
    named = [path, path.with_suffix(".json"), path.with_suffix(".safetensors")]
    return named if path.suffix else []
