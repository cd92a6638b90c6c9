"""Long MMFF94 dynamics of molecules with torsions: what leaps are trained on and judged by."""

from __future__ import annotations

import numpy as np

from equidrift.adapters.openmm.simulation import Langevin
from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.errors import EquidriftError
from equidrift.mmff import mmff_system
from equidrift.models.shared.split import held_out
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.records import Molecule
from equidrift.registry import make_model
from equidrift.seeds import sample_seeds
from equidrift.torsions import TorsionTree

STEP_FS, FRICTION_PER_FS, SPACING_FS, WARM_FS = 4.0, 0.001, 1000.0, 20_000.0
HYDROGEN_AMU = 3.0
TEMPERATURE_K = 300.0
MOST_TORSIONS, MOST_ATOMS = 8, 40
ANY = "any"  # part of the molecules
# capped, and tri-alanine itself
PEPTIDES = (
    "CC(=O)N[C@@H](C)C(=O)NC",
    "CC(=O)N[C@@H](C)C(=O)N[C@@H](C)C(=O)NC",
    "CC(=O)N[C@@H](C(C)C)C(=O)NC",
    "C[C@H](N)C(=O)N[C@@H](C)C(=O)N[C@@H](C)C(=O)O",
)


def leaping_molecule(smiles: str, part: str, most_atoms: int = MOST_ATOMS) -> Molecule | None:
    """The molecule, if it belongs to a part (train, val, test, any) and has torsions
    enough and not too many.
    """
    try:
        molecule = Molecule.from_smiles(smiles)
        fits = 1 <= TorsionTree.of(molecule).n_torsions <= MOST_TORSIONS
        if not fits or molecule.n_atoms > most_atoms:
            return None
        if part != ANY and held_out(flat_smiles(molecule)) != part:
            return None
    except EquidriftError:
        return None
    return molecule


def long_dynamics(
    molecule: Molecule,
    frames: int,
    seed: int,
    temperature_K: float = TEMPERATURE_K,
    step_fs: float = STEP_FS,
) -> Dynamics | None:
    """A run of so many frames, a picosecond apart; None if it cannot be made.

    Langevin dynamics with hydrogens of 3 amu, bonds to hydrogen held, 1/ps of friction,
    after 20 ps that are left out.
    """
    try:
        system = mmff_system(molecule, constraints="HBonds", hydrogenMass_amu=HYDROGEN_AMU)
        start = make_model("etkdg-mmff").sample(molecule, sample_seeds(seed, 0, 1))[0]
        run = Langevin(
            system,
            start,
            temperature_K=temperature_K,
            friction_per_fs=FRICTION_PER_FS,
            step_fs=step_fs,
            seed=seed,
        )
        run.relax(start, 200)
        run.warm(temperature_K, seed)
        run.run(round(WARM_FS / step_fs))
        inner = round(SPACING_FS / step_fs)
        x = np.array([run.run(inner).positions_A for _ in range(frames)])
    except EquidriftError:
        return None
    if not np.isfinite(x).all():
        return None
    x -= x.mean(1, keepdims=True)
    return Dynamics(
        molecule, x[None].astype(np.float32), SPACING_FS, "MMFF94", temperature_K, FRICTION_PER_FS
    )
