"""equidrift forecast: trajectories continued, filled in or refined, streamed to disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli import options
from equidrift.cli.checked import model_files
from equidrift.cli.md import picoseconds
from equidrift.cli.options import CHARGE, COUNT, READING, SAMPLING
from equidrift.cli.request import command_of
from equidrift.cli.values import checked, existing_file, flag, model_name, number, one_of, option
from equidrift.errors import InputError
from equidrift.files.trajectories import check_trajectory_output
from equidrift.registry import TRAJECTORY_MODELS

MODE = "What is made"
BROKEN = ("redraw", "report")
LEAP_PS = 1.0  # frames so far apart are leapt to

TRAJ = existing_file("a trajectory", "TRAJ")
TRAJ_HELP = "The trajectory: .xtc .trr .dcd .h5md .nc .pdb .traj .extxyz .xyz or .npz."
OUTPUT = checked(check_trajectory_output, "FILE")
OUTPUT_HELP = (
    "File to write: .xtc .dcd .h5md .traj .extxyz .xyz .pdb or .npz. "
    "With -n above 1 there is a file for each trajectory: FILE_0000, FILE_0001, ..."
)
MODEL = model_name("trajectory model", lambda: TRAJECTORY_MODELS)
MODEL_HELP = (
    "A model that `equidrift models` lists for forecast, or the path of weights you trained. "
    "Default: default; with --every of 1ps and more: leap."
)
FRAMES_HELP = (
    "New frames to make. With --interpolate: new frames between each two neighbours. Needed unless "
    "--interpolate or --refine is given."
)
EVERY_HELP = (
    "Keep one of every N new frames, or one in each time such as 20ps, which must be a multiple "
    "of the time between the given frames; a model that leaps makes a leap of that time. "
    "--frames counts those that are kept."
)
INTERPOLATE_HELP = (
    "Make frames between the given ones. Without --frames: fill the gaps in the times of TRAJ."
)
REFINE_HELP = "Improve a coarse trajectory: add noise to its frames, then remove it by the model."
LEVEL = number(metavar="SHARE", above=0, most=1)
LEVEL_HELP = (
    "With --refine: how much noise is added. Near 0 the frames hardly change; at 1 nothing of them "
    "is kept."
)
BROKEN_HELP = (
    "What to do with frames in which a bond breaks: draw them again (redraw), or keep and count "
    "them (report). "
    "Default: redraw; with --refine, report."
)
STRIDE_HELP = "Use every Nth frame of TRAJ."
DT_HELP = (
    "Time between two frames of TRAJ, in fs. Needed for a file that holds no times, such as .xyz. "
    "Default: what the file says."
)
CHARGE_HELP = (
    "Total charge, in units of e. Needed only for a TRAJ or --top without bonds, such as .xyz. "
    "Default: what the file says."
)
STEPS_HELP = (
    "Calls of the neural network for each window of frames. Default: the model's own number."
)


def interval_text(text: str) -> str:
    """A number of frames or a time with its unit, as it was given.

    Raises
    ------
    InputError
        If it is neither, or not above 0.
    """
    number = int(text) if text.strip().isdecimal() else picoseconds(text)
    if not 0 < number < math.inf:
        raise InputError(f"must be above 0, such as 10 or 20ps, not {text!r}")
    return text


EVERY = checked(interval_text, "N|TIME")


@dataclass(frozen=True, kw_only=True)
class Request(options.ModelRun):
    """What `equidrift forecast` is asked for."""

    trajectory: Annotated[
        Path, typer.Argument(metavar=TRAJ.metavar, parser=TRAJ.parser, help=TRAJ_HELP)
    ]
    output: Annotated[Path, option(OUTPUT, OUTPUT_HELP, "-o", "--output")]
    n: Annotated[int, option(COUNT, "Trajectories to make.", "-n")] = 1
    model: Annotated[str | None, option(MODEL, MODEL_HELP)] = None
    seed: options.Seed = 0
    frames: Annotated[int | None, option(COUNT, FRAMES_HELP, panel=MODE)] = None
    every: Annotated[str, option(EVERY, EVERY_HELP, panel=MODE)] = "1"
    interpolate: Annotated[bool, flag("--interpolate", INTERPOLATE_HELP, MODE)] = False
    refine: Annotated[bool, flag("--refine", REFINE_HELP, MODE)] = False
    level: Annotated[float, option(LEVEL, LEVEL_HELP, panel=MODE)] = 0.3
    broken: Annotated[
        str | None, option(one_of("way with broken frames", BROKEN), BROKEN_HELP, panel=MODE)
    ] = None
    top: options.Topology = None
    stride: Annotated[int, option(COUNT, STRIDE_HELP, panel=READING)] = 1
    dt: Annotated[float | None, option(number("fs", "FS", above=0), DT_HELP, panel=READING)] = None
    charge: Annotated[int | None, option(CHARGE, CHARGE_HELP, panel=READING)] = None
    smiles: options.Smiles = None
    largest_fragment: options.LargestFragment = False
    steps: Annotated[int | None, option(COUNT, STEPS_HELP, panel=SAMPLING)] = None
    batch_size: options.BatchSize = None
    max_attempts: options.MaxAttempts = 20

    @property
    def mode(self) -> str:
        """What is made of the trajectory."""
        if self.interpolate:
            return "interpolate"
        return "refine" if self.refine else "forecast"

    @property
    def chosen_model(self) -> str:
        """The model that is asked for; where none is, one that leaps if frames are to lie
        picoseconds apart.
        """
        if self.model is not None:
            return self.model
        timed = self.mode == "forecast" and not self.every.strip().isdecimal()
        return "leap" if timed and picoseconds(self.every) >= LEAP_PS else "default"

    @property
    def files(self) -> list[str | Path]:
        """Everything that is read."""
        named = (self.trajectory, self.top, *model_files(self.chosen_model))
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
