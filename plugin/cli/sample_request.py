"""What `equidrift sample` is asked for: checked before any work, and made into settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equidrift.arguments import check_count
from equidrift.checks.conditions import make_conditions
from equidrift.cli.options import model_files, model_options
from equidrift.engine.conformers import Settings, make_settings, provenance
from equidrift.engine.relax import check_sort, check_window, distinct_threshold, make_relax
from equidrift.errors import InputError
from equidrift.files.formats import MANY_MOLECULES, check_output, suffix_of
from equidrift.files.inputs import Inputs, describe_inputs
from equidrift.inputs import check_stereo
from equidrift.outputs import refuse_inputs

MAX_PRUNED = 10_000


@dataclass(frozen=True)
class Request:
    """The options of `equidrift sample`, by their names on the command line."""

    inputs: tuple[str, ...]
    output: Path
    n: int
    model: str
    seed: int
    steps: int | None
    relax: str
    fix: Path | None
    restrain: Path | None
    distinct: bool
    prune: float | None
    sort: str | None
    window: float | None
    batch_size: int | None
    max_attempts: int
    timeout: float | None
    set_: tuple[str, ...]
    largest_fragment: bool
    stereo: str
    charge: int | None
    smiles: str | None
    strict: bool

    @property
    def files(self) -> list[str | Path]:
        """Everything that is read."""
        named = (*self.inputs, self.fix, self.restrain, *model_files(self.model))
        return [path for path in named if path is not None]

    @property
    def wanted(self) -> tuple[float | None, str | None, float | None]:
        """(prune in Å, sort, window in kcal/mol)."""
        return distinct_threshold(self.distinct, self.prune), self.sort, self.window

    def check(self) -> None:
        """Refuse what no input and no model could satisfy."""
        check_count("n", self.n)
        check_output(self.output)
        refuse_inputs([self.output], self.files)
        distinct_threshold(self.distinct, self.prune)
        check_sort(self.sort)
        check_window(self.window)
        check_stereo(self.stereo)

    def check_output_holds(self, read: Inputs) -> None:
        """Refuse, before any work, what the output cannot hold."""
        whole = self._needs_all()
        if whole and self.n > MAX_PRUNED:
            raise InputError(
                f"{whole} holds all conformers of a molecule at a time: -n may be {MAX_PRUNED} "
                f"at most with it, not {self.n}"
            )
        suffix = suffix_of(self.output)
        if suffix == ".mol" and self.n > 1:
            raise InputError(
                f"a .mol file holds one conformer, and {self.n} are asked for; write .sdf"
            )
        if self.stereo == "enumerate" and suffix not in MANY_MOLECULES:
            raise InputError(
                f"--stereo enumerate may make several molecules, and a {suffix} file holds one; "
                f"write {', '.join(MANY_MOLECULES)}"
            )
        if read.count(2) > 1 and suffix not in MANY_MOLECULES:
            raise InputError(
                f"a {suffix} file holds one molecule, and the input has several; "
                f"write {', '.join(MANY_MOLECULES)}"
            )

    def _needs_all(self) -> str:
        """The option that needs all conformers of a molecule at a time, if any."""
        needs = {
            "--prune": self.prune is not None,
            "--distinct": self.distinct,
            "--sort": self.sort is not None,
            "--window": self.window is not None,
            "--strict": self.strict,
        }
        return next((name for name in needs if needs[name]), "")

    def settings(self) -> Settings:
        """The engine's settings."""
        own = model_options(self.set_)
        tolerance_A = own.pop("restraint_tolerance_A", None)
        return make_settings(
            self.model,
            conditions=make_conditions(self.fix, self.restrain, tolerance_A),
            seed=self.seed,
            steps=self.steps,
            batch_size=self.batch_size,
            max_attempts=self.max_attempts,
            timeout_s=self.timeout,
            relax=make_relax(self.relax),
            options={"relax": self.relax} if self.relax != "none" else None,
            **own,
        )

    def identity(self, settings: Settings) -> dict[str, Any]:
        """Everything that decides the result: a run continues one with the same."""
        prune, sort, window = self.wanted
        return {
            **provenance(settings),
            "requested": self.model,
            "batch": settings.batch_size,
            "attempts": self.max_attempts,
            "prune": prune,
            "sort": sort,
            "window": window,
            "inputs": describe_inputs(self.inputs),
            "n": self.n,
            "suffix": suffix_of(self.output),
            "strict": self.strict,
            "largest_fragment": self.largest_fragment,
            "charge": self.charge,
            "stereo": self.stereo,
        } | ({} if self.smiles is None else {"smiles": self.smiles})
