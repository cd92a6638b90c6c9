"""`equidrift bench align`: molecules laid onto molecules, beside Open3DAlign of RDKit, and
clouds of points onto the surfaces they were taken from.

Rows `align-copies/...`: a molecule and the same shape with noise of .1 A on every atom.
`align-conformers/...`: two conformers of one molecule. `align-analogues/...`: two drugs
with a common core. All are turned and shifted at random. How well the shared heavy atoms
lie on each other tells what was found: `excess_A` is their RMSD as laid over the best
that any rotation and shift gives them (the least over the symmetries of the core, both
times), and `found` the percent of pairs with less than .5 A of it. For shapes that differ
the best of all atoms need not be that of the core, so 100 % is not to be had there.

Rows `cloud-.../...` are those of `equidrift.bench.align_clouds`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.rdkit.aligning import common_core, open3daligned
from equidrift.api.poses import align
from equidrift.bench.align_clouds import clouds
from equidrift.bench.machine import Progress, silent
from equidrift.bench.rows import Row, means, row, shares, table
from equidrift.engine.conformers import sample_molecule
from equidrift.geometry import Floats
from equidrift.geometry import align as superposed
from equidrift.models.rigid import rotations
from equidrift.records import Ensemble, Molecule

FOUND_A = 0.5
NOISE_A = 0.1  # of copies
AWAY_A = 20.0  # shifts at most
FULL_CLOUDS, QUICK_CLOUDS = 8, 2
QUICK_PAIRS = 4
# drugs with a common core
ANALOGUES = (
    ("Cn1c(=O)c2c(ncn2C)n(C)c1=O", "Cn1c(=O)c2[nH]cnc2n(C)c1=O"),
    ("CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O", "C[C@H](C(=O)O)c1cccc(C(=O)c2ccccc2)c1"),
    ("CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc21", "O=C1Nc2ccc(Cl)cc2C(c2ccccc2)=N[C@@H]1O"),
    (
        "C[C@]12CC[C@H]3[C@@H](CCC4=CC(=O)CC[C@@]43C)[C@@H]1CC[C@@H]2O",
        "CC(=O)[C@H]1CC[C@H]2[C@@H]3CCC4=CC(=O)CC[C@]4(C)[C@H]3CC[C@]12C",
    ),
    ("CN(C)CCCN1c2ccccc2Sc2ccc(Cl)cc21", "CN(C)CCCN1c2ccccc2Sc2ccccc21"),
    ("CN(C)CCC=C1c2ccccc2CCc2ccccc21", "CNCCC=C1c2ccccc2CCc2ccccc21"),
    ("Cc1cc(NS(=O)(=O)c2ccc(N)cc2)no1", "Nc1ccc(S(=O)(=O)Nc2ncccn2)cc1"),
    ("O=C(O)c1cn(C2CC2)c2cc(N3CCNCC3)c(F)cc2c1=O", "CCn1cc(C(=O)O)c(=O)c2cc(F)c(N3CCNCC3)cc21"),
    ("CC(C)NC[C@H](O)COc1cccc2ccccc12", "CC(C)NC[C@H](O)COc1cccc2[nH]ccc12"),
    ("CCN(CC)CC(=O)Nc1c(C)cccc1C", "CN1CCCC[C@H]1C(=O)Nc1c(C)cccc1C"),
    ("CNCC[C@@H](Oc1ccc(C(F)(F)F)cc1)c1ccccc1", "CNCC[C@@H](Oc1ccccc1C)c1ccccc1"),
    ("CC(=O)Nc1ccc(O)cc1", "CCOc1ccc(NC(C)=O)cc1"),
)

Shape = tuple[Molecule, Floats]  # positions (n, 3) in A
Aligner = Callable[[Shape, Shape], Floats]


def run(full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The table as one object.

    Parameters
    ----------
    full : bool, optional
        24 drugs, 12 pairs of analogues, and 8 clouds of each kind (some 4 minutes);
        else 8, 4 and 2.
    progress : callable, optional
        Called with a line of text before every row.
    """
    say = progress or silent
    chosen = ANALOGUES if full else ANALOGUES[:QUICK_PAIRS]
    rows: list[Row] = []
    for name, pairs in pairs_of(chosen).items():
        for method, aligner in METHODS.items():
            say(f"align-{name}/{method}")
            rows.append(aligned_row(f"align-{name}/{method}", pairs, aligner))
    return table("align", [*rows, *clouds(FULL_CLOUDS if full else QUICK_CLOUDS, say)])


def ours(moved: Shape, fixed: Shape) -> Floats:
    """`equidrift.align` with its defaults."""
    one, other = (Ensemble(molecule, x[None]) for molecule, x in (moved, fixed))
    laid: Floats = align(one, other).positions_A[0]
    return laid


METHODS: dict[str, Aligner] = {"equidrift": ours, "open3dalign": open3daligned}


def pairs_of(analogues: Iterable[tuple[str, str]]) -> dict[str, list[tuple[Shape, Shape]]]:
    """Pairs of shapes of each kind, the first of each hidden by a turn and a shift."""
    found: dict[str, list[tuple[Shape, Shape]]] = {"copies": [], "conformers": [], "analogues": []}
    rng = np.random.default_rng(5)
    for pair in analogues:
        sampled = []
        for smiles in pair:
            molecule = Molecule.from_smiles(smiles)
            x = sample_molecule(molecule, 2, model="etkdg", seed=3).positions_A
            noised = x[0] + NOISE_A * rng.standard_normal(x[0].shape)
            found["copies"].append((hidden(molecule, noised, rng), (molecule, x[0])))
            found["conformers"].append((hidden(molecule, x[1], rng), (molecule, x[0])))
            sampled.append((molecule, x[0]))
        found["analogues"].append((hidden(*sampled[0], rng), sampled[1]))
    return found


def hidden(molecule: Molecule, x: Floats, rng: np.random.Generator) -> Shape:
    """A shape turned and shifted."""
    return molecule, x @ rotations.haar(1, rng)[0].T + rng.uniform(-AWAY_A, AWAY_A, 3)


def aligned_row(name: str, pairs: list[tuple[Shape, Shape]], aligner: Aligner) -> Row:
    """What a method makes of pairs."""
    excess, seconds = [], 0.0
    for moved, fixed in pairs:
        begun = time.process_time()
        laid = aligner(moved, fixed)
        seconds += time.process_time() - begun
        excess.append(excess_A(laid, fixed[1], common_core(moved[0], fixed[0])))
    values = shares({"found": np.array(excess) < FOUND_A}) | means({"excess_A": excess})
    return row(name, {**values, "cpu_ms_per_pair": 1000 * seconds / len(pairs)}, len(pairs))


def excess_A(laid: Floats, fixed: Floats, core: NDArray[np.int64]) -> float:
    """RMSD in A of the shared atoms as they were laid, over the best there is.

    Parameters
    ----------
    laid, fixed : (n, 3) and (m, 3) array
        Positions in A.
    core : (p, k, 2) array
        Pairs of atoms, in each of p ways.
    """
    one, other = laid[core[..., 0]], fixed[core[..., 1]]  # (p, k, 3)
    as_laid = np.sqrt(np.square(one - other).sum(-1).mean(-1)).min()
    best = min(
        float(np.sqrt(np.square(superposed(a, b) - b).sum(-1).mean()))
        for a, b in zip(one, other, strict=True)
    )
    return float(as_laid) - best
