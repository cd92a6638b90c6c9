"""A run of `equidrift md`: its plan, and what is printed."""

from __future__ import annotations

import sys
from pathlib import Path

from equidrift.cli.checked import blamed_on, check_smiles
from equidrift.cli.md import Request, picoseconds
from equidrift.cli.md_summary import print_summary
from equidrift.cli.output import print_json
from equidrift.cli.signals import kept, telling_what_is_kept
from equidrift.montecarlo.plan import Plan, checkpoint_of
from equidrift.montecarlo.run import run_plan
from equidrift.montecarlo.target import ChainSettings
from equidrift.outputs import claim
from equidrift.progress import phase_bar
from equidrift.registry import host_function
from equidrift.report.md import plot_run
from equidrift.units import PS_PER_FS

_FS_PER_PS = 1 / PS_PER_FS


def sample(request: Request) -> int:
    """Run what is requested and print what was found; the exit code."""
    check_smiles(request.smiles)
    with blamed_on("--platform"):
        host_function("openmm", "check_platform")(request.platform)
    plan = Plan(request.what, request.output, picoseconds(request.time), settings_of(request))
    if request.plot is not None:
        _claim_plot(plan, request.plot, overwrite=request.overwrite)
    with (
        phase_bar(shown=not request.as_json and sys.stderr.isatty()) as progress,
        telling_what_is_kept(lambda: kept("what was sampled is")),
    ):
        result = run_plan(
            plan,
            chains=request.chains,
            threads=request.threads,
            overwrite=request.overwrite,
            progress=progress,
        )
    if request.plot is not None:
        plot_run([Path(chain["output"]) for chain in result["chains"]], request.plot)
    if request.as_json:
        print_json(result)
    else:
        print_summary(result)
    return 0


def _claim_plot(plan: Plan, plot: Path, *, overwrite: bool) -> None:
    """Refuse to replace a picture that this run has not made, or an input."""
    first = plan.output.with_name(f"{plan.output.stem}.1{plan.output.suffix}")
    own = any(checkpoint_of(path).exists() for path in (plan.output, first))
    claim([plot], inputs=[plan.what, *plan.settings.forcefield], own=own, overwrite=overwrite)


def settings_of(request: Request) -> ChainSettings:
    """The settings of the run.

    Raises
    ------
    InputError
        If one cannot be used.
    """
    return ChainSettings(
        temperature_K=request.temperature,
        proposals=request.proposals,
        timestep_fs=picoseconds(request.timestep) * _FS_PER_PS,
        friction_per_ps=request.friction,
        constraints=None if request.constraints.lower() == "none" else request.constraints,
        md_steps=request.md_steps,
        n_proposals=request.n_proposals,
        adapt_ps=None if request.adapt is None else picoseconds(request.adapt),
        interval_ps=None if request.interval is None else picoseconds(request.interval),
        seed=request.seed,
        platform=request.platform,
        forcefield=tuple(name for name in request.forcefield.split(",") if name),
        charge=request.charge,
        smiles=request.smiles,
        largest_fragment=request.largest_fragment,
    )
