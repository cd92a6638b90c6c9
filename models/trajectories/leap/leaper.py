"""The trained density on one molecule: draws of torsions, and their probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.shared.run import load_network
from equidrift.models.trajectories.leap.data import present_of
from equidrift.models.trajectories.leap.density import LeapConfig, LeapNetwork
from equidrift.models.trajectories.leap.features import TorsionTable
from equidrift.records import Molecule

Array = NDArray[np.float64]
SLACK = 0.01  # of the lag and temperature that a training held


def make_leap(config: dict[str, Any]) -> LeapNetwork:
    """The network of a card's `config`."""
    return LeapNetwork(LeapConfig(**{k: v for k, v in config.items() if k != "kind"}))


class Leaper:
    """Leaps of molecules by the weights of `equidrift train` with `kind: leap`.

    Parameters
    ----------
    weights : str
        Path of a card or safetensors file.
    temperature_K : float
        Of the dynamics.

    Raises
    ------
    InputError
        For a temperature far from those of the training.
    """

    def __init__(self, weights: str, temperature_K: float = 300.0):
        self.network, self.card = load_network(weights, "leap", make_leap)
        self.temperature_K = temperature_K
        low, high = self.card["training"]["temperature_K"]
        if not low * (1 - SLACK) <= temperature_K <= high * (1 + SLACK):
            raise InputError(
                f"temperature_K is {temperature_K:g}, and {weights} was trained on dynamics at "
                f"{low:g} to {high:g} K; ask for one between, or train at that temperature"
            )
        self._tables: dict[Molecule, TorsionTable] = {}

    @property
    def lag_range_ps(self) -> tuple[float, float]:
        """The shortest and the longest lag of the training."""
        low, high = self.card["training"]["lag_ps"]
        return float(low), float(high)

    def check_lag(self, lag_ps: float) -> float:
        """The lag. Raises `InputError` for one outside the training's."""
        low, high = self.lag_range_ps
        if not low * (1 - SLACK) <= lag_ps <= high * (1 + SLACK):
            raise InputError(f"lag_ps is {lag_ps:g}, and the training held {low:g} to {high:g} ps")
        return lag_ps

    def table(self, molecule: Molecule) -> TorsionTable:
        """The torsions of a molecule. Raises `InputError` where there is none to turn."""
        if molecule not in self._tables:
            made = TorsionTable.of(molecule)
            if not made.count:
                raise InputError(
                    f"{molecule!r} has no rotatable bond, so there is nothing to leap over; run "
                    "plain MD (--model md)"
                )
            self._tables[molecule] = made
        return self._tables[molecule]

    def drawn(
        self, molecule: Molecule, x: Array, lag_ps: float, rng: np.random.Generator
    ) -> tuple[Array, float]:
        """Torsions (m,) a lag after a conformation (n, 3), and their log density."""
        table = self.table(molecule)
        present = present_of(table, x[None], np.array([lag_ps]), self.temperature_K)
        uniform = torch.from_numpy(rng.random((1, table.count, 2)))
        phi, log_density = self.network.draw(present, uniform)
        return phi[0].double().numpy(), float(log_density[0])

    def log_prob(self, molecule: Molecule, x: Array, phi: Array, lag_ps: float) -> float:
        """The log density of going from a conformation (n, 3) to torsions (m,)."""
        table = self.table(molecule)
        present = present_of(table, x[None], np.array([lag_ps]), self.temperature_K)
        with torch.no_grad():
            found = self.network.log_prob(present, torch.from_numpy(phi[None]).float())
        return float(found[0])
