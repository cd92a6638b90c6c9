"""The trained density on one molecule: draws of torsions, and their probabilities."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.shared.devices import Device, pick_device
from equidrift.models.shared.run import load_network
from equidrift.models.trajectories.leap.data import present_of
from equidrift.models.trajectories.leap.density import LeapConfig, LeapNetwork, Present
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
    device : torch device; None is CUDA where there is one, else the CPU.

    Raises
    ------
    InputError
        For a temperature far from those of the training.
    """

    def __init__(self, weights: str, temperature_K: float = 300.0, device: Device = None):
        network, self.card = load_network(weights, "leap", make_leap)
        self.device = pick_device(device)
        self.network = network.to(self.device)
        self.temperature_K = self._check_temperature(temperature_K)
        self._tables: dict[Molecule, TorsionTable] = {}

    def _check_temperature(self, temperature_K: float) -> float:
        low, high = self.card["training"]["temperature_K"]
        if not low * (1 - SLACK) <= temperature_K <= high * (1 + SLACK):
            raise InputError(
                f"temperature_K is {temperature_K:g}, and {self.card['name']} was trained on "
                f"dynamics at {low:g} to {high:g} K; ask for one between, or train at that "
                "temperature"
            )
        return temperature_K

    def at(self, temperature_K: float) -> Leaper:
        """The same at another temperature, with the errors of the class."""
        made = copy.copy(self)
        made.temperature_K = self._check_temperature(temperature_K)
        return made

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
        uniform = torch.from_numpy(rng.random((1, self.table(molecule).count, 2)))
        present = self._present(molecule, x, lag_ps)
        phi, log_density = self.network.draw(present, uniform.to(self.device))
        return phi[0].cpu().double().numpy(), float(log_density[0])

    def log_prob(self, molecule: Molecule, x: Array, phi: Array, lag_ps: float) -> float:
        """The log density of going from a conformation (n, 3) to torsions (m,)."""
        there = torch.from_numpy(phi[None]).float().to(self.device)
        with torch.no_grad():
            found = self.network.log_prob(self._present(molecule, x, lag_ps), there)
        return float(found[0])

    def _present(self, molecule: Molecule, x: Array, lag_ps: float) -> Present:
        """A conformation (n, 3) to leap from, on the network's device."""
        lags = np.array([lag_ps])
        made = present_of(
            self.table(molecule), x[None], lags, self.temperature_K, bins=self.network.config.bins
        )
        return made.to(self.device)
