"""Rows of `equidrift bench molecules` that tell the joint network's work from that of the
rules in its sampler, and from the refiner's.

Rows `.../raw` are as the sampler draws them, with all its rules; `.../refined` are the
same draws after the refiner, which moves all atoms. Stability by bonds cannot change by
it; stability by distances, and what passes the check of geometry, can. `raw-no-RULE` and
`refined-no-RULE` leave rules of the sampler out:

* `repair` hides atoms again whose revealed bonds break their valence, so that the network
  draws them anew;
* `remask` hides some of what is revealed by chance, right or wrong.

`joint-50` is drawn in 50 network calls, `joint-25` and `joint-100` in as many as they say.
The Bayesian flow (`bfn-50`) reveals nothing and has no such rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.bench import molecule_metrics as metrics
from equidrift.bench.machine import Progress
from equidrift.bench.molecule_work import in_parts
from equidrift.bench.rows import Row, row, share_errors
from equidrift.checks.molecule import Raw
from equidrift.models.molecules.joint.sampler import JointModel, load_joint
from equidrift.models.molecules.joint.walk import Path
from equidrift.seeds import sample_seeds

QUICK, FULL = 100, 1000  # samples of a cell
STEPS = (25, 50, 100)
REFINER_CALLS = 3  # the model's own default
OFF: dict[str, Any] = {"repair": 0.0, "rehide": 0.0}  # settings of `Path` that leave a rule out
LABELS = {"repair": "repair", "rehide": "remask"}
Pair = tuple[list[Raw | None], list[Raw | None]]


@dataclass(frozen=True)
class Cell:
    """A sampler, its network calls, and the rules that it does without."""

    sampler: str
    steps: int
    without: tuple[str, ...] = ()

    @property
    def system(self) -> str:
        """The first part of the rows' names."""
        return f"{'joint' if self.sampler == 'diffusion' else self.sampler}-{self.steps}"

    def method(self, refined: bool) -> str:
        """The second part: whether refined, and what is left out."""
        left_out = "-".join(["-no", *(LABELS[name] for name in self.without)])
        return ("refined" if refined else "raw") + (left_out if self.without else "")


def cells() -> Iterator[Cell]:
    """Every combination of rules and steps, each with and without the refiner."""
    for steps in STEPS:
        for without in ((), ("repair",), ("rehide",), ("repair", "rehide")):
            yield Cell("diffusion", steps, without)
    for steps in STEPS:
        yield Cell("bfn", steps)


def ablation_rows(samples: int, each: metrics.Each, say: Progress) -> list[Row]:
    """A row for each cell and for each without the refiner, of the same draws.

    Parameters
    ----------
    samples : int
        Of a cell.
    each : callable
        Applies a function to each of several, such as a process pool's `map`.
    say : callable
        Is told what is measured.

    Raises
    ------
    UnknownNameError
        If the weights are not there.
    """
    rows: list[Row] = []
    seeds = sample_seeds(4, 0, samples)
    for cell in cells():
        say(f"{cell.system}/{cell.method(True)}: {samples} samples")
        parts = list(each(drawn, [(cell, seeds[part]) for part in in_parts(samples)]))
        for k, refined in enumerate((False, True)):
            raws = [raw for part in parts for raw in part[k]]
            values = quality(raws) | {"calls": cell.steps + REFINER_CALLS * refined}
            rows.append(row(f"{cell.system}/{cell.method(refined)}", values, len(raws)))
    return rows


def quality(raws: list[Raw | None]) -> dict[str, Any]:
    """Shares of samples, in %, and their standard errors; see `molecule_metrics`."""
    shares = metrics.stability(raws) | metrics.validity(raws)[0]
    return shares | share_errors(shares, len(raws))


def drawn(part: tuple[Cell, NDArray[np.int64]]) -> Pair:
    """Samples of a cell as they are drawn, and after the refiner."""
    cell, seeds = part
    model = cell_model(cell)
    raws = list(model.sample(seeds, steps=cell.steps))
    return raws, model.hydrogens.refined(raws, REFINER_CALLS)


@lru_cache(maxsize=1)
def cell_model(cell: Cell) -> JointModel:
    """The joint model with the sampler and the rules of a cell, and without a refiner
    of its own; loaded once per process.
    """
    path = replace(Path(), **{name: OFF[name] for name in cell.without})
    return load_joint(sampler=cell.sampler, path=path, refine=0)
