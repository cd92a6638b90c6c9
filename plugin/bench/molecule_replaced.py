"""Rows `me-better-TASK-PROPERTY/...` of `equidrift bench molecules`: a part of a known
molecule is drawn anew, and the share of new molecules that are better than the start
(MolJO's name for it, arXiv:2411.13280) is counted.

Tasks on molecules of QM9's test part: `rgroup` replaces one terminal heavy atom,
`scaffold` a ring and `linker` an atom between two pieces, all other atoms held.

Targets: QED=max and SA=min, by RDKit, and a gap that is 1 eV from the start's, by the
network that judges `equidrift generate`. `draw` counts each draw alone, `equidrift` the
best of eight in a row, as `generate` keeps by default; of the gap `equidrift` are draws
for the target, each alone, and `no-target` draws without. A draw that is not valid, or is
the start again, is not better. Standard errors are over the starts, since the draws of
one start are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.rdkit.matching import smarts_matches
from equidrift.bench.machine import Progress
from equidrift.bench.molecule_metrics import Each
from equidrift.bench.molecule_work import cached_model
from equidrift.bench.rows import Row, row, shares
from equidrift.checks.goals import EXACT, Goal
from equidrift.checks.molecule import Draw, Raw
from equidrift.engine.molecule_settings import CANDIDATES, make_settings
from equidrift.engine.molecules import draws
from equidrift.models.molecules.properties.sampler import PropertyNetwork
from equidrift.registry import JUDGES, resolve
from equidrift.text import counted

RINGS = (3, 4, 5, 6)
# what is replaced is what has map numbers
TASKS = {
    "rgroup": ("[D1:1]-!@[*]",),
    "scaffold": tuple("[*:1]1" + "~[*:1]" * (size - 2) + "~[*:1]1" for size in RINGS),
    "linker": ("[*]-!@[!R;D2,D3:1]-!@[*]",),
}
GOALS = (Goal("QED", "max"), Goal("SA", "min"))
GAP, STEP_EV = "gap_eV", 1.0
LEAST_HELD = 1  # heavy atoms that stay
Values = Mapping[str, NDArray[np.float64]]
Measure = Callable[[Sequence[Raw]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Task:
    """A start and the atoms of it that are replaced; the gap that is aimed at, or None."""

    start: Raw
    atoms: tuple[int, ...]
    seed: int
    gap_eV: float | None = None


def tasks_of(name: str, systems: Sequence[Raw], count: int) -> list[Task]:
    """The first `count` of the systems that a task fits, with one place of each, chosen
    by chance.
    """
    rng = np.random.default_rng(17)
    tasks: list[Task] = []
    for molecule, x in systems:
        heavy = int((molecule.numbers != 1).sum())
        places = [
            place
            for smarts in TASKS[name]
            for place in smarts_matches(molecule, smarts)
            if len(place) <= heavy - LEAST_HELD
        ]
        if places:
            chosen = places[int(rng.integers(len(places)))]
            tasks.append(Task((molecule, x), chosen, seed=len(tasks)))
        if len(tasks) == count:
            break
    return tasks


def drawn(task: Task) -> list[Draw]:
    """Eight draws of the joint model for a task, judged."""
    targets = {} if task.gap_eV is None else {GAP: task.gap_eV}
    settings = make_settings(
        cached_model("joint"),
        fragment=task.start,
        replace=list(task.atoms),
        targets=targets,
        seed=task.seed,
    )
    return draws(settings, 0, CANDIDATES)


def better_rows(
    systems: Sequence[Raw], judge: PropertyNetwork, count: int, each: Each, say: Progress
) -> list[Row]:
    """The rows of all tasks.

    Parameters
    ----------
    systems : sequence of (Molecule, positions_A (n_atoms, 3))
        Where starts come from.
    judge : PropertyNetwork
        Of the gap.
    count : int
        Starts of a task.
    each, say : callable
        As of `molecule_ablation.ablation_rows`.

    Raises
    ------
    InputError
        If the joint model cannot replace a part.
    """
    rows: list[Row] = []
    for name in TASKS:
        tasks = tasks_of(name, systems, count)
        say(f"me-better-{name}: {counted(len(tasks), 'start')}")
        if not tasks:
            continue
        free = list(each(drawn, tasks))
        for goal in GOALS:
            rows += goal_rows(f"me-better-{name}-{goal.name}", goal, tasks, free)
        aimed = [at_gap(task, judge) for task in tasks]
        made = {"equidrift": list(each(drawn, aimed)), "no-target": free}
        for method, of in made.items():
            found = [gap_values(task, some, judge) for task, some in zip(aimed, of, strict=True)]
            rows.append(row(f"me-better-{name}-{GAP}/{method}", summary(found), len(tasks)))
    return rows


def goal_rows(
    name: str, goal: Goal, tasks: Sequence[Task], made: Sequence[Sequence[Draw]]
) -> list[Row]:
    """Draws alone, and the best of each start's, by RDKit's value of a property."""
    alone, best = [], []
    for task, some in zip(tasks, made, strict=True):
        (start,) = goal.misses(exact([task.start])[goal.name])
        miss = misses(some, lambda systems: goal.misses(exact(systems)[goal.name]))
        alone.append({"better": miss < start, "valid": np.isfinite(miss)})
        kept = miss.min(keepdims=True)
        best.append({"better": kept < start, "valid": np.isfinite(kept)})
    return [
        row(f"{name}/draw", summary(alone), len(tasks)),
        row(f"{name}/equidrift", summary(best), len(tasks)),
    ]


def exact(systems: Sequence[Raw]) -> Values:
    """RDKit's values of systems."""
    values: Values = resolve(JUDGES[EXACT])(list(systems))
    return values


def at_gap(task: Task, judge: PropertyNetwork) -> Task:
    """The task with a gap to aim at: one step above the start's, or below it where that
    is beyond what the model was trained on.
    """
    start = float(judge.predict([task.start])[GAP][0])
    least, greatest = cached_model("joint").properties[GAP]
    aim = start + STEP_EV if start + STEP_EV <= greatest else start - STEP_EV
    return Task(task.start, task.atoms, task.seed, min(max(aim, least), greatest))


def gap_values(
    task: Task, some: Sequence[Draw], judge: PropertyNetwork
) -> dict[str, NDArray[np.bool_]]:
    """Which draws are nearer to a task's gap than its start, and which are valid."""
    aim = np.nan if task.gap_eV is None else task.gap_eV
    (start,) = np.abs(judge.predict([task.start])[GAP] - aim)
    miss = misses(some, lambda systems: np.abs(judge.predict(list(systems))[GAP] - aim))
    return {"better": miss < start, "valid": np.isfinite(miss)}


def misses(some: Sequence[Draw], measure: Measure) -> NDArray[np.float64]:
    """How far each draw (k,) is from a goal; infinite if it is not valid."""
    out = np.full(len(some), np.inf)
    there = [
        (k, (draw.molecule, draw.positions_A))
        for k, draw in enumerate(some)
        if draw.molecule is not None and draw.positions_A is not None
    ]
    if there:
        out[[k for k, _ in there]] = measure([system for _, system in there])
    return out


def summary(starts: Sequence[Mapping[str, NDArray[np.bool_]]]) -> dict[str, float]:
    """Shares in %, the mean over starts, and their standard errors over them; how many
    draws there were.
    """
    columns = {key: [float(np.mean(one[key])) for one in starts] for key in ("better", "valid")}
    return shares(columns) | {"draws": sum(len(one["better"]) for one in starts)}
