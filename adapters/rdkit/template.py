"""Bond orders and charges of a geometry by a SMILES: the bonds are the file's, their
orders the SMILES', and if the two are of different molecules the atoms are named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdFMCS

from equidrift.adapters.rdkit.building import add_bond, sanitised
from equidrift.adapters.rdkit.identity import MAX_MATCHES, stereo_differences, with_axes
from equidrift.adapters.rdkit.molecule import from_smiles
from equidrift.bond_orders import Skeleton
from equidrift.errors import MoleculeError
from equidrift.records import SYMBOLS, Molecule
from equidrift.text import counted

MCS_TIMEOUT_S = 2  # to find which atoms differ; then the largest part found so far tells
_SHOWN = 6  # atoms in a message


@dataclass(frozen=True)
class _Graph:
    """Atoms that are no hydrogens on another atom, and how many of these each has.

    atoms (k,) are places in the whole, hydrogens (k,) counts, bonds pairs of rows.
    """

    numbers: NDArray[np.int64]
    atoms: list[int]
    hydrogens: list[int]
    bonds: list[tuple[int, int]]

    @classmethod
    def of(cls, numbers: NDArray[np.int64], bonds: NDArray[np.int64]) -> _Graph:
        around: dict[int, list[int]] = {k: [] for k in range(len(numbers))}
        for i, j in bonds.tolist():
            around[i].append(j)
            around[j].append(i)
        carried = {
            k
            for k, others in around.items()
            if numbers[k] == 1 and len(others) == 1 and numbers[others[0]] != 1
        }
        atoms = [k for k in around if k not in carried]
        row = {k: place for place, k in enumerate(atoms)}
        pairs = [(row[i], row[j]) for i, j in bonds.tolist() if i in row and j in row]
        counts = [sum(other in carried for other in around[k]) for k in atoms]
        return cls(numbers[atoms], atoms, counts, pairs)

    def mol(self, labels: Sequence[int] | None = None) -> Chem.Mol:
        """Elements and bonds alone; labels become isotopes, which must match."""
        rw = Chem.RWMol()
        for k, number in enumerate(self.numbers.tolist()):
            atom = Chem.Atom(number)
            atom.SetNoImplicit(True)
            if labels is not None:
                atom.SetIsotope(labels[k])
            rw.AddAtom(atom)
        for i, j in self.bonds:
            rw.AddBond(i, j, Chem.BondType.SINGLE)
        mol = rw.GetMol()
        Chem.FastFindRings(mol)
        return mol


def template_mol(
    smiles: str, skeleton: Skeleton, names: Sequence[str] | None = None, *, complete: bool = False
) -> Chem.Mol:
    """The atoms of a geometry, in their order, with the bond orders and charges of a
    SMILES.

    Parameters
    ----------
    smiles : str
        The molecule, all its parts included.
    skeleton : Skeleton
        Elements, bonds by distance or from the file, and positions in A.
    names : sequence of str, optional
        What messages call the atoms; index and element by default.
    complete : bool
        Whether hydrogens may be missing, all of them or all on carbon; the Mol then has
        them as implicit ones.

    Returns
    -------
    Chem.Mol
        Sanitised, without stereo and conformer.

    Raises
    ------
    MoleculeError
        If the SMILES cannot be read, or is of another molecule; the message names the
        atoms that differ.
    """
    template = from_smiles(smiles)
    given = _Graph.of(template.numbers, template.bonds)
    seen = _Graph.of(skeleton.numbers, skeleton.bonds)
    if names is None:
        names = [f"{k} ({SYMBOLS[z]})" for k, z in enumerate(skeleton.numbers.tolist())]
    checked = _checked(seen, given, complete)
    match = _match(seen, given, checked, template, skeleton)
    if match is None:
        problem = _difference(seen, given, checked, names)
        raise MoleculeError(
            f"smiles={smiles!r} is not the molecule of this geometry: {problem}; give the SMILES "
            "of all that is there, with its charges, or mend the file"
        )
    return _laid(template, given, seen, skeleton, match)


def check_template_stereo(
    molecule: Molecule, smiles: str, positions_A: NDArray[np.float64]
) -> Molecule:
    """The molecule, with the SMILES as its own; refused if the geometry has not the
    stereo that the SMILES says.

    Parameters
    ----------
    molecule : Molecule
        As read from the geometry, every hydrogen explicit.
    smiles : str
        The template.
    positions_A : ndarray
        (k, n_atoms, 3) conformers in A.
    """
    different = stereo_differences(molecule, smiles, positions_A)
    if different:
        raise MoleculeError(
            f"smiles={smiles!r} has another stereo than this geometry at "
            f"{', '.join(different[:_SHOWN])}; correct the SMILES, or leave its stereo out, and "
            "the geometry tells it"
        )
    return with_axes(molecule, smiles, positions_A).replace(smiles=smiles)


def _checked(seen: _Graph, given: _Graph, complete: bool) -> list[bool] | None:
    """Which elements' hydrogens must be there: None for those of every atom, else a flag
    for carbon and for the others.
    """
    if not complete or sum(seen.hydrogens) == sum(given.hydrogens):
        return None
    if not sum(seen.hydrogens):
        return [False, False]
    on_carbon = zip(seen.numbers.tolist(), seen.hydrogens, strict=True)
    return None if any(z == 6 and n for z, n in on_carbon) else [False, True]


def _labels(graph: _Graph, checked: list[bool] | None) -> list[int]:
    """1 + hydrogens of each atom, 0 if they are not looked at."""
    return [
        n + 1 if checked is None or checked[z != 6] else 0
        for z, n in zip(graph.numbers.tolist(), graph.hydrogens, strict=True)
    ]


def _match(
    seen: _Graph,
    given: _Graph,
    checked: list[bool] | None,
    template: Molecule,
    skeleton: Skeleton,
) -> tuple[int, ...] | None:
    """The row in `seen` of each row in `given`; of several the one that puts high bond
    orders on short bonds.
    """
    if len(seen.atoms) != len(given.atoms) or len(seen.bonds) != len(given.bonds):
        return None
    target, query = (graph.mol(_labels(graph, checked)) for graph in (seen, given))
    matches = target.GetSubstructMatches(query, uniquify=False, maxMatches=MAX_MATCHES)
    if not matches:
        return None
    if skeleton.positions_A is None or len(matches) == 1:
        return tuple(matches[0])
    order = {
        frozenset(pair): bond_order
        for pair, bond_order in zip(
            template.bonds.tolist(), template.bond_orders.tolist(), strict=True
        )
    }
    orders = np.array([order[frozenset((given.atoms[i], given.atoms[j]))] for i, j in given.bonds])
    rows = np.array(given.bonds, np.int64).reshape(-1, 2)
    x = skeleton.positions_A[seen.atoms]
    places = np.array(matches)[:, rows]  # (matches, bonds, 2)
    lengths_A = np.linalg.norm(x[places[..., 0]] - x[places[..., 1]], axis=-1)
    return tuple(matches[int(np.argmin(lengths_A @ orders))])


def _laid(
    template: Molecule,
    given: _Graph,
    seen: _Graph,
    skeleton: Skeleton,
    match: tuple[int, ...],
) -> Chem.Mol:
    """The atoms of the geometry with what the template says of them."""
    place = {k: seen.atoms[match[row]] for row, k in enumerate(given.atoms)}
    rw = Chem.RWMol()
    for number in skeleton.numbers.tolist():
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        rw.AddAtom(atom)
    for row, k in enumerate(given.atoms):
        atom = rw.GetAtomWithIdx(place[k])
        atom.SetFormalCharge(int(template.formal_charges[k]))
        atom.SetIsotope(int(template.isotopes[k]))
        atom.SetNumExplicitHs(given.hydrogens[row] - seen.hydrogens[match[row]])
    for (i, j), order in zip(template.bonds.tolist(), template.bond_orders.tolist(), strict=True):
        if i in place and j in place:
            add_bond(rw, place[i], place[j], order)
    kept = set(seen.atoms)
    for i, j in skeleton.bonds.tolist():
        if i not in kept or j not in kept:
            rw.AddBond(i, j, Chem.BondType.SINGLE)
    return sanitised(rw, "the bonds of the SMILES do not fit")


# What differs ------------------------------------------------------------------------------


def _difference(
    seen: _Graph, given: _Graph, checked: list[bool] | None, names: Sequence[str]
) -> str:
    """In what the two graphs differ, atom by atom."""
    target, query = seen.mol(), given.mol()
    if len(seen.atoms) == len(given.atoms) and len(seen.bonds) == len(given.bonds):
        matches = target.GetSubstructMatches(query, uniquify=False, maxMatches=MAX_MATCHES)
        if matches:
            return _hydrogens(seen, given, checked, matches, names)
    found = rdFMCS.FindMCS(
        [target, query], timeout=MCS_TIMEOUT_S, bondCompare=rdFMCS.BondCompare.CompareAny
    )
    common = Chem.MolFromSmarts(found.smartsString or "*")
    mine, theirs = (mol.GetSubstructMatch(common) for mol in (target, query))
    extra = [names[seen.atoms[k]] for k in range(len(seen.atoms)) if k not in mine]
    lacking = [
        f"{given.atoms[k]} ({SYMBOLS[given.numbers[k]]})"
        for k in range(len(given.atoms))
        if k not in theirs
    ]
    parts = []
    if extra:
        parts.append(f"it lacks what is atom {_listed(extra)} of the geometry")
    if lacking:
        parts.append(f"its atom {_listed(lacking)} is not in the geometry")
    if not parts:
        parts.append(_bonds(seen, given, mine, theirs, names))
    counts = [Counter(SYMBOLS[z] for z in graph.numbers.tolist()) for graph in (given, seen)]
    formulas = ["".join(f"{s}{n}" for s, n in sorted(count.items())) for count in counts]
    if formulas[0] != formulas[1]:
        parts.append(f"{formulas[0]} without hydrogens, the geometry has {formulas[1]}")
    return "; ".join(parts)


def _hydrogens(
    seen: _Graph,
    given: _Graph,
    checked: list[bool] | None,
    matches: Sequence[tuple[int, ...]],
    names: Sequence[str],
) -> str:
    """The atoms whose hydrogens differ, by the match in which fewest do."""
    mine, theirs = np.array(_labels(seen, checked)), np.array(_labels(given, checked))
    places = np.array(matches)
    best = places[int(np.argmin((mine[places] != theirs).sum(axis=1)))]
    return "; ".join(
        f"atom {names[seen.atoms[row]]} has {counted(seen.hydrogens[row], 'hydrogen')} "
        "in the geometry, "
        f"{given.hydrogens[k]} in the SMILES"
        for k, row in enumerate(best.tolist())
        if mine[row] != theirs[k]
    )


def _bonds(
    seen: _Graph,
    given: _Graph,
    mine: tuple[int, ...],
    theirs: tuple[int, ...],
    names: Sequence[str],
) -> str:
    """The bonds that one of two graphs with the same atoms has alone."""
    place = dict(zip(theirs, mine, strict=True))
    here = {frozenset(pair) for pair in seen.bonds}
    there = {frozenset((place[i], place[j])) for i, j in given.bonds}
    shown = {
        "only the geometry has the bond": here - there,
        "only the SMILES has the bond": there - here,
    }
    return "; ".join(
        f"{what} {_listed(['-'.join(names[seen.atoms[k]] for k in sorted(p)) for p in pairs])}"
        for what, pairs in shown.items()
        if pairs
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
