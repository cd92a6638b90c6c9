"""equidrift generate: new molecules with bonds, charges and conformers, streamed to
disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from equidrift.cli.checked import model_files
from equidrift.cli.options import (
    KEPT,
    SAMPLING,
    TARGETS,
    BatchSize,
    ModelOptions,
    Output,
    Overwrite,
    RelaxBy,
    Seed,
    Steps,
    SummaryAsJson,
    core_file,
)
from equidrift.cli.request import command_of
from equidrift.cli.values import integer, model_name, number, one_of
from equidrift.registry import JUDGES, MOLECULE_MODELS


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `equidrift generate` is asked for."""

    output: Output
    n: Annotated[
        int,
        typer.Option(
            "-n",
            metavar="N",
            parser=integer(1),
            help="Molecules to make, each valid and different from the others.",
        ),
    ] = 1
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=model_name("molecule model", MOLECULE_MODELS),
            help="A model that `equidrift models` lists for generate, "
            "or the path of weights you trained.",
        ),
    ] = "default"
    seed: Seed = 0
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="PROPERTY=VALUE",
            rich_help_panel=TARGETS,
            help="A property to aim at, such as gap_eV=7.0 or dipole_D=2.5. May be repeated.",
        ),
    ] = None
    guidance: Annotated[
        float | None,
        typer.Option(
            metavar="W",
            parser=number(least=0),
            rich_help_panel=TARGETS,
            help="How strongly --target acts. 1 is plain conditioning; larger values hold closer "
            "to the target and make the molecules less diverse. Default: the model's own.",
        ),
    ] = None
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            rich_help_panel=TARGETS,
            help="Accept a --target outside the range of the training data.",
        ),
    ] = False
    judge: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(JUDGES),
            parser=one_of("judge", JUDGES),
            rich_help_panel=TARGETS,
            help="What measures the properties of the new molecules: a network, or GFN2-xTB "
            "(gfn2, which needs the extra xtb). May be repeated. "
            "Default: network if there is a --target.",
        ),
    ] = None
    fragment: Annotated[
        Path | None,
        core_file(
            "Keep the heavy atoms of this .sdf, .mol or .pdb file, at its coordinates.", TARGETS
        ),
    ] = None
    relax: RelaxBy = "none"
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            rich_help_panel=KEPT,
            help="Write all N molecules, or none if fewer are found. "
            "Default: write those that are found.",
        ),
    ] = False
    steps: Steps = None
    batch_size: BatchSize = None
    max_attempts: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=integer(1),
            rich_help_panel=SAMPLING,
            help="The run is given up after N draws for each molecule asked for.",
        ),
    ] = 20
    set_: ModelOptions = None
    overwrite: Overwrite = False
    as_json: SummaryAsJson = False

    @property
    def files(self) -> list[Path]:
        """Everything that is read."""
        fragment = [] if self.fragment is None else [self.fragment]
        return [*fragment, *model_files(self.model)]


@command_of(Request)
def command(request: Request) -> int:
    """Generate new molecules with conformers.

    If the run is interrupted, give the same command again. It continues where it
    stopped.
    """
    from equidrift.cli.generate_run import generate

    return generate(request)
