"""Molecules from .smi, .sdf, .mol and .pdb files, and conformers to .sdf, .mol and .pdb
files, by RDKit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from equidrift.adapters.rdkit.identity import identified
from equidrift.adapters.rdkit.molecule import from_mol, from_smiles, labelled_mol, refusing
from equidrift.adapters.rdkit.pdb import pdb_entries
from equidrift.adapters.rdkit.perception import refuse_drawing
from equidrift.adapters.rdkit.tables import csv_rows, mol2_blocks, mol_of_mol2
from equidrift.errors import EquidriftError, InputError, MoleculeError, UnknownNameError
from equidrift.files.fields import (
    field_lines,
    merged_fields,
    own_fields,
    parse_fields,
    properties_of,
    split_fields,
    titles_of,
)
from equidrift.files.pdb import SMILES_REMARK, SMILES_WIDTH
from equidrift.files.unpacked import unpacked
from equidrift.outputs import unwritable
from equidrift.records import Ensemble, Molecule
from equidrift.residues import default_names
from equidrift.text import decoded, one_line, split_smiles, tidy

PDB_MAX_ATOMS = 99_999


@dataclass(frozen=True)
class Record:
    """One entry of a file.

    index counts from 0; title is the name in the file, else the SMILES; molecule, with
    its name and properties, is None if `error` says what is wrong with the entry;
    positions_A float64 (k, n_atoms, 3) holds the k conformers of the entry, None if
    it has none in 3D; own: what `equidrift` wrote of this conformer, by field.
    """

    index: int
    title: str
    molecule: Molecule | None
    positions_A: NDArray[np.float64] | None
    error: str | None
    own: Mapping[str, str] = field(default_factory=dict)


def read_molecules(
    path: str | os.PathLike[str], *, charge: int | None = None, smiles: str | None = None
) -> Iterator[Record]:
    """The entries of a .smi/.smiles/.txt, .csv, .sdf, .mol, .mol2 or .pdb file, one at
    a time; a broken entry costs only itself.

    Parameters
    ----------
    path : path
        The file; its suffix tells the format, and .gz after it is unpacked; "-" is
        standard input.
    charge : int, optional
        Total charge of a .pdb file's molecule; None takes it from the hydrogens there.
    smiles : str, optional
        SMILES of the molecule in a .pdb file: bond orders, charges and missing
        hydrogens are its; a record of another molecule names the atoms that differ.

    Raises
    ------
    InputError
        If there is no such file, nothing is in it, or `smiles` is given for a format
        that holds the bonds.
    UnknownNameError
        For a suffix that is not read.
    """
    file = readable(path)
    reader = READERS[file.suffix.lower()]
    if smiles is not None:
        if reader is not _pdb_entries:
            raise InputError(
                f"a {file.suffix.lower()} file holds the bonds of its molecules; smiles= "
                "(--smiles) is for .pdb and .xyz"
            )
        reader = partial(_pdb_entries, smiles=smiles)
    return _read(file, reader, charge)


def readable(path: str | os.PathLike[str]) -> Path:
    """The file to read, unpacked; errors as `read_molecules`."""
    file = unpacked(path)
    suffix = file.suffix.lower()
    if suffix not in READERS:
        raise UnknownNameError("suffix", suffix or str(path), READERS)
    if not file.is_file():
        raise InputError(f"there is no file {str(path)!r}")
    if file.stat().st_size == 0:
        raise InputError(f"{str(path)!r} is empty; expected molecules in {suffix} format")
    return file


Parsed = tuple[Molecule, NDArray[np.float64] | None, Mapping[str, str]]
Entry = tuple[str, Callable[[], Parsed]]


def _read(
    file: Path, reader: Callable[[Path, int | None], Iterator[Entry]], charge: int | None
) -> Iterator[Record]:
    """Run the parsers that `reader` yields; what one raises stays in its own record."""
    index = -1
    for index, (title, parse) in enumerate(reader(file, charge)):
        try:
            with refusing("the entry"):
                molecule, positions, own = parse()
        except EquidriftError as error:
            yield Record(index, title, None, None, str(error))
        else:
            yield Record(
                index, molecule.name or molecule.smiles or title, molecule, positions, None, own
            )
    if index < 0:
        raise InputError(f"{str(file)!r} holds no molecule")


def lines_of(file: Path) -> Iterator[str]:
    """The lines of a text file; what is not UTF-8 is taken as Windows' Latin."""
    with open(file, encoding="utf-8-sig", errors="surrogateescape") as stream:
        for line in stream:
            yield line if line.isascii() else decoded(line.encode("utf-8", "surrogateescape"))


def _smiles_entries(file: Path, charge: int | None) -> Iterator[Entry]:
    """One line per molecule: SMILES, then a title.

    Blank lines, lines that begin with '#' and a head line 'smiles ...' are skipped.
    """
    del charge
    for line in lines_of(file):
        smiles, title = split_smiles(line)
        if not smiles or smiles.startswith("#") or smiles.lower() == "smiles":
            continue
        title = one_line(tidy(title))
        yield title or smiles, partial(_from_smiles, smiles, title)


def _sdf_entries(file: Path, charge: int | None) -> Iterator[Entry]:
    del charge
    lines: list[str] = []
    for line in lines_of(file):
        if line.startswith("$$$$"):
            yield _sdf_entry(lines)
            lines = []
        else:
            lines.append(line)
    if any(line.strip() for line in lines):
        yield _sdf_entry(lines)


def _sdf_entry(lines: list[str]) -> Entry:
    title = tidy(lines[0]) if lines else ""
    end = next((k + 1 for k, line in enumerate(lines) if line.startswith("M  END")), len(lines))
    fields = parse_fields(lines[end:])
    return title or fields.get("smiles", ""), partial(
        _from_mol_block, "".join(lines[:end]), title, fields
    )


def _mol_entries(file: Path, charge: int | None) -> Iterator[Entry]:
    del charge
    yield _sdf_entry(list(lines_of(file)))


def _pdb_entries(file: Path, charge: int | None, smiles: str | None = None) -> Iterator[Entry]:
    text = "".join(lines_of(file))
    for title, read in pdb_entries(text, file.stem, charge, smiles):
        yield title, partial(_without_own, read)


def _csv_entries(file: Path, charge: int | None) -> Iterator[Entry]:
    del charge
    for title, read in csv_rows(file):
        yield title, partial(_flat, read)


def _flat(read: Callable[[], Molecule]) -> Parsed:
    return read(), None, {}


def _without_own(read: Callable[[], tuple[Molecule, NDArray[np.float64] | None]]) -> Parsed:
    """An entry of a format in which we write nothing about the conformers."""
    return (*read(), {})


def _mol2_entries(file: Path, charge: int | None) -> Iterator[Entry]:
    del charge
    for title, block in mol2_blocks(file):
        yield title, partial(_from_mol2, title, block)


def _from_mol2(title: str, block: str) -> Parsed:
    molecule, positions = _from_mol(mol_of_mol2(block))
    return molecule.replace(name=one_line(tidy(title))), positions, {}


READERS: dict[str, Callable[[Path, int | None], Iterator[Entry]]] = {
    ".smi": _smiles_entries,
    ".smiles": _smiles_entries,
    ".txt": _smiles_entries,
    ".csv": _csv_entries,
    ".mol2": _mol2_entries,
    ".sdf": _sdf_entries,
    ".mol": _mol_entries,
    ".pdb": _pdb_entries,
}


def _from_smiles(smiles: str, name: str) -> Parsed:
    return from_smiles(smiles, name=name), None, {}


def _from_mol(mol: Chem.Mol) -> tuple[Molecule, NDArray[np.float64] | None]:
    """The record and the 3D conformers, with every hydrogen explicit."""
    flat = not mol.GetNumConformers() or not mol.GetConformer().Is3D()
    if not flat:
        refuse_drawing(mol)
        Chem.AssignStereochemistryFrom3D(mol)
    full = Chem.AddHs(mol, addCoords=not flat)
    molecule: Molecule = from_mol(full)
    return molecule, None if flat else np.array(
        [conformer.GetPositions() for conformer in full.GetConformers()]
    )


def _from_mol_block(block: str, title: str, fields: Mapping[str, str]) -> Parsed:
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(block, removeHs=False)
        if mol is None:
            raise MoleculeError(f"cannot read the mol block: {_block_problem(block)}")
    if not mol.GetNumAtoms():
        raise MoleculeError("the mol block holds no atoms")
    seen, positions = _from_mol(mol)
    own, properties = split_fields(fields)
    smiles = fields.get("smiles", "")
    molecule = identified(seen, smiles, positions) if smiles else None
    if molecule is not None:
        properties.pop("smiles", None)
    elif own:  # written by us, and changed since: its SMILES is of another molecule
        properties["smiles"] = smiles
    name = "" if molecule is not None and title == smiles else title
    return (molecule or seen).replace(name=name, properties=properties), positions, own


def _block_problem(block: str) -> str:
    """What RDKit objects to, in its own words."""
    mol = Chem.MolFromMolBlock(block, sanitize=False, removeHs=False, strictParsing=False)
    if mol is None:
        return "its counts line, atom lines or bond lines are broken"
    mol.UpdatePropertyCache(strict=False)
    return (
        "; ".join(problem.Message() for problem in Chem.DetectChemistryProblems(mol))
        or "its lines break the format"
    )


def _mol_of(ensemble: Ensemble) -> Chem.Mol:
    """The Mol with all conformers, or `InputError` if one is not finite."""
    if not np.isfinite(ensemble.positions_A).all():
        raise InputError(
            "the ensemble holds NaN positions; keep the valid samples: ensemble[ensemble.valid]"
        )
    mol: Chem.Mol = labelled_mol(ensemble.molecule, ensemble.positions_A)
    mol.SetProp("_Name", one_line(ensemble.molecule.name or ensemble.molecule.smiles))
    return mol


def _write(path: str | os.PathLike[str], text: str, mode: str) -> None:
    try:
        with open(path, mode, encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except OSError as error:
        raise unwritable(path, error) from error


def sdf_records(ensemble: Ensemble, *, first_sample: int = 0) -> Iterator[str]:
    """The text of one SDF record per conformer.

    The title is the name, else the SMILES. Properties: what came with the molecule and
    the conformer, then `smiles`, `sample` (counting from `first_sample`), `seed`,
    `model`, `energy_eV` and `log_prob` if known, and every score by its name.
    """
    molecule = ensemble.molecule
    mol = _mol_of(ensemble)
    smiles = molecule.smiles or Chem.MolToSmiles(Chem.RemoveHs(mol))
    rows = zip(
        titles_of(ensemble),
        properties_of(ensemble),
        own_fields(ensemble, smiles, first_sample),
        strict=True,
    )
    for name in list(mol.GetPropNames()):
        mol.ClearProp(name)
    for k, (title, properties, own) in enumerate(rows):
        mol.SetProp("_Name", one_line(title) or smiles)
        fields = field_lines(merged_fields(own, properties))
        yield f"{Chem.MolToMolBlock(mol, confId=k)}{fields}$$$$\n"


def write_sdf(
    ensemble: Ensemble, path: str | os.PathLike[str], *, append: bool = False, first_sample: int = 0
) -> None:
    """Write one SDF record per conformer; `append` adds to the file, so that a long run
    can be written in pieces.

    Raises
    ------
    InputError
        For NaN positions, or a path that cannot be written.
    """
    _write(path, "".join(sdf_records(ensemble, first_sample=first_sample)), "a" if append else "w")


def write_pdb(ensemble: Ensemble, path: str | os.PathLike[str]) -> None:
    """Write a PDB file with one MODEL per conformer.

    Amino acids and nucleotides are ATOM records, all else HETATM; double and triple
    bonds are repeated CONECT entries; the SMILES stands in a REMARK. The order of atoms
    is the molecule's.

    Raises
    ------
    InputError
        As `write_sdf`, and if the columns of the format cannot hold the atoms.
    """
    molecule = ensemble.molecule
    _check_columns(ensemble)
    mol = _mol_of(ensemble if molecule.atom_names else ensemble.replace(molecule=_named(molecule)))
    mol.SetProp("_Name", " ".join((molecule.name or molecule.smiles).split()))
    text = str(Chem.MolToPDBBlock(mol))
    if len(ensemble) > 1:
        text = text.removesuffix("END\n")  # after ENDMDL, ASE takes END for an empty image
    head, rest = text.split("\n", 1) if text.startswith("COMPND") else ("", text)
    lines = [head] if head else []
    lines += [
        SMILES_REMARK + molecule.smiles[start : start + SMILES_WIDTH]
        for start in range(0, len(molecule.smiles), SMILES_WIDTH)
    ]
    _write(path, "\n".join([*lines, rest]), "w")


def _check_columns(ensemble: Ensemble) -> None:
    """Refuse what a PDB file has no columns for."""
    molecule, x = ensemble.molecule, ensemble.positions_A
    chains = sorted({chain for chain in molecule.chain_ids or () if len(chain) > 1})
    numbers = molecule.residue_ids or (1,)
    if molecule.n_atoms > PDB_MAX_ATOMS:
        problem = f"{molecule.n_atoms} atoms, at most {PDB_MAX_ATOMS} are possible"
    elif np.isfinite(x).all() and x.size and not -1000 < x.min() <= x.max() < 10_000:
        problem = f"coordinates of {x.min():.0f} to {x.max():.0f} A, and the columns end at 9999"
    elif chains:
        problem = f"the chain {chains[0]!r}, and a chain has one letter"
    elif numbers and not -1000 < min(numbers) <= max(numbers) < 10_000:
        problem = f"residue numbers to {max(numbers)}, and the columns end at 9999"
    else:
        return
    raise InputError(f"a PDB file cannot hold this molecule: it has {problem}; write .sdf or .npz")


def _named(molecule: Molecule) -> Molecule:
    """The molecule with the names C1, C2, H1, ..., for the columns that a PDB file has."""
    return molecule.replace(atom_names=default_names(molecule))


def write_mol(ensemble: Ensemble, path: str | os.PathLike[str]) -> None:
    """Write a MOL file, which holds one conformer; its fields come after the block, as
    in SDF.

    Errors as `write_sdf`, and `InputError` for several conformers.
    """
    if len(ensemble) != 1:
        raise InputError(
            f"a .mol file holds one conformer, the ensemble has {len(ensemble)}; write .sdf, "
            f"or pick one: ensemble[0]"
        )
    _write(path, next(sdf_records(ensemble)).removesuffix("$$$$\n"), "w")
