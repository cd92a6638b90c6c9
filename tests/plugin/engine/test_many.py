"""Many molecules from Python: one at a time, each with its name, a broken one at its
own cost.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import equidrift
from equidrift.errors import (
    InputError,
    InputTypeError,
    MoleculeError,
    NoValidSamplesError,
    UnknownNameError,
)
from equidrift.records import Molecule
from tests.doubles import Shaker


def test_sample_many_yields_each_molecule_with_its_name_or_error() -> None:
    whats = [
        "CCO",
        ("CCN", "amine"),
        "C(",
        Molecule.from_smiles("C", name="methane"),
        7,
        ("CC.O", "salt"),
    ]
    made = list(equidrift.sample_many(whats, 3, model=Shaker(), seed=1))
    assert [entry.index for entry in made] == list(range(6))
    assert [entry.name for entry in made] == ["CCO", "amine", "C(", "methane", "", "salt"]
    errors = [type(entry.error) for entry in made]
    assert errors == [
        type(None),
        type(None),
        MoleculeError,
        type(None),
        InputTypeError,
        MoleculeError,
    ]
    for entry in made:
        assert (entry.ensemble is None) == (entry.error is not None)
        if entry.ensemble is not None:
            assert len(entry.ensemble) == 3 and entry.ensemble.molecule.name in ("", entry.name)
    alone = equidrift.sample("CCN", 3, model=Shaker(), seed=1)
    assert made[1].ensemble is not None
    np.testing.assert_allclose(made[1].ensemble.positions_A, alone.positions_A, atol=1e-4)


def test_sample_many_is_lazy_and_takes_endless_iterables() -> None:
    taken = []

    def endless() -> Iterator[str]:
        for k in itertools.count():
            taken.append(k)
            yield "CCO"

    first = next(iter(equidrift.sample_many(endless(), 2, model=Shaker())))
    assert first.ensemble is not None and len(first.ensemble) == 2 and len(taken) < 1000


def test_sample_many_reads_files_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("CCO ethanol\nC( broken\nCC.O salt\n")
    made = list(equidrift.sample_many(tmp_path / "in.smi", model=Shaker(), largest_fragment=True))
    assert [entry.name for entry in made] == ["ethanol", "broken", "salt"]
    assert made[1].error is not None and made[2].ensemble is not None
    assert made[2].ensemble.molecule.n_atoms == 8


def test_sample_many_keeps_the_valid_ones_when_there_are_too_few() -> None:
    (entry,) = equidrift.sample_many(["CCO"], 30, model=Shaker(broken=0.9), max_attempts=2)
    assert isinstance(entry.error, NoValidSamplesError) and entry.ensemble is not None
    assert 0 < len(entry.ensemble) < 30 and entry.ensemble.valid.all()


@pytest.mark.parametrize(
    ("whats", "options", "error"),
    [
        ("CCO", {}, InputError),
        (7, {}, InputTypeError),
        (["CCO"], {"n": 0}, InputError),
        (["CCO"], {"model": "nonsense"}, UnknownNameError),
        (["CCO"], {"relax": "nonsense"}, UnknownNameError),
        (["CCO"], {"prune_rms_A": -1}, InputError),
        (["CCO"], {"seed": -1}, InputError),
    ],
)
def test_sample_many_refuses_at_the_call(
    whats: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        equidrift.sample_many(whats, **{"model": Shaker(), **options})
