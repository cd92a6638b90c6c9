"""Small files of JSON that appear whole or not at all."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equidrift.files.plain import plain
from equidrift.outputs import moment


def write_json(
    path: Path, value: Mapping[str, Any], *, what: str = "note", fresh: Path | None = None
) -> None:
    """Write a file that is there as a whole or as it was, whenever the machine ends.

    Parameters
    ----------
    path : Path
        The file.
    value : mapping
        Of what `plain` takes.
    what : str
        Its name for `equidrift.outputs.moment`.
    fresh : Path, optional
        Where it is written first; None is a name that no other process uses.
    """
    if fresh is None:
        fresh = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    with open(fresh, "w") as stream:
        json.dump(plain(value), stream)
        stream.flush()
        os.fsync(stream.fileno())
    moment(f"{what} written")
    os.replace(fresh, path)
    moment(f"{what} in place")
