"""A folder of shards that the nodes of a cluster share, by any URL that fsspec knows."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from equidrift.errors import InputError, MissingDependencyError

try:
    import fsspec
except ImportError as error:
    raise MissingDependencyError("fsspec", "ray") from error

JOURNAL = ".journal"  # ends the name of the file that tells that a shard is whole
LOCK = ".lock"  # ends the name of a file that stays on its node


class Store:
    """See `equidrift.scale.stores.Store`.

    Parameters
    ----------
    url : str
        A path, or a URL such as s3://bucket/folder.

    Raises
    ------
    InputError
        If fsspec does not know it, or the folder cannot be made.
    """

    def __init__(self, url: str) -> None:
        try:
            self.files, root = fsspec.core.url_to_fs(url)
            self.root = str(root).rstrip("/")
            self.files.makedirs(self.root, exist_ok=True)
        except (ValueError, ImportError, OSError) as error:
            raise InputError(
                f"{url!r} cannot be used as a store ({error}); give a path or URL that fsspec "
                "knows, such as s3://bucket/folder, and install what it needs on all nodes"
            ) from error

    def put(self, folder: Path, name: str) -> None:
        """Copy the files of a folder whose names begin with `name`; journals come last."""
        inside = (path for path in folder.rglob("*") if path.is_file() and path.suffix != LOCK)
        own = [path for path in inside if str(path.relative_to(folder)).startswith(name)]
        for path in sorted(own, key=lambda path: (path.name.endswith(JOURNAL), str(path))):
            self._put(path.read_bytes(), path.relative_to(folder).as_posix())

    def fetch(self, folder: Path, name: str, ending: str = "") -> None:
        """Copy into a folder the files whose names begin with `name` and end with
        `ending`.
        """
        for path in self._named(name):
            if path.endswith(ending):
                self._bring(folder, path)

    def complete(self, folder: Path, endings: Sequence[str]) -> None:
        """Copy into a folder what it lacks of the files whose names end with any of
        these.
        """
        for path in self._named(""):
            if path.endswith(tuple(endings)) and not (folder / path).exists():
                self._bring(folder, path)

    def remove(self, name: str) -> None:
        """Remove the files whose names begin with `name`."""
        for path in self._named(name):
            self.files.rm_file(f"{self.root}/{path}")

    def _bring(self, folder: Path, path: str) -> None:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.files.cat_file(f"{self.root}/{path}"))

    def _named(self, name: str) -> list[str]:
        begin = len(self.root) + 1
        found = (str(path)[begin:] for path in self.files.find(self.root))
        return sorted(path for path in found if path.startswith(name))

    def _put(self, content: bytes, name: str) -> None:
        """A file that appears whole: two tasks may make the same shard."""
        target = f"{self.root}/{name}"
        fresh = f"{self.root}/.new-{uuid.uuid4().hex}"
        self.files.makedirs(target.rpartition("/")[0], exist_ok=True)
        self.files.pipe_file(fresh, content)
        self.files.mv(fresh, target)
