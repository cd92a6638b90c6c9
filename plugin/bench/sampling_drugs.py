"""Rows `drugs/...` of `equidrift bench sampling`.

Twenty held-out drug-like ZINC molecules with 3 to 8 rotatable bonds in MMFF94:
effective samples per second of the slowest torsion, as a sample is new when all of its
torsions are, against dynamics alone; `mean` is the mean over torsions instead. A chain
that never leaves a basin looks decorrelated to itself, so both methods are judged by
the mean and variance of a third run: two chains with proposals, one of them from turned
torsions, whose means differ by at most `reference_spread` standard deviations. Such a
chain of dynamics counts as one sample, however long it is: it runs twenty times longer
than a chain with proposals, and `md_stayed` counts the molecules of which it still
changed some torsion's basin never, so that their ratios are lower bounds. Ratios are
medians over molecules, with the quartiles `_q25` and `_q75`.

`drugs/torsion` is the default, heat-bath turns wherever half of them are accepted;
`drugs/diffusion` are blocks of 3 to 6 torsions drawn by the diffusion alone
(`--proposals diffusion`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.terms import turn_terms
from equidrift.adapters.openmm.topology import to_topology
from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.bench.machine import Progress, data_folder
from equidrift.bench.rows import Row, medians, row
from equidrift.bench.sampling_run import MD_STEPS, TEMPERATURE_K, fitted, simulation, timed
from equidrift.errors import InputError, MoleculeError
from equidrift.geometry import Floats
from equidrift.mmff import mmff_system
from equidrift.models.shared.split import held_out
from equidrift.montecarlo.adapt import Still
from equidrift.montecarlo.basins import correlation_time
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.montecarlo.turns import TurnTerms
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K

ZINC = "zinc_smiles/zinc_29k.smi"
DRUGS = 20
DRUG_TORSIONS = (3, 8)  # least and most rotatable bonds
ADAPT_CYCLES = 200
FITTED_DRUGS = 4  # molecules on which the learned proposals are run alone
PLAIN_STEPS = 25  # between frames of plain dynamics
THIRD = 2 * np.pi / 3
HOT = 20  # times the temperature at which the second reference's start is turned


def drugs(seconds: float, limit: int, say: Progress, md_seconds: float = 0.0) -> list[Row]:
    """The rows of held-out ZINC molecules: all together, the diffusion alone on the
    first of them, and one row per molecule.

    Parameters
    ----------
    seconds : float
        Of a chain with proposals.
    limit : int
        Molecules at most.
    say : callable
        Told what is next.
    md_seconds : float
        Of dynamics alone; 0 takes as long as with proposals.
    """
    names = held_out_molecules(limit)
    plain = md_seconds or seconds
    found = [
        drug(smiles, (seconds, plain), k < FITTED_DRUGS, say) for k, smiles in enumerate(names)
    ]
    return [
        ratios("drugs/torsion", found, ""),
        ratios("drugs/diffusion", found, "diffusion_"),
        *(
            row(f"drugs/{smiles}", values, values["frames"])
            for smiles, values in zip(names, found, strict=True)
        ),
    ]


def ratios(name: str, rows: list[dict[str, Any]], prefix: str) -> Row:
    """Median, quartiles and least ratio to dynamics over the molecules that a method was
    run on.
    """
    found = [values for values in rows if prefix + "ess_per_s" in values]
    out: dict[str, float] = {}
    for kind in ("", "mean_"):
        key = f"{kind}ess_per_s_over_md"
        over = [v[f"{prefix}{kind}ess_per_s"] / v[f"md_{kind}ess_per_s"] for v in found]
        out |= medians({f"{key}_median": over})
        out[f"{key}_q25"], out[f"{key}_q75"] = np.quantile(over, (0.25, 0.75)).tolist()
        out[f"{key}_min"] = float(np.min(over))
    stayed = sum(values["md_turned"] == 0 for values in found)
    return row(name, out | {"molecules": len(found), "md_stayed": stayed}, len(found))


def drug(
    smiles: str, spans: tuple[float, float], also_fitted: bool, say: Progress
) -> dict[str, Any]:
    """One molecule: dynamics, `--proposals torsion` and, if asked, the diffusion alone;
    `frames` is the number of frames of the chain with proposals.

    Parameters
    ----------
    smiles : str
        The molecule.
    spans : (2,) tuple of float
        CPU seconds of a chain with proposals, and of dynamics alone.
    also_fitted : bool
        Whether the diffusion is run.
    say : callable
        Told what is next.
    """
    seconds, md_seconds = spans
    molecule = Molecule.from_smiles(smiles)
    tree = TorsionTree.of(molecule)
    say(f"drugs/torsion {smiles}: {tree.n_torsions} rotatable bonds")
    topology, system = to_topology(molecule), mmff_system(molecule, constraints="HBonds")
    terms = turn_terms(system)
    if terms is None:
        raise InputError(f"no turn can be read from MMFF94 of {smiles}; take another molecule")
    x = ETKDGMMFF().sample(molecule, np.arange(1))[0]
    turns = HeatBathProposer(tree, terms)
    waves = []
    for seed, start in ((11, x), (12, turned(tree, terms, x))):
        sim = simulation(topology, system, start, seed=seed)
        sampler = ProposalSampler(sim, turns, md_steps=MD_STEPS, n_proposals=1)
        timed(sampler, seconds)
        waves.append(waves_of(sampler.torsions_rad))
    mean, variance, spread = pooled(waves)
    values: dict[str, Any] = {"torsions": tree.n_torsions, "reference_spread": spread}
    sim = simulation(topology, system, x)
    plain = ProposalSampler(sim, Still(tree), md_steps=PLAIN_STEPS, n_proposals=0)
    spent = timed(plain, md_seconds)
    values |= effective("md_", plain.torsions_rad, mean, variance, spent)
    values["md_turned"] = changes(plain.torsions_rad)
    for prefix, kind in (("", "torsion"), ("diffusion_", "diffusion"))[: 1 + also_fitted]:
        sim, moves = simulation(topology, system, x, seed=1), 2 * tree.n_torsions
        proposer, adapt_s = fitted(
            sim, molecule, tree, kind, cycles=ADAPT_CYCLES, n_proposals=moves, terms=terms
        )
        moves = 1 if isinstance(proposer, HeatBathProposer) else moves
        moved = ProposalSampler(sim, proposer, md_steps=MD_STEPS, n_proposals=moves)
        spent = timed(moved, seconds)
        values |= effective(prefix, moved.torsions_rad, mean, variance, spent)
        values[f"{prefix}acceptance"] = 100 * moved.statistics.acceptance
        values |= {f"{prefix}adapt_s": adapt_s, f"{prefix}frames": len(moved.torsions_rad)}
    return values | {"ess_per_s_over_md": values["ess_per_s"] / values["md_ess_per_s"]}


def turned(tree: TorsionTree, terms: TurnTerms, x: Floats) -> Floats:
    """Positions (n, 3) with every torsion turned many times, as at a high temperature."""
    hot = HeatBathProposer(tree, terms, turns=10 * tree.n_torsions)
    kT_eV = HOT * BOLTZMANN_EV_PER_K * TEMPERATURE_K
    return hot.propose(x, kT_eV=kT_eV, rng=np.random.default_rng(0)).positions_A


def pooled(waves: list[Floats]) -> tuple[Floats, Floats, float]:
    """Mean and variance of the columns of two chains together, and how many standard
    deviations their means are apart at most.
    """
    mean = np.mean([wave.mean(axis=0) for wave in waves], axis=0)
    variance = np.mean([np.square(wave - mean).mean(axis=0) for wave in waves], axis=0)
    spread = np.abs(waves[0].mean(axis=0) - waves[1].mean(axis=0)) / np.sqrt(variance)
    return mean, variance, float(spread.max())


def waves_of(phi: Floats) -> Floats:
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
    waves = waves_of(phi)
    each = (
        (len(waves) / correlation_time(waves, mean, np.maximum(variance, 1e-12)))
        .reshape(2, -1)
        .min(axis=0)
    )
    return {
        f"{prefix}ess_per_s": float(each.min()) / seconds,
        f"{prefix}mean_ess_per_s": float(each.mean()) / seconds,
    }


def changes(phi: Floats) -> int:
    """How often the torsion that changes least enters another third of the circle."""
    thirds = np.floor(np.mod(phi, 2 * np.pi) / THIRD)
    return int((np.diff(thirds, axis=0) != 0).sum(axis=0).min())


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
