"""Ensembles in an ASE database, one row per conformer, with key-value pairs to search
by.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.db.core import check

from equidrift.adapters.ase.atoms import INDEX, ensemble_of, stored_molecule, to_atoms
from equidrift.adapters.ase.typed import set_array
from equidrift.errors import InputError
from equidrift.joining import in_a_row
from equidrift.records import Ensemble

if TYPE_CHECKING:
    from ase import Atoms
    from ase.db.core import Database
    from ase.db.row import AtomsRow

Pair = str | float | bool
_RECORD = "equidrift"  # in the data of a row: the graph and the provenance


def write_rows(
    database: Database | str | os.PathLike[str], ensemble: Ensemble, **pairs: Pair
) -> list[int]:
    """Add the conformers of an ensemble to a database.

    Parameters
    ----------
    database : ase.db connection, or path
        As `ase.db.connect` takes it; rows are added.
    ensemble : Ensemble
        Energies in eV become those of the rows.
    **pairs : str, float or bool
        Further key-value pairs of all rows, such as project="A".

    Returns
    -------
    list of int
        Ids of the rows, in the order of the conformers.

    Raises
    ------
    InputError
        For a pair that ASE does not take; nothing is written then.

    Notes
    -----
    Each row has the pairs `smiles`, `name`, `model`, `sample`, `valid`, `net_charge`,
    `log_prob`, and each score under its own name, if they are known, finite, and such
    as ASE takes: it refuses texts that look like numbers. `read_rows` brings all back,
    those that are left out of the pairs too.

    Examples
    --------
    >>> import equidrift, tempfile
    >>> ensemble = equidrift.sample("CCO", 2, model="etkdg", relax="mmff")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ids = write_rows(f"{folder}/a.db", ensemble, project="alcohols")
    ...     read = list(read_rows(f"{folder}/a.db", "project=alcohols"))
    >>> ids, len(read), len(read[0])
    ([1, 2], 1, 2)
    """
    for name, value in pairs.items():
        if not _is_pair(name, value):
            raise InputError(
                f"ASE's databases do not take the pair {name}={value!r}: a key must be a word "
                "that they do not use themselves, a text must not look like a number; give "
                "another"
            )
    with _connected(database) as rows:
        return [
            int(
                rows.write(
                    atoms,
                    key_value_pairs={**_pairs_of(atoms), **pairs},
                    data={_RECORD: _data_of(atoms)},
                )
            )
            for atoms in to_atoms(ensemble)
        ]


def read_rows(
    database: Database | str | os.PathLike[str], selection: Any = None, **options: Any
) -> Iterator[Ensemble]:
    """The ensembles in a database that `write_rows` wrote: rows that follow each other
    and are of one molecule are one Ensemble.

    Parameters
    ----------
    database : ase.db connection, or path
        As `ase.db.connect` takes it.
    selection, **options
        As for `ase.db`'s `select`.

    Raises
    ------
    InputError
        For a row that holds no molecule of ours.
    """
    rows = _connected(database).select(selection, **options)
    yield from map(ensemble_of, in_a_row(map(_atoms_of, rows), _same_entry))


def _atoms_of(row: AtomsRow) -> Atoms:
    """A row as `to_atoms` made it."""
    if _RECORD not in row.data:
        raise InputError(
            f"row {row.id} was not written by write_rows and holds no bonds; read it by "
            "row.toatoms() and perceive them: equidrift.inputs.as_molecule"
        )
    atoms: Atoms = row.toatoms()
    atoms.info.update(row.data[_RECORD])
    set_array(atoms, INDEX, np.arange(len(atoms)))
    return atoms


def _same_entry(a: Atoms, b: Atoms) -> bool:
    first, second = stored_molecule(a), stored_molecule(b)
    return first is not None and second is not None and first.entry() == second.entry()


def _connected(database: Database | str | os.PathLike[str]) -> Any:
    """The connection; Any, for ASE declares no context manager of it."""
    import ase.db

    return ase.db.connect(database) if isinstance(database, str | os.PathLike) else database


def _data_of(atoms: Atoms) -> dict[str, Any]:
    """All that `to_atoms` says of a conformer."""
    return dict(atoms.info)


def _pairs_of(atoms: Atoms) -> dict[str, Pair]:
    """What of it ASE takes as pairs."""
    info = atoms.info
    named = {name: info[name] for name in ("smiles", "name", "model", "sample") if name in info}
    named |= {"valid": info["valid"], "net_charge": info["charge"]}
    if "log_prob" in info:
        named["log_prob"] = info["log_prob"]
    found = {**info.get("scores", {}), **named}
    return {name: value for name, value in found.items() if _is_pair(name, value)}


def _is_pair(name: str, value: Any) -> bool:
    """Whether ASE takes it without complaint, and it can be searched by."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # for a key that ASE would read as a formula
        try:
            check({name: value})
        except (ValueError, UserWarning):
            return False
    return bool(value) if isinstance(value, str) else math.isfinite(value)
