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
CONFIG_HELP = "The training config. With --template: the model to print a config for."
OUTPUT_HELP = "Folder for the trained model. Default: runs/NAME for a config NAME.yaml."
BUDGET_HELP = (
    "Training time with its unit, such as 90s, 25m or 2h. The earlier parts of a resumed run "
    "count. Default: as many steps as the config says."
)
TEMPLATE_HELP = "Print a config with all fields and their defaults, and stop."
OVERWRITE_HELP = "Start again, and replace the model and the checkpoint in FOLDER."
RESUME_HELP = "Continue from the last checkpoint in FOLDER."


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

    Begin with a config: equidrift train FAMILY --template > my.yaml
    """
    from equidrift.cli.train_run import print_template, train

    return print_template(request) if request.template_ else train(request)
