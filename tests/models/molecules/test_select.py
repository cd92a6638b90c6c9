"""The draw nearest to the targets is kept, the same for the same seed, and nothing is
chosen where there is no target.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equidrift.errors import InputError
from equidrift.models.molecules.select import BestOf
from equidrift.records import Molecule
from tests.doubles import Baker
from tests.models.molecules.test_properties import network


class Many(Baker):
    """The double with a target a sample; its conditioning is none at all."""

    default_steps = 5

    def sample_many(self, seeds: Any, wanted: Any, **options: Any) -> list[Any]:
        return self.sample(seeds, **options)


def atoms(systems: Any) -> dict[str, np.ndarray]:
    """A network that says how many atoms there are."""
    return {"gap_eV": np.array([float(molecule.n_atoms) for molecule, _ in systems])}


def best_of(candidates: int, **options: Any) -> BestOf:
    chooser = network()
    chooser.predict = atoms  # type: ignore[method-assign]
    return BestOf(Many(**options), chooser, candidates)


@pytest.mark.long
def test_the_nearest_is_kept() -> None:
    seeds = np.arange(12)
    sizes = [
        raw[0].n_atoms
        for raw in best_of(24).sample(seeds, targets={"gap_eV": 9.0})
        if raw is not None
    ]
    plain = [
        raw[0].n_atoms
        for raw in best_of(1).sample(seeds, targets={"gap_eV": 9.0})
        if raw is not None
    ]
    ethanol = Molecule.from_smiles("CCO").n_atoms
    assert (
        sizes.count(ethanol) > plain.count(ethanol)
        and np.abs(np.array(sizes) - 9).mean() < np.abs(np.array(plain) - 9).mean() / 2
    )


def test_a_sample_depends_on_its_seed_alone() -> None:
    model = best_of(4)
    whole = model.sample(np.arange(6), targets={"gap_eV": 9.0})
    parts = [model.sample(np.array([seed]), targets={"gap_eV": 9.0})[0] for seed in range(6)]
    assert all(
        np.array_equal(a[1], b[1])
        for a, b in zip(whole, parts, strict=True)
        if a is not None and b is not None
    )


def test_valid_draws_go_first_and_without_targets_there_is_one() -> None:
    model = best_of(8, share=0.5, faults=("none", "radical"))
    made = model.sample(np.arange(10), targets={"gap_eV": 9.0})
    assert all(raw is not None for raw in made)
    model.model.calls.clear()
    model.sample(np.arange(10))
    assert model.model.calls[0]["count"] == 10
    assert model.name == "baker-best-of-8" and model.default_steps == 40


def test_no_candidate() -> None:
    with pytest.raises(InputError, match="candidates must be 1 or more, not 0"):
        best_of(0)
