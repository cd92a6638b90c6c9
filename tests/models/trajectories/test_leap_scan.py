"""Energies along the circles of torsions, as a leap reads them, beside OpenMM's."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from numpy.typing import NDArray

from equidrift.errors import EquidriftError
from equidrift.mmff import mmff_system
from equidrift.models.trajectories.leap.features import TorsionTable
from equidrift.models.trajectories.leap.scan import (
    BINS,
    CHANNELS,
    MOST_KT,
    SCALE_KT,
    log_odds,
    ways,
)
from equidrift.records import Molecule
from equidrift.registry import make_model
from equidrift.seeds import sample_seeds
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV

KELVIN = 350.0
MIDDLE = -np.pi + (np.arange(BINS) + 0.5) * 2 * np.pi / BINS
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def amide() -> tuple[TorsionTable, Array]:
    molecule = Molecule.from_smiles("C[C@H](N)C(=O)NCCO")
    x = make_model("etkdg-mmff").sample(molecule, sample_seeds(0, 0, 2))
    return TorsionTable.of(molecule), x


def energies_kT(table: TorsionTable, x: Array, k: int) -> Array:
    """OpenMM's, with one torsion at the middle of each bin."""
    system = mmff_system(table.molecule)
    reference = openmm.Platform.getPlatform("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), reference)
    found = []
    for angle in MIDDLE:
        phi = table.tree.torsions(x)
        phi[k] = angle
        context.setPositions(table.tree.set_torsions(x, phi) / 10)
        state = context.getState(energy=True)
        found.append(state.getPotentialEnergy()._value / KJ_MOL_PER_EV)
    return np.array(found) / (BOLTZMANN_EV_PER_K * KELVIN)


def test_odds_are_those_of_openmms_energies(amide: tuple[TorsionTable, Array]) -> None:
    table, x = amide
    made = table.scan.channels(x, KELVIN)
    assert made.shape == (2, table.count, BINS, CHANNELS)
    for k in range(table.count):
        wanted = log_odds(energies_kT(table, x[1], k))
        np.testing.assert_allclose(SCALE_KT * made[1, k, :, 0], wanted, atol=2e-3)
    assert np.abs(made[..., 2] - made[..., 0]).max() > 0.01, "near pairs are not all pairs"


def test_mirror_images_have_the_circles_reversed(amide: tuple[TorsionTable, Array]) -> None:
    table, x = amide
    here, there = table.scan.channels(x, KELVIN), table.scan.channels(-x, KELVIN)
    np.testing.assert_allclose(there, here[:, :, ::-1], atol=2e-4)


def test_the_lower_way_round_the_circle_counts() -> None:
    """Wells at 0, 120 and -120 degrees; the pass between the first two is the higher."""
    angle = np.degrees(MIDDLE)
    energy = np.where(np.abs(np.abs(angle) - 60) < 20, 5.0, 0.0)
    energy[(angle > 40) & (angle < 80)] = 12.0
    here = np.array(0.0), np.array(np.radians(2.0))
    found = ways(energy, *here)
    assert found[np.abs(angle - 5).argmin()] == 0
    assert found[np.abs(angle + 120).argmin()] == 5
    assert found[np.abs(angle - 120).argmin()] == 5, "round the other side"
    assert found[np.abs(angle - 60).argmin()] == 12
    energy[np.abs(np.abs(angle) - 175) < 6] = 1e9
    assert ways(energy, *here)[np.abs(angle - 120).argmin()] == 12
    assert ways(energy, *here).max() == MOST_KT


def test_what_mmff94_does_not_know_is_refused() -> None:
    table = TorsionTable.of(Molecule.from_smiles("CC[Se]CC"))
    with pytest.raises(EquidriftError, match="Se"):
        table.scan.channels(np.zeros((1, table.molecule.n_atoms, 3)), KELVIN)
