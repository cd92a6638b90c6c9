"""What ensembles of conformers are used for: properties of the molecule at room
temperature, after every conformer was relaxed by GFN2-xTB (GeoMol's protocol,
arXiv:2106.07802), beside those of reference ensembles.

An ensemble's energy, gap and dipole moment are means under the Boltzmann distribution of
the GFN2-xTB energies; a fourth figure is its lowest energy.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.xtb import gfn2_relax, gfn2_values
from equidrift.bench.machine import System
from equidrift.bench.rows import medians
from equidrift.units import BOLTZMANN_EV_PER_K, KCAL_MOL_PER_EV

TEMPERATURE_K = 298.15
MOST_CONFORMERS = 32  # of a molecule, as the protocol has it
Array = NDArray[np.float64]


def properties(values: dict[str, Array]) -> dict[str, float]:
    """Of one ensemble, from the `gfn2_values` of its conformers; NaN without any."""
    energies = values["energy_eV"]
    good = np.isfinite(energies)
    if not good.any():
        return dict.fromkeys(("energy", "lowest", "gap", "dipole"), float("nan"))
    energies = energies[good]
    weights = np.exp(-(energies - energies.min()) / (BOLTZMANN_EV_PER_K * TEMPERATURE_K))
    weights /= weights.sum()
    return {
        "energy": KCAL_MOL_PER_EV * float(weights @ energies),
        "lowest": KCAL_MOL_PER_EV * float(energies.min()),
        "gap": float(weights @ values["gap_eV"][good]),
        "dipole": float(weights @ values["mu_D"][good]),
    }


def _of_system(system: System, samples: Array | None) -> dict[str, float]:
    """Of a molecule's references, or of samples that are relaxed first."""
    molecule, known = system
    x = known
    if samples is not None:
        x, _ = gfn2_relax(molecule, samples[:MOST_CONFORMERS])
        x = x[np.isfinite(x).all(axis=(1, 2))]
    return properties(gfn2_values([(molecule, one) for one in x]))


def ensemble_errors(systems: list[System], samples: list[Array]) -> dict[str, float]:
    """Median errors of the ensembles' properties, with standard errors, over molecules
    that have a sample: `energy_error_kcal_mol`, `lowest_error_kcal_mol`, `gap_error_eV`
    and `dipole_error_D`; `ensembles`, how many these are.
    """
    chosen = [k for k, made in enumerate(samples) if len(made)]
    # fork would copy the threads' locks
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found = pool.map(_of_system, [systems[k] for k in chosen], [samples[k] for k in chosen])
        true = pool.map(_of_system, [systems[k] for k in chosen], [None] * len(chosen))
        pairs = list(zip(found, true, strict=True))
    units = {"energy": "kcal_mol", "lowest": "kcal_mol", "gap": "eV", "dipole": "D"}
    errors = {
        f"{name}_error_{unit}": [abs(ours[name] - theirs[name]) for ours, theirs in pairs]
        for name, unit in units.items()
    }
    return medians(errors) | {"ensembles": len(chosen)}
