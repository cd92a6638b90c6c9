"""A report from its results to the disk."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

from equidrift._version import __version__
from equidrift.arguments import check_count
from equidrift.errors import InputError
from equidrift.files.ensembles import load_all
from equidrift.files.finished import recall_finished, remember_finished
from equidrift.files.formats import ASE_FILES, check_page
from equidrift.files.journal import file_sha256, fingerprint
from equidrift.files.npz import load_any
from equidrift.files.trajectories import load_trajectory
from equidrift.files.unpacked import plain_suffix
from equidrift.outputs import claim, refuse_inputs, unwritable
from equidrift.records import Ensemble, Trajectory
from equidrift.report import ensembles, md, training, trajectories
from equidrift.report.page import page_of
from equidrift.report.parts import Section
from equidrift.report.sources import Source, inputs_of, sources_of, topology_of

DETAILS = 12  # molecules of a library with figures of their own
VERSIONS = ("numpy", "rdkit", "MDAnalysis", "matplotlib")  # what the numbers and figures are by


@dataclass(frozen=True)
class Options:
    """How results are read and shown.

    Parameters
    ----------
    top : str, optional
        The bonds of trajectories that have no topology beside them.
    title : str, optional
        Of the page; the names of the results if it is None.
    details : int
        Molecules of a library with figures of their own.
    dt_fs : float, optional
        Time between frames of a trajectory that does not tell it, in fs.
    command : str
        The command line, as the page quotes it.
    """

    top: str | None = None
    title: str | None = None
    details: int = DETAILS
    dt_fs: float | None = None
    command: str = ""


def write_report(
    results: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    options: Options | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write one page, without network, on results of our commands.

    Parameters
    ----------
    results : sequence of str or PathLike
        Conformers, trajectories, `md` runs, sets of new molecules, folders of trainings,
        and summaries that a command printed by `--json`.
    output : str or PathLike
        The page, .html.
    options : Options, optional
        How they are read and shown.
    overwrite : bool
        Replace a file that is there and that this call has not written before.

    Returns
    -------
    dict
        "output", "bytes", and "sections": title, kind and number of molecules of each.

    Raises
    ------
    InputError
        If a result is missing, damaged or of no kind that is known, or the page may not
        be written.
    """
    asked = Options() if options is None else options
    check_count("details", asked.details, least=0)
    target = check_page(output)
    if not results:
        raise InputError("a report needs at least one result; name a file that a command wrote")
    topology = [Path(asked.top)] if asked.top and Path(asked.top).is_file() else []
    read = [*inputs_of(results), *topology]
    refuse_inputs([target], read)
    command = _identity(read, asked)
    own = recall_finished([target], command) is not None
    claim([target], inputs=read, own=own, overwrite=overwrite)
    sections = [section_of(source, asked) for source in sources_of(results)]
    title = asked.title or ", ".join(section.title for section in sections)
    _write(target, page_of(title, sections, _origin(asked)))
    remember_finished([target], command, {"summary": {}})
    return {
        "command": "report",
        "output": str(target),
        "bytes": target.stat().st_size,
        "sections": [
            {"title": one.title, "kind": one.kind, "molecules": one.n_cards} for one in sections
        ],
    }


def section_of(source: Source, options: Options) -> Section:
    """The section of one result; errors as `write_report`."""
    if source.kind == "training":
        return training.section_of(source)
    if source.kind == "md":
        return md.section_of(source, options.top)
    path = source.paths[0]
    if source.kind == "trajectory":
        top = topology_of(path, options.top)
        read = load_trajectory(path, top, dt_fs=options.dt_fs)
        return trajectories.section_of(source.title, read, source.told)
    problems: list[str] = []
    first = _in_time(path, options)
    if first is not None:
        return trajectories.section_of(source.title, first, source.told)
    found = _some(_conformers(path, options, problems), path, problems)
    return ensembles.section_of(source.title, found, source.told, problems, options.details)


def _in_time(path: Path, options: Options) -> Trajectory | None:
    """The file as a trajectory, None if it tells no times."""
    suffix = plain_suffix(path)
    if suffix == ".npz":
        read = load_any(path)
        return read if isinstance(read, Trajectory) else None
    if suffix not in ASE_FILES or path.suffix.lower() == ".gz":
        return None
    try:
        return load_trajectory(path, options.top, dt_fs=options.dt_fs)
    except InputError:
        return None  # of several molecules, or without times: conformers, and these tell errors


def _conformers(path: Path, options: Options, problems: list[str]) -> Iterator[Ensemble]:
    takes_top = plain_suffix(path) in ASE_FILES
    return load_all(path, top=options.top if takes_top else None, problems=problems)


def _some(found: Iterator[Ensemble], path: Path, problems: Sequence[str]) -> Iterable[Ensemble]:
    """The ensembles, of which there must be one."""
    first = next(found, None)
    if first is None:
        why = f": {problems[0]}" if problems else ""
        raise InputError(f"{str(path)!r} holds no conformer that can be read{why}")
    return chain([first], found)


def _identity(read: Sequence[Path], options: Options) -> str:
    """Everything that decides the page but its command line."""
    files = [file_sha256(path) if path.is_file() else _folder(path) for path in read]
    parts = {name: value for name, value in vars(options).items() if name != "command"}
    return fingerprint({"command": "report", "version": __version__, "files": files, **parts})


def _folder(path: Path) -> str:
    """What is in a folder, by names and sizes."""
    rows = [f"{one.name} {one.stat().st_size}" for one in sorted(path.iterdir())]
    return sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()


def _origin(options: Options) -> dict[str, str]:
    origin = {"command": options.command} if options.command else {}
    versions = [f"equidrift {__version__}", f"Python {platform.python_version()}"]
    versions += [f"{name} {metadata.version(name)}" for name in VERSIONS]
    return origin | {"versions": ", ".join(versions)}


def _write(target: Path, pieces: Iterable[str]) -> None:
    """The page appears whole or not at all."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(partial, "w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(pieces)
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise unwritable(target, error) from error
