"""Folders of shards put together as the file they were made for, and how far they are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equidrift.errors import InputError
from equidrift.files.failures import add_counts, add_failures, no_failures
from equidrift.files.formats import suffix_of
from equidrift.files.journal import fingerprint
from equidrift.files.whole import write_json
from equidrift.outputs import claim
from equidrift.scale.drawn import DRAWS, DrawFolder
from equidrift.scale.folder import SHARDS, Folder, ShardFolder, ShardLook, shards_beside
from equidrift.scale.manifest import (
    MANIFEST,
    TOTAL,
    check_manifest,
    read_manifest,
    read_total,
    read_unread,
)
from equidrift.scale.shards import index_of
from equidrift.scale.stores import store_at
from equidrift.scale.writers import GatheringWriter

SHOWN = 10  # numbers of shards in a message


@contextmanager
def opened(places: Sequence[str], *, whole: bool = True) -> Iterator[list[Folder]]:
    """The folders of shards at these places, as long as this is open.

    Parameters
    ----------
    places : sequence of str
        OUT.shards or OUT, or the URL of a store, whose files are copied.
    whole : bool
        Whether all files of a store are copied, or those that tell how far it is.

    Raises
    ------
    InputError
        If there is no folder, it has no manifest, or is of another run than the first.
    """
    with ExitStack() as stack:
        folders = [_opened(place, stack, whole) for place in places]
        identity = read_manifest(folders[0].folder)["identity"]
        for other, place in zip(folders[1:], places[1:], strict=True):
            check_manifest(other.folder, identity, named=place)
        yield folders


def _opened(place: str, stack: ExitStack, whole: bool) -> Folder:
    if "://" not in place:
        given = Path(place)
        folder = given if given.is_dir() else shards_beside(given)
        if not folder.is_dir():
            raise InputError(
                f"there are no shards {str(folder)!r}; give OUT or OUT.shards of a run"
            )
        return _folder(folder, place)
    copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="equidrift-")))
    store = store_at(place)
    store.fetch(copy, MANIFEST)
    copied = _folder(copy, place)
    store.complete(copy, ("",) if whole else (TOTAL, *copied.telling))
    return copied


def _folder(folder: Path, named: str) -> Folder:
    told = read_manifest(folder, named)
    command = fingerprint(told["identity"])
    if "request" in told:
        return DrawFolder(folder, DRAWS, command)
    return ShardFolder(folder, suffix_of(told["output"]), command)


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
    spare : int
        Missing shards that a merge makes by itself.
    """

    whole: list[int]
    unfinished: list[int]
    missing: list[int]
    locked: Mapping[int, Mapping[str, Any]]
    total: tuple[int, int] | None
    counts: Mapping[str, Any]
    spare: int = 0

    @property
    def done(self) -> bool:
        """Whether they can be merged."""
        return self.total is not None and len(self.missing) <= self.spare


def standing(folders: Sequence[Folder], first: int = 0) -> Standing:
    """How far folders of the same run are; shards below `first` are in the file already."""
    totals = [read_total(folder.folder) for folder in folders]
    total = next((told for told in totals if told is not None), None)
    begun = {index: None for folder in folders for index in folder.begun() if index >= first}
    found = {index: _counts(folders, index) for index in sorted(begun)}
    counts = no_counts()
    for one in found.values():
        if one is not None:
            add_counts(counts, one)
    shards = range(first, total[1]) if total is not None else ()
    return Standing(
        whole=[index for index, one in found.items() if one is not None],
        unfinished=[index for index, one in found.items() if one is None],
        missing=[index for index in shards if found.get(index) is None],
        locked={index: who for folder in folders for index, who in folder.locked().items()},
        total=total,
        counts=counts,
        spare=folders[0].spare,
    )


def _counts(folders: Sequence[Folder], index: int) -> dict[str, Any] | None:
    """Of a shard in the first folder in which it is whole."""
    told = (folder.counts(index) for folder in folders)
    return next((counts for counts in told if counts is not None), None)


def whole(
    folders: Iterable[ShardFolder], index: int, start: tuple[int, int] | None = None
) -> ShardLook | None:
    """A shard from the first folder in which it is whole."""
    looks = (folder.look(index, start) for folder in folders)
    return next((look for look in looks if look.finished), None)


def check_whole(found: Standing) -> None:
    """Refuse a merge of a part.

    Raises
    ------
    InputError
        The message names the shards.
    """
    if found.total is None:
        raise InputError(
            "no job has come to its end yet, so what is missing is not known; let one do so"
        )
    if not found.done:
        shown = ", ".join(map(str, found.missing[:SHOWN]))
        more = f" and {len(found.missing) - SHOWN} more" if len(found.missing) > SHOWN else ""
        raise InputError(
            f"shards {shown}{more} of {found.total[1]} are not done; run their jobs again, or "
            "the command without --shard"
        )


def home_of(folder: Folder) -> Path:
    """The file that the shards of a folder were made for."""
    name = folder.folder.name
    if name.endswith(SHARDS):
        return folder.folder.with_name(name.removesuffix(SHARDS))
    return Path(read_manifest(folder.folder)["output"])


def counted_beside(output: Path) -> Path:
    """The file of all counts of a merge."""
    return output.with_name(output.name + ".manifest.json")


def no_counts() -> dict[str, Any]:
    """Counts of nothing."""
    return {"molecules": 0, "conformers": 0, **no_failures()}


class Merging:
    """Shards of one run, out of one or several folders, into one file.

    Parameters
    ----------
    folders : sequence of ShardFolder
        Of one run.
    output : path, optional
        The file; None is the one that the shards were made for.
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    InputError
        If shards are missing; if the file is there, or of another format.
    """

    def __init__(
        self,
        folders: Sequence[ShardFolder],
        output: Path | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        self.folders = folders
        first = self.folders[0]
        identity = read_manifest(first.folder)["identity"]
        self.output = home_of(first) if output is None else output
        if suffix_of(self.output) != first.suffix:
            raise InputError(
                f"the shards hold {first.suffix} records; give an output of that format, not "
                f"{str(self.output)!r}"
            )
        self.writer = GatheringWriter(self.output, identity, overwrite=overwrite)
        self.failures = self.writer.failures
        self.manifest = counted_beside(self.output)
        claim([self.manifest], own=any(self.writer.position), overwrite=overwrite)
        self.identity = identity

    def check(self) -> Standing:
        """How far the shards are; refuses a merge of a part."""
        found = standing(self.folders, index_of(self.writer.position))
        check_whole(found)
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
        self._add_unread(counts)
        self.writer.list_failures(always=True)
        counts = {name: value for name, value in counts.items() if not isinstance(value, list)}
        write_json(self.manifest, {"identity": self.identity, "counts": counts})
        if counts["conformers"]:
            self.writer.finish()
        else:
            self.writer.discard()
        return counts

    def _add_unread(self, counts: dict[str, Any]) -> None:
        """What of the input could not be read is the last that has failed."""
        lists = (read_unread(folder.folder) for folder in self.folders)
        unread = next(filter(None, lists), [])
        if unread and "unread" not in counts:  # a run may end between this and its last step
            counts["unread"] = len(unread)
            add_failures(counts, unread)
            self.writer.write([], self.writer.position, counts, unread)

    @staticmethod
    def _start(index: int, position: tuple[int, int]) -> tuple[int, int] | None:
        """Where the first shard begins if an earlier process ended within it."""
        return position if index == index_of(position) and position[1] else None
