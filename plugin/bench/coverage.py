"""Coverage and matching of ensembles (GeoDiff's protocol, arXiv:2203.02923): what
`equidrift bench conformers` counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equidrift.bench.rows import means, medians

THRESHOLDS_A = (0.05, 0.1, 0.5)


def coverage(
    rmsd_A: Sequence[NDArray[np.float64]], thresholds_A: Sequence[float] = THRESHOLDS_A
) -> dict[str, float]:
    """COV and AMR over molecules, recall (R) and precision (P).

    Parameters
    ----------
    rmsd_A : sequence of array, shape (references, samples)
        One matrix per molecule.
    thresholds_A : sequence of float
        For COV; an RMSD below or equal counts.

    Returns
    -------
    dict of str to float
        COV in %, AMR in A: means over molecules, medians under the same names with
        `-median`, and standard errors of both with `_se`. A molecule without samples
        covers nothing and has an AMR that is infinite; nothing is dropped.
    """
    values: dict[str, list[float]] = {}
    for matrix in rmsd_A:
        for letter, axis in (("R", 1), ("P", 0)):
            nearest = matrix.min(axis) if matrix.size else np.array([np.inf])
            values.setdefault(f"AMR-{letter}", []).append(float(nearest.mean()))
            for t in thresholds_A:
                values.setdefault(f"COV-{letter}@{t:g}", []).append(
                    100.0 * float((nearest <= t).mean())
                )
    return means(values) | medians({f"{key}-median": rows for key, rows in values.items()})
