"""The inherited suite of every trunk that has no file of tests of its own."""

from __future__ import annotations

from equidrift.models.shared.backbones.egcl import EgclNetwork
from equidrift.models.shared.backbones.radial import RadialNetwork
from tests.models.shared.backbones.contract import TrunkContract


class TestRadial(TrunkContract):
    def make(self, sizes):
        return RadialNetwork(sizes)


class TestEgcl(TrunkContract):
    def make(self, sizes):
        return EgclNetwork(sizes)
