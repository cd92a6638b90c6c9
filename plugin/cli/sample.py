"""equidrift sample: conformers from SMILES or files, streamed to disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from equidrift.cli import options
from equidrift.cli.checked import model_files
from equidrift.cli.options import CORE, COUNT, GEOMETRY, KEPT, READING, SAMPLING
from equidrift.cli.request import command_of
from equidrift.cli.values import (
    Kind,
    existing_file,
    flag,
    integer,
    model_name,
    number,
    one_of,
    option,
)
from equidrift.engine.presets import MOST_EFFORT, PRESETS, SELECTIONS
from equidrift.registry import list_models
from equidrift.stereo import STEREO

INPUT_HELP = (
    "SMILES, InChI, or files (.smi .csv .sdf .mol .mol2 .pdb, each also .gz). "
    "- reads standard input."
)
MODEL = model_name("model", list_models)
MODEL_HELP = "A model that `equidrift models` lists, or the path of weights you trained."
PRESET_HELP = "Set several options for a purpose, and print which. An option you give wins."
EFFORT = integer(1, MOST_EFFORT, "1..20")
EFFORT_HELP = (
    "Candidates for each conformer that is chosen by energy. The time grows with it. Default: 8."
)
SELECT = one_of("selection", SELECTIONS)
SELECT_HELP = (
    "Which candidates become conformers: those that the low ones lie nearest to (coverage), the "
    "lowest that are new (energy), the first that are new (diverse), or all as they are drawn "
    "(none). Default: auto, which is coverage where MMFF94 knows the molecule."
)
SOLVENT_HELP = "Implicit solvent (ALPB) of --relax gfn2, such as water. Default: vacuum."
DISTINCT_HELP = (
    "Draw again what is within 0.25 Å of another conformer (RMSD of the heavy atoms). "
    "If the molecule has fewer than N, a note counts what is missing."
)
PRUNE = number("Å", "RMSD", above=0)
PRUNE_HELP = (
    "Drop a conformer within this RMSD in Å of another, without drawing others. "
    "Of two close conformers, the one lower in energy is kept."
)
SORT_HELP = (
    "Write the conformers of a molecule by energy, the lowest first. "
    "Default: in the order of sampling."
)
WINDOW = number("kcal/mol", "KCAL", above=0)
WINDOW_HELP = "Drop conformers more than this many kcal/mol above the lowest of their molecule."
STRICT_HELP = (
    "Write all N conformers of a molecule, or none if fewer are valid. "
    "Default: write those that are valid."
)
FIX_HELP = "Hold the atoms of this .sdf, .mol or .pdb file at its coordinates."
RESTRAIN = existing_file("a file of lines `i j lower upper`")
RESTRAIN_HELP = (
    "Keep the distances in this file. A line is `i j lower upper`: "
    "two atoms, counted from 0, and two distances in Å."
)
STEREO_HELP = (
    "What to do if the input leaves stereo open: mix the isomers (any), refuse the molecule "
    "(require), or sample each isomer by itself (enumerate)."
)
TIMEOUT = number("s", "SECONDS", above=0)
TIMEOUT_HELP = "Time limit for each molecule, in seconds. Default: none."


@dataclass(frozen=True, kw_only=True)
class Request(options.ShardedRun):
    """What `equidrift sample` is asked for."""

    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help=INPUT_HELP)]
    output: options.Output
    n: Annotated[int, option(COUNT, "Conformers to make of each molecule.", "-n")] = 1
    model: Annotated[str, option(MODEL, MODEL_HELP)] = "default"
    seed: options.Seed = 0
    preset: Annotated[str | None, option(one_of("preset", PRESETS), PRESET_HELP)] = None
    effort: Annotated[int | None, option(EFFORT, EFFORT_HELP, panel=SAMPLING)] = None
    select: Annotated[str | None, option(SELECT, SELECT_HELP, panel=SAMPLING)] = None
    distinct: Annotated[bool, flag("--distinct", DISTINCT_HELP, KEPT)] = False
    prune: Annotated[float | None, option(PRUNE, PRUNE_HELP, panel=KEPT)] = None
    sort: Annotated[str | None, option(one_of("order", ["energy"]), SORT_HELP, panel=KEPT)] = None
    window: Annotated[float | None, option(WINDOW, WINDOW_HELP, panel=KEPT)] = None
    strict: Annotated[bool, flag("--strict", STRICT_HELP, KEPT)] = False
    relax: options.RelaxBy = "none"
    solvent: Annotated[str | None, option(Kind("NAME", str), SOLVENT_HELP, panel=GEOMETRY)] = None
    fix: Annotated[Path | None, option(CORE, FIX_HELP, panel=GEOMETRY)] = None
    restrain: Annotated[Path | None, option(RESTRAIN, RESTRAIN_HELP, panel=GEOMETRY)] = None
    stereo: Annotated[
        str, option(one_of("way with open stereo", STEREO), STEREO_HELP, panel=READING)
    ] = "any"
    charge: options.Charge = None
    smiles: options.Smiles = None
    largest_fragment: options.LargestFragment = False
    steps: options.Steps = None
    batch_size: options.BatchSize = None
    max_attempts: options.MaxAttempts = 20
    timeout: Annotated[float | None, option(TIMEOUT, TIMEOUT_HELP, panel=SAMPLING)] = None

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
