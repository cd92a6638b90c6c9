"""Molecules from .smi, .sdf, .mol and .pdb files, and conformers to .sdf, .mol and .pdb files, by RDKit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from equidrift.adapters.rdkit_tables import csv_rows, mol2_blocks, mol_of_mol2
from equidrift.errors import EquidriftError, InputError, MoleculeError, UnknownNameError
from equidrift.records import Ensemble, Molecule
from equidrift.registry import resolve
from equidrift.unpacked import unpacked

AMINO_ACIDS = set("ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split())


@dataclass(frozen=True)
class Record:
    """One entry of a file.

    index counts from 0; title is the name in the file, else the SMILES; molecule is None where `error` says what is wrong with
    the entry; positions_A float64 (k, n_atoms, 3) holds the k conformers of the entry, None where it has none in 3D.
    """

    index: int
    title: str
    molecule: Molecule | None
    positions_A: NDArray[np.float64] | None
    error: str | None


def read_molecules(path: str | os.PathLike[str], *, charge: int | None = None) -> Iterator[Record]:
    """The entries of a .smi/.smiles/.txt, .csv, .sdf, .mol, .mol2 or .pdb file, one at a time; a broken entry costs only itself.

    Parameters
    ----------
    path : the file; its suffix tells the format, and .gz behind it is unpacked; "-" is standard input.
    charge : total charge, for a .pdb file whose ligand has no bond orders.

    Raises
    ------
    InputError
        where there is no such file, or nothing is in it.
    UnknownNameError
        for a suffix that is not read.
    """
    file = unpacked(path)
    suffix = file.suffix.lower()
    if suffix not in READERS:
        raise UnknownNameError("suffix", suffix or str(path), READERS)
    if not file.is_file():
        raise InputError(f"there is no file {str(path)!r}")
    if file.stat().st_size == 0:
        raise InputError(f"{str(path)!r} is empty; expected molecules in {suffix} format")
    return _read(file, READERS[suffix], charge)


Entry = tuple[str, Callable[[], tuple[Molecule, NDArray[np.float64] | None]]]


def _read(file: Path, reader: Callable[[Path, int | None], Iterator[Entry]], charge: int | None) -> Iterator[Record]:
    """Run the parsers that `reader` yields; what one raises stays in its own record."""
    index = -1
    for index, (title, parse) in enumerate(reader(file, charge)):
        try:
            molecule, positions = parse()
        except EquidriftError as error:
            yield Record(index, title, None, None, str(error))
        else:
            yield Record(index, title or molecule.smiles, molecule, positions, None)
    if index < 0:
        raise InputError(f"{str(file)!r} holds no molecule")


def _smiles_entries(file: Path, charge: int | None) -> Iterator[Entry]:
    """A line a molecule: SMILES, then a title. Blank lines, lines that begin with '#' and a head line 'smiles ...' are skipped."""
    del charge
    with open(file, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            smiles, title = (*line.split(None, 1), "", "")[:2]
            if not smiles or smiles.startswith("#") or smiles.lower() == "smiles":
                continue
            yield title.strip() or smiles, partial(_from_smiles, smiles, title.strip())


def _sdf_entries(file: Path, charge: int | None) -> Iterator[Entry]:
    del charge
    lines: list[str] = []
    with open(file, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if line.startswith("$$$$"):
                yield _sdf_entry(lines)
                lines = []
            else:
                lines.append(line)
    if any(line.strip() for line in lines):
        yield _sdf_entry(lines)


def _sdf_entry(lines: list[str]) -> Entry:
    title = lines[0].strip() if lines else ""
    block = "".join(lines)
    smiles = next((after.strip() for head, after in pairwise(lines) if head.startswith(">") and "<smiles>" in head), "")
    return title, lambda: _from_mol_block(block, smiles)


def _mol_entries(file: Path, charge: int | None) -> Iterator[Entry]:
    del charge
    yield _sdf_entry(file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True))


def _pdb_entries(file: Path, charge: int | None) -> Iterator[Entry]:
    block = file.read_text(encoding="utf-8", errors="replace")
    head = next((line[10:].strip() for line in block.splitlines() if line.startswith("COMPND")), "")
    yield head or file.stem, lambda: _from_pdb_block(block, charge)


def _csv_entries(file: Path, charge: int | None) -> Iterator[Entry]:
    del charge
    for title, read in csv_rows(file):
        yield title, partial(_flat, read)


def _flat(read: Callable[[], Molecule]) -> tuple[Molecule, None]:
    return read(), None


def _mol2_entries(file: Path, charge: int | None) -> Iterator[Entry]:
    del charge
    for title, block in mol2_blocks(file):
        yield title, partial(_from_mol2, title, block)


def _from_mol2(title: str, block: str) -> tuple[Molecule, NDArray[np.float64] | None]:
    molecule, positions = _from_mol(mol_of_mol2(block))
    return molecule.replace(name=title), positions


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


def _from_smiles(smiles: str, name: str) -> tuple[Molecule, None]:
    return resolve("equidrift.adapters.rdkit_molecule:from_smiles")(smiles, name=name), None


def _from_mol(mol: Chem.Mol, smiles: str = "") -> tuple[Molecule, NDArray[np.float64] | None]:
    """The record and the 3D conformers, with every hydrogen explicit."""
    flat = not mol.GetNumConformers() or not mol.GetConformer().Is3D()
    if not flat:
        Chem.AssignStereochemistryFrom3D(mol)
    named = all(atom.GetPDBResidueInfo() and atom.GetAtomicNum() > 1 for atom in mol.GetAtoms())  # RDKit hangs on hydrogens named before
    full = Chem.AddHs(mol, addCoords=not flat, addResidueInfo=named)
    molecule: Molecule = resolve("equidrift.adapters.rdkit_molecule:from_mol")(full, smiles=smiles)
    return molecule, None if flat else np.array([conformer.GetPositions() for conformer in full.GetConformers()])


def _from_mol_block(block: str, smiles: str) -> tuple[Molecule, NDArray[np.float64] | None]:
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(block, removeHs=False)
        if mol is None:
            raise MoleculeError(f"cannot read the mol block: {_block_problem(block)}")
    if not mol.GetNumAtoms():
        raise MoleculeError("the mol block holds no atoms")
    return _from_mol(mol, smiles)


def _block_problem(block: str) -> str:
    """What RDKit objects to, in its own words."""
    mol = Chem.MolFromMolBlock(block, sanitize=False, removeHs=False, strictParsing=False)
    if mol is None:
        return "its counts line, atom lines or bond lines are broken"
    return "; ".join(problem.Message() for problem in Chem.DetectChemistryProblems(mol)) or "its lines break the format"


def _from_pdb_block(block: str, charge: int | None) -> tuple[Molecule, NDArray[np.float64] | None]:
    """Bond orders come from residue templates and CONECT records; where these leave gaps, from the geometry."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromPDBBlock(block, removeHs=False)
        raw = Chem.MolFromPDBBlock(block, removeHs=False, sanitize=False)
    if raw is None or not raw.GetNumAtoms():
        raise MoleculeError("cannot read the PDB file: it has no readable ATOM or HETATM record")
    hydrogens = any(atom.GetAtomicNum() == 1 for atom in raw.GetAtoms())
    if mol is None or (hydrogens and any(atom.GetTotalNumHs() or atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())):
        return _from_mol(_perceived(raw, charge))
    if not hydrogens and _orders_unknown(mol):
        raise MoleculeError(
            "the PDB file has neither hydrogens nor bond orders for its ligand, so its bonds are ambiguous; "
            "add the hydrogens, or give the molecule as SDF"
        )
    return _from_mol(mol)


def _orders_unknown(mol: Chem.Mol) -> bool:
    """Whether a residue without a template has two bonded atoms, and only single bonds."""
    bonds = [bond for bond in mol.GetBonds() if bond.GetBeginAtom().GetPDBResidueInfo().GetResidueName().strip() not in AMINO_ACIDS]
    return bool(bonds) and all(bond.GetBondType() == Chem.BondType.SINGLE for bond in bonds)


def _perceived(raw: Chem.Mol, charge: int | None) -> Chem.Mol:
    """`raw` with bond orders from its first geometry; the charges in the file count where none is given."""
    written = sum(atom.GetFormalCharge() for atom in raw.GetAtoms())
    frames = [conformer.GetPositions() for conformer in raw.GetConformers()]
    charge = (written or None) if charge is None else charge
    mol: Chem.Mol = resolve("equidrift.adapters.rdkit_perception:complete_bond_orders")(raw, charge)
    resolve("equidrift.adapters.rdkit_molecule:add_conformers")(mol, np.array(frames))
    return mol


def _mol_of(ensemble: Ensemble) -> Chem.Mol:
    """The Mol with all conformers, or `InputError` where one is not finite."""
    if not np.isfinite(ensemble.positions_A).all():
        raise InputError("the ensemble holds NaN positions; keep the valid samples: ensemble[ensemble.valid]")
    mol: Chem.Mol = resolve("equidrift.adapters.rdkit_molecule:to_mol")(ensemble.molecule, ensemble.positions_A)
    return mol


def _write(path: str | os.PathLike[str], text: str, mode: str) -> None:
    try:
        with open(path, mode, encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except OSError as error:
        raise InputError(
            f"cannot write {os.fspath(path)!r}: {error.strerror or error}; give a path in a folder you can write to"
        ) from error


def sdf_records(ensemble: Ensemble, *, first_sample: int = 0) -> Iterator[str]:
    """The text of one SDF record a conformer.

    The title is the SMILES as given, or the name. Properties: `smiles`, `sample` (counting from `first_sample`), `seed`, `model`,
    `energy_eV` and `log_prob` where known, and every score by its name.
    """
    molecule, seeds = ensemble.molecule, np.asarray(ensemble.seeds)
    mol = _mol_of(ensemble)
    mol.SetProp("_Name", molecule.smiles or molecule.name)
    optional = {"energy_eV": ensemble.energies_eV, "log_prob": ensemble.log_prob, **ensemble.scores}
    columns = {name: values for name, values in optional.items() if values is not None}
    smiles = molecule.smiles or Chem.MolToSmiles(Chem.RemoveHs(mol))
    for k in range(len(ensemble)):
        values: dict[str, object] = {"smiles": smiles, "sample": first_sample + k, "seed": seeds[k]}
        values["model"] = ensemble.provenance.get("model", "unknown")
        values |= {name: f"{column[k]:.10g}" for name, column in columns.items()}
        properties = "".join(f">  <{name}>\n{value}\n\n" for name, value in values.items())
        yield f"{Chem.MolToMolBlock(mol, confId=k)}{properties}$$$$\n"


def write_sdf(ensemble: Ensemble, path: str | os.PathLike[str], *, append: bool = False, first_sample: int = 0) -> None:
    """Write one SDF record a conformer; `append` adds to the file, so that a long run can be written in pieces.

    Raises
    ------
    InputError
        for NaN positions, or a path that cannot be written.
    """
    _write(path, "".join(sdf_records(ensemble, first_sample=first_sample)), "a" if append else "w")


def write_pdb(ensemble: Ensemble, path: str | os.PathLike[str]) -> None:
    """Write a PDB file with one MODEL a conformer; double and triple bonds as repeated CONECT entries. Errors as `write_sdf`."""
    text = str(Chem.MolToPDBBlock(_mol_of(ensemble)))
    _write(path, text.removesuffix("END\n") if len(ensemble) > 1 else text, "w")  # behind ENDMDL, ASE takes END for an empty image


def write_mol(ensemble: Ensemble, path: str | os.PathLike[str]) -> None:
    """Write a MOL file, which holds one conformer. Errors as `write_sdf`, and `InputError` for several conformers."""
    if len(ensemble) != 1:
        raise InputError(f"a .mol file holds one conformer, the ensemble has {len(ensemble)}; write .sdf, or pick one: ensemble[0]")
    _write(path, Chem.MolToMolBlock(_mol_of(ensemble)), "w")
