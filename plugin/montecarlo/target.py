"""What `equidrift md` simulates, and its settings: a SMILES or a file becomes a System."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from equidrift.engine.conformers import sample_molecule
from equidrift.errors import OTHER_FORMATS, InputError, MoleculeError, UnknownNameError
from equidrift.files.unpacked import names_file, plain_suffix, unpacked
from equidrift.fragments import fragments, largest_atoms, largest_fragment, part_of
from equidrift.montecarlo.turns import MOST_ATOMS
from equidrift.records import Molecule
from equidrift.registry import PROPOSERS, host_function
from equidrift.residues import reordered, residue_order
from equidrift.seeds import check_seed
from equidrift.stereo import SHOWN, SIMULATED, stereo_notes
from equidrift.torsions import rotatable_bonds
from equidrift.units import PS_PER_FS

if TYPE_CHECKING:
    import openmm
    from openmm import app

STRUCTURES = (".pdb", ".sdf", ".mol", ".mol2")
USUAL_PROPOSALS = 10  # of a cycle
# of a cycle of 100 steps: among 500 water molecules a proposal costs 3 to 5 steps, and what
# proposals do not help keeps .9 of the speed of dynamics
IN_SOLVENT = 1


@dataclass(frozen=True)
class ChainSettings:
    """Everything that decides a run's result but its length.

    Parameters
    ----------
    temperature_K : float
        Of the dynamics and the moves.
    proposals : str
        A name of `equidrift.registry.PROPOSERS`, or "none".
    timestep_fs, friction_per_ps : float
        Of the LangevinMiddle integrator.
    constraints : str, optional
        "HBonds", "AllBonds", "HAngles" or None.
    md_steps : int
        Steps of one cycle.
    n_proposals : int, optional
        Proposals of one cycle; None takes `USUAL_PROPOSALS`, or `IN_SOLVENT` of a
        molecule among others.
    adapt_ps : float, optional
        Length of the adaptive phase; None takes a tenth of the time, at least 50 ps.
    interval_ps : float, optional
        Time between frames; None writes one after each cycle.
    seed : int
        Of everything that is random.
    platform : str, optional
        OpenMM's; None takes the fastest for the size.
    forcefield : tuple of str
        OpenMM force field files for a .pdb; empty for MMFF94.
    charge : int, optional
        Total charge of the molecule in a .pdb file; None takes it from its hydrogens.
    smiles : str, optional
        The molecule of a .pdb as a SMILES, which tells bond orders and charges.
    largest_fragment : bool
        Whether only the largest fragment of a salt or solvate is simulated.

    Raises
    ------
    InputError
        If a number is out of its range; UnknownNameError for an unknown name.
    """

    temperature_K: float = 300.0
    proposals: str = "torsion"
    timestep_fs: float = 2.0
    friction_per_ps: float = 1.0
    constraints: str | None = "HBonds"
    md_steps: int = 100
    n_proposals: int | None = None
    adapt_ps: float | None = None
    interval_ps: float | None = None
    seed: int = 0
    platform: str | None = None
    forcefield: tuple[str, ...] = ()
    charge: int | None = None
    smiles: str | None = None
    largest_fragment: bool = False

    def __post_init__(self) -> None:
        if self.proposals not in (*PROPOSERS, "none"):
            raise UnknownNameError("kind of proposals", self.proposals, (*PROPOSERS, "none"))
        for name in ("temperature_K", "timestep_fs", "friction_per_ps"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be positive and finite, not {getattr(self, name)}")
        for name in ("md_steps", "n_proposals"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise InputError(f"{name} must be at least 1, not {count}")
        for name in ("adapt_ps", "interval_ps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} must be positive and finite, not {value}")
        check_seed(self.seed)

    @property
    def cycle_ps(self) -> float:
        """Time of one cycle."""
        return self.md_steps * self.timestep_fs * PS_PER_FS


@dataclass(frozen=True, eq=False)
class Target:
    """What is simulated.

    Parameters
    ----------
    topology : app.Topology
        OpenMM's, in the order of the atoms.
    system : openmm.System
        Masses, forces and constraints.
    positions_A : (n_atoms, 3) array
        Where it starts.
    molecule : Molecule
        Its graph.
    potential : str
        The force field in words.
    notes : tuple of str
        What a user should know of the molecule.
    """

    topology: app.Topology
    system: openmm.System
    positions_A: NDArray[np.float64]
    molecule: Molecule
    potential: str
    notes: tuple[str, ...] = ()

    @cached_property
    def solute(self) -> NDArray[np.int64]:
        """(n,) atoms whose torsions are sampled: all of a small system, and of a larger
        one the molecules that have a bond to turn about, so that the rest is what they
        are solvated in.
        """
        everything, n = np.arange(self.molecule.n_atoms), self.molecule.n_atoms
        turned = rotatable_bonds(self.molecule).ravel() if n > MOST_ATOMS else everything[:0]
        if not len(turned):
            return everything
        parts = [part for part in fragments(self.molecule) if np.isin(part, turned).any()]
        return np.sort(np.concatenate(parts))

    def proposals(self, settings: ChainSettings) -> int:
        """How many stand in a cycle."""
        if settings.n_proposals is not None:
            return settings.n_proposals
        return IN_SOLVENT if len(self.solute) < self.molecule.n_atoms else USUAL_PROPOSALS

    @cached_property
    def turned(self) -> Molecule:
        """The graph of `solute`."""
        return part_of(self.molecule, self.solute)


def make_target(what: str, settings: ChainSettings) -> Target:
    """A SMILES, .sdf, .mol or .mol2 in MMFF94, or a .pdb in the force field files given
    (without them in MMFF94 too).

    Parameters
    ----------
    what : str
        SMILES or file.
    settings : ChainSettings
        `forcefield`, `constraints`, `charge`, `smiles`, `largest_fragment` and `seed`
        count.

    Raises
    ------
    InputError, MoleculeError
        If it cannot be read or has no parameters.
    """
    if settings.forcefield:
        return _with_force_field(what, settings)
    from equidrift.mmff import mmff_system

    molecule, x, notes = _read(what, settings)
    order = residue_order(molecule)  # OpenMM wants each residue in one piece
    molecule, x = reordered(molecule, order), x[order]
    system = mmff_system(molecule, constraints=settings.constraints)
    topology = host_function("openmm", "to_topology")(molecule)
    return Target(topology, system, x, molecule, "MMFF94", tuple(notes))


def _with_force_field(what: str, settings: ChainSettings) -> Target:
    """A .pdb in OpenMM force field files."""
    suffix = plain_suffix(what)
    if suffix in OTHER_FORMATS:
        raise UnknownNameError("suffix", suffix, STRUCTURES)
    if suffix != ".pdb":
        raise InputError(
            f"--forcefield is for .pdb files, and {what!r} is none; leave it out for MMFF94, "
            f"or give a PDB file"
        )
    if settings.smiles is not None:
        raise InputError(
            "--smiles tells MMFF94 the bond orders, and the files of --forcefield have templates "
            "of their own; leave one of them out"
        )
    topology, system, x, molecule = host_function("openmm", "read_pdb")(
        unpacked(what), settings.forcefield, settings.constraints, settings.largest_fragment
    )
    return Target(topology, system, x, molecule, " + ".join(settings.forcefield))


def _read(what: str, settings: ChainSettings) -> tuple[Molecule, NDArray[np.float64], list[str]]:
    """Graph, a start geometry, made by ETKDG if the input has none, and notes on the
    stereo that is not told.
    """
    molecule, x = None, None
    if plain_suffix(what) in (*STRUCTURES, *OTHER_FORMATS) or names_file(what):
        molecule, x = _from_file(what, settings)
    elif settings.smiles is not None:
        raise InputError(
            f"--smiles tells the bonds of a .pdb file, and the input {what!r} is a SMILES itself; "
            "leave --smiles out"
        )
    molecule = molecule or Molecule.from_smiles(what)
    if settings.largest_fragment:
        x = None if x is None else x[largest_atoms(molecule)]
        molecule = largest_fragment(molecule)
    if x is not None:
        return molecule, x, stereo_notes(molecule, SHOWN)
    x = sample_molecule(molecule, 1, model="etkdg-mmff", seed=settings.seed).positions_A[0]
    return molecule, x, stereo_notes(molecule, SIMULATED)


def _from_file(what: str, settings: ChainSettings) -> tuple[Molecule, NDArray[np.float64] | None]:
    """The one molecule of a file, and its geometry if it has one."""
    read = host_function("rdkit", "read_molecules")
    records = list(read(what, charge=settings.charge, smiles=settings.smiles))
    if len(records) != 1:
        raise InputError(
            f"{what!r} holds {len(records)} entries, and one molecule is wanted; split the file"
        )
    if records[0].molecule is None:
        raise MoleculeError(f"cannot read {what!r}: {records[0].error}")
    positions_A = records[0].positions_A
    return records[0].molecule, None if positions_A is None else positions_A[0]
