"""`equidrift bench poses`: sets of points that are no molecules, drawn by system A's
second domain (`PointModel`, arXiv:2403.01430), beside a joint-angle table.

Articulated skeletons stand in for Human3.6M, which cannot be had here; backbones of a
hexapeptide come from own molecular dynamics (`tools/make_backbones.py`, another seed
than the training's). Twice as many samples as references, as in GeoDiff's protocol
(arXiv:2203.02923); RMSD of all points after superposition by a rotation, mirror images
kept apart. `data` rows draw the samples from where the references come from: nothing
can do better.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.bench.machine import Progress
from equidrift.bench.parts import Parts, benchmark
from equidrift.bench.rows import Row, means, row
from equidrift.errors import NoValidSamplesError
from equidrift.geometry import rmsd_pairs
from equidrift.models.conformers.points.angle_table import AngleTable
from equidrift.models.conformers.points.sampler import PointModel
from equidrift.models.conformers.points.skeletons import (
    PARENTS,
    apart,
    articulated_skeletons,
    bone_error_percent,
)

Array = NDArray[np.float64]
SEED, TRAINING_SETS = 77, 5000  # of the angle table
FULL_REFERENCES, QUICK_REFERENCES = 100, 30
# row -> (options of `sample`, steps); the default is the projection with k = 2
WAYS: dict[str, tuple[dict[str, Any], int]] = {
    "equidrift": ({}, 100),
    "50-steps": ({}, 50),
    "ode": ({"solver": "ode"}, 100),
    "published-map": ({"map": "degree", "corrector": 20.0}, 100),
    "projection": ({"corrector": 1.0}, 100),
}
SKELETON_THRESHOLDS_M = (0.03, 0.06)
BACKBONE_THRESHOLDS_A = (0.5, 1.0)
BACKBONES = Path("runs") / "backbones-test" / "ala-6.npz"
TRAINED_BACKBONES = Path("runs") / "backbones" / "ala-6.npz"


def parts_of(full: bool, say: Progress) -> Parts:
    """What measures skeleton, hexapeptide.

    The long form has 100 references of each kind, else 30. Without the backbones of
    `tools/make_backbones.py` in the folder `runs` the hexapeptide has no rows.
    """
    count = FULL_REFERENCES if full else QUICK_REFERENCES
    return {
        "skeleton": lambda: skeleton_rows(count, say),
        "hexapeptide": lambda: hexapeptide_rows(count, say),
    }


run = benchmark("poses", parts_of)


def skeleton_rows(count: int, say: Progress) -> list[Row]:
    """Rows of articulated skeletons."""
    known = articulated_skeletons(TRAINING_SETS + 3 * count, SEED)
    learnt, references, again = np.split(known, [TRAINING_SETS, TRAINING_SETS + count])
    angles = AngleTable(learnt, PARENTS)
    return system_rows("skeleton", "m", references, again, angles, SKELETON_THRESHOLDS_M, say)


def hexapeptide_rows(count: int, say: Progress) -> list[Row]:
    """Rows of backbones of a hexapeptide, if their dynamics are there."""
    if not (BACKBONES.is_file() and TRAINED_BACKBONES.is_file()):
        say(f"hexapeptide: left out, {BACKBONES} is not there; tools/make_backbones.py writes it")
        return []
    fresh, parents = read(BACKBONES)
    order = np.random.default_rng(SEED).permutation(len(fresh))
    references, again = np.split(fresh[order[: 3 * count]], [count])
    angles = AngleTable(read(TRAINED_BACKBONES)[0], parents)
    return system_rows("hexapeptide", "A", references, again, angles, BACKBONE_THRESHOLDS_A, say)


def read(path: Path) -> tuple[Array, list[int]]:
    """Sets of points and their parents, of `tools/make_backbones.py`."""
    with np.load(path, allow_pickle=False) as archive:
        return archive["points"].astype(np.float64), archive["parents"].tolist()


def system_rows(
    name: str,
    unit: str,
    references: Array,
    again: Array,
    angles: AngleTable,
    thresholds: tuple[float, ...],
    say: Progress,
) -> list[Row]:
    """The rows of one kind of points: what it is drawn from, the table, the model."""
    model = PointModel.load(f"points-{name}")
    makers: dict[str, Callable[[int], Array]] = {
        "data": lambda n: again[:n],
        "angle-table": lambda n: angles.sample(n, SEED),
    }
    for way, (options, steps) in WAYS.items():
        makers[way] = lambda n, o=options, s=steps: model.sample(  # type: ignore[misc]
            n, SEED, steps=s, **o
        )
    rows = []
    for label, make in makers.items():
        say(f"{name}/{label}")
        begun = time.process_time()
        try:
            samples = make(2 * len(references))
        except NoValidSamplesError as error:  # what is missing counts: fewer samples match worse
            samples = error.partial
        cost = {"cpu_ms_per_set": 1000.0 * (time.process_time() - begun) / (2 * len(references))}
        values = {"samples": float(len(samples))}
        if len(samples):
            values |= matching(references, samples, unit, thresholds)
        if name == "skeleton" and len(samples):
            values |= means(
                {"bone_error_percent": bone_error_percent(samples), "apart": 100.0 * apart(samples)}
            )
        rows.append(
            row(f"{name}/{label}", {**values, **(cost if label in WAYS else {})}, len(references))
        )
    return rows


def matching(
    references: Array, samples: Array, unit: str, thresholds: tuple[float, ...]
) -> dict[str, float]:
    """Coverage and matching, with standard errors over references (R) or samples (P)."""
    found = rmsd_pairs(references, samples)
    columns: dict[str, Array] = {}
    for letter, nearest in (("R", found.min(1)), ("P", found.min(0))):
        columns[f"AMR-{letter}_{unit}"] = nearest
        columns |= {f"COV-{letter}@{t:g}": 100.0 * (nearest <= t) for t in thresholds}
    return means(columns)
