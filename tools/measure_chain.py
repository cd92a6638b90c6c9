#!/usr/bin/env python3
"""Measure what options of a model are worth on reference conformers, paired with the
first way: what choices are made by.

    measure_chain.py WAY [WAY ...] [--references FILE.npz] [--least-atoms 30]
                     [--molecules N] [--seed 0] [--json FILE]

WAY is a model and its options, `default` or `default:effort=4,select=energy`. References are
those of make_gfn2_references.py; references_zinc_val.npz beside this file, if they are
not given: 20 molecules of ZINC's validation part, `list --part val`, then `make --each 55`.
2K conformers are made for K references of a molecule.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.rdkit.rmsd import rmsd_matrix
from equidrift.bench.coverage import coverage
from equidrift.bench.machine import System, references
from equidrift.cli.checked import model_options
from equidrift.protocols import ConformerModel
from equidrift.registry import make_model
from equidrift.seeds import sample_seeds

VALIDATION = Path(__file__).parent / "references_zinc_val.npz"
THRESHOLDS_A = (0.1, 0.25, 0.5, 0.75)
SHOWN = ("AMR-R", "AMR-P", *(f"COV-R@{t:g}" for t in THRESHOLDS_A))


@dataclass(frozen=True)
class Measured:
    """Figures of one way: of every molecule, and the processor time per conformer."""

    ms: float
    molecules: list[dict[str, float]]

    def column(self, name: str) -> NDArray[np.float64]:
        """One figure of every molecule."""
        return np.array([values[name] for values in self.molecules])


def options_of(way: str) -> tuple[str, dict[str, Any]]:
    """The model of a way and its options, read as those of `--set`."""
    name, _, rest = way.partition(":")
    return name, model_options(rest.split(",") if rest else None)


def measured(way: str, systems: list[System], seed: int) -> Measured:
    """2K conformers of each molecule from a way."""
    name, options = options_of(way)
    distances, ms, _ = sampled(make_model(name, **options), systems, seed)
    return Measured(ms, [coverage([one], THRESHOLDS_A) for one in distances])


def sampled(
    model: ConformerModel, systems: list[System], seed: int
) -> tuple[list[NDArray[np.float64]], float, int]:
    """RMSD (K, m) of the references from the sound ones of 2K conformers of each
    molecule, processor time per conformer in ms, and their number.
    """
    begun, samples = time.process_time(), []
    for k, (molecule, known) in enumerate(systems):
        made = model.sample(molecule, sample_seeds(seed + k, 0, 2 * len(known)))
        samples.append(made[np.isfinite(made).all(axis=(1, 2))])
    spent_s, count = time.process_time() - begun, sum(map(len, samples))
    distances = [
        rmsd_matrix(molecule, known, made)
        for (molecule, known), made in zip(systems, samples, strict=True)
    ]
    return distances, 1000 * spent_s / max(1, count), count


def show(way: str, own: Measured, first: Measured) -> None:
    """One line: means, and what they differ from the first way's, with standard errors;
    of the molecules that both answer.
    """
    cells = []
    both = np.isfinite(own.column("AMR-R") - first.column("AMR-R"))
    for name in SHOWN:
        gap = (own.column(name) - first.column(name))[both]
        error = gap.std(ddof=1) / len(gap) ** 0.5 if len(gap) > 1 else np.nan
        paired = "" if own is first else f" ({gap.mean():+.3f} +- {error:.3f})"
        cells.append(f"{name} {own.column(name)[both].mean():.3f}{paired}")
    print(f"{way:32s} {own.ms:6.1f} ms  n {both.sum()} ", *cells, flush=True)


def main(given: list[str] | None = None) -> None:
    """Measure and print a line per way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ways", nargs="+", metavar="WAY")
    parser.add_argument("--references", default=VALIDATION)
    parser.add_argument("--least-atoms", type=int, default=30)
    parser.add_argument("--molecules", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args(given)
    systems = [s for s in references(args.references, None) if s[0].n_atoms >= args.least_atoms]
    systems = systems[: args.molecules]
    print(f"{len(systems)} molecules, {sum(len(known) for _, known in systems)} references")
    figures: dict[str, Measured] = {}
    for way in args.ways:
        figures[way] = measured(way, systems, args.seed)
        show(way, figures[way], figures[args.ways[0]])
    if args.json:
        with open(args.json, "w") as file:
            json.dump({way: asdict(own) for way, own in figures.items()}, file, indent=1)


if __name__ == "__main__":
    main()
