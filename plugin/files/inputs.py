"""Inputs of many molecules: SMILES, and files of molecules, read one at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from equidrift.errors import OTHER_FORMATS, EquidriftError, InputError, MoleculeError
from equidrift.files.journal import file_sha256
from equidrift.files.unpacked import STDIN, names_file, plain_suffix, unpacked
from equidrift.inputs import check_charge
from equidrift.protocols import FileRecord
from equidrift.records import Molecule
from equidrift.registry import host_function

READ = (".smi", ".smiles", ".txt", ".csv", ".sdf", ".mol", ".mol2", ".pdb")


@dataclass(frozen=True)
class Entry:
    """One molecule asked for: its title, and the Molecule or what is wrong with it."""

    title: str
    molecule: Molecule | EquidriftError


def is_file(text: str) -> bool:
    """Whether an INPUT names a file: it is "-", has a suffix of one, or exists."""
    named = text == STDIN or plain_suffix(text) in (*READ, *OTHER_FORMATS)
    return named or names_file(text)


def read_inputs(
    inputs: Sequence[str], charge: int | None = None, smiles: str | None = None
) -> Iterator[Entry]:
    """Every molecule of INPUT..., in order, one at a time; a broken one costs only
    itself.

    Parameters
    ----------
    inputs : sequence of str
        SMILES and files.
    charge : int, optional
        Total charge of molecules in .pdb files; None takes it from their hydrogens. A
        molecule that comes with another charge is refused.
    smiles : str, optional
        The molecule of a .pdb file: bond orders and charges are its.

    Raises
    ------
    InputError
        At once if a file is missing, empty or of an unknown kind, or `smiles` stands
        beside an input that tells its bonds; after its last line if it holds no
        molecule.
    """
    read_molecules = host_function("rdkit", "read_molecules")
    told = [text for text in inputs if not is_file(text)]
    if smiles is not None and told:
        raise InputError(
            "--smiles tells the bonds of a .pdb file, and the input "
            f"{told[0]!r} is a SMILES itself; leave --smiles out"
        )
    sources = [
        read_molecules(text, charge=charge, smiles=smiles) if is_file(text) else text
        for text in inputs
    ]
    return _entries(sources, charge)


class Inputs:
    """The molecules of INPUT..., read once: those that are counted before the run are
    kept for it.

    Parameters and errors are those of `read_inputs`.
    """

    def __init__(
        self, inputs: Sequence[str], charge: int | None = None, smiles: str | None = None
    ) -> None:
        self._rest = read_inputs(inputs, charge, smiles)
        self._read: deque[Entry] = deque()

    def count(self, limit: int) -> int:
        """How many molecules there are, `limit` if they are as many or more."""
        self._read.extend(islice(self._rest, max(0, limit - len(self._read))))
        return min(len(self._read), limit)

    def __iter__(self) -> Iterator[Entry]:
        while self._read:
            yield self._read.popleft()
        yield from self._rest


def _entries(sources: Sequence[str | Iterator[FileRecord]], charge: int | None) -> Iterator[Entry]:
    for source in sources:
        if isinstance(source, str):
            yield Entry(source, _from_smiles(source, charge))
            continue
        for record in source:
            molecule = record.molecule
            if molecule is None:
                yield Entry(record.title, MoleculeError(record.error or "it cannot be read"))
            else:
                yield Entry(record.title, _of_charge(molecule, charge))


def _from_smiles(smiles: str, charge: int | None) -> Molecule | EquidriftError:
    try:
        return _of_charge(Molecule.from_smiles(smiles), charge)
    except InputError as error:
        return error


def _of_charge(molecule: Molecule, charge: int | None) -> Molecule | EquidriftError:
    """The molecule, or what refuses it if its charge is not the given one."""
    try:
        return check_charge(molecule, charge)
    except MoleculeError as error:
        return error


def describe_inputs(inputs: Sequence[str]) -> list[str]:
    """What stands for the inputs in a run's fingerprint: SMILES themselves, files by
    name and content.
    """
    return [
        f"{Path(text).name}:{file_sha256(unpacked(text))}" if is_file(text) else text
        for text in inputs
    ]
