"""Rows of `equidrift bench backbones` on molecules: energies and forces of rMD17 by 950
frames of one molecule, and the gap of QM9 by 10,000 molecules.

Every trunk is trained for the same CPU time, from the same seed; an energy is the sum of
its atoms' scalars and its forces are the gradient, a gap is the mean. Errors are
absolute ones in meV and meV/A, of unseen frames and molecules. `frames` is left out: a
molecule of n atoms costs it n^2 calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.bench.machine import Progress
from equidrift.bench.parts import of_data
from equidrift.bench.rows import Row, means, row
from equidrift.models.molecules.data import HARTREE_EV
from equidrift.models.shared.backbones import energies
from equidrift.models.shared.backbones.choice import TRUNKS
from equidrift.models.shared.backbones.fit import parameters
from equidrift.models.shared.split import held_out
from equidrift.registry import host_function
from equidrift.units import KCAL_MOL_PER_EV

MOLECULES = ("aspirin", "ethanol", "benzene")
FRAMES, FRAMES_TEST, FRAMES_QUICK = 950, 1000, 60
GAPS, GAPS_TEST, GAPS_QUICK = 10_000, 1000, 100
BUDGET_S = {"rmd17": (4.0, 100.0), "qm9": (8.0, 300.0)}  # CPU time of a training: short, full
BATCH = {"rmd17": 5, "qm9": 20}
WIDTH, LAYERS = 32, 3
# trunks that cost too much: n^2 calls, and one product of features is enough of two
LEFT_OUT = ("frames", "gaunt-fourier")
ELEMENTS = (1, 6, 7, 8, 9)
MEV = 1000.0
TURNED = 50  # molecules that are turned


def molecule_rows(full: bool, say: Progress) -> list[Row]:
    """Rows of all data sets that the folder EQUIDRIFT_DATA holds."""

    def dynamics(folder: Path) -> list[Row]:
        rows: list[Row] = []
        for molecule in MOLECULES:
            test = FRAMES_TEST if full else FRAMES_QUICK
            train, unseen, scale_eV = rmd17(folder, molecule, test)
            rows += set_rows(f"rmd17-{molecule}", "rmd17", train, unseen, scale_eV, full, say)
        return rows

    def gaps(folder: Path) -> list[Row]:
        train, unseen, scale_eV = qm9_gaps(folder, GAPS, GAPS_TEST if full else GAPS_QUICK)
        return set_rows("qm9-gap", "qm9", train, unseen, scale_eV, full, say)

    return [
        *of_data("rmd17", ["rmd17"], dynamics, say),
        *of_data("qm9-gap", ["qm9_130831.npz"], gaps, say),
    ]


def set_rows(
    label: str,
    kind: str,
    train: energies.Clouds,
    unseen: energies.Clouds,
    scale_eV: float,
    full: bool,
    say: Progress,
) -> list[Row]:
    """The rows of one data set: the mean, and every trunk."""
    unit = MEV * scale_eV
    still = {"energy_meV": unit * unseen.energies.abs()}
    if unseen.with_forces:
        still["forces_meV_A"] = unit * unseen.forces.abs().mean((1, 2))
    rows = [row(f"{label}/mean", means(still), len(unseen))]
    budget_s = BUDGET_S[kind][full]
    for name in TRUNKS:
        if name not in LEFT_OUT:
            say(f"{label}: {name}, {budget_s:.0f} s of CPU")
            values = trunk_values(name, train, unseen, budget_s, BATCH[kind], unit)
            rows.append(row(f"{label}/{name}", values, len(unseen)))
    return rows


def trunk_values(
    name: str,
    train: energies.Clouds,
    unseen: energies.Clouds,
    budget_s: float,
    batch: int,
    unit: float,
) -> dict[str, float]:
    """What a trunk errs by in `unit`s once it is trained, and what it took."""
    trunk, spent = energies.fit_energy(
        name, train, budget_s, width=WIDTH, layers=LAYERS, batch=batch
    )
    found = energies.errors(trunk, unseen, batch)
    columns = {"energy_meV": unit * found["energy"]}
    if "forces" in found:
        columns["forces_meV_A"] = unit * found["forces"]
    change = energies.turned_change(trunk, unseen[:TURNED])
    values = means(columns) | {"equivariance_error": float(change.mean())}
    ms = 1000 * spent.cpu_s / spent.steps
    took = {"ms": ms, "parameters": parameters(trunk), "steps": spent.steps, "cpu_s": spent.cpu_s}
    return values | took


def rmd17(folder: Path, molecule: str, test: int) -> tuple[energies.Clouds, energies.Clouds, float]:
    """The first 950 training frames, the first `test` test frames, and the eV that a unit
    of their energies is: the root mean square force component times 1 A.
    """
    parts = []
    for split, count in (("train", FRAMES), ("test", test)):
        with np.load(folder / "rmd17" / f"rmd17_{molecule}_{split}_01.npz") as file:
            arrays = [file[name][:count] for name in ("coords", "energies", "forces")]
            numbers = file["nuclear_charges"]
        units = (1.0, KCAL_MOL_PER_EV, KCAL_MOL_PER_EV)
        parts.append([array / unit for array, unit in zip(arrays, units, strict=True)])
    mean, scale = parts[0][1].mean(), float(np.sqrt(np.square(parts[0][2]).mean()))
    made = [clouds([numbers] * len(r), list(r), (e - mean) / scale, f / scale) for r, e, f in parts]
    return made[0], made[1], scale


def qm9_gaps(folder: Path, count: int, test: int) -> tuple[energies.Clouds, energies.Clouds, float]:
    """Molecules of the training and of the test part by the project's hash of the graph,
    and the spread of their gaps in eV.
    """
    read, key = (host_function("rdkit", name) for name in ("from_smiles", "flat_smiles"))
    wanted = {"train": count, "test": test}
    chosen: dict[str, list[int]] = {name: [] for name in wanted}
    with np.load(folder / "qm9_130831.npz") as file:
        smiles, offset, z, r = (file[name] for name in ("smiles", "offset", "z", "R"))
        column = file["prop_names"].tolist().index("HOMO_LUMO_gap_au")
        gaps = file["props"][:, column] * HARTREE_EV
    for k in np.random.default_rng(9).permutation(len(smiles)):
        part = held_out(key(read(str(smiles[k]))))
        if len(chosen.get(part, ())) < wanted.get(part, 0):
            chosen[part].append(int(k))
        if all(len(chosen[name]) == number for name, number in wanted.items()):
            break
    mean, scale = gaps[chosen["train"]].mean(), float(gaps[chosen["train"]].std())
    made = []
    for rows in chosen.values():
        atoms = [slice(offset[k], offset[k + 1]) for k in rows]
        made.append(
            clouds([z[a] for a in atoms], [r[a] for a in atoms], (gaps[rows] - mean) / scale)
        )
    return made[0], made[1], scale


def clouds(
    numbers: Sequence[NDArray[np.integer]],
    positions_A: Sequence[NDArray[np.floating]],
    values: NDArray[np.float64],
    forces: NDArray[np.float64] | None = None,
) -> energies.Clouds:
    """Padded molecules with their numbers; positions about their centres."""
    k, n = len(numbers), max(map(len, numbers))
    elements, x = np.zeros((k, n, len(ELEMENTS))), np.zeros((k, n, 3))
    for place, (z, r) in enumerate(zip(numbers, positions_A, strict=True)):
        elements[place, : len(z)] = np.asarray(z)[:, None] == np.array(ELEMENTS)
        x[place, : len(z)] = r - r.mean(0)
    whole = np.zeros((k, n, 0)) if forces is None else forces
    parts = (torch.tensor(a, dtype=torch.float32) for a in (elements, x, values, whole))
    return energies.Clouds(*parts)
