"""What `equidrift sample` is asked for: checked before any work, and made into settings."""

from __future__ import annotations

from typing import Any

from equidrift.checks.conditions import make_conditions
from equidrift.cli.checked import blamed_on, check_smiles, loaded, model_options
from equidrift.cli.sample import Request
from equidrift.engine.conformer_options import ConformerOptions
from equidrift.engine.conformers import ConformerSettings, provenance
from equidrift.engine.relax import make_relax
from equidrift.errors import InputError
from equidrift.files.formats import MANY_MOLECULES, suffix_of
from equidrift.files.inputs import Inputs, describe_inputs
from equidrift.outputs import refuse_inputs
from equidrift.registry import make_model

MAX_PRUNED = 10_000  # conformers of a molecule that are held at a time


def options_of(request: Request) -> ConformerOptions:
    """What the engine is asked for, the preset's values in their places."""
    own = model_options(request.set_, request.device)
    effort, select = own.pop("effort", None), own.pop("select", None)
    return ConformerOptions.of(
        **own,
        model=request.model,
        seed=request.seed,
        steps=request.steps,
        effort=effort if request.effort is None else request.effort,
        select=select if request.select is None else request.select,
        preset=request.preset,
        relax=request.relax,
        solvent=request.solvent,
        fix=request.fix,
        restrain=request.restrain,
        distinct=request.distinct,
        prune_rms_A=request.prune,
        sort=request.sort,
        window_kcal_mol=request.window,
        batch_size=request.batch_size,
        max_attempts=request.max_attempts,
        timeout_s=request.timeout,
    )


def check(request: Request) -> tuple[ConformerOptions, Inputs]:
    """What is asked of the engine, and the molecules; input and output can satisfy it.

    Raises `InputError` for another, before any work.
    """
    refuse_inputs([request.output], request.files)
    if request.distinct and request.prune is not None:
        raise InputError(
            f"--distinct and --prune {request.prune:g} both say which conformers are too close; "
            "give one of them"
        )
    check_smiles(request.smiles)
    asked = options_of(request)
    read = Inputs(request.inputs, request.charge, request.smiles)
    _check_output_holds(request, asked, read)
    return asked, read


def _check_output_holds(request: Request, asked: ConformerOptions, read: Inputs) -> None:
    """Refuse what the output cannot hold."""
    whole = needs_all(request, asked)
    if whole and request.n > MAX_PRUNED:
        raise InputError(
            f"{whole} holds all conformers of a molecule at a time: -n may be {MAX_PRUNED} "
            f"at most with it, not {request.n}"
        )
    suffix = suffix_of(request.output)
    if suffix == ".mol" and request.n > 1:
        raise InputError(
            f"a .mol file holds one conformer, and {request.n} are asked for; write .sdf"
        )
    if suffix in MANY_MOLECULES:
        return
    if request.stereo == "enumerate":
        raise InputError(
            f"--stereo enumerate may make several molecules, and a {suffix} file holds one; "
            f"write {', '.join(MANY_MOLECULES)}"
        )
    if read.count(2) > 1:
        raise InputError(
            f"a {suffix} file holds one molecule, and the input has several; "
            f"write {', '.join(MANY_MOLECULES)}"
        )


def needs_all(request: Request, asked: ConformerOptions) -> str:
    """The option that needs all conformers of a molecule at a time, if any."""
    needs = {
        "--prune": asked.prune_rms_A is not None,
        "--distinct": asked.distinct,
        "--sort": asked.sort is not None,
        "--window": asked.window_kcal_mol is not None,
        "--strict": request.strict,
    }
    return next((name for name in needs if needs[name]), "")


def window_of(request: Request, asked: ConformerOptions, settings: ConformerSettings) -> int | None:
    """Samples of a window, if all of a molecule must be in one; None for the engine's."""
    return max(request.n, settings.window) if needs_all(request, asked) else None


def settings_of(request: Request, asked: ConformerOptions) -> ConformerSettings:
    """The engine's settings, with the model loaded."""
    with blamed_on("--relax"):
        make_relax(asked.relax)
    with blamed_on("--solvent"):
        make_relax(asked.relax, asked.solvent)
    with blamed_on("--fix"):
        make_conditions(request.fix)
    with blamed_on("--restrain"):
        make_conditions(None, request.restrain)
    return asked.settings(loaded=loaded(make_model, request.model, asked.chosen))


def identity_of(
    request: Request, asked: ConformerOptions, settings: ConformerSettings
) -> dict[str, Any]:
    """Everything that decides the result: a run continues one with the same."""
    prune, sort, window = asked.wanted
    return {
        **provenance(settings),
        "requested": request.model,
        "batch": settings.batch_size,
        "attempts": request.max_attempts,
        "prune": prune,
        "sort": sort,
        "window": window,
        "inputs": describe_inputs(request.inputs),
        "n": request.n,
        "suffix": suffix_of(request.output),
        "strict": request.strict,
        "largest_fragment": request.largest_fragment,
        "charge": request.charge,
        "stereo": request.stereo,
    } | ({} if request.smiles is None else {"smiles": request.smiles})
