"""What all batches have in common."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from equidrift.models.shared.batches import Batched


@dataclass(frozen=True)
class Inner(Batched):
    x: Tensor


@dataclass
class Outer(Batched):
    name: str
    inner: Inner
    y: Tensor
    z: Tensor | None = None


def test_a_batch_is_as_long_as_its_first_tensors() -> None:
    assert len(Inner(torch.zeros(4, 2))) == 4
    assert len(Outer("a", Inner(torch.zeros(3, 2)), torch.zeros(3))) == 3


def test_a_batch_moves_as_a_whole_when_it_goes_to_a_device() -> None:
    batch = Outer("a", Inner(torch.zeros(3, 2)), torch.zeros(3), torch.ones(3))
    moved = batch.to("meta")
    assert type(moved) is Outer and moved.name == "a"
    assert {moved.inner.x.device.type, moved.y.device.type, moved.z.device.type} == {"meta"}
    assert batch.y.device.type == "cpu"
    assert Outer("a", Inner(torch.zeros(3, 2)), torch.zeros(3)).to("meta").z is None


def test_a_batch_without_rows_has_no_length() -> None:
    @dataclass
    class Empty(Batched):
        name: str = "none"

    with pytest.raises(TypeError, match="Empty holds no tensor"):
        len(Empty())
