"""equidrift md: exact sampling of one molecule by dynamics and proposals."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from equidrift.cli.options import (
    COUNT,
    SAMPLING,
    SHOWN,
    Charge,
    LargestFragment,
    Overwrite,
    Plot,
    Seed,
    Smiles,
    SummaryAsJson,
)
from equidrift.cli.request import command_of
from equidrift.cli.values import Kind, checked, number, one_of, option
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


OUTPUT_HELP = (
    "Trajectory to write, .xtc or .dcd. Its topology is written beside it: run.top.pdb for "
    "run.xtc. With --chains each chain writes files of its own: run.1.xtc, run.2.xtc, ..."
)
TIME_HELP = "Length of the production run of each chain, for example 200ps or 1ns."
CHAINS_HELP = (
    "Independent chains, each in a process of its own. Errors and R-hat are computed from "
    "all of them."
)
FILES_HELP = "OpenMM force field files for a .pdb input, separated by commas. Default: MMFF94."
FORCE_FIELD_FILES = Kind("FILES", str)
CONSTRAINT = Kind(
    "|".join(CONSTRAINTS), one_of("kind of constraint", (*CONSTRAINTS, "None")).parser
)
CONSTRAINTS_HELP = "Which bonds keep their length: those of hydrogen (HBonds), or none."
PLATFORM_HELP = "OpenMM platform. Default: the fastest for the size of the molecule."
PROPOSAL = Kind("KIND", one_of("kind of proposals", PROPOSALS).parser)
PROPOSALS_HELP = (
    "Monte Carlo proposals: torsion, heat-bath, diffusion (3 to 6 torsions at once), "
    "diffusion-local, torsions-all (a trained network), mixture, histogram (up to 3 torsions), "
    "uniform or none (plain dynamics). "
    "`equidrift models` explains each."
)
N_PROPOSALS_HELP = "Proposals in each round. Default: 10, or 1 for a molecule in a box of solvent."
ADAPT_HELP = (
    "Length of the adaptive phase, which fits the proposals and is not part of the result. "
    "Default: a tenth of --time, but at least 50ps."
)
INTERVAL_HELP = "Time between frames. Default: one frame after each round."
THREADS_HELP = (
    "CPU cores for the chains, and threads of the neural networks. Default: all cores for the "
    "chains, PyTorch's choice for the networks."
)
TIME = Kind("TIME", positive_time)
KELVIN, PER_PS = number("K", "T", above=0), number("1/ps", "GAMMA", above=0)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `equidrift md` is asked for."""

    what: Annotated[
        str, typer.Argument(metavar="INPUT", help="A SMILES, or a .pdb, .sdf, .mol or .mol2 file.")
    ]
    output: Annotated[Path, option(checked(output_file, "FILE"), OUTPUT_HELP, "-o", "--output")]
    time: Annotated[str, option(TIME, TIME_HELP)] = "200ps"
    chains: Annotated[int, option(COUNT, CHAINS_HELP)] = 1
    temperature: Annotated[float, option(KELVIN, "Temperature in K.")] = 300.0
    seed: Seed = 0
    charge: Charge = None
    smiles: Smiles = None
    largest_fragment: LargestFragment = False
    forcefield: Annotated[str, option(FORCE_FIELD_FILES, FILES_HELP, panel=FORCE_FIELD)] = ""
    timestep: Annotated[
        str, option(TIME, "Time step of the dynamics, with its unit.", panel=FORCE_FIELD)
    ] = "2fs"
    friction: Annotated[
        float, option(PER_PS, "Friction of the Langevin dynamics in 1/ps.", panel=FORCE_FIELD)
    ] = 1.0
    constraints: Annotated[str, option(CONSTRAINT, CONSTRAINTS_HELP, panel=FORCE_FIELD)] = "HBonds"
    platform: Annotated[str | None, option(Kind("NAME", str), PLATFORM_HELP, panel=FORCE_FIELD)] = (
        None
    )
    proposals: Annotated[str, option(PROPOSAL, PROPOSALS_HELP, panel=SAMPLING)] = "torsion"
    md_steps: Annotated[
        int, option(COUNT, "Steps of dynamics between rounds of proposals.", panel=SAMPLING)
    ] = 100
    n_proposals: Annotated[int | None, option(COUNT, N_PROPOSALS_HELP, panel=SAMPLING)] = None
    adapt: Annotated[str | None, option(Kind("TIME", time_text), ADAPT_HELP, panel=SAMPLING)] = None
    interval: Annotated[str | None, option(TIME, INTERVAL_HELP, panel=SHOWN)] = None
    threads: Annotated[int | None, option(COUNT, THREADS_HELP)] = None
    plot: Plot = None
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
