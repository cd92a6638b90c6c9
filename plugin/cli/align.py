"""equidrift align: lay molecules or sets of points onto others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from equidrift.cli import options
from equidrift.cli.request import command_of
from equidrift.cli.values import checked, existing_file, option
from equidrift.files.formats import check_output, check_writable

POINTS = (".csv", ".npy")
MOVED_HELP = (
    "What is moved: every conformer of a .sdf .mol .mol2 .pdb .xyz or .npz file, or the points of "
    "a .csv or .npy file, three columns."
)
FIXED_HELP = "What it is laid onto: the first conformer of a file, or points."
OUTPUT_HELP = (
    "File to write: conformers in a format that `equidrift sample` writes, points as .csv or .npy."
)
STARTS_HELP = "Rotations to begin from."
FILE = existing_file("a file of conformers or points")


def output_file(text: str) -> Path:
    """The path of conformers or points that align writes; errors as `check_output`."""
    return check_writable(text) if Path(text).suffix.lower() in POINTS else check_output(text)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `equidrift align` is asked for."""

    moved: Annotated[Path, typer.Argument(metavar="A", help=MOVED_HELP, parser=FILE.parser)]
    fixed: Annotated[Path, typer.Argument(metavar="B", help=FIXED_HELP, parser=FILE.parser)]
    output: Annotated[Path, option(checked(output_file, "FILE"), OUTPUT_HELP, "-o", "--output")]
    starts: Annotated[int, option(options.COUNT, STARTS_HELP)] = 64
    seed: options.Seed = 0
    overwrite: options.Overwrite = False
    as_json: options.SummaryAsJson = False


@command_of(Request)
def command(request: Request) -> int:
    """Lay the conformers of A onto the first one of B, whatever their atoms.

    Only rotations and shifts: shapes stay, and no mirror image is taken. Atoms of the
    same element count most. Points are laid onto points.
    """
    from equidrift.cli.align_run import align

    return align(request)
