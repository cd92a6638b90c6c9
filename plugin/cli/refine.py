"""equidrift refine: conformers from a file, moved into the basin of the refiner's level
of theory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli import options
from equidrift.cli.checked import model_files
from equidrift.cli.request import command_of
from equidrift.cli.values import model_name, option
from equidrift.files.unpacked import names_file
from equidrift.registry import REFINERS

FILE_HELP = (
    "Conformers: .sdf .mol .mol2 .pdb .xyz .extxyz .traj (each also .gz) or .npz. "
    "A trajectory needs --top. - reads standard input."
)
MODEL = model_name("refiner", lambda: REFINERS)
MODEL_HELP = "A refiner that `equidrift models` lists, or the path of weights you trained."


@dataclass(frozen=True, kw_only=True)
class Request(options.ShardedRun):
    """What `equidrift refine` is asked for."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help=FILE_HELP)]
    output: options.Output
    model: Annotated[str, option(MODEL, MODEL_HELP)] = "refine"
    top: options.Topology = None
    charge: options.Charge = None
    smiles: options.Smiles = None
    largest_fragment: options.LargestFragment = False
    steps: options.Steps = None
    batch_size: options.BatchSize = None

    @property
    def files(self) -> list[Path]:
        """Everything that is read."""
        topology = [Path(self.top)] if self.top is not None and names_file(self.top) else []
        return [self.file, *topology, *model_files(self.model)]

    @property
    def reading(self) -> dict[str, Any]:
        """What `equidrift.files.ensembles.load_all` takes beside the file."""
        return {"top": self.top, "charge": self.charge, "smiles": self.smiles}


@command_of(Request)
def command(request: Request) -> int:
    """Refine the conformers in a file. Atoms, bonds and stereo do not change.

    If the run is interrupted, give the same command again. It continues where it
    stopped.
    """
    from equidrift.cli.refine_run import refine

    return refine(request)
