"""equidrift bench: the tables of measured quality and speed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli.options import Overwrite, Plot, SummaryAsJson
from equidrift.cli.request import command_of
from equidrift.cli.values import checked, option
from equidrift.files.formats import check_writable
from equidrift.registry import BENCHMARKS, resolve

OF_PARTS = ("conformers", "molecules", "sampling", "fields", "trajectories", "backbones", "poses")
# options that not every benchmark has, by the names of their parameters
ONLY_OF = {
    "drugs": ("molecules",),
    "parts": OF_PARTS,
    "into": OF_PARTS,
    "references": ("rivals",),
    "molecules": ("rivals",),
}
FULL_HELP = (
    "Run the long form, which the docs quote. Default: a short form of at most ten minutes on two "
    "cores."
)
INTO_HELP = (
    "With the benchmarks of --parts: put the rows into this JSON file after every part; other rows "
    "that it holds stay, with the commit of their own. Default: the result is printed alone."
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `equidrift bench` is asked for."""

    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"What is measured: {', '.join(BENCHMARKS)}.")
    ]
    full: Annotated[bool, typer.Option("--full", help=FULL_HELP)] = False
    drugs: Annotated[
        str | None,
        typer.Option(
            "--drugs",
            metavar="WEIGHTS",
            help="With molecules: measure this model of drug-size molecules beside ZINC. Default: "
            "the shipped models.",
        ),
    ] = None
    parts: Annotated[
        str | None,
        typer.Option(
            "--parts",
            metavar="NAME,...",
            help=f"With {', '.join(OF_PARTS)}: measure these parts alone; the name of none is "
            "answered by a list of them. Default: all.",
        ),
    ] = None
    into: Annotated[Path | None, option(checked(check_writable, "FILE"), INTO_HELP, "--into")] = (
        None
    )
    references: Annotated[
        Path | None,
        typer.Option(
            "--references",
            metavar="FILE",
            help="With rivals: reference conformers of your own, such as crystals or computed "
            "ones, in any format that is read. Default: those of the package.",
        ),
    ] = None
    molecules: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="With rivals: molecules of your own, such as SMILES, compared by what GFN2-xTB "
            "releases; with --references the molecules of these, if they lack hydrogens or bond "
            "orders. Default: as the references are.",
        ),
    ] = None
    plot: Plot = None
    overwrite: Overwrite = False
    as_json: SummaryAsJson = False

    def own_options(self) -> dict[str, str]:
        """The options that one benchmark alone has.

        Raises
        ------
        InputError
            If they are given with another benchmark.
        """
        from equidrift.errors import InputError

        asked = {
            "drugs": self.drugs,
            "parts": self.parts,
            "into": self.into,
            "references": self.references,
            "molecules": self.molecules,
        }
        given = {name: str(value) for name, value in asked.items() if value is not None}
        for name in given:
            if self.name not in ONLY_OF[name]:
                flag = "input" if name == "molecules" else name
                raise InputError(
                    f"--{flag} is an option of {', '.join(ONLY_OF[name])}; not of {self.name}"
                )
        if "drugs" in given and len(given) > 1:
            other = next(name for name in given if name != "drugs")
            raise InputError(
                f"--{other} is of the shipped models, and --drugs measures another; "
                "leave one of them out"
            )
        return given


@command_of(Request)
def command(request: Request) -> int:
    """Compare the shipped models with baselines: quality and speed in a table."""
    from equidrift.cli.output import print_json
    from equidrift.errors import UnknownNameError
    from equidrift.outputs import claim
    from equidrift.report.plots import save_png
    from equidrift.report.tables import bench_figure

    if request.name not in BENCHMARKS:
        raise UnknownNameError("benchmark", request.name, BENCHMARKS)
    more = request.own_options()
    if request.plot is not None:
        claim([request.plot], overwrite=request.overwrite)

    def progress(message: object) -> None:
        if not request.as_json and sys.stderr.isatty():
            typer.echo(str(message), err=True)

    result = resolve(BENCHMARKS[request.name])(full=request.full, progress=progress, **more)
    if request.plot is not None:
        save_png(bench_figure(result), request.plot)
    if request.as_json:
        print_json(result)
    else:
        show(result)
    return 0


def show(result: Mapping[str, Any]) -> None:
    """The result as a table: a row for each method with its count `n`, a column for
    each metric with its standard error.
    """
    from equidrift.cli.output import print_table

    names = dict.fromkeys(metric for row in result["rows"] for metric in row["values"])
    metrics = sorted((name for name in names if not name.endswith("_se")), key="n".__ne__)
    rows = [
        [row["row"], *(_cell(row["values"], metric) for metric in metrics)]
        for row in result["rows"]
    ]
    print_table(["row", *metrics], rows, title=str(result["name"]))
    machine = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    typer.echo(f"machine: {machine}; commit {result['commit']}")


def _cell(values: Mapping[str, Any], metric: str) -> Any:
    """A number, with its standard error if it has one."""
    value, error = values.get(metric), values.get(f"{metric}_se")
    return value if error is None else f"{value:.4g} ± {error:.2g}"
