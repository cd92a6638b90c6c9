"""equidrift md: exact sampling of one molecule by dynamics and proposals."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from equidrift.cli.options import (
    SAMPLING,
    SHOWN,
    Charge,
    LargestFragment,
    Overwrite,
    Seed,
    Smiles,
    SummaryAsJson,
)
from equidrift.cli.request import command_of
from equidrift.cli.values import checked, integer, number, one_of
from equidrift.errors import InputError, UnknownNameError
from equidrift.files.formats import check_writable
from equidrift.registry import PROPOSERS
from equidrift.units import PS_PER_FS

FORCE_FIELD = "Force field and dynamics"
PROPOSALS = (*PROPOSERS, "none")
CONSTRAINTS = ("HBonds", "none")
TRAJECTORIES = (".dcd", ".xtc")
_PS = {"fs": PS_PER_FS, "ps": 1.0, "ns": 1e3, "us": 1e6}  # ps in a unit of time


def picoseconds(text: str) -> float:
    """A time with its unit, such as 200ps, in ps.

    Raises
    ------
    InputError
        If it is no number with a unit.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?\d+)?)\s*(fs|ps|ns|us)\s*", text)
    if match is None or match[1].count(".") > 1 or match[1] == ".":
        raise InputError(
            f"must be a number with a unit (fs, ps, ns, us) such as 200ps, not {text!r}"
        )
    return float(match[1]) * _PS[match[2]]


def time_text(value: object) -> str:
    """A time as it was given, once it is known to be one."""
    try:
        picoseconds(str(value))
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    return str(value)


def positive_time(value: object) -> str:
    """A time above 0 as it was given."""
    text = time_text(value)
    if not 0 < picoseconds(text) < math.inf:
        raise typer.BadParameter(f"must be a time above 0, such as 200ps, not {text!r}")
    return text


def output_file(text: str) -> Path:
    """The path of a trajectory that md writes.

    Raises
    ------
    InputError
        If it has another suffix, or cannot be written.
    """
    path = Path(text)
    if path.suffix.lower() not in TRAJECTORIES:
        raise UnknownNameError("trajectory suffix", path.suffix.lower() or text, TRAJECTORIES)
    return check_writable(path)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `equidrift md` is asked for."""

    what: Annotated[
        str, typer.Argument(metavar="INPUT", help="A SMILES, or a .pdb, .sdf or .mol file.")
    ]
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            parser=checked(output_file),
            help="Trajectory to write, .xtc or .dcd. Its topology is written beside it: "
            "run.top.pdb for run.xtc. With --chains each chain writes files of its own: "
            "run.1.xtc, run.2.xtc, ...",
        ),
    ]
    time: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            parser=positive_time,
            help="Length of the production run of each chain, for example 200ps or 1ns.",
        ),
    ] = "200ps"
    chains: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=integer(1),
            help="Independent chains, each in a process of its own. Errors and R-hat are over "
            "all of them.",
        ),
    ] = 1
    temperature: Annotated[
        float, typer.Option(metavar="T", parser=number("K", above=0), help="Temperature in K.")
    ] = 300.0
    seed: Seed = 0
    charge: Charge = None
    smiles: Smiles = None
    largest_fragment: LargestFragment = False
    forcefield: Annotated[
        str,
        typer.Option(
            metavar="FILES",
            rich_help_panel=FORCE_FIELD,
            help="OpenMM force field files for a .pdb input, separated by commas. Default: MMFF94.",
        ),
    ] = ""
    timestep: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            parser=positive_time,
            rich_help_panel=FORCE_FIELD,
            help="Time step of the dynamics, with its unit.",
        ),
    ] = "2fs"
    friction: Annotated[
        float,
        typer.Option(
            metavar="GAMMA",
            parser=number("1/ps", above=0),
            rich_help_panel=FORCE_FIELD,
            help="Friction of the Langevin dynamics in 1/ps.",
        ),
    ] = 1.0
    constraints: Annotated[
        str,
        typer.Option(
            metavar="|".join(CONSTRAINTS),
            parser=one_of("kind of constraint", (*CONSTRAINTS, "None")),
            rich_help_panel=FORCE_FIELD,
            help="Bonds of fixed length: those of hydrogen (HBonds), or none.",
        ),
    ] = "HBonds"
    platform: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=FORCE_FIELD,
            help="OpenMM platform. Default: the fastest for the size of the molecule.",
        ),
    ] = None
    proposals: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            parser=one_of("kind of proposals", PROPOSALS),
            rich_help_panel=SAMPLING,
            help="Monte Carlo proposals: torsion, heat-bath, mixture, histogram (up to 3 "
            "torsions), uniform or none.",
        ),
    ] = "torsion"
    md_steps: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=integer(1),
            rich_help_panel=SAMPLING,
            help="Steps of dynamics between rounds of proposals.",
        ),
    ] = 100
    n_proposals: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=integer(1),
            rich_help_panel=SAMPLING,
            help="Proposals in each round.",
        ),
    ] = 10
    adapt: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            parser=time_text,
            rich_help_panel=SAMPLING,
            help="Length of the adaptive phase. Default: a tenth of --time, but at least 50ps.",
        ),
    ] = None
    interval: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            parser=positive_time,
            rich_help_panel=SHOWN,
            help="Time between frames. Default: one frame after each round.",
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=integer(1),
            help="CPU cores for several chains, and threads of the neural networks. "
            "Default: all cores, and PyTorch's choice.",
        ),
    ] = None
    overwrite: Overwrite = False
    as_json: SummaryAsJson = False


@command_of(Request)
def command(request: Request) -> int:
    """Sample the Boltzmann distribution of a molecule exactly.

    If the run is interrupted, give the same command again. It continues where it
    stopped. With a longer --time it extends a finished run.
    """
    from equidrift.cli.md_run import sample

    return sample(request)
