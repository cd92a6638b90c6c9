"""Drug-size molecules as heavy tokens: one row per conformer, in flat arrays.

The arrays are made by `tools/make_drug_molecules.py` of the SMILES of ZINC, in neutral
form, with MMFF94 conformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.molecules.data import SPLITS, Packed
from equidrift.models.molecules.joint.alphabet import DRUG_TOKENS
from equidrift.models.molecules.joint.data import Heavy

FILE = "drug_molecules.npz"
TOOL = "tools/make_drug_molecules.py"


@dataclass(frozen=True, eq=False)
class DrugSet(Packed):
    """Heavy atoms of molecules, and conformers of them.

    The positions are those of the conformers, one after the other; molecule k has the
    conformers first[k]:first[k+1]. The smiles are of the neutral molecule, with stereo.
    kinds int8 (atoms, 3): element, formal charge, hydrogens carried. props float32 (n,
    5) in the order of the alphabet's properties. energies_kcal float32 (conformers,),
    above the molecule's lowest.
    """

    kinds: NDArray[np.int8]
    props: NDArray[np.float32]
    first: NDArray[np.int64]
    energies_kcal: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path | str) -> DrugSet:
        """Read a file.

        Raises `InputError` where there is none, or it is of another kind.
        """
        if not Path(path).is_file():
            raise InputError(
                f"there is no {path}; make it from a file of SMILES with `python {TOOL} {path}`"
            )
        with np.load(path, allow_pickle=False) as data:
            if missing := sorted(set(cls.__dataclass_fields__) - set(data.files)):
                raise InputError(
                    f"{path} is no file of drug-size molecules: it lacks {', '.join(missing)}; "
                    f"make one with {TOOL}"
                )
            return cls(**{name: data[name] for name in cls.__dataclass_fields__})


class Conformers:
    """The conformers of one part of a set, as training data: row r is a conformer.

    Parameters
    ----------
    drugs : DrugSet
    part : str
        Of `SPLITS`.
    """

    def __init__(self, drugs: DrugSet, part: str):
        self.drugs = drugs
        sizes, counts = drugs.sizes, np.diff(drugs.first)
        known = [tuple(kind) for kind in drugs.kinds.tolist()]
        codes = np.array([DRUG_TOKENS.type_of.get(kind, -1) for kind in known], np.int64)
        whole = np.minimum.reduceat(codes, drugs.offset[:-1]) >= 0
        taken = (drugs.split == SPLITS.index(part)) & (sizes <= DRUG_TOKENS.most_heavy) & whole
        self.types = codes
        self.molecule = np.repeat(np.flatnonzero(taken), counts[taken])
        within = np.concatenate([np.arange(c) for c in counts[taken]] or [np.zeros(0, int)])
        starts = np.concatenate([[0], np.cumsum(sizes * counts)])[self.molecule]
        self.sizes = sizes[self.molecule]  # tokens of each row
        self.start = starts + within.astype(np.int64) * self.sizes

    def __len__(self) -> int:
        return len(self.molecule)

    @property
    def conditional(self) -> Tensor:
        """Whose properties may be learnt from: all."""
        return torch.ones(len(self), dtype=torch.bool, device="cpu")

    def take(self, rows: NDArray[np.int64]) -> Heavy:
        """The conformers of those rows, centred, padded to the most tokens that one of
        them has.
        """
        b, n = len(rows), int(self.sizes[rows].max())
        types, bonds = np.zeros((b, n), np.int64), np.zeros((b, n, n), np.int64)
        x, mask = np.zeros((b, n, 3), np.float32), np.zeros((b, n), bool)
        drugs, molecules = self.drugs, self.molecule[rows]
        for k, (m, start) in enumerate(zip(molecules, self.start[rows], strict=True)):
            size = int(drugs.offset[m + 1] - drugs.offset[m])
            types[k, :size] = self.types[drugs.offset[m] : drugs.offset[m + 1]]
            edges = slice(drugs.bond_offset[m], drugs.bond_offset[m + 1])
            i, j = drugs.bonds[edges].T
            bonds[k, i, j] = bonds[k, j, i] = drugs.bond_orders[edges]
            place = drugs.positions_A[start : start + size]
            x[k, :size] = place - place.mean(0)
            mask[k, :size] = True
        parts = (types, bonds, x, mask, drugs.props[molecules], np.ones(b, bool))
        return Heavy(*(torch.from_numpy(part) for part in parts))

    def first_rows(self) -> NDArray[np.int64]:
        """A row of each molecule: that of its lowest conformer."""
        return np.unique(self.molecule, return_index=True)[1]
