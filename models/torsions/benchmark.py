"""`equidrift bench sampling`: barriers crossed and effective samples per second, every method on the same System and the same cores.

Alanine dipeptide (ff96 + OBC, 300 K): plain Langevin dynamics, hybrid Monte Carlo, torsion proposals from a histogram and from the
diffusion, parallel tempering. A crossing is a change between the cores -170 to -30 and 15 to 120 degrees of phi. Every sampler's time
counts whole; fitting a proposer is stated apart (`adapt_s`). Twenty held-out drug-like ZINC molecules with 3 to 8 rotatable bonds in
MMFF94: effective samples per second over all torsions against dynamics alone. A chain that never leaves a basin looks decorrelated to
itself, so both methods are judged by the mean and variance of all their frames together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from equidrift.adapt import Still, adapt
from equidrift.basins import correlation_time
from equidrift.metropolis import Statistics
from equidrift.models.boltzmann import benchmark as boltzmann
from equidrift.models.conformers.benchmark import commit, data_folder, machine
from equidrift.models.conformers.data import held_out
from equidrift.records import Molecule
from equidrift.registry import resolve
from equidrift.torsions import Floats, TorsionTree

TEMPERATURE_K = 300.0
PHI_PSI = ((6, 8), (8, 14))  # N-CA and CA-C of openmmtools' alanine dipeptide
NEGATIVE, POSITIVE = (np.radians(-170), np.radians(-30)), (np.radians(15), np.radians(120))
LADDER_K = (300.0, 350.0, 410.0, 480.0, 560.0, 650.0)
MD_STEPS, N_PROPOSALS = 20, 40  # of one cycle; torsions decorrelate within a block, angles within the steps
ADAPT_CYCLES = 600
GB_PLATFORM = "CPU"  # ten times faster than Reference for the implicit water, whatever the size
DRUGS, DRUG_TORSIONS = 20, (3, 8)

Progress = Callable[[object], None]
_SAMPLER, _RUN = "equidrift.adapters.openmm_sampler:ProposalSampler", "equidrift.adapters.openmm_run:"


def core(phi: Floats) -> np.ndarray:
    """-1 or 1 in the cores of phi, the last core visited between them; 0 before the first."""
    state = np.where((phi > NEGATIVE[0]) & (phi < NEGATIVE[1]), -1, np.where((phi > POSITIVE[0]) & (phi < POSITIVE[1]), 1, 0))
    last = np.maximum.accumulate(np.where(state != 0, np.arange(len(phi)), 0))
    return state[last]


def crossings(phi: Floats) -> int:
    """Changes of the core along a chain."""
    state = core(np.asarray(phi))
    return int(np.count_nonzero(np.diff(state[state != 0])))


def population(phi: Floats) -> dict[str, float]:
    """Share of the positive core among frames, and its standard error from the chain's autocorrelation."""
    inside = (core(np.asarray(phi)) > 0).astype(float)
    if not 0 < inside.mean() < 1:
        return {"P_positive": float(inside.mean()), "P_positive_error": math.nan}
    error = math.sqrt(inside.var() * float(correlation_time(inside)) / len(inside))
    return {"P_positive": float(inside.mean()), "P_positive_error": error}


class Counted(Statistics):
    """A host's statistics that also follow the proposals which change the sign of the first torsion.

    `watched` wraps a proposer so that the torsions of each proposal are known when it is judged; hosts judge them in order.
    """

    def __init__(self, proposer: Any) -> None:
        super().__init__(labels=tuple(proposer.tree.labels()))
        self.tried = self.crossed = 0
        self._inner, self._here, self._queue = proposer, 0.0, [0.0][:0]
        self.watched = Watched(self)

    def record(self, accepted: bool, delta_kT: float, turned: Any) -> None:
        super().record(accepted, delta_kT, turned)
        new = self._queue.pop(0)
        self.tried += (new > 0) != (self._here > 0)
        self.crossed += accepted and (new > 0) != (self._here > 0)
        self._here = new if accepted else self._here

    def expect(self, positions_A: Floats, moves: list[Any]) -> list[Any]:
        """Note where a block of proposals starts and leads."""
        first, *rest = self._inner.tree.torsions(np.stack([positions_A, *(move.positions_A for move in moves)]))[:, 0]
        self._here, self._queue = float(first), [float(phi) for phi in rest]
        return moves


class Watched:
    """The proposer of `Counted`, as hosts see it."""

    exact = True

    def __init__(self, counted: Counted) -> None:
        self.counted, self.inner = counted, counted._inner
        self.tree, self.name = self.inner.tree, self.inner.name

    def propose(self, positions_A: Floats, **options: Any) -> Any:
        return self.counted.expect(positions_A, [self.inner.propose(positions_A, **options)])[0]

    def propose_independent(self, positions_A: Floats, n: int, **options: Any) -> Any:
        return self.counted.expect(positions_A, self.inner.propose_independent(positions_A, n, **options))


def simulation(topology: Any, system: Any, positions_A: Floats, seed: int = 0, platform: str | None = None) -> Any:
    """A minimised Simulation at 300 K, 2 fs a step; platform None takes what suits the size."""
    options = {"temperature_K": TEMPERATURE_K, "timestep_fs": 2.0, "friction_per_ps": 1.0, "seed": seed, "platform": platform}
    return resolve(_RUN + "make_simulation")(topology, system, positions_A, **options)


def timed(sampler: Any, seconds: float) -> float:
    """Run cycles until the time is over; the seconds it took."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        sampler.run(1)
    return time.perf_counter() - begun


def fitted(sim: Any, molecule: Molecule, tree: TorsionTree, kind: str, cycles: int, n_proposals: int) -> tuple[Any, float]:
    """The proposer that `equidrift md` would use, and the seconds its adaptive phase took."""
    begun, done = time.perf_counter(), 0

    def advance(proposer: Any, n: int) -> tuple[Floats, Statistics]:
        nonlocal done
        sampler = resolve(_SAMPLER)(sim, proposer, md_steps=MD_STEPS, n_proposals=n_proposals, seed=1 + done)
        frames = np.empty((n, tree.n_atoms, 3))
        for k in range(n):
            sampler.run(1)
            frames[k] = resolve(_RUN + "positions")(sim)
            done += 1
        return frames, sampler.statistics

    proposer = adapt(advance, molecule, tree, kind, cycles, temperature_K=TEMPERATURE_K).proposer
    return proposer, time.perf_counter() - begun


def alanine(seconds: float, say: Progress) -> list[dict[str, Any]]:
    """The rows of alanine dipeptide."""
    topology, system, x = resolve("equidrift.adapters.openmmtools_systems:alanine_dipeptide")()
    molecule = resolve(_RUN + "_graph")(topology)
    tree = TorsionTree(molecule.n_atoms, molecule.bonds, PHI_PSI, molecule.numbers)
    rows: dict[str, dict[str, Any]] = {}
    say("ala2/md")
    sampler = resolve(_SAMPLER)(simulation(topology, system, x, platform=GB_PLATFORM), Still(tree), md_steps=50, n_proposals=0)
    spent = timed(sampler, seconds)
    rows["md"] = {"crossings_per_s": crossings(sampler.torsions_rad[:, 0]) / spent, **population(sampler.torsions_rad[:, 0])}
    say("ala2/hmc")
    rows["hmc"] = hybrid(topology, system, x, tree, seconds)
    for row in ("histogram", "torsion"):
        say(f"ala2/{row}")
        sim = simulation(topology, system, x, seed=2, platform=GB_PLATFORM)
        proposer, adapt_s = fitted(sim, molecule, tree, row, ADAPT_CYCLES, N_PROPOSALS)
        rows[row] = proposed(sim, proposer, seconds) | {"adapt_s": adapt_s}
    say("ala2/parallel-tempering")
    rows["parallel-tempering"] = tempering(topology, system, x, tree, seconds)
    md = max(rows["md"]["crossings_per_s"], 1 / seconds)  # a run that crossed never is taken to have crossed once
    over = {row: {"crossings_per_s_over_md": values["crossings_per_s"] / md} for row, values in rows.items()}
    return [{"row": f"ala2/{row}", "values": values | over[row]} for row, values in rows.items()]


def proposed(sim: Any, proposer: Any, seconds: float) -> dict[str, Any]:
    """Crossings and acceptance of dynamics with proposals."""
    counted = Counted(proposer)
    sampler = resolve(_SAMPLER)(sim, counted.watched, md_steps=MD_STEPS, n_proposals=N_PROPOSALS)
    sampler.statistics = counted
    spent = timed(sampler, seconds)
    phi = sampler.torsions_rad[:, 0]
    return {
        "crossings_per_s": crossings(phi) / spent,
        "acceptance": 100 * counted.acceptance,
        "acceptance_across": 100 * counted.crossed / max(1, counted.tried),
        **population(phi),
        "proposals_per_s": counted.proposed / spent,
    }


def hybrid(topology: Any, system: Any, x: Floats, tree: TorsionTree, seconds: float) -> dict[str, Any]:
    """Hybrid Monte Carlo: 20 steps of 1 fs a move."""
    integrator = resolve("equidrift.adapters.openmmtools_systems:hybrid_monte_carlo")(TEMPERATURE_K, 20, 0.001)
    sim = resolve("equidrift.adapters.openmm_rivals:simulation_with")(integrator, topology, system, x, TEMPERATURE_K, GB_PLATFORM)
    sampler = resolve(_SAMPLER)(sim, Still(tree), md_steps=1, n_proposals=0, temperature_K=TEMPERATURE_K)
    spent = timed(sampler, seconds)
    return {"crossings_per_s": crossings(sampler.torsions_rad[:, 0]) / spent, **population(sampler.torsions_rad[:, 0])}


def tempering(topology: Any, system: Any, x: Floats, tree: TorsionTree, seconds: float) -> dict[str, Any]:
    """OpenMM's replica exchange, 50 steps an iteration; the chain is that of the 300 K state."""
    sim = simulation(topology, system, x, seed=3, platform=GB_PLATFORM)
    advance = resolve("equidrift.adapters.openmm_rivals:replica_exchange")(sim, LADDER_K, 50)
    begun, phi = time.perf_counter(), []
    while time.perf_counter() - begun < seconds:
        phi.append(tree.torsions(advance())[0])
    spent = time.perf_counter() - begun
    return {"crossings_per_s": crossings(np.array(phi)) / spent, **population(np.array(phi))}


def drugs(seconds: float, limit: int, say: Progress) -> list[dict[str, Any]]:
    """The row of held-out ZINC molecules, and one a molecule."""
    rows, ratios = [], []
    for smiles in held_out_molecules(limit):
        molecule = Molecule.from_smiles(smiles)
        tree = TorsionTree.of(molecule)
        say(f"drugs/torsion {smiles}: {tree.n_torsions} rotatable bonds")
        system = resolve("equidrift.mmff:mmff_system")(molecule, constraints="HBonds")
        topology = resolve("equidrift.adapters.openmm_state:to_topology")(molecule)
        x = resolve("equidrift.adapters.rdkit_etkdg:ETKDGMMFF")().sample(molecule, np.arange(1))[0]
        plain = resolve(_SAMPLER)(simulation(topology, system, x), Still(tree), md_steps=50, n_proposals=0)
        spent = timed(plain, seconds)
        sim = simulation(topology, system, x, seed=1)
        proposer, adapt_s = fitted(sim, molecule, tree, "torsion", 200, 2 * tree.n_torsions)
        moved = resolve(_SAMPLER)(sim, proposer, md_steps=MD_STEPS, n_proposals=2 * tree.n_torsions)
        spent_moved = timed(moved, seconds)
        ours, theirs = (rate / t for rate, t in zip(effective(moved.torsions_rad, plain.torsions_rad), (spent_moved, spent)))
        values = {"torsions": tree.n_torsions, "ess_per_s": ours, "md_ess_per_s": theirs, "ess_per_s_over_md": ours / theirs}
        ratios.append(ours / theirs)
        rows.append({"row": f"drugs/{smiles}", "values": values | {"acceptance": 100 * moved.statistics.acceptance, "adapt_s": adapt_s}})
    summary = {
        "ess_per_s_over_md_median": float(np.median(ratios)),
        "ess_per_s_over_md_min": float(np.min(ratios)),
        "molecules": len(ratios),
    }
    return [{"row": "drugs/torsion", "values": summary}, *rows]


def effective(first: Floats, second: Floats) -> tuple[float, float]:
    """Effective samples of two chains of one system, (frames, m) torsions: mean over torsions of the worse of cosine and sine.

    Both are judged by the mean and variance of the two chains' frames with equal weight, so that a chain that stayed in one basin
    counts as the one sample it is.
    """
    waves = [np.concatenate([np.cos(phi), np.sin(phi)], axis=1) for phi in (first, second)]
    mean = sum(wave.mean(axis=0) for wave in waves) / 2
    variance = sum(np.square(wave - mean).mean(axis=0) for wave in waves) / 2
    m = first.shape[1]
    per_wave = [np.array([_effective(x, mu, var) for x, mu, var in zip(wave.T, mean, variance)]) for wave in waves]
    return tuple(float(np.minimum(n[:m], n[m:]).mean()) for n in per_wave)  # type: ignore[return-value]


def _effective(x: Floats, mean: float, variance: float) -> float:
    """Frames over 1 + 2 sum rho, rho about the given mean and variance and summed while pairs stay positive (Geyer)."""
    n, y = len(x), x - mean
    size = 1 << (2 * n - 1).bit_length()
    transform = np.fft.rfft(y, size)
    rho = np.fft.irfft(np.abs(transform) ** 2, size)[:n] / (n * max(variance, 1e-12))
    pairs = rho[0 : n - n % 2 : 2] + rho[1:n:2]
    negative = np.flatnonzero(pairs <= 0)
    kept = np.minimum.accumulate(pairs[: negative[0]] if len(negative) else pairs)
    return n / float(np.clip(2 * kept.sum() - rho[0], 1.0, n))


def held_out_molecules(limit: int) -> list[str]:
    """ZINC molecules of the test part with 3 to 8 rotatable bonds, in the file's order, spread over it."""
    path = data_folder() / "zinc_smiles" / "zinc_29k.smi"
    key = resolve("rdkit.Chem:MolFromSmiles"), resolve("rdkit.Chem:MolToSmiles")
    found = []
    lines = Path(path).read_text().split()
    for smiles in lines[:: max(1, len(lines) // 3000)]:
        mol = key[0](smiles)
        if mol is None or held_out(key[1](mol, isomericSmiles=False)) != "test":
            continue
        molecule = Molecule.from_smiles(smiles)
        if abs(molecule.charge) <= 1 and DRUG_TORSIONS[0] <= TorsionTree.of(molecule).n_torsions <= DRUG_TORSIONS[1]:
            found.append(smiles)
        if len(found) == limit:
            break
    return found


def run(full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The table as one object (architecture.md, Results).

    Parameters
    ----------
    full : 60 s a method, and twenty molecules for 10 s each and method; else 20 s, and five molecules.
    progress : called with a line of text before every row.

    Raises
    ------
    InputError
        where the data is missing.
    """
    say = progress or (lambda message: None)
    rows = alanine(60.0 if full else 20.0, say) + drugs(10.0, DRUGS if full else 5, say)
    if (data_folder() / boltzmann.REFERENCE).exists():
        rows += boltzmann.rows(full, say)
    else:
        say(f"ala2/boltzmann: left out, {data_folder() / boltzmann.REFERENCE} is not there (tools/make_boltzmann_data.py makes it)")
    return {"name": "sampling", "machine": machine(), "commit": commit(), "rows": rows}
