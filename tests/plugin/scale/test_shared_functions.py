"""`generate` and `refine` by workers: what they return is what this process makes."""

from __future__ import annotations

import numpy as np
import pytest

import equidrift
from equidrift.errors import InputError, InputTypeError, WorkerDiedError
from tests.conftest import make_ensemble
from tests.doubles import Baker, DeadlyShrinker, Shrinker


@pytest.mark.long
def test_generate_returns_the_same_by_workers_as_by_this_process() -> None:
    options = {"seed": 3, "batch_size": 2}
    alone = equidrift.generate(5, model=Baker(share=0.4), **options)
    shared = equidrift.generate(5, model=Baker(share=0.4), workers=2, **options)
    assert [one.molecule.smiles for one in shared] == [one.molecule.smiles for one in alone]
    for one, other in zip(alone, shared, strict=True):
        assert np.array_equal(one.positions_A, other.positions_A)
        assert one.provenance == other.provenance


@pytest.mark.long
def test_refine_returns_the_same_by_workers_as_by_this_process() -> None:
    given = make_ensemble("imine")
    alone = equidrift.refine(given, model=Shrinker(), batch_size=1)
    shared = equidrift.refine(given, model=Shrinker(), batch_size=1, workers=2)
    assert len(alone) > 1 and np.array_equal(shared.positions_A, alone.positions_A)
    assert shared.provenance == alone.provenance


@pytest.mark.long
def test_refine_says_so_when_a_batch_ends_its_workers() -> None:
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        equidrift.refine(make_ensemble("imine"), model=DeadlyShrinker(), workers=1)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": 2.5}, {"workers": 1, "threads": 0}])
def test_workers_of_functions_are_refused_when_they_cannot_be(wrong: dict[str, object]) -> None:
    for call in (
        lambda: equidrift.generate(1, model=Baker(), **wrong),
        lambda: equidrift.refine(make_ensemble("imine"), model=Shrinker(), **wrong),
    ):
        with pytest.raises((InputError, InputTypeError), match=r"workers|threads"):
            call()
