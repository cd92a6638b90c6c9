"""Options that several commands take, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli.values import MAX_SEED, checked, existing_file, integer
from equidrift.files.formats import check_output
from equidrift.registry import check_relaxation, relaxations

# groups of options in the help
READING = "Reading the input"
SAMPLING = "How the model works"
GEOMETRY = "Geometry"
KEPT = "Which results are kept"
TARGETS = "What is aimed at"
SHOWN = "Files and messages"

SMILES_HELP = "The molecule of a .pdb as a SMILES, which tells bond orders and charges."


Output = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        parser=checked(check_output),
        help="File to write. Its suffix chooses the format: .sdf .sdf.gz .mol .xyz .extxyz .traj "
        ".pdb .xtc .dcd .h5md or .npz. - writes SDF to standard output.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="N",
        parser=integer(0, MAX_SEED),
        help="Random seed. The same seed gives the same result.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=integer(1),
        rich_help_panel=SAMPLING,
        help="Calls of the neural network for each sample. Default: the model's own number.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=integer(1),
        rich_help_panel=SAMPLING,
        help="Samples made in one call of the model. Default: the model's own number.",
    ),
]
MaxAttempts = Annotated[
    int,
    typer.Option(
        metavar="N",
        parser=integer(1),
        rich_help_panel=SAMPLING,
        help="A sample is given up after N invalid draws.",
    ),
]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        rich_help_panel=SAMPLING,
        help="Set an option of the model; `equidrift models NAME` lists them. May be repeated.",
    ),
]
RelaxBy = Annotated[
    str,
    typer.Option(
        metavar="|".join(relaxations()),
        parser=checked(check_relaxation),
        rich_help_panel=GEOMETRY,
        help="Relax each result to an energy minimum of MMFF94 (mmff), of GFN2-xTB (gfn2, which "
        "needs the extra xtb), of an ASE calculator (ase:MODULE:FACTORY, which FACTORY() makes), "
        "or of a potential of openmmml (openmmml:NAME).",
    ),
]
Topology = Annotated[
    str | None,
    typer.Option(
        "--top",
        metavar="TOP",
        rich_help_panel=READING,
        help="The bonds of a trajectory: a .pdb, .sdf or .mol file, or a SMILES.",
    ),
]
Charge = Annotated[
    int | None,
    typer.Option(
        metavar="Q",
        parser=integer(),
        rich_help_panel=READING,
        help="Total charge, in units of e, of the molecule in a .pdb file. "
        "Default: taken from its hydrogens.",
    ),
]
Smiles = Annotated[
    str | None,
    typer.Option("--smiles", metavar="SMILES", rich_help_panel=READING, help=SMILES_HELP),
]
LargestFragment = Annotated[
    bool,
    typer.Option(
        "--largest-fragment",
        rich_help_panel=READING,
        help="Keep only the largest fragment of a salt or solvate.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        rich_help_panel=SHOWN,
        help="Replace files that exist; inputs are never replaced.",
    ),
]
SummaryAsJson = Annotated[
    bool,
    typer.Option(
        "--json", rich_help_panel=SHOWN, help="Print the summary as one JSON object on one line."
    ),
]


def core_file(about: str, panel: str) -> Any:
    """The option of a file whose atoms are held, with its help and its place there."""
    return typer.Option(
        metavar="CORE",
        rich_help_panel=panel,
        parser=existing_file("a .sdf, .mol or .pdb file with coordinates"),
        help=about,
    )
