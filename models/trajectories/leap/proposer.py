"""`LeapProposer`: the leap as a Metropolis proposal, which makes it exact.

A leap turns the molecule rigidly, whose Jacobian is 1, and its density is known both
ways. Accepted with the force field's energies it leaves the Boltzmann distribution as it
is, however well or badly the density was learned; what a bad one costs is acceptance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.shared.devices import Device
from equidrift.models.trajectories.leap.leaper import Leaper
from equidrift.protocols import Proposer
from equidrift.records import Molecule, Proposal
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K

ALIKE = 0.01  # how far the sampler's temperature may be from the leap's


class LeapProposer(Proposer):
    """Proposes the torsions that dynamics would have a lag later.

    Parameters
    ----------
    weights : str
        Path of a card or safetensors file of a training with `kind: leap`.
    molecule : Molecule
        Whose torsions leap.
    lag_ps : float
        The lag. Long ones propose more changes, and more of them are refused.
    temperature_K : float
        Of the sampler, one that the training held.
    device : torch device; None is CUDA where there is one, else the CPU.

    Raises
    ------
    InputError
        For a molecule without torsions, or a lag or temperature outside the training's.
    """

    exact = True
    about = "a transition density learned from dynamics"
    block_sizes = (None,)
    tree: TorsionTree

    def __init__(
        self,
        weights: str,
        molecule: Molecule,
        *,
        lag_ps: float = 20.0,
        temperature_K: float = 300.0,
        device: Device = None,
    ):
        self.leaper, self.molecule = Leaper(weights, temperature_K, device), molecule
        self.lag_ps = self.leaper.check_lag(lag_ps)
        self.tree, self.name = self.leaper.table(molecule).tree, "leap"

    def propose(
        self, positions_A: NDArray[np.float64], *, kT_eV: float, rng: np.random.Generator
    ) -> Proposal:
        """One proposal from one state (n_atoms, 3).

        Raises
        ------
        InputError
            If kT is not that of the leap's temperature.
        """
        own = BOLTZMANN_EV_PER_K * self.leaper.temperature_K
        if abs(kT_eV / own - 1) > ALIKE:
            raise InputError(
                f"the sampler runs at {kT_eV / BOLTZMANN_EV_PER_K:.0f} K and the leap at "
                f"{self.leaper.temperature_K:g} K; give temperature_K"
            )
        now = self.tree.torsions(positions_A)
        phi, forward = self.leaper.drawn(self.molecule, positions_A, self.lag_ps, rng)
        moved = self.tree.set_torsions(positions_A, phi)
        back = self.leaper.log_prob(self.molecule, moved, now, self.lag_ps)
        return Proposal(moved, back - forward, {"torsions": np.arange(self.tree.n_torsions)})
