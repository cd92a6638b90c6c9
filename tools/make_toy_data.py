"""Makes examples/data/toy.sdf: ETKDG conformers of small molecules, relaxed by MMFF94."""

from pathlib import Path

from equidrift import sample
from equidrift.adapters.rdkit.io import write_sdf

SMILES = "CCO CC=O CCN CC(=O)O COC CC(C)=O OCCO NCC(=O)O CC(N)=O CCC=C c1ccoc1 CC#N".split()

if __name__ == "__main__":
    path = Path(__file__).parents[1] / "examples" / "data" / "toy.sdf"
    for k, smiles in enumerate(SMILES):
        write_sdf(sample(smiles, 2, model="etkdg-mmff", seed=k), path, append=k > 0)
