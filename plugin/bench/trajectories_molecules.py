"""The molecular rows of `equidrift bench trajectories` beyond GFN2-MD17: held-out
molecules, spacings, gaps, refinement, long chains.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.xtb import gfn2_relax
from equidrift.adapters.openmm.simulation import Langevin
from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.checks.geometry import GeometryCheck
from equidrift.errors import EquidriftError, InputError, MissingDependencyError
from equidrift.mmff import mmff_system
from equidrift.models.shared.split import held_out
from equidrift.models.trajectories.arrays import metrics
from equidrift.models.trajectories.data import Dynamics, load_dynamics, save_dynamics
from equidrift.records import Molecule, Trajectory
from equidrift.registry import make_model, make_trajectory_model
from equidrift.seeds import sample_seeds

GIVEN, AHEAD, SAMPLES = 10, 20, 5  # frames given and asked for, samples
LONG, CHAINED = 100, 200  # frames of a long run of a held-out molecule, and of ten chained windows
SPACING_FS, STEP_FS, TEMPERATURE_K, FRICTION_PER_FS, WARM_STEPS = 5.0, 0.5, 300.0, 0.01, 1000
BINS = 25
Array = NDArray[np.float64]
Row = dict[str, Any]


def rows(
    folder: Path, data: dict[str, Dynamics], full: bool, say: Callable[[str], None]
) -> list[Row]:
    """All rows of this file; `folder` is EQUIDRIFT_DATA."""
    some = ("aspirin", "ethanol", "uracil", "naphthalene")
    say("ten chained windows")
    made = chain_rows(data, list(data) if full else some, 8 if full else 1)
    say("interpolation and refinement")
    made += interpolation_rows(data, list(data) if full else some, 8 if full else 1)
    made += refinement_rows(data, some, 4 if full else 1)
    say("spacings")
    made += spacing_rows(folder, (5.0, 100.0, 1000.0, 10000.0) if full else (5.0, 100.0, 1000.0))
    return made + heldout_rows(folder, say=say)


def heldout_smiles(folder: Path) -> dict[str, Iterator[str]]:
    """SMILES of the test bucket of QM9 and of ZINC in a fixed random order; none where
    the files are missing.
    """
    found: dict[str, list[str]] = {}
    if (folder / "qm9_130831.npz").exists():
        with np.load(folder / "qm9_130831.npz", allow_pickle=False) as file:
            found["qm9"] = file["smiles"].tolist()
    if (folder / "zinc_smiles" / "zinc_29k.smi").exists():
        lines = (folder / "zinc_smiles" / "zinc_29k.smi").read_text().splitlines()
        found["zinc"] = [line.split()[0] for line in lines if line.strip()]

    def test_part(names: list[str]) -> Iterator[str]:
        for k in np.random.default_rng(0).permutation(len(names)).tolist():
            try:
                if held_out(flat_smiles(Molecule.from_smiles(names[k]))) == "test":
                    yield names[k]
            except EquidriftError:
                continue

    return {name: test_part(names) for name, names in found.items()}


def heldout_dynamics(smiles: str, seed: int) -> Dynamics | None:
    """Two runs (2, GIVEN + LONG, n, 3) from one state, the positions, velocities and
    given frames of which they share.

    MMFF94, Langevin at 300 K and 0.01/fs, frames 5 fs apart; the second run has other
    random numbers after the given frames, and is what a perfect sampler would draw that
    knew the velocities. None where the molecule cannot be made.
    """
    try:
        molecule = Molecule.from_smiles(smiles)
        system, start = (
            mmff_system(molecule),
            make_model("etkdg-mmff").sample(molecule, sample_seeds(seed, 0, 1))[0],
        )
    except EquidriftError:
        return None
    settings: dict[str, Any] = {
        "temperature_K": TEMPERATURE_K,
        "friction_per_fs": FRICTION_PER_FS,
        "step_fs": STEP_FS,
    }
    inner = round(SPACING_FS / STEP_FS)
    run = Langevin(system, start, seed=seed, **settings)
    run.run(WARM_STEPS)
    given = [run.run(inner) for _ in range(GIVEN)]
    shared = given[-1].positions_A, given[-1].velocities_A_fs
    again = Langevin(system, shared[0], seed=seed + 1, velocities_A_fs=shared[1], **settings)
    runs = np.array(
        [
            [s.positions_A for s in given] + [each.run(inner).positions_A for _ in range(LONG)]
            for each in (run, again)
        ]
    )
    if not np.isfinite(runs).all():
        return None
    runs -= runs[0].mean((0, 1))
    return Dynamics(
        molecule, runs.astype(np.float32), SPACING_FS, "MMFF94", TEMPERATURE_K, FRICTION_PER_FS
    )


def heldout(folder: Path, count: int) -> dict[str, list[Dynamics]]:
    """Dynamics of `count` held-out molecules of each source, made once and kept in
    $EQUIDRIFT_CACHE (else the temporary folder).
    """
    cache = Path(os.environ.get("EQUIDRIFT_CACHE") or Path(tempfile.gettempdir()) / "equidrift")
    out = {}
    for source, smiles in heldout_smiles(folder).items():
        path = cache / f"heldout-{source}-{count}.npz"
        if not path.exists():
            made: list[Dynamics] = []
            while len(made) < count:
                run = heldout_dynamics(next(smiles), len(made))
                made += [run] if run is not None else []
            cache.mkdir(parents=True, exist_ok=True)
            save_dynamics(path, made)
        out[source] = load_dynamics(path)
    return out


def heldout_rows(
    folder: Path, count: int = 25, say: Callable[[str], None] = lambda text: None
) -> list[Row]:
    """`heldout-qm9/...` and `heldout-zinc/...`: ours, the dynamics themselves from the
    true state, last frame, constant velocity.
    """
    rows = []
    for source, runs in heldout(folder, count).items():
        say(f"held-out molecules of {source}")
        for method in ("equidrift", "mmff94-restart", "last-frame", "constant-velocity"):
            each = [heldout_values(run, method, k) for k, run in enumerate(runs)]
            names = each[0]
            values = {
                name: float(np.nanmean([v.get(name, np.nan) for v in each])) for name in names
            }
            rows.append(
                {"row": f"heldout-{source}/{method}", "values": values | {"molecules": len(runs)}}
            )
    return rows


def heldout_values(run: Dynamics, method: str, number: int) -> dict[str, float]:
    """The figures of one molecule: 10 -> 20 frames, the mean of 5 samples, and one run
    of 100 frames against as many of MD.
    """
    molecule, both = run.molecule, run.positions_A.astype(np.float64)
    truth = both[0, GIVEN:]
    given = Trajectory(molecule, both[0, :GIVEN], SPACING_FS * np.arange(GIVEN, dtype=np.float64))
    if method == "mmff94-restart":
        ahead, chain = both[1:, GIVEN : GIVEN + AHEAD], both[1, GIVEN:]
    elif method == "equidrift":
        model = make_trajectory_model("default")
        ahead = positions_of(
            model.continue_(given, AHEAD, sample_seeds(3, SAMPLES * number, SAMPLES * (number + 1)))
        )
        chain = positions_of(model.continue_(given, LONG, sample_seeds(4, number, number + 1)))[0]
    else:
        ahead = positions_of(
            make_trajectory_model(method).continue_(given, AHEAD, sample_seeds(0, 0, 1))
        )
        chain = None
    ade, fde = metrics.displacement(ahead, truth[:AHEAD])
    values = {"ADE": ade, "FDE": fde}
    return values if chain is None else values | chain_values(molecule, chain[None], truth[None])


def positions_of(made: Sequence[Trajectory]) -> Array:
    return np.stack([t.positions_A for t in made])


def broken_percent(molecule: Molecule, made: Array, truth: Array) -> float:
    """Share of frames (..., n, 3) that fail a check, in percent; faults that the
    dynamics shows too (a proton that moved on) are none.
    """
    check = GeometryCheck(molecule)
    usual = {"", *check(truth.reshape(-1, *truth.shape[-2:])[:200]).tolist()}
    return 100.0 * float(
        np.mean(
            [reason not in usual for reason in check(made.reshape(-1, *made.shape[-2:])).tolist()]
        )
    )


def chain_values(molecule: Molecule, made: Array, truth: Array) -> dict[str, float]:
    """Bonds, torsions, velocities and broken frames of chains (k, t, n, 3) against
    dynamics (m, t, n, 3).
    """
    bonds = molecule.bonds

    def lengths(x: Array) -> Array:
        found: Array = np.linalg.norm(
            x[..., bonds[:, 0], :] - x[..., bonds[:, 1], :], axis=-1
        ).reshape(-1, len(bonds))
        return found

    ours, theirs = lengths(made), lengths(truth)
    values = {
        "JSD_bonds": float(
            np.mean(
                [metrics.jensen_shannon(ours[:, b], theirs[:, b], BINS) for b in range(len(bonds))]
            )
        ),
        "VACF_error": float(
            np.abs(
                metrics.velocity_correlation(made, 10) - metrics.velocity_correlation(truth, 10)
            ).mean()
        ),
        "broken_percent": broken_percent(molecule, made, truth),
        "frames": float(made.shape[0] * made.shape[1]),
    }
    quads = rotatable(molecule)
    if len(quads):
        turned = [metrics.torsions(x, quads).reshape(-1, len(quads)) for x in (made, truth)]
        around = (-np.pi, np.pi)
        values["JSD_torsions"] = float(
            np.mean(
                [
                    metrics.jensen_shannon(turned[0][:, q], turned[1][:, q], 2 * BINS, around)
                    for q in range(len(quads))
                ]
            )
        )
    return values


def rotatable(molecule: Molecule) -> NDArray[np.int64]:
    """One quadruple a, b, c, d (q, 4) for each bond b-c whose ends both have further
    neighbours.
    """
    neighbours: list[list[int]] = [[] for _ in range(molecule.n_atoms)]
    for i, j in molecule.bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    quads = []
    for b, c in molecule.bonds.tolist():
        a, d = [k for k in neighbours[b] if k != c], [k for k in neighbours[c] if k != b]
        if a and d and min(a) != min(d):
            quads.append((min(a), b, c, min(d)))
    return np.array(quads, np.int64).reshape(-1, 4)


def chain_rows(
    data: dict[str, Dynamics], names: Sequence[str], count: int, energies: int = 8
) -> list[Row]:
    """Ten chained windows of `count` starts of each molecule, against MD of the test
    part; GFN2-xTB energies where tblite is there.
    """
    rows = []
    for name in names:
        part = data[name].part(0.8, 1.0)
        spacing = 10 * part.spacing_fs
        truth = part.positions_A[0, ::10].astype(np.float64)
        starts = np.linspace(0, len(truth) - GIVEN, count).astype(int)
        model, made = make_trajectory_model("default"), []
        for k, at in enumerate(starts.tolist()):
            given = Trajectory(
                part.molecule, truth[at : at + GIVEN], spacing * np.arange(GIVEN, dtype=np.float64)
            )
            made.append(positions_of(model.continue_(given, CHAINED, sample_seeds(1, k, k + 1)))[0])
        frames = np.stack(made)
        values = chain_values(part.molecule, frames, truth[None]) | energy_values(
            part.molecule, frames, truth, energies
        )
        rows.append({"row": f"gfn2md17-{name}/equidrift-chained", "values": values})
    broken = [
        (values["broken_percent"], values["frames"])
        for values in (cast(dict[str, float], row["values"]) for row in rows)
    ]
    total = sum(frames for _, frames in broken)
    mean = {"broken_percent": sum(b * f for b, f in broken) / total, "frames": total}
    return [*rows, {"row": "gfn2md17-mean/equidrift-chained", "values": mean}]


def energy_values(molecule: Molecule, made: Array, truth: Array, each: int) -> dict[str, float]:
    """GFN2-xTB energies of some frames of chains (k, t, n, 3) beside those of as many
    of MD (t, n, 3).
    """
    try:
        energy = gfn2_relax
        some = made[:, :: max(1, made.shape[1] // each)].reshape(-1, *made.shape[2:])
        known = truth[:: max(1, len(truth) // len(some))][: len(some)]
        e = [energy(molecule, x, 0)[1] for x in (some, known)]
    except MissingDependencyError:
        return {}
    return {
        "energy_shift_eV": float(np.nanmean(e[0]) - np.nanmean(e[1])),
        "energy_std_ratio": float(np.nanstd(e[0]) / np.nanstd(e[1])),
    }


def spacing_rows(folder: Path, spacings_fs: Sequence[float] = (5.0, 100.0, 1000.0)) -> list[Row]:
    """Two frames given and three ahead at several spacings, of the first held-out QM9
    molecule; 10 ps is left to the long form.
    """
    smiles = heldout_smiles(folder).get("qm9")
    if smiles is None:
        return []
    molecule = Molecule.from_smiles(next(smiles))
    start = make_model("etkdg-mmff").sample(molecule, sample_seeds(0, 0, 1))[0]
    settings: dict[str, Any] = {
        "temperature_K": TEMPERATURE_K,
        "friction_per_fs": FRICTION_PER_FS,
        "step_fs": STEP_FS,
    }
    rows = []
    for fs in spacings_fs:
        run = Langevin(mmff_system(molecule), start, seed=1, **settings)
        run.run(WARM_STEPS)
        frames = np.array([run.run(round(fs / STEP_FS)).positions_A for _ in range(5)])
        given = Trajectory(molecule, frames[:2], fs * np.arange(2, dtype=np.float64))
        for method in ("equidrift", "last-frame", "constant-velocity"):
            options = {"temperature_K": TEMPERATURE_K} if method == "equidrift" else {}
            model = make_trajectory_model("default" if method == "equidrift" else method, **options)
            begun = time.process_time()
            made = positions_of(
                model.continue_(
                    given, 3, sample_seeds(5, 0, SAMPLES if method == "equidrift" else 1)
                )
            )
            seconds = time.process_time() - begun
            ade, fde = metrics.displacement(made, frames[2:])
            values = {
                "ADE": ade,
                "FDE": fde,
                "bond_error_A": float(np.mean([bond_error(molecule, m, frames) for m in made])),
            }
            values |= {"broken_percent": broken_percent(molecule, made, frames), "cpu_s": seconds}
            rows.append({"row": f"spacing-{fs:g}fs/{method}", "values": values})
    return rows


def gap_rows(
    part: Dynamics,
    system: str,
    stride: int,
    had: int,
    new: int,
    given: NDArray[np.bool_],
    count: int,
    baselines: Sequence[str],
) -> list[Row]:
    """Ours and baselines on frames that are not given, means over windows."""
    times = stride * part.spacing_fs * np.arange(had + new, dtype=np.float64)
    x = part.positions_A[0].astype(np.float64)
    last = len(x) - (had + new - 1) * stride
    if last < 1:
        raise InputError(
            f"{had + new} frames at stride {stride} need a longer trajectory than {len(x)} frames"
        )
    starts = np.linspace(0, last - 1, count).astype(int)
    errors: dict[str, list[tuple[float, float, float]]] = {}
    for k, at in enumerate(starts.tolist()):
        window = x[at : at + (had + new - 1) * stride + 1 : stride]
        hidden = Trajectory(part.molecule, np.where(given[:, None, None], window, np.nan), times)
        for method in ("equidrift", *baselines):
            model = make_trajectory_model("default" if method == "equidrift" else method)
            seeds = sample_seeds(
                5, SAMPLES * k, SAMPLES * k + (SAMPLES if method == "equidrift" else 1)
            )
            made = model.complete(hidden, given, seeds)[:, ~given]
            ade, fde = metrics.displacement(made, window[~given])
            errors.setdefault(method, []).append(
                (ade, fde, broken_percent(part.molecule, made, window))
            )
    return [
        {
            "row": f"{system}/{method}",
            "values": dict(zip(("ADE", "FDE", "broken_percent"), np.mean(e, 0).tolist()))
            | {"windows": count},
        }
        for method, e in errors.items()
    ]


def interpolation_rows(data: dict[str, Dynamics], names: Sequence[str], windows: int) -> list[Row]:
    """Five frames given at both ends, 20 between (arXiv:2410.13027), beside the
    straight line between the ends.
    """
    given = (np.arange(30) < 5) | (np.arange(30) >= 25)
    rows = []
    for name in names:
        made = gap_rows(
            data[name].part(0.8, 1.0),
            f"interpolate-{name}",
            10,
            10,
            20,
            given,
            windows,
            ("constant-velocity",),
        )
        rows += [{**row, "row": row["row"].replace("constant-velocity", "linear")} for row in made]
    return rows


def refinement_rows(
    data: dict[str, Dynamics], names: Sequence[str], windows: int, noise_A: float = 0.1
) -> list[Row]:
    """Frames with Gaussian noise of 0.1 A on every coordinate: the error of bond
    lengths and the ADE before and after.
    """
    rows = []
    for name in names:
        part = data[name].part(0.8, 1.0)
        x = part.positions_A[0, ::10].astype(np.float64)
        model = make_trajectory_model("default")
        before: list[Any] = []
        after: list[Any] = []
        for k in range(windows):
            window = x[k * (len(x) - 10) // max(1, windows) :][:10]
            coarse = window + noise_A * np.random.default_rng(k).standard_normal(window.shape)
            spacing = 10 * part.spacing_fs
            made = model.refine(
                Trajectory(part.molecule, coarse, spacing * np.arange(10, dtype=np.float64)),
                sample_seeds(6, k, k + 1),
            )[0]
            for found, frames in ((before, coarse), (after, made)):
                found.append(
                    (
                        metrics.displacement(frames, window)[0],
                        bond_error(part.molecule, frames, window),
                    )
                )
        for method, found in (("equidrift", after), ("as-given", before)):
            ade, bond = np.mean(found, 0).tolist()
            rows.append(
                {
                    "row": f"refine-{name}/{method}",
                    "values": {"ADE": ade, "bond_error_A": bond, "windows": windows},
                }
            )
    return rows


def bond_error(molecule: Molecule, made: Array, truth: Array) -> float:
    """Root mean square difference of bond lengths from the truth's mean ones, less the
    truth's own: how far bonds are from usual.
    """
    i, j = molecule.bonds.T
    lengths = [np.linalg.norm(x[:, i] - x[:, j], axis=-1) for x in (made, truth)]
    return float(np.sqrt(((lengths[0] - lengths[1].mean(0)) ** 2).mean()))
