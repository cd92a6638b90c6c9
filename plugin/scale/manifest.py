"""What a folder of shards belongs to: its manifest, which refuses another run by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equidrift._version import __version__
from equidrift.errors import InputError
from equidrift.files.failures import Failures
from equidrift.files.plain import plain
from equidrift.files.whole import write_json

MANIFEST = "manifest.json"
TOTAL = "total.json"
_SHOWN_CHARACTERS = 60  # of a value in a message


def put_manifest(
    folder: Path,
    output: Path,
    identity: Mapping[str, Any],
    request: Mapping[str, Any] | None = None,
) -> None:
    """Put down whose shards are in a folder, or make sure that it is this run.

    Parameters
    ----------
    folder : Path
        Of the shards.
    output : Path
        The file that they will become.
    identity : mapping
        Everything that decides the result.
    request : mapping, optional
        What was asked for, if `equidrift merge` has to work out something by itself.

    Raises
    ------
    InputError
        If the folder is another run's; the message names what differs.
    """
    check_manifest(folder, identity)
    path = folder / MANIFEST
    if not path.exists():
        told = {"equidrift": __version__, "output": output.name, "identity": identity}
        told |= {} if request is None else {"request": request}
        write_json(path, told)
        check_manifest(folder, identity)  # two runs may have begun at the same time


def read_manifest(folder: Path, named: str = "") -> dict[str, Any]:
    """The manifest of a folder of shards, which has another name for its user if one is
    given.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    try:
        told: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        if isinstance(told["identity"], dict) and isinstance(told["output"], str):
            return told
    except FileNotFoundError as error:
        raise InputError(
            f"{named or str(folder)!r} is no folder of shards: it has no {MANIFEST}; "
            "give OUT or OUT.shards of a command with --shard, --workers or --ray"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(folder / MANIFEST)!r} is damaged ({error})") from error
    raise InputError(f"{str(folder / MANIFEST)!r} is damaged: its fields are not ours")


def check_manifest(folder: Path, identity: Mapping[str, Any], named: str = "") -> None:
    """Refuse a folder of another run, by its own name or another; errors as
    `put_manifest`.
    """
    if not (folder / MANIFEST).exists():
        return
    before, now = _flat(read_manifest(folder)["identity"]), _flat(plain(identity))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise InputError(
                f"{named or str(folder)!r} has shards of another run: its {key} is "
                f"{_told(before, key)}, and {_told(now, key)} is asked for; repeat that command, "
                "give another name for the output, or remove the folder"
            )


def _told(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "not given"
    text = repr(values[key])
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one, its keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{key}.")
        else:
            flat[before + key] = value
    return flat


def put_total(folder: Path, molecules: int, shards: int, unread: Failures = ()) -> None:
    """Note how much there is, which is known when the input has been read to its end, and
    what of it could not be read.
    """
    told = {"molecules": molecules, "shards": shards, "unread": list(unread)}
    write_json(folder / TOTAL, told)


def read_total(folder: Path) -> tuple[int, int] | None:
    """(molecules, shards) of the whole run; None if nobody has read its input to the end."""
    try:
        told = json.loads((folder / TOTAL).read_text())
        return int(told["molecules"]), int(told["shards"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_unread(folder: Path) -> list[dict[str, str]]:
    """Title and error of each entry that whoever wrote the total could not read."""
    try:
        told = json.loads((folder / TOTAL).read_text())["unread"]
        return [{name: str(one[name]) for name in ("title", "error")} for one in told]
    except (OSError, ValueError, KeyError, TypeError):
        return []
