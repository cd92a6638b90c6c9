"""`equidrift bench molecules`: new molecules on QM9, with every control (EDM's
protocol, arXiv:2203.17003).

Rows `NAME/raw` and `NAME/mmff` are samples of a model as it makes them and relaxed by
MMFF94, beside RDKit's embedding of the same graphs (`rdkit/mmff...`) and random
training molecules; distances of distributions are to held-out molecules, with no
matching of sizes. Rows `conditional-PROPERTY/NAME` hold mean absolute errors: targets
drawn from the generators' half of the data, values by the judge, which was trained on
the other half and whose own error is the row `floor`. Rows of models whose weights are
not there are left out, and said to be.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.xtb import gfn2_values
from equidrift.adapters.rdkit.etkdg import mmff_relax
from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.adapters.rdkit.validity import DESCRIPTORS, descriptors, perceived
from equidrift.bench import molecule_metrics as metrics
from equidrift.bench.machine import commit, machine
from equidrift.checks.judges import gfn2_scales
from equidrift.checks.molecule import Draw, Raw
from equidrift.errors import EquidriftError, MissingDependencyError, UnknownNameError
from equidrift.models.molecules.data import PROPERTIES, QM9, USUAL, load_qm9
from equidrift.models.molecules.properties.sampler import load_properties
from equidrift.registry import make_model, make_molecule_model
from equidrift.seeds import sample_seeds
from equidrift.weights import find, read_card

Progress = Callable[[object], None]
Row = dict[str, Any]
MODELS = ("joint", "latent")
CHOOSER = "joint-best-of"  # takes part in the conditional rows alone
PARTS = {"joint": ("joint",), "latent": ("latent", "latent-graph", "latent-geometry")}
BATCH = 125
# Published on QM9. EDM's look-up without hydrogens' charges (edm_stability) or explicit bonds (molecule_stability), in %.
PUBLISHED: dict[str, dict[str, float]] = {
    "edm-published": {
        "edm_atom_stability": 98.7,
        "edm_stability": 82.0,
        "valid": 91.9,
        "valid_unique": 90.7,
        "calls": 1000,
    },
    "geoldm-published": {
        "edm_atom_stability": 98.9,
        "edm_stability": 89.4,
        "valid": 93.8,
        "valid_unique": 92.7,
        "calls": 1000,
    },
    "ldm-3dg-published": {
        "edm_atom_stability": 32.6,
        "edm_stability": 0.2,
        "valid": 100.0,
        "valid_unique": 95.3,
        "calls": 500,
    },
    "ldm-3dg-mmff-published": {
        "edm_atom_stability": 97.5,
        "edm_stability": 86.9,
        "valid": 100.0,
        "valid_unique": 95.3,
        "calls": 500,
    },
    "midi-published": {
        "atom_stability": 99.8,
        "molecule_stability": 97.5,
        "valid": 97.9,
        "calls": 500,
    },
    "eqgat-diff-published": {
        "atom_stability": 99.9,
        "molecule_stability": 98.7,
        "valid": 99.0,
        "calls": 500,
    },
    "semlaflow-published": {
        "atom_stability": 99.9,
        "molecule_stability": 99.6,
        "valid": 99.4,
        "calls": 100,
    },
}
# Mean absolute errors in EDM's protocol (Hoogeboom et al. 2022, table 3; Xu et al. 2023, table 3), in the order of USUAL.
PUBLISHED_MAE = {
    "edm-published": (2.76, 0.655, 0.356, 0.584, 1.111, 1.101),
    "geoldm-published": (2.37, 0.587, 0.340, 0.522, 1.108, 1.025),
    "edm-random-published": (9.01, 1.470, 0.645, 1.457, 1.616, 6.857),
    "edm-floor-published": (0.10, 0.064, 0.039, 0.036, 0.043, 0.040),
}


@dataclass(frozen=True)
class Size:
    """How much is measured: samples, of RDKit's control, of the conditional rows a
    property, relaxed, busted, and single energies.
    """

    samples: int
    embedded: int
    conditional: int
    relaxed: int
    busted: int
    energies: int


QUICK = Size(samples=500, embedded=200, conditional=100, relaxed=8, busted=40, energies=100)
FULL = Size(samples=10_000, embedded=1000, conditional=500, relaxed=24, busted=150, energies=600)


def run(
    full: bool = False, progress: Progress | None = None, limit: int | None = None
) -> dict[str, Any]:
    """Every row; the quick form takes under ten minutes.

    Parameters
    ----------
    full : 10,000 samples of a model.
    progress : called with a line of text before every part.
    limit : at most so many of everything, for tests, on one core.

    Raises
    ------
    InputError
        where the packed QM9 is missing; the message tells how to make it.
    """
    size = FULL if full else QUICK
    if limit is not None:
        size = Size(**{name: min(limit, value) for name, value in vars(size).items()})
    data, say = load_qm9(), progress or (lambda message: None)
    with ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("spawn"), initializer=_one_thread
    ) as pool:
        bench = Bench(data, size, say, map if limit is not None else pool.map)
        rows = bench.sample_rows()
        rows += [
            {"row": f"qm9/{name}", "values": dict(values)} for name, values in PUBLISHED.items()
        ]
        rows += bench.conditional_rows()
    rows += other_rows(size, say)
    return {"name": "molecules", "machine": machine(), "commit": commit(), "rows": rows}


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"


class Bench:
    """One run of the benchmark: the data, how much is measured, who is told, and what
    applies a function to each of several.
    """

    def __init__(self, data: QM9, size: Size, say: Progress, each: metrics.Each) -> None:
        self.data, self.size, self.say, self.each = data, size, say, each
        self.known = Known(data)
        self.models = {name: model for name in MODELS if (model := shipped(name, say)) is not None}
        self.targeted = self.models | {
            name: model for name in (CHOOSER,) if (model := shipped(name, say)) is not None
        }
        self.reference = self.quantities(self.chosen("test", 2 * size.embedded))

    def chosen(self, split: str, count: int) -> list[Raw]:
        """Random molecules of a part of QM9."""
        rows = self.data.rows(split)
        return [
            molecule_of(self.data, int(k))
            for k in np.random.default_rng(0).choice(rows, min(count, len(rows)), replace=False)
        ]

    def sample_rows(self) -> list[Row]:
        """What the models make, the controls of each, and training molecules in their
        place.
        """
        rows = [row for name, model in self.models.items() for row in self.model_rows(name, model)]
        self.say("train/random")
        return [
            *rows,
            {
                "row": "train/random",
                "values": self.quality(self.chosen("train", self.size.embedded))[0],
            },
        ]

    def model_rows(self, name: str, model: Any) -> list[Row]:
        """A model's samples as they are and relaxed by MMFF94, and RDKit's embedding of
        its graphs.
        """
        samples = self.size.samples
        self.say(f"{name}/raw: {samples} samples")
        parts = [
            (name, sample_seeds(0, start, min(start + BATCH, samples)), None)
            for start in range(0, samples, BATCH)
        ]
        list(
            self.each(sampled, [(name, sample_seeds(1, 0, 2), None)] * (os.cpu_count() or 1))
        )  # every process has its model by then
        begun = time.perf_counter()
        raws = [raw for part in self.each(sampled, parts) for raw in part]
        speed = {
            "molecules_per_s": len(raws) / (time.perf_counter() - begun),
            "calls": float(getattr(model, "default_steps", 0)),
        }
        speed["training_minutes"] = training_minutes(name)
        values, draws = self.quality(raws)
        rows = [
            {
                "row": f"{name}/raw",
                "values": values | {key: value for key, value in speed.items() if value},
            }
        ]
        pairs = list(zip(raws, draws))[
            : self.size.embedded
        ]  # with the stereo that was seen, where there is; what is no molecule stays in
        chosen = [
            raw
            if draw.molecule is None or draw.positions_A is None
            else (draw.molecule, draw.positions_A)
            for raw, draw in pairs
        ]
        control = "rdkit/mmff" if name == "joint" else f"rdkit/mmff-{name}"  # of the same graphs
        for row, relaxed in ((f"{name}/mmff", mmff), (control, embedded)):
            self.say(row)
            rows.append({"row": row, "values": self.quality(list(self.each(relaxed, chosen)))[0]})
        return rows

    def quality(self, raws: Sequence[Raw | None]) -> tuple[dict[str, Any], list[Draw]]:
        """All metrics of a set of samples, and what became of each sample."""
        judged, draws = metrics.validity(raws)
        values: dict[str, Any] = metrics.stability(raws) | judged
        unique = {draw.molecule.smiles for draw in draws if draw.molecule is not None}
        values["novel"] = 100.0 * len(unique - self.known.among(draws)) / max(1, len(unique))
        sound = _sound(draws)
        values |= metrics.distributions(self.quantities(sound), self.reference)
        for function, count in (
            (metrics.busted, self.size.busted),
            (metrics.relaxation, self.size.relaxed),
        ):
            try:
                values |= function(spread(sound, count), self.each)
            except MissingDependencyError:  # optional packages; their columns are then empty
                continue
        return values | {"samples": len(raws)}, draws

    def quantities(self, systems: Sequence[Raw]) -> dict[str, NDArray[np.float64]]:
        """Molecular weight, logP, PSA and QED of all, and GFN2-xTB's energy of some
        where tblite is installed.
        """
        names = DESCRIPTORS
        table = descriptors([molecule for molecule, _ in systems])
        out = dict(zip(names, table.T))
        try:
            out["energy_eV"] = np.array(
                list(self.each(gfn2_energy, spread(systems, self.size.energies)))
            )
        except MissingDependencyError:
            pass
        return out

    def conditional_rows(self) -> list[Row]:
        """For each of the six usual properties the errors of each model, of samples
        without targets, of the judge, and as published.
        """
        try:
            judge = load_properties()
        except UnknownNameError:
            self.say("left out: conditional rows, since the network of properties is not there")
            return []
        data, count = self.data, self.size.conditional
        test, half = data.rows("test")[: 4 * count], data.rows("train", "a")
        own = judge.predict([(data.molecule(int(k)), data.positions(int(k))) for k in test])
        free = {name: sampled((name, sample_seeds(3, 0, count), None)) for name in self.models}
        rows: list[Row] = []
        for column, name in enumerate(USUAL):
            self.say(f"conditional-{name}")
            index = PROPERTIES.index(name)
            targets = np.random.default_rng(index).choice(
                data.props[half, index], count, replace=False
            )
            for label, model in self.targeted.items():
                if name in model.properties:
                    made = self.conditioned(label, name, targets)
                    values = (
                        errors(judge, made, name, targets)
                        | {"samples": len(made)}
                        | self.independent(made, name, targets)
                    )
                    values["calls"] = int(getattr(model, "default_steps", 0))
                    shown = {
                        "joint": "equidrift",
                        CHOOSER: f"equidrift-best-of-{getattr(model, 'candidates', 0)}",
                    }.get(label, label)
                    rows.append({"row": f"conditional-{name}/{shown}", "values": values})
            for label, made in free.items():
                rows.append(
                    {
                        "row": f"conditional-{name}/{label}-no-target",
                        "values": errors(judge, made, name, targets),
                    }
                )
            floor = float(np.abs(own[name] - data.props[test, index]).mean())
            rows.append(
                {"row": f"conditional-{name}/floor", "values": {"MAE": floor, "samples": len(test)}}
            )
            rows += [
                {"row": f"conditional-{name}/{paper}", "values": {"MAE": mae[column]}}
                for paper, mae in PUBLISHED_MAE.items()
            ]
        return rows

    def conditioned(self, label: str, name: str, targets: NDArray[np.float64]) -> list[Raw | None]:
        """A sample of a model for each target, raw."""
        properties = list(self.targeted[label].properties)
        wanted = np.full((len(targets), len(properties)), np.nan)
        wanted[:, properties.index(name)] = targets
        seeds = sample_seeds(4, 0, len(targets))
        parts = [
            (label, seeds[k : k + BATCH], wanted[k : k + BATCH])
            for k in range(0, len(targets), BATCH)
        ]
        return [raw for part in self.each(sampled, parts) for raw in part]

    def independent(
        self, made: Sequence[Raw | None], name: str, targets: NDArray[np.float64]
    ) -> dict[str, float]:
        """Rank correlation of targets with GFN2-xTB's values, which no network here
        learnt from; empty for properties that GFN2-xTB does not give.
        """
        if name not in gfn2_scales():
            return {}
        there = [
            k
            for k, raw in enumerate(made)
            if raw is not None and raw[0].n_atoms and np.isfinite(raw[1]).all()
        ]
        try:
            values = np.array(
                [row[name][0] for row in self.each(values_of_one, [made[k] for k in there])]
            )
        except MissingDependencyError:
            return {}
        good = np.isfinite(values)
        if good.sum() < 3:
            return {}
        first, second = (
            np.argsort(np.argsort(column[good])).astype(np.float64)
            for column in (values, targets[there])
        )
        return {"gfn2_rank_correlation": float(np.corrcoef(first, second)[0, 1])}


def _sound(draws: Iterable[Draw]) -> list[Raw]:
    return [
        (draw.molecule, draw.positions_A)
        for draw in draws
        if draw.molecule is not None and draw.positions_A is not None
    ]


def shipped(name: str, say: Progress) -> Any:
    """The model of that name, None where its weights are not there."""
    try:
        return cached_model(name)
    except (UnknownNameError, ImportError) as error:
        say(f"left out: {name}, which is not there ({error})")
        return None


class Known:
    """Canonical SMILES of the training molecules, stereo from their geometries, made
    for those that are asked for alone.
    """

    def __init__(self, data: QM9) -> None:
        self.data = data
        self.rows: dict[str, list[int]] = {}
        for k in data.rows("train").tolist():
            self.rows.setdefault(str(data.smiles[k]), []).append(k)

    def among(self, draws: Iterable[Draw]) -> set[str]:
        """Canonical SMILES of the training molecules that share their constitution with
        one of these.
        """
        flat = flat_smiles
        bare = {
            "tetrahedral": np.zeros((0, 5)),
            "double_bonds": np.zeros((0, 5)),
        }  # RDKit keeps a hydrogen that a tag needs
        graphs = {
            flat(draw.molecule.replace(**bare)) for draw in draws if draw.molecule is not None
        }
        rows = [k for graph in graphs for k in self.rows.get(graph, ())]
        return {perceived(self.data.molecule(k), self.data.positions(k)).smiles for k in rows}


def molecule_of(data: QM9, k: int) -> Raw:
    """Molecule k of QM9 with the stereo of its geometry."""
    molecule, x = data.molecule(k), data.positions(k)
    return perceived(molecule, x), x


def spread(systems: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of them, evenly."""
    return [
        systems[k] for k in np.linspace(0, len(systems) - 1, min(count, len(systems))).astype(int)
    ]


def values_of_one(system: Raw) -> dict[str, NDArray[np.float64]]:
    """GFN2-xTB's values of one molecule, as arrays of one."""
    values: dict[str, NDArray[np.float64]] = gfn2_values([system])
    return values


def gfn2_energy(system: Raw) -> float:
    """GFN2-xTB's energy of a molecule as it is, in eV."""
    return float(values_of_one(system)["energy_eV"][0])


def mmff(system: Raw | None) -> Raw | None:
    """The molecule in the MMFF94 minimum next to its geometry; as it is where MMFF94
    has no parameters.
    """
    if system is None:
        return None
    molecule, x = system
    try:
        moved = mmff_relax(molecule, x[None])[0][0]
    except EquidriftError:
        return system
    return molecule, moved


def embedded(system: Raw | None) -> Raw | None:
    """The molecule's graph embedded by ETKDG and relaxed by MMFF94; None where RDKit
    cannot.
    """
    if system is None:
        return None
    molecule, _ = system
    try:
        x = make_model("etkdg-mmff", timeout_s=10).sample(molecule, np.array([0]))[0]
    except EquidriftError:
        return None
    return (molecule, x) if np.isfinite(x).all() else None


def training_minutes(name: str) -> float:
    """Minutes of training that the cards of a model and of its autoencoders tell; 0
    where they tell none.
    """
    total = 0.0
    for part in PARTS[name]:
        try:
            card = read_card(find(part))
        except EquidriftError:
            return 0.0
        told = re.search(
            r"([\d.]+) minutes", card["description"]
        )  # cards of version 0.1 said it there
        if "run" in card:
            total += float(card["run"]["minutes"])
        elif told:
            total += float(told[1])
    return total


@lru_cache(maxsize=2)
def cached_model(name: str) -> Any:
    """The model of that name, loaded once a process."""
    return make_molecule_model(name)


def sampled(part: tuple[str, NDArray[np.int64], NDArray[np.float64] | None]) -> list[Raw | None]:
    """Samples of (model, seeds, wanted): raw; wanted (k, properties) has a row of
    targets a sample, NaN where there is none.
    """
    name, seeds, wanted = part
    model = cached_model(name)
    if wanted is None:
        return list(model.sample(seeds))
    if hasattr(model, "sample_many"):
        return list(model.sample_many(seeds, wanted))
    names = list(model.properties)
    targets = [{name: float(v) for name, v in zip(names, row) if np.isfinite(v)} for row in wanted]
    return [model.sample(seeds[k : k + 1], targets=targets[k])[0] for k in range(len(seeds))]


def errors(
    judge: Any, made: Sequence[Raw | None], name: str, targets: NDArray[np.float64]
) -> dict[str, float]:
    """Mean absolute error of what the judge sees in each sample that is a molecule,
    valid or not, and the share of those in %.
    """
    there = [
        k
        for k, raw in enumerate(made)
        if raw is not None and np.isfinite(raw[1]).all() and raw[0].n_atoms
    ]
    if not there:
        return {"judged": 0.0}
    values = judge.predict([made[k] for k in there])[name]
    return {
        "MAE": float(np.abs(values - targets[there]).mean()),
        "judged": 100.0 * len(there) / len(made),
    }


def other_rows(size: Size, say: Progress) -> list[Row]:
    """Reconstruction by the autoencoders and recovery from spectra, where their weights
    and data are there.
    """
    # imported here: the two modules load model families that the other rows do without
    from equidrift.bench.reconstruction import reconstruction_rows
    from equidrift.bench.spectra import spectra_rows

    rows: list[Row] = []
    folder = Path(os.environ.get("EQUIDRIFT_DATA") or ".")
    for name, other in (("reconstruction", reconstruction_rows), ("spectra", spectra_rows)):
        say(name)
        try:
            rows += other(folder, size.embedded)
        except (EquidriftError, ImportError) as error:
            say(f"left out: {name} ({error})")
    return rows
