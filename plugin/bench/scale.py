"""`equidrift bench scale`: a library by one process and by workers, molecules per second.

The cheapest model (`etkdg`, one conformer each) is the hardest case: reading, sending
and gathering weigh the most beside it. All rows are measured one after the other on the
same molecules, so that their ratios mean something.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from equidrift.bench.machine import Progress, silent
from equidrift.bench.rows import Row, row, table
from equidrift.files.data import data_or_here
from equidrift.scale.many import Sampled, sample_many

MODEL = "etkdg"
QUICK_MOLECULES, FULL_MOLECULES = 512, 4096  # two shards, and sixteen
WORKERS = (None, 1, 2)  # None is this process
LIBRARY = Path("zinc_smiles") / "zinc_29k.smi"  # in the data folder
# without the data: molecules of drugs, over and over
DRUGS = (
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "CC(=O)Nc1ccc(O)cc1",
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
    "CC(C)NCC(O)COc1ccc(CCOC)cc1",
    "CN(C)CCC=C1c2ccccc2CCc2ccccc12",
    "Clc1ccc(cc1)C(c1ccccc1)N1CCN(CC1)CCOCC(=O)O",
    "COc1ccc2[nH]c(nc2c1)S(=O)Cc1ncc(C)c(OC)c1C",
)


def run(full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The table as one object.

    Parameters
    ----------
    full : bool, optional
        FULL_MOLECULES molecules; else QUICK_MOLECULES.
    progress : callable, optional
        Called with a line of text before every row.
    """
    say = progress or silent
    smiles = library(FULL_MOLECULES if full else QUICK_MOLECULES)
    rows: list[Row] = []
    for workers in WORKERS:
        say(f"workers/{workers or 'none'}: {len(smiles)} molecules")
        begun = time.monotonic()
        made = sum(one.ensemble is not None for one in _sampled(smiles, workers))
        seconds = time.monotonic() - begun
        values = {
            "molecules_per_s": len(smiles) / seconds,
            "ms_per_molecule": 1000.0 * seconds / len(smiles),
            "made": made,
        }
        rows.append(row(f"workers/{workers or 'none'}", values, len(smiles)))
    alone = rows[0]["values"]["molecules_per_s"]
    for one in rows:
        one["values"]["over_one_process"] = one["values"]["molecules_per_s"] / alone
    return table("scale", rows)


def _sampled(smiles: list[str], workers: int | None) -> Iterator[Sampled]:
    """Conformers of each, one thread a worker."""
    return sample_many(smiles, 1, model=MODEL, workers=workers, threads=workers)


def library(count: int) -> list[str]:
    """So many SMILES: of ZINC if the data folder has it, else of DRUGS."""
    path = data_or_here() / LIBRARY
    if not path.is_file():
        return list(islice(cycle(DRUGS), count))
    lines = path.read_text().splitlines()
    return [line.split()[0] for line in islice(cycle(lines), count)]
