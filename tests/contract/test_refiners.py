"""Every refiner of the registry under the one contract."""

from __future__ import annotations

from equidrift import registry
from equidrift.protocols import Refiner
from equidrift.registry import make_refiner
from equidrift.testing.refiner import RefinerContract


class TestRefine(RefinerContract):
    name = "refine"

    def make(self) -> Refiner:
        return make_refiner(self.name)


class TestConformerEnergy(RefinerContract):
    name = "conformer-energy"
    tolerance_A = 1e-3

    def make(self) -> Refiner:
        return make_refiner(self.name)


class TestConformerEnergyElements(TestConformerEnergy):
    name = "conformer-energy-elements"


def test_every_refiner_of_the_registry_has_its_suite() -> None:
    suites = (TestRefine, TestConformerEnergy, TestConformerEnergyElements)
    assert {suite.name for suite in suites} == set(registry.REFINERS)
