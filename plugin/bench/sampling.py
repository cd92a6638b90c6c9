"""`equidrift bench sampling`: barriers crossed and effective samples per second, every
method on the same System, one core each.

Seconds are CPU seconds of the one thread that every method runs on, so that a busy
machine changes nothing; a sampler's time counts whole. Apart stand the time that fitting
a proposer took (`adapt_s`) and what the frames it was fitted to would have cost by
dynamics of this run's speed (`reference_s`).

Alanine dipeptide (ff96 + OBC, 300 K): plain Langevin dynamics, hybrid Monte Carlo,
torsion proposals from a histogram and from a Fourier table, parallel tempering. A
crossing is a change between the cores -170 to -30 and 15 to 120 degrees of phi, seen
after every cycle. Dynamics crosses too rarely for the time given: its rate is that of
the 10 ns in EQUIDRIFT_DATA times the ns per second of this run (`crossings_seen` is
what was seen), and its population is theirs. Both proposers are fitted to the same 10
ns and to an adaptive phase of their own, with torsions drawn anew
(`equidrift.montecarlo.recycling.recycled`). `P_error` is the distance of P(phi > 0)
from the long reference's, of states after each cycle or, with proposals, after each of
them; `P_error_in_se` is the same in units of both standard errors, which fewer than ten
entries of that basin (`P_entries`) make unreliable.

Rows `drugs/...` are those of `equidrift.bench.sampling_drugs`, rows `rigid-water-ion/...`
of `equidrift.bench.sampling_rigid`, rows `blocks-.../...` of
`equidrift.bench.sampling_blocks`, rows `solvated-.../...` of
`equidrift.bench.sampling_solvated`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.simulation import graph_of, replica_exchange, simulation_with
from equidrift.adapters.openmmtools.systems import alanine_dipeptide, hybrid_monte_carlo
from equidrift.bench import boltzmann
from equidrift.bench.machine import Progress, data_folder
from equidrift.bench.parts import Parts, benchmark, of_data
from equidrift.bench.rows import Row, row
from equidrift.bench.sampling_blocks import blocks
from equidrift.bench.sampling_drugs import DRUGS, ZINC, drugs
from equidrift.bench.sampling_rigid import rigid
from equidrift.bench.sampling_run import (
    MD_STEPS,
    N_PROPOSALS,
    TEMPERATURE_K,
    Counted,
    fitted,
    simulation,
    timed,
)
from equidrift.bench.sampling_solvated import solvated
from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.montecarlo.adapt import Still
from equidrift.montecarlo.basins import standard_error
from equidrift.montecarlo.convergence import chain_slices
from equidrift.protocols import IndependentProposer
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree

if TYPE_CHECKING:
    import openmm
    from openmm import app

TIMESTEP_PS = 0.002
PHI_PSI = ((6, 8), (8, 14))  # N-CA and CA-C of openmmtools' alanine dipeptide
NEGATIVE = (np.radians(-170), np.radians(-30))  # of phi, the cores between which it crosses
POSITIVE = (np.radians(15), np.radians(120))
LADDER_K = (300.0, 350.0, 410.0, 480.0, 560.0, 650.0)
PLAIN_STEPS = 50  # of a cycle of plain dynamics, and between exchanges
ADAPT_CYCLES = 600
LONG_MD = ("ala2/ala2_ff96_obc_300K_seed1.npz", "ala2/ala2_ff96_obc_300K_seed2.npz")
LONG_MD_NS = 10.0  # of both together
GB_PLATFORM = "CPU"  # ten times faster than Reference for the implicit water, whatever the size
SOLVATED_SECONDS = (4.0, 60.0)  # per chain, six of each of three systems: short, full
BLOCKS_SECONDS = (1.0, 10.0)  # per chain, seventeen of each of three systems
DRUG_SECONDS = 3.0  # per molecule and method with proposals
DRUG_MD_SECONDS = (3.0, 60.0)  # of dynamics alone: short, full


@dataclass(frozen=True, eq=False)
class Alanine:
    """Alanine dipeptide in ff96 + OBC, its start (n, 3) and the tree of phi and psi."""

    topology: app.Topology
    system: openmm.System
    positions_A: Floats
    molecule: Molecule
    tree: TorsionTree

    @classmethod
    def make(cls) -> Alanine:
        """The System of openmmtools."""
        topology, system, x = alanine_dipeptide()
        molecule = graph_of(topology)
        tree = TorsionTree(molecule.n_atoms, molecule.bonds, PHI_PSI, molecule.numbers)
        return cls(topology, system, x, molecule, tree)

    def simulation(self, seed: int = 0) -> app.Simulation:
        """A minimised Simulation at 300 K."""
        return simulation(self.topology, self.system, self.positions_A, seed, GB_PLATFORM)


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


def population(phi: Floats, lengths: Sequence[int] = ()) -> dict[str, float]:
    """Share of the rare basin among states, its standard error from the chain's
    autocorrelation, how often it was entered, and how far from the reference it is, in
    units of both errors too.

    Parameters
    ----------
    phi : (k,) array
        In rad, of one chain or of several, one after the other.
    lengths : sequence of int
        States of each chain; empty for one.
    """
    inside = ((phi > boltzmann.RARE[0]) & (phi < boltzmann.RARE[1])).astype(float)
    changes = [np.diff(inside[part]) for part in chain_slices(len(inside), lengths)]
    p, entries = float(inside.mean()), int((np.concatenate(changes) > 0).sum())
    error = standard_error(inside, lengths) if entries else math.nan
    reference = boltzmann.load_reference()
    truth = boltzmann.rare_share(reference)
    both = math.hypot(error, truth * (1 - truth) * reference["delta_F_stderr_kT"])
    return {
        "P_positive": p,
        "P_positive_error": error,
        "P_entries": entries,
        "P_error": abs(p - truth),
        "P_error_in_se": abs(p - truth) / both,
    }


def rates(phi: Floats, seconds: float) -> dict[str, float]:
    """Crossings per second of a chain, with the standard error of a Poisson count, and
    its population.
    """
    seen = crossings(phi)
    return {
        "crossings_per_s": seen / seconds,
        "crossings_per_s_se": math.sqrt(seen) / seconds,
        "crossings_seen": seen,
        "frames": len(phi),
        **population(phi),
    }


def long_md() -> list[Floats]:
    """Frames (k, 22, 3) of each run of long plain MD."""
    runs = []
    for name in LONG_MD:
        with np.load(data_folder() / name, allow_pickle=False) as file:
            runs.append(file["R"].astype(np.float64))
    return runs


def alanine(seconds: float, say: Progress) -> list[Row]:
    """The rows of alanine dipeptide."""
    peptide = Alanine.make()
    runs = long_md()
    frames_A = np.concatenate(runs)
    found: dict[str, dict[str, Any]] = {}
    say("ala2/md")
    found["md"] = plain(peptide, seconds, [peptide.tree.torsions(x)[:, 0] for x in runs])
    say("ala2/hmc")
    found["hmc"] = hybrid(peptide, seconds)
    # two torsions: "torsion" draws from a table of a Fourier series, and no network is read
    for name, kind in (("histogram", "histogram"), ("fourier-table", "torsion")):
        say(f"ala2/{name}")
        sim = peptide.simulation(seed=2)
        proposer, adapt_s = fitted(
            sim,
            peptide.molecule,
            peptide.tree,
            kind,
            cycles=ADAPT_CYCLES,
            n_proposals=N_PROPOSALS,
            frames_A=frames_A,
        )
        if not isinstance(proposer, IndependentProposer):
            raise InputError(f"{proposer.name} cannot propose several moves from one state")
        found[name] = proposed(sim, proposer, seconds) | {
            "adapt_s": adapt_s,
            "reference_s": LONG_MD_NS / found["md"]["ns_per_s"],
        }
    say("ala2/parallel-tempering")
    found["parallel-tempering"] = tempering(peptide, seconds)
    md = found["md"]["crossings_per_s"]
    return [
        row(
            f"ala2/{name}",
            values | {"crossings_per_s_over_md": values["crossings_per_s"] / md},
            values["frames"],
        )
        for name, values in found.items()
    ]


def plain(peptide: Alanine, seconds: float, runs: list[Floats]) -> dict[str, Any]:
    """Langevin dynamics, which crosses too rarely for the time given: its rate is that
    of the long runs, phi (k,) each, times the ns per second of this one, and its
    population is theirs.
    """
    sampler = ProposalSampler(
        peptide.simulation(), Still(peptide.tree), md_steps=PLAIN_STEPS, n_proposals=0
    )
    spent = timed(sampler, seconds)
    ns_per_s = sampler.cycle * PLAIN_STEPS * TIMESTEP_PS / 1000 / spent
    seen = sum(crossings(phi) for phi in runs)
    return (
        rates(sampler.torsions_rad[:, 0], spent)
        | population(np.concatenate(runs), [len(phi) for phi in runs])
        | {
            "crossings_per_s": seen / LONG_MD_NS * ns_per_s,
            "crossings_per_s_se": math.sqrt(seen) / LONG_MD_NS * ns_per_s,
            "ns_per_s": ns_per_s,
        }
    )


def proposed(sim: app.Simulation, proposer: IndependentProposer, seconds: float) -> dict[str, Any]:
    """Crossings and acceptance of dynamics with proposals."""
    counted = Counted(proposer)
    sampler = ProposalSampler(sim, counted.watched, md_steps=MD_STEPS, n_proposals=N_PROPOSALS)
    sampler.statistics = counted
    spent = timed(sampler, seconds)
    found = rates(sampler.torsions_rad[:, 0], spent) | population(np.array(counted.visited))
    return found | {
        "acceptance": 100 * counted.acceptance,
        "acceptance_across": 100 * counted.crossed / max(1, counted.tried),
        "proposals_per_s": counted.proposed / spent,
    }


def hybrid(peptide: Alanine, seconds: float) -> dict[str, Any]:
    """Hybrid Monte Carlo: 20 steps of 1 fs per move."""
    integrator = hybrid_monte_carlo(TEMPERATURE_K, 20, 0.001)
    sim = simulation_with(
        integrator,
        peptide.topology,
        peptide.system,
        peptide.positions_A,
        TEMPERATURE_K,
        GB_PLATFORM,
        threads=1,
    )
    still = Still(peptide.tree)
    sampler = ProposalSampler(sim, still, md_steps=1, n_proposals=0, temperature_K=TEMPERATURE_K)
    spent = timed(sampler, seconds)
    return rates(sampler.torsions_rad[:, 0], spent)


def tempering(peptide: Alanine, seconds: float) -> dict[str, Any]:
    """OpenMM's replica exchange; the chain is that of the 300 K state."""
    advance = replica_exchange(peptide.simulation(seed=3), LADDER_K, PLAIN_STEPS)
    begun, phi = time.process_time(), []
    while time.process_time() - begun < seconds:
        phi.append(peptide.tree.torsions(advance())[0])
    return rates(np.array(phi), time.process_time() - begun)


def parts_of(full: bool, say: Progress) -> Parts:
    """What measures ala2, drugs, rigid, blocks, solvated, boltzmann.

    The long form has 60 s per method, twenty molecules with dynamics of 60 s each (24
    minutes), 10 s per chain of blocks (9 minutes) and 60 s per chain in water (22
    minutes); the short one 20 s, four molecules with 3 s, 1 s and 4 s.
    """
    return {
        "ala2": lambda: of_data(
            "ala2", LONG_MD, lambda _folder: alanine(60.0 if full else 20.0, say), say
        ),
        "drugs": lambda: of_data(
            "drugs",
            [ZINC],
            lambda _folder: drugs(DRUG_SECONDS, DRUGS if full else 4, say, DRUG_MD_SECONDS[full]),
            say,
        ),
        "rigid": lambda: rigid(20.0 if full else 5.0, say),
        "blocks": lambda: blocks(BLOCKS_SECONDS[full], say),
        "solvated": lambda: solvated(SOLVATED_SECONDS[full], say),
        "boltzmann": lambda: boltzmann.rows(full, say),
    }


run = benchmark("sampling", parts_of)
