"""Short molecular dynamics from every conformer, in your own System or in MMFF94."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equidrift.arguments import fields_among
from equidrift.mmff import mmff_system
from equidrift.records import Ensemble, Frozen
from equidrift.registry import host_function
from equidrift.text import counted

if TYPE_CHECKING:
    import openmm
    from openmm import app


@dataclass(frozen=True, eq=False)
class SwarmResult(Frozen):
    """What a swarm has written.

    Parameters
    ----------
    topology : Path
        The PDB file that goes with every trajectory.
    trajectories : tuple of Path or None
        One path per conformer, None if that conformer failed.
    energies_eV : (n_samples,) array
        Potential energy of the last step in eV, NaN if that conformer failed.
    failures : mapping
        Conformer index -> what went wrong.
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
        whole = f"{len(self) - len(self.failures)} of {counted(len(self), 'trajectory')}"
        return f"SwarmResult({whole}, topology {self.topology})"


@dataclass(frozen=True, kw_only=True)
class SwarmOptions:
    """The arguments of `swarm` that follow its time; see there."""

    output: str | Path
    temperature_K: float
    timestep_fs: float
    friction_per_ps: float
    seed: int
    format: str
    interval_ps: float | None
    platform: str | openmm.Platform | None
    platform_properties: Mapping[str, str] | None
    overwrite: bool
    progress: Callable[[dict[str, Any]], None] | None


def swarm(  # noqa: PLR0913 - public; each argument is one choice of the user
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
    ensemble : Ensemble
        The starting points; each is minimised, then given velocities at
        `temperature_K`.
    system : openmm.System or app.ForceField, optional
        Your own System (particles in the ensemble's atom order) or force field; None
        makes MMFF94 of the molecule.
    time_ps : float
        Length of each trajectory in ps, rounded to whole steps.
    output : str or Path
        A folder (existing, or written with a slash at the end) or the beginning of the
        file names: "runs/" gives runs/topology.pdb, runs/conformer_0000.xtc, ...;
        "runs/ibu" gives runs/ibu.top.pdb, runs/ibu_0000.xtc, ....
    temperature_K, timestep_fs, friction_per_ps : float
        Of the LangevinMiddle integrator.
    seed : int
        Fixes velocities and noise; conformer k has its own stream, whatever happens to
        the others.
    format : str
        "xtc" or "dcd".
    interval_ps : float, optional
        Time between frames in ps; None writes a hundred frames.
    platform : str or openmm.Platform, optional
        None takes OpenMM's fastest.
    platform_properties : mapping, optional
        Options of the platform.
    overwrite : bool
        Replace files of these names that are there; without it they are refused.
    progress : callable, optional
        Called with {"stage": "swarm", "done": k, "total": n, "failed": m} after each
        conformer.

    Returns
    -------
    SwarmResult
        The paths, the final energies, and the conformers that failed: one failing
        conformer costs only itself.

    Raises
    ------
    InputError
        For a System of another molecule, a time, step, temperature, format or output
        that cannot be used, or files that are there.
    MoleculeError
        If MMFF94 is to be made and lacks parameters; the message names the atoms.
    NoValidSamplesError
        If every conformer fails.

    Examples
    --------
    >>> import equidrift, tempfile
    >>> ensemble = equidrift.sample("CCO", 2, model="etkdg")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = equidrift.swarm(ensemble, time_ps=0.01, output=f"{folder}/ethanol")
    >>> len(result), len(result.failures)
    (2, 0)
    """
    options = SwarmOptions(**fields_among(SwarmOptions, locals()))
    chosen = mmff_system(ensemble.molecule) if system is None else system
    result: SwarmResult = host_function("openmm", "swarm")(ensemble, chosen, time_ps, options)
    return result
