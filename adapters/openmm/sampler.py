"""`ProposalSampler`: MD of a user's Simulation with Monte Carlo moves in between.

The System, forces, integrator and platform are the user's; the moves are those of
`equidrift.adapters.openmm.moves`, replica exchange with them is in
`equidrift.adapters.openmm.replica_exchange`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from numpy.typing import ArrayLike, NDArray
from openmm import app

from equidrift.adapters.openmm.checkpoint import HEAD_BYTES, cut, read_checkpoint
from equidrift.adapters.openmm.integrators import sampled_temperature
from equidrift.adapters.openmm.moves import ContextMoves, forgetting_step, topology_bonds
from equidrift.adapters.openmm.replica_exchange import ProposalReplicaExchange
from equidrift.adapters.openmm.stepping import take_steps
from equidrift.arguments import check_count
from equidrift.errors import InputError, InputTypeError
from equidrift.montecarlo.metropolis import Statistics, check_proposer
from equidrift.protocols import Proposer
from equidrift.seeds import check_seed

__all__ = [
    "ContextMoves",
    "ProposalReplicaExchange",
    "ProposalSampler",
    "forgetting_step",
    "read_checkpoint",
    "topology_bonds",
]

Floats = NDArray[np.float64]
Progress = Callable[[dict[str, Any]], None]


class ProposalSampler:
    """MD with Monte Carlo moves in between: every cycle runs `md_steps` steps, then
    tries `n_proposals` moves.

    Reporters of the Simulation are called as in MD (moves take no time step). Steps
    sample what the integrator samples, moves leave exp(-U / kT) unchanged.

    Parameters
    ----------
    simulation : app.Simulation
        With positions set; its System is not changed.
    proposer : Proposer
        With a density, see `equidrift.protocols.Proposer`.
    md_steps : int
        Steps per cycle.
    n_proposals : int
        Moves per cycle; drawn in one block if the proposer can.
    temperature_K : float, optional
        None takes the integrator's.
    atoms : array, optional
        Particles the proposer moves; None takes all but virtual sites.
    seed : int
        Of the moves; cycle c has its own stream, whatever came before. The integrator's
        own seed is the user's to set.

    Attributes
    ----------
    statistics : equidrift.montecarlo.metropolis.Statistics
        Of the proposals.
    cycle : int
        Cycles done.
    torsions_rad : array
        (cycles, m) torsions of the proposer after every cycle.
    energies_eV : array
        (cycles,) potential energies after every cycle.

    Raises
    ------
    InputError, InexactProposalError
        See `ContextMoves`; also if integrator, thermostat and barostat keep
        different temperatures, or the integrator does not sample exp(-U / kT)
        (`equidrift.adapters.openmm.integrators`).

    Examples
    --------
    >>> import equidrift, openmm
    >>> from openmm import app
    >>> from equidrift.montecarlo.proposals import uniform_proposer
    >>> from equidrift.torsions import TorsionTree
    >>> ensemble = equidrift.sample("CCCCO", 1, model="etkdg")
    >>> topology, positions = ensemble.to_openmm()
    >>> system = equidrift.mmff_system(ensemble.molecule)
    >>> integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.001)
    >>> simulation = app.Simulation(topology, system, integrator)
    >>> simulation.context.setPositions(positions[0])
    >>> proposer = uniform_proposer(TorsionTree.of(ensemble.molecule))
    >>> sampler = ProposalSampler(simulation, proposer, md_steps=10)
    >>> sampler.run(2)
    >>> sampler.statistics.proposed
    20
    """

    def __init__(
        self,
        simulation: app.Simulation,
        proposer: Proposer,
        md_steps: int = 500,
        n_proposals: int = 10,
        *,
        temperature_K: float | None = None,
        atoms: ArrayLike | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(simulation, app.Simulation):
            raise InputTypeError(
                f"simulation must be an openmm.app.Simulation, not {type(simulation).__name__}"
            )
        self.simulation, self.proposer = simulation, check_proposer(proposer)
        self.seed = check_seed(seed)
        self.md_steps, self.n_proposals = (
            check_count("md_steps", md_steps, 0),
            check_count("n_proposals", n_proposals, 0),
        )
        self.temperature_K = sampled_temperature(
            simulation.context, simulation.integrator, temperature_K, steps=self.md_steps > 0
        )
        bonds = topology_bonds(simulation.topology)
        self.moves = ContextMoves(
            simulation.context, proposer, atoms=atoms, bonds=bonds if len(bonds) else None
        )
        self.statistics = Statistics.of(proposer)
        self.cycle = 0
        self._moved = False  # whether the last cycle's moves drew velocities
        self._torsions: list[Floats] = []
        self._energies: list[float] = []

    @property
    def torsions_rad(self) -> Floats:
        """(cycles, m) torsions after every cycle."""
        tree = self.proposer.tree
        return np.array(self._torsions).reshape(
            len(self._energies), 0 if tree is None else tree.n_torsions
        )

    @property
    def energies_eV(self) -> Floats:
        """(cycles,) potential energy after every cycle."""
        return np.array(self._energies)

    def run(self, cycles: int, *, progress: Progress | None = None) -> None:
        """So many cycles of MD and moves; `progress` gets {"stage", "done", "total",
        "acceptance"} after each.
        """
        tree = self.proposer.tree
        # thermostats can be set to another temperature at any time
        integrator, steps = self.simulation.integrator, self.md_steps > 0
        sampled_temperature(self.simulation.context, integrator, self.temperature_K, steps=steps)
        for done in range(check_count("cycles", cycles, 0)):
            begun = time.perf_counter()
            self._dynamics()
            self.statistics.spent("dynamics", time.perf_counter() - begun)
            rng = np.random.default_rng([self.seed, self.cycle])
            accepted, energy, x = self.moves.apply(
                self.n_proposals,
                temperature_K=self.temperature_K,
                rng=rng,
                statistics=self.statistics,
            )
            self._moved = accepted > 0 and self.moves.shells is None
            self._energies.append(energy)
            if tree is not None:
                self._torsions.append(tree.torsions(x))
            self.cycle += 1
            if progress is not None:
                acceptance = self.statistics.acceptance
                progress(
                    {
                        "stage": "sampling",
                        "done": done + 1,
                        "total": cycles,
                        "acceptance": acceptance,
                    }
                )

    def _dynamics(self) -> None:
        """The steps of one cycle; the first after an accepted move forgets its
        velocity once more, in its middle.
        """
        steps = self.md_steps
        if self._moved and steps:
            steps -= forgetting_step(self.simulation.integrator, self.simulation.step)
        take_steps(self.simulation.step, steps)

    def save(
        self,
        path: str | Path,
        files: Sequence[str | Path] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint from which `load` continues the identical chain (same
        platform and OpenMM version); old or new, never half.

        The Reference platform has one stream of random numbers for the whole process:
        two Simulations that run in turns there share it.

        Parameters
        ----------
        path : str or Path
            Of the checkpoint, an npz file that holds no pickle.
        files : sequence of str or Path
            Files that reporters append to: their lengths are kept, so that `load` cuts
            off what was written later.
        extra : dict, optional
            Plain data of the caller, given back by `load`.
        """
        outputs = {str(name): os.path.getsize(name) for name in files}
        heads = {str(name): Path(name).read_bytes()[:HEAD_BYTES].hex() for name in files}
        meta = {
            "cycle": self.cycle,
            "seed": self.seed,
            "md_steps": self.md_steps,
            "n_proposals": self.n_proposals,
            "outputs": outputs,
        }
        meta["moved"] = self._moved
        meta |= {
            "heads": heads,
            "statistics": self.statistics.to_dict(),
            "temperature_K": self.temperature_K,
            "extra": dict(extra or {}),
        }
        path, state = Path(path), self.simulation.context.createCheckpoint()
        scratch = path.with_name(path.name + ".part")
        with open(scratch, "wb") as handle:
            np.savez(
                handle,
                meta=np.array(json.dumps(meta)),
                context=np.frombuffer(state, np.uint8),
                torsions_rad=self.torsions_rad,
                energies_eV=self.energies_eV,
            )
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(scratch, path)

    def load(self, path: str | Path) -> dict[str, Any]:
        """Stand where `save` was called; returns its `extra`.

        Reporters that append must be made after this, as files are cut to length.

        Raises
        ------
        InputError
            For a checkpoint of another seed, temperature, number of steps or proposals,
            or one this Context cannot take.
        """
        meta, arrays = read_checkpoint(path)
        for name in ("seed", "md_steps", "n_proposals", "temperature_K"):
            if meta[name] != getattr(self, name):
                raise InputError(
                    f"the checkpoint {path} has {name}={meta[name]}, not "
                    f"{getattr(self, name)}; use the same, or start anew"
                )
        try:
            self.simulation.context.loadCheckpoint(arrays["context"].tobytes())
        except openmm.OpenMMException as error:
            raise InputError(
                f"the checkpoint {path} belongs to another System, platform or OpenMM "
                f"version: {error}; start anew"
            ) from error
        for name, size in meta["outputs"].items():
            cut(Path(name), size, bytes.fromhex(meta["heads"][name]))
        self.cycle, self.statistics = meta["cycle"], Statistics(**meta["statistics"])
        self._moved = bool(meta["moved"])
        self._torsions, self._energies = (
            list(arrays["torsions_rad"]),
            arrays["energies_eV"].tolist(),
        )
        extra: dict[str, Any] = meta["extra"]
        return extra
