"""`equidrift bench sampling`: barriers crossed and effective samples per second, every
method on the same System, one core each.

Seconds are CPU seconds of the one thread that every method runs on, so that a busy
machine changes nothing; a sampler's time counts whole, and fitting a proposer is stated
apart (`adapt_s`).

Alanine dipeptide (ff96 + OBC, 300 K): plain Langevin dynamics, hybrid Monte Carlo,
torsion proposals from a histogram and from the diffusion, parallel tempering. A
crossing is a change between the cores -170 to -30 and 15 to 120 degrees of phi, seen
after every cycle. Dynamics crosses too rarely for the time given: its rate is that of
the 10 ns in EQUIDRIFT_DATA times the ns per second of this run (`crossings_seen` is
what was seen). Both proposers are fitted to the same 10 ns and to an adaptive phase of
their own, with torsions drawn anew (`equidrift.montecarlo.adapt.recycled`). `P_error`
is the distance of P(phi > 0) from the long reference's.

Twenty held-out drug-like ZINC molecules with 3 to 8 rotatable bonds in MMFF94:
effective samples per second of the slowest torsion, as a sample is new when all of its
torsions are, against dynamics alone; `mean` is the mean over torsions instead. A chain
that never leaves a basin looks decorrelated to itself, so both methods are judged by
the mean and variance of a third run: two chains with proposals, one of them from turned
torsions, whose means differ by at most `reference_spread` standard deviations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from equidrift.adapters.openmm.simulation import replica_exchange, simulation_with
from equidrift.adapters.openmm.terms import turn_terms
from equidrift.adapters.openmm.topology import to_topology
from equidrift.adapters.openmmtools.systems import alanine_dipeptide, hybrid_monte_carlo
from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.bench import boltzmann
from equidrift.bench.machine import commit, data_folder, machine
from equidrift.errors import InputError, MoleculeError
from equidrift.geometry import Floats
from equidrift.mmff import mmff_system
from equidrift.models.shared.split import held_out
from equidrift.montecarlo.adapt import Still, adapt, recycled
from equidrift.montecarlo.basins import correlation_time
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.montecarlo.metropolis import Statistics
from equidrift.records import Molecule
from equidrift.registry import PROPOSERS, resolve
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K

TEMPERATURE_K = 300.0
TIMESTEP_PS = 0.002
PHI_PSI = ((6, 8), (8, 14))  # N-CA and CA-C of openmmtools' alanine dipeptide
NEGATIVE, POSITIVE = (np.radians(-170), np.radians(-30)), (np.radians(15), np.radians(120))
LADDER_K = (300.0, 350.0, 410.0, 480.0, 560.0, 650.0)
MD_STEPS, N_PROPOSALS = (
    10,
    10,
)  # of one cycle; torsions decorrelate within a block, angles within the steps
ADAPT_CYCLES = 600
LONG_MD, LONG_MD_NS = (
    ("ala2/ala2_ff96_obc_300K_seed1.npz", "ala2/ala2_ff96_obc_300K_seed2.npz"),
    10.0,
)
ZINC = "zinc_smiles/zinc_29k.smi"
GB_PLATFORM = "CPU"  # ten times faster than Reference for the implicit water, whatever the size
DRUGS, DRUG_TORSIONS, DRUG_ADAPT_CYCLES, FITTED_DRUGS = 20, (3, 8), 200, 4
PLAIN_STEPS = 25  # between frames of plain dynamics

Progress = Callable[[object], None]
_SAMPLER, _RUN = (
    "equidrift.adapters.openmm.sampler:ProposalSampler",
    "equidrift.adapters.openmm.simulation:",
)


def core(phi: Floats) -> np.ndarray:
    """-1 or 1 in the cores of phi, the last core visited between them; 0 before the
    first.
    """
    state = np.where(
        (phi > NEGATIVE[0]) & (phi < NEGATIVE[1]),
        -1,
        np.where((phi > POSITIVE[0]) & (phi < POSITIVE[1]), 1, 0),
    )
    last = np.maximum.accumulate(np.where(state != 0, np.arange(len(phi)), 0))
    return state[last]


def crossings(phi: Floats) -> int:
    """Changes of the core along a chain."""
    state = core(np.asarray(phi))
    return int(np.count_nonzero(np.diff(state[state != 0])))


def population(phi: Floats) -> dict[str, float]:
    """Share of the positive core among frames, its standard error from the chain's
    autocorrelation, and its distance from the truth.
    """
    inside = (core(np.asarray(phi)) > 0).astype(float)
    p = float(inside.mean())
    error = (
        math.sqrt(inside.var() * float(correlation_time(inside)) / len(inside))
        if 0 < p < 1
        else math.nan
    )
    return {
        "P_positive": p,
        "P_positive_error": error,
        "P_error": abs(p - boltzmann.rare_share(boltzmann.load_reference())),
    }


class Counted(Statistics):
    """A host's statistics that also follow the proposals which change the sign of the
    first torsion.

    `watched` wraps a proposer so that the torsions of each proposal are known when it
    is judged; hosts judge them in order.
    """

    def __init__(self, proposer: Any) -> None:
        super().__init__(labels=tuple(proposer.tree.labels()))
        self.tried = self.crossed = 0
        self._inner, self._here = proposer, 0.0
        self._queue: list[float] = []
        self.watched = Watched(self)

    def record(self, accepted: bool, delta_kT: float, turned: Any) -> None:
        super().record(accepted, delta_kT, turned)
        new = self._queue.pop(0)
        self.tried += (new > 0) != (self._here > 0)
        self.crossed += accepted and (new > 0) != (self._here > 0)
        self._here = new if accepted else self._here

    def expect(self, positions_A: Floats, moves: list[Any]) -> list[Any]:
        """Note where a block of proposals starts and leads."""
        first, *rest = self._inner.tree.torsions(
            np.stack([positions_A, *(move.positions_A for move in moves)])
        )[:, 0]
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
        return self.counted.expect(
            positions_A, self.inner.propose_independent(positions_A, n, **options)
        )


def simulation(
    topology: Any, system: Any, positions_A: Floats, seed: int = 0, platform: str | None = None
) -> Any:
    """A minimised Simulation at 300 K, 2 fs per step; platform None takes what suits
    the size.
    """
    options = {
        "temperature_K": TEMPERATURE_K,
        "timestep_fs": 2.0,
        "friction_per_ps": 1.0,
        "seed": seed,
        "platform": platform,
    }
    return resolve(_RUN + "make_simulation")(topology, system, positions_A, **options)


def timed(sampler: Any, seconds: float) -> float:
    """Run cycles until so much CPU time is spent; the seconds it was."""
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        sampler.run(1)
    return time.process_time() - begun


def fitted(
    sim: Any,
    molecule: Molecule,
    tree: TorsionTree,
    kind: str,
    *,
    cycles: int,
    n_proposals: int,
    terms: Any = None,
    frames_A: Floats | None = None,
) -> tuple[Any, float]:
    """The proposer that `equidrift md` would use, or one that begins with frames of
    long MD; and the CPU seconds that adaptation took.
    """
    begun, done = time.process_time(), 0

    def advance(proposer: Any, n: int) -> tuple[Floats, Statistics]:
        nonlocal done
        moves = 1 if isinstance(proposer, HeatBathProposer) else n_proposals
        sampler = resolve(_SAMPLER)(
            sim, proposer, md_steps=MD_STEPS, n_proposals=moves, seed=1 + done
        )
        frames = np.empty((n, tree.n_atoms, 3))
        for k in range(n):
            sampler.run(1)
            frames[k] = resolve(_RUN + "positions")(sim)
            done += 1
        return frames, sampler.statistics

    if frames_A is None:
        proposer = adapt(
            advance, molecule, tree, kind, cycles, temperature_K=TEMPERATURE_K, terms=terms
        ).proposer
        return proposer, time.process_time() - begun
    make, energy = resolve(PROPOSERS[kind]), resolve(_RUN + "energy_of")(sim)
    accepted, _ = advance(make(molecule, tree, frames_A, temperature_K=TEMPERATURE_K), cycles)
    frames_A = recycled(
        np.concatenate([frames_A, accepted]), tree, energy, temperature_K=TEMPERATURE_K
    )
    resolve(_RUN + "put")(sim, accepted[-1])
    proposer = make(molecule, tree, frames_A, temperature_K=TEMPERATURE_K)
    return proposer, time.process_time() - begun


def long_md(tree: TorsionTree) -> tuple[Floats, float]:
    """Frames of long plain MD, and its crossings per ns."""
    runs = []
    for name in LONG_MD:
        with np.load(data_folder() / name, allow_pickle=False) as file:
            runs.append(file["R"].astype(np.float64))
    return np.concatenate(runs), sum(crossings(tree.torsions(x)[:, 0]) for x in runs) / LONG_MD_NS


def alanine(seconds: float, say: Progress) -> list[dict[str, Any]]:
    """The rows of alanine dipeptide."""
    topology, system, x = alanine_dipeptide()
    molecule = resolve(_RUN + "_graph")(topology)
    tree = TorsionTree(molecule.n_atoms, molecule.bonds, PHI_PSI, molecule.numbers)
    frames_A, per_ns = long_md(tree)
    rows: dict[str, dict[str, Any]] = {}
    say("ala2/md")
    sampler = resolve(_SAMPLER)(
        simulation(topology, system, x, platform=GB_PLATFORM),
        Still(tree),
        md_steps=50,
        n_proposals=0,
    )
    spent = timed(sampler, seconds)
    phi = sampler.torsions_rad[:, 0]
    ns_per_s = sampler.cycle * 50 * TIMESTEP_PS / 1000 / spent
    md = per_ns * ns_per_s
    rows["md"] = {
        "crossings_per_s": md,
        **population(phi),
        "crossings_seen": crossings(phi),
        "ns_per_s": ns_per_s,
    }
    say("ala2/hmc")
    rows["hmc"] = hybrid(topology, system, x, tree, seconds)
    for row in ("histogram", "torsion"):
        say(f"ala2/{row}")
        sim = simulation(topology, system, x, seed=2, platform=GB_PLATFORM)
        options: dict[str, Any] = {
            "cycles": ADAPT_CYCLES,
            "n_proposals": N_PROPOSALS,
            "frames_A": frames_A,
        }
        proposer, adapt_s = fitted(sim, molecule, tree, row, **options)
        rows[row] = proposed(sim, proposer, seconds) | {"adapt_s": adapt_s}
    say("ala2/parallel-tempering")
    rows["parallel-tempering"] = tempering(topology, system, x, tree, seconds)
    over = {
        row: {"crossings_per_s_over_md": values["crossings_per_s"] / md}
        for row, values in rows.items()
    }
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


def hybrid(
    topology: Any, system: Any, x: Floats, tree: TorsionTree, seconds: float
) -> dict[str, Any]:
    """Hybrid Monte Carlo: 20 steps of 1 fs a move."""
    integrator = hybrid_monte_carlo(TEMPERATURE_K, 20, 0.001)
    sim = simulation_with(integrator, topology, system, x, TEMPERATURE_K, GB_PLATFORM)
    sampler = resolve(_SAMPLER)(
        sim, Still(tree), md_steps=1, n_proposals=0, temperature_K=TEMPERATURE_K
    )
    spent = timed(sampler, seconds)
    return {
        "crossings_per_s": crossings(sampler.torsions_rad[:, 0]) / spent,
        **population(sampler.torsions_rad[:, 0]),
    }


def tempering(
    topology: Any, system: Any, x: Floats, tree: TorsionTree, seconds: float
) -> dict[str, Any]:
    """OpenMM's replica exchange, 50 steps an iteration; the chain is that of the 300 K
    state.
    """
    sim = simulation(topology, system, x, seed=3, platform=GB_PLATFORM)
    advance = replica_exchange(sim, LADDER_K, 50)
    begun, phi = time.process_time(), []
    while time.process_time() - begun < seconds:
        phi.append(tree.torsions(advance())[0])
    spent = time.process_time() - begun
    return {"crossings_per_s": crossings(np.array(phi)) / spent, **population(np.array(phi))}


def drugs(seconds: float, limit: int, say: Progress) -> list[dict[str, Any]]:
    """The rows of held-out ZINC molecules: all together, the learned proposals alone on
    the first of them, and one row per molecule.
    """
    names = held_out_molecules(limit)
    rows = [drug(smiles, seconds, k < FITTED_DRUGS, say) for k, smiles in enumerate(names)]
    return [
        {"row": "drugs/torsion", "values": ratios(rows, "")},
        {"row": "drugs/diffusion", "values": ratios(rows, "diffusion_")},
        *({"row": f"drugs/{smiles}", "values": row} for smiles, row in zip(names, rows)),
    ]


def ratios(rows: list[dict[str, Any]], prefix: str) -> dict[str, float]:
    """Median and least ratio to dynamics over the molecules that a method was run on."""
    found = [row for row in rows if prefix + "ess_per_s" in row]
    least, mean = (
        [row[f"{prefix}{name}ess_per_s"] / row[f"md_{name}ess_per_s"] for row in found]
        for name in ("", "mean_")
    )
    return {
        "ess_per_s_over_md_median": float(np.median(least)),
        "ess_per_s_over_md_min": float(np.min(least)),
        "mean_ess_per_s_over_md_median": float(np.median(mean)),
        "mean_ess_per_s_over_md_min": float(np.min(mean)),
        "molecules": len(found),
    }


def drug(smiles: str, seconds: float, also_fitted: bool, say: Progress) -> dict[str, Any]:
    """One molecule: dynamics, `--proposals torsion`, and where asked the learned
    proposals alone.
    """
    molecule = Molecule.from_smiles(smiles)
    tree = TorsionTree.of(molecule)
    say(f"drugs/torsion {smiles}: {tree.n_torsions} rotatable bonds")
    system = mmff_system(molecule, constraints="HBonds")
    topology = to_topology(molecule)
    terms = turn_terms(system)
    if terms is None:
        raise InputError(f"no turn can be read from MMFF94 of {smiles}; take another molecule")
    x = ETKDGMMFF().sample(molecule, np.arange(1))[0]
    turns = HeatBathProposer(tree, terms)
    hot = HeatBathProposer(tree, terms, turns=10 * tree.n_torsions)
    other = hot.propose(
        x, kT_eV=20 * BOLTZMANN_EV_PER_K * TEMPERATURE_K, rng=np.random.default_rng(0)
    ).positions_A
    waves = []
    for seed, start in ((11, x), (12, other)):
        sampler = resolve(_SAMPLER)(
            simulation(topology, system, start, seed=seed), turns, md_steps=MD_STEPS, n_proposals=1
        )
        timed(sampler, seconds)
        waves.append(_waves(sampler.torsions_rad))
    mean = sum(wave.mean(axis=0) for wave in waves) / 2
    variance = sum(np.square(wave - mean).mean(axis=0) for wave in waves) / 2
    spread = np.abs(waves[0].mean(axis=0) - waves[1].mean(axis=0)) / np.sqrt(variance)
    values: dict[str, Any] = {"torsions": tree.n_torsions, "reference_spread": float(spread.max())}
    plain = resolve(_SAMPLER)(
        simulation(topology, system, x), Still(tree), md_steps=PLAIN_STEPS, n_proposals=0
    )
    spent = timed(plain, seconds)
    values |= effective("md_", plain.torsions_rad, mean, variance, spent)
    for prefix, given in (("", terms), ("diffusion_", None))[: 1 + also_fitted]:
        sim = simulation(topology, system, x, seed=1)
        moves = 2 * tree.n_torsions
        proposer, adapt_s = fitted(
            sim, molecule, tree, "torsion", cycles=DRUG_ADAPT_CYCLES, n_proposals=moves, terms=given
        )
        moves = 1 if isinstance(proposer, HeatBathProposer) else moves
        moved = resolve(_SAMPLER)(sim, proposer, md_steps=MD_STEPS, n_proposals=moves)
        spent = timed(moved, seconds)
        values |= effective(prefix, moved.torsions_rad, mean, variance, spent)
        values |= {
            f"{prefix}acceptance": 100 * moved.statistics.acceptance,
            f"{prefix}adapt_s": adapt_s,
        }
    return values | {"ess_per_s_over_md": values["ess_per_s"] / values["md_ess_per_s"]}


def _waves(phi: Floats) -> Floats:
    """(k, 2 m) cosines and sines."""
    return np.concatenate([np.cos(phi), np.sin(phi)], axis=1)


def effective(
    prefix: str, phi: Floats, mean: Floats, variance: Floats, seconds: float
) -> dict[str, float]:
    """Effective samples per second of the slowest torsion, and their mean over
    torsions; the worse of cosine and sine counts.

    About the mean and variance of the reference, so that a chain that stayed in one
    basin counts as the one sample it is.
    """
    waves = _waves(phi)
    each = (
        (len(waves) / correlation_time(waves, mean, np.maximum(variance, 1e-12)))
        .reshape(2, -1)
        .min(axis=0)
    )
    return {
        f"{prefix}ess_per_s": float(each.min()) / seconds,
        f"{prefix}mean_ess_per_s": float(each.mean()) / seconds,
    }


def held_out_molecules(limit: int) -> list[str]:
    """ZINC molecules of the test part with 3 to 8 rotatable bonds, in the file's order,
    spread over it.
    """
    path = data_folder() / ZINC
    found: list[str] = []
    lines = Path(path).read_text().split()
    for smiles in lines[:: max(1, len(lines) // 3000)]:
        try:
            molecule = Molecule.from_smiles(smiles)
        except MoleculeError:
            continue
        if held_out(flat_smiles(molecule)) != "test":
            continue
        if (
            abs(molecule.charge) <= 1
            and DRUG_TORSIONS[0] <= TorsionTree.of(molecule).n_torsions <= DRUG_TORSIONS[1]
        ):
            found.append(smiles)
        if len(found) == limit:
            break
    return found


def run(full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The table as one object.

    Parameters
    ----------
    full : 60 s per method, and twenty molecules; else 20 s, and four molecules. 3 s per
        molecule and method either way.
    progress : called with a line of text before every row.

    Raises
    ------
    InputError
        where the data is missing.
    """
    say = progress or (lambda message: None)
    rows, folder = [], data_folder()
    parts: tuple[tuple[str, tuple[str, ...], Callable[[], list[dict[str, Any]]]], ...] = (
        ("ala2/...", LONG_MD, lambda: alanine(60.0 if full else 20.0, say)),
        ("drugs/...", (ZINC,), lambda: drugs(3.0, DRUGS if full else 4, say)),
    )
    for name, files, measured in parts:
        missing = [file for file in files if not (folder / file).exists()]
        if missing:
            say(f"{name}: left out, {', '.join(missing)} is not in {folder}")
        else:
            rows += measured()
    rows += boltzmann.rows(full, say)
    return {"name": "sampling", "machine": machine(), "commit": commit(), "rows": rows}
