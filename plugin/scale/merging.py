"""Folders of shards put together as the file they were made for, and how far they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equidrift.errors import InputError
from equidrift.files.failures import add_counts, no_failures
from equidrift.files.formats import suffix_of
from equidrift.files.journal import fingerprint
from equidrift.files.whole import write_json
from equidrift.outputs import claim
from equidrift.scale.folder import SHARDS, ShardFolder, ShardLook, shards_beside
from equidrift.scale.manifest import check_manifest, read_manifest, read_total
from equidrift.scale.shards import index_of
from equidrift.scale.writers import GatheringWriter

SHOWN = 10  # numbers of shards in a message


def folder_of(path: str | os.PathLike[str]) -> ShardFolder:
    """The folder of shards OUT.shards, given by its name or by OUT.

    Raises
    ------
    InputError
        If there is none, or it has no manifest.
    """
    given = Path(path)
    folder = given if given.is_dir() else shards_beside(given)
    if not folder.is_dir():
        raise InputError(f"there are no shards {str(folder)!r}; give OUT or OUT.shards of a run")
    told = read_manifest(folder)
    return ShardFolder(folder, suffix_of(told["output"]), fingerprint(told["identity"]))


@dataclass(frozen=True)
class Standing:
    """How far the shards of a run are.

    Parameters
    ----------
    whole, unfinished, missing : list of int
        Numbers of shards; what is missing is known if `total` is.
    locked : mapping
        Number -> who works on it.
    total : (int, int) or None
        (molecules, shards) of the run, once a process has read its input to the end.
    counts : mapping
        Of the whole shards: numbers, and those by reason.
    """

    whole: list[int]
    unfinished: list[int]
    missing: list[int]
    locked: Mapping[int, Mapping[str, Any]]
    total: tuple[int, int] | None
    counts: Mapping[str, Any]


def standing(folders: Sequence[ShardFolder], first: int = 0) -> Standing:
    """How far folders of the same run are; shards below `first` are in the file already."""
    totals = [read_total(folder.folder) for folder in folders]
    total = next((told for told in totals if told is not None), None)
    begun = {index: None for folder in folders for index in folder.begun() if index >= first}
    found = {index: whole(folders, index) for index in sorted(begun)}
    counts = no_counts()
    for look in found.values():
        if look is not None:
            add_counts(counts, look.summary)
    shards = range(first, total[1]) if total is not None else ()
    return Standing(
        whole=[index for index, look in found.items() if look is not None],
        unfinished=[index for index, look in found.items() if look is None],
        missing=[index for index in shards if found.get(index) is None],
        locked={index: who for folder in folders for index, who in folder.locked().items()},
        total=total,
        counts=counts,
    )


def whole(
    folders: Iterable[ShardFolder], index: int, start: tuple[int, int] | None = None
) -> ShardLook | None:
    """A shard from the first folder in which it is whole."""
    looks = (folder.look(index, start) for folder in folders)
    return next((look for look in looks if look.finished), None)


def no_counts() -> dict[str, Any]:
    """Counts of nothing."""
    return {"molecules": 0, "conformers": 0, **no_failures()}


class Merging:
    """Shards of one run, out of one or several folders, into one file.

    Parameters
    ----------
    paths : sequence of path
        Folders of shards, as `folder_of` takes them.
    output : path, optional
        The file; None is the one that the shards were made for.
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    InputError
        If a folder is not one of shards, or of another run than the first; if shards
        are missing; if the file is there, or of another format.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        output: Path | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        self.folders = [folder_of(path) for path in paths]
        first = self.folders[0]
        identity = read_manifest(first.folder)["identity"]
        for other in self.folders[1:]:
            check_manifest(other.folder, identity)
        home = first.folder.with_name(first.folder.name.removesuffix(SHARDS))
        self.output = home if output is None else output
        if suffix_of(self.output) != first.suffix:
            raise InputError(
                f"the shards hold {first.suffix} records; give an output of that format, not "
                f"{str(self.output)!r}"
            )
        self.writer = GatheringWriter(self.output, identity, overwrite=overwrite)
        self.failures = self.writer.failures
        self.manifest = self.output.with_name(self.output.name + ".manifest.json")
        claim([self.manifest], own=any(self.writer.position), overwrite=overwrite)
        self.identity = identity

    def check(self) -> Standing:
        """How far the shards are; refuses a merge of a part."""
        found = standing(self.folders, index_of(self.writer.position))
        if found.total is None:
            raise InputError(
                "no job has read the input to its end yet, so what is missing is not known; "
                "let one job come to its end"
            )
        if found.missing:
            shown = ", ".join(map(str, found.missing[:SHOWN]))
            more = f" and {len(found.missing) - SHOWN} more" if len(found.missing) > SHOWN else ""
            raise InputError(
                f"shards {shown}{more} of {found.total[1]} are not done; run their jobs again, or "
                "the command without --shard"
            )
        return found

    def run(self) -> dict[str, Any]:
        """Put the shards together; the counts of the whole."""
        found = self.check()
        position = self.writer.position
        counts = no_counts() | self.writer.summary
        for index in found.whole:
            shard = whole(self.folders, index, self._start(index, position))
            if shard is None:
                raise InputError(f"shard {index} has gone; start its job again")
            add_counts(counts, shard.summary)
            self.writer.adopt(shard, shard.position, counts)
        self.writer.list_failures(always=True)
        counts = {name: value for name, value in counts.items() if not isinstance(value, list)}
        write_json(self.manifest, {"identity": self.identity, "counts": counts})
        if counts["conformers"]:
            self.writer.finish()
        else:
            self.writer.discard()
        return counts

    @staticmethod
    def _start(index: int, position: tuple[int, int]) -> tuple[int, int] | None:
        """Where the first shard begins if an earlier process ended within it."""
        return position if index == index_of(position) and position[1] else None
