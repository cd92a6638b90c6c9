"""`equidrift bench molecules`: new molecules on QM9, with every control (EDM's
protocol, arXiv:2203.17003).

Rows `NAME/raw` are samples of a model without a refiner, `NAME/refined` those that
`generate` hands out, whose places the package's refiner moved, and `NAME/mmff` these
relaxed by MMFF94; the rules inside the joint model's sampler are at work in all of them
(`equidrift.bench.molecule_ablation` has rows without). They stand beside RDKit's
embedding of the same graphs (`rdkit/mmff...`) and random training molecules; distances
of distributions are to held-out molecules, with no matching of sizes. Rows
`conditional-PROPERTY/NAME` hold mean absolute errors: targets drawn from the generators'
half of the data, values by the judge, which was trained on the other half and whose own
error is the row `floor`; `network` is the joint model at `steer=0`. Rows of models whose
weights are not there are left out, and said to be.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.rdkit.validity import DESCRIPTORS, descriptors
from equidrift.bench import molecule_metrics as metrics
from equidrift.bench.machine import Progress, silent
from equidrift.bench.molecule_ablation import ablation_rows
from equidrift.bench.molecule_known import Known, molecule_of
from equidrift.bench.molecule_published import sample_papers
from equidrift.bench.molecule_replaced import better_rows
from equidrift.bench.molecule_targets import CHOOSER, NETWORK, conditional_rows
from equidrift.bench.molecule_work import (
    cached_model,
    embedded,
    gfn2_energy,
    in_parts,
    mmff,
    one_thread,
    sampled,
    spread,
)
from equidrift.bench.parts import measured
from equidrift.bench.pockets import pocket_rows
from equidrift.bench.rows import Row, row, share_errors
from equidrift.checks.molecule import Draw, Raw
from equidrift.errors import EquidriftError, MissingDependencyError, UnknownNameError
from equidrift.files.data import data_or_here
from equidrift.models.molecules.data import QM9, load_qm9
from equidrift.models.molecules.properties.sampler import load_properties
from equidrift.protocols import MoleculeModel
from equidrift.seeds import sample_seeds
from equidrift.weights import find, read_card

MODELS = ("joint", "latent")
CELL_PER_START = 10  # samples of a cell of the ablations for a start
PER_GENERATED = 10  # spectra whose molecules are ranked for one that molecules are made for
STARTS_PER_DOCKED = 10  # starts of replacements for a molecule in each pocket
STARTS_SEEN = 20  # molecules looked at for each start that is wanted
WEIGHTS_OF = {"joint": ("joint",), "latent": ("latent", "latent-graph", "latent-geometry")}
# of the benchmark, each measured alone with --parts
PARTS = (
    *MODELS,
    "controls",
    "targets",
    "replaced",
    "ablations",
    "reconstruction",
    "spectra",
    "pockets",
)


@dataclass(frozen=True)
class Size:
    """How much is measured: samples, of RDKit's control, of the conditional rows a
    property, relaxed, busted, single energies, and of a cell of the ablations.
    """

    samples: int
    embedded: int
    conditional: int
    relaxed: int
    busted: int
    energies: int
    cell: int

    @property
    def starts(self) -> int:
        """Molecules, for each task, of which a part is replaced."""
        return max(1, self.cell // CELL_PER_START)


QUICK = Size(
    samples=500, embedded=200, conditional=100, relaxed=8, busted=40, energies=100, cell=100
)
FULL = Size(
    samples=10_000, embedded=1000, conditional=500, relaxed=200, busted=150, energies=600, cell=1000
)


def run(
    full: bool = False,
    progress: Progress | None = None,
    limit: int | None = None,
    drugs: str | None = None,
    parts: str | None = None,
    into: str | None = None,
) -> dict[str, Any]:
    """Every row, or those of some parts.

    Parameters
    ----------
    full : bool, optional
        10,000 samples of a model.
    progress : callable, optional
        Called with a line of text before every part.
    limit : int, optional
        At most so many of everything, for tests, on one core.
    drugs : str, optional
        Weights of a model of drug-size molecules: the rows of `equidrift.bench.drugs`
        instead.
    parts : str, optional
        Names of `PARTS`, with commas between them; None measures all.
    into : str, optional
        A JSON file that the rows are put into after every part; its other rows stay.

    Raises
    ------
    InputError
        If the packed QM9 is missing; the message tells how to make it. If `into` holds
        no result of this benchmark; UnknownNameError for another part.
    """
    if drugs is not None:
        from equidrift.bench.drugs import run as drug_rows  # loads a model family

        return drug_rows(drugs, full=full, progress=progress, limit=limit)
    size = FULL if full else QUICK
    if limit is not None:
        size = Size(**{name: min(limit, value) for name, value in vars(size).items()})
    say = progress or silent
    with ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("spawn"), initializer=one_thread
    ) as pool:

        @cache
        def bench() -> Bench:  # read when the parts and the file are known to be sound
            return Bench(load_qm9(), size, say, map if limit is not None else pool.map)

        def part(name: str) -> list[Row]:
            return bench().part(name)

        making = {name: partial(part, name) for name in PARTS}
        return measured("molecules", making, parts, into)


class Bench:
    """One run of the benchmark: the data, how much is measured, who is told, and what
    applies a function to each of several.
    """

    def __init__(self, data: QM9, size: Size, say: Progress, each: metrics.Each) -> None:
        self.data, self.size, self.say, self.each = data, size, say, each
        self.known = Known(data)

    @cached_property
    def models(self) -> dict[str, MoleculeModel]:
        """Those whose weights are there."""
        return self.shipped(MODELS)

    @cached_property
    def reference(self) -> dict[str, NDArray[np.float64]]:
        """Quantities of held-out molecules."""
        return self.quantities(self.chosen("test", 2 * self.size.embedded))

    def shipped(self, names: Sequence[str]) -> dict[str, MoleculeModel]:
        """The models of these names whose weights are there."""
        found = {name: shipped(name, self.say) for name in names}
        return {name: model for name, model in found.items() if model is not None}

    def part(self, name: str) -> list[Row]:
        """The rows of one of `PARTS`; none if what they need is not there."""
        if name in MODELS:
            model = self.models.get(name)
            return [] if model is None else self.model_rows(name, model)
        making: dict[str, Callable[[], list[Row]]] = {
            "controls": self.control_rows,
            "targets": self.conditional_rows,
            "replaced": self.better_rows,
            "ablations": lambda: ablation_rows(self.size.cell, self.each, self.say),
            "reconstruction": self.reconstruction_rows,
            "spectra": self.spectra_rows,
            "pockets": self.pocket_rows,
        }
        return left_out_or(self.say, name, making[name])

    def chosen(self, split: str, count: int) -> list[Raw]:
        """Random molecules of a part of QM9."""
        rows = self.data.rows(split)
        return [
            molecule_of(self.data, int(k))
            for k in np.random.default_rng(0).choice(rows, min(count, len(rows)), replace=False)
        ]

    def control_rows(self) -> list[Row]:
        """Training molecules in the place of new ones, and what papers say."""
        self.say("train/random")
        train = self.chosen("train", self.size.embedded)
        return [row("train/random", self.quality(train)[0], len(train)), *sample_papers()]

    def model_rows(self, name: str, model: MoleculeModel) -> list[Row]:
        """A model's samples without the refiner, with it, and relaxed by MMFF94, and
        RDKit's embedding of its graphs.
        """
        unrefined = shipped(f"{name}-raw", self.say)
        rows = [] if unrefined is None else [self.drawn(name, "raw", unrefined)[0]]
        made, raws, draws = self.drawn(name, "refined", model)
        rows.append(made)
        # with the stereo that was seen, if there is any; what is no molecule stays in
        chosen = [
            raw
            if draw.molecule is None or draw.positions_A is None
            else (draw.molecule, draw.positions_A)
            for raw, draw in zip(raws, draws, strict=True)
        ][: self.size.embedded]
        control = "rdkit/mmff" if name == "joint" else f"rdkit/mmff-{name}"  # of the same graphs
        for label, relaxed in ((f"{name}/mmff", mmff), (control, embedded)):
            self.say(label)
            values = self.quality(list(self.each(relaxed, chosen)))[0]
            rows.append(row(label, values, len(chosen)))
        return rows

    def drawn(
        self, name: str, label: str, model: MoleculeModel
    ) -> tuple[Row, list[Raw | None], list[Draw]]:
        """The row of a model's samples, they, and what became of each."""
        samples = self.size.samples
        self.say(f"{name}/{label}: {samples} samples")
        raws, seconds = self.timed(f"{name}-raw" if label == "raw" else name, samples)
        values, draws = self.quality(raws)
        speed = {
            "molecules_per_s": len(raws) / seconds,
            "calls": float(model.default_calls or model.default_steps or 0),
            "training_minutes": training_minutes(name),
        }
        values |= {key: value for key, value in speed.items() if value}
        return row(f"{name}/{label}", values, len(raws)), raws, draws

    def timed(self, name: str, samples: int) -> tuple[list[Raw | None], float]:
        """Samples of a model, and the seconds they took."""
        seeds = sample_seeds(0, 0, samples)
        # every process has its model by the time that counts
        list(self.each(sampled, [(name, sample_seeds(1, 0, 2), None)] * (os.cpu_count() or 1)))
        begun = time.perf_counter()
        parts = self.each(sampled, [(name, seeds[k], None) for k in in_parts(samples)])
        raws = [raw for part in parts for raw in part]
        return raws, time.perf_counter() - begun

    def quality(self, raws: Sequence[Raw | None]) -> tuple[dict[str, Any], list[Draw]]:
        """All metrics of a set of samples, and what became of each sample."""
        judged, draws = metrics.validity(raws)
        shares = metrics.stability(raws) | judged
        unique = {draw.molecule.smiles for draw in draws if draw.molecule is not None}
        novel = {"novel": 100.0 * len(unique - self.known.among(draws)) / max(1, len(unique))}
        values = shares | share_errors(shares, len(raws))
        values |= novel | share_errors(novel, len(unique))
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
        if tblite is installed.
        """
        names = DESCRIPTORS
        table = descriptors([molecule for molecule, _ in systems])
        out = dict(zip(names, table.T, strict=True))
        with suppress(MissingDependencyError):  # tblite is optional
            energies = self.each(gfn2_energy, spread(systems, self.size.energies))
            out["energy_eV"] = np.array(list(energies))
        return out

    def better_rows(self) -> list[Row]:
        """Parts of molecules replaced, and the share that is better than the start."""
        systems = self.chosen("test", STARTS_SEEN * self.size.starts)
        return better_rows(systems, load_properties(), self.size.starts, self.each, self.say)

    def pocket_rows(self) -> list[Row]:
        """Molecules for pockets, beside those that are docked."""
        count = max(1, self.size.starts // STARTS_PER_DOCKED)
        return pocket_rows(self.chosen("train", count), count, self.each, self.say)

    def conditional_rows(self) -> list[Row]:
        """Samples for targets; none without the network of properties."""
        try:
            judge = load_properties()
        except UnknownNameError:
            self.say("left out: conditional rows, since the network of properties is not there")
            return []
        targeted = self.models | self.shipped((CHOOSER, NETWORK))
        return conditional_rows(
            self.data, targeted, judge, self.size.conditional, self.each, self.say
        )

    def reconstruction_rows(self) -> list[Row]:
        """Molecules and conformers through the autoencoders."""
        # imported here, as below: loads a model family that other rows do without
        from equidrift.bench.reconstruction import reconstruction_rows

        self.say("reconstruction")
        return reconstruction_rows(data_or_here(), self.size.embedded)

    def spectra_rows(self) -> list[Row]:
        """Molecules found by their spectra."""
        from equidrift.bench.spectra import spectra_rows
        from equidrift.bench.spectra_generated import generated_rows

        self.say("spectra")
        folder, size = data_or_here(), self.size.embedded
        made = generated_rows(folder, max(1, size // PER_GENERATED), say=self.say)
        return spectra_rows(folder, size) + made


def _sound(draws: Iterable[Draw]) -> list[Raw]:
    return [
        (draw.molecule, draw.positions_A)
        for draw in draws
        if draw.molecule is not None and draw.positions_A is not None
    ]


def shipped(name: str, say: Progress) -> MoleculeModel | None:
    """The model of that name, None if its weights are not there."""
    try:
        return cached_model(name)
    except (UnknownNameError, ImportError) as error:
        say(f"left out: {name}, which is not there ({error})")
        return None


def training_minutes(name: str) -> float:
    """Minutes of training that the cards of a model and of its autoencoders tell; 0
    if they tell none.
    """
    total = 0.0
    for part in WEIGHTS_OF[name]:
        try:
            card = read_card(find(part))
        except EquidriftError:
            return 0.0
        # cards of version 0.1 said it in words
        told = re.search(r"([\d.]+) minutes", card["description"])
        if "run" in card:
            total += float(card["run"]["minutes"])
        elif told:
            total += float(told[1])
    return total


def left_out_or(say: Progress, name: str, rows: Callable[[], list[Row]]) -> list[Row]:
    """Rows, or none, and why, if what they need is not there."""
    try:
        return rows()
    except (EquidriftError, ImportError) as error:
        say(f"left out: {name} ({error})")
        return []
