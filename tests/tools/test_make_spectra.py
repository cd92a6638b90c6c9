"""Which molecules get a spectrum."""

from __future__ import annotations

import numpy as np

from equidrift.models.shared.split import held_out
from tests.tools.loading import tool


def chains() -> dict[str, np.ndarray]:
    """Alkanes and alcohols as QM9's file holds molecules."""
    smiles = [f"{'C' * n}{end}" for n in range(1, 9) for end in ("", "O", "N", "F", "C#N", "OC")]
    heavy = [sum(letter.isalpha() for letter in text) for text in smiles]
    return {
        "z": np.concatenate([[6] * n for n in heavy]),
        "offset": np.cumsum([0, *heavy]),
        "smiles": np.array(smiles),
    }


def test_held_out_molecules_come_first_and_both_are_counted() -> None:
    chosen_rows, data = tool("make_spectra").chosen_rows, chains()
    whole = chosen_rows(data, 9, 0)
    parts = [held_out(str(data["smiles"][row])) for row in whole]
    held = sum(part != "train" for part in parts)
    assert 0 < held < len(whole) and all(part == "train" for part in parts[held:])
    assert all(len(data["smiles"][row].replace("#", "")) <= 9 for row in whole)
    some = chosen_rows(data, 9, 0, 12, 2)
    assert len(some) == 12 and some[:2] == whole[:2] and some[2:] == whole[held : held + 10]
    assert len(chosen_rows(data, 3, 0)) < len(whole)
