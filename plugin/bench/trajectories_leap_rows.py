"""Rows `leap-heldout/...` and `leap-peptides/...` of `equidrift bench trajectories`:
leaps of molecules that no training saw, beside the long dynamics of each.

The dynamics are MMFF94's, made once and kept in $EQUIDRIFT_CACHE: 30 molecules of the
test part of ZINC, and alanine peptides. `equidrift` leaps; `exact` accepts or refuses the
same leaps by the Metropolis rule between short pieces of dynamics; `md` is dynamics
alone, with 2 fs steps, hydrogens of 3 amu and bonds to hydrogen held.
"""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.simulation import Langevin
from equidrift.adapters.openmm.topology import to_topology
from equidrift.bench.machine import Progress
from equidrift.bench.rows import Row, means, row
from equidrift.bench.sampling_drugs import effective, waves_of
from equidrift.bench.sampling_run import simulation, timed
from equidrift.bench.trajectories_heldout import first_runs, heldout_smiles, kept
from equidrift.bench.trajectories_leap_runs import (
    ANY,
    FRICTION_PER_FS,
    HYDROGEN_AMU,
    PEPTIDES,
    SPACING_FS,
    leaping_molecule,
    long_dynamics,
)
from equidrift.bench.trajectories_leaps import geometric, leap_values
from equidrift.errors import InputError
from equidrift.mmff import mmff_system
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.models.trajectories.leap.proposer import LeapProposer
from equidrift.models.trajectories.leap.sampler import LeapModel
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree

LEAP = "leap"  # the shipped weights
NS, QUICK_NS = 1.0, 0.4  # of each molecule
MOLECULES, QUICK_MOLECULES = 30, 2
CHAINS, QUICK_CHAINS = 16, 4
SECONDS, QUICK_SECONDS = 30.0, 10.0  # of the twin and of dynamics
LAG_PS = 20.0
LEAPS = 100  # of a chain
STEP_FS = 2.0  # of the dynamics beside
MD_STEPS = 25  # between proposals of the exact twin, and between frames of dynamics alone
Array = NDArray[np.float64]
Values = dict[str, float]


def leap_rows(folder: Path, full: bool, say: Progress, weights: str = LEAP) -> list[Row]:
    """The rows of both kinds of molecules.

    Parameters
    ----------
    folder : Path
        EQUIDRIFT_DATA, which holds the SMILES of ZINC.
    full : bool
        30 molecules and 4 peptides of 1 ns with 16 chains each, else 2 of .4 ns with 4.
    say : callable
        Told what is next.
    weights : str
        The name or path of leaps.
    """
    rows: list[Row] = []
    for system, runs in judging_runs(folder, full, say).items():
        say(f"leaps: {system}")
        chains, seconds = (CHAINS, SECONDS) if full else (QUICK_CHAINS, QUICK_SECONDS)
        rows += rows_of(system, runs, weights, chains, seconds)
    return rows


def judging_runs(folder: Path, full: bool, say: Progress) -> dict[str, list[Dynamics]]:
    """Long dynamics of molecules of the test part of ZINC, if it is there, and of
    peptides.
    """
    ns, count = (NS, MOLECULES) if full else (QUICK_NS, QUICK_MOLECULES)
    frames = round(1e6 * ns / SPACING_FS)

    def unseen(smiles: str, number: int) -> Dynamics | None:
        molecule = leaping_molecule(smiles, ANY)  # of the test part already
        return None if molecule is None else long_dynamics(molecule, frames, number)

    def peptide(smiles: str, number: int) -> Dynamics | None:
        return long_dynamics(Molecule.from_smiles(smiles), frames, number)

    zinc = heldout_smiles(folder).get("zinc")
    asked = {"leap-peptides": (iter(PEPTIDES), min(count, len(PEPTIDES)), peptide)}
    if zinc is not None:
        asked = {"leap-heldout": (zinc, count, unseen)} | asked
    out = {}
    for system, each in asked.items():
        say(f"long dynamics: {system}, {each[1]} molecules of {ns:g} ns, if they are not kept")
        out[system] = kept(f"{system}-{each[1]}-{frames}.npz", partial(first_runs, *each))
    return out


def rows_of(
    system: str, runs: list[Dynamics], weights: str, chains: int, seconds: float
) -> list[Row]:
    """The three rows of some molecules: `chains` of leaps of each, and so many CPU
    seconds of the exact twin and of dynamics.
    """
    columns: dict[str, list[Values]] = {"equidrift": [], "exact": [], "md": []}
    for run in runs:
        model = LeapModel(weights, temperature_K=run.temperature_K)
        leapt = leap_values(model, run, LAG_PS, LEAPS, chains)
        exact, plain = exact_values(run, weights, seconds), plain_values(run, seconds)
        leapt["ns_per_cpu_s_over_md"] = leapt["ns_per_cpu_s"] / plain["ns_per_cpu_s"]
        exact["ess_per_s_over_md"] = exact["ess_per_s"] / plain["ess_per_s"]
        plain["JSD_halves"] = leapt.pop("JSD_halves")
        for name, values in (("equidrift", leapt), ("exact", exact), ("md", plain)):
            columns[name].append(values)
    return [row(f"{system}/{name}", together(each), len(each)) for name, each in columns.items()]


def together(each: list[Values]) -> Values:
    """Means over molecules with standard errors; geometric ones of ratios."""
    names = dict.fromkeys(name for values in each for name in values)
    columns = {name: np.array([v.get(name, math.nan) for v in each]) for name in names}
    return means(columns) | geometric(columns)


def exact_values(run: Dynamics, weights: str, seconds: float) -> Values:
    """Acceptance, and effective samples a CPU second of the slowest torsion: short
    dynamics and leaps in turn.
    """
    start, kelvin = run.positions_A[0, 0].astype(np.float64), run.temperature_K
    proposer = LeapProposer(weights, run.molecule, lag_ps=LAG_PS, temperature_K=kelvin)
    system = mmff_system(run.molecule, constraints="HBonds", hydrogenMass_amu=HYDROGEN_AMU)
    sim = simulation(to_topology(run.molecule), system, start, seed=1)
    sampler = ProposalSampler(sim, proposer, MD_STEPS, 1, seed=1)
    spent = timed(sampler, seconds)
    values = _effective(run, sampler.torsions_rad, spent)
    return values | {"acceptance": 100.0 * sampler.statistics.acceptance}


def plain_values(run: Dynamics, seconds: float) -> Values:
    """The same of dynamics alone, and nanoseconds a CPU second."""
    system = mmff_system(run.molecule, constraints="HBonds", hydrogenMass_amu=HYDROGEN_AMU)
    start = run.positions_A[0, 0].astype(np.float64)
    md = Langevin(
        system,
        start,
        temperature_K=run.temperature_K,
        friction_per_fs=FRICTION_PER_FS,
        step_fs=STEP_FS,
        seed=1,
    )
    tree, begun, frames = TorsionTree.of(run.molecule), time.process_time(), []
    while time.process_time() - begun < seconds:
        frames.append(md.run(MD_STEPS).positions_A)
    spent = time.process_time() - begun
    ns = 1e-6 * STEP_FS * MD_STEPS * len(frames)
    return _effective(run, tree.torsions(np.array(frames)), spent) | {"ns_per_cpu_s": ns / spent}


def _effective(run: Dynamics, phi: Array, seconds: float) -> Values:
    """Effective samples a second about the mean and variance of the long dynamics."""
    if len(phi) < 2:
        raise InputError(f"{seconds:g} s are too short for two frames of {run.molecule!r}")
    waves = waves_of(TorsionTree.of(run.molecule).torsions(run.positions_A[0].astype(np.float64)))
    found = effective("", phi, waves.mean(0), waves.var(0), seconds)
    return {"ess_per_s": found["ess_per_s"]}
