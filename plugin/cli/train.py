"""equidrift train: one documented command for training on a user's own data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from equidrift.cli.options import SHOWN, SummaryAsJson
from equidrift.cli.request import command_of
from equidrift.cli.values import DURATION_S, checked, flag, one_of, option
from equidrift.files.formats import check_folder
from equidrift.registry import TRAININGS

FAMILY = one_of("family", TRAININGS)
FAMILY_HELP = f"What is trained: {', '.join(TRAININGS)}."
CONFIG_HELP = (
    "The training config, which names the data. With --template: which of the family's models to "
    "print a config for, such as leap. Default: the usual one."
)
OUTPUT_HELP = "Folder for the trained model. Default: runs/NAME for a config NAME.yaml."
BUDGET_HELP = (
    "Longest training time, with its unit: 90s, 25m or 2h. With --resume, the time of the earlier "
    "runs counts too. Default: no limit, all steps of the config."
)
TEMPLATE_HELP = "Print a config with every field and its default, and stop."
OVERWRITE_HELP = (
    "Train from the start, and replace the model and the checkpoint in FOLDER. "
    "Default: refuse a FOLDER that holds them."
)
RESUME_HELP = "Continue an interrupted training from the last checkpoint in FOLDER."


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `equidrift train` is asked for."""

    family: Annotated[str, typer.Argument(metavar="FAMILY", parser=FAMILY.parser, help=FAMILY_HELP)]
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG.yaml", help=CONFIG_HELP)] = None
    output: Annotated[
        Path | None, option(checked(check_folder, "FOLDER"), OUTPUT_HELP, "-o", "--output")
    ] = None
    budget: Annotated[float | None, option(DURATION_S, BUDGET_HELP)] = None
    template_: Annotated[bool, flag("--template", TEMPLATE_HELP)] = False
    resume: Annotated[bool, flag("--resume", RESUME_HELP, SHOWN)] = False
    overwrite: Annotated[bool, flag("--overwrite", OVERWRITE_HELP, SHOWN)] = False
    as_json: SummaryAsJson = False


@command_of(Request)
def command(request: Request) -> int:
    """Train a model on your own data.

    First write a config and fill in your data: equidrift train FAMILY --template >
    my.yaml. Then train: equidrift train FAMILY my.yaml
    """
    from equidrift.cli.train_run import print_template, train

    return print_template(request) if request.template_ else train(request)
