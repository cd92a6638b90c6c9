"""equidrift forecast: trajectories continued, filled in or refined, streamed to disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli.checked import model_files
from equidrift.cli.options import (
    READING,
    SAMPLING,
    BatchSize,
    LargestFragment,
    MaxAttempts,
    ModelOptions,
    Overwrite,
    Seed,
    Smiles,
    SummaryAsJson,
    Topology,
)
from equidrift.cli.request import command_of
from equidrift.cli.values import checked, existing_file, integer, model_name, number, one_of
from equidrift.files.trajectories import check_trajectory_output
from equidrift.registry import TRAJECTORY_MODELS

MODE = "What is made"
BROKEN = ("redraw", "report")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `equidrift forecast` is asked for."""

    trajectory: Annotated[
        Path,
        typer.Argument(
            metavar="TRAJ",
            parser=existing_file("a trajectory"),
            help="The trajectory: .xtc .trr .dcd .h5md .nc .pdb .traj .extxyz .xyz or .npz.",
        ),
    ]
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            parser=checked(check_trajectory_output),
            help="File to write: .xtc .dcd .h5md .traj .extxyz .xyz .pdb or .npz. "
            "With -n above 1 there is a file for each trajectory: FILE_0000, FILE_0001, ...",
        ),
    ]
    n: Annotated[
        int, typer.Option("-n", metavar="N", parser=integer(1), help="Trajectories to make.")
    ] = 1
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=model_name("trajectory model", TRAJECTORY_MODELS),
            help="A model that `equidrift models` lists for forecast, "
            "or the path of weights you trained.",
        ),
    ] = "default"
    seed: Seed = 0
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=integer(1),
            rich_help_panel=MODE,
            help="New frames to make. With --interpolate, new frames between two neighbours.",
        ),
    ] = None
    interpolate: Annotated[
        bool,
        typer.Option(
            "--interpolate",
            rich_help_panel=MODE,
            help="Make frames between the given ones. Without --frames, make those that are "
            "missing by their times.",
        ),
    ] = False
    refine: Annotated[
        bool,
        typer.Option(
            "--refine",
            rich_help_panel=MODE,
            help="Improve a coarse trajectory: add noise to its frames, and remove it.",
        ),
    ] = False
    level: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            parser=number(above=0, most=1),
            rich_help_panel=MODE,
            help="With --refine, how much noise is added: near 0, frames hardly change; "
            "at 1, nothing of them is kept.",
        ),
    ] = 0.3
    broken: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(BROKEN),
            parser=one_of("way with broken frames", BROKEN),
            rich_help_panel=MODE,
            help="If a bond breaks, draw the frames again (redraw), or keep and count them "
            "(report). Default: redraw; with --refine, report.",
        ),
    ] = None
    top: Topology = None
    stride: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=integer(1),
            rich_help_panel=READING,
            help="Use every Nth frame of TRAJ.",
        ),
    ] = 1
    dt: Annotated[
        float | None,
        typer.Option(
            metavar="FS",
            parser=number("fs", above=0),
            rich_help_panel=READING,
            help="Time between two frames of TRAJ, in fs. Default: what the file says.",
        ),
    ] = None
    charge: Annotated[
        int | None,
        typer.Option(
            metavar="Q",
            parser=integer(),
            rich_help_panel=READING,
            help="Total charge, in units of e, if the file tells no bonds.",
        ),
    ] = None
    smiles: Smiles = None
    largest_fragment: LargestFragment = False
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=integer(1),
            rich_help_panel=SAMPLING,
            help="Calls of the neural network for each window of frames. "
            "Default: the model's own number.",
        ),
    ] = None
    batch_size: BatchSize = None
    max_attempts: MaxAttempts = 20
    set_: ModelOptions = None
    overwrite: Overwrite = False
    as_json: SummaryAsJson = False

    @property
    def mode(self) -> str:
        """What is made of the trajectory."""
        if self.interpolate:
            return "interpolate"
        return "refine" if self.refine else "forecast"

    @property
    def files(self) -> list[str | Path]:
        """Everything that is read."""
        named = (self.trajectory, self.top, *model_files(self.model))
        return [path for path in named if path is not None]

    @property
    def reading(self) -> dict[str, Any]:
        """What `equidrift.files.trajectories.load_trajectory` takes beside the paths."""
        return {
            "dt_fs": self.dt,
            "stride": self.stride,
            "charge": self.charge,
            "smiles": self.smiles,
            "largest_fragment": self.largest_fragment,
        }


@command_of(Request)
def command(request: Request) -> int:
    """Continue a trajectory, or fill it in (--interpolate), or improve it (--refine).

    The result is drawn from a model: it is not exact dynamics. If the run is
    interrupted, give the same command again. It continues where it stopped.
    """
    from equidrift.cli.forecast_run import forecast

    return forecast(request)
