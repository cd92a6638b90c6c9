"""Options that several commands take, each described once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from equidrift.arguments import check_address, check_device
from equidrift.cli.values import (
    MAX_SEED,
    PART,
    Kind,
    Part,
    checked,
    existing_file,
    flag,
    integer,
    number,
    option,
)
from equidrift.files.formats import check_output, check_picture
from equidrift.registry import check_relaxation, relaxations

# groups of options in the help
READING = "Reading the input"
SAMPLING = "How the model works"
GEOMETRY = "Geometry"
KEPT = "Which results are kept"
TARGETS = "What is aimed at"
PROCESSES = "Several processes"
SHOWN = "Files and messages"

COUNT = integer(1)
CORE = existing_file("a .sdf, .mol or .pdb file with coordinates", "CORE")
CHARGE = integer(metavar="Q")

OUTPUT_HELP = (
    "File to write. Its suffix chooses the format: .sdf .sdf.gz .mol .xyz .extxyz .traj .pdb .xtc "
    ".dcd .h5md or .npz. - writes SDF to standard output."
)
Output = Annotated[Path, option(checked(check_output, "FILE"), OUTPUT_HELP, "-o", "--output")]
Seed = Annotated[
    int, option(integer(0, MAX_SEED), "Random seed. The same seed gives the same result.")
]
STEPS_HELP = "Calls of the neural network for each sample. Default: the model's own number."
Steps = Annotated[int | None, option(COUNT, STEPS_HELP, panel=SAMPLING)]
BATCH_HELP = "Samples made in one call of the model. Default: the model's own number."
BatchSize = Annotated[int | None, option(COUNT, BATCH_HELP, panel=SAMPLING)]
MaxAttempts = Annotated[
    int, option(COUNT, "A sample is given up after N invalid draws.", panel=SAMPLING)
]
SET_HELP = "Set an option of the model; `equidrift models NAME` lists them."
ModelOptions = Annotated[
    list[str] | None,
    option(Kind("KEY=VALUE", str), SET_HELP, "--set", panel=SAMPLING, many=True),
]
DEVICE_HELP = "Where the neural networks run. Default: a CUDA device if there is one, else the CPU."
DEVICE = checked(check_device, "cpu|cuda|cuda:N")
Device = Annotated[str | None, option(DEVICE, DEVICE_HELP, panel=SAMPLING)]
RELAX_HELP = (
    "Relax each result to an energy minimum of MMFF94 (mmff), of GFN2-xTB (gfn2, which needs the "
    "extra xtb), of an ASE calculator (ase:MODULE:FACTORY, which FACTORY() makes), or of a "
    "potential of openmmml (openmmml:NAME)."
)
RELAX = checked(check_relaxation, "|".join(relaxations()))
RelaxBy = Annotated[str, option(RELAX, RELAX_HELP, panel=GEOMETRY)]
TOP_HELP = (
    "The bonds of a trajectory: a .pdb, .sdf, .mol or .mol2 file, or a SMILES, with the atoms in "
    "the trajectory's order. Needed for .xtc .trr .dcd .h5md and .nc, which hold no bonds."
)
Topology = Annotated[str | None, option(Kind("TOP", str), TOP_HELP, "--top", panel=READING)]
CHARGE_HELP = (
    "Total charge, in units of e, of the molecule in a .pdb file. "
    "Default: what its hydrogens imply."
)
Charge = Annotated[int | None, option(CHARGE, CHARGE_HELP, panel=READING)]
Smiles = Annotated[
    str | None,
    option(
        Kind("SMILES", str),
        "The molecule of a .pdb file as a SMILES: bond orders and charges are taken from it. "
        "Default: they are perceived from the file.",
        "--smiles",
        panel=READING,
    ),
]
LargestFragment = Annotated[
    bool,
    flag("--largest-fragment", "Keep only the largest fragment of a salt or solvate.", READING),
]
WORKERS_HELP = (
    "Processes that share the work, by shards of 256 molecules; the file is the same for any "
    "number. Default: one process without shards."
)
Workers = Annotated[int | None, option(COUNT, WORKERS_HELP, panel=PROCESSES)]
SHARD_HELP = (
    "Work on every K-th shard from the k-th on, as one job of an array of K; `equidrift merge OUT` "
    "puts the shards of all jobs together. Default: all shards."
)
ShardPart = Annotated[Part | None, option(PART, SHARD_HELP, "--shard", panel=PROCESSES)]
RAY_HELP = (
    "Do the work as tasks on the Ray cluster at this address (auto, HOST:PORT or "
    "ray://HOST:PORT). Default: this machine."
)
RAY = checked(check_address, "auto|HOST:PORT")
RayAddress = Annotated[str | None, option(RAY, RAY_HELP, "--ray", panel=PROCESSES)]
STORE_HELP = (
    "Folder where the tasks of --ray or the jobs of --shard put the shards: a path or URL of "
    "fsspec that all reach, such as s3://bucket/run. Default: OUT.shards, which they then share."
)
StoreUrl = Annotated[str | None, option(Kind("URL", str), STORE_HELP, panel=PROCESSES)]
GPUS_HELP = "GPUs of each task with --ray; a fraction shares a GPU among tasks."
GpusPerTask = Annotated[float, option(number(metavar="G", least=0), GPUS_HELP, panel=PROCESSES)]
THREADS_HELP = "CPU threads for the neural networks, of all workers together. Default: all cores."
Threads = Annotated[int | None, option(COUNT, THREADS_HELP, panel=PROCESSES)]
PLOT_HELP = "Also write a figure of the result, a .png file. Default: no figure."
Plot = Annotated[
    Path | None, option(checked(check_picture, "FILE.png"), PLOT_HELP, "--plot", panel=SHOWN)
]
Overwrite = Annotated[
    bool, flag("--overwrite", "Replace files that exist; inputs are never replaced.", SHOWN)
]
SummaryAsJson = Annotated[
    bool, flag("--json", "Print the summary as one JSON object on one line.", SHOWN)
]


@dataclass(frozen=True, kw_only=True)
class ModelRun:
    """What every command takes that runs a model and writes a file."""

    device: Device = None
    set_: ModelOptions = None
    overwrite: Overwrite = False
    as_json: SummaryAsJson = False


@dataclass(frozen=True, kw_only=True)
class SharedRun(ModelRun):
    """What every command takes whose work several processes can share."""

    workers: Workers = None
    threads: Threads = None


@dataclass(frozen=True, kw_only=True)
class RayRun(SharedRun):
    """What every command takes whose work a Ray cluster can share."""

    output: Output
    ray: RayAddress = None
    gpus_per_task: GpusPerTask = 0.0


@dataclass(frozen=True, kw_only=True)
class ShardedRun(RayRun):
    """What every command takes whose work the jobs of a cluster can share."""

    shard: ShardPart = None
    store: StoreUrl = None
