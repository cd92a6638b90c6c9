"""New molecules without a network: fragments of known ones, put together anew by the
rules of BRICS (Degen et al., ChemMedChem 2008, doi:10.1002/cmdc.200800178).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import BRICS, Fragments

FRAGMENTS = 6  # that one new molecule is chosen from
BUILT = 60  # molecules that are looked at for one of the wanted size
TRIES = 20  # draws of fragments per molecule wanted


def pieces(smiles: Sequence[str]) -> list[str]:
    """The BRICS fragments of molecules, one entry for each time that one comes."""
    found: list[str] = []
    with rdBase.BlockLogs():
        for one in smiles:
            mol = Chem.MolFromSmiles(one)
            parts = () if mol is None else BRICS.BRICSDecompose(mol)  # type: ignore[no-untyped-call]
            found += sorted(part for part in parts if "*" in part)
    return found


def recombined(smiles: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """New molecules from fragments of known ones, each of the size of one of them.

    Fragments are drawn as often as they come; of what they can be joined to, in the
    order of RDKit, a molecule of the wanted number of heavy atoms is drawn, or of the
    nearest.

    Parameters
    ----------
    smiles : sequence of str
        Of the known molecules.
    count : int
        Molecules wanted.
    rng : numpy.random.Generator

    Returns
    -------
    list of str
        At most `count` SMILES, fewer where fragments do not fit; repeats may be among
        them.
    """
    stock = pieces(smiles)
    sizes = [Chem.MolFromSmiles(one).GetNumHeavyAtoms() for one in smiles]
    made: list[str] = []
    for _ in range(TRIES * count if stock else 0):
        if len(made) == count:
            break
        wanted = sizes[int(rng.integers(len(sizes)))]
        chosen = [stock[k] for k in rng.integers(len(stock), size=FRAGMENTS)]
        mols = [Chem.MolFromSmiles(one) for one in dict.fromkeys(chosen)]
        with rdBase.BlockLogs():
            builder = BRICS.BRICSBuild(mols, scrambleReagents=False, maxDepth=3)  # type: ignore[no-untyped-call]
            built = list(islice(builder, BUILT))
        if built:
            off = np.array([abs(mol.GetNumHeavyAtoms() - wanted) for mol in built])
            best = built[int(rng.choice(np.flatnonzero(off == off.min())))]
            made.append(Chem.MolToSmiles(Chem.MolFromSmiles(Chem.MolToSmiles(best))))
    return made


def ring_sizes(smiles: str) -> Counter[str]:
    """How many smallest rings of each size a molecule has; nine and more are one."""
    mol = Chem.MolFromSmiles(smiles)
    rings = () if mol is None else mol.GetRingInfo().AtomRings()
    return Counter(str(min(len(ring), 9)) for ring in rings)


def functional_groups(smiles: str) -> Counter[str]:
    """How often a molecule has each of RDKit's functional groups (`Fragments`)."""
    mol = Chem.MolFromSmiles(smiles)
    names = [name for name in vars(Fragments) if name.startswith("fr_")]
    if mol is None:
        return Counter()
    counts = {name: int(getattr(Fragments, name)(mol)) for name in sorted(names)}
    return Counter({name: count for name, count in counts.items() if count})
