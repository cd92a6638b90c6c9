"""equidrift merge and equidrift status: the shards that the jobs of a cluster have made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli import options
from equidrift.files.formats import check_output

FOLDERS_HELP = "OUT or OUT.shards of a command with --shard; several folders of the same run."
MERGED_HELP = "File to write. Default: the OUT that the shards were made for."
STATUS_HELP = "OUT or OUT.shards of a command with --shard, --workers or --ray."


def command(
    folders: Annotated[list[Path], typer.Argument(metavar="OUT...", help=FOLDERS_HELP)],
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
    folders: Annotated[list[Path], typer.Argument(metavar="OUT...", help=STATUS_HELP)],
    as_json: options.SummaryAsJson = False,
) -> int:
    """Say how far the shards of a run are, who works on them, and what has failed.

    The exit code is 0 if all shards are done, else 1.
    """
    from equidrift.cli.output import print_json
    from equidrift.scale.merging import folder_of, standing

    found = standing([folder_of(path) for path in folders])
    total = found.total
    done = total is not None and not found.missing
    summary = {
        "command": "status",
        "folders": [str(path) for path in folders],
        "done": done,
        "shards": None if total is None else total[1],
        "molecules_of_input": None if total is None else total[0],
        "shards_done": len(found.whole),
        "shards_unfinished": found.unfinished,
        "shards_missing": found.missing,
        "locked": {str(index): dict(who) for index, who in found.locked.items()},
        **{name: n for name, n in found.counts.items() if not isinstance(n, list)},
    }
    print_json(summary) if as_json else typer.echo(status_text(summary))
    return 0 if done else 1


def status_text(summary: Mapping[str, Any]) -> str:
    """What a person reads of a run's standing."""
    from equidrift.text import counted

    of = "of an unknown number" if summary["shards"] is None else f"of {summary['shards']}"
    conformers = counted(summary["conformers"], "conformer")
    lines = [
        f"{summary['shards_done']} {of} shards are done: {conformers} of "
        f"{counted(summary['molecules'], 'molecule')}",
        *_failed_lines(summary),
        *_locked_lines(summary["locked"]),
    ]
    if summary["done"]:
        lines.append("  `equidrift merge` puts them together")
    elif summary["shards_missing"]:
        shown = ", ".join(map(str, summary["shards_missing"][:10]))
        lines.append(f"  not done: {counted(len(summary['shards_missing']), 'shard')}: {shown} ...")
    return "\n".join(lines)


def _locked_lines(locked: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"  shard {index}: process {who.get('pid')} on {who.get('host')} since {who.get('time')}"
        for index, who in locked.items()
    ]
