"""Broken input, made from good input by a seed: SMILES and files of every format that
is read.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.records import Ensemble, Molecule

SMILES = (
    "CCO",
    "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O",
    r"C[C@H](F)/C=C\Br",
    "[NH3+][C@@H](CO)C(=O)[O-]",
    "C1CC1c1ccc2[nH]ccc2c1",
    "CS(=O)(=O)Nc1nccs1",
    "OC1C2C3OC2C[NH+]13",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "N#CC#CC",
    "[2H]C([2H])([2H])O[13CH3]",
    "CC[P@](=O)(O)OC",
    "C1CN2CCC1CC2",
    "FC(F)=C=C(F)Cl",
    "O=C(Cn1cnnn1)Nc1cc2c(Cl)c(C(=O)N2C2CC2)cc1",
)
# what earlier runs fell over: RDKit's own checks, lone surrogates, hangs and aborts of
# its embedding
CORPUS = (
    "[#999]1CC1",
    "C1CC[#999]1",
    "C\ud800O",
    "CC\udfff",
    "C19=CC2C3C94C1C2N34",
    "O=C(Cn1cnnn1)Nc1cc8c(Cl)c(C(=O)N8C2CC2)c1",
    "OC1C2C3OC2C[H+]13O",
    "[999999999999CH4]",
    "[C:9999999999]",
    "[C+999]",
    "C" * 3000,
    "(" * 500,
    "[" * 500,
    "C%99CC%99",
    "CC |",
    "CC |$;$| x",
    "\x00",
    "",
    "*",
    "[U]",
    "[Og]",
    "C~C",
    "[H+]",
    "CC.CC",
    "C1" * 60,
    "C:O",
    "FC(F)=C=C(F):Cl",
    "CC[P@](=O)(I:O)OC",
)
PIECES = (
    *"CNOSPFIBH[]()=#/\\@+-.%0123456789:*~|$ ",
    "[#999]",
    "[H+]",
    "[2H]",
    "\ud800",
    "\x00",
    "é",
    "Cl",
    "[nH]",
    "%99",
    "@@",
    "@TH1",
)
NUMBERS = (
    *(b"999999999", b"-1", b"0", b"nan", b"1e999", b"2147483648", b"\x00", b"\xff\xfe"),
    *(b"$$$$\n", b"M  END\n", b">  <a>\n", b"{" * 2000),
)


def mutated_smiles(seed: int) -> str:
    """A SMILES with one to four changes; every tenth is of the corpus, with at most
    one.
    """
    rng = random.Random(seed)
    if seed % 10 == 0:
        text, changes = CORPUS[seed // 10 % len(CORPUS)], rng.randint(0, 1)
    else:
        text, changes = rng.choice(SMILES), rng.randint(1, 4)
    for _ in range(changes):
        k, kind = rng.randint(0, len(text)), rng.random()
        if kind < 0.35:
            text = text[:k] + rng.choice(PIECES) + text[k:]
        elif kind < 0.6:
            text = text[:k] + text[k + rng.randint(1, 3) :]
        elif kind < 0.85:
            text = text[:k] + rng.choice(PIECES) + text[k + 1 :]
        else:
            other = rng.choice(SMILES)
            text = text[:k] + other[rng.randint(0, len(other)) :]
    return text


def mutated_bytes(raw: bytes, seed: int) -> bytes:
    """A file's bytes with one to four changes: bits, numbers, cuts, repeats."""
    rng = random.Random(seed)
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        if not data:
            break
        k, kind = rng.randrange(len(data)), rng.random()
        if kind < 0.3:
            data[k] = rng.randrange(256)
        elif kind < 0.5:
            data[k : k + rng.randint(1, 8)] = rng.choice(NUMBERS)
        elif kind < 0.65:
            del data[k : k + rng.randint(1, 64)]
        elif kind < 0.75:
            del data[k:]
        elif kind < 0.9:
            data[k : k + 4] = rng.choice(
                (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x01")
            )
        else:
            piece = data[k : k + rng.randint(1, 200)]
            data[k:k] = piece
    return bytes(data)


def good_files(folder: Path) -> dict[str, bytes]:
    """Suffix -> bytes of a sound file: of our own writers, and of hosts for those that
    only others write.
    """
    import MDAnalysis

    molecule = Molecule.from_smiles(r"[2H]C[C@H](F)/C=C\C(=O)N", name="a name").replace(
        properties={"IC50": "7.2"}
    )
    seeds = np.arange(3)
    ensemble = Ensemble(
        molecule,
        ETKDG().sample(molecule, seeds),
        seeds=seeds,
        scores={"a": seeds / 3.0},
        provenance={"model": "etkdg"},
    )
    files = {}
    for suffix in (".sdf", ".pdb", ".xyz", ".extxyz", ".traj", ".npz", ".xtc", ".dcd", ".h5md"):
        ensemble.save(folder / f"good{suffix}")
        files[suffix] = (folder / f"good{suffix}").read_bytes()
    ensemble[0].save(folder / "good.mol")
    files[".mol"] = (folder / "good.mol").read_bytes()
    universe = MDAnalysis.Universe(ensemble)
    for suffix in (".trr", ".nc"):
        universe.atoms.write(str(folder / f"good{suffix}"), frames="all")
        files[suffix] = (folder / f"good{suffix}").read_bytes()
    files[".smi"] = "".join(f"{smiles} name {k}\n" for k, smiles in enumerate(SMILES)).encode()
    return files
