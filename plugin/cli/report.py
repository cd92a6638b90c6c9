"""equidrift report: one offline page for whatever the commands have written."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from equidrift.cli.options import READING, SHOWN, Overwrite, SummaryAsJson, Topology
from equidrift.cli.request import command_of
from equidrift.cli.values import Kind, checked, flag, integer, number, option
from equidrift.files.formats import check_page
from equidrift.text import counted

RESULTS_HELP = (
    "Files that commands have written, or folders of them. Conformers and new molecules: .sdf "
    ".sdf.gz .mol .pdb .xyz .extxyz .traj .npz. Trajectories: .xtc .dcd .h5md .npz. Runs of md: "
    "their trajectory, or run.xtc for all of run.1.xtc, run.2.xtc, ... Trainings: their folder. "
    "Summaries that --json printed: they add failed entries and rejections."
)
OUTPUT_HELP = "The page to write, a .html file. It works without a network, and can be mailed."
DETAILS_HELP = (
    "How many molecules of a library, counted from the first, get figures of their own: energies, "
    "RMSD, torsions."
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `equidrift report` is asked for."""

    results: Annotated[list[str], typer.Argument(metavar="RESULT...", help=RESULTS_HELP)]
    output: Annotated[Path, option(checked(check_page, "FILE"), OUTPUT_HELP, "-o", "--output")]
    title: Annotated[
        str | None,
        option(
            Kind("TEXT", str), "Title of the page. Default: the names of the results.", panel=SHOWN
        ),
    ] = None
    details: Annotated[int, option(integer(0), DETAILS_HELP, panel=SHOWN)] = 12
    top: Topology = None
    dt: Annotated[
        float | None,
        option(
            number("fs", "DT", above=0),
            "Time between frames in fs, for a trajectory that holds no times. "
            "Default: what the file says.",
            panel=READING,
        ),
    ] = None
    open_: Annotated[bool, flag("--open", "Open the page in the browser.", SHOWN)] = False
    overwrite: Overwrite = False
    as_json: SummaryAsJson = False


@command_of(Request)
def command(request: Request) -> int:
    """Make one page of results: structures, 3D views, energies, torsions, provenance.

    Give the names of the files that other commands have written. Each becomes a section.
    """
    from equidrift.cli.checked import check_topology
    from equidrift.cli.output import print_json
    from equidrift.report.write import Options, write_report

    check_topology(request.top)
    options = Options(
        top=request.top,
        title=request.title,
        details=request.details,
        dt_fs=request.dt,
        command=shlex.join(["equidrift", *sys.argv[1:]]),
    )
    done = write_report(
        request.results, request.output, options=options, overwrite=request.overwrite
    )
    if request.as_json:
        print_json(done)
    else:
        sections = done["sections"]
        size = f"{done['bytes'] / 1e6:.1f} MB"
        typer.echo(f"{counted(len(sections), 'section')} -> {done['output']} ({size})")
        for section in sections:
            typer.echo(f"  {section['kind']}: {section['title']}")
    if request.open_:
        typer.launch(Path(done["output"]).resolve().as_uri())
    return 0
