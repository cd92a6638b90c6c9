"""Rows `ala2/boltzmann` of `equidrift bench sampling`: the generator of alanine
dipeptide against long reference sampling.

The reference is in the generator's card, as `tools/make_boltzmann_data.py --reference`
wrote it: chains of MD with exact torsion moves in either basin (the rare one is 0 < phi
< 2 rad), joined by Bennett's ratio; the Ramachandran table by the odds of all tried
torsions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.openmm.simulation import SystemEnergy
from equidrift.adapters.openmmtools.systems import alanine_dipeptide
from equidrift.bench.rows import Row, bootstrap_se, published, row
from equidrift.errors import InputError
from equidrift.geometry import dihedrals
from equidrift.models.boltzmann.sampler import BoltzmannGenerator, load_boltzmann
from equidrift.models.boltzmann.weights import (
    ess,
    free_energy_difference,
    importance_weights,
    log_weights,
)
from equidrift.units import BOLTZMANN_EV_PER_K
from equidrift.weights import find, read_card

RARE, COMMON = (0.0, 2.0), (2.0, 2 * np.pi)  # of phi, rad
QUICK, FULL = 5000, 50000
PROFILE_KT = 8.0
# Published figures for alanine dipeptide; other force fields, solvents and GPUs: for orientation
PUBLISHED = {
    "tbg-published": {"ess": 6.03},
    "falcon-published": {"ess": 6.7, "energy_w2": 0.225},
    "falcon-a-published": {"ess": 9.7, "energy_w2": 0.512},
    "ecnf++-published": {"ess": 27.5, "energy_w2": 0.914},
}
Floats = NDArray[np.float64]


def rows(
    full: bool = False, progress: Callable[[object], None] | None = None, weights: str = "ala2"
) -> list[Row]:
    """The rows `ala2/boltzmann` and `ala2/...-published`.

    Parameters
    ----------
    full : bool, optional
        50,000 samples, else 5,000; as many again in the rare basin alone.
    progress : callable, optional
        Called with a line of text before the work.
    weights : str, optional
        Name or path of the generator.

    Raises
    ------
    InputError
        If the reference is missing.
    """
    if progress is not None:
        progress("ala2/boltzmann: samples, weights and free energies")
    n = FULL if full else QUICK
    values = measure(load_boltzmann(weights), load_reference(weights), n)
    papers = [published(f"ala2/{name}", v) for name, v in PUBLISHED.items()]
    return [row("ala2/boltzmann", values, n), *papers]


def load_reference(weights: str = "ala2") -> dict[str, Any]:
    """What the card of a generator says of long sampling, with `ramachandran` (bins,
    bins) filled in.

    Raises
    ------
    InputError
        If the card has none.
    """
    found = read_card(find(weights).with_suffix(".json")).get("reference")
    if not found:
        raise InputError(
            f"the card of {weights!r} has no reference to compare with; make one with "
            "python tools/make_boltzmann_data.py OUT.json --reference --seed 11 --frames 7000 "
            "--histogram FRAMES.npz"
        )
    table = np.zeros(found["bins"] ** 2)
    table[found["cells"]] = found["shares"]
    return {**found, "ramachandran": (table / table.sum()).reshape(found["bins"], found["bins"])}


def rare_share(reference: Mapping[str, Any]) -> float:
    """Population of the rare basin."""
    return float(1 / (1 + np.exp(reference["delta_F_kT"])))


def measure(
    generator: BoltzmannGenerator, reference: Mapping[str, Any], n: int, seed: int = 0
) -> dict[str, float]:
    """What the generator is worth: n samples over everything, and n / 2 in either basin
    for the free energy between them.

    Returns
    -------
    dict of str to float
        ess, in per cent; acceptance, in per cent, of independent Metropolis moves;
        delta_F_kT of the rare basin over the rest with its bootstrap error, that of the
        reference, and delta_F_error_kT the difference; ramachandran_tv of the
        reweighted (phi, psi) on the reference's bins, and what as many draws from the
        reference itself would have; energy_w2 (kT) of reweighted samples, and raw;
        profile_error_kT, the root mean square difference of the free energy along phi
        where the reference is below 8 kT; samples_per_s and energies_per_s, each on its
        own.
    """
    _, system, _ = alanine_dipeptide(constrained=False)
    energy = SystemEnergy(system)
    begun = time.perf_counter()
    x, log_q = generator.sample(n, seed)
    drawn = time.perf_counter()
    u = energy(x)
    done = time.perf_counter()
    log_w = log_weights(log_q, u, generator.temperature_K)
    sides = {}
    for name, region in (("rare", RARE), ("common", COMMON)):
        y, log_r = generator.sample(n // 2, seed + 1, first_torsion_rad=region)
        sides[name] = (y, log_weights(log_r, energy(y), generator.temperature_K))
    found = {
        "ess": 100 * ess(log_w),
        "ess_se": 100 * bootstrap_se(ess, log_w),
        "ess_rare_basin": 100 * ess(sides["rare"][1]),
        "ess_rare_basin_se": 100 * bootstrap_se(ess, sides["rare"][1]),
        "acceptance": 100 * acceptance(log_w),
        "acceptance_se": 100 * bootstrap_se(acceptance, log_w),
    }
    found |= free_energy_values(sides, reference)
    kT = BOLTZMANN_EV_PER_K * generator.temperature_K
    found |= distribution_values(x, u / kT, log_w, reference, seed)
    return found | {"samples_per_s": n / (drawn - begun), "energies_per_s": n / (done - drawn)}


def free_energy_values(
    sides: Mapping[str, tuple[Floats, Floats]], reference: Mapping[str, Any]
) -> dict[str, float]:
    """The free energy of the rare basin over the rest, and the profile along phi, from
    (positions_A, log-weights) of either basin.
    """
    delta, error = free_energy_difference(sides["common"][1], sides["rare"][1])
    torsions = np.asarray(reference["torsions"], np.int64)
    own = float(reference["delta_F_kT"])
    return {
        "delta_F_kT": delta,
        "delta_F_stderr_kT": error,
        "delta_F_reference_kT": own,
        "delta_F_reference_stderr_kT": reference["delta_F_stderr_kT"],
        "delta_F_error_kT": abs(delta - own),
        "profile_error_kT": profile_error(sides, delta, torsions, reference["ramachandran"]),
    }


def distribution_values(
    x: Floats, u_kT: Floats, log_w: Floats, reference: Mapping[str, Any], seed: int
) -> dict[str, float]:
    """Distances of the reweighted torsions and energies from the reference's."""
    target, n = reference["ramachandran"], len(x)
    weights = importance_weights(log_w)
    angles = dihedrals(x, np.asarray(reference["torsions"], np.int64))
    as_many = np.random.default_rng(seed).multinomial(round(n * ess(log_w)), target.ravel())
    as_many = as_many.reshape(target.shape)
    quantiles = np.asarray(reference["energy_quantiles_kT"])
    return {
        "ramachandran_tv": total_variation(ramachandran(angles, weights, len(target)), target),
        "ramachandran_tv_of_as_many": total_variation(as_many / as_many.sum(), target),
        "energy_w2": quantile_distance(u_kT, weights, quantiles),
        "energy_w2_raw": quantile_distance(u_kT, np.ones(n) / n, quantiles),
    }


def acceptance(log_w: Floats, seed: int = 0) -> float:
    """Acceptance of independent moves among the samples in equilibrium: states by
    weight, proposals as drawn.
    """
    rng = np.random.default_rng(seed)
    states = rng.choice(len(log_w), len(log_w), p=importance_weights(log_w))
    return float(np.exp(np.minimum(0.0, log_w[rng.permutation(len(log_w))] - log_w[states])).mean())


def ramachandran(angles: Floats, weights: Floats, bins: int) -> Floats:
    """(bins, bins) shares of (phi, psi) (k, 2) from -pi to pi."""
    cells = np.floor((angles + np.pi) / (2 * np.pi) * bins).astype(int) % bins
    out = np.zeros((bins, bins))
    np.add.at(out, tuple(cells.T), weights)
    return np.asarray(out / out.sum())


def total_variation(a: Floats, b: Floats) -> float:
    """Half the sum of differences: 0 alike, 1 disjoint."""
    return float(0.5 * np.abs(a - b).sum())


def quantile_distance(values: Floats, weights: Floats, quantiles: Floats) -> float:
    """Wasserstein-2 distance of weighted numbers to a distribution given by its
    mid-quantiles.
    """
    finite = np.isfinite(values) & (weights > 0)
    v, w = values[finite], weights[finite]
    order = np.argsort(v)
    at = (np.arange(len(quantiles)) + 0.5) / len(quantiles)
    mine = np.interp(at, (np.cumsum(w[order]) - 0.5 * w[order]) / w.sum(), v[order])
    return float(np.sqrt(np.mean((mine - quantiles) ** 2)))


def profile_error(
    sides: Mapping[str, tuple[Floats, Floats]],
    delta_kT: float,
    torsions: NDArray[np.int64],
    target: Floats,
) -> float:
    """Root mean square difference (kT) of -log p(phi), both basins sampled apart and
    joined by their free energies.
    """
    bins = len(target)
    profile = np.zeros(bins)
    for name, mass in (("common", 1.0), ("rare", np.exp(-delta_kT))):
        positions, log_w = sides[name]
        profile += mass * ramachandran(
            dihedrals(positions, torsions), importance_weights(log_w), bins
        ).sum(axis=1)
    reference = target.sum(axis=1)
    seen = (profile > 0) & (reference > np.exp(-PROFILE_KT) * reference.max())
    difference = np.log(profile[seen] / profile.sum()) - np.log(reference[seen])
    return float(np.sqrt(np.mean((difference - difference.mean()) ** 2)))
