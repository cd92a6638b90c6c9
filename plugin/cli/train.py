"""equidrift train: one documented command for training on a user's own data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from equidrift.cli.options import SHOWN, SummaryAsJson
from equidrift.cli.request import command_of
from equidrift.cli.values import checked, duration_s, one_of
from equidrift.files.formats import check_folder
from equidrift.registry import TRAININGS


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `equidrift train` is asked for."""

    family: Annotated[
        str,
        typer.Argument(
            metavar="FAMILY",
            parser=one_of("family", TRAININGS),
            help=f"What is trained: {', '.join(TRAININGS)}.",
        ),
    ]
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG.yaml",
            help="The training config. With --template: the model to print a config for.",
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            parser=checked(check_folder),
            help="Folder for the trained model. Default: runs/NAME for a config NAME.yaml.",
        ),
    ] = None
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=duration_s,
            help="Training time with its unit, such as 90s, 25m or 2h. The earlier parts of a "
            "resumed run count. Default: as many steps as the config says.",
        ),
    ] = None
    template_: Annotated[
        bool,
        typer.Option(
            "--template", help="Print a config with all fields and their defaults, and stop."
        ),
    ] = False
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", rich_help_panel=SHOWN, help="Continue from the last checkpoint in FOLDER."
        ),
    ] = False
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            rich_help_panel=SHOWN,
            help="Start again, and replace the model and the checkpoint in FOLDER.",
        ),
    ] = False
    as_json: SummaryAsJson = False


@command_of(Request)
def command(request: Request) -> int:
    """Train a model on your own data.

    Begin with a config: equidrift train FAMILY --template > my.yaml
    """
    from equidrift.cli.train_run import print_template, train

    return print_template(request) if request.template_ else train(request)
