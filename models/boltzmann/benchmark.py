"""Rows `ala2/boltzmann` of `equidrift bench sampling`: the generator of alanine dipeptide against long reference sampling (methods F.3 c).

The reference is what `tools/make_boltzmann_data.py` wrote, of another seed than the training frames: MD with exact torsion moves, whose
odds (Rao-Blackwell over all tried torsions) give the Ramachandran histogram and the population of the rare basin, 0 < phi < 2 rad.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.boltzmann.sampler import (
    BoltzmannGenerator,
    ess,
    free_energy_difference,
    importance_weights,
    load_boltzmann,
    log_weights,
)
from equidrift.registry import resolve
from equidrift.torsions import dihedrals
from equidrift.units import BOLTZMANN_EV_PER_K

REFERENCE = "ala2/ala2_boltzmann_seed2.npz"
RARE, COMMON = (0.0, 2.0), (2.0, 2 * np.pi)  # of phi, rad
QUICK, FULL = 5000, 50000
QUANTILES, PROFILE_KT = 200, 8.0
# Published figures for alanine dipeptide (methods F.3 c); other force fields and solvents, and GPUs: for orientation only.
PUBLISHED = {
    "tbg-published": {"ess": 6.03},
    "falcon-published": {"ess": 6.7, "energy_w2": 0.225},
    "falcon-a-published": {"ess": 9.7, "energy_w2": 0.512},
    "ecnf++-published": {"ess": 27.5, "energy_w2": 0.914},
}
Floats = NDArray[np.float64]


def rows(full: bool = False, progress: Callable[[object], None] | None = None, weights: str = "ala2") -> list[dict[str, Any]]:
    """The rows `ala2/boltzmann` and `ala2/...-published` (architecture.md, Results).

    Parameters
    ----------
    full : 50,000 samples, else 5,000; as many again in the rare basin alone.
    progress : called with a line of text before the work.
    weights : name or path of the generator.

    Raises
    ------
    InputError
        where the reference is missing.
    """
    if progress is not None:
        progress("ala2/boltzmann: samples, weights and free energies")
    values = measure(load_boltzmann(weights), load_reference(), FULL if full else QUICK)
    return [{"row": "ala2/boltzmann", "values": values}] + [{"row": f"ala2/{name}", "values": v} for name, v in PUBLISHED.items()]


def load_reference(path: str | Path | None = None) -> dict[str, Floats]:
    """The arrays of the reference, by default `REFERENCE` in the folder that EQUIDRIFT_DATA names."""
    path = Path(os.environ.get("EQUIDRIFT_DATA") or ".") / REFERENCE if path is None else Path(path)
    if not path.exists():
        raise InputError(
            f"the benchmark needs {REFERENCE} in the folder that EQUIDRIFT_DATA names; make it with "
            "python tools/make_boltzmann_data.py OUT.npz --seed 2 --frames 24000 --histogram FRAMES.npz"
        )
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def measure(generator: BoltzmannGenerator, reference: dict[str, Floats], n: int, seed: int = 0) -> dict[str, float]:
    """What the generator is worth: n samples over everything, and n / 2 in either basin for the free energy between them.

    Returns
    -------
    ess, in per cent; acceptance, in per cent, of independent Metropolis moves; delta_F_kT of the rare basin over the rest with its
    bootstrap error, that of the reference, and delta_F_error_kT the difference; ramachandran_tv of the reweighted (phi, psi) on the
    reference's bins, and of the reference's own frames for comparison; energy_w2 (kT) of reweighted samples, and raw; profile_error_kT,
    the root mean square difference of the free energy along phi where the reference is below 8 kT; samples_per_s and energies_per_s,
    each on its own.
    """
    _, system, _ = resolve("equidrift.adapters.openmmtools_systems:alanine_dipeptide")(constrained=False)
    energy = resolve("equidrift.adapters.openmm_energy:SystemEnergy")(system)
    kT = BOLTZMANN_EV_PER_K * generator.temperature_K
    begun = time.perf_counter()
    x, log_q = generator.sample(n, seed)
    drawn = time.perf_counter()
    u = energy(x)
    done = time.perf_counter()
    log_w = log_weights(log_q, u, generator.temperature_K)
    w = importance_weights(log_w)
    found, sides = {}, {}
    for name, region in (("rare", RARE), ("common", COMMON)):
        y, log_r = generator.sample(n // 2, seed + 1, first_torsion_rad=region)
        sides[name] = (y, log_weights(log_r, energy(y), generator.temperature_K))
    delta, error = free_energy_difference(sides["common"][1], sides["rare"][1])
    share, share_error = rare_share(reference)
    own = float(np.log((1 - share) / share))
    torsions = np.asarray(reference["torsions"], np.int64)
    angles = dihedrals(x, torsions)
    target = reference["ramachandran"] / reference["ramachandran"].sum()
    found["ess"] = 100 * ess(log_w)
    found["ess_rare_basin"] = 100 * ess(sides["rare"][1])
    found["acceptance"] = 100 * acceptance(log_w)
    found |= {"delta_F_kT": delta, "delta_F_stderr_kT": error, "delta_F_reference_kT": own}
    found |= {"delta_F_reference_stderr_kT": share_error / (share * (1 - share)), "delta_F_error_kT": abs(delta - own)}
    histogram = ramachandran(angles, w, len(target))
    found["ramachandran_tv"] = total_variation(histogram, target)
    frames = dihedrals(np.asarray(reference["positions_A"], np.float64), torsions)
    found["ramachandran_tv_reference_frames"] = total_variation(ramachandran(frames, np.ones(len(frames)), len(target)), target)
    found["energy_w2"] = quantile_distance(u / kT, w, reference["energies_eV"] / kT)
    found["energy_w2_raw"] = quantile_distance(u / kT, np.ones(n) / n, reference["energies_eV"] / kT)
    found["profile_error_kT"] = profile_error(sides, delta, torsions, target)
    return found | {"samples": n, "samples_per_s": n / (drawn - begun), "energies_per_s": n / (done - drawn)}


def rare_share(reference: dict[str, Floats]) -> tuple[float, float]:
    """Population of the rare basin and its standard error from 20 blocks."""
    odds = np.asarray(reference["rare"], np.float64)
    blocks = odds[: len(odds) // 20 * 20].reshape(20, -1).mean(axis=1)
    return float(odds.mean()), float(blocks.std(ddof=1) / np.sqrt(20))


def acceptance(log_w: Floats, seed: int = 0) -> float:
    """Acceptance of independent moves among the samples in equilibrium: states by weight, proposals as drawn."""
    rng = np.random.default_rng(seed)
    states = rng.choice(len(log_w), len(log_w), p=importance_weights(log_w))
    return float(np.exp(np.minimum(0.0, log_w[rng.permutation(len(log_w))] - log_w[states])).mean())


def ramachandran(angles: Floats, weights: Floats, bins: int) -> Floats:
    """(bins, bins) shares of (phi, psi) (k, 2) from -pi to pi."""
    cells = np.floor((angles + np.pi) / (2 * np.pi) * bins).astype(int) % bins
    out = np.zeros((bins, bins))
    np.add.at(out, tuple(cells.T), weights)
    return out / out.sum()


def total_variation(a: Floats, b: Floats) -> float:
    """Half the sum of differences: 0 alike, 1 disjoint."""
    return float(0.5 * np.abs(a - b).sum())


def quantile_distance(values: Floats, weights: Floats, others: Floats) -> float:
    """Wasserstein-2 distance of two samples of numbers, the first weighted, by `QUANTILES` mid-quantiles."""
    finite = np.isfinite(values) & (weights > 0)
    v, w = values[finite], weights[finite]
    order = np.argsort(v)
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    mine = np.interp(at, (np.cumsum(w[order]) - 0.5 * w[order]) / w.sum(), v[order])
    return float(np.sqrt(np.mean((mine - np.quantile(others, at)) ** 2)))


def profile_error(sides: dict[str, tuple[Floats, Floats]], delta_kT: float, torsions: NDArray[np.int64], target: Floats) -> float:
    """Root mean square difference (kT) of -log p(phi), both basins sampled apart and joined by their free energies."""
    bins = len(target)
    profile = np.zeros(bins)
    for name, mass in (("common", 1.0), ("rare", np.exp(-delta_kT))):
        positions, log_w = sides[name]
        profile += mass * ramachandran(dihedrals(positions, torsions), importance_weights(log_w), bins).sum(axis=1)
    reference = target.sum(axis=1)
    seen = (profile > 0) & (reference > np.exp(-PROFILE_KT) * reference.max())
    difference = np.log(profile[seen] / profile.sum()) - np.log(reference[seen])
    return float(np.sqrt(np.mean((difference - difference.mean()) ** 2)))
