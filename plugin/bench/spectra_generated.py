"""Rows of `equidrift bench molecules` on molecules made for a spectrum: how often the
molecule of a held-out spectrum is among the draws, and among the best of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.bench.machine import Progress
from equidrift.bench.rows import Row, means, row, shares
from equidrift.bench.spectra import HELD_OUT, TOP, formula_of, held_out_spectra, small_molecules
from equidrift.checks.molecule import Raw, judge
from equidrift.errors import WeightsError
from equidrift.models.molecules.data import ELEMENTS, FILE, QM9, load_qm9
from equidrift.models.molecules.spectra.sampler import SpectrumModel
from equidrift.protocols import MoleculeModel
from equidrift.registry import make_molecule_model
from equidrift.seeds import sample_seeds
from equidrift.spectrum import MODEL

SAMPLES = 100  # draws for a spectrum
QUICK = 20  # spectra
NAMES = ("generated", "generated-formula", "generated-blind", "generated-pool")
Candidates = dict[str, Raw]  # by SMILES without stereo


def generated_rows(
    folder: Path,
    limit: int = QUICK,
    *,
    samples: int = SAMPLES,
    model: MoleculeModel | None = None,
    ranking: SpectrumModel | None = None,
    say: Progress = lambda _: None,
) -> list[Row]:
    """Top-1 and top-10 of exact structures (without stereo) among `samples` draws for each
    held-out spectrum, ranked by the network that ranks a pool.

    Parameters
    ----------
    folder : Path
        Of the packed QM9 and of `qm9_spectra.npz`, if there is one.
    limit : int
        Spectra at most.
    samples : int
        Draws for each.
    model : MoleculeModel, optional
        Takes spectra; None is the shipped one.
    ranking : SpectrumModel, optional
        Ranks the draws; None is the shipped one.
    say : callable, optional
        Told what is left out, and why.

    Returns
    -------
    list of row
        `spectra/generated`; `spectra/generated-formula`, of whose draws those of the
        right formula are ranked; `spectra/generated-blind`, the same model without the
        spectrum, ranked as well; `spectra/generated-pool`, in whose place all of QM9's
        molecules of the right formula are ranked. Metrics: `top-1`, `top-10`, `found`
        (among all draws) in %, `candidates` (different molecules that are ranked). None
        if there are no weights that take spectra.
    """
    try:
        model = make_molecule_model(MODEL) if model is None else model
    except WeightsError as error:
        say(f"left out: spectra/generated ({error})")
        return []
    data = load_qm9(folder / FILE if (folder / FILE).is_file() else None)
    there = (folder / HELD_OUT).is_file()
    wanted = np.arange(len(data)) if there else small_molecules(data)
    spectra, rows = held_out_spectra(data, folder / HELD_OUT, wanted, limit)
    ranking = SpectrumModel() if ranking is None else ranking
    seeds = sample_seeds(0, 0, samples)
    elements, blind = element_counts(data), molecules_of(model.sample(seeds))
    ranks: dict[str, list[int | None]] = {name: [] for name in NAMES}
    counts: dict[str, list[int]] = {name: [] for name in NAMES}
    for k, (spectrum, of) in enumerate(zip(spectra, rows.tolist(), strict=True)):
        say(f"spectra/generated: {k + 1} of {len(rows)}")
        made = molecules_of(model.sample(seeds, spectrum=spectrum))
        same = isomers_among(made, formula_of(data.molecule(of)))
        pool = isomers_in(data, np.flatnonzero((elements == elements[of]).all(1)))
        for name, found in zip(NAMES, (made, same, blind, pool), strict=True):
            ranks[name].append(rank_of(flat_smiles(data.molecule(of)), found, spectrum, ranking))
            counts[name].append(len(found))
    told = {name: found_shares(ranks[name]) | means({"candidates": counts[name]}) for name in NAMES}
    return [row(f"spectra/{name}", told[name] | {"draws": samples}, len(rows)) for name in NAMES]


def isomers_among(found: Candidates, formula: str) -> Candidates:
    """Those of a formula."""
    return {key: raw for key, raw in found.items() if formula_of(raw[0]) == formula}


def isomers_in(data: QM9, rows: NDArray[np.int64]) -> Candidates:
    """Molecules of the data, with QM9's geometry."""
    molecules = {k: data.molecule(k) for k in rows.tolist()}
    return {flat_smiles(one): (one, data.positions(k)) for k, one in molecules.items()}


def element_counts(data: QM9) -> NDArray[np.int64]:
    """Atoms of each element (n, elements) of all molecules."""
    kinds = data.numbers[:, None] == np.array(ELEMENTS)
    counts: NDArray[np.int64] = np.add.reduceat(kinds.astype(np.int64), data.offset[:-1])
    return counts


def molecules_of(raws: Sequence[Raw | None]) -> Candidates:
    """The valid ones of draws, the first of each graph."""
    found: Candidates = {}
    for raw in raws:
        draw = judge(raw)
        if draw.molecule is not None and draw.positions_A is not None and not draw.reason:
            found.setdefault(flat_smiles(draw.molecule), (draw.molecule, draw.positions_A))
    return found


def rank_of(
    key: str, found: Candidates, spectrum: NDArray[np.float64], ranking: SpectrumModel
) -> int | None:
    """The place of a molecule among those found, from 0, likeliest first; None if it is
    not among them.
    """
    if key not in found:
        return None
    values = ranking.shape_likelihood(spectrum, list(found.values()))
    return int((values > values[list(found).index(key)]).sum())


def found_shares(ranks: Sequence[int | None]) -> dict[str, float]:
    """Shares in % of spectra whose molecule is among the best 1, 10 and at all."""
    places = np.array([np.inf if rank is None else rank for rank in ranks])
    return shares({**{f"top-{k}": places < k for k in TOP}, "found": np.isfinite(places)})
