"""Ctrl-C stays Python's after a call of RDKit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom


@contextmanager
def own_interrupts() -> Iterator[None]:
    """Put Python's handler of SIGINT back when the block ends.

    RDKit before 2026.9 catches Ctrl-C in its embedding and optimising and leaves
    another handler behind, which the next Ctrl-C is lost in, and the one after that
    ends the process with nothing kept.
    """
    try:
        yield
    finally:
        handler = signal.getsignal(signal.SIGINT)  # what Python believes to be in place
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def embedded_ids(mol: Chem.Mol, count: int, options: Any) -> list[int]:
    """The ids of conformers that RDKit embeds with these parameters, without its log; -1
    for what it gave up for want of time.
    """
    with rdBase.BlockLogs(), own_interrupts():
        return list(rdDistGeom.EmbedMultipleConfs(mol, count, options))
