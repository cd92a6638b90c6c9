"""Rows of `equidrift bench molecules` on the autoencoders: how much of a held-out
molecule comes back from its latent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.adapters.rdkit.rmsd import rmsd_matrix
from equidrift.bench.rows import Row, means, medians, row, shares
from equidrift.models.molecules.data import FILE, QM9, load_qm9
from equidrift.models.molecules.latent.space import LatentSpace, Made
from equidrift.records import Molecule

QUICK = 200
SAME_CONFORMER_A = 0.5
REFINER_CALLS = 2  # of its network, per conformer


def held_out_molecules(folder: Path, limit: int | None) -> tuple[QM9, NDArray[np.int64]]:
    """QM9 (the packed file in `folder`, or the one found elsewhere) and up to `limit`
    rows of its test part, spread over it.
    """
    data = load_qm9(folder / FILE if (folder / FILE).is_file() else None)
    rows = data.rows("test")
    return data, rows if limit is None else rows[
        np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int)
    ]


def reconstruction_rows(
    folder: Path, limit: int | None = QUICK, *, space: LatentSpace | None = None
) -> list[Row]:
    """Exact matches of graphs and RMSD of conformers of test molecules, beside
    controls.

    Parameters
    ----------
    folder : Path
        Of the data.
    limit : int or None
        Test molecules; None for all.
    space : LatentSpace or None
        None is the shipped latent space.

    Returns
    -------
    list of row
        `latent/graph` (exact-match rates in % of canonical SMILES without stereo, by
        beam search and greedy), `latent/geometry` and `latent/geometry-refine`
        (heavy-atom RMSD in A of the conformer decoded from the true graph and the
        conformer's latent, without and with the refiner), `latent/graph-alone` (the
        same without the conformer's latent) and `latent/geometry-etkdg-mmff` (ETKDG and
        MMFF94).
    """
    data, numbers = held_out_molecules(folder, limit)
    items = [(data.molecule(k), data.positions(k)) for k in numbers.tolist()]
    molecules, seeds, n = [m for m, _ in items], np.arange(len(items)), len(items)
    space = LatentSpace() if space is None else space
    begun = time.perf_counter()
    z = space.encode_many(items)
    rate = {"encoded_per_s": n / (time.perf_counter() - begun)}
    graphs = graph_values(space, z, data.smiles[numbers].tolist()) | rate
    begun = time.perf_counter()
    decoded = space.decode_conformers(molecules, z, seeds)
    rate = {"conformers_per_s": n / (time.perf_counter() - begun)}
    without = z.copy()
    without[:, space.slices["geometry"].start :] = 0.0
    alone = space.decode_conformers(molecules, without, seeds)
    refined = conformer_quality(items, space.refined(decoded))
    baseline = conformer_quality(items, rdkit_conformers(molecules))
    return [
        row("latent/graph", graphs, n),
        row("latent/geometry", conformer_quality(items, decoded) | rate | _calls(space, 0), n),
        row("latent/geometry-refine", refined | _calls(space, REFINER_CALLS), n),
        row("latent/graph-alone", conformer_quality(items, alone) | _calls(space, 0), n),
        row("latent/geometry-etkdg-mmff", baseline, n),
    ]


def _calls(space: LatentSpace, more: int) -> dict[str, float]:
    """Network calls of one conformer."""
    return {"calls": space.steps + more}


def graph_values(
    space: LatentSpace, z: NDArray[np.float64], keys: Sequence[str]
) -> dict[str, float]:
    """Exact-match rates in % of graphs decoded from their latents."""
    table, seeds = z[:, space.slices["graph"]], np.arange(len(z))
    whole, hits = space.candidates, {}
    for name, count in (("exact_match", whole), ("exact_match_greedy", 1)):
        space.candidates = count
        try:
            made = space.decode_graphs(table, seeds)
        finally:
            space.candidates = whole
        hits[name] = [
            m is not None and flat_smiles(m) == key for m, key in zip(made, keys, strict=True)
        ]
    return shares(hits) | {"molecules": len(z), "candidates": whole}


def conformer_quality(items: Sequence[Made], made: Sequence[Made | None]) -> dict[str, float]:
    """Heavy-atom RMSD over all symmetries, and the error of bond lengths, of conformers
    of the same molecules.
    """
    rmsd, bonds = [], []
    for (molecule, x), one in zip(items, made, strict=True):
        if one is None or not np.isfinite(one[1]).all():
            rmsd.append(np.inf)
            continue
        rmsd.append(float(rmsd_matrix(molecule, x[None], one[1][None])[0, 0]))
        i, j = molecule.bonds.T
        lengths = [np.linalg.norm(y[i] - y[j], axis=1) for y in (x, one[1])]
        bonds.append(float(np.abs(lengths[0] - lengths[1]).mean()))
    table = np.array(rmsd)
    values = means({"rmsd_A": table[np.isfinite(table)], "bond_error_A": bonds})
    values |= medians({"rmsd_A-median": table}) | shares({"below_0.5_A": table < SAME_CONFORMER_A})
    return values | {"molecules": len(items)}


def rdkit_conformers(molecules: Sequence[Molecule]) -> list[Made | None]:
    """An ETKDG conformer, relaxed in MMFF94, of each molecule; None if there is
    none.
    """
    chain = ETKDGMMFF()
    made: list[Made | None] = []
    for molecule in molecules:
        x = chain.sample(molecule, np.array([0]))[0]
        made.append((molecule, x) if np.isfinite(x).all() else None)
    return made
