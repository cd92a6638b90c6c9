"""A fragment that a new molecule is to hold: its heavy atoms, the bonds between them
and their places, kept exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.molecules.joint.alphabet import QM9_TOKENS, Alphabet
from equidrift.models.molecules.joint.data import tokens_of
from equidrift.records import SYMBOLS, Molecule
from equidrift.text import counted


@dataclass(frozen=True, eq=False)
class Fragment:
    """Held tokens: bonds (n, n), positions_A (n, 3), the types each may have (n,
    kinds), and where its hydrogens sit.

    A hydrogen of the fragment may give way to a bond to something new, so that each
    heavy atom keeps its element and charge and carries as many hydrogens as the
    fragment has there or fewer; those that stay keep their places. The first `fixed`
    (n,) hydrogens of each must stay.
    """

    bonds: NDArray[np.int64]
    positions_A: NDArray[np.float64]
    allowed: NDArray[np.bool_]
    hydrogens_A: tuple[NDArray[np.float64], ...]
    fixed: NDArray[np.int64]

    @property
    def size(self) -> int:
        """The number of heavy atoms that are held."""
        return len(self.bonds)

    @classmethod
    def of(
        cls,
        molecule: Molecule,
        positions_A: NDArray[np.float64],
        alphabet: Alphabet = QM9_TOKENS,
        sites: NDArray[np.int64] | None = None,
    ) -> Fragment:
        """The fragment (molecule, positions_A (n_atoms, 3)), Kekulised, with all
        hydrogens.

        With `sites` (k,), some of these hydrogens, all others stay, and each heavy atom
        that carries one of them is bonded to something new.

        Raises
        ------
        InputError
            for positions that do not fit, atoms, bonds or charges that the model does
            not know, or no room left to grow.
        """
        x = np.asarray(positions_A, np.float64)
        _check(molecule, x, alphabet)
        is_site = np.isin(np.arange(molecule.n_atoms), [] if sites is None else sites)
        stays = ~is_site[molecule.bonds].any(1)
        made = tokens_of(
            molecule.numbers,
            molecule.formal_charges,
            molecule.bonds[stays],
            molecule.bond_orders[stays],
            alphabet,
        )
        if made is None:
            raise InputError(
                "the model cannot hold the fragment: an atom has a "
                f"charge or a number of hydrogens that no atom of {alphabet.described} has"
            )
        types, bonds, rows = made
        kinds, table = np.array(alphabet.types)[types], np.array(alphabet.types)
        loose = molecule.numbers == 1 if sites is None else is_site
        of = [_hydrogens(molecule, row, loose) for row in rows.tolist()]
        gives = np.array([int(loose[k].sum()) for k in of])  # hydrogens that may give way
        if not gives.any():
            raise InputError(
                "the model cannot hold the fragment: it has no "
                "hydrogen that a bond to something new could replace"
            )
        fixed = np.zeros_like(gives) if sites is None else kinds[:, 2]
        most = kinds[:, 2] if sites is None else fixed + np.maximum(gives - 1, 0)
        fits = (table[:, 2] >= fixed[:, None]) & (table[:, 2] <= most[:, None])
        allowed = (table[:, :2] == kinds[:, None, :2]).all(-1) & fits
        return cls(bonds, x[rows], allowed, tuple(x[k].reshape(-1, 3) for k in of), fixed)


def _hydrogens(molecule: Molecule, atom: int, loose: NDArray[np.bool_]) -> list[int]:
    """The hydrogens of an atom, those that must stay first."""
    around = molecule.bonds[(molecule.bonds == atom).any(1)]
    near = around[around != atom].tolist()
    return sorted((j for j in near if molecule.numbers[j] == 1), key=lambda j: bool(loose[j]))


def _check(molecule: Molecule, x: NDArray[np.float64], alphabet: Alphabet) -> None:
    """Raise `InputError` for a fragment, x (n_atoms, 3) in A, that tokens cannot hold."""
    if x.shape != (molecule.n_atoms, 3) or not np.isfinite(x).all():
        raise InputError(
            "the fragment's positions_A must be finite and of "
            f"shape ({molecule.n_atoms}, 3), not {x.shape}"
        )
    known = [1, *alphabet.elements]
    if strange := sorted({SYMBOLS[z] for z in molecule.numbers.tolist() if z not in known}):
        names = ", ".join(SYMBOLS[z] for z in known)
        raise InputError(
            "the model cannot hold the fragment: it has "
            f"{', '.join(strange)}, and was trained on {names}"
        )
    heavy = int((molecule.numbers != 1).sum())
    if not heavy:
        raise InputError("the model cannot hold the fragment: it has no heavy atom")
    most = alphabet.most_heavy
    if heavy >= most:
        raise InputError(
            f"the model cannot hold the fragment: it has {counted(heavy, 'heavy atom')} "
            f"and the model makes molecules of {most} at most, "
            f"so that nothing could grow; give a fragment of {most - 1} or fewer"
        )
    if not np.isin(molecule.bond_orders, (1.0, 2.0, 3.0)).all():
        raise InputError(
            "the model cannot hold the fragment: bond orders must be "
            "1, 2 or 3; Kekulise it (RDKit: Chem.Kekulize)"
        )
