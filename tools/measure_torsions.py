#!/usr/bin/env python3
"""Measure what candidates are worth: ETKDG's own, bonds turned at random, and bonds
turned by the torsion diffusion, with the same selection and relaxation.

    measure_torsions.py REFERENCES.npz --weights WEIGHTS [--molecules 10] [--effort 8]
    [--shared 4] [--steps 8] [--kT 1.5] [--full-chain] [--seed 0] [--json FILE]

REFERENCES are those of make_gfn2_references.py, of molecules that were not trained on.
2K conformers are made for K references of a molecule, each the lowest new one of
`--effort` candidates, relaxed with MMFF94 (`--full-chain`: refined and ranked as the
default does). "crossed" is the default's way: one candidate for each conformer is drawn,
the others take torsions of relaxed ones; without it all are drawn. Every way stands there
twice: at an equal number of candidates, and with as many (in steps of one a conformer) as
take the processor time of the default's way, "etkdg, crossed".
"""

import argparse
import json
from dataclasses import dataclass

import numpy as np
from measure_chain import SHOWN, THRESHOLDS_A, sampled

from equidrift.bench.coverage import coverage
from equidrift.bench.machine import System, references
from equidrift.engine.chain import Chain
from equidrift.engine.presets import MOST_EFFORT
from equidrift.models.torsions.distances.conformers import TurnedConformers
from equidrift.protocols import ConformerModel
from equidrift.torsions import TorsionTree
from equidrift.units import KCAL_MOL_PER_EV

CHAIN = {"refiner": None, "energy": None}
FULL_CHAIN = {"refiner": "refine", "energy": "conformer-energy"}
Way = tuple[ConformerModel | None, bool]  # makes the draws, ETKDG if None; whether they are crossed
DEFAULT = "etkdg, crossed"
DRUG_ATOMS = 30


@dataclass(frozen=True)
class Measured:
    """Figures of one way; `ms` is the processor time per conformer."""

    effort: int
    ms: float
    conformers: int
    values: dict[str, float]


def measured(way: Way, systems: list[System], effort: int, args: argparse.Namespace) -> Measured:
    """2K conformers of each molecule from the candidates of a way."""
    start, cross = way
    chain = Chain(
        select="energy",
        effort=effort,
        cross=cross,
        num_threads=1,
        **(FULL_CHAIN if args.full_chain else CHAIN),
    )
    if start is not None:
        chain.start = start
    distances, ms, count = sampled(chain, systems, args.seed)
    return Measured(effort, ms, count, coverage(distances, THRESHOLDS_A))


def equal_effort(own: Measured, wanted_ms: float) -> int:
    """The effort at which a way takes so much time, which grows with the effort."""
    return int(np.clip(round(own.effort * wanted_ms / own.ms), 1, MOST_EFFORT))


def show(label: str, m: Measured) -> None:
    """One line."""
    errors = {name: m.values.get(f"{name}_se", np.nan) for name in SHOWN}  # none of one molecule
    cells = [f"{name} {m.values[name]:.3f} +- {errors[name]:.3f}" for name in SHOWN]
    price = f"effort {m.effort:2d} {m.ms:7.1f} ms  n {m.conformers:4d} "
    print(f"{label:24s}", price, *cells, flush=True)


def main(given: list[str] | None = None) -> None:
    """Measure and print a line per way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("references")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--molecules", type=int, default=10)
    parser.add_argument("--effort", type=int, default=8)
    parser.add_argument("--shared", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--kT", type=float, default=1.5, help="kcal/mol")
    parser.add_argument("--full-chain", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args(given)
    systems = [s for s in references(args.references, args.molecules) if turns(s)]
    print(f"{len(systems)} molecules, {sum(len(known) for _, known in systems)} references")
    options = {"shared": args.shared, "steps": args.steps, "kT_eV": args.kT / KCAL_MOL_PER_EV}
    turned = {
        "diffusion": TurnedConformers(args.weights, **options),
        "uniform": TurnedConformers(None, **options),
    }
    ways: dict[str, Way] = {DEFAULT: (None, True), "etkdg": (None, False)}
    for name, start in turned.items():
        ways |= {f"{name}, crossed": (start, True), name: (start, False)}
    figures: dict[str, Measured] = {}
    for name, way in ways.items():
        own = figures[name] = measured(way, systems, args.effort, args)
        show(name, own)
        effort = equal_effort(own, figures[DEFAULT].ms)
        if effort != args.effort:
            figures[f"{name}, equal time"] = again = measured(way, systems, effort, args)
            show(f"{name}, equal time", again)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({name: vars(value) for name, value in figures.items()}, file, indent=1)


def turns(system: System) -> bool:
    """Whether a molecule is of drug size and has torsions."""
    molecule = system[0]
    return molecule.n_atoms >= DRUG_ATOMS and TorsionTree.of(molecule).n_torsions > 0


if __name__ == "__main__":
    main()
