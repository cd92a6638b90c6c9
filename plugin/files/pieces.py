"""Pieces of a run, in files of their own, as one file of a format that is not added to."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from equidrift.errors import InputError
from equidrift.files.formats import MANY_MOLECULES, suffix_of
from equidrift.files.npz import load_npz
from equidrift.joining import joined
from equidrift.records import Ensemble
from equidrift.registry import ENSEMBLE_WRITERS, resolve


def write_pieces(pieces: Iterable[Path], target: Path) -> Ensemble:
    """Write consecutive pieces of the same molecule as one ensemble each; the first one.

    Raises
    ------
    InputError
        If there are several molecules, and the format holds one.
    """
    suffix = suffix_of(target)
    groups = groupby(map(load_npz, pieces), key=lambda piece: piece.molecule.entry())
    whole = [joined(list(group)) for _, group in groups]
    if len(whole) > 1 and suffix not in MANY_MOLECULES:
        raise InputError(
            f"a {suffix} file holds one molecule, and there are {len(whole)}; "
            f"write {', '.join(MANY_MOLECULES)}"
        )
    writer = resolve(ENSEMBLE_WRITERS[suffix])
    for k, ensemble in enumerate(whole):
        writer(ensemble, target, **({"append": k > 0} if suffix == ".traj" else {}))
    return whole[0]
