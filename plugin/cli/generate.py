"""equidrift generate: new molecules with bonds, charges and conformers, streamed to
disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from equidrift.cli import options
from equidrift.cli.checked import model_files
from equidrift.cli.options import CORE, COUNT, KEPT, SAMPLING, TARGETS
from equidrift.cli.place import CENTRE, Point
from equidrift.cli.request import command_of
from equidrift.cli.values import Kind, existing_file, flag, model_name, number, one_of, option
from equidrift.registry import JUDGES, MOLECULE_MODELS

N_HELP = "Molecules to make, each valid and different from the others."
MODEL = model_name("molecule model", lambda: MOLECULE_MODELS)
MODEL_HELP = (
    "A model that `equidrift models` lists for generate, or the path of weights you trained."
)
TARGET = Kind("PROPERTY=VALUE", str)
REPLACE = Kind("SMARTS", str)
TARGET_HELP = (
    "A property to aim at, such as gap_eV=7.0 or dipole_D=2.5. logP, QED, MW, TPSA and SA are "
    "computed exactly and also take max, min or a limit: QED=max, 'TPSA<90'."
)
CANDIDATES_HELP = (
    "Draws of which the one nearest to the targets of logP, QED, MW, TPSA and SA is kept. Default: "
    "8 if there is one that is no limit, else 1."
)
GUIDANCE_HELP = (
    "How strongly --target and --spectrum act. 1 is plain conditioning; larger values hold closer "
    "to them and make the molecules less diverse. Default: the model's own."
)
FORCE_HELP = (
    "Accept a --target outside the range of the training data. Default: such a target is refused."
)
JUDGE = one_of("judge", JUDGES)
JUDGE_HELP = (
    "What measures the properties of the new molecules: a network, GFN2-xTB (gfn2, which needs the "
    "extra xtb), or RDKit (logP, QED, MW, TPSA, SA). Default: what the --target needs, else "
    "nothing is measured."
)
FRAGMENT_HELP = (
    "Build every molecule around the heavy atoms of this .sdf, .mol or .pdb file, held at its "
    "coordinates."
)
REPLACE_HELP = (
    "Draw this part of the molecule of --fragment anew and hold the rest: SMARTS that match once, "
    "or numbers of atoms (3,4). What is new is bonded where the part was, and nowhere else."
)
POCKET = existing_file("a .pdb, .sdf or .mol2 file of the pocket")
POCKET_HELP = (
    "Make molecules for this pocket: a .pdb, .sdf or .mol2 file with every hydrogen, or a .pdb "
    "file without any, which stands still. Each is drawn under the pull of Vina's terms, placed "
    "rigidly and scored. What is left out of a receptor, the summary says."
)
CENTRE_HELP = "Where in the pocket, in A: X,Y,Z. Either this or --ligand."
LIGAND = existing_file("a file of one molecule with coordinates")
LIGAND_HELP = "A molecule that lies where the new ones are wanted. Either this or --centre."
PULL_HELP = "How strongly the pocket guides the draws. 0 places alone. Default: 1."
SPECTRUM = existing_file("a text file of two columns: wavenumber in cm^-1 and absorbance")
SPECTRUM_HELP = (
    "Make molecules that have this infrared spectrum: a text file of two columns, wavenumber in "
    "cm^-1 and absorbance in any unit. It needs weights that take spectra, of which none are "
    "shipped yet; name your own by --model."
)
STRICT_HELP = (
    "Write all N molecules, or none if fewer are found. Default: write those that are found."
)
ATTEMPTS_HELP = "The run is given up after N draws for each molecule asked for."


@dataclass(frozen=True, kw_only=True)
class Request(options.ShardedRun):
    """What `equidrift generate` is asked for."""

    n: Annotated[int, option(COUNT, N_HELP, "-n")] = 1
    model: Annotated[str, option(MODEL, MODEL_HELP)] = "default"
    seed: options.Seed = 0
    target: Annotated[list[str] | None, option(TARGET, TARGET_HELP, panel=TARGETS, many=True)] = (
        None
    )
    candidates: Annotated[int | None, option(COUNT, CANDIDATES_HELP, panel=TARGETS)] = None
    guidance: Annotated[
        float | None, option(number(metavar="W", least=0), GUIDANCE_HELP, panel=TARGETS)
    ] = None
    force: Annotated[bool, flag("--force", FORCE_HELP, TARGETS)] = False
    judge: Annotated[list[str] | None, option(JUDGE, JUDGE_HELP, panel=TARGETS, many=True)] = None
    fragment: Annotated[Path | None, option(CORE, FRAGMENT_HELP, panel=TARGETS)] = None
    replace: Annotated[str | None, option(REPLACE, REPLACE_HELP, panel=TARGETS)] = None
    pocket: Annotated[Path | None, option(POCKET, POCKET_HELP, panel=TARGETS)] = None
    centre: Annotated[Point | None, option(CENTRE, CENTRE_HELP, panel=TARGETS)] = None
    ligand: Annotated[Path | None, option(LIGAND, LIGAND_HELP, panel=TARGETS)] = None
    pull: Annotated[
        float | None, option(number(metavar="W", least=0), PULL_HELP, panel=TARGETS)
    ] = None
    spectrum: Annotated[Path | None, option(SPECTRUM, SPECTRUM_HELP, panel=TARGETS)] = None
    relax: options.RelaxBy = "none"
    strict: Annotated[bool, flag("--strict", STRICT_HELP, KEPT)] = False
    steps: options.Steps = None
    batch_size: options.BatchSize = None
    max_attempts: Annotated[int, option(COUNT, ATTEMPTS_HELP, panel=SAMPLING)] = 20

    @property
    def files(self) -> list[Path]:
        """Everything that is read."""
        named = (self.fragment, self.pocket, self.ligand, self.spectrum)
        return [*(path for path in named if path is not None), *model_files(self.model)]


@command_of(Request)
def command(request: Request) -> int:
    """Generate new molecules with conformers.

    If the run is interrupted, give the same command again. It continues where it
    stopped.
    """
    from equidrift.cli.generate_run import generate

    return generate(request)
