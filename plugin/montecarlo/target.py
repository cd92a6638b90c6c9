"""What `equidrift md` simulates, and its settings: a SMILES or a file becomes a System."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.engine.conformers import generate
from equidrift.errors import InputError, UnknownNameError
from equidrift.records import Molecule
from equidrift.registry import PROPOSERS, host_function
from equidrift.residues import reordered, residue_order
from equidrift.seeds import check_seed
from equidrift.units import PS_PER_FS

STRUCTURES = (".pdb", ".sdf", ".mol")


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run's result but its length.

    proposals is a name of `equidrift.registry.PROPOSERS` or "none"; md_steps and
    n_proposals make one cycle; adapt_ps None takes a tenth of the time, at least 50 ps;
    platform None takes the fastest for the size. Frames are written every interval_ps.
    charge is that of the molecule in a .pdb file; None takes it from its hydrogens.
    """

    temperature_K: float = 300.0
    proposals: str = "torsion"
    timestep_fs: float = 2.0
    friction_per_ps: float = 1.0
    constraints: str | None = "HBonds"
    md_steps: int = 100
    n_proposals: int = 10
    adapt_ps: float | None = None
    interval_ps: float | None = None
    seed: int = 0
    platform: str | None = None
    forcefield: tuple[str, ...] = ()
    charge: int | None = None

    def __post_init__(self) -> None:
        if self.proposals not in (*PROPOSERS, "none"):
            raise UnknownNameError("kind of proposals", self.proposals, (*PROPOSERS, "none"))
        for name in ("temperature_K", "timestep_fs", "friction_per_ps"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be positive and finite, not {getattr(self, name)}")
        for name in ("md_steps", "n_proposals"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
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
    """What is simulated: OpenMM's Topology and System, positions_A (n, 3), the graph,
    and the force field in words.
    """

    topology: Any
    system: Any
    positions_A: NDArray[np.float64]
    molecule: Molecule
    potential: str


def make_target(what: str, settings: Settings) -> Target:
    """A SMILES, .sdf or .mol in MMFF94, or a .pdb in the force field files given
    (without them in MMFF94 too).

    Raises
    ------
    InputError, MoleculeError
        where it cannot be read or has no parameters.
    """
    from equidrift.mmff import mmff_system

    if Path(what).suffix.lower() == ".pdb" and settings.forcefield:
        topology, system, x, molecule = host_function("openmm", "read_pdb")(
            what, settings.forcefield, settings.constraints
        )
        return Target(topology, system, x, molecule, " + ".join(settings.forcefield))
    if settings.forcefield:
        raise InputError(
            f"--forcefield is for .pdb files, and {what!r} is none; leave it out for MMFF94, "
            f"or give a PDB file"
        )
    molecule, x = _read(what, settings.seed, settings.charge)
    order = residue_order(molecule)  # OpenMM wants each residue in one piece
    molecule, x = reordered(molecule, order), x[order]
    system = mmff_system(molecule, constraints=settings.constraints)
    return Target(host_function("openmm", "to_topology")(molecule), system, x, molecule, "MMFF94")


def _read(what: str, seed: int, charge: int | None) -> tuple[Molecule, NDArray[np.float64]]:
    """Graph and a start geometry, made by ETKDG where the input has none."""
    molecule, x = None, None
    if Path(what).suffix.lower() in STRUCTURES:
        records = list(host_function("rdkit", "read_molecules")(what, charge=charge))
        if len(records) != 1 or records[0].molecule is None:
            raise InputError(
                f"{what!r} holds {len(records)} entries, and one molecule is wanted: "
                f"{records[0].error or 'split the file'}"
            )
        molecule = records[0].molecule
        x = None if records[0].positions_A is None else records[0].positions_A[0]
    molecule = molecule or Molecule.from_smiles(what)
    if x is None:
        x = generate(molecule, 1, model="etkdg-mmff", seed=seed).positions_A[0]
    return molecule, x
