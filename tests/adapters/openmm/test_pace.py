"""Steps between proposals from what both cost, told by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from openmm import app

from equidrift.adapters.openmm.pace import paced_steps
from equidrift.errors import InputError
from tests.sampling import UNIFORM, simulation


class Clock:
    """Seconds of a machine on which every step costs one, and every energy a few."""

    def __init__(self, simulated: app.Simulation, energy: float) -> None:
        self.seconds, self.energy = 0.0, energy
        step, ask = simulated.step, simulated.context.getState
        simulated.step = self.counting(step, float)
        simulated.context.getState = self.counting(ask, lambda: energy, "energy")

    def counting(
        self, call: Callable, price: Callable[..., float], only: str | None = None
    ) -> Callable:
        def counted(*arguments, **options):
            if only is None or options.get(only):
                self.seconds += price(*arguments)
            return call(*arguments, **options)

        return counted

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize("n_proposals", [1, 4])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_proposals_take_their_share_of_the_time_whatever_an_energy_costs(
    n_proposals: int, share: float
) -> None:
    for energy in (0.5, 30.0):
        simulated = simulation()
        steps = paced_steps(
            simulated, UNIFORM, n_proposals=n_proposals, share=share, clock=Clock(simulated, energy)
        )
        spent = energy * (1 + n_proposals)  # the present state's and one for each
        assert spent / (spent + steps) <= share < spent / (spent + steps - 1)


def test_pace_needs_a_share_between_nothing_and_all() -> None:
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="share must lie between 0 and 1"):
            paced_steps(simulation(), UNIFORM, share=share)
