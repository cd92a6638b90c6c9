"""The settings of a run that makes new molecules, checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from equidrift.checks.goals import EXACT, Goal
from equidrift.checks.molecule import Held, Raw
from equidrift.checks.replacing import Replacement, check_replace
from equidrift.checks.targets import check_fragment, check_guidance, check_wishes, far_targets
from equidrift.engine.pockets import Site, check_site
from equidrift.engine.relax import make_relax
from equidrift.engine.run import MAX_ATTEMPTS, RunOptions, RunSettings, check_counts, model_of
from equidrift.engine.spectra import check_spectrum, model_for
from equidrift.errors import InputError, UnknownNameError
from equidrift.geometry import Floats
from equidrift.notes import warn
from equidrift.protocols import Callback, MoleculeModel, Relax, as_molecule_model
from equidrift.registry import JUDGES, make_molecule_model, resolve
from equidrift.seeds import check_seed
from equidrift.stereo import KEPT, stereo_notes

BATCH_SIZE = 100
CANDIDATES = 8  # draws of which the best is kept, where a goal says which that is
QUICK_RELAXATIONS = ("none", "mmff")
# with GFN2-xTB or another calculator, so that what is done can be kept every few seconds
SLOW_BATCH_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class MoleculeSettings(RunSettings[MoleculeModel]):
    """What every draw of a run has in common; `equidrift.generate` explains the fields."""

    targets: Mapping[str, float] = field(default_factory=dict)  # that the model aims at
    goals: tuple[Goal, ...] = ()  # that its molecules are chosen by
    told: Mapping[str, float | str] = field(default_factory=dict)  # targets as they were asked for
    candidates: int = 1
    guidance: float | None = None
    fragment: Raw | None = None
    replacement: Replacement | None = None
    site: Site | None = None
    spectrum: Floats | None = None  # on the grid of `equidrift.spectrum`
    batch_size: int = BATCH_SIZE
    relax: Relax | None = None
    judges: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def held(self) -> Held | None:
        """What every draw must keep."""
        if self.fragment is None:
            return None
        if self.replacement is None:
            return Held(self.fragment)
        return Held(self.fragment, self.replacement.sites, self.replacement.smiles)


@dataclass(frozen=True, eq=False, kw_only=True)
class MoleculeOptions(RunOptions):
    """What is asked of a run; `equidrift.generate` explains the fields."""

    model: object = "default"
    targets: Mapping[str, float | str] | None = None
    candidates: int | None = None
    guidance: float | None = None
    fragment: object = None
    replace: object = None
    pocket: object = None
    centre_A: object = None
    ligand: object = None
    pull: float | None = None
    spectrum: object = None
    seed: int = 0
    steps: int | None = None
    batch_size: int | None = None
    max_attempts: int = MAX_ATTEMPTS
    relax: str = "none"
    judge: str | Sequence[str] | None = None
    force: bool = False

    def settings(
        self, callback: Callback | None = None, *, made_with: Mapping[str, Any] | None = None
    ) -> MoleculeSettings:
        """Check the options of a run and load its model.

        Parameters
        ----------
        callback : callable, optional
            Called with counts as the run goes on.
        made_with : mapping, optional
            Options that a model handed in as an object was made with; the provenance
            tells them.

        Raises
        ------
        UnknownNameError
            For an unknown model, property, relaxation or judge, with the nearest name.
        InputError, InputTypeError
            For targets that are out of range or contradict each other, a fragment that
            the model cannot hold, a spectrum that cannot be read or that the model does
            not take, or an option out of its range.
        """
        check_counts(
            steps=self.steps,
            batch_size=self.batch_size,
            max_attempts=self.max_attempts,
            candidates=self.candidates,
        )
        asked = model_for(self.model, self.spectrum)
        model = model_of(make_molecule_model, as_molecule_model, asked, self.model_options)
        wishes = check_wishes(self.targets or {}, model, force=self.force)
        if self.guidance is not None:
            check_guidance(self.guidance, aimed=bool(wishes.aims) or self.spectrum is not None)
        chosen = check_candidates(self.candidates, wishes.goals)
        candidates = self.candidates or (CANDIDATES if chosen else 1)
        judges = _judges(self.judge, bool(wishes.others), bool(wishes.goals))
        slow = self.relax not in QUICK_RELAXATIONS or "gfn2" in judges
        size = SLOW_BATCH_SIZE if slow else model.batch_size or BATCH_SIZE
        fragment, replacement = self._kept(model)
        site = self._site(model)
        spectrum = None if self.spectrum is None else check_spectrum(self.spectrum, model)
        notes = _noted(fragment, site)
        return MoleculeSettings(
            model=model,
            seed=check_seed(self.seed),
            steps=self.steps,
            targets=wishes.aims,
            goals=wishes.goals,
            told=wishes.told,
            candidates=candidates,
            guidance=self.guidance,
            fragment=fragment,
            replacement=replacement,
            site=site,
            spectrum=spectrum,
            batch_size=max(1, (self.batch_size or size) // candidates) * candidates,
            max_attempts=self.max_attempts,
            relax=make_relax(self.relax),
            judges=judges,
            notes=(*far_targets(wishes.others, model), *notes),
            options=self._told(made_with or {}),
            callback=callback,
        )

    def _kept(self, model: MoleculeModel) -> tuple[Raw | None, Replacement | None]:
        """(what every molecule keeps, what of a molecule is replaced)."""
        if self.replace is not None:
            found = check_replace(self.replace, self.fragment, model)
            return check_fragment(found.fragment, model, found.sites), found
        if self.fragment is not None:
            return check_fragment(self.fragment, model), None
        return None, None

    def _site(self, model: MoleculeModel) -> Site | None:
        """The pocket that the molecules are made for; a Site is checked already."""
        if isinstance(self.pocket, Site):
            return self.pocket
        if self.pocket is None:
            given = {"centre_A": self.centre_A, "ligand": self.ligand, "pull": self.pull}
            if named := [name for name, value in given.items() if value is not None]:
                raise InputError(
                    f"{named[0]} is of a pocket, and there is none; give pocket (--pocket)"
                )
            return None
        return check_site(
            self.pocket,
            self.centre_A,
            self.ligand,
            model,
            pull=self.pull,
            held=self.fragment is not None,
        )

    def _told(self, made_with: Mapping[str, Any]) -> dict[str, Any]:
        """The options that the provenance tells."""
        relax = {} if make_relax(self.relax) is None else {"relax": self.relax}
        return {**self.model_options, **relax, **made_with}


def make_settings(
    model: object = "default",
    *,
    callback: Callback | None = None,
    options: Mapping[str, Any] | None = None,
    **asked: Any,
) -> MoleculeSettings:
    """The settings of a run; errors are those of `MoleculeOptions.settings`.

    Parameters
    ----------
    model : str or MoleculeModel
        A name, the path of weights, or an object.
    callback : callable, optional
        Called with counts as the run goes on.
    options : mapping, optional
        Those that a model handed in as an object was made with.
    **asked
        Of `MoleculeOptions`; others go to the model.
    """
    return MoleculeOptions.of(model=model, **asked).settings(callback, made_with=options)


def _noted(fragment: Raw | None, site: Site | None) -> list[str]:
    """What is to be said of the stereo of a fragment and of a pocket, warned of once."""
    notes = [] if fragment is None else list(stereo_notes(fragment[0], KEPT))
    notes += () if site is None else site.notes
    for note in notes:
        warn(note, "engine", stacklevel=5)
    return notes


def check_candidates(candidates: int | None, goals: Sequence[Goal]) -> bool:
    """Whether there is a goal that says which of several candidates is best.

    Raises `InputError` for several where there is none.
    """
    chosen = any(not goal.limit for goal in goals)
    if candidates is not None and candidates > 1 and not chosen:
        raise InputError(
            f"candidates={candidates} needs a target that says which of them is best, say "
            "logP=2.5 or QED=max"
        )
    return chosen


def _judges(
    judge: str | Sequence[str] | None, targeted: bool, goals: bool = False
) -> tuple[str, ...]:
    """The judges of a run: those asked for, else the network where there are targets;
    RDKit where there are goals.
    """
    if isinstance(judge, str):
        names: tuple[str, ...] = (judge,)
    elif judge:
        names = tuple(judge)
    else:
        names = ("network",) if targeted else ()
    if goals and EXACT not in names:
        names = (*names, EXACT)
    for name in names:
        if name not in JUDGES:
            raise UnknownNameError("judge", str(name), JUDGES)
        resolve(JUDGES[name])  # tells at once if something is missing
    return names
