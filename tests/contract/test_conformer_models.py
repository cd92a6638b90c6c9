"""Every conformer model of the registry under the one contract."""

from __future__ import annotations

from typing import Any

import torch

from equidrift import registry
from equidrift.registry import make_model
from equidrift.testing.conformer_model import ConformerModelContract
from equidrift.weights import find, weights_of


def shipped(name: str) -> str:
    """The name of a model whose weights the wheel holds."""
    assert weights_of(find(name)) is not None
    return name


class TestEtkdg(ConformerModelContract):
    def make(self) -> Any:
        return make_model("etkdg")


class TestEtkdgMmff(ConformerModelContract):
    def make(self) -> Any:
        return make_model("etkdg-mmff")


class TestDefault(ConformerModelContract):
    def make(self) -> Any:
        shipped("refine")
        return make_model("default", num_threads=1)


class TestEtkdgRefine(ConformerModelContract):
    def make(self) -> Any:
        shipped("refine")
        return make_model("etkdg-refine", num_threads=1)


class TestEtkdgMmffRefine(ConformerModelContract):
    def make(self) -> Any:
        shipped("refine")
        return make_model("etkdg-mmff-refine", num_threads=1)


class TestConformer(ConformerModelContract):
    steps = 2
    tolerance_A = 1e-3

    def make(self) -> Any:
        return make_model(shipped("conformer"))


class TestSe3Distance(ConformerModelContract):
    steps = 4
    tolerance_A = 1e-3

    def make(self) -> Any:
        return make_model(shipped("se3-distance"))


def test_every_model_of_the_registry_loads() -> None:
    for name, path in registry.CONFORMER_MODELS.items():
        assert callable(registry.resolve(path)), name


def test_loading_weights_leaves_torchs_random_state_alone() -> None:
    before = torch.get_rng_state()
    registry.make_refiner(shipped("refine"))
    assert torch.equal(torch.get_rng_state(), before)
