#!/usr/bin/env python3
"""Write how many training molecules hold each element into the cards of the refiner and
the conformer generator.

The files that both were trained on are kept in part: `gfn2_conformers/qm9_train.npz`
and `zinc_train.npz`, which are counted. Of the rest (18,000 further QM9 molecules, and
653 of 700 ZINC molecules and fragments) only the source is known: their share is that
of the source, rounded down. A card's `elements` are those with at least MINIMUM
molecules.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
from rdkit import Chem, RDLogger

RDLogger.DisableLog("rdApp.*")
MINIMUM = 100
FURTHER_QM9, FURTHER_ZINC = 18_000, 653
DATA = Path(os.environ.get("EQUIDRIFT_DATA", "../shared/data"))
NOTE = (
    "molecules with each element: counted in gfn2_conformers/qm9_train.npz and zinc_train.npz; of the further 18,000 QM9 "
    "and 653 ZINC molecules, whose list was not kept, the share of their source"
)


def counted(smiles: list[str]) -> Counter[int]:
    """How many of some SMILES hold each element."""
    found: Counter[int] = Counter()
    for text in smiles:
        mol = Chem.MolFromSmiles(text)
        if mol is not None:
            found.update({atom.GetAtomicNum() for atom in Chem.AddHs(mol).GetAtoms()})
    return found


def main() -> None:
    """Count, and write the cards."""
    total: Counter[int] = Counter()
    for name in ("qm9_train", "zinc_train"):
        total += counted([str(s) for s in np.load(DATA / f"gfn2_conformers/{name}.npz")["smiles"]])
    qm9 = [str(s) for s in np.load(DATA / "qm9_130831.npz")["smiles"][::10]]
    zinc = [
        line.split()[0]
        for line in (DATA / "zinc_smiles/zinc_29k.smi").read_text().splitlines()[::5]
        if line.strip()
    ]
    for smiles, number in ((qm9, FURTHER_QM9), (zinc, FURTHER_ZINC)):
        for element, count in counted(smiles).items():
            total[element] += count * number // len(smiles)
    table = {Chem.GetPeriodicTable().GetElementSymbol(z): total[z] for z in sorted(total)}
    for name in ("refine", "conformer"):
        path = Path(f"models/zoo/{name}.json")
        text, card = path.read_text(), json.loads(path.read_text())
        listed = [symbol for symbol, count in table.items() if count >= MINIMUM]
        old = f'"elements": {json.dumps(card["elements"])}'
        assert old in text, "the card lists its elements on one line"
        new = f'"elements": {json.dumps(listed)}'
        if "training_molecules_per_element" not in card:
            new += f',\n "training_molecules_per_element": {json.dumps(table)},\n "training_molecules_note": {json.dumps(NOTE)}'
        path.write_text(text.replace(old, new))
        print(name, listed, table)


if __name__ == "__main__":
    main()
