"""Cores with coordinates, by RDKit: read from a file, given as a Mol or as SMARTS, and
matched to molecules as substructures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from equidrift.adapters.rdkit.building import bonds_in
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.checks.core_fit import problems
from equidrift.checks.geometry import COVALENT_RADII_A, TYPICAL_LENGTHS
from equidrift.errors import InputError, InputTypeError, UnknownNameError
from equidrift.records import Molecule
from equidrift.text import counted

READ = (".sdf", ".mol", ".pdb")
MAX_MATCHES = 2000
Match = tuple[NDArray[np.int64], NDArray[np.float64], str]


@dataclass(frozen=True, eq=False)
class TemplateCore:
    """Atoms and bonds with coordinates, to be found in a molecule.

    Parameters
    ----------
    query : Chem.Mol
        All its atoms are to be found; hydrogens of a Mol, not of SMARTS, follow
        the atom they are on.
    positions_A : array
        (k, 3).
    smarts : bool
        The query is one: it must match as it stands.
    given : dict of int to int, optional
        {core atom: atom of the molecule} if the user has matched them.
    """

    query: Chem.Mol
    positions_A: NDArray[np.float64]
    smarts: bool = False
    given: Mapping[int, int] | None = None

    def content(self) -> bytes:
        """What decides the match, for the fingerprint of a run."""
        text = (
            Chem.MolToSmarts(self.query)
            if self.smarts
            else Chem.MolToMolBlock(_bare(self.query), kekulize=False)
        )
        return (
            f"{text}{sorted((self.given or {}).items())}".encode()
            + np.round(self.positions_A, 6).tobytes()
        )

    def match(self, molecule: Molecule) -> Match:
        """(atoms (k,), positions_A (k, 3), note) of the first match that bonds and
        stereo allow.

        Raises
        ------
        InputError
            If the core is not in the molecule, or is in it with other stereo or
            impossible bonds.
        """
        if self.given is not None:
            rows, atoms = (
                np.array(list(self.given), np.int64),
                np.array(list(self.given.values()), np.int64),
            )
            if not (rows.min() >= 0 and rows.max() < len(self.positions_A)):
                raise InputError(
                    f"fix matches core atom {int(rows.max())}, but the core has atoms 0 to "
                    f"{len(self.positions_A) - 1}"
                )
            self._check_elements(molecule, rows, atoms)
            return atoms, self.positions_A[rows], ""
        mol = to_mol(molecule)
        core, matches = self._matches(mol)
        if not matches:
            raise InputError(
                f"the core {_name(self.query)} is no substructure of {molecule!r}, not even "
                f"with any bond orders and charges; check that "
                "the molecule has all of its atoms, or give the match as fix=(core, {core "
                "atom: atom})"
            )
        return self._best(molecule, mol, core, matches)

    def _check_elements(
        self, molecule: Molecule, core: NDArray[np.int64], atoms: NDArray[np.int64]
    ) -> None:
        for c, a in zip(core.tolist(), atoms.tolist(), strict=True):
            symbol = self.query.GetAtomWithIdx(c).GetSymbol()
            if 0 <= a < molecule.n_atoms and symbol != molecule.symbols[a]:
                raise InputError(
                    f"fix matches core atom {c}, a {symbol}, to atom {a} of {molecule!r}, a "
                    f"{molecule.symbols[a]}"
                )

    def _matches(self, mol: Chem.Mol) -> tuple[list[int], list[tuple[int, ...]]]:
        """Core atoms, and the atoms that each match gives them: by bonds as written,
        else by elements and connections alone.
        """
        if self.smarts:
            core = list(range(self.query.GetNumAtoms()))
            return core, _substructures(mol, self.query)
        core = [atom.GetIdx() for atom in self.query.GetAtoms() if atom.GetAtomicNum() > 1]
        heavy = Chem.RWMol(self.query)
        for k in sorted(set(range(self.query.GetNumAtoms())) - set(core), reverse=True):
            heavy.RemoveAtom(k)
        found = _substructures(mol, heavy.GetMol())
        return core, found or _substructures(_bare(mol), _bare(heavy.GetMol()))

    def _best(
        self, molecule: Molecule, mol: Chem.Mol, core: list[int], matches: list[tuple[int, ...]]
    ) -> Match:
        """The first match, by how well bond lengths fit and then by index, that nothing
        speaks against.
        """
        ranked = sorted((round(self._misfit(mol, core, match), 1), match) for match in matches)
        first: list[str] | None = None
        for _, match in ranked:
            atoms, rows = self._with_hydrogens(mol, core, match)
            wrong = problems(molecule, atoms, self.positions_A[rows])
            if not wrong:
                return (
                    atoms,
                    self.positions_A[rows],
                    self._note(mol, match, [other for _, other in ranked]),
                )
            first = wrong if first is None else first
        how = (
            "the core is in the molecule only in ways"
            if len(matches) > 1
            else "the core is in the molecule only in a way"
        )
        raise InputError(
            f"{how} that its coordinates contradict, in {molecule!r}: "
            f"{'; '.join((first or [])[:4])}"
        )

    def _misfit(self, mol: Chem.Mol, core: list[int], match: tuple[int, ...]) -> float:
        """Sum of squared deviations of the core's bonds from typical lengths, in units
        of a tenth of the length.
        """
        radii = COVALENT_RADII_A
        place = dict(zip(match, core, strict=True))
        total = 0.0
        for bond in bonds_in(mol):
            i, j = bond.GetBeginAtom(), bond.GetEndAtom()
            if i.GetIdx() in place and j.GetIdx() in place:
                d = np.linalg.norm(
                    self.positions_A[place[i.GetIdx()]] - self.positions_A[place[j.GetIdx()]]
                )
                ratio = d / (radii[i.GetAtomicNum()] + radii[j.GetAtomicNum()])
                total += (
                    10.0 * (ratio - TYPICAL_LENGTHS.get(bond.GetBondTypeAsDouble(), 1.0))
                ) ** 2
        return total

    def _with_hydrogens(
        self, mol: Chem.Mol, core: list[int], match: tuple[int, ...]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Atoms of the molecule and the core's rows for them.

        A heavy atom's hydrogens come too, unless the molecule has fewer there: one of
        them is where the core grows, and which is left free.
        """
        atoms, rows = list(match), list(core)
        if not self.smarts:
            for c, a in zip(core, match, strict=True):
                known, wanted = _hydrogens(self.query, c), _hydrogens(mol, a)
                if len(known) <= len(wanted):
                    atoms += wanted[: len(known)]
                    rows += known
        return np.array(atoms, np.int64), np.array(rows, np.int64)

    def _note(self, mol: Chem.Mol, taken: tuple[int, ...], matches: list[tuple[int, ...]]) -> str:
        """Tells of matches that symmetry does not make the same."""
        rank = list(Chem.CanonicalRankAtoms(mol, breakTies=False))
        kinds = {tuple(rank[k] for k in match): match for match in reversed(matches)}
        if len(kinds) < 2:
            return ""
        others = [
            list(match) for kind, match in kinds.items() if kind != tuple(rank[k] for k in taken)
        ][:3]
        more = "at least " if len(matches) >= MAX_MATCHES else ""
        return (
            f"the core is in the molecule in {more}{len(kinds)} different ways; atoms "
            f"{list(taken)} were taken, others are "
            f"{', '.join(map(str, others))}. To choose, give fix=(core, {{core atom: atom}})"
        )


def _hydrogens(mol: Chem.Mol, index: int) -> list[int]:
    return sorted(
        other.GetIdx()
        for other in mol.GetAtomWithIdx(index).GetNeighbors()
        if other.GetAtomicNum() == 1
    )


def _substructures(mol: Chem.Mol, query: Chem.Mol) -> list[tuple[int, ...]]:
    return sorted(
        mol.GetSubstructMatches(query, uniquify=False, useChirality=False, maxMatches=MAX_MATCHES)
    )


def _bare(mol: Chem.Mol) -> Chem.Mol:
    """Elements and connections alone."""
    bare = Chem.RWMol()
    for atom in mol.GetAtoms():
        new = Chem.Atom(atom.GetAtomicNum())
        new.SetNoImplicit(True)
        bare.AddAtom(new)
    for bond in bonds_in(mol):
        bare.AddBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), Chem.BondType.SINGLE)
    out: Chem.Mol = bare.GetMol()
    out.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(out)
    return out


def _name(mol: Chem.Mol) -> str:
    heavy = [atom.GetSymbol() for atom in mol.GetAtoms() if atom.GetAtomicNum() != 1]
    title = mol.GetProp("_Name").strip() if mol.HasProp("_Name") else ""
    return f"{title or 'given'} ({counted(len(heavy), 'heavy atom')})"


def mol_core(mol: Any, given: Mapping[int, int] | None = None) -> TemplateCore:
    """A core from an RDKit Mol with one conformer in 3D.

    Raises
    ------
    InputTypeError
        If it is no Mol. InputError if it has no heavy atom, no 3D coordinates,
        several conformers, or NaN.
    """
    if not isinstance(mol, Chem.Mol):
        raise InputTypeError(
            f"fix must be a .sdf, .mol or .pdb file, an RDKit Mol with coordinates, (SMARTS, "
            f"coordinates), or {{atom index: (x, y, z)}}, "
            f"not {type(mol).__name__}"
        )
    if given is not None and not given:
        raise InputError(
            "the match in fix=(core, match) is empty; name at least one {core atom: atom}"
        )
    if given is None and not any(atom.GetAtomicNum() > 1 for atom in mol.GetAtoms()):
        raise InputError("the core has no heavy atom; give at least one with its coordinates")
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):  # attachment points of a scaffold
        numbers = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]
        raise InputError(
            f"the core has atoms without an element (attachment points '*') at {numbers}; "
            f"remove them from it"
        )
    frames = [conformer for conformer in mol.GetConformers() if conformer.Is3D()]
    if len(frames) != 1:
        raise InputError(
            f"the core has {counted(len(frames), 'conformer')} in 3D, and needs one; "
            "for several, call "
            f"once for each"
        )
    positions = frames[0].GetPositions()
    if not np.isfinite(positions).all():
        raise InputError(
            "the core's coordinates hold NaN or infinite numbers; leave out atoms whose "
            "place is not known"
        )
    if len(positions) > 1 and not np.ptp(positions, axis=0).any():
        raise InputError("all atoms of the core are in one place: it has no real coordinates")
    query = Chem.Mol(mol)
    query.RemoveAllConformers()
    return TemplateCore(query, positions, given=given)


def smarts_core(smarts: str, positions_A: NDArray[np.float64]) -> TemplateCore:
    """A core from SMARTS and one row of coordinates an atom of it.

    Raises `InputError` if they do not fit.
    """
    with rdBase.BlockLogs():
        query = Chem.MolFromSmarts(smarts)
    if query is None or not query.GetNumAtoms():
        raise InputError(
            f"cannot read the SMARTS {smarts!r} in fix; a plain SMILES of the core will do"
        )
    if query.GetNumAtoms() != len(positions_A):
        raise InputError(
            f"the SMARTS {smarts!r} in fix has {counted(query.GetNumAtoms(), 'atom')}, but "
            f"{counted(len(positions_A), 'row')} of coordinates"
        )
    return TemplateCore(query, positions_A, smarts=True)


def read_core(path: Path) -> TemplateCore:
    """A core from a .sdf, .mol or .pdb file with one entry; bond orders that do not
    make sense are left open.

    Raises
    ------
    InputError
        If the file is missing, broken, or holds several entries; UnknownNameError
        for another suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in READ:
        raise UnknownNameError("suffix of a core", suffix or str(path), READ)
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r} for the core")
    text = path.read_text(encoding="utf-8", errors="replace")
    entries = (
        [entry for entry in text.split("$$$$") if entry.strip()] if suffix == ".sdf" else [text]
    )
    if len(entries) != 1:
        raise InputError(
            f"{str(path)!r} holds {len(entries)} entries, and a core is one; write it to a "
            f"file of its own"
        )
    with rdBase.BlockLogs():
        block = entries[0]
        read = Chem.MolFromPDBBlock if suffix == ".pdb" else Chem.MolFromMolBlock
        mol = read(block, removeHs=False) or read(block, removeHs=False, sanitize=False)
    if mol is None or not mol.GetNumAtoms():
        raise InputError(
            f"cannot read a core from {str(path)!r}; expected one molecule with coordinates "
            f"in {suffix} format"
        )
    return mol_core(mol)
