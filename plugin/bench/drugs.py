"""`equidrift bench molecules --drugs WEIGHTS`: drug-size molecules beside ZINC's, and a
control without a network.

Rows `drug/raw`, `drug/no-repair` and `drug/neither` are a model's samples as its
sampler hands them over: with its rules, without the rule that redraws atoms of a broken
valence, and without any redrawing. `drug/no-refine` has the rules and leaves the places
as the network drew them. `drug/brics` recombines fragments of the training molecules and
embeds them by ETKDG and MMFF94; `drug/zinc` takes molecules of the test part in the
place of samples, embedded the same way, and so shows what the distances are for samples
without fault. Distances are to other molecules of the test part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.rdkit.brics import functional_groups, recombined, ring_sizes
from equidrift.adapters.rdkit.druglike import flat_smiles, graph_values, neutral_smiles
from equidrift.bench import molecule_metrics as metrics
from equidrift.bench.machine import Progress, silent
from equidrift.bench.molecule_work import embedded, spread
from equidrift.bench.rows import SE, bootstrap_se, row, share_errors, table
from equidrift.checks.molecule import Raw
from equidrift.errors import InputError, MissingDependencyError
from equidrift.files.data import data_or_here
from equidrift.models.molecules.joint.sampler import JointModel
from equidrift.models.molecules.joint.walk import Path as Walk
from equidrift.models.shared.split import held_out
from equidrift.records import Molecule
from equidrift.seeds import sample_seeds

FILE = Path("zinc_smiles") / "zinc_29k.smi"
VARIANTS: dict[str, dict[str, Any]] = {
    "raw": {},
    "no-refine": {"refine": 0},
    "no-repair": {"path": Walk(repair=0.0)},
    "neither": {"path": Walk(repair=0.0, rehide=0.0)},
}
Histogram = Callable[[str], Counter[str]]
HISTOGRAMS: dict[str, Histogram] = {"rings": ring_sizes, "groups": functional_groups}


@dataclass(frozen=True)
class Size:
    """How much is measured: samples of a row, molecules of ZINC to compare with, those
    that are relaxed, and those that PoseBusters sees.
    """

    samples: int
    reference: int
    relaxed: int
    busted: int


QUICK = Size(samples=100, reference=500, relaxed=8, busted=40)
FULL = Size(samples=1000, reference=1400, relaxed=100, busted=200)


def run(
    weights: str,
    full: bool = False,
    progress: Progress | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Every row.

    Parameters
    ----------
    weights : str
        Of a joint model of drug-size molecules, by name or path.
    full : bool, optional
        1,000 samples a row.
    progress : callable, optional
        Called with a line of text before every part.
    limit : int, optional
        At most so many of everything, for tests.

    Raises
    ------
    InputError
        For weights of another alphabet, or if the SMILES of ZINC are missing.
    """
    size = FULL if full else QUICK
    if limit is not None:
        size = Size(**{name: min(limit, value) for name, value in vars(size).items()})
    say, rows = progress or silent, []
    if JointModel(weights).alphabet.name != "drug":
        raise InputError(f"{weights} does not make drug-size molecules; train `model: joint-drug`")
    zinc = Zinc.read(size.reference)
    for name, options in VARIANTS.items():
        say(f"drug/{name}: {size.samples} samples")
        model = JointModel(weights, **options)
        raws = model.sample(sample_seeds(0, 0, size.samples))
        rows.append(row(f"drug/{name}", quality(raws, zinc, size), len(raws)))
    rng = np.random.default_rng(0)
    say("drug/brics")
    made = recombined(zinc.train, size.samples, rng)
    rows.append(row("drug/brics", quality([_embedded(s) for s in made], zinc, size), len(made)))
    say("drug/zinc")
    others = zinc.others[: size.samples]
    rows.append(row("drug/zinc", quality([_embedded(s) for s in others], zinc, size), len(others)))
    return table("drugs", rows)


@dataclass(frozen=True)
class Zinc:
    """Neutral SMILES of ZINC: some of the training part that fragments come from, all
    flat ones of it, molecules of the test part to compare with, and others of it.
    """

    train: list[str]
    known: frozenset[str]
    reference: list[str]
    others: list[str]
    quantities: dict[str, NDArray[np.float64]]

    @classmethod
    def read(cls, count: int) -> Zinc:
        """The file in EQUIDRIFT_DATA.

        Raises `InputError` if it is missing.
        """
        path = data_or_here() / FILE
        if not path.is_file():
            raise InputError(
                f"there is no {path}, the SMILES of ZINC; set EQUIDRIFT_DATA to the folder of data"
            )
        parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        for line in path.read_text().splitlines():
            given = line.split()[0] if line.strip() else ""
            flat = flat_smiles(given)
            if flat:
                parts[held_out(flat)].append(given)
        rng = np.random.default_rng(0)
        few = {
            name: [given[k] for k in rng.permutation(len(given))] for name, given in parts.items()
        }
        test = [neutral for one in few["test"] if (neutral := neutral_smiles(one))]
        train = [neutral for one in few["train"][: 2 * count] if (neutral := neutral_smiles(one))]
        reference, others = test[: min(count, len(test) // 2)], test[len(test) // 2 :]
        known = frozenset(flat_smiles(neutral_smiles(one)) for one in parts["train"])
        return cls(train, known, reference, others, _quantities(reference))


def _embedded(smiles: str) -> Raw | None:
    """The molecule by ETKDG and MMFF94, None where they cannot."""
    molecule = Molecule.from_smiles(smiles)
    return embedded((molecule, np.zeros((molecule.n_atoms, 3))))


def _quantities(smiles: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    molecules = [Molecule.from_smiles(one) for one in smiles]
    return graph_values([(molecule, np.zeros((molecule.n_atoms, 3))) for molecule in molecules])


def quality(raws: Sequence[Raw | None], zinc: Zinc, size: Size) -> dict[str, Any]:
    """All metrics of samples: shares of all of them in %, distances of the valid ones
    from ZINC's, with standard errors.
    """
    judged, draws = metrics.validity(raws)
    stable = metrics.stability(raws)
    shares = {name: stable[name] for name in ("atom_stability", "molecule_stability", "connected")}
    shares |= judged
    values: dict[str, Any] = shares | share_errors(shares, len(raws))
    systems = [
        (draw.molecule, draw.positions_A)
        for draw in draws
        if draw.molecule is not None and draw.positions_A is not None
    ]
    smiles = [molecule.smiles for molecule, _ in systems]
    if not systems:
        return values
    unique = {flat_smiles(one) for one in smiles}
    novel = {"novel": 100.0 * len(unique - zinc.known) / len(unique)}
    values |= novel | share_errors(novel, len(unique))
    values |= distances(graph_values(systems), zinc.quantities)
    for name, counted in HISTOGRAMS.items():
        values |= histogram_distance(name, counted, smiles, zinc.reference)
    for function, count in ((metrics.busted, size.busted), (metrics.relaxation, size.relaxed)):
        try:
            values |= function(spread(systems, count))
        except MissingDependencyError:  # optional packages; their columns are then empty
            continue
    return values


def distances(
    made: dict[str, NDArray[np.float64]], reference: dict[str, NDArray[np.float64]]
) -> dict[str, float]:
    """`NAME`, the mean, and `NAME_W`, the Wasserstein distance, of each property; errors
    by the bootstrap of what was made.
    """
    out: dict[str, float] = {}
    for name, column in made.items():
        other = reference[name]

        def apart(sample: NDArray[np.float64], other: NDArray[np.float64] = other) -> float:
            return metrics.wasserstein(sample, other)

        out |= {name: float(column.mean()), f"{name}_W": apart(column)}
        if len(column) > 1:
            out[f"{name}{SE}"] = float(column.std(ddof=1) / np.sqrt(len(column)))
            out[f"{name}_W{SE}"] = bootstrap_se(apart, column)
    return out


def histogram_distance(
    name: str, counted: Histogram, made: Sequence[str], reference: Sequence[str]
) -> dict[str, float]:
    """`NAME_TV`, half the L1 distance of two histograms of what molecules have, 0 to 1,
    with its bootstrap error.
    """
    ours, theirs = ([counted(one) for one in side] for side in (made, reference))
    names = sorted(set().union(*ours, *theirs))
    tables = [
        np.array([[one[key] for key in names] for one in side], np.float64).reshape(-1, len(names))
        for side in (ours, theirs)
    ]
    wanted = tables[1].sum(0) / max(1.0, tables[1].sum())

    def apart(sample: NDArray[np.float64]) -> float:
        return float(np.abs(sample.sum(0) / max(1.0, sample.sum()) - wanted).sum() / 2)

    out = {f"{name}_TV": apart(tables[0])}
    if len(made) > 1:
        out[f"{name}_TV{SE}"] = bootstrap_se(apart, tables[0])
    return out
