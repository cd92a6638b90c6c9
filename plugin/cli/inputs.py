"""INPUT... on the command line: SMILES, and files of molecules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equidrift.errors import EquidriftError, InputError, MoleculeError
from equidrift.files.unpacked import STDIN, plain_suffix, unpacked
from equidrift.records import Molecule

READ = (".smi", ".smiles", ".txt", ".csv", ".sdf", ".mol", ".mol2", ".pdb")


@dataclass(frozen=True)
class Entry:
    """One molecule asked for: its title, and the Molecule or what is wrong with it."""

    title: str
    molecule: Molecule | EquidriftError


def is_file(text: str) -> bool:
    """Whether an INPUT names a file: it is "-", has a suffix of one, or exists."""
    return text == STDIN or plain_suffix(text) in READ or Path(text).is_file()


def read_inputs(inputs: Sequence[str], charge: int | None = None) -> Iterator[Entry]:
    """Every molecule of INPUT..., in order, one at a time; a broken one costs only
    itself.

    charge is the total charge of molecules in .pdb files; None takes it from their
    hydrogens.

    Raises
    ------
    InputError
        at once where a file is missing, empty or of an unknown kind, and behind its
        last line where it holds no molecule.
    """
    from equidrift.adapters.rdkit.io import read_molecules

    sources = [read_molecules(text, charge=charge) if is_file(text) else text for text in inputs]
    return _entries(sources)


def _entries(sources: Sequence[Any]) -> Iterator[Entry]:
    for source in sources:
        if isinstance(source, str):
            yield Entry(source, _from_smiles(source))
            continue
        for record in source:
            error = MoleculeError(record.error) if record.molecule is None else None
            yield Entry(record.title, record.molecule if error is None else error)


def _from_smiles(smiles: str) -> Molecule | EquidriftError:
    try:
        return Molecule.from_smiles(smiles)
    except InputError as error:
        return error


def count_molecules(inputs: Sequence[str], limit: int) -> int:
    """How many molecules INPUT... holds; counting stops at `limit`."""
    count = 0
    for _ in read_inputs(inputs):
        count += 1
        if count == limit:
            break
    return count


def describe_inputs(inputs: Sequence[str]) -> list[str]:
    """What stands for the inputs in a run's fingerprint: SMILES themselves, files by
    name and content.
    """
    from equidrift.files.journal import file_sha256

    return [
        f"{Path(text).name}:{file_sha256(unpacked(text))}" if is_file(text) else text
        for text in inputs
    ]
