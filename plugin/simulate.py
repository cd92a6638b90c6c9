"""Short molecular dynamics from every conformer, with whatever System there is, and
MMFF94 where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equidrift.mmff import mmff_system
from equidrift.records import Ensemble, Frozen
from equidrift.registry import host_function

if TYPE_CHECKING:
    import openmm
    from openmm import app


@dataclass(frozen=True, eq=False)
class SwarmResult(Frozen):
    """What a swarm left behind.

    Parameters
    ----------
    topology : the PDB file that goes with every trajectory.
    trajectories : one path a conformer, None where that conformer failed.
    energies_eV : (n_samples,) potential energy of the last step, NaN where that
        conformer failed.
    failures : conformer index -> what went wrong.
    """

    topology: Path
    trajectories: tuple[Path | None, ...]
    energies_eV: NDArray[np.float64]
    failures: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "failures", MappingProxyType(dict(self.failures)))
        self.energies_eV.setflags(write=False)

    def __len__(self) -> int:
        return len(self.trajectories)

    def __repr__(self) -> str:
        return f"SwarmResult({len(self) - len(self.failures)} of {len(self)} trajectories, topology {self.topology})"


def swarm(
    ensemble: Ensemble,
    system: openmm.System | app.ForceField | None = None,
    time_ps: float = 1.0,
    *,
    output: str | Path,
    temperature_K: float = 300.0,
    timestep_fs: float = 1.0,
    friction_per_ps: float = 1.0,
    seed: int = 0,
    format: str = "xtc",
    interval_ps: float | None = None,
    platform: str | openmm.Platform | None = None,
    platform_properties: Mapping[str, str] | None = None,
    overwrite: bool = False,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> SwarmResult:
    """Run Langevin dynamics from every conformer of an ensemble, one trajectory file
    each.

    Parameters
    ----------
    ensemble : the starting points; each is minimised, then given velocities at
        `temperature_K`.
    system : your own openmm System (particles in the ensemble's atom order) or
        app.ForceField; None makes MMFF94 of the molecule.
    time_ps : length of each trajectory, rounded to whole steps.
    output : a folder (existing, or written with a slash at the end) or the beginning of
        the file names: "runs/" gives runs/topology.pdb, runs/conformer_0000.xtc, ...;
        "runs/ibu" gives runs/ibu.top.pdb, runs/ibu_0000.xtc, ....
    temperature_K, timestep_fs, friction_per_ps : of the LangevinMiddle integrator.
    seed : fixes velocities and noise; conformer k has its own stream, whatever happens
        to the others.
    format : "xtc" or "dcd".
    interval_ps : time between frames; None writes a hundred frames.
    platform, platform_properties : openmm Platform or its name, and its options; None
        takes OpenMM's fastest.
    overwrite : replace files of these names that are there; without it they are
        refused.
    progress : called with {"stage": "swarm", "done": k, "total": n, "failed": m} after
        each conformer.

    Returns
    -------
    SwarmResult
        with the paths, the final energies, and the conformers that failed: one failing
        conformer costs only itself.

    Raises
    ------
    InputError
        for a System of another molecule, a time, step, temperature, format or output
        that cannot be used, or files that are there.
    MoleculeError
        where MMFF94 is to be made and lacks parameters; the message names the atoms.
    NoValidSamplesError
        where every conformer fails.
    """
    run = host_function("openmm", "swarm")
    result: SwarmResult = run(
        ensemble,
        mmff_system(ensemble.molecule) if system is None else system,
        time_ps,
        output=output,
        temperature_K=temperature_K,
        timestep_fs=timestep_fs,
        friction_per_ps=friction_per_ps,
        seed=seed,
        format=format,
        interval_ps=interval_ps,
        platform=platform,
        platform_properties=platform_properties,
        overwrite=overwrite,
        progress=progress,
    )
    return result
