"""What the files on the command line are: told by their names, what lies beside them,
and what is in them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equidrift.errors import InputError
from equidrift.files.finished import told_of
from equidrift.files.formats import BONDLESS
from equidrift.files.unpacked import plain_suffix
from equidrift.outputs import same_file, topology_beside

CONFORMERS = (".sdf", ".mol", ".mol2", ".pdb", ".xyz", ".extxyz", ".traj", ".npz")
TRAINING_FILE = "checkpoint.json"
MAX_JSON_BYTES = 100_000_000


@dataclass(frozen=True)
class Source:
    """One result: its kind ("conformers", "trajectory", "md" or "training"), its files,
    and the summary of its run, if there is one.
    """

    kind: str
    paths: tuple[Path, ...]
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name of the result."""
        return ", ".join(path.name or str(path) for path in self.paths)


def sources_of(results: Sequence[str | os.PathLike[str]]) -> list[Source]:
    """Every result that is named, in order.

    Parameters
    ----------
    results : sequence of str or PathLike
        Files that our commands write, folders of them, folders of a training, and files
        into which a command's `--json` summary was put.

    Raises
    ------
    InputError
        If there is no such file, or nothing in it that a report can show.
    """
    summaries: list[Mapping[str, Any]] = []
    paths: list[Path] = []
    for result in results:
        path = Path(result)
        if path.suffix.lower() == ".json" and path.is_file():
            told = _summary(path)
            summaries.append(told)
            named = _outputs(told, path)
        else:
            named = _expanded(path)
        paths += [one for one in named if not any(same_file(one, known) for known in paths)]
    used: set[Path] = set()
    sources = []
    if not paths:
        raise InputError(
            "the files that the summary names are gone; name the result itself beside it"
        )
    for path in paths:
        if path not in used:
            source = _source(path, paths, summaries)
            used.update(source.paths)
            sources.append(source)
    return sources


def inputs_of(results: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The files that a report of these results reads."""
    named = [Path(result) for result in results if Path(result).is_file()]
    return [*named, *(path for source in sources_of(results) for path in source.paths)]


def _expanded(path: Path) -> list[Path]:
    if path.is_dir():
        if (path / TRAINING_FILE).is_file() or _cards(path):
            return [path]
        found = [one for one in sorted(path.iterdir()) if _is_result(one)]
        if not found:
            raise InputError(
                f"the folder {str(path)!r} holds no result of equidrift; name a file that a "
                "command has written, or the folder of a training"
            )
        return found
    if path.exists():
        return [path]
    chains = chain_files(path)
    if not chains:
        raise InputError(f"there is no file or folder {str(path)!r}; name a result to report on")
    return chains


def _is_result(path: Path) -> bool:
    if path.name.endswith(".top.pdb") or not path.is_file():
        return False
    return plain_suffix(path) in (*CONFORMERS, *BONDLESS)


def _cards(folder: Path) -> list[Path]:
    return sorted(one for one in folder.glob("*.json") if one.with_suffix(".safetensors").is_file())


def chain_files(path: Path) -> list[Path]:
    """The files of the chains of `equidrift md --chains`: run.1.xtc, run.2.xtc, ... of
    run.xtc.
    """
    found: list[Path] = []
    while (one := path.with_name(f"{path.stem}.{len(found) + 1}{path.suffix}")).is_file():
        found.append(one)
    return found


def checkpoint_beside(path: Path) -> Path:
    """Where `equidrift md` leaves the checkpoint of a trajectory."""
    return path.with_name(path.name + ".checkpoint")


def topology_of(path: Path, top: str | None) -> str | Path | None:
    """The topology of a trajectory: the one given, else the one beside it."""
    if top is not None:
        return top
    beside = topology_beside(path)
    return beside if beside.is_file() else None


def _source(path: Path, paths: Sequence[Path], summaries: Sequence[Mapping[str, Any]]) -> Source:
    told = _told(path, len(paths), summaries)
    if path.is_dir():
        return Source("training", (path,), told)
    suffix = plain_suffix(path)
    if suffix in BONDLESS and checkpoint_beside(path).is_file():
        stem, _, number = path.stem.rpartition(".")
        same = [path]
        if number.isdecimal() and stem:
            chains = chain_files(path.with_name(stem + path.suffix))
            same = [one for one in chains if one in paths] or same
        return Source("md", tuple(same), told)
    if suffix in BONDLESS:
        return Source("trajectory", (path,), told)
    if suffix not in CONFORMERS:
        known = ", ".join((*CONFORMERS, *BONDLESS))
        raise InputError(
            f"{str(path)!r} is no result of equidrift: a report takes {known}, the folder of a "
            "training, and the --json summary of a command"
        )
    return Source("conformers", (path,), told)


def _told(path: Path, n_paths: int, summaries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The summary of a result's run: of those given the one that names it, else what is
    remembered of the run.
    """
    for told in summaries:
        if any(Path(name).name == path.name for name in _named(told)):
            return told
    if n_paths == 1 and len(summaries) == 1:
        return summaries[0]
    return told_of(path)


def rows_of(told: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The rows of a summary's list, such as its failures; text becomes a row's note."""
    value = told.get(name)
    found = value if isinstance(value, list) else []
    return [row if isinstance(row, Mapping) else {"note": str(row)} for row in found]


def _named(told: Mapping[str, Any]) -> list[str]:
    outputs = [row.get("output") for row in rows_of(told, "chains") or [told]]
    return [output for output in outputs if isinstance(output, str)]


def _outputs(told: Mapping[str, Any], beside: Path) -> list[Path]:
    """The files that a summary names, if they are still there."""
    found = []
    for name in _named(told):
        candidates = (Path(name), beside.parent / Path(name).name)
        found += [one for one in candidates if one.exists()][:1]
    return found


def _summary(path: Path) -> Mapping[str, Any]:
    """A summary that a command printed by --json."""
    from equidrift.stored import parsed

    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"{str(path)!r} is too large to be the summary of a command")
    try:
        told = parsed(path.read_bytes(), repr(str(path)))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from error
    if not isinstance(told, dict) or not ("command" in told or "chains" in told):
        raise InputError(
            f"{str(path)!r} is no summary of a command; give what `equidrift COMMAND --json` prints"
        )
    return told
