"""Ctrl-C behind calls of RDKit, which installs a handler of its own."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import ctypes, signal
from equidrift.adapters.rdkit.interrupts import own_interrupts

signal.signal(signal.SIGINT, signal.default_int_handler)
with own_interrupts():
    ctypes.CDLL(None).signal(signal.SIGINT, ctypes.c_void_p(1))  # SIG_IGN, as C code may leave it
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_interrupt_is_heard_when_a_library_has_left_its_own_handler() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.stdout == "interrupted\n", done.stderr
