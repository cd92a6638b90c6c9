#!/usr/bin/env python3
"""Write how many training molecules hold each element into the cards of the refiner and
the conformer generator.

    count_training_molecules.py [--data EQUIDRIFT_DATA] [CARD.json ...]

A card lists the sources of its training molecules (`training_sources`). A source whose
file was kept is counted exactly, from its atomic numbers (`counted` is true). Of the
18,000 further QM9 molecules and 653 further ZINC molecules no list was kept: their
numbers are estimates, the share of each element in the source, with its standard error.
`training_molecules_per_element` is the sum, and `elements` are those with at least
`MINIMUM` molecules, also if every estimate is two standard errors too high. So chlorine,
8 counted and 93 +- 9 estimated, is not claimed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, RDLogger

MINIMUM = 100  # molecules with an element, for a card to list it
KEPT = ("gfn2_conformers/qm9_train.npz", "gfn2_conformers/zinc_train.npz")
FURTHER_QM9, FURTHER_ZINC = 18_000, 653  # molecules whose list was not kept
ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17, 35, 53)
CARDS = (Path("models/zoo/refine.json"), Path("models/zoo/conformer.json"))
Source = dict[str, Any]


def kept_source(folder: Path, name: str) -> Source:
    """A file that was trained on, counted molecule by molecule."""
    with np.load(folder / name) as data:
        offset, z = data["atom_offset"], data["z"]
    molecules = [set(z[i:j].tolist()) for i, j in pairwise(offset.tolist())]
    counts = _counts(molecules)
    source = {"source": name, "counted": True, "molecules": len(molecules)}
    return source | {"per_element": {symbol(e): counts[e] for e in ELEMENTS}}


def estimated_source(name: str, smiles: Sequence[str], molecules: int) -> Source:
    """Molecules of a source whose list was not kept: the share of each element among
    its SMILES, with the standard error of so many random draws.
    """
    counts = _counts(
        {atom.GetAtomicNum() for atom in Chem.AddHs(mol).GetAtoms()}
        for mol in map(Chem.MolFromSmiles, smiles)
        if mol is not None
    )
    per_element, errors = {}, {}
    for element in ELEMENTS:
        share = counts[element] / len(smiles)
        per_element[symbol(element)] = counts[element] * molecules // len(smiles)
        errors[symbol(element)] = round(math.sqrt(molecules * share * (1 - share)), 1)
    source = {"source": name, "counted": False, "molecules": molecules}
    return source | {"per_element": per_element, "standard_error": errors}


def _counts(molecules: Iterable[set[int]]) -> Counter[int]:
    """How many molecules hold each element."""
    found: Counter[int] = Counter()
    for elements in molecules:
        found.update(elements)
    return found


def symbol(element: int) -> str:
    """The symbol of an atomic number."""
    return Chem.GetPeriodicTable().GetElementSymbol(element)


def sources(folder: Path) -> list[Source]:
    """All sources of the training molecules."""
    with np.load(folder / "qm9_130831.npz") as data:
        qm9 = [str(s) for s in data["smiles"][::10]]
    lines = (folder / "zinc_smiles/zinc_29k.smi").read_text(encoding="utf-8").splitlines()
    zinc = [line.split()[0] for line in lines[::5] if line.strip()]
    return [
        *(kept_source(folder, name) for name in KEPT),
        estimated_source("QM9, list not kept", qm9, FURTHER_QM9),
        estimated_source("ZINC molecules and fragments, list not kept", zinc, FURTHER_ZINC),
    ]


def surely(element: str, found: Sequence[Source]) -> float:
    """Training molecules that hold an element, less two standard errors of what was
    estimated.
    """
    count = sum(source["per_element"][element] for source in found)
    variance = sum(source.get("standard_error", {}).get(element, 0.0) ** 2 for source in found)
    return float(count - 2 * math.sqrt(variance))


def counted_card(card: dict[str, Any], found: Sequence[Source]) -> dict[str, Any]:
    """The card with its sources, their sum, and the elements that it may claim."""
    total = {
        name: sum(source["per_element"][name] for source in found) for name in map(symbol, ELEMENTS)
    }
    entries = {
        "elements": [name for name in total if surely(name, found) >= MINIMUM],
        "training_molecules_per_element": total,
        "training_sources": list(found),
    }
    out: dict[str, Any] = {}
    for key, value in card.items():
        if key == "elements":
            out |= entries
        elif key not in {*entries, "training_molecules_note"}:
            out[key] = value
    return out


def card_text(card: dict[str, Any]) -> str:
    """The card as JSON, one line each for its counts."""
    text = json.dumps(card, indent=1, ensure_ascii=False)
    for key in ("elements", "training_molecules_per_element"):
        long = f'"{key}": ' + json.dumps(card[key], indent=1).replace("\n", "\n ")
        text = text.replace(long, f'"{key}": {json.dumps(card[key])}')
    long = '"training_sources": ' + json.dumps(card["training_sources"], indent=1).replace(
        "\n", "\n "
    )
    lines = ",\n".join(f"  {json.dumps(source)}" for source in card["training_sources"])
    return text.replace(long, f'"training_sources": [\n{lines}\n ]') + "\n"


def main() -> None:
    """Count, and write the cards."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cards", nargs="*", type=Path, default=list(CARDS))
    default = Path(os.environ.get("EQUIDRIFT_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=default)
    args = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    found = sources(args.data)
    for path in args.cards:
        card = counted_card(json.loads(path.read_text(encoding="utf-8")), found)
        path.write_text(card_text(card), encoding="utf-8")
        print(path, *card["elements"], card["training_molecules_per_element"])


if __name__ == "__main__":
    main()
