"""`equidrift bench conformers`: all models on held-out molecules with GFN2-xTB
references (GeoDiff's protocol, arXiv:2203.02923).

2K samples for K references of 56 QM9 molecules of the test part, heavy-atom RMSD over all
symmetries, the energy that GFN2-xTB releases when it relaxes the samples, and speed
measured in the same run. System A stands against annealed Langevin at equal numbers of
calls. On drug-size molecules of ZINC's test part every stage of the default is taken away,
and alone; molecules of seven and more rotatable bonds are a part of their own. The package
holds these references; properties of whole ensembles are measured on 100 molecules of
`gfn2_conformers/qm9_val.npz`, the validation part.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.xtb import gfn2_relax, require_tblite
from equidrift.adapters.rdkit.rmsd import rmsd_matrix
from equidrift.bench.coverage import THRESHOLDS_A, coverage
from equidrift.bench.ensemble_properties import ensemble_errors
from equidrift.bench.machine import Progress, System, cpu_s, references, shipped
from equidrift.bench.parts import Parts, benchmark, of_data
from equidrift.bench.rows import Row, medians, published, row, share_errors
from equidrift.checks.geometry import STEREO_REASONS, GeometryCheck
from equidrift.engine.chain import ENERGY_STEPS
from equidrift.engine.conformers import generate_windows, make_settings
from equidrift.records import Molecule
from equidrift.registry import make_model, make_refiner
from equidrift.seeds import sample_seeds
from equidrift.torsions import TorsionTree
from equidrift.units import KCAL_MOL_PER_EV

QM9, QUICK_MOLECULES, QUICK_RELAXED, FULL_RELAXED = "references_qm9.npz", 12, 12, 30
DRUGS, FLEXIBLE, QUICK_DRUGS = "references_zinc.npz", "references_flexible.npz", 4
FULL_ENSEMBLES, QUICK_ENSEMBLES = 100, 8
PLAIN = {"refiner": None, "energy": None, "cross": False, "effort": 4}
LOWEST, COVERING = {**PLAIN, "select": "energy"}, {**PLAIN, "select": "coverage"}
# row -> (model, its options, network calls of one conformer)
Rows = dict[str, tuple[str, dict[str, Any], int]]
ROWS: Rows = {
    "etkdg": ("etkdg", {}, 0),
    "etkdg-mmff": ("etkdg-mmff", {}, 0),
    # of four embeddings a conformer the lowest MMFF94 energies, or those that stand for most low
    # ones: about the price of the default
    "etkdg-mmff-lowest": ("default", LOWEST, 0),
    "etkdg-mmff-coverage": ("default", COVERING, 0),
    "equidrift": ("default", {}, 2),
    "no-selection": ("default", {"select": "diverse"}, 2),
    "etkdg-refine": ("etkdg-refine", {}, 2),
    "conformer": ("conformer", {}, 10),
    "conformer-refine": ("conformer-refine", {}, 12),
    "se3-distance": ("se3-distance", {}, 100),
    "se3-distance-gauss-newton": ("se3-distance-gauss-newton", {}, 100),
}
WITHOUT_NETWORK = ("etkdg", "etkdg-mmff", "etkdg-mmff-lowest", "etkdg-mmff-coverage")
# measured on every third molecule in the short form
SLOW = ("conformer", "conformer-refine", "se3-distance", "se3-distance-gauss-newton")
# `default` in full, with other efforts, and with single stages taken away or alone
DRUG_ROWS: Rows = {
    **{label: ROWS[label] for label in WITHOUT_NETWORK},
    "equidrift": ("default", {}, 2 + ENERGY_STEPS),
    "effort-4": ("default", {"effort": 4}, 2 + ENERGY_STEPS),
    "effort-16": ("default", {"effort": 16}, 2 + ENERGY_STEPS),
    "no-crossing": ("default", {"cross": False}, 2 + ENERGY_STEPS),
    "no-mirror": ("default", {"mirror": False}, 2 + ENERGY_STEPS),
    "no-selection": ("default", {"select": "diverse"}, 2 + ENERGY_STEPS),
    "no-refiner": ("default", {"refiner": None, "energy": "conformer-energy"}, ENERGY_STEPS),
    "no-energy": ("default", {"energy": None, "select": "coverage"}, 2),
    "selection-alone": ("default", {"refiner": None, "energy": None, "select": "coverage"}, 0),
    "lowest": ("default", {"select": "energy"}, 2 + ENERGY_STEPS),
    "neither": ("default", {"energy": None}, 2),
    "etkdg-mmff-refine": ("etkdg-mmff-refine", {}, 2),
    # one of eight candidates, then all, with bonds turned by the torsion diffusion
    "turned": ("torsions-all", {}, 10 + ENERGY_STEPS),
    "turned-no-crossing": ("torsions-all", {"cross": False}, 66 + ENERGY_STEPS),
}
# part -> its rows in the long form and in the short one
DRUG_PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "drugs": (
        (*WITHOUT_NETWORK, "equidrift", "effort-4", "effort-16"),
        ("etkdg-mmff", "equidrift"),
    ),
    "stages": (
        (
            *("lowest", "no-crossing", "no-mirror", "no-selection", "no-refiner", "no-energy"),
            *("selection-alone", "neither", "etkdg-mmff-refine"),
        ),
        ("no-energy",),
    ),
    "turns": (("turned", "turned-no-crossing"), ("turned",)),
}
MANY_TORSIONS = 7
FLEXIBLE_ROWS = (*WITHOUT_NETWORK[1:], "equidrift")
ENSEMBLE_ROWS = {label: ROWS[label][0] for label in ("etkdg-mmff", "equidrift")}
# of these rows GFN2-xTB relaxes a sample of every molecule
RELEASED = ("etkdg-mmff", "equidrift", "no-refiner", "no-energy", "etkdg-mmff-refine", "turned")
DRUG_THRESHOLDS_A = (0.1, 0.25, 0.5, 0.75)
# solver of se3-distance -> its options; Langevin's map and step were chosen on validation molecules
SOLVERS: dict[str, dict[str, Any]] = {
    "sde": {},
    "ode": {"solver": "ode"},
    "langevin": {"solver": "langevin", "map": "gauss-newton", "step_rate": 0.3},
}
SOLVER_CALLS, FULL_SOLVED, QUICK_SOLVED = (20, 50, 100), 12, 2
# Published on QM9 under another protocol (arXiv:2403.01430, "GD-P": 200 test molecules, DFT-free
# references): for orientation.
PUBLISHED = {
    "se3-invariant-diffusion-published": {"COV-R@0.5": 90.81, "AMR-R": 0.2691, "calls": 100},
    "geodiff-published": {
        "COV-R@0.5": 90.07,
        "AMR-R": 0.2090,
        "COV-P@0.5": 52.79,
        "AMR-P": 0.4448,
        "calls": 5000,
    },
}


def parts_of(full: bool, say: Progress) -> Parts:
    """What measures qm9, solvers, ensembles, drugs, stages, turns, flexible.

    The long form has all 56 molecules of QM9 with 30 relaxations a row, twelve for the
    solvers, 100 ensembles, and all molecules of drug size in every row; else 12 (every
    third for the slow models from noise), 2, 8 and 4 in fewer rows, in under ten minutes.
    MissingDependencyError without tblite.
    """
    require_tblite()
    file = "gfn2_conformers/qm9_val.npz"
    small = partial(shipped, QM9)
    drugs = None if full else QUICK_DRUGS
    ensembles = FULL_ENSEMBLES if full else QUICK_ENSEMBLES

    def of_drugs(part: str) -> list[Row]:
        in_full, in_short = DRUG_PARTS[part]
        return drug_rows("zinc-test", shipped(DRUGS, drugs), in_full if full else in_short, say)

    return {
        "qm9": lambda: small_rows(small(None if full else QUICK_MOLECULES), full, say),
        "solvers": lambda: solver_rows(small(FULL_SOLVED if full else QUICK_SOLVED), say),
        "ensembles": lambda: of_data(
            "ensembles",
            [file],
            lambda folder: ensemble_rows(references(folder / file, None)[:ensembles], say),
            say,
        ),
        **{part: partial(of_drugs, part) for part in DRUG_PARTS},
        "flexible": lambda: drug_rows("zinc-test-flexible", flexible()[:drugs], FLEXIBLE_ROWS, say),
    }


run = benchmark("conformers", parts_of)


def flexible() -> list[System]:
    """The drug-size molecules of the package with many rotatable bonds."""
    known = shipped(FLEXIBLE, None) + shipped(DRUGS, None)
    return [one for one in known if TorsionTree.of(one[0]).n_torsions >= MANY_TORSIONS]


def small_rows(systems: list[System], full: bool, say: Progress) -> list[Row]:
    """All models on molecules of QM9, their speeds as ratios, and the published rows."""
    n_relaxed = FULL_RELAXED if full else QUICK_RELAXED
    rows: list[Row] = []
    relaxation_ms = 0.0
    for label, (name, options, calls) in ROWS.items():
        say(f"qm9-test/{label}: {name} {options or ''}".rstrip())
        with ProcessPoolExecutor(
            1, mp_context=get_context("spawn")
        ) as own_process:  # its peak memory is then the row's
            chosen = systems[::3] if label in SLOW and not full else systems
            samples, values = own_process.submit(sampled, name, chosen, None, options).result()
        values |= quality(chosen, samples) | {"molecules": len(chosen)}
        released, ms = energy_released(chosen, samples, n_relaxed)
        values |= released | {"calls": calls}
        rows.append(row(f"qm9-test/{label}", values, len(chosen)))
        if name == "etkdg-mmff":
            relaxation_ms = ms
            say("qm9-test/refine")
            values = refined(systems, samples, n_relaxed)
            rows.append(row("qm9-test/refine", values, len(systems)))
    add_ratios(rows, relaxation_ms)
    return rows + [published(f"qm9/{name}", values) for name, values in PUBLISHED.items()]


def sampled(
    name: str,
    systems: list[System],
    steps: int | None = None,
    options: dict[str, Any] | None = None,
) -> tuple[list[NDArray[np.float64]], dict[str, float]]:
    """2K valid samples per molecule, with the share of right stereo among all draws,
    the processor time and the peak memory.
    """
    model = make_model(
        name, **({"num_threads": 0} if name in ("etkdg", "etkdg-mmff") else {}), **(options or {})
    )
    warm = Molecule.from_smiles("CCO")
    model.sample(warm, sample_seeds(1, 0, 1))
    settings = make_settings(model=model, steps=steps)
    samples = [np.zeros((0, molecule.n_atoms, 3)) for molecule, _ in systems]
    wrong = drawn = 0
    begun_cpu_s = cpu_s()
    # the engine draws one n for all it is given
    for n in sorted({2 * len(known) for _, known in systems}):
        chosen = [k for k, (_, known) in enumerate(systems) if 2 * len(known) == n]
        windows = generate_windows([systems[k][0] for k in chosen], n, settings=settings)
        for piece in chain.from_iterable(windows):
            if piece.ensemble is None:
                continue
            k = chosen[piece.index]
            samples[k] = np.concatenate([samples[k], piece.ensemble.positions_A])
            if len(systems[k][0].tetrahedral) or len(systems[k][0].double_bonds):
                drawn += piece.ensemble.provenance["drawn"]
                wrong += sum(
                    piece.ensemble.provenance["rejected"].get(reason, 0)
                    for reason in STEREO_REASONS
                )
    spent_s = cpu_s() - begun_cpu_s
    count = sum(map(len, samples))
    right = {"stereo": 100.0 * (1 - wrong / max(1, drawn))}
    values = {
        **right,
        **share_errors(right, drawn),
        "cpu_ms_per_conformer": 1000 * spent_s / max(1, count),
        "peak_memory_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    return samples, values | {"conformers": count}


def solver_rows(systems: list[System], say: Progress) -> list[Row]:
    """System A's SDE and ODE against annealed Langevin with the same network, at equal
    numbers of calls.
    """
    rows = []
    for solver, options in SOLVERS.items():
        for calls in SOLVER_CALLS:
            say(f"qm9-test/se3-distance-{solver}-{calls}")
            samples, values = sampled("se3-distance", systems, calls, options)
            values |= quality(systems, samples) | {"calls": calls, "molecules": len(systems)}
            rows.append(row(f"qm9-test/se3-distance-{solver}-{calls}", values, len(systems)))
    return rows


def ensemble_rows(systems: list[System], say: Progress) -> list[Row]:
    """Ensemble properties of the default's conformers and of ETKDG + MMFF94's."""
    rows = []
    for label, name in ENSEMBLE_ROWS.items():
        say(f"ensembles/{label}: {len(systems)} molecules, each conformer relaxed by GFN2-xTB")
        samples, _ = sampled(name, systems)
        rows.append(row(f"ensembles/{label}", ensemble_errors(systems, samples), len(systems)))
    return rows


def drug_rows(part: str, systems: list[System], labels: Iterable[str], say: Progress) -> list[Row]:
    """The default, its stages and the baselines on drug-size molecules."""
    rows = []
    for label in labels:
        name, options, calls = DRUG_ROWS[label]
        say(f"{part}/{label}: {name} {options or ''}".rstrip())
        samples, values = sampled(name, systems, options=options)
        values |= quality(systems, samples, DRUG_THRESHOLDS_A)
        if label in RELEASED:
            values |= energy_released(systems, samples, len(systems))[0]
        values |= {"molecules": len(systems), "calls": calls}
        rows.append(row(f"{part}/{label}", values, len(systems)))
    return rows


def quality(
    systems: list[System],
    samples: list[NDArray[np.float64]],
    thresholds_A: tuple[float, ...] = THRESHOLDS_A,
) -> dict[str, float]:
    """Coverage and matching of samples against references."""
    return coverage(
        [
            rmsd_matrix(molecule, known, made)
            for (molecule, known), made in zip(systems, samples, strict=True)
        ],
        thresholds_A,
    )


def energy_released(
    systems: list[System], samples: list[NDArray[np.float64]], count: int
) -> tuple[dict[str, float], float]:
    """Median kcal/mol that GFN2-xTB relaxation releases from one sample per molecule,
    with its standard error and the number `relaxed`; processor time of a relaxation in
    ms.
    """
    chosen = [
        k
        for k in np.linspace(0, len(systems) - 1, min(count, len(systems))).astype(int)
        if len(samples[k])
    ]
    jobs = [(systems[k][0], samples[k][len(samples[k]) // 2][None]) for k in chosen]
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(relaxed, [jobs[k::cores] for k in range(cores)]))
    released = [value for values, _ in parts for value in values]
    values = medians({"energy_released_kcal_mol": released}) | {"relaxed": len(released)}
    return values, 1000 * sum(seconds for _, seconds in parts) / max(1, len(released))


def relaxed(jobs: list[System]) -> tuple[list[float], float]:
    """(kcal/mol released by each relaxation, processor seconds they took), on one core,
    by plain BFGS to 0.01 eV/A.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    before = [gfn2_relax(molecule, positions, 0)[1][0] for molecule, positions in jobs]
    begun_s = cpu_s()
    after = [gfn2_relax(molecule, positions, fmax_eV_A=0.01)[1][0] for molecule, positions in jobs]
    seconds = cpu_s() - begun_s
    return [float(b - a) * KCAL_MOL_PER_EV for b, a in zip(before, after, strict=True)], seconds


def refined(
    systems: list[System], starts: list[NDArray[np.float64]], count: int
) -> dict[str, float]:
    """The refiner alone, on ETKDG + MMFF94 conformers."""
    refiner = make_refiner("refine")
    jobs = [(molecule, x) for (molecule, _), x in zip(systems, starts, strict=True)]
    refiner.refine_many(jobs[:2])
    begun_s = cpu_s()
    moved = refiner.refine_many(jobs)
    seconds = cpu_s() - begun_s
    right = [
        np.isin(GeometryCheck(m)(x), STEREO_REASONS)
        for (m, _), x in zip(systems, moved, strict=True)
    ]
    wrong = np.concatenate(right)
    stereo = {"stereo": 100.0 * (1 - float(wrong.mean()))}
    values = quality(systems, moved) | stereo | share_errors(stereo, len(wrong))
    values |= {
        "cpu_ms_per_conformer": 1000 * seconds / sum(map(len, moved)),
        "conformers": sum(map(len, moved)),
        "calls": refiner.default_steps or 0,
    }
    return values | energy_released(systems, moved, count)[0]


def add_ratios(rows: list[Row], relaxation_ms: float) -> None:
    """Speeds as ratios of processor times of this run: over ETKDG + MMFF94, and over
    GFN2-xTB relaxation.
    """
    by_name = {one["row"]: one["values"] for one in rows}
    mmff_ms = by_name["qm9-test/etkdg-mmff"]["cpu_ms_per_conformer"]
    for values in by_name.values():
        ms = values["cpu_ms_per_conformer"]
        values |= {
            "over_etkdg-mmff": mmff_ms / ms,
            "over_etkdg-mmff-gfn2": (mmff_ms + relaxation_ms) / ms,
            "over_gfn2": relaxation_ms / ms,
        }
