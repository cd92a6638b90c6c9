"""Code that ends a process by a signal at a chosen moment: no sleeps, no races."""

from __future__ import annotations

import signal

HOOK = """
import os, signal
_replace, _seen = os.replace, []

def _hook(source, target, *args, **options):
    if not str(target).endswith({suffix!r}):
        return _replace(source, target, *args, **options)
    _seen.append(1)
    if {before} and len(_seen) == {count}:
        signal.raise_signal({how})
    _replace(source, target, *args, **options)
    if not {before} and len(_seen) == {count}:
        signal.raise_signal({how})

os.replace = _hook
"""


def stop_at(
    suffix: str, count: int, *, how: signal.Signals = signal.SIGKILL, before: bool = False
) -> str:
    """Python source that ends the process when a file that ends in `suffix` is renamed
    into place for the `count`-th time.

    Journals and checkpoints are written so. `before`: the file is not in its place yet.
    """
    return HOOK.format(suffix=suffix, count=count, before=before, how=int(how))
