"""equidrift merge and equidrift status: the shards that the jobs of a cluster have made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from equidrift.cli import options
from equidrift.files.formats import check_output

if TYPE_CHECKING:
    from equidrift.scale.folder import ShardFolder

FOLDERS_HELP = (
    "OUT or OUT.shards of a command with --shard, or the URL of its --store; several folders of "
    "the same run."
)
MERGED_HELP = "File to write. Default: the OUT that the shards were made for."
STATUS_HELP = (
    "OUT or OUT.shards of a command with --shard, --workers or --ray, or the URL of its --store."
)


def command(
    folders: Annotated[list[str], typer.Argument(metavar="OUT...", help=FOLDERS_HELP)],
    output: Annotated[
        Path | None,
        options.option(options.checked(check_output, "FILE"), MERGED_HELP, "-o", "--output"),
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.SummaryAsJson = False,
) -> int:
    """Put the shards of all jobs together as one file.

    It is the file that one process would have written. What failed is listed in
    OUT.failures.csv; OUT.manifest.json holds all counts.
    """
    from equidrift.cli.generate_run import merge
    from equidrift.scale.drawn import DrawFolder
    from equidrift.scale.folder import ShardFolder
    from equidrift.scale.merging import opened

    with opened(folders) as found:
        batches = [folder for folder in found if isinstance(folder, DrawFolder)]
        if batches:
            return merge(batches, output, overwrite=overwrite, as_json=as_json)
        shards = [folder for folder in found if isinstance(folder, ShardFolder)]
        return _merge(shards, output, overwrite=overwrite, as_json=as_json)


def _merge(
    folders: list[ShardFolder], output: Path | None, *, overwrite: bool, as_json: bool
) -> int:
    """Put shards of molecules together; the exit code."""
    from equidrift.cli.output import print_json
    from equidrift.scale.merging import Merging

    begun = time.monotonic()
    merging = Merging(folders, output, overwrite=overwrite)
    counts = merging.run()
    failed = counts["failed"]
    summary = {
        "command": "merge",
        "output": str(merging.output) if counts["conformers"] else None,
        "failures": str(merging.failures) if failed else None,
        **counts,
        "seconds": round(time.monotonic() - begun, 3),
    }
    print_json(summary) if as_json else typer.echo(merged_text(summary))
    return 1 if failed else 0


def merged_text(summary: Mapping[str, Any]) -> str:
    """What a person reads at the end of a merge."""
    from equidrift.text import counted

    made = f"{counted(summary['conformers'], 'conformer')} of "
    lines = [
        made + f"{counted(summary['molecules'], 'molecule')} -> {summary['output'] or 'nothing'}",
        *_failed_lines(summary),
        *([f"  all failures: {summary['failures']}"] if summary["failures"] else []),
        f"  {summary['seconds']:.1f} s",
    ]
    return "\n".join(lines)


def _failed_lines(counts: Mapping[str, Any]) -> list[str]:
    from equidrift.cli.output import reasons

    return [f"  failed: {reasons(counts['failures_by_reason'])}"] if counts["failed"] else []


def status(
    folders: Annotated[list[str], typer.Argument(metavar="OUT...", help=STATUS_HELP)],
    as_json: options.SummaryAsJson = False,
) -> int:
    """Say how far the shards of a run are, who works on them, and what has failed.

    The exit code is 0 if all shards are done, else 1.
    """
    from equidrift.cli.output import print_json
    from equidrift.scale.drawn import DrawFolder
    from equidrift.scale.merging import opened, standing

    with opened(folders, whole=False) as there:
        found = standing(there)
        generated = isinstance(there[0], DrawFolder)
    total = found.total
    summary = {
        "command": "status",
        "folders": folders,
        "done": found.done,
        "shards": None if total is None else total[1],
        "molecules_of_input": None if total is None or generated else total[0],
        "shards_done": len(found.whole),
        "shards_unfinished": found.unfinished,
        "shards_missing": found.missing,
        "locked": {str(index): dict(who) for index, who in found.locked.items()},
        **{name: n for name, n in found.counts.items() if not isinstance(n, list)},
    }
    print_json(summary) if as_json else typer.echo(status_text(summary))
    return 0 if found.done else 1


def status_text(summary: Mapping[str, Any]) -> str:
    """What a person reads of a run's standing."""
    from equidrift.cli.part import made_text
    from equidrift.text import counted

    of = "of an unknown number" if summary["shards"] is None else f"of {summary['shards']}"
    lines = [
        f"{summary['shards_done']} {of} shards are done: {made_text(summary)}",
        *_failed_lines(summary),
        *_locked_lines(summary["locked"]),
    ]
    if summary["shards_missing"]:
        shown = ", ".join(map(str, summary["shards_missing"][:10]))
        lines.append(f"  not done: {counted(len(summary['shards_missing']), 'shard')}: {shown} ...")
    if summary["done"]:
        lines.append("  `equidrift merge` puts them together")
    return "\n".join(lines)


def _locked_lines(locked: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"  shard {index}: process {who.get('pid')} on {who.get('host')} since {who.get('time')}"
        for index, who in locked.items()
    ]
