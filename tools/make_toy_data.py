#!/usr/bin/env python3
"""Make examples/data/toy.sdf: ETKDG conformers of small molecules, relaxed by MMFF94.

    python tools/make_toy_data.py

`examples/train_toy.yaml` trains on it.
"""

from __future__ import annotations

from pathlib import Path

from equidrift import sample
from equidrift.adapters.rdkit.io import write_sdf

SMILES = """CCO CC=O CCN CC(=O)O COC CC(C)=O OCCO NCC(=O)O CC(N)=O CCC=C c1ccoc1 CC#N"""


def main() -> None:
    """Write the file anew."""
    path = Path(__file__).parents[1] / "examples" / "data" / "toy.sdf"
    for k, smiles in enumerate(SMILES.split()):
        write_sdf(sample(smiles, 2, model="etkdg-mmff", seed=k), path, append=k > 0)


if __name__ == "__main__":
    main()
