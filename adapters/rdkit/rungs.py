"""The settings of RDKit's embedding, cheapest first, and which of them embed a molecule."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from equidrift.adapters.rdkit.identity import without_stereo
from equidrift.adapters.rdkit.interrupts import embedded_ids
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.adapters.rdkit.relaxing import force_field_of, mmff_relax
from equidrift.adapters.rdkit.threads import thread_count
from equidrift.checks.geometry import STEREO_REASONS, GeometryCheck
from equidrift.errors import CrashError, TimeLimitError
from equidrift.isolated import run_apart
from equidrift.records import Molecule
from equidrift.units import KCAL_MOL_PER_EV

FIRST_ATTEMPTS = 10  # of each conformer before the next setting is looked for
PROBE_SEED, PROBE_ATTEMPTS = 0x5EED, 30  # some polycycles embed once in twenty attempts
ENOUGH_RUNGS = 2
SMALL_RING, CAGE_RINGS = 4, 3
APART_S = 20.0  # seconds RDKit may take for a cage before its process is ended

# seconds in a call of RDKit: CALL_S, and of each conformer one and one more for each so many
# atoms
CALL_S, ATOMS_PER_S = 2, 50


def embedded(mol: Chem.Mol, count: int, options: Any) -> NDArray[np.float64]:
    """What RDKit embeds, (k, n_atoms, 3) with k <= count."""
    begun = time.monotonic()
    try:
        ids = embedded_ids(mol, count, options)
    except RuntimeError:
        return np.zeros((0, mol.GetNumAtoms(), 3))
    if -1 in ids:  # out of time, RDKit drops also what it had made
        return np.zeros((0, mol.GetNumAtoms(), 3))
    missing = count - len(ids)
    in_time = time.monotonic() - begun < options.timeout
    if in_time and sum(options.GetFailureCounts()) < missing * options.maxIterations:
        # RDKit catches Ctrl-C by itself and returns early: conformers are missing that never failed
        raise KeyboardInterrupt
    return np.array([mol.GetConformer(i).GetPositions() for i in ids]).reshape(
        -1, mol.GetNumAtoms(), 3
    )


def call_limit_s(mol: Chem.Mol, count: int) -> int:
    """Seconds RDKit may take for a call: far more than any molecule needs that embeds
    at all.
    """
    return CALL_S + count * (1 + mol.GetNumAtoms() // ATOMS_PER_S)


@dataclass(frozen=True)
class Rung:
    """One setting of RDKit's embedding.

    Parameters
    ----------
    small_rings : bool
        Torsion preferences of small rings; their minimiser gives up on cyclopentane.
    knowledge : bool
        Flat aromatic rings and linear triple bonds, which a helicene or paracyclophane
        does not have.
    random : bool
        From random coordinates instead of the metric matrix.
    lenient : bool
        Without RDKit's last look at stereocentres, which refuses carbon whose neighbours
        lie on one side, as in spiro rings of three atoms. What has another stereo is left
        out by `right`.
    """

    small_rings: bool = False
    knowledge: bool = True
    random: bool = False
    lenient: bool = False

    def options(self, seed: int, num_threads: int, attempts: int, limit_s: int) -> Any:
        """RDKit's EmbedParameters."""
        options: Any = rdDistGeom.ETKDGv3()  # RDKit's stubs have the wrong types of its fields
        options.useSmallRingTorsions = self.small_rings
        options.useBasicKnowledge = self.knowledge
        options.useRandomCoords = self.random
        options.enforceChirality = not self.lenient
        options.enableSequentialRandomSeeds = True
        options.randomSeed = seed
        options.numThreads = thread_count(num_threads)
        options.pruneRmsThresh = -1.0
        options.maxIterations = attempts
        options.trackFailures = True
        options.timeout = limit_s
        return options

    def right(self, molecule: Molecule, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of what it embedded, (k, n_atoms, 3), what has the molecule's stereo."""
        if not self.lenient or not len(positions_A):
            return positions_A
        reasons = GeometryCheck(molecule)(positions_A)
        return positions_A[~np.isin(reasons, STEREO_REASONS)]


LADDER = (  # cheapest first
    Rung(small_rings=True),
    Rung(),
    Rung(small_rings=True, random=True),
    Rung(random=True),
    Rung(knowledge=False),
    Rung(knowledge=False, random=True),
)
CORE_LADDER = LADDER[:4]  # around atoms that are held
LENIENT = Rung(lenient=True)
LENIENT_TRIES = 8
STRAIN_EV = 60.0 / KCAL_MOL_PER_EV  # above another stereoisomer a stereoisomer is impossible


@lru_cache(maxsize=4096)
def is_cage(molecule: Molecule) -> bool:
    """Whether an atom is in three rings or more, two of them of four atoms at most."""
    small: dict[int, int] = {}
    rings: dict[int, int] = {}
    mol = to_mol(molecule)  # its rings are freed with it
    for ring in mol.GetRingInfo().AtomRings():
        for k in ring:
            rings[k] = rings.get(k, 0) + 1
            small[k] = small.get(k, 0) + (len(ring) <= SMALL_RING)
    return any(rings[k] >= CAGE_RINGS and small[k] > 1 for k in rings)


@lru_cache(maxsize=4096)
def rungs_of(molecule: Molecule) -> tuple[Rung, ...]:
    """`working_rungs`, found in a child process if RDKit may hang."""
    if not is_cage(molecule):
        return working_rungs(molecule)
    try:
        return run_apart(working_rungs, molecule, timeout_s=APART_S, what=f"embedding {molecule!r}")
    except (TimeLimitError, CrashError):
        return ()


def working_rungs(molecule: Molecule) -> tuple[Rung, ...]:
    """The settings that embed a molecule from a fixed seed, one from each kind of
    start; empty if none does.

    What does not embed here is not tried again, sample by sample.
    """
    mol = to_mol(molecule)
    working: list[Rung] = []
    for rung in LADDER:
        options = rung.options(PROBE_SEED, 1, PROBE_ATTEMPTS, call_limit_s(mol, 1))
        if len(embedded(mol, 1, options)):
            working.append(rung)
            if len(working) == ENOUGH_RUNGS:
                break
    if not working and _may_be_lenient(molecule, mol):
        working.append(LENIENT)
    return tuple(working)


def _may_be_lenient(molecule: Molecule, mol: Chem.Mol) -> bool:
    """Whether the lenient rung makes what stays itself when MMFF94 relaxes it, and is not
    far above the lowest of the same bonds with any stereo.
    """
    if force_field_of(molecule) != "MMFF94" or not len(molecule.tetrahedral):
        return False

    def lowest_eV(rung: Rung, what: Molecule, graph: Chem.Mol) -> float:
        limit_s = call_limit_s(graph, LENIENT_TRIES)
        drawn = embedded(graph, LENIENT_TRIES, rung.options(PROBE_SEED, 1, FIRST_ATTEMPTS, limit_s))
        relaxed, energies = mmff_relax(what, drawn)
        return float(min(energies[GeometryCheck(what)(relaxed) == ""], default=np.inf))

    own = lowest_eV(LENIENT, molecule, mol)
    if not np.isfinite(own):
        return False
    free = without_stereo(molecule)
    best = lowest_eV(LADDER[0], free, to_mol(free))
    return bool(np.isfinite(best)) and own - best < STRAIN_EV
