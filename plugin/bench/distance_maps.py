"""`equidrift bench distance-maps`: what the map from distances to coordinates, the
corrector k, the solver, the number of steps and the size of the molecule do to system A
(arXiv:2403.01430), with one network.

Validation molecules, 2K samples for K GFN2-xTB references (GeoDiff's protocol,
arXiv:2203.02923). Samples are those of the model alone: mirrored if the stereo asks
for it, drawn again while a stereocentre is wrong, otherwise as they come; `valid` is
the share that passes the checks of bonds, clashes and stereo. Small molecules have at
most `SMALL` heavy atoms, large ones more.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.bench.conformers import quality
from equidrift.bench.machine import Progress, System, data_folder, references, silent
from equidrift.bench.rows import Row, row, table
from equidrift.checks.geometry import GeometryCheck
from equidrift.errors import InputError
from equidrift.registry import make_model
from equidrift.seeds import sample_seeds

SMALL = 8  # heavy atoms; QM9 ends at nine
MOST_REFERENCES = 10  # of a molecule
SEED = 1
QUICK_EACH, FULL_EACH = 3, 10  # molecules of each size
CORRECTORS = {"degree": (1.0, 3.0, 8.0, 20.0), "gauss-newton": (1.0, 3.0, 8.0)}
SOLVERS = ("sde", "ode")
QUICK_STEPS, FULL_STEPS = (20,), (20, 100)
PLAIN = {"late_map": "", "late_corrector": 1.0, "global_weight": 1.0}


def run(full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The table as one object.

    Parameters
    ----------
    full : bool, optional
        20 molecules, 20 and 100 steps (an hour of a core); else 6 molecules and 20 steps.
    progress : callable, optional
        Called with a line of text before every row.

    Raises
    ------
    InputError
        If the reference conformers are missing.
    """
    say = progress or silent
    systems = chosen(
        data_folder() / "gfn2_conformers" / "qm9_val.npz", FULL_EACH if full else QUICK_EACH
    )
    rows: list[Row] = []
    for name, ks in CORRECTORS.items():
        for k, solver, steps in itertools.product(ks, SOLVERS, FULL_STEPS if full else QUICK_STEPS):
            options = {**PLAIN, "map": name, "corrector": k, "solver": solver}
            label = f"{name}/k-{k:g}-{solver}-{steps}"
            say(label)
            rows.append(row(label, measured(systems, steps, options), len(systems)))
    return table("distance-maps", rows)


def chosen(path: Path, each: int) -> list[System]:
    """`each` small and as many large molecules, evenly from the file, with their first
    references.

    Raises `InputError` if there are fewer.
    """
    every = references(path, None)
    sizes = np.array([np.count_nonzero(molecule.numbers > 1) for molecule, _ in every])
    out: list[System] = []
    for which in (sizes <= SMALL, sizes > SMALL):
        places = np.flatnonzero(which)
        if len(places) < each:
            raise InputError(
                f"{path} holds {len(places)} molecules of a size, {each} are needed; "
                f"sizes are up to {SMALL} heavy atoms, and more"
            )
        picked = places[np.linspace(0, len(places) - 1, each).astype(int)]
        out += [(every[k][0], every[k][1][:MOST_REFERENCES]) for k in picked]
    return out


def measured(systems: list[System], steps: int, options: dict[str, Any]) -> dict[str, float]:
    """Coverage and matching of all molecules and of either size, and the share of
    samples that a run would keep.
    """
    model = make_model("se3-distance", **options)
    samples: list[NDArray[np.float64]] = []
    kept = wanted = 0
    for molecule, known in systems:
        seeds = sample_seeds(SEED, 0, 2 * len(known))
        made = model.sample(molecule, seeds, steps=steps)
        made = made[np.isfinite(made).all((1, 2))]
        samples.append(made)
        kept += int(np.count_nonzero(GeometryCheck(molecule)(made) == ""))
        wanted += len(seeds)
    half = len(systems) // 2
    parts = {"": slice(None), "-small": slice(half), "-large": slice(half, None)}
    values = {
        f"{key}{suffix}": value
        for suffix, part in parts.items()
        for key, value in quality(systems[part], samples[part]).items()
        if key.startswith(("AMR", "COV-R@0.5")) and "median" not in key
    }
    return {**values, "valid": 100.0 * kept / wanted}
