"""`ProposalMonteCarlo`: accepted proposals in ASE, for any calculator, alone or between
the steps of one of ASE's MD classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms, FixBondLengths, Hookean
from ase.md.md import MolecularDynamics
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize.optimize import BaseDynamics
from numpy.typing import NDArray

from equidrift.adapters.ase.thermostats import (
    check_dynamics,
    check_went_on,
    renew,
    samples_canonically,
)
from equidrift.adapters.ase.typed import (
    attach,
    call_observers,
    energy_eV,
    masses_amu,
    positions_A,
    set_positions,
)
from equidrift.arguments import check_count
from equidrift.errors import InputError, InputTypeError
from equidrift.montecarlo.metropolis import Statistics, check_proposer, metropolis, trusted
from equidrift.montecarlo.move_checks import ConstraintMetric, MoveCheck, check_whole
from equidrift.protocols import Proposer
from equidrift.seeds import check_seed
from equidrift.units import BOLTZMANN_EV_PER_K

# of a calculation; CalculationFailed and SCFError are RuntimeErrors
FAILURES = (RuntimeError, ArithmeticError, np.linalg.LinAlgError)


class ProposalMonteCarlo(BaseDynamics):
    """Metropolis moves on `ase.Atoms`; each step runs the dynamics, if there are
    any, and then tries proposals.

    The calculator, whatever it is, decides; a calculation that fails or gives NaN
    rejects the move and is counted. Momenta, if the atoms have them, are drawn anew
    after an accepted move. Step k has its own random stream, so a run can be taken up
    at any step.

    Parameters
    ----------
    atoms : Atoms
        With a calculator; FixAtoms and FixBondLengths are respected, other constraints
        refused.
    proposer : Proposer
        With a density, see `equidrift.protocols.Proposer`.
    temperature_K : float
        Of the distribution.
    n_proposals : int, optional
        A step; drawn in one block if the proposer can. A step costs as many
        energies, and one more if the last failed.
    dynamics : MolecularDynamics, optional
        An ASE thermostat on the same atoms (Langevin with fixcm=False, Bussi, Andersen,
        NoseHooverChainNVT, ...) at the same temperature, or None for moves alone, which
        keep bond lengths, angles and everything else that no torsion turns.
    md_steps : int, optional
        Of the dynamics in each step.
    seed : int, optional
        Of the random streams.
    exact : bool, optional
        False takes dynamics that do not sample the canonical ensemble too (Berendsen's,
        classes that nobody has checked); the trajectory's description then says so.
    logfile, trajectory, loginterval, append_trajectory : object, optional
        As for ASE's MD.

    Attributes
    ----------
    statistics : equidrift.montecarlo.metropolis.Statistics
        Of the proposals.
    energy_eV : float
        Of the state that the chain is in.

    Raises
    ------
    InputError
        For constraints that cannot be kept, a molecule split across the cell, other
        atoms than the proposer's, dynamics at another temperature or of a class that
        does not sample the canonical ensemble (`equidrift.adapters.ase.thermostats`).
    InexactProposalError
        If the proposer has no density.

    Examples
    --------
    >>> import equidrift
    >>> from equidrift.adapters.ase.calculators import MMFF
    >>> from equidrift.montecarlo.proposals import uniform_proposer
    >>> from equidrift.torsions import TorsionTree
    >>> ensemble = equidrift.sample("CCCCO", 1, model="etkdg")
    >>> (atoms,) = ensemble.to_ase()
    >>> atoms.calc = MMFF()
    >>> proposer = uniform_proposer(TorsionTree.of(ensemble.molecule))
    >>> mc = ProposalMonteCarlo(atoms, proposer, temperature_K=300)
    >>> energies_eV = []
    >>> mc.attach(lambda: energies_eV.append(mc.energy_eV), interval=10)
    >>> done = mc.run(20)
    >>> mc.statistics.proposed
    200
    """

    def __init__(  # noqa: PLR0913 - public: what ASE's dynamics take, and the moves'
        self,
        atoms: Atoms,
        proposer: Proposer,
        temperature_K: float,
        n_proposals: int = 10,
        *,
        dynamics: MolecularDynamics | None = None,
        md_steps: int = 100,
        seed: int = 0,
        exact: bool = True,
        logfile: Any = None,
        trajectory: Any = None,
        loginterval: int = 1,
        append_trajectory: bool = False,
    ) -> None:
        _check_request(atoms, temperature_K)
        for name, value in (("n_proposals", n_proposals), ("md_steps", md_steps)):
            check_count(name, value)
        check_dynamics(dynamics, atoms, temperature_K, exact=exact)
        proposer = check_proposer(proposer, len(atoms))
        super().__init__(atoms, logfile, trajectory, append_trajectory, loginterval=loginterval)
        if logfile is not None:
            attach(self, self._log, loginterval)
        self.temperature_K, self.seed = float(temperature_K), check_seed(seed)
        self.n_proposals, self.md_steps = n_proposals, md_steps
        self.dynamics, self.exact = dynamics, exact
        kT_eV = BOLTZMANN_EV_PER_K * self.temperature_K
        self.proposer = trusted(proposer, positions_A(atoms), kT_eV)
        # where the dynamics left the atoms, if moves took them elsewhere
        self._left: NDArray[np.float64] | None = None
        self.check = _move_check(atoms)
        self.metric = ConstraintMetric(self.check.constraints, masses_amu(atoms))
        self.metric.prepare(proposer, positions_A(atoms))
        self.statistics = Statistics.of(proposer)
        self._consistent = _has_free_energy(atoms)
        self.energy_eV = self._checked_energy()

    def todict(self) -> dict[str, Any]:
        """What a trajectory's description holds."""
        return {
            "type": "monte-carlo",
            "temperature_K": self.temperature_K,
            "n_proposals": self.n_proposals,
            "md_steps": self.md_steps if self.dynamics is not None else 0,
            "seed": self.seed,
            "exact": samples_canonically(self.dynamics),
        }

    def run(self, steps: int = 50) -> bool:
        """So many steps; True, as ASE's dynamics return once they are done."""
        for _ in self.irun(steps):
            pass
        return True

    def irun(self, steps: int = 50) -> Iterator[bool]:
        """As `run`, but a generator that yields before the first step and after each."""
        self.max_steps = self.nsteps + steps
        if self.nsteps == 0:
            call_observers(self)
        yield self.nsteps >= self.max_steps
        while self.nsteps < self.max_steps:
            self.step()
            self.nsteps += 1
            call_observers(self)
            yield self.nsteps >= self.max_steps

    def step(self) -> int:
        """Dynamics, then proposals; returns how many were accepted."""
        begun = time.perf_counter()
        if self.dynamics is not None:
            self._run_dynamics()
            self.statistics.spent("dynamics", time.perf_counter() - begun)
            self.energy_eV = self._checked_energy()
        atoms, rng = self.atoms, np.random.default_rng([self.seed, self.nsteps])
        x, kT = positions_A(atoms), BOLTZMANN_EV_PER_K * self.temperature_K
        _check_box(atoms, self.proposer)
        options: dict[str, Any] = {
            "kT_eV": kT,
            "rng": rng,
            "statistics": self.statistics,
            "check": self.check,
        }
        start = self.energy_eV + kT * self.metric(x)
        try:
            new, u, accepted = metropolis(
                self.proposer, x, start, self._biased, self.n_proposals, **options
            )
        except BaseException:  # a refused proposal, or Ctrl-C: the atoms are left where they were
            set_positions(atoms, x)
            raise
        set_positions(atoms, new)
        self.energy_eV = u - kT * self.metric(new)
        # after a rejection the calculator holds another place's results; observers, files and
        # dynamics want this one's
        energy_eV(atoms, force_consistent=self._consistent)
        if accepted and atoms.has("momenta"):
            MaxwellBoltzmannDistribution(atoms, temperature_K=self.temperature_K, rng=rng)
        if accepted and self.dynamics is not None:
            renew(self.dynamics)
            self._left = x
        return accepted

    def _run_dynamics(self) -> None:
        """The steps between moves; after an accepted one the first step must go on from
        there.
        """
        # again, since temperatures can be set at any time
        check_dynamics(self.dynamics, self.atoms, self.temperature_K, exact=self.exact)
        if self.dynamics is None:
            return
        steps = self.md_steps
        if self._left is not None:
            moved_to = positions_A(self.atoms)
            self.dynamics.run(1)
            check_went_on(self.dynamics, self._left, moved_to)
            self._left, steps = None, steps - 1
        self.dynamics.run(steps)

    def _biased(self, places_A: NDArray[np.float64]) -> float:
        """The energy, with what constraints add to it; NaN if the calculation fails."""
        set_positions(self.atoms, places_A)
        try:
            energy = energy_eV(self.atoms, force_consistent=self._consistent)
        except FAILURES:
            return math.nan
        return energy + BOLTZMANN_EV_PER_K * self.temperature_K * self.metric(places_A)

    def _checked_energy(self) -> float:
        """The energy where the atoms are, which must be finite."""
        energy = energy_eV(self.atoms, force_consistent=self._consistent)
        if not math.isfinite(energy):
            raise InputError(
                f"the energy is {energy} eV before any move; optimise the atoms first, or check "
                "the calculator"
            )
        return energy

    def _log(self) -> None:
        """A line of the logfile."""
        if self.nsteps == 0:
            self.logfile.write(
                f"{'step':>8} {'energy/eV':>16} {'proposed':>9} {'accepted':>9} {'NaN':>5}\n"
            )
        counts = self.statistics
        self.logfile.write(
            f"{self.nsteps:8d} {self.energy_eV:16.6f} {counts.proposed:9d} {counts.accepted:9d} "
            f"{counts.not_finite:5d}\n"
        )


def _check_request(atoms: Atoms, temperature_K: float) -> None:
    """Refuse what is no `Atoms` with a calculator, and a temperature that cannot be."""
    if not isinstance(atoms, Atoms):
        raise InputTypeError(f"atoms must be an ase.Atoms, not {type(atoms).__name__}")
    if atoms.calc is None:
        raise InputError(
            "the atoms have no calculator, and the acceptance needs energies; set atoms.calc"
        )
    if not 0 < temperature_K < math.inf:
        raise InputError(
            f"temperature_K must be positive and finite, not {temperature_K}; give for example 300"
        )


def _has_free_energy(atoms: Atoms) -> bool:
    """Whether the calculator has the energy that its forces are the gradient of."""
    try:
        energy_eV(atoms, force_consistent=True)
    except PropertyNotImplementedError:
        return False
    return True


def _move_check(atoms: Atoms) -> MoveCheck:
    """What the atoms' constraints hold fixed."""
    frozen: list[int] = []
    pairs: list[Any] = []
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            frozen += np.arange(len(atoms))[constraint.index].tolist()
        elif isinstance(constraint, FixBondLengths):
            pairs += np.asarray(constraint.pairs).tolist()
        elif not isinstance(constraint, Hookean):  # which is a term of the energy
            raise InputError(
                f"moves cannot keep the constraint {type(constraint).__name__}; use FixAtoms, "
                "FixBondLengths or Hookean, or remove it"
            )
    return MoveCheck(
        len(atoms), np.array(pairs, np.int64).reshape(-1, 2), np.array(frozen, np.int64)
    )


def _check_box(atoms: Atoms, proposer: Proposer) -> None:
    """Refuse a molecule that lies across the cell's border."""
    tree = proposer.tree
    if atoms.pbc.any() and tree is not None:
        check_whole(positions_A(atoms), tree.bonds, np.asarray(atoms.cell.complete()))
