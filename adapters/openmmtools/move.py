"""`TorsionProposalMove`: accepted proposals as an openmmtools MCMCMove, for
SequenceMove, WeightedMove and replica exchange.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from openmmtools.mcmc import MCMCMove, openmm, unit

from equidrift.arguments import check_count
from equidrift.errors import InputError, InputTypeError
from equidrift.files.plain import plain
from equidrift.montecarlo.metropolis import Statistics, check_proposer
from equidrift.montecarlo.proposals import proposer_from_dict
from equidrift.montecarlo.velocities import Shells
from equidrift.protocols import Proposer, StorableProposer
from equidrift.registry import host_function
from equidrift.seeds import check_seed

_MD = unit.md_unit_system  # nm, ps, K
_KEPT = ("n_proposals", "atoms", "seed", "statistics")  # of its state, beside the proposer


class TorsionProposalMove(MCMCMove):
    """Tries proposals on a sampler state; the state's own System decides, whatever it
    is (alchemical, restrained, at any temperature).

    Velocities are turned along with the atoms by an accepted proposal
    (`equidrift.montecarlo.velocities`), and stay what they were after rejections: drawn
    anew they would heat stiff bonds, as LangevinDynamicsMove's lag half a step behind the
    positions. With constraints between atoms that are not bonded (rigid angles) they
    are drawn anew. openmmtools rebuilds moves from their state (one copy per
    thermodynamic state): it is plain data, the proposer as JSON. Random numbers come
    from (seed, uses of this move, the thermodynamic state, the sampler state), so that
    copies of one move draw different numbers for different states and replicas, and the
    same numbers in a repeated run.

    Parameters
    ----------
    proposer : Proposer
        With a density and `to_dict`, see `equidrift.protocols.Proposer`.
    n_proposals : int, optional
        Each time the move is applied.
    atoms : (k,) array, optional
        Particles the proposer moves; None takes all but virtual sites.
    seed : int, optional
        Of the random stream.

    Raises
    ------
    InexactProposalError
        If the proposer has no density.
    InputTypeError
        If it cannot be written as plain data.

    Examples
    --------
    >>> import equidrift
    >>> from equidrift.montecarlo.proposals import uniform_proposer
    >>> from equidrift.torsions import TorsionTree
    >>> from openmmtools.mcmc import LangevinDynamicsMove, SequenceMove
    >>> molecule = equidrift.Molecule.from_smiles("CCCCO")
    >>> proposer = uniform_proposer(TorsionTree.of(molecule))
    >>> torsions = TorsionProposalMove(proposer, n_proposals=20)
    >>> move = SequenceMove([torsions, LangevinDynamicsMove()])
    >>> torsions.statistics["proposed"]
    0
    """

    def __init__(
        self,
        proposer: Proposer,
        n_proposals: int = 10,
        *,
        atoms: ArrayLike | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        proposer = check_proposer(proposer)
        if not isinstance(proposer, StorableProposer):
            raise InputTypeError(
                f"openmmtools stores moves as plain data, and {type(proposer).__name__} has no "
                "to_dict; take one of equidrift.montecarlo.proposals"
            )
        self.n_proposals, self.seed = check_count("n_proposals", n_proposals, 0), check_seed(seed)
        self.atoms = None if atoms is None else np.asarray(atoms, np.int64).tolist()
        self._stored = json.dumps(plain(proposer.to_dict()))
        self._proposer: Proposer | None = proposer
        self._moves: Any = None  # checks of the Context used last
        self._statistics, self.n_applied = Statistics.of(proposer), 0

    @property
    def proposer(self) -> Proposer:
        """The proposer, rebuilt from plain data after the move was copied or read from
        storage.
        """
        if self._proposer is None:
            self._proposer = proposer_from_dict(json.loads(self._stored))
        return self._proposer

    @property
    def statistics(self) -> dict[str, Any]:
        """What became of the proposals (see
        `equidrift.montecarlo.metropolis.Statistics`), and n_applied.
        """
        return {**self._statistics.to_dict(), "n_applied": self.n_applied}

    @statistics.setter
    def statistics(self, value: Mapping[str, Any]) -> None:
        self._statistics = Statistics(
            **{key: item for key, item in value.items() if key != "n_applied"}
        )
        self.n_applied = int(value["n_applied"])

    def apply(
        self, thermodynamic_state: Any, sampler_state: Any, context_cache: Any = None
    ) -> None:
        """Try the proposals; see `openmmtools.mcmc.MCMCMove.apply`."""
        try:
            cache = self._get_context_cache(context_cache)
            context, _ = cache.get_context(thermodynamic_state)
            sampler_state.apply_to_context(context, ignore_velocities=True)
        except openmm.OpenMMException as error:
            raise InputError(
                f"OpenMM cannot make a Context of this ThermodynamicState: {error}; check its "
                "System and box, and the platform of the ContextCache"
            ) from error
        moves = self._moves_of(context)
        if moves.virtual:
            context.computeVirtualSites()
        kelvin = float(thermodynamic_state.temperature.value_in_unit_system(_MD))
        rng = self._stream(kelvin, context, sampler_state)
        self.n_applied += 1
        velocities = sampler_state.velocities
        redraws = velocities is not None and not self._shells.keep(moves.check.constraints)
        accepted, _, new_A = moves.apply(
            self.n_proposals,
            temperature_K=kelvin,
            rng=rng,
            statistics=self._statistics,
            velocities=redraws,
        )
        if not accepted:
            return
        old_A = sampler_state.positions.value_in_unit(unit.angstrom)[moves.atoms]
        sampler_state.update_from_context(context, ignore_velocities=not redraws)
        if velocities is not None and not redraws:
            carried = np.array(velocities.value_in_unit_system(_MD), np.float64)
            carried[moves.atoms] = self._shells.carried(old_A, new_A, carried[moves.atoms])
            sampler_state.velocities = carried * unit.nanometer / unit.picosecond

    def _moves_of(self, context: Any) -> Any:
        """The moves of a Context, whose checks are made once."""
        if self._moves is None or self._moves.context is not context:
            self._moves = host_function("openmm", "ContextMoves")(
                context, self.proposer, atoms=self.atoms
            )
            self._shells = Shells(len(self._moves.atoms), self._moves.bonds)
        return self._moves

    def _stream(self, kelvin: float, context: Any, sampler_state: Any) -> np.random.Generator:
        """Random numbers of this use."""
        names = sorted(context.getParameters().items())
        digest = hashlib.blake2b(
            f"{self.seed}/{self.n_applied}/{kelvin!r}/{names}".encode(), digest_size=16
        )
        for quantity in (
            sampler_state.positions,
            sampler_state.velocities,
            sampler_state.box_vectors,
        ):
            if quantity is not None:
                digest.update(
                    np.ascontiguousarray(quantity.value_in_unit_system(_MD), np.float64).tobytes()
                )
        return np.random.default_rng(int.from_bytes(digest.digest(), "big"))

    def __getstate__(self) -> dict[str, Any]:
        return {"proposer": self._stored, **{name: getattr(self, name) for name in _KEPT}}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._stored, self._proposer, self._moves = state["proposer"], None, None
        for name in _KEPT:
            setattr(self, name, state[name])

    def __repr__(self) -> str:
        accepted = f"{self._statistics.acceptance:.1%} of {self._statistics.proposed} accepted"
        return f"TorsionProposalMove(n_proposals={self.n_proposals}, seed={self.seed}; {accepted})"
