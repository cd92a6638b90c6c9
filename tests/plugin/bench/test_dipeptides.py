"""The table of dipeptides: its split, and that it tells right samples from wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.adapters.openmm.peptides import PeptideSamples
from equidrift.bench.dipeptides import (
    SEQUENCES,
    TEMPERATURE_K,
    Reference,
    compared,
    part_of,
    rows_of,
    sequences,
    unseen,
)
from equidrift.montecarlo.annealing import Annealed
from equidrift.peptides import capped_peptide
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K

FIRST = 400


def test_the_split_holds_every_dipeptide_once_and_no_choice_was_made_on_a_test_one():
    parts = {part: sequences(part) for part in ("train", "val", "test")}
    every = [sequence for part in parts.values() for sequence in part]
    assert len(every) == len(set(every)) == 400
    assert set(SEQUENCES) <= set(parts["test"])
    assert {part_of("AF"), part_of("RW")} == {"train", "val"}


def samples(shift_kT: float, turned: float, seed: int = 0) -> tuple[PeptideSamples, Reference]:
    """Made-up samples of Ace-Gly-NMe: energies shifted and torsions turned from what the
    reference has.
    """
    molecule, rng = capped_peptide("G"), np.random.default_rng(seed)
    tree = TorsionTree.of(molecule, amides=True, hydrogens=True)
    start = rng.standard_normal((molecule.n_atoms, 3)) * 3
    m, n = tree.n_torsions, 120
    phi = rng.vonmises(0, 1, (FIRST + n, m))
    phi[FIRST:] += turned
    kT = BOLTZMANN_EV_PER_K * TEMPERATURE_K
    energies = rng.normal(0, 5, FIRST + n)
    x = np.array([tree.set_torsions(start, row) for row in phi[FIRST:]])
    annealed = Annealed(
        x, rng.normal(0, 0.5, n), (energies[FIRST:] + shift_kT) * kT, np.array([0.5, 1]), 1.0
    )
    found = PeptideSamples(molecule, annealed, 1.0, 1.0, (0.7, 0.8), phi[FIRST:])
    return found, Reference(energies[:FIRST], phi[:FIRST], 1.0)


def test_right_samples_are_at_the_floor_and_wrong_ones_are_not():
    right, shifted, turned = (
        compared(*samples(shift_kT, turn)) for shift_kT, turn in ((0, 0), (6, 0), (0, 1.0))
    )
    assert right["e_w2_kT"] < right["e_w2_floor_kT"] + 3 * right["e_w2_kT_se"]
    assert shifted["e_w2_kT"] == pytest.approx(6, abs=1)
    assert right["torsion_chi2"] < 2
    assert turned["torsion_chi2"] > 5
    assert right["first_ess"] > 50
    assert right["ess"] == pytest.approx(100 * np.exp(-0.25), abs=12)
    rows = [{"row": f"dipeptides-{k}/equidrift", "values": right} for k in range(3)]
    mean = unseen(rows)["values"]
    assert mean["ess"] == pytest.approx(right["ess"]) and mean["n"] == 3


@pytest.mark.slow
def test_alanine_dipeptide_agrees_with_replica_exchange():
    """Ace-Ala-NMe: energies at the floor, torsions within their errors, ESS above 20 %."""
    ours, _ = rows_of("A", 150, 60.0)
    values = ours["values"]
    assert values["ess"] > 20
    assert values["e_w2_kT"] < values["e_w2_floor_kT"] + 4 * values["e_w2_kT_se"]
    assert values["torsion_chi2"] < 2
