"""Frames of dynamics with their torsions drawn anew: rare basins get their true weight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from equidrift.geometry import Floats
from equidrift.montecarlo.densities import Histogram
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K


def recycled(
    frames_A: Floats,
    tree: TorsionTree,
    energy: Callable[[Floats], float],
    *,
    temperature_K: float,
    draws: int = 4,
    seed: int = 0,
) -> Floats:
    """Frames of MD with their torsions drawn anew, so that rare basins have their true
    weight and more than one face.

    Every frame is turned to `draws` torsions of a flattened histogram of all frames, q;
    it and its copies are weighted by exp(-U / kT) / q among themselves (all that was
    tried counts, also what a chain would have rejected), and as many frames are taken
    by weight.

    Parameters
    ----------
    frames_A : (k, n_atoms, 3) array
        At equilibrium but for too few visits of rare basins.
    tree : TorsionTree
        At most three torsions.
    energy : callable
        positions_A (n_atoms, 3) -> eV.
    temperature_K : float
        Of the frames.
    draws : int
        Copies of each frame.
    seed : int
        Of the draws.

    Returns
    -------
    (k, n_atoms, 3) array
        As many frames as came, in A.
    """
    rng, phi = np.random.default_rng(seed), tree.torsions(frames_A)
    density = Histogram(0.5 * np.log(Histogram.fit(phi).table))
    kT_eV = BOLTZMANN_EV_PER_K * temperature_K
    pools, weights = [], []
    for x, here in zip(frames_A, phi, strict=True):
        new = density.sample(draws, rng)
        pool = np.concatenate([x[None], tree.set_torsions(x, new)])
        log_odds = -np.array([energy(member) for member in pool]) / kT_eV - density.log_prob(
            np.vstack([here, new])
        )
        odds = np.exp(log_odds - np.nanmax(log_odds))
        pools.append(pool)
        weights.append(np.nan_to_num(odds) / np.nansum(odds))
    pool, weight = np.concatenate(pools), np.cumsum(np.concatenate(weights))
    order = np.searchsorted(
        weight, (np.arange(len(frames_A)) + rng.random()) / len(frames_A) * weight[-1]
    )
    out: Floats = pool[np.minimum(order, len(pool) - 1)]
    return out
