"""Rows `gfn2md17-MOLECULE/equidrift-chained` and `.../md-chained` of `equidrift bench
trajectories`: long chains of forecasts beside dynamics, and what a chain is measured by.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.xtb import gfn2_relax
from equidrift.bench.rows import Row, means, row
from equidrift.checks.geometry import GeometryCheck
from equidrift.errors import MissingDependencyError
from equidrift.graph import neighbours_of
from equidrift.models.trajectories.arrays import metrics
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.records import Molecule, Trajectory
from equidrift.registry import make_trajectory_model
from equidrift.seeds import sample_seeds

GIVEN, STRIDE = 10, 10  # frames given; every tenth frame of GFN2-MD17
CHAINED = 200  # frames of ten chained windows
BINS = 25
Array = NDArray[np.float64]


def positions_of(made: Sequence[Trajectory]) -> Array:
    """Positions (k, t, n, 3) of k trajectories."""
    return np.stack([t.positions_A for t in made])


def broken_percent(molecule: Molecule, made: Array, truth: Array) -> float:
    """Share of frames (..., n, 3) that fail a check, in percent; faults that the
    dynamics shows too (a proton that moved on) are none.
    """
    check = GeometryCheck(molecule)
    usual = {"", *check(truth.reshape(-1, *truth.shape[-2:])[:200]).tolist()}
    return 100.0 * float(
        np.mean(
            [reason not in usual for reason in check(made.reshape(-1, *made.shape[-2:])).tolist()]
        )
    )


def chain_values(molecule: Molecule, made: Array, truth: Array) -> dict[str, float]:
    """Bonds, torsions, velocities and broken frames of chains (k, t, n, 3) against
    dynamics (m, t, n, 3).
    """
    bonds = molecule.bonds

    def lengths(x: Array) -> Array:
        found: Array = np.linalg.norm(
            x[..., bonds[:, 0], :] - x[..., bonds[:, 1], :], axis=-1
        ).reshape(-1, len(bonds))
        return found

    ours, theirs = lengths(made), lengths(truth)
    values = {
        "JSD_bonds": float(
            np.mean(
                [metrics.jensen_shannon(ours[:, b], theirs[:, b], BINS) for b in range(len(bonds))]
            )
        ),
        "VACF_error": float(
            np.abs(
                metrics.velocity_correlation(made, 10) - metrics.velocity_correlation(truth, 10)
            ).mean()
        ),
        "broken_percent": broken_percent(molecule, made, truth),
        "frames": float(made.shape[0] * made.shape[1]),
    }
    quads = rotatable(molecule)
    if len(quads):
        turned = [metrics.torsions(x, quads).reshape(-1, len(quads)) for x in (made, truth)]
        around = (-np.pi, np.pi)
        values["JSD_torsions"] = float(
            np.mean(
                [
                    metrics.jensen_shannon(turned[0][:, q], turned[1][:, q], 2 * BINS, around)
                    for q in range(len(quads))
                ]
            )
        )
    return values


def rotatable(molecule: Molecule) -> NDArray[np.int64]:
    """One quadruple a, b, c, d (q, 4) for each bond b-c whose ends both have further
    neighbours.
    """
    neighbours = neighbours_of(molecule.n_atoms, molecule.bonds)
    quads = []
    for b, c in molecule.bonds.tolist():
        a, d = [k for k in neighbours[b] if k != c], [k for k in neighbours[c] if k != b]
        if a and d and min(a) != min(d):
            quads.append((min(a), b, c, min(d)))
    return np.array(quads, np.int64).reshape(-1, 4)


def chain_rows(
    data: dict[str, Dynamics], names: Sequence[str], count: int, energies: int = 8
) -> list[Row]:
    """Ten chained windows of `count` starts of each molecule, by ours and by plain MMFF94
    dynamics, against MD of the test part; GFN2-xTB energies if tblite is there.
    """
    rows: list[Row] = []
    for method in ("equidrift", "md"):
        broken = []
        for name in names:
            part = data[name].part(0.8, 1.0)
            truth = part.positions_A[0, ::STRIDE].astype(np.float64)
            begun = time.process_time()
            frames = chained(part, truth, count, method)
            spent = (time.process_time() - begun) / count
            values = chain_values(part.molecule, frames, truth[None])
            values |= energy_values(part.molecule, frames, truth, energies)
            # a chain is one independent thing, its frames are not
            each = [broken_percent(part.molecule, chain, truth) for chain in frames]
            values |= means({"broken_percent": each}) | {"cpu_s_per_trajectory": spent}
            broken += each
            rows.append(row(f"gfn2md17-{name}/{method}-chained", values, count))
        mean = means({"broken_percent": broken}) | {"frames": CHAINED * len(broken)}
        rows.append(row(f"gfn2md17-mean/{method}-chained", mean, len(broken)))
    return rows


def chained(part: Dynamics, truth: Array, count: int, method: str) -> Array:
    """Chains (count, t, n, 3) of forecasts from starts spread over the frames `truth`."""
    bath = {"temperature_K": part.temperature_K, "friction_per_fs": part.friction_per_fs}
    named, options = ("md", bath) if method == "md" else ("default", {})
    spacing = STRIDE * part.spacing_fs
    starts = np.linspace(0, len(truth) - GIVEN, count).astype(int)
    model, made = make_trajectory_model(named, **options), []
    for k, at in enumerate(starts.tolist()):
        given = Trajectory(
            part.molecule, truth[at : at + GIVEN], spacing * np.arange(GIVEN, dtype=np.float64)
        )
        made.append(positions_of(model.continue_(given, CHAINED, sample_seeds(1, k, k + 1)))[0])
    return np.stack(made)


def energy_values(molecule: Molecule, made: Array, truth: Array, each: int) -> dict[str, float]:
    """GFN2-xTB energies of some frames of chains (k, t, n, 3) beside those of as many
    of MD (t, n, 3).
    """
    try:
        some = made[:, :: max(1, made.shape[1] // each)].reshape(-1, *made.shape[2:])
        known = truth[:: max(1, len(truth) // len(some))][: len(some)]
        e = [gfn2_relax(molecule, x, 0)[1] for x in (some, known)]
    except MissingDependencyError:
        return {}
    return {
        "energy_shift_eV": float(np.nanmean(e[0]) - np.nanmean(e[1])),
        "energy_std_ratio": float(np.nanstd(e[0]) / np.nanstd(e[1])),
    }


def bond_error(molecule: Molecule, made: Array, truth: Array) -> float:
    """Root mean square difference of bond lengths from the truth's mean ones, less the
    truth's own: how far bonds are from usual.
    """
    i, j = molecule.bonds.T
    lengths = [np.linalg.norm(x[:, i] - x[:, j], axis=-1) for x in (made, truth)]
    return float(np.sqrt(((lengths[0] - lengths[1].mean(0)) ** 2).mean()))
