"""What a run may write: never an input, and never a file that is not its own.

Every command asks `claim` before its first computation, and every file that it will
write is named there: outputs, the topology beside a trajectory, journals and
checkpoints.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from equidrift.errors import InputError

StrPath = str | os.PathLike[str]


def same_file(first: StrPath, second: StrPath) -> bool:
    """Whether two paths are one file: by inode if both exist, else by their real paths."""
    try:
        return os.path.samefile(first, second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


def refuse_inputs(outputs: Iterable[StrPath], inputs: Iterable[StrPath]) -> None:
    """Raise `InputError` if something to be written is something to be read."""
    read = [path for path in inputs if os.path.exists(path)]
    for output in outputs:
        for path in read:
            if same_file(output, path):
                raise InputError(
                    f"{os.fspath(output)!r} would be written, and it is the input "
                    f"{os.fspath(path)!r}; "
                    "give another name for the output (--overwrite does not allow this)"
                )


def claim(
    outputs: Sequence[StrPath],
    *,
    inputs: Iterable[StrPath] = (),
    own: bool = False,
    overwrite: bool = False,
) -> None:
    """Make sure that a run may write its files.

    Parameters
    ----------
    outputs : sequence of str or PathLike
        Every path that the run will write.
    inputs : iterable of str or PathLike
        Every file that it reads; what is no file (a SMILES, say) is passed over.
    own : bool
        The outputs that exist belong to this very run.
    overwrite : bool
        The user allows that existing files are replaced; inputs never are.

    Raises
    ------
    InputError
        If an output is an input, or exists and is not this run's own.
    """
    refuse_inputs(outputs, inputs)
    if own or overwrite:
        return
    for output in outputs:
        if os.path.lexists(output):
            raise InputError(
                f"{os.fspath(output)!r} exists and is no run of this command; give another "
                f"name for "
                "the output, or replace it with --overwrite (overwrite=True)"
            )


def topology_beside(path: StrPath) -> Path:
    """Where the topology of a trajectory is written: run.top.pdb for run.xtc."""
    target = Path(path)
    return target.with_name(f"{target.stem}.top.pdb")


def moment(name: str) -> None:
    """Called at each step of a write to disk; tests put a hook here that ends the
    process.
    """
    del name


def unwritable(path: StrPath, error: OSError | str) -> InputError:
    """What is raised if a file cannot be written, and why."""
    reason = error if isinstance(error, str) else error.strerror or error
    return InputError(
        f"cannot write {os.fspath(path)!r}: {reason}; give a path in a folder you can write to"
    )
