"""Figures of papers on QM9, for the rows `...-published` of `equidrift bench
molecules`.
"""

from __future__ import annotations

from equidrift.bench.rows import Row, published
from equidrift.models.molecules.data import USUAL

# In %, by EDM's look-up of distances (edm_...) or by explicit bonds (atom_ and
# molecule_stability).
PUBLISHED: dict[str, dict[str, float]] = {
    "edm-published": {
        "edm_atom_stability": 98.7,
        "edm_stability": 82.0,
        "valid": 91.9,
        "valid_unique": 90.7,
        "calls": 1000,
    },
    "geoldm-published": {
        "edm_atom_stability": 98.9,
        "edm_stability": 89.4,
        "valid": 93.8,
        "valid_unique": 92.7,
        "calls": 1000,
    },
    "ldm-3dg-published": {
        "edm_atom_stability": 32.6,
        "edm_stability": 0.2,
        "valid": 100.0,
        "valid_unique": 95.3,
        "calls": 500,
    },
    "ldm-3dg-mmff-published": {
        "edm_atom_stability": 97.5,
        "edm_stability": 86.9,
        "valid": 100.0,
        "valid_unique": 95.3,
        "calls": 500,
    },
    "midi-published": {
        "atom_stability": 99.8,
        "molecule_stability": 97.5,
        "valid": 97.9,
        "calls": 500,
    },
    "eqgat-diff-published": {
        "atom_stability": 99.9,
        "molecule_stability": 98.7,
        "valid": 99.0,
        "calls": 500,
    },
    "semlaflow-published": {
        "atom_stability": 99.9,
        "molecule_stability": 99.6,
        "valid": 99.4,
        "calls": 100,
    },
}
# Mean absolute errors in EDM's protocol (Hoogeboom et al. 2022, table 3; Xu et al. 2023, table 3),
# in the order of USUAL.
PUBLISHED_MAE = {
    "edm-published": (2.76, 0.655, 0.356, 0.584, 1.111, 1.101),
    "geoldm-published": (2.37, 0.587, 0.340, 0.522, 1.108, 1.025),
    "edm-random-published": (9.01, 1.470, 0.645, 1.457, 1.616, 6.857),
    "edm-floor-published": (0.10, 0.064, 0.039, 0.036, 0.043, 0.040),
}


def sample_papers() -> list[Row]:
    """Papers on samples without a target."""
    return [published(f"qm9/{name}", values) for name, values in PUBLISHED.items()]


def target_papers(name: str) -> list[Row]:
    """Papers on samples for targets of one of the usual properties."""
    column = USUAL.index(name)
    return [
        published(f"conditional-{name}/{paper}", {"MAE": errors[column]})
        for paper, errors in PUBLISHED_MAE.items()
    ]
