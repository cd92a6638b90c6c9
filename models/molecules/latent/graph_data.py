"""Molecular graphs as the topological autoencoder reads and writes them: padded
heavy-atom arrays in, SELFIES tokens out.

Hydrogens are a count on their heavy atom and aromatic bonds a type of their own, so
that two drawings of one molecule (atom orders, Kekule structures) are one graph. A
molecule of hydrogens alone keeps them as atoms.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import selfies
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError, MoleculeError
from equidrift.models.molecules.data import QM9
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.graph_codes import ELEMENTS, GraphCodes, graph_codes
from equidrift.records import Molecule
from equidrift.registry import host_function

__all__ = [
    "ATOM_SIZES",
    "BOND_TYPES",
    "GraphBatch",
    "each",
    "graph_batch",
    "molecule_or_none",
    "plain_codes",
    "qm9_graphs",
    "selfies_of",
    "smiles_of",
    "tokenise",
    "vocabulary",
]

# element, charge (-3 .. 3), hydrogens (0 .. 4); 0 is padding
ATOM_SIZES = (len(ELEMENTS) + 1, 8, 6)
BOND_TYPES = 5  # none, single, double, triple, aromatic
PAD, END = 0, 1
_TYPE = {1.0: 1, 2.0: 2, 3.0: 3, 1.5: 4}


@dataclass
class GraphBatch(Batched):
    """Graphs padded to one size: atom codes (b, n, 3), bond types (b, n, n), codes of
    the canonical SELFIES (b, length); all uint8.
    """

    atom: Tensor
    bond: Tensor
    tokens: Tensor

    def rows(self, index: NDArray[np.int64]) -> GraphBatch:
        """Some of the graphs."""
        chosen = torch.from_numpy(index)
        return GraphBatch(self.atom[chosen], self.bond[chosen], self.tokens[chosen])


def graph_batch(molecules: Sequence[Molecule], tokens: Sequence[str], length: int) -> GraphBatch:
    """The graphs of molecules, aromaticity perceived anew so that a Kekule structure of
    any source will do.

    Tokens outside the vocabulary `tokens`, and those beyond `length`, are left blank:
    the rest of the latent still knows the graph.

    Raises
    ------
    MoleculeError
        for an element that the encoder does not know, or a graph that cannot be
        sanitised.
    """
    parts = [_arrays(molecule) for molecule in molecules]
    flat_smiles = host_function("rdkit", "flat_smiles")
    written = each(selfies_of, (flat_smiles(molecule) for molecule in molecules))
    codes = tokenise(written, tokens, length, strict=False)
    n = max(len(atom) for atom, _ in parts)
    atom, bond = np.zeros((len(parts), n, 3), np.uint8), np.zeros((len(parts), n, n), np.uint8)
    for k, (a, b) in enumerate(parts):
        atom[k, : len(a)], bond[k, : len(a), : len(a)] = a, b
    return GraphBatch(torch.from_numpy(atom), torch.from_numpy(bond), torch.from_numpy(codes))


def _arrays(molecule: Molecule) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(atom codes (n, 3), bond types (n, n)) of the heavy atoms."""
    if unknown := sorted(set(molecule.numbers.tolist()) - set(ELEMENTS)):
        raise MoleculeError(
            "the encoder does not know the elements with atomic numbers "
            f"{unknown}; it knows {', '.join(map(str, ELEMENTS))}"
        )
    from_mol, to_mol = (host_function("rdkit", name) for name in ("from_mol", "to_mol"))
    molecule = from_mol(to_mol(molecule))
    heavy = np.flatnonzero(molecule.numbers != 1)
    kept = heavy if len(heavy) else np.arange(molecule.n_atoms)
    place = np.full(molecule.n_atoms, -1)
    place[kept] = np.arange(len(kept))
    hydrogens = np.zeros(molecule.n_atoms, np.int64)
    bond = np.zeros((len(kept), len(kept)), np.uint8)
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        if place[i] >= 0 and place[j] >= 0:
            bond[place[i], place[j]] = bond[place[j], place[i]] = _TYPE.get(order, 1)
        else:
            hydrogens[i] += molecule.numbers[j] == 1
            hydrogens[j] += molecule.numbers[i] == 1
    element = [1 + ELEMENTS.index(z) for z in molecule.numbers[kept].tolist()]
    charge = 4 + np.clip(molecule.formal_charges[kept], -3, 3)
    return np.stack([element, charge, 1 + np.clip(hydrogens[kept], 0, 4)], axis=1).astype(
        np.uint8
    ), bond


def qm9_graphs(data: QM9, rows: NDArray[np.int64], codes: NDArray[np.uint8]) -> GraphBatch:
    """The graphs of some molecules of QM9, all at once, with their tokens: what
    `graph_batch` makes of them one by one.
    """
    of_atom = np.repeat(np.arange(len(data)), data.sizes)
    heavy = data.numbers != 1
    counts = np.bincount(of_atom[heavy], minlength=len(data))
    before = np.concatenate([[0], np.cumsum(counts)])
    place = np.cumsum(heavy) - 1 - before[of_atom]  # among the heavy atoms of its molecule
    of_bond = np.repeat(np.arange(len(data)), np.diff(data.bond_offset))
    i, j = (data.bonds[:, k].astype(np.int64) + data.offset[of_bond] for k in (0, 1))
    hydrogens = np.bincount(i[~heavy[j]], minlength=len(heavy)) + np.bincount(
        j[~heavy[i]], minlength=len(heavy)
    )
    element = np.zeros(256, np.uint8)
    element[list(ELEMENTS)] = np.arange(1, len(ELEMENTS) + 1)
    n = int(counts.max())
    atom, bond = np.zeros((len(data), n, 3), np.uint8), np.zeros((len(data), n, n), np.uint8)
    columns = [
        element[data.numbers],
        4 + np.clip(data.formal_charges, -3, 3),
        1 + np.clip(hydrogens, 0, 4),
    ]
    atom[of_atom[heavy], place[heavy]] = np.stack(columns, axis=1)[heavy]
    both = heavy[i] & heavy[j]
    kind = np.where(data.aromatic, 4, data.bond_orders)[both]
    for a, b in ((i, j), (j, i)):
        bond[of_bond[both], place[a[both]], place[b[both]]] = kind
    return GraphBatch(
        torch.from_numpy(atom[rows]), torch.from_numpy(bond[rows]), torch.from_numpy(codes)
    )


def selfies_of(smiles: str) -> list[str]:
    """The SELFIES tokens of a canonical SMILES.

    Raises `MoleculeError` for what SELFIES cannot hold.
    """
    try:
        return list(selfies.split_selfies(selfies.encoder(smiles)))
    except selfies.EncoderError as error:
        raise MoleculeError(
            f"SELFIES cannot hold {smiles!r}: {' '.join(str(error).split())}"
        ) from error


@functools.lru_cache(maxsize=65536)
def smiles_of(tokens: tuple[str, ...]) -> str:
    """The SMILES of SELFIES tokens; any sequence of tokens has one, empty where it has
    no atom.
    """
    return str(selfies.decoder("".join(tokens)))


def vocabulary(sequences: Iterable[Sequence[str]]) -> list[str]:
    """All tokens that occur, sorted."""
    return sorted({token for sequence in sequences for token in sequence})


def tokenise(
    sequences: Sequence[Sequence[str]], tokens: Sequence[str], length: int, *, strict: bool = True
) -> NDArray[np.uint8]:
    """Codes (n, length) of token sequences, ended by `END`, padded by `PAD`.

    Not `strict`: unknown tokens are `PAD`, and ends cut off.

    Raises
    ------
    InputError
        where a sequence is longer, or holds another token.
    """
    code = {token: k + 2 for k, token in enumerate(tokens)}
    out = np.zeros((len(sequences), length), np.uint8)
    for k, sequence in enumerate(sequences):
        if strict and len(sequence) + 1 > length:
            raise InputError(
                f"a molecule has {len(sequence)} SELFIES tokens, more "
                f"than the {length - 1} that the decoder writes"
            )
        if strict and (unknown := set(sequence) - set(code)):
            raise InputError(
                f"the SELFIES tokens {sorted(unknown)} are not in the decoder's vocabulary"
            )
        codes = [*(code.get(token, PAD) for token in sequence), END][:length]
        out[k, : len(codes)] = codes
    return out


def each(function: Callable[[str], list[str]], items: Iterable[str]) -> list[list[str]]:
    """`function` of each item, an empty list where it raises `MoleculeError`."""
    out = []
    for item in items:
        try:
            out.append(function(item))
        except MoleculeError:
            out.append([])
    return out


def plain_codes(molecule: Molecule) -> GraphCodes:
    """The graph codes of a molecule, aromaticity perceived anew and stereo left out."""
    from_mol, to_mol = (host_function("rdkit", name) for name in ("from_mol", "to_mol"))
    none = np.zeros((0, 5), np.int64)
    return graph_codes(from_mol(to_mol(molecule.replace(tetrahedral=none, double_bonds=none))))


@functools.lru_cache(maxsize=65536)
def molecule_or_none(smiles: str) -> Molecule | None:
    """The molecule of a SMILES, without its name; None if there is none."""
    try:
        return Molecule.from_smiles(smiles).replace(smiles="", name="")
    except MoleculeError:
        return None
