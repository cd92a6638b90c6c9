"""Rows of .csv files and entries of .mol2 files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rdkit import Chem, rdBase

from equidrift.errors import InputError, MoleculeError
from equidrift.records import Molecule
from equidrift.text import counted, decoded, one_line, tidy

DELIMITERS = (",", ";", "\t")
SMILES, NAME = "smiles", "name"  # columns, in any case; the others are properties


def csv_rows(file: Path) -> Iterator[tuple[str, Callable[[], Molecule]]]:
    """(title, function that reads the molecule) of each row.

    The first line names the columns: `smiles` (or InChI strings in it), `name` if there
    is one, and whatever else, which becomes the molecule's properties.

    Raises
    ------
    InputError
        If there is no column `smiles`, a name comes twice, or the quotes do not match.
    """
    head = next((line for line in _lines(file) if line.strip()), "")
    delimiter = next((d for d in DELIMITERS if SMILES in _columns(head, d)), ",")
    rows = csv.reader(_lines(file), delimiter=delimiter, skipinitialspace=True)
    header: list[str] | None = None
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = _header(row, file)
                continue
            yield _entry(header, row, rows.line_num)
    except csv.Error as error:
        raise InputError(
            f"{str(file)!r}, line {rows.line_num}: {error}; mend its quotes"
        ) from error


def _columns(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"').lower() for cell in line.split(delimiter)]


def _header(row: list[str], file: Path) -> list[str]:
    header = [cell.strip() for cell in row]
    lower = [cell.lower() for cell in header]
    if SMILES not in lower:
        raise InputError(
            f"{str(file)!r} has the columns {', '.join(header)} and none named 'smiles'; name the "
            "column of SMILES so in its first line"
        )
    twice = next((cell for cell in lower if cell and lower.count(cell) > 1), None)
    if twice is not None:
        raise InputError(f"{str(file)!r} has two columns {twice!r}; give each its own name")
    return header


def _entry(header: list[str], row: list[str], line: int) -> tuple[str, Callable[[], Molecule]]:
    cells = {name.lower(): cell.strip() for name, cell in zip(header, row, strict=False)}
    title = one_line(tidy(cells.get(NAME, "")))
    special = (SMILES, NAME, "")
    properties = {
        name: tidy(cell.strip(), lines=True)
        for name, cell in zip(header, row, strict=False)
        if name.lower() not in special and cell.strip()
    }
    problem = ""
    if len(row) > len(header):
        problem = f"line {line} has {counted(len(row), 'cell')} and the first line {len(header)}"
    elif not cells.get(SMILES):
        problem = f"line {line} has no SMILES"
    return title or cells.get(SMILES, ""), partial(_molecule, cells, title, properties, problem)


def _molecule(
    cells: dict[str, str], title: str, properties: dict[str, str], problem: str
) -> Molecule:
    if problem:
        raise MoleculeError(problem)
    return Molecule.from_smiles(cells[SMILES], name=title).replace(properties=properties)


def _lines(file: Path) -> Iterator[str]:
    with open(file, "rb") as stream:
        for number, raw in enumerate(stream):
            yield decoded(raw.removeprefix(b"\xef\xbb\xbf") if number == 0 else raw)


def mol2_blocks(file: Path) -> Iterator[tuple[str, str]]:
    """(title, text) of each molecule of a .mol2 file."""
    held: list[str] = []
    for line in _lines(file):
        if line.startswith("@<TRIPOS>MOLECULE") and any(h.startswith("@<TRIPOS>") for h in held):
            yield _titled(held)
            held = []
        if held or line.startswith("@<TRIPOS>"):
            held.append(line)
    if held:
        yield _titled(held)


def _titled(lines: list[str]) -> tuple[str, str]:
    title = tidy(lines[1]) if len(lines) > 1 else ""
    return ("" if title == "*****" else one_line(title)), "".join(lines)


def mol_of_mol2(block: str) -> Chem.Mol:
    """The Mol of one entry, hydrogens kept, with its coordinates.

    Raises
    ------
    MoleculeError
        If RDKit cannot read it; atom types are to be those of Corina, which most
        programs write.
    """
    with rdBase.BlockLogs():
        try:
            mol = Chem.MolFromMol2Block(block, removeHs=False)
        except RuntimeError as error:
            raise MoleculeError(
                f"cannot read the mol2 block: {str(error).splitlines()[0]}"
            ) from error
    if mol is None or not mol.GetNumAtoms():
        raise MoleculeError(
            "cannot read the mol2 block: its atom types or bonds do not make a molecule "
            "(RDKit reads "
            "Corina's types); give it as SDF"
        )
    return mol
