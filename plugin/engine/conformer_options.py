"""The options of `equidrift.sample`, `sample_many` and the command, in one place: checked
before any work, with the values that a preset gives, and made into settings.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from equidrift.checks.conditions import make_conditions
from equidrift.engine.conformer_settings import ConformerSettings, make_settings
from equidrift.engine.presets import with_preset
from equidrift.engine.relax import (
    DISTINCT_RMS_A,
    arranged,
    check_sort,
    check_window,
    distinct_threshold,
    make_relax,
)
from equidrift.engine.run import MAX_ATTEMPTS, RunOptions
from equidrift.protocols import Callback, ConformerModel
from equidrift.records import Ensemble


@dataclass(frozen=True, eq=False, kw_only=True)
class ConformerOptions(RunOptions):
    """What is asked of a run; `equidrift.sample` explains the fields."""

    model: object = "default"
    seed: int = 0
    steps: int | None = None
    effort: int | None = None
    select: str | None = None
    preset: str | None = None
    relax: str = "none"
    solvent: str | None = None
    batch_size: int | None = None
    max_attempts: int = MAX_ATTEMPTS
    timeout_s: float | None = None
    prune_rms_A: float | None = None
    distinct: bool = False
    sort: str | None = None
    window_kcal_mol: float | None = None
    fix: object = None
    restrain: object = None
    restraint_tolerance_A: float | None = None

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Options by their names, checked, the values of the preset in their places; what
        is no field is the model's.

        Parameters
        ----------
        **given
            The options.

        Raises
        ------
        UnknownNameError
            For an unknown preset, with the nearest one.
        InputError, InputTypeError
            For an option out of its range.
        """
        defaults = {one.name: one.default for one in fields(cls)}
        made = super().of(**with_preset(given.get("preset"), given, defaults))
        distinct_threshold(made.distinct, made.prune_rms_A)
        check_sort(made.sort)
        check_window(made.window_kcal_mol)
        return made

    @property
    def chosen(self) -> dict[str, Any]:
        """The options that the model of a name is made with."""
        asked = {"effort": self.effort, "select": self.select}
        given = {key: value for key, value in asked.items() if value is not None}
        return {**given, **self.model_options}

    def settings(
        self, callback: Callback | None = None, *, loaded: ConformerModel | None = None
    ) -> ConformerSettings:
        """The engine's settings, of the model `loaded` if that was made with the options
        `chosen` already; errors as `make_settings`, `make_relax` and `make_conditions`.
        """
        rest, made_with = (self.chosen, {}) if loaded is None else ({}, self.chosen)
        told = {
            "relax": None if self.relax in (None, "none") else self.relax,
            "solvent": self.solvent,
            "preset": self.preset,
        }
        return make_settings(
            self.model if loaded is None else loaded,
            seed=self.seed,
            steps=self.steps,
            batch_size=self.batch_size,
            max_attempts=self.max_attempts,
            timeout_s=self.timeout_s,
            conditions=make_conditions(self.fix, self.restrain, self.restraint_tolerance_A),
            relax=make_relax(self.relax, self.solvent),
            distinct_A=DISTINCT_RMS_A if self.distinct else None,
            options=made_with | {key: value for key, value in told.items() if value is not None},
            callback=callback,
            **rest,
        )

    @property
    def wanted(self) -> tuple[float | None, str | None, float | None]:
        """(prune in A, sort, window in kcal/mol) of what is drawn."""
        threshold = distinct_threshold(self.distinct, self.prune_rms_A)
        return threshold, self.sort, self.window_kcal_mol

    def arranged(self, ensemble: Ensemble) -> Ensemble:
        """The conformers that are wanted of those drawn."""
        return arranged(ensemble, *self.wanted)
