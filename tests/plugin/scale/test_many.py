"""`sample_many` by workers: what it yields is what this process makes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import equidrift
from equidrift.errors import InputError, InputTypeError
from tests.doubles import Fatal, Shaker

WHATS = [("CCO", "ethanol"), "nonsense", "CCN", "C[C@H](F)Cl", "NCCN"]


@pytest.mark.long
def test_sample_many_yields_the_same_by_workers_as_by_this_process() -> None:
    # the broken entry, and with Fatal the diamine, cost only themselves
    alone = list(equidrift.sample_many(WHATS, 3, model=Shaker(broken=0.3), seed=5))
    shared = list(equidrift.sample_many(WHATS, 3, model=Fatal(broken=0.3), seed=5, workers=2))
    assert [one.name for one in shared] == [one.name for one in alone]
    assert [one.error is None for one in shared] == [True, False, True, True, False]
    for one, other in zip(alone[:-1], shared[:-1], strict=True):
        assert str(one.error) == str(other.error)
        if one.ensemble is not None and other.ensemble is not None:
            assert np.array_equal(one.ensemble.positions_A, other.ensemble.positions_A)
            assert one.ensemble.provenance == other.ensemble.provenance
    assert "ends its process" in str(shared[-1].error)


@pytest.mark.long
def test_sample_many_ends_its_workers_when_it_is_left() -> None:
    run = equidrift.sample_many(itertools.repeat("CCO"), model=Shaker(), workers=1)
    assert next(run).name == "CCO"
    run.close()
    with pytest.raises(StopIteration):
        next(run)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": 2.5}, {"workers": 1, "threads": 0}])
def test_workers_are_refused_at_once_when_they_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises((InputError, InputTypeError), match=r"workers|threads"):
        equidrift.sample_many(["CCO"], model=Shaker(), **wrong)
