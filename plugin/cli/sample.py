"""equidrift sample: conformers from SMILES or files, streamed to disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from equidrift.cli.checked import model_files
from equidrift.cli.options import (
    GEOMETRY,
    KEPT,
    READING,
    SAMPLING,
    BatchSize,
    Charge,
    LargestFragment,
    MaxAttempts,
    ModelOptions,
    Output,
    Overwrite,
    RelaxBy,
    Seed,
    Smiles,
    Steps,
    SummaryAsJson,
    core_file,
)
from equidrift.cli.request import command_of
from equidrift.cli.values import existing_file, integer, model_name, number, one_of
from equidrift.engine.presets import MOST_EFFORT, PRESETS, SELECTIONS
from equidrift.inputs import STEREO
from equidrift.registry import list_models


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `equidrift sample` is asked for."""

    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="SMILES, InChI, or files (.smi .csv .sdf .mol .mol2 .pdb, each also .gz). "
            "- reads standard input.",
        ),
    ]
    output: Output
    n: Annotated[
        int,
        typer.Option(
            "-n", metavar="N", parser=integer(1), help="Conformers to make of each molecule."
        ),
    ] = 1
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=model_name("model", list_models),
            help="A model that `equidrift models` lists, or the path of weights you trained.",
        ),
    ] = "default"
    seed: Seed = 0
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(PRESETS),
            parser=one_of("preset", PRESETS),
            help="Set several options for a purpose, and print which. An option you give wins.",
        ),
    ] = None
    effort: Annotated[
        int | None,
        typer.Option(
            metavar="1..20",
            parser=integer(1, MOST_EFFORT),
            rich_help_panel=SAMPLING,
            help="Candidates for each conformer that is chosen by energy. The time grows with it. "
            "Default: 4.",
        ),
    ] = None
    select: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(SELECTIONS),
            parser=one_of("selection", SELECTIONS),
            rich_help_panel=SAMPLING,
            help="Which candidates become conformers: the lowest that are new (energy), the first "
            "that are new (diverse), or all as they are drawn (none). Default: auto, "
            "which is energy from 30 atoms on, else diverse.",
        ),
    ] = None
    distinct: Annotated[
        bool,
        typer.Option(
            "--distinct",
            rich_help_panel=KEPT,
            help="Drop a conformer within 0.25 Å of another (RMSD of the heavy atoms).",
        ),
    ] = False
    prune: Annotated[
        float | None,
        typer.Option(
            metavar="RMSD",
            parser=number("Å", above=0),
            rich_help_panel=KEPT,
            help="As --distinct, with this RMSD in Å instead of 0.25. "
            "Of two close conformers, the one lower in energy is kept.",
        ),
    ] = None
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="energy",
            parser=one_of("order", ["energy"]),
            rich_help_panel=KEPT,
            help="Write the conformers of a molecule by energy, the lowest first. "
            "Default: in the order of sampling.",
        ),
    ] = None
    window: Annotated[
        float | None,
        typer.Option(
            metavar="KCAL",
            parser=number("kcal/mol", above=0),
            rich_help_panel=KEPT,
            help="Drop conformers more than this many kcal/mol above the lowest of their molecule.",
        ),
    ] = None
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            rich_help_panel=KEPT,
            help="Write all N conformers of a molecule, or none if fewer are valid. "
            "Default: write those that are valid.",
        ),
    ] = False
    relax: RelaxBy = "none"
    solvent: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=GEOMETRY,
            help="Implicit solvent (ALPB) of --relax gfn2, such as water. Default: vacuum.",
        ),
    ] = None
    fix: Annotated[
        Path | None,
        core_file(
            "Hold the atoms of this .sdf, .mol or .pdb file at its coordinates.",
            GEOMETRY,
        ),
    ] = None
    restrain: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=existing_file("a file of lines `i j lower upper`"),
            rich_help_panel=GEOMETRY,
            help="Keep the distances in this file. A line is `i j lower upper`: "
            "two atoms, counted from 0, and two distances in Å.",
        ),
    ] = None
    stereo: Annotated[
        str,
        typer.Option(
            metavar="|".join(STEREO),
            parser=one_of("way with open stereo", STEREO),
            rich_help_panel=READING,
            help="What to do if the input leaves stereo open: mix the isomers (any), refuse the "
            "molecule (require), or sample each isomer by itself (enumerate).",
        ),
    ] = "any"
    charge: Charge = None
    smiles: Smiles = None
    largest_fragment: LargestFragment = False
    steps: Steps = None
    batch_size: BatchSize = None
    max_attempts: MaxAttempts = 20
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=number("s", above=0),
            rich_help_panel=SAMPLING,
            help="Time limit for each molecule, in seconds. Default: none.",
        ),
    ] = None
    set_: ModelOptions = None
    overwrite: Overwrite = False
    as_json: SummaryAsJson = False

    @property
    def files(self) -> list[str | Path]:
        """Everything that is read."""
        named = (*self.inputs, self.fix, self.restrain, *model_files(self.model))
        return [path for path in named if path is not None]


@command_of(Request)
def command(request: Request) -> int:
    """Sample conformers of molecules.

    If the run is interrupted, give the same command again. It continues where it
    stopped.
    """
    from equidrift.cli.sample_run import sample

    return sample(request)
