"""equidrift md: exact sampling of one molecule by dynamics and proposals."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli.options import Overwrite, SummaryAsJson

_UNITS_PS = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "us": 1e6}


def command(
    what: Annotated[
        str, typer.Argument(metavar="INPUT", help="A SMILES, or a .pdb, .sdf or .mol file.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Trajectory to write, .xtc or .dcd. Its topology is written beside it: run.top.pdb for run.xtc.",
        ),
    ],
    time: Annotated[
        str, typer.Option(help="Length of the production run, for example 200ps or 1ns.")
    ] = "200ps",
    temperature: Annotated[float, typer.Option(help="Temperature in K.")] = 300.0,
    proposals: Annotated[
        str,
        typer.Option(
            help="Monte Carlo proposals: torsion, heat-bath, mixture, histogram (up to 3 torsions), uniform or none."
        ),
    ] = "torsion",
    forcefield: Annotated[
        str,
        typer.Option(
            help="OpenMM force field files for a .pdb input, separated by commas. Default: MMFF94."
        ),
    ] = "",
    timestep: Annotated[str, typer.Option(help="Time step of the dynamics.")] = "2fs",
    friction: Annotated[
        float, typer.Option(help="Friction of the Langevin dynamics in 1/ps.")
    ] = 1.0,
    constraints: Annotated[
        str, typer.Option(help="Bonds of fixed length: HBonds or none.")
    ] = "HBonds",
    md_steps: Annotated[
        int, typer.Option(help="Steps of dynamics between rounds of proposals.")
    ] = 100,
    n_proposals: Annotated[int, typer.Option(help="Proposals in each round.")] = 10,
    adapt: Annotated[
        str | None,
        typer.Option(
            help="Length of the adaptive phase. Default: a tenth of --time, but at least 50ps."
        ),
    ] = None,
    interval: Annotated[
        str | None, typer.Option(help="Time between frames. Default: one frame after each round.")
    ] = None,
    charge: Annotated[
        int | None,
        typer.Option(
            help="Total charge of the molecule in a .pdb file. Default: taken from its hydrogens."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed: the same seed gives the same chain.")] = 0,
    platform: Annotated[
        str | None,
        typer.Option(help="OpenMM platform. Default: the fastest for the size of the molecule."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: SummaryAsJson = False,
) -> int:
    """Sample the Boltzmann distribution of a molecule exactly.

    If the run is interrupted, give the same command again: it continues where it
    stopped. With a longer --time it extends a finished run.
    """
    from equidrift.cli.output import print_json
    from equidrift.cli.signals import kept, telling_what_is_kept
    from equidrift.montecarlo.run import Run
    from equidrift.montecarlo.target import Settings
    from equidrift.progress import phase_bar

    settings = Settings(
        temperature_K=temperature,
        proposals=proposals,
        timestep_fs=picoseconds("--timestep", timestep) * 1e3,
        friction_per_ps=friction,
        constraints=None if constraints.lower() == "none" else constraints,
        md_steps=md_steps,
        n_proposals=n_proposals,
        adapt_ps=None if adapt is None else picoseconds("--adapt", adapt),
        interval_ps=None if interval is None else picoseconds("--interval", interval),
        seed=seed,
        platform=platform,
        charge=charge,
        forcefield=tuple(name for name in forcefield.split(",") if name),
    )
    with phase_bar(shown=not as_json and sys.stderr.isatty()) as progress:
        length_ps = picoseconds("--time", time)
        run = Run(what, output, length_ps, settings, overwrite=overwrite, progress=progress)
        with telling_what_is_kept(lambda: kept("what was sampled is")):
            result = run.go()
    if as_json:
        print_json(result)
    else:
        _print(result)
    return 0


def picoseconds(option: str, text: str) -> float:
    """A time with its unit, as 200ps. Raises `InputError` for anything else."""
    from equidrift.errors import InputError

    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?\d+)?)\s*(fs|ps|ns|us)\s*", text)
    if match is None:
        raise InputError(
            f"{option} takes a number and a unit (fs, ps, ns, us), say 200ps; got {text!r}"
        )
    return float(match[1]) * _UNITS_PS[match[2]]


def _print(result: dict[str, Any]) -> None:
    """What a person reads at the end of a run."""
    from equidrift.cli.output import print_table

    adaptation = result["adaptation"]
    conditions = f"{result['potential']} at {result['temperature_K']:g} K"
    typer.echo(
        f"{conditions}, {result['time_ps']:g} ps on {result['platform']} -> {result['output']}"
    )
    if adaptation.get("cycles"):
        moves = f"{adaptation['proposer']} proposals that move {adaptation['block_size'] or 'all'} torsions at once"
        moves = adaptation.get("is", moves)
        typer.echo(
            f"adapted for {adaptation['cycles']} cycles in {adaptation['seconds']:.1f} s, then frozen (nothing of that phase is in the "
            f"result): {moves}"
        )
    if "note" in adaptation:
        typer.echo(f"note: {adaptation['note']}")
    seconds = ", ".join(
        f"{part} {value:.1f} s" for part, value in result["seconds_by_part"].items()
    )
    typer.echo(
        f"{result['seconds']:.1f} s here ({result['ps_per_s']:.1f} ps/s); of the whole run: {seconds}"
    )
    if result["proposed"]:
        failed = f", {result['not_finite']} without a finite energy" if result["not_finite"] else ""
        typer.echo(
            f"{result['accepted']} of {result['proposed']} proposals accepted ({result['acceptance']:.1%}){failed}"
        )
    rows = []
    for torsion in result["torsions"]:
        share = result["acceptance_by_torsion"][torsion["torsion"]]
        for k, basin in enumerate(torsion["basins"]):
            first = (
                [torsion["torsion"], _share(share), f"{torsion['ess']:.0f}"]
                if k == 0
                else ["", "", ""]
            )
            rows.append([*first, *_basin(basin)])
    columns = ["torsion", "accepted > 60°", "ESS", "basin/°", "population", "F/kJ/mol", "entries"]
    if rows:
        print_table(columns, rows, title="Torsional basins")
    if rows:
        typer.echo(f"tables: {', '.join(result['tables'])}")
    if len(result["torsions"]) > 1:
        print_table(
            ["state/°", "population", "F/kJ/mol", "entries"],
            [_basin(state) for state in result["states"]],
            title="States",
        )
    for text in result.get("warnings", []):
        typer.echo(f"warning: {text}", err=True)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _basin(basin: dict[str, Any]) -> list[str]:
    angles = " ".join(f"{angle:.0f}" for angle in basin["centres_deg"])
    return [
        angles,
        _with_error(basin["population"], basin["population_error"], 3),
        _with_error(basin["free_energy_kJ_mol"], basin["free_energy_error_kJ_mol"], 2),
        str(basin["entries"]),
    ]


def _with_error(value: float, error: float | None, digits: int) -> str:
    return f"{value + 0.0:.{digits}f} ± {'?' if error is None else format(error, f'.{digits}f')}"
