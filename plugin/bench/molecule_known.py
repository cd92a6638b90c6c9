"""Molecules of QM9 as the benchmark of new molecules compares with them."""

from __future__ import annotations

from collections.abc import Iterable

from equidrift.adapters.rdkit.identity import without_stereo
from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.adapters.rdkit.validity import perceived
from equidrift.checks.molecule import Draw, Raw
from equidrift.models.molecules.data import QM9


class Known:
    """Canonical SMILES of the training molecules, stereo from their geometries, made
    for those that are asked for alone.
    """

    def __init__(self, data: QM9) -> None:
        self.data = data
        self.rows: dict[str, list[int]] = {}
        for k in data.rows("train").tolist():
            self.rows.setdefault(str(data.smiles[k]), []).append(k)

    def among(self, draws: Iterable[Draw]) -> set[str]:
        """Canonical SMILES of the training molecules that share their constitution with
        one of these.
        """
        graphs = {
            flat_smiles(without_stereo(draw.molecule))  # RDKit keeps a hydrogen that a tag needs
            for draw in draws
            if draw.molecule is not None
        }
        rows = [k for graph in graphs for k in self.rows.get(graph, ())]
        return {perceived(self.data.molecule(k), self.data.positions(k)).smiles for k in rows}


def molecule_of(data: QM9, k: int) -> Raw:
    """Molecule k of QM9 with the stereo of its geometry."""
    molecule, x = data.molecule(k), data.positions(k)
    return perceived(molecule, x), x
