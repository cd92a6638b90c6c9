"""Resumable writing: what a run has written, and how far it is safe on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equidrift.files.plain import plain
from equidrift.records import Ensemble

Pieces = Sequence[tuple[Ensemble, int]]  # each with the index of its first sample
Position = tuple[int, int]  # (molecules done, samples done of the next)
Told = Mapping[str, Any]  # what a run wants to remember: its summary so far, or its command
AnyPath = str | os.PathLike[str]
Inputs = Sequence[AnyPath]  # what a run reads, and never writes


def fingerprint(command: Mapping[str, Any]) -> str:
    """A hash of everything that decides a run's result."""
    return hashlib.sha256(json.dumps(plain(command), sort_keys=True).encode()).hexdigest()


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Hash of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def synced_size(path: Path) -> int:
    """Size of a file whose content has reached the disk."""
    with open(path, "ab") as stream:
        os.fsync(stream.fileno())
        return stream.tell()
