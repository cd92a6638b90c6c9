"""The atoms of a PDB file as its columns say, model by model: nothing dropped, nothing
guessed.

Why not a library: RDKit drops an atom whose only location is B, and takes CL1 for
carbon; gemmi reads a coordinate 0.0x0 as 0 and moves the atoms of a residue together;
both in silence.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from equidrift.errors import MoleculeError
from equidrift.records import SYMBOLS
from equidrift.residues import is_standard

log = logging.getLogger("equidrift.files.pdb")
SMILES_REMARK = "REMARK 950 EQUIDRIFT SMILES "
SMILES_WIDTH = 48  # characters of a SMILES per REMARK
_ELEMENTS = {symbol.upper(): symbol for symbol in SYMBOLS[1:]}
_COVALENT = ("CL", "BR", "SI", "SE")  # which programs write from column 14, as if one-lettered
_HYBRID_36 = 36


@dataclass(frozen=True)
class PdbAtom:
    """One ATOM or HETATM record.

    name as in columns 13-16, blanks included; isotope 2 for deuterium, else 0; charge
    None if the columns are blank; line counts from 1.
    """

    serial: str
    name: str
    location: str
    residue: str
    chain: str
    number: int
    insertion: str
    position_A: tuple[float, float, float]
    occupancy: float
    symbol: str
    isotope: int
    charge: int | None
    line: int

    @property
    def place(self) -> tuple[str, int, str]:
        """The residue it belongs to."""
        return self.chain, self.number, self.insertion

    @property
    def identity(self) -> tuple[str, str, int, str, tuple[str, int, str]]:
        """What the atom is, whatever its coordinates."""
        return self.symbol, self.name, self.isotope, self.residue, self.place

    def __str__(self) -> str:
        where = f"{self.residue} {self.number}{self.insertion} {self.chain}".strip()
        return f"{self.name.strip()} of {where} (line {self.line})"


@dataclass(frozen=True)
class PdbFile:
    """models: the atoms of each MODEL; bonds: (serial, serial, order) of CONECT; title;
    smiles.

    smiles is what equidrift wrote in a REMARK, or empty.
    """

    models: tuple[tuple[PdbAtom, ...], ...]
    bonds: tuple[tuple[str, str, int], ...]
    title: str
    smiles: str


def read_pdb(text: str) -> PdbFile:
    """The models of a PDB file.

    Of alternative locations, the one with the highest occupancy of its residue is
    taken, the first of equals; an atom whose locations do not include that one is kept.
    Which, is logged.

    Raises
    ------
    MoleculeError
        For a record that breaks the format, an element that cannot be told, or no
        atoms.
    """
    models: list[list[PdbAtom]] = []
    lines = text.splitlines()
    informative = _names_are_aligned(lines)
    conect: Counter[tuple[str, str]] = Counter()
    titles: list[str] = []
    smiles: list[str] = []
    fresh = True
    for number, line in enumerate(lines, 1):
        record = line[:6].strip()
        if record in ("ATOM", "HETATM"):
            if fresh:
                models.append([])
                fresh = False
            models[-1].append(_atom(line, number, informative))
        elif record in ("MODEL", "ENDMDL"):
            fresh = True
        elif record == "CONECT":
            _add_bonds(line, conect)
        elif record == "COMPND":
            titles.append(line[10:].strip())
        elif line.startswith(SMILES_REMARK):
            smiles.append(line[len(SMILES_REMARK) :].strip())
    if not models:
        raise MoleculeError("cannot read the PDB file: it has no readable ATOM or HETATM record")
    kept = tuple(_one_location(model) for model in models)
    title = titles[0] if titles else ""
    return PdbFile(kept, _orders(conect), title, "".join(smiles))


# Records -----------------------------------------------------------------------------------


def _atom(line: str, number: int, informative: bool) -> PdbAtom:
    name, residue = line[12:16].ljust(4), line[17:21].strip()
    symbol, isotope = _element(line, name, residue, number, informative)
    return PdbAtom(
        serial=line[6:11].strip(),
        name=name,
        location=line[16:17].strip(),
        residue=residue,
        chain=line[21:22].strip(),
        number=_residue_number(line[22:26], number),
        insertion=line[26:27].strip(),
        position_A=_position(line, number),
        occupancy=_occupancy(line[54:60]),
        symbol=symbol,
        isotope=isotope,
        charge=_charge(line[78:80]),
        line=number,
    )


def _position(line: str, number: int) -> tuple[float, float, float]:
    """x, y and z in A; a PDB file has them in columns 31 to 54."""
    fields = [line[start : start + 8] for start in (30, 38, 46)]
    try:
        x, y, z = (float(field) for field in fields)
    except ValueError as error:
        raise MoleculeError(
            f"line {number} has the coordinates {''.join(fields)!r} in columns 31 to 54; three "
            "numbers of 8 columns each are expected"
        ) from error
    if not all(map(math.isfinite, (x, y, z))):
        raise MoleculeError(f"line {number} has coordinates that are NaN or infinite")
    return x, y, z


def _residue_number(field: str, number: int) -> int:
    """A residue number; above 9999 in hybrid-36 (A000 is 10000)."""
    text = field.strip() or "1"
    try:
        if text.lstrip("-").isdecimal():
            return int(text)
        width = len(text)
        first = 10 * _HYBRID_36 ** (width - 1)
        found: int = int(text, _HYBRID_36) - first + 10**width
        return found
    except ValueError as error:
        raise MoleculeError(
            f"line {number} has the residue number {field!r}; a whole number is expected"
        ) from error


def _occupancy(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        return 1.0  # many programs leave it blank


def _charge(field: str) -> int | None:
    """The charge in columns 79-80: 1-, 2+, or as some write it +1."""
    text = field.strip()
    if not text:
        return None
    digits, sign = text.strip("+-"), text.strip("0123456789")
    if (digits and not digits.isdecimal()) or len(sign) > 1 or (not sign and digits != "0"):
        return None  # another program's own columns
    return int(digits or "1") * (-1 if sign == "-" else 1)


def _add_bonds(line: str, conect: Counter[tuple[str, str]]) -> None:
    fields = [line[start : start + 5].strip() for start in range(6, 31, 5)]
    atom, others = fields[0], [field for field in fields[1:] if field]
    for other in others:
        if other != atom:
            conect[atom, other] += 1


def _orders(conect: Counter[tuple[str, str]]) -> tuple[tuple[str, str, int], ...]:
    """Bonds with orders: how often an atom's records name the other."""
    orders: dict[tuple[str, str], int] = {}
    for (a, b), count in conect.items():
        pair = (b, a) if (b, a) in orders else (a, b)
        orders[pair] = max(orders.get(pair, 0), min(count, 3))
    return tuple((a, b, order) for (a, b), order in orders.items())


# Elements ----------------------------------------------------------------------------------


def _names_are_aligned(lines: Iterable[str]) -> bool:
    """Whether some atom's name leaves column 13 blank, so that its place tells the
    element.
    """
    return any(line[12:13] == " " for line in lines if line.startswith(("ATOM", "HETATM")))


def _element(line: str, name: str, residue: str, number: int, aligned: bool) -> tuple[str, int]:
    """(symbol, isotope) from columns 77-78; if these are blank, from a name that allows
    one.
    """
    text = line[76:78].strip().upper()
    if text == "D":
        return "H", 2
    if text in _ELEMENTS:
        return _ELEMENTS[text], 0
    if text:
        raise MoleculeError(
            f"line {number} has {text!r} in columns 77-78, which is no element; write its symbol"
        )
    found = _candidates(name, residue, aligned)
    if len(found) == 1:
        return _ELEMENTS[found[0]], 0
    words = " or ".join(_ELEMENTS[symbol] for symbol in found) or "no element"
    raise MoleculeError(
        f"line {number}: the atom {name.strip()!r} of {residue} has no element in columns 77-78, "
        f"and its name may be {words}; write the element there, or give the molecule as SDF"
    )


def _candidates(name: str, residue: str, aligned: bool) -> list[str]:
    """The elements, in capitals, that a name may stand for."""
    letters = name.strip().lstrip("0123456789").upper()
    run = ""
    for letter in letters:
        if not letter.isalpha():
            break
        run += letter
    one, two = run[:1], run[:2]
    if residue.upper() == letters and letters in _ELEMENTS:
        return [letters]  # an ion
    if is_standard(residue):
        return [one] if one in ("C", "N", "O", "S", "P", "H") else []
    singles = [one] if one in _ELEMENTS else []
    doubles = [two] if len(two) == 2 and two in _ELEMENTS else []
    if not doubles or not singles:
        return singles or doubles
    filled = len(name.strip()) == 4  # these fill all columns, whatever their element
    if name.startswith(" ") or name[:1].isdecimal() or filled:
        return [*singles, *doubles] if two in _COVALENT else singles
    if not aligned:
        return [*singles, *doubles]
    return doubles


# Alternative locations ---------------------------------------------------------------------


def _one_location(model: list[PdbAtom]) -> tuple[PdbAtom, ...]:
    """The atoms with one location each."""
    weights: dict[tuple[str, int, str], dict[str, float]] = {}
    for atom in model:
        if atom.location:
            weight = weights.setdefault(atom.place, {})
            weight[atom.location] = weight.get(atom.location, 0.0) + atom.occupancy
    if not weights:
        return tuple(model)
    chosen = {place: max(weight, key=weight.__getitem__) for place, weight in weights.items()}
    residues = {a.place: a.residue for a in model if a.location == chosen.get(a.place)}
    groups: dict[tuple[object, ...], list[PdbAtom]] = {}
    for atom in model:
        if atom.location:
            groups.setdefault((atom.place, atom.name), []).append(atom)
    dropped: set[int] = set()
    for atoms in groups.values():
        best = max(atoms, key=lambda a: (a.location == chosen[a.place], a.occupancy))
        dropped |= {atom.line for atom in atoms if atom is not best}
        if best.residue != residues[best.place]:  # another residue at the same place
            dropped.add(best.line)
    if dropped:
        locations = Counter(
            f"{location} in {place[0]}{place[1]}{place[2]}" for place, location in chosen.items()
        )
        log.warning(
            "alternative locations: %d of %d atoms left out, taken are %s",
            len(dropped),
            len(model),
            ", ".join(locations),
        )
    return tuple(replace(atom, location="") for atom in model if atom.line not in dropped)
