"""The split of molecules into training, validation and test parts."""

from __future__ import annotations

import zlib


def held_out(key: str) -> str:
    """'test', 'val' or 'train' for a molecule's key: its RDKit SMILES without stereo and explicit hydrogens."""
    bucket = zlib.crc32(key.encode()) % 100
    return "test" if bucket < 5 else "val" if bucket < 10 else "train"
