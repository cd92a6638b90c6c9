"""What `equidrift generate` is asked for: checked before any work, and made into settings."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

from equidrift.checks.goals import GRAPH_PROPERTIES, LIMITS, Goal
from equidrift.checks.molecule import Raw
from equidrift.checks.replacing import check_replace
from equidrift.checks.targets import check_fragment, check_wishes, fragment_of
from equidrift.cli.checked import blamed_on, loaded, model_options
from equidrift.cli.generate import Request
from equidrift.engine.molecule_settings import MoleculeSettings, check_candidates, make_settings
from equidrift.engine.molecules import provenance
from equidrift.engine.pockets import Site, check_site, ligand_places, receptor_of
from equidrift.engine.relax import make_relax
from equidrift.engine.spectra import check_spectrum, model_for
from equidrift.errors import InputError
from equidrift.files.formats import MANY_MOLECULES, suffix_of
from equidrift.geometry import Floats
from equidrift.outputs import refuse_inputs
from equidrift.protocols import MoleculeModel
from equidrift.registry import make_molecule_model
from equidrift.spectrum import spectrum_of

TARGET = re.compile(r"(?P<name>[^=<>\s]+)\s*(?P<wanted>(=|(?=[<>])).+)")  # NAME=VALUE, NAME<VALUE


def check(request: Request) -> None:
    """Refuse, before any work, what the output cannot hold or must not replace, and
    options that do not go together.
    """
    if request.workers is not None and request.workers > request.n:
        raise InputError(
            f"--workers {request.workers} is more than the molecules asked for; "
            f"give {request.n} at most"
        )
    refuse_inputs([request.output], request.files)
    suffix = suffix_of(request.output)
    if request.n > 1 and suffix not in MANY_MOLECULES:
        raise InputError(
            f"a {suffix} file holds one molecule, and {request.n} are asked for; "
            f"write {', '.join(MANY_MOLECULES)}"
        )
    of_pocket = {"--centre": request.centre, "--ligand": request.ligand, "--pull": request.pull}
    for name, value in of_pocket.items():
        if value is not None and request.pocket is None:
            raise InputError(f"{name} is of a pocket, and there is none; give --pocket FILE")
    if request.guidance is not None and not request.target and request.spectrum is None:
        raise InputError(
            f"--guidance {request.guidance:g} has nothing to guide to; give a --target, "
            "say --target gap_eV=7.0, or a --spectrum"
        )


def quiet_settings(request: Request) -> MoleculeSettings:
    """The engine's settings; the summary tells their notes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return settings_of(request)


def settings_of(request: Request) -> MoleculeSettings:
    """The engine's settings, with the model loaded."""
    own = model_options(request.set_, request.device)
    with blamed_on("--relax"):
        make_relax(request.relax)
    targets = parse_targets(request.target or [])
    vector = _spectrum(request)
    model = loaded(make_molecule_model, str(model_for(request.model, vector)), own)
    if vector is not None:
        with blamed_on("--spectrum"):
            check_spectrum(vector, model)
    fragment, site = _check_wishes(request, targets, model)
    return make_settings(
        model,
        targets=targets,
        candidates=request.candidates,
        guidance=request.guidance,
        fragment=fragment,
        replace=request.replace,
        pocket=site,
        spectrum=vector,
        seed=request.seed,
        steps=request.steps,
        batch_size=request.batch_size,
        max_attempts=request.max_attempts,
        relax=request.relax,
        judge=request.judge,
        force=request.force,
        options=own,
    )


def _spectrum(request: Request) -> Floats | None:
    """The spectrum on the grid; refuses one that cannot be read."""
    if request.spectrum is None:
        return None
    with blamed_on("--spectrum"):
        return spectrum_of(request.spectrum)


def _check_wishes(
    request: Request, targets: dict[str, float | str], model: MoleculeModel
) -> tuple[Raw | None, Site | None]:
    """The fragment and the pocket, read and checked; refuses what the model cannot aim at
    or keep, by the option's name.
    """
    fragment, site = None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # told when the settings are made
        with blamed_on("--target"):
            wishes = check_wishes(targets, model, force=request.force)
        with blamed_on("--candidates"):
            check_candidates(request.candidates, wishes.goals)
        if request.fragment is not None:
            with blamed_on("--fragment"):
                fragment = fragment_of(request.fragment)
                if request.replace is None:
                    check_fragment(fragment, model)
        if request.pocket is not None:
            site = _checked_site(request, model)
        if request.replace is not None:
            with blamed_on("--replace"):
                check_replace(request.replace, fragment, model)
    return fragment, site


def _checked_site(request: Request, model: MoleculeModel) -> Site:
    """The pocket and the place in it; refuses one that cannot be read, and a place that
    is not in it.
    """
    ligand = None
    with blamed_on("--pocket"):
        pocket = receptor_of(request.pocket)
    if request.ligand is not None:
        with blamed_on("--ligand"):
            ligand = ligand_places(request.ligand)
    held = request.fragment is not None
    with blamed_on("--pocket"):
        return check_site(pocket, request.centre, ligand, model, pull=request.pull, held=held)


def identity_of(request: Request, settings: MoleculeSettings) -> dict[str, Any]:
    """Everything that decides the result: a run continues one with the same."""
    return {
        **provenance(settings),
        "requested": request.model,
        "n": request.n,
        "batch": settings.batch_size,
        "command": "generate",
        "suffix": suffix_of(request.output),
    }


def parse_targets(pairs: Sequence[str]) -> dict[str, float | str]:
    """PROPERTY=VALUE pairs; for properties of the graph also PROPERTY=max, PROPERTY=min
    and limits such as PROPERTY<90.

    Raises `InputError` for anything else, and for a property given twice.
    """
    targets: dict[str, float | str] = {}
    for pair in pairs:
        found = TARGET.fullmatch(pair.strip())
        if found is None:
            raise InputError(
                f"--target takes PROPERTY=VALUE, say --target gap_eV=7.0; got {pair!r}"
            )
        name, text = found["name"], found["wanted"].lstrip("= ")
        if name in targets:
            raise InputError(
                f"--target {name} is given twice, {_told(targets[name])} and {text}; give it once"
            )
        if name in GRAPH_PROPERTIES:
            with blamed_on("--target"):
                targets[name] = Goal.of(name, text).told
            continue
        if text[:1] in LIMITS:  # refused with the names or the numbers that there are
            targets[name] = text
            continue
        try:
            value = float(text)
        except ValueError as error:
            raise InputError(
                f"--target {pair!r} has a value that is no number; say --target {name}=7.0"
            ) from error
        targets[name] = value
    return targets


def _told(target: float | str) -> str:
    """A target as text."""
    return target if isinstance(target, str) else f"{target:g}"
