"""Whether the spread of forecasts is right: the continuous ranked probability score of
samples, and how often the truth lies in their central intervals.

A point forecast has a CRPS, its absolute error, and covers nothing. Lower is better; at
equal mean error the one whose spread is right has the lower one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equidrift.bench.trajectories_chains import rotatable
from equidrift.models.trajectories.arrays import metrics
from equidrift.records import Molecule

Array = NDArray[np.float64]

# with 19 samples the truth has 20 ranks: the central 10 and 18 hold 50 and 90 %, exactly
DRAWS = 19
LEAST_VARIANCE = 1e-9  # of a kernel, where all samples are equal
LARGEST_NLL = 20.0  # nats, of one position
INTERVALS = {"coverage_50": 5, "coverage_90": 1}  # ranks left out at either end


def energy_score(made: Array, truth: Array) -> float:
    """Mean energy score of samples (s, ..., d) of vectors (..., d), which is the CRPS for
    d = 1.

    The mean distance to the truth, less half the mean distance between two samples, by
    the estimator that has no bias for few samples; one sample, or samples that are equal,
    have their distance alone.

    References
    ----------
    Gneiting and Raftery 2007, doi:10.1198/016214506000001437, equations 21 and 22.
    """
    off = float(np.linalg.norm(made - truth, axis=-1).mean())
    count = len(made)
    if count < 2:
        return off
    between = [  # of each pair of samples
        np.linalg.norm(made[k + 1 :] - made[k], axis=-1).reshape(count - 1 - k, -1).mean(1)
        for k in range(count - 1)
    ]
    return off - 0.5 * float(np.concatenate(between).mean())


def covered(made: Array, truth: Array) -> dict[str, float]:
    """Share of numbers (...), in percent, whose truth lies in the central 50 and 90 % of
    DRAWS samples (DRAWS, ...); a tie counts as half.

    Raises
    ------
    ValueError
        For another number of samples, whose ranks do not make these shares.
    """
    if len(made) != DRAWS:
        raise ValueError(f"coverage is measured with {DRAWS} samples, not {len(made)}")
    below, ties = (made < truth).sum(0), (made == truth).sum(0)
    rank = below + 0.5 * ties  # 0 to DRAWS
    return {
        name: 100.0 * float(((rank >= out) & (rank <= DRAWS - out)).mean())
        for name, out in INTERVALS.items()
    }


def negative_log_density(made: Array, truth: Array) -> Array:
    """Negative log densities (...) in nats of vectors (..., d) under samples (s, ..., d):
    kernel density estimates with Gaussian kernels of the samples' own covariance, as wide
    as Scott's rule says; no density counts as less than exp(-20), as usual for
    pedestrians (Salzmann et al., Trajectron++, arXiv:2001.03093, section 5).

    References
    ----------
    Scott 1992, Multivariate Density Estimation, doi:10.1002/9780470316849.
    """
    count, d = made.shape[0], made.shape[-1]
    about = np.moveaxis(made - made.mean(0), 0, -2)  # (..., s, d)
    spread = np.einsum("...si,...sj->...ij", about, about) / (count - 1)
    kernel = count ** (-2.0 / (d + 4)) * spread + LEAST_VARIANCE * np.eye(d)
    apart = np.moveaxis(truth - made, 0, -2)
    square = np.einsum("...si,...ij,...sj->...s", apart, np.linalg.inv(kernel), apart)
    least = square.min(-1)
    sum_ = np.log(np.exp(-0.5 * (square - least[..., None])).sum(-1)) - 0.5 * least
    scale = 0.5 * np.linalg.slogdet(2 * np.pi * kernel)[1] + np.log(count)
    found: Array = np.minimum(scale - sum_, LARGEST_NLL)
    return found


def distances(x: Array) -> Array:
    """Distances (..., n (n - 1) / 2) of all pairs of atoms of positions (..., n, 3)."""
    i, j = np.triu_indices(x.shape[-2], 1)
    found: Array = np.linalg.norm(x[..., i, :] - x[..., j, :], axis=-1)
    return found


def calibration(molecule: Molecule, made: Array, truth: Array) -> dict[str, float]:
    """CRPS of positions (in A) and of pair distances, and the coverage of distances and
    torsions, of DRAWS samples (DRAWS, t, n, 3) of a trajectory (t, n, 3).

    Torsions are read about the truth, so that none is cut at 180 degrees.
    """
    apart = distances(made), distances(truth)
    values = {
        "CRPS": energy_score(made, truth),
        "CRPS_distances": energy_score(apart[0][..., None], apart[1][..., None]),
    }
    values |= {f"{name}_distances": v for name, v in covered(*apart).items()}
    quads = rotatable(molecule)
    if len(quads):
        turned = metrics.torsions(made, quads) - metrics.torsions(truth, quads)
        about = (turned + np.pi) % (2 * np.pi) - np.pi
        found = covered(about, np.zeros(about.shape[1:]))
        values |= {f"{name}_torsions": v for name, v in found.items()}
    return values
