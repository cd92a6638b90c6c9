"""equidrift place: poses of a molecule in a pocket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from equidrift.cli import options
from equidrift.cli.request import command_of
from equidrift.cli.values import checked, existing_file, number, option
from equidrift.errors import InputError

LIGAND_HELP = (
    "The molecule to place: a SMILES, of which --conformers shapes are made, or a file whose "
    "conformers are taken as they are."
)
POCKET_HELP = (
    "The pocket, which stands still: a .pdb, .sdf or .mol2 file with every hydrogen, or a .pdb "
    "file without any. Of a receptor, water and ions of the solution are left out, and ligands "
    "that lie where the molecule goes or whose bonds cannot be told; the summary says which."
)
CENTRE_HELP = "Where the molecule goes, in A: X,Y,Z. Default: the mean position of the pocket."
RADIUS_HELP = "How far from there its own mean position may be, in A."
NUMBER_HELP = "Different poses to write, the lowest first; fewer if fewer are found."
STARTS_HELP = "Descents, each from anywhere in the ball and in any orientation."
CONFORMERS_HELP = "Shapes of a SMILES."
CHAIN_HELP = (
    "Write N frames of an exact chain at --temperature from the lowest pose instead: the Boltzmann "
    "distribution of its place and orientation."
)
POCKET = existing_file("a .pdb, .sdf or .mol2 file of the pocket")
ANGSTROM = number("Å", "R", above=0)
COORDINATES = 3


class Point(tuple[float, ...]):
    """A place in A; a class of its own, as typer takes a tuple for several options."""


def centre(text: str) -> Point:
    """Three numbers separated by commas.

    Raises
    ------
    InputError
        If it is anything else.
    """
    try:
        found = Point(float(part) for part in text.split(","))
    except ValueError:
        found = Point()
    if len(found) != COORDINATES or not all(abs(value) < float("inf") for value in found):
        raise InputError(f"must be three numbers such as 1.0,-2.5,3.0, not {text!r}")
    return found


CENTRE = checked(centre, "X,Y,Z")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `equidrift place` is asked for."""

    ligand: Annotated[str, typer.Argument(metavar="LIGAND", help=LIGAND_HELP)]
    pocket: Annotated[Path, option(POCKET, POCKET_HELP)]
    output: options.Output
    n: Annotated[int, option(options.COUNT, NUMBER_HELP, "-n")] = 10
    centre: Annotated[Point | None, option(CENTRE, CENTRE_HELP)] = None
    radius: Annotated[float, option(ANGSTROM, RADIUS_HELP)] = 4.0
    starts: Annotated[int, option(options.COUNT, STARTS_HELP)] = 32
    conformers: Annotated[int, option(options.COUNT, CONFORMERS_HELP)] = 8
    chain: Annotated[int | None, option(options.COUNT, CHAIN_HELP)] = None
    temperature: Annotated[float, option(number("K", "T", above=0), "Of the chain, in K.")] = 300.0
    seed: options.Seed = 0
    overwrite: options.Overwrite = False
    as_json: options.SummaryAsJson = False


@command_of(Request)
def command(request: Request) -> int:
    """Place a molecule in a rigid pocket, by MMFF94's interaction energy.

    The shapes of the molecule stay as they are. Energies are of the interaction alone,
    in vacuum: no solvent, no strain, no free energy.
    """
    from equidrift.cli.place_run import place

    return place(request)
