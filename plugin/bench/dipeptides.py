"""`equidrift bench dipeptides`: Boltzmann samples of capped dipeptides that no choice was
made on, from the sequence alone (amber ff14SB + OBC2, 300 K), one core.

Row `dipeptides-XY/equidrift` is `sample_peptide`: annealed importance sampling from
softened pairs and torsions. `ess` is Kong's effective sample size in percent of the
samples, with all of them independent (none is resampled); `e_w2_kT` the 2-Wasserstein
distance of energies to the reference's, and `e_w2_floor_kT` what as many independent
draws from the reference itself would show. `torsion_chi2` compares the means of cosine
and sine of every torsion with the reference's: about 1 if both are right and their
errors, too. `first_ess` is the effective samples per sample of the first chain, in its
slowest torsion: near 100 or above, first states are independent.

Row `dipeptides-XY/replica-exchange` is the reference: OpenMM's replica exchange in four
temperatures, with heat-bath turns in each; what plain use of the same core would give.
`ess_per_cpu_s` is of the slowest torsion there. Row `dipeptides-unseen/equidrift` has
the means over sequences.

The split is by crc32 of the sequence, modulo 100: below 10 test, from 10 to 14
validation. Nothing is trained, so the rest is not used. The length of a step of the
ladder and the softness of the first states were chosen on Ace-Ala-Phe-NMe and
Ace-Arg-Trp-NMe, which are not test sequences.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from equidrift.adapters.openmm.peptide_reference import TEMPERATURE_K, Reference, reference
from equidrift.adapters.openmm.peptides import PeptideSamples, sample_peptide
from equidrift.bench.machine import Progress, silent
from equidrift.bench.rows import RESAMPLES, SE, Row, means, published, row, table
from equidrift.montecarlo.annealing import energy_w2
from equidrift.montecarlo.basins import correlation_time, effective_samples, standard_error
from equidrift.peptides import AMINO_ACIDS
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K

TEST, VALIDATION = 10, 15  # of 100 by crc32
# chosen by their names: charged, aromatic, branched, with proline and with glycine
SEQUENCES = ("GG", "QP", "TI", "EN", "YD", "TR", "LM", "FV")
SAMPLES = 100
REFERENCE_S = 40.0  # CPU seconds of each reference
# Of other unseen dipeptides in another force field, by a flow of 285 million parameters
# (PROSE, arXiv:2508.18175), for orientation
PUBLISHED = {"prose-published": {"ess": 19.1}}


def part_of(sequence: str) -> str:
    """'test', 'val' or 'train' for a sequence."""
    bucket = zlib.crc32(sequence.encode()) % 100
    return "test" if bucket < TEST else "val" if bucket < VALIDATION else "train"


def sequences(part: str) -> list[str]:
    """The dipeptides of a part of the split."""
    every = ("".join(pair) for pair in product(sorted(AMINO_ACIDS), repeat=2))
    return [sequence for sequence in every if part_of(sequence) == part]


def rows_of(sequence: str, samples: int, reference_s: float, seed: int = 0) -> list[Row]:
    """The two rows of a sequence."""
    found = sample_peptide(sequence, samples, temperature_K=TEMPERATURE_K, seed=seed)
    truth = reference(sequence, reference_s, seed)
    share = effective_samples(truth.torsions_rad).min()
    halves = np.array_split(truth.energies_kT, 2)
    exchanged = {
        "ess_per_cpu_s": float(share) / truth.seconds,
        "energy_ess": len(truth.energies_kT) / float(correlation_time(truth.energies_kT)),
        "e_w2_of_halves_kT": energy_w2(halves[0], None, halves[1]),
        "cpu_s": truth.seconds,
    }
    return [
        row(f"dipeptides-{sequence}/equidrift", compared(found, truth, seed), samples),
        row(f"dipeptides-{sequence}/replica-exchange", exchanged, len(truth.energies_kT)),
    ]


def compared(found: PeptideSamples, truth: Reference, seed: int = 0) -> dict[str, float]:
    """What samples were worth, and how far they are from a reference."""
    annealed, rng = found.annealed, np.random.default_rng(seed)
    n, weights = len(annealed.log_weights), annealed.weights
    energies = annealed.energies_eV / (BOLTZMANN_EV_PER_K * TEMPERATURE_K)
    apart = max(1, round(float(correlation_time(truth.energies_kT))))
    thinned = truth.energies_kT[::apart]
    distances, floors = [], []
    for _ in range(RESAMPLES):
        mine, theirs = rng.integers(n, size=n), rng.choice(thinned, len(thinned))
        distances.append(energy_w2(energies[mine], weights[mine], theirs))
        few = rng.choice(thinned, max(2, round(annealed.ess * n)))
        floors.append(energy_w2(few, None, truth.energies_kT))
    first = effective_samples(found.first_torsions_rad).min() / n
    return {
        "ess": 100 * annealed.ess,
        f"ess{SE}": 100 * annealed.ess_error,
        "e_w2_kT": energy_w2(energies, weights, truth.energies_kT),
        f"e_w2_kT{SE}": float(np.std(distances)),
        "e_w2_floor_kT": float(np.mean(floors)),
        "torsion_chi2": torsion_chi2(found, truth),
        "first_ess": 100 * float(first),
        "rungs": len(annealed.ladder),
        "atoms": found.molecule.n_atoms,
        "acceptance": 100 * found.acceptance[0],
        "turn_acceptance": 100 * found.acceptance[1],
        "ess_per_cpu_s": annealed.ess * n / found.seconds,
        "cpu_s": found.seconds,
    }


def torsion_chi2(found: PeptideSamples, truth: Reference) -> float:
    """Mean square difference of the torsions' cosines and sines from a reference, over
    the square of its standard error.
    """
    tree = TorsionTree.of(found.molecule, amides=True, hydrogens=True)
    phi = tree.torsions(found.annealed.positions_A)
    squares = []
    for wave in (np.cos, np.sin):
        mean, error = found.annealed.mean(wave(phi))
        series = wave(truth.torsions_rad)
        theirs = np.array([standard_error(column) for column in series.T])
        squares += ((mean - series.mean(axis=0)) ** 2 / (error**2 + theirs**2)).tolist()
    return float(np.mean(squares))


def run(full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The table as one object.

    Parameters
    ----------
    full : bool, optional
        Eight sequences, 100 samples and 40 CPU seconds of reference each (some 12
        minutes); else two small ones, 40 samples and 20 seconds.
    progress : callable, optional
        Called with a line of text before every sequence.
    """
    chosen = SEQUENCES if full else ("GG", "EN")
    return table("dipeptides", measured(chosen, full=full, say=progress or silent))


def measured(chosen: Sequence[str], *, full: bool, say: Progress) -> list[Row]:
    """The rows of some sequences, their means, and what was published."""
    rows: list[Row] = []
    for sequence in chosen:
        say(f"dipeptides-{sequence}")
        samples, seconds = (SAMPLES, REFERENCE_S) if full else (40, 20.0)
        rows += rows_of(sequence, samples, seconds)
    return [*rows, unseen(rows), *(published(f"dipeptides/{k}", v) for k, v in PUBLISHED.items())]


def unseen(rows: Sequence[Row]) -> Row:
    """The means over the sequences of rows."""
    ours = [part["values"] for part in rows if part["row"].endswith("/equidrift")]
    names = ("ess", "e_w2_kT", "e_w2_floor_kT", "torsion_chi2", "ess_per_cpu_s", "cpu_s")
    columns = {name: [values[name] for values in ours] for name in names}
    return row("dipeptides-unseen/equidrift", means(columns), len(ours))
