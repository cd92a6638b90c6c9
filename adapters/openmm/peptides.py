"""Boltzmann samples of capped peptides in amber ff14SB and OBC2 implicit water, from the
sequence alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import openmm
from openmm import app, unit

from equidrift.adapters.openmm.softened import SoftenedContext
from equidrift.adapters.openmm.topology import to_topology
from equidrift.arguments import check_count
from equidrift.engine.conformers import sample_molecule
from equidrift.errors import InputError, MoleculeError
from equidrift.geometry import Floats
from equidrift.montecarlo.annealing import (
    LADDER_STEP_KT,
    PILOTS,
    Annealed,
    Progress,
    anneal,
    find_ladder,
    first_states,
)
from equidrift.peptides import capped_peptide
from equidrift.records import Ensemble, Molecule
from equidrift.seeds import check_seed
from equidrift.torsions import TorsionTree

FORCE_FIELD = ("amber14/protein.ff14SB.xml", "implicit/obc2.xml")
HYDROGEN_AMU = 3.0  # taken from the heavy atom: steps of 3 fs
SOFTEST = 0.2  # of the first states
SHAPE = "etkdg-mmff"  # the model of the first geometry
_OFFSET_NM = 0.009  # between the radius of OBC and the one of its integrals


def peptide_system(molecule: Molecule) -> openmm.System:
    """Amber ff14SB with OBC2 for a peptide with residue and atom names, bonds of hydrogen
    constrained, hydrogens of 3 amu.

    The implicit water is OpenMM's own GBSAOBCForce with the parameters of
    `implicit/obc2.xml`, ten times as fast as the custom force which that file makes.

    Raises
    ------
    MoleculeError
        If the force field has no template for a residue.
    """
    try:
        system = app.ForceField(*FORCE_FIELD).createSystem(
            to_topology(molecule),
            nonbondedMethod=app.NoCutoff,
            constraints=app.HBonds,
            hydrogenMass=HYDROGEN_AMU * unit.dalton,
            removeCMMotion=False,
        )
    except ValueError as error:
        raise MoleculeError(
            f"amber ff14SB has no parameters for {molecule!r}: {error}; "
            "equidrift.peptides.capped_peptide makes peptides that it knows"
        ) from error
    for k, force in enumerate(system.getForces()):
        if isinstance(force, openmm.CustomGBForce):
            native = _native(force)
            system.removeForce(k)
            system.addForce(native)
            break
    return system


def _native(force: openmm.CustomGBForce) -> openmm.GBSAOBCForce:
    """OBC2 as OpenMM's own force."""
    names = [
        force.getPerParticleParameterName(k) for k in range(force.getNumPerParticleParameters())
    ]
    if names != ["charge", "or", "sr"]:
        raise InputError(f"the implicit water has the parameters {names}, not those of OBC2")
    made = openmm.GBSAOBCForce()
    for k in range(force.getNumParticles()):
        charge, inner, scaled = force.getParticleParameters(k)
        made.addParticle(charge, inner + _OFFSET_NM, scaled / inner)
    return made


@dataclass(frozen=True, eq=False)
class PeptideSamples:
    """Weighted samples of a peptide.

    Parameters
    ----------
    molecule : Molecule
        The peptide.
    annealed : Annealed
        States, weights, energies and their ESS.
    first_seconds, ladder_seconds : float
        CPU time of the first states and of the ladder; `annealed.seconds` is the rest.
    acceptance : tuple of float
        Shares of trajectories and of turns accepted.
    first_torsions_rad : (n, m) array
        Torsions of the first states, in the order of their chain.
    """

    molecule: Molecule
    annealed: Annealed
    first_seconds: float
    ladder_seconds: float
    acceptance: tuple[float, float]
    first_torsions_rad: Floats

    @property
    def seconds(self) -> float:
        """CPU time of everything."""
        return self.first_seconds + self.ladder_seconds + self.annealed.seconds

    def ensemble(self) -> Ensemble:
        """The states as an Ensemble, with energies and the score `log_weight`."""
        found = self.annealed
        return Ensemble(
            self.molecule,
            found.positions_A,
            seeds=np.arange(len(found.log_weights)),
            energies_eV=found.energies_eV,
            valid=np.ones(len(found.log_weights), bool),
            provenance={"method": "annealed importance sampling", "ess": found.ess},
            scores={"log_weight": found.log_weights},
        )


def peptide_path(
    sequence: str, *, temperature_K: float = 300.0, seed: int = 0
) -> tuple[Molecule, SoftenedContext, Floats]:
    """The peptide, its energies and moves at any softness, and positions (n_atoms, 3) at
    a minimum.
    """
    molecule = capped_peptide(sequence)
    tree = TorsionTree.of(molecule, amides=True, hydrogens=True)
    path = SoftenedContext(peptide_system(molecule), tree, temperature_K=temperature_K)
    start_A = sample_molecule(molecule, 1, model=SHAPE, seed=check_seed(seed)).positions_A[0]
    return molecule, path, path.minimised(start_A)


def sample_peptide(
    sequence: str,
    n: int,
    *,
    temperature_K: float = 300.0,
    step: float = LADDER_STEP_KT,
    seed: int = 0,
    progress: Progress | None = None,
) -> PeptideSamples:
    """Weighted samples of exp(-U / kT) of a capped peptide nobody has simulated before.

    No trajectory is read and nothing is trained: first states come from a chain in
    softened pairs and torsions, and each is annealed to the full energy
    (`equidrift.montecarlo.annealing`).

    Parameters
    ----------
    sequence : str
        One letter for each amino acid, "AF" for Ace-Ala-Phe-NMe; one to four residues
        are what was tried.
    n : int
        Samples.
    temperature_K : float
        Temperature.
    step : float
        Length of a step of the ladder; half of it takes twice as long, and weights
        become more even.
    seed : int
        The same seed gives the same samples on the same processor.
    progress : callable, optional
        Called with samples done and samples in all.

    Raises
    ------
    InputError
        For a letter that is no amino acid, or numbers that cannot be used.

    Examples
    --------
    >>> from equidrift.adapters.openmm.peptides import sample_peptide
    >>> found = sample_peptide("G", 4, step=0.5, seed=1)
    >>> found.annealed.positions_A.shape, bool(0 < found.annealed.ess <= 1)
    ((4, 19, 3), True)
    """
    check_count("n", n, 2)
    begun = time.process_time()
    molecule, path, start_A = peptide_path(sequence, temperature_K=temperature_K, seed=seed)
    rng = np.random.default_rng([seed, n])
    states = first_states(path, start_A, n + PILOTS, SOFTEST, rng=rng)
    climbing = time.process_time()
    ladder = find_ladder(path, states[:PILOTS], SOFTEST, rng=rng, step=step)
    found = time.process_time()
    annealed = anneal(path, states[PILOTS:], ladder, seed=seed, progress=progress)
    return PeptideSamples(
        molecule,
        annealed,
        first_seconds=climbing - begun,
        ladder_seconds=found - climbing,
        acceptance=(path.trajectories.acceptance, path.turned.acceptance),
        first_torsions_rad=path.tree.torsions(states[PILOTS:]),
    )
