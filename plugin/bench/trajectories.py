"""`equidrift bench trajectories`: forecasts of N-body systems, pedestrians and
GFN2-MD17, physics, speed (arXiv:2410.13027).

N-body: 10 -> 20 frames, mean of 19 samples, 1000 test trajectories simulated anew (the
quick form: 128). GFN2-MD17 (a stand-in, never MD17): every 10th frame of the last 20 %
of each trajectory, windows of 30, 10 -> 20, the same 32 (quick: 4) windows for every
method, mean of 19 samples (`geotdm` 5). Rows of a model whose weights are not shipped
are left out.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.bench import trajectories_molecules as molecules
from equidrift.bench import unconditional
from equidrift.bench.displacements import displacements
from equidrift.bench.machine import Progress
from equidrift.bench.parts import Parts, benchmark, of_data
from equidrift.bench.pedestrians import pedestrian_rows
from equidrift.bench.rows import Row, means, medians, row
from equidrift.bench.trajectories_calibration import DRAWS, covered, distances, energy_score
from equidrift.bench.trajectories_cost import rows as cost_rows
from equidrift.bench.trajectories_gfn2 import mean_rows, molecule_rows, shipped, speed
from equidrift.bench.trajectories_leap_rows import LEAP, leap_rows
from equidrift.bench.trajectories_published import paper_rows
from equidrift.files.data import data_or_here
from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.arrays.carry import CALLS_TO_START
from equidrift.models.trajectories.arrays.egnn import EGNN, EGNNConfig
from equidrift.models.trajectories.diffusion.geotdm import GeoTDM
from equidrift.models.trajectories.diffusion.residual import CALLS
from equidrift.models.trajectories.dynamics import Dynamics, load_gfn2_md
from equidrift.models.trajectories.integrator.integrator import Integrator
from equidrift.seeds import sample_seeds

GIVEN, FRAMES = 10, 30  # frames given, and in all


def parts_of(full: bool, say: Progress) -> Parts:
    """What measures nbody, unconditional, pedestrians, gfn2, molecules, leaps, published.

    The long form has every test trajectory, more windows per molecule, the GFN2-xTB limit
    of every molecule; else a few of each, in under ten minutes. Models whose weights are
    not shipped have no rows.
    """
    return {
        "nbody": lambda: all_nbody_rows(full, say),
        "unconditional": lambda: unconditional_rows(full, say),
        "pedestrians": lambda: of_data(
            "pedestrians", ["eth_ucy"], lambda folder: walked_rows(folder, full, say), say
        ),
        "gfn2": lambda: of_data(
            "gfn2", ["gfn2_md"], lambda folder: gfn2_rows(folder, full, say), say
        ),
        "molecules": lambda: of_data(
            "molecules", ["gfn2_md"], lambda folder: unseen_rows(folder, full, say), say
        ),
        "leaps": lambda: leap_rows(data_or_here(), full, say) if shipped(LEAP) else [],
        "published": paper_rows,
    }


run = benchmark("trajectories", parts_of)


@cache
def gfn2_md(folder: Path) -> dict[str, Dynamics]:
    """The dynamics of GFN2-MD17 in a folder of data, which three parts read."""
    return load_gfn2_md(folder / "gfn2_md")


def all_nbody_rows(full: bool, say: Progress) -> list[Row]:
    """Rows of every N-body system."""
    rows: list[Row] = []
    for system in (*nbody.SYSTEMS, nbody.FIELD):
        if system in nbody.SYSTEMS or shipped(f"nbody-{system}"):
            say(f"N-body: {system}")
            rows += nbody_rows(system, 1000 if full else 128)
    return rows


def unconditional_rows(full: bool, say: Progress) -> list[Row]:
    """Rows of trajectories that begin with no frame."""
    rows: list[Row] = []
    if shipped("geotdm-charged-unconditional"):
        say("unconditional: charged particles")
        rows += unconditional.charged_rows(256 if full else 96, 30 if full else 15)
    if shipped("geotdm-ethanol-unconditional"):
        count, epochs = (128, 30) if full else (48, 15)

        def ethanol(folder: Path) -> list[Row]:
            say("unconditional: ethanol")
            frames = gfn2_md(folder)["ethanol"]
            return unconditional.molecule_rows(frames, "ethanol", count, epochs)

        rows += of_data("unconditional ethanol", ["gfn2_md"], ethanol, say)
    return rows


def walked_rows(folder: Path, full: bool, say: Progress) -> list[Row]:
    """Rows of pedestrians, given the folder of data."""
    if not shipped("pedestrians-eth"):
        return []
    say("ETH-UCY")
    return pedestrian_rows(folder / "eth_ucy", None if full else 64)


def gfn2_rows(folder: Path, full: bool, say: Progress) -> list[Row]:
    """Rows of GFN2-MD17, and what they cost."""
    if not shipped("trajectory"):
        return []
    rows, data = [], gfn2_md(folder)
    for name, dynamics in data.items():
        say(f"GFN2-MD17: {name}")
        rows += molecule_rows(name, dynamics, full)
    rows += mean_rows(rows)
    say("cost against frames and atoms")
    rows += cost_rows(data, 16 if full else 4)
    say("speed")
    return rows + speed(data["aspirin"], 128 if full else 16)


def unseen_rows(folder: Path, full: bool, say: Progress) -> list[Row]:
    """Rows of molecules that were not trained on."""
    if not shipped("trajectory"):
        return []
    return molecules.rows(folder, gfn2_md(folder), full, say)


def nbody_rows(system: str, limit: int) -> list[Row]:
    """Ours, GeoTDM and the baselines on the first `limit` test trajectories of a
    system.
    """
    data = nbody.part(system, "test", limit)
    truth = data.positions[:, GIVEN:]
    rows = []
    for method, name in (
        ("equidrift", f"nbody-{system}"),
        ("residual", f"geotdm-residual-{system}"),
        ("geotdm", f"geotdm-{system}"),
        ("egnn", f"egnn-{system}"),
        ("untold", f"nbody-{system}-untold"),  # trained without the field's vector
    ):
        if shipped(name):
            values = nbody_values(name, data, 1 if method == "egnn" else DRAWS)
            rows.append(row(f"{system}/{method}", values, len(data)))
    last, before = data.positions[:, GIVEN - 1 : GIVEN], data.positions[:, GIVEN - 2 : GIVEN - 1]
    ahead = np.arange(1, FRAMES - GIVEN + 1)[None, :, None, None]
    for method, made in (
        ("last-frame", np.repeat(last, FRAMES - GIVEN, 1)),
        ("constant-velocity", last + ahead * (last - before)),
    ):
        columns = displacements(made, truth)
        values = means(columns | {"CRPS": columns["ADE"]})  # of a point, its absolute error
        rows.append(row(f"{system}/{method}", values, len(data)))
    return rows


def nbody_values(name: str, data: nbody.NBody, samples: int) -> dict[str, float]:
    """The figures of a shipped model; one sample is the deterministic path."""
    given = np.arange(FRAMES) < GIVEN
    model = GeometricTrajectoryModel(name, noise=float(samples > 1))
    config = model.card["config"]
    told = config.get("force", config.get("network", config)).get("global_vectors", 0)
    axes = data.vectors if told else None
    begun, made = time.process_time(), []
    for k in range(samples):
        seeds = sample_seeds(0, k * len(data), (k + 1) * len(data))
        made.append(
            model.complete_many(data.positions, data.nodes, data.edges, given, seeds, vectors=axes)[
                :, GIVEN:
            ]
        )
    spent = time.process_time() - begun
    drawn, truth = np.stack(made), data.positions[:, GIVEN:]
    errors = displacements(drawn, truth)
    spread = [_spread(drawn[:, k], truth[k]) for k in range(len(data))]
    values = means(errors) | medians({"ADE_median": errors["ADE"]}) | calls(model)
    values |= means({name: [one[name] for one in spread] for name in spread[0]})
    moved = truth - data.positions[:, GIVEN - 1 : GIVEN]
    values["unexplained_percent"] = 100.0 * float(np.square(drawn - truth).mean() / moved.var())
    timing = {"ms_per_sample": 1000 * spent / (samples * len(data))}
    return values | timing | {"samples": samples, "trajectories": len(data)}


def _spread(made: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """CRPS, and the coverage of pair distances if there are samples enough."""
    values = {"CRPS": energy_score(made, truth)}
    if len(made) == DRAWS:
        found = covered(distances(made), distances(truth))
        values |= {f"{name}_distances": value for name, value in found.items()}
    return values


def calls(model: GeometricTrajectoryModel) -> dict[str, float]:
    """Network calls of a sample, and the layers of each.

    GeoTDM: a call of the denoiser is a spatial and a temporal part in each of its
    layers. EGNN: a call is a frame. The integrator: a layer is one evaluation of the
    pair force and the kick and drift after it; a call is two frames of them, or one
    where it looks for the velocities. `force_evaluations` counts all of them.
    """
    if isinstance(model.network, Integrator):
        layers, frames = model.network.clock(float(model.training["spacing"])).count, FRAMES - GIVEN
        return {
            "calls": CALLS_TO_START + frames / 2,
            "layers_per_call": 2 * layers,
            "force_evaluations": layers * (CALLS_TO_START + frames),
        }
    config = model.card["config"]
    if isinstance(model.network, EGNN):
        return {
            "calls": FRAMES - GIVEN,
            "layers_per_call": config["layers"] if "layers" in config else EGNNConfig().layers,
        }
    layers = 2 * config["network"]["layers"]
    published = isinstance(model.network, GeoTDM)
    return {"calls": config.get("steps", 1000) if published else CALLS, "layers_per_call": layers}
