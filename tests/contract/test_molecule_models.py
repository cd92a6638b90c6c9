"""The models of new molecules keep the contract."""

from __future__ import annotations

from typing import Any

from equidrift.registry import make_molecule_model
from equidrift.testing.molecule_model import MoleculeModelContract


class TestJoint(MoleculeModelContract):
    steps = 8

    def make(self) -> Any:
        return make_molecule_model("joint")


class TestBayesianFlow(MoleculeModelContract):
    steps = 8

    def make(self) -> Any:
        return make_molecule_model("joint", sampler="bfn")
