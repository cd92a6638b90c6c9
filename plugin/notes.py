"""Notes: what a user should know of a run, told as a warning and as a log record."""

from __future__ import annotations

import logging
import warnings

TOLD = {"told": True}  # on a record whose text the caller gets in another way, too


def warn(note: str, room: str, *, stacklevel: int) -> None:
    """Tell a note once as a `UserWarning`, and as a record of the logger of a room.

    Parameters
    ----------
    note : str
        The text.
    room : str
        Of the package, such as "engine": the logger is "equidrift.engine".
    stacklevel : int
        Of `warnings.warn`, counted from the caller of this function.
    """
    warnings.warn(note, UserWarning, stacklevel=stacklevel + 1)
    logging.getLogger(f"equidrift.{room}").warning(note, extra=TOLD)
