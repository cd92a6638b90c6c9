"""A folder of shards that is no folder of this machine: shards are copied there and back."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from equidrift.registry import host_function
from equidrift.scale.manifest import MANIFEST, check_manifest


class Store(Protocol):
    """Files by name, somewhere that all nodes reach."""

    def put(self, folder: Path, name: str) -> None:
        """Copy the files of a folder whose names begin with `name`; journals come last."""
        ...

    def fetch(self, folder: Path, name: str, ending: str = "") -> None:
        """Copy into a folder the files whose names begin with `name` and end with
        `ending`.
        """
        ...

    def complete(self, folder: Path, endings: Sequence[str]) -> None:
        """Copy into a folder what it lacks of the files whose names end with any of
        these.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove the files whose names begin with `name`."""
        ...


def store_at(url: str) -> Store:
    """The folder that a URL of fsspec names; InputError if there can be none."""
    store: Store = host_function("ray", "Store")(url)
    return store


def claim_store(url: str, folder: Path, identity: Mapping[str, Any]) -> Store:
    """A store for the run whose manifest is in a folder.

    Raises
    ------
    InputError
        If the store has shards of another run; the message names what differs.
    """
    store = store_at(url)
    with tempfile.TemporaryDirectory(prefix="equidrift-") as there:
        store.fetch(Path(there), MANIFEST)
        check_manifest(Path(there), identity, named=url)
    store.put(folder, MANIFEST)
    return store
