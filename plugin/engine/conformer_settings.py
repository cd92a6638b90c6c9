"""The settings of a run that makes conformers, checked before anything is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from equidrift.checks.conditions import Conditions, Known
from equidrift.engine.capabilities import ConditionalConformerModel
from equidrift.engine.run import MAX_ATTEMPTS, RunSettings, check_counts, model_of
from equidrift.errors import InputError, InputTypeError
from equidrift.protocols import (
    Callback,
    ConformerModel,
    Relax,
    as_conformer_model,
    limited,
)
from equidrift.records import Molecule
from equidrift.registry import make_model
from equidrift.seeds import check_seed

BATCH_SIZE = 128
WINDOW = 512  # samples held at a time when many molecules, or many samples, are streamed


@dataclass(frozen=True, kw_only=True)
class ConformerSettings(RunSettings[ConformerModel]):
    """What every draw of a run has in common; `make_settings` explains the fields."""

    batch_size: int = BATCH_SIZE
    relax: Relax | None = None
    timeout_s: float | None = None
    conditions: Conditions | None = None
    distinct_A: float | None = None
    window_samples: int = WINDOW

    def known(self, molecule: Molecule) -> Known | None:
        """What is known of a molecule beforehand; raises `InputError` if that does
        not fit it.
        """
        return None if self.conditions is None else self.conditions.of(molecule)

    @property
    def block(self) -> int:
        """Samples the model couples: every range it is given starts at a multiple of
        this.
        """
        return int(self.model.block)

    @property
    def window(self) -> int:
        """Samples in a window: `window_samples`, rounded up to whole blocks."""
        return self.in_blocks(self.window_samples)

    def in_blocks(self, n: int) -> int:
        """A number of samples rounded up to whole blocks."""
        return math.ceil(n / self.block) * self.block


def make_settings(  # noqa: PLR0913 - public: the options of `equidrift.sample`
    model: object = "default",
    *,
    seed: int = 0,
    steps: int | None = None,
    batch_size: int | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    relax: Relax | None = None,
    timeout_s: float | None = None,
    callback: Callback | None = None,
    options: dict[str, Any] | None = None,
    conditions: Conditions | None = None,
    distinct_A: float | None = None,
    window_samples: int | None = None,
    **model_options: Any,
) -> ConformerSettings:
    """Check the options of a run and load its model.

    Parameters
    ----------
    model : str or object
        A name of `equidrift.list_models()`, or an object with `sample(molecule, seeds,
        *, steps, callback)`.
    seed, steps, batch_size, max_attempts
        As for `equidrift.sample`.
    relax : callable, optional
        (molecule, positions_A) -> (positions_A, energies_eV), applied to valid samples,
        which are then checked again. It is called with no samples first, and may refuse
        the molecule then.
    timeout_s : float, optional
        As for `equidrift.sample`.
    callback : callable, optional
        Called with {"accepted", "drawn", "seconds"} after every batch.
    options : dict, optional
        What else was asked for, for the provenance.
    conditions : Conditions, optional
        Atoms to hold and distances to keep.
    distinct_A : float, optional
        Draw again what is closer than this to another conformer of its molecule, all of
        which must then be in one window.
    window_samples : int, optional
        Samples held at a time when many are streamed; None for WINDOW.
    **model_options
        Passed to the model of a name.

    Raises
    ------
    UnknownNameError
        For an unknown model.
    InputError, InputTypeError
        For an option out of its range, or one that the model does not take.
    """
    seed = check_seed(seed)
    check_counts(steps=steps, batch_size=batch_size, max_attempts=max_attempts)
    check_counts(window_samples=window_samples)
    check_seconds(timeout_s)
    made = model_of(make_model, as_conformer_model, model, model_options)
    made = _limited(made, timeout_s, conditions)
    size = batch_size or made.batch_size or BATCH_SIZE
    limit = {} if timeout_s is None else {"timeout_s": timeout_s}
    return ConformerSettings(
        model=made,
        seed=seed,
        steps=steps,
        batch_size=math.ceil(size / int(made.block)) * int(made.block),
        max_attempts=max_attempts,
        relax=relax,
        timeout_s=timeout_s,
        options={**model_options, **limit, **(options or {})},
        callback=callback,
        conditions=conditions,
        distinct_A=distinct_A,
        window_samples=window_samples or WINDOW,
    )


def _limited(
    model: ConformerModel, timeout_s: float | None, conditions: Conditions | None
) -> ConformerModel:
    """The model with a time limit if it takes one, and under the conditions."""
    if timeout_s is not None:
        model = limited(model, timeout_s)
    if conditions is None:
        return model
    if not isinstance(model, ConditionalConformerModel):
        raise InputError(
            f"the model {model.name!r} cannot hold atoms or distances (fix, restrain); "
            "'default', 'etkdg-mmff' and 'conformer-refine' can"
        )
    return model.conditioned(conditions)


def check_seconds(timeout_s: float | None) -> None:
    """Refuse a time limit that is no number of seconds above 0."""
    if timeout_s is None:
        return
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise InputTypeError(
            f"timeout_s must be a number of seconds, not {timeout_s!r}; give for example "
            "timeout_s=60"
        )
    if not 0 < timeout_s < math.inf:
        raise InputError(
            f"timeout_s must be above 0 seconds, not {timeout_s}; leave it out for no limit"
        )


def provenance(settings: ConformerSettings) -> dict[str, Any]:
    """Where a run's samples come from: model, weights, seed, options and version."""
    known = {} if settings.conditions is None else {"conditions": settings.conditions.fingerprint()}
    return known | settings.origin()
