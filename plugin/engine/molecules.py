"""New molecules: targets and fragments checked, draws judged one by one, repeats left
out, until n are valid and unique.

Draw k of a run has its own seed and is judged by itself, in order, so that the
molecules of a run do not depend on the batch size, and a run that was broken off goes
on from the number of its draws. What a model makes is taken as it is, or rejected for a
reason that is counted: nothing here repairs it. A model's sampler may have rules of its
own, as the joint model has, which redraws atoms of a broken valence.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.goals import EXACT, Goal, broken, total_miss
from equidrift.checks.judges import NETWORK
from equidrift.checks.molecule import REPEATED, Draw, judge
from equidrift.engine.molecule_settings import MoleculeSettings
from equidrift.engine.spectra import spectrum_scores, spectrum_told
from equidrift.errors import ModelError, NoValidSamplesError, told_error
from equidrift.records import Ensemble
from equidrift.registry import JUDGES, resolve
from equidrift.seeds import sample_seeds
from equidrift.text import counted

CRASHED = "ended its process"
LEAST_DRAWS = 200  # before a run is given up
FARTHER = "farther from the targets"  # than another of the candidates


@dataclass(eq=False)
class Tally:
    """Where a run stands: draws judged, molecules found, reasons counted, SMILES seen.

    `state` and `restored` are its journal.
    """

    drawn: int = 0
    found: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    seen: dict[str, None] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """The journal, as plain values."""
        return {
            "drawn": self.drawn,
            "molecules": self.found,
            "rejected": dict(sorted(self.rejected.items())),
            "seen": list(self.seen),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Tally:
        """The run whose `state` was written."""
        return cls(
            state["drawn"],
            state["molecules"],
            Counter(state["rejected"]),
            dict.fromkeys(state["seen"]),
        )


# (first, count) -> the draws of a run from the first on
Drawing = Callable[[int, int], list[Draw]]


def batches(
    n: int, settings: MoleculeSettings, run: Tally, drawing: Drawing | None = None
) -> Iterator[list[Ensemble]]:
    """The molecules found in each batch of draws, until the run has n of them; `run` is
    brought up to date before each is handed out.

    Parameters
    ----------
    n : int
        Molecules wanted.
    settings : MoleculeSettings
        Of the run.
    run : Tally
        Where it stands.
    drawing : callable, optional
        Makes `draws` elsewhere.

    Raises
    ------
    NoValidSamplesError
        If n cannot be found in `max_attempts` draws per molecule; ModelError if the
        model fails.
    """
    begun = time.monotonic()
    drawing = drawing or partial(draws, settings)
    each, limit = settings.candidates, most_draws(n, settings)
    while run.found < n:
        if run.drawn >= limit:
            raise _too_few(n, settings, run)
        groups = math.ceil(draws_for(n - run.found, run) / each)
        size = min(max(1, settings.batch_size // each) * each, limit - run.drawn, groups * each)
        before = run.drawn, run.found
        made = [
            _ensemble(draw, settings) for draw in taken(drawing(run.drawn, size), n, run, settings)
        ]
        if settings.callback is not None:
            counts = {"accepted": run.found - before[1], "drawn": run.drawn - before[0]}
            settings.callback({**counts, "seconds": time.monotonic() - begun})
        yield _scored(made, settings)


def most_draws(n: int, settings: MoleculeSettings) -> int:
    """Draws after which a run of n molecules is given up."""
    return settings.candidates * max(LEAST_DRAWS, n * settings.max_attempts)


def draws_for(missing: int, run: Tally) -> int:
    """How many draws will probably do; it depends on where the run stands alone, so
    that a continued run draws in the same batches.
    """
    rate = (run.found + 1.0) / (run.drawn + 1.0)
    return max(1, math.ceil(1.1 * missing / rate))


def draws(
    settings: MoleculeSettings, start: int, count: int, refused: Collection[int] = ()
) -> list[Draw]:
    """Draws start.. of a run, judged.

    Parameters
    ----------
    settings : MoleculeSettings
        Of the run.
    start, count : int
        Which draws.
    refused : collection of int
        Those, counted from `start`, that are not made since they end the process.

    Raises
    ------
    ModelError
        If the model fails.
    """
    seeds = sample_seeds(settings.seed, start, start + count)
    wanted = [k for k in range(count) if k not in refused]
    judged = dict(zip(wanted, _judged(settings, seeds[wanted]), strict=True))
    return [judged.get(k, Draw(int(seed), CRASHED)) for k, seed in enumerate(seeds)]


def _judged(settings: MoleculeSettings, seeds: NDArray[np.int64]) -> list[Draw]:
    options: dict[str, Any] = {"steps": settings.steps}
    if settings.targets:
        options["targets"] = dict(settings.targets)
    if settings.spectrum is not None:
        options["spectrum"] = settings.spectrum
    if settings.targets or settings.spectrum is not None:
        options["guidance"] = settings.guidance
    if settings.fragment is not None:
        options["fragment"] = settings.fragment
    if settings.replacement is not None:
        options["sites"] = settings.replacement.sites
    if settings.site is not None:
        options["pocket"] = settings.site.pocket
    try:
        made = list(settings.model.sample(seeds, **options))
    except (RuntimeError, ValueError) as error:
        raise told_error(error, f"the model {settings.model.name!r} failed") from error
    if len(made) != len(seeds):
        told = f"made {len(made)} of {counted(len(seeds), 'sample')}"
        raise ModelError(f"the model {settings.model.name!r} {told}")
    held, relax = settings.held, settings.relax
    return [
        judge(raw, int(seed), held=held, relax=relax) for raw, seed in zip(made, seeds, strict=True)
    ]


def taken(draws: Sequence[Draw], n: int, run: Tally, settings: MoleculeSettings) -> Iterator[Draw]:
    """Of each `settings.candidates` draws in a row the best that is valid and new and
    keeps the limits, until the run has n; counts as it goes.

    Draws in a row, and not valid ones, so that what is kept does not depend on batches.
    """
    for begin in range(0, len(draws), settings.candidates):
        if run.found == n:
            return
        sound = _sound(draws[begin : begin + settings.candidates], run, settings.goals)
        if not sound:
            continue
        best = min(sound, key=lambda pair: pair[0])[1]
        if len(sound) > 1:
            run.rejected[FARTHER] += len(sound) - 1
        run.found += 1
        if best.molecule is not None:
            run.seen[best.molecule.smiles] = None
        yield best


def _sound(draws: Sequence[Draw], run: Tally, goals: Sequence[Goal]) -> list[tuple[float, Draw]]:
    """(miss, draw) of those that are valid, new, and keep the limits of the goals; the
    others are counted.
    """
    sound: list[tuple[float, Draw]] = []
    here: set[str] = set()
    for draw in draws:
        run.drawn += 1
        smiles = draw.molecule.smiles if draw.molecule is not None else ""
        reason = draw.reason or (REPEATED if smiles in run.seen or smiles in here else "")
        miss = 0.0
        if goals and not reason and draw.molecule is not None and draw.positions_A is not None:
            columns = resolve(JUDGES[EXACT])([(draw.molecule, draw.positions_A)])
            values = {name: float(column[0]) for name, column in columns.items()}
            reason, miss = broken(goals, values), total_miss(goals, values)
        if reason:
            run.rejected[reason] += 1
        else:
            here.add(smiles)
            sound.append((miss, draw))
    return sound


def _too_few(n: int, settings: MoleculeSettings, run: Tally) -> NoValidSamplesError:
    hint = "ask for fewer, raise max_attempts (--max-attempts), or try another model"
    if settings.replacement is not None:
        hint = (
            "the places that are cut may allow little else: replace a larger part, ask for fewer, "
            "or raise max_attempts (--max-attempts)"
        )
    elif settings.fragment is not None:
        hint = (
            "the fragment may leave little room: give a smaller one, ask for fewer, or raise "
            "max_attempts (--max-attempts)"
        )
    elif any(goal.limit for goal in settings.goals):
        hint = (
            "few molecules may keep these limits: ask for fewer, widen them, or raise "
            "max_attempts (--max-attempts)"
        )
    elif settings.targets or settings.spectrum is not None:
        what = "these properties" if settings.spectrum is None else "this spectrum"
        hint = (
            f"few molecules may have {what}: ask for fewer, lower the guidance, or raise "
            "max_attempts (--max-attempts)"
        )
    return NoValidSamplesError(
        f"only {run.found} of {counted(n, 'molecule', 'is', 'are')} valid and unique after "
        f"{counted(run.drawn, 'draw')}; {hint}.",
        run.rejected,
    )


def provenance(settings: MoleculeSettings) -> dict[str, Any]:
    """Where a run's molecules come from: model, weights, seed, targets, options and
    version.
    """
    known: dict[str, Any] = {"targets": dict(settings.told)} if settings.told else {}
    if settings.candidates > 1:
        known["candidates"] = settings.candidates
    if settings.fragment is not None:
        molecule, positions = settings.fragment
        known["fragment"] = {
            "atoms": molecule.n_atoms,
            "smiles": molecule.smiles,
            "positions_A": np.round(positions, 6).tolist(),
        }
    if settings.replacement is not None:
        known["replaced"] = {
            "smiles": settings.replacement.smiles,
            "atoms": list(settings.replacement.atoms),
        }
    if settings.site is not None:
        known["pocket"] = settings.site.told()
    if settings.spectrum is not None:
        known["spectrum"] = spectrum_told(settings.spectrum)
    if settings.notes:
        known["notes"] = list(settings.notes)
    return known | {"judges": list(settings.judges)} | settings.origin(guidance=settings.guidance)


def _ensemble(draw: Draw, settings: MoleculeSettings) -> Ensemble:
    if draw.molecule is None or draw.positions_A is None:  # never: only sound draws are taken
        raise ModelError("a rejected draw has no molecule")
    positions_A = draw.positions_A
    scores: dict[str, NDArray[np.float64]] = {}
    if settings.site is not None:
        positions_A, scores = settings.site.placed(draw.molecule, positions_A, draw.seed)
    return Ensemble(
        draw.molecule,
        positions_A[None],
        scores=scores,
        seeds=np.array([draw.seed]),
        energies_eV=np.array([draw.energy_eV]) if settings.relax is not None else None,
        provenance=provenance(settings),
    )


def _scored(made: Sequence[Ensemble], settings: MoleculeSettings) -> list[Ensemble]:
    """With each judge's values of the targets (without any, of all it knows) as scores
    `NAME`, or `NAME/judge` for another judge.
    """
    if not made:
        return []
    columns: dict[str, NDArray[np.float64]] = {}
    systems = [(ensemble.molecule, ensemble.positions_A[0]) for ensemble in made]
    for judging in settings.judges:
        values = resolve(JUDGES[judging])(systems)
        suffix = "" if judging in (NETWORK, EXACT) else f"/{judging}"
        columns |= {
            f"{name}{suffix}": column
            for name, column in values.items()
            if not settings.told or name in settings.told
        }
    if settings.spectrum is not None:
        columns |= spectrum_scores(settings.spectrum, systems)
    return [
        e.replace(scores={**e.scores, **{name: c[k : k + 1] for name, c in columns.items()}})
        for k, e in enumerate(made)
    ]
