"""Moves of periodic cells, against an ideal gas in both hosts, and OpenMM's barostat."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms
from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainNVT
from openmm import app, unit

from equidrift.adapters.ase.cells import CellMonteCarlo
from equidrift.adapters.openmm.cells import ContextCells
from equidrift.errors import InputError, UnknownNameError
from equidrift.models.shared.backbones import log_strain
from equidrift.montecarlo.cells import STRAINS, CellSettings, carried, stretch_of

KELVIN, BAR = 300.0, 200.0
KT_OVER_P_A3 = 1.380649e-23 * KELVIN / (BAR * 1e5) * 1e30
WIDTH = {"volume": 0.6, "lengths": 0.35, "shape": 0.35}
N = 8


class Nothing(Calculator):
    """No interaction."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(self.atoms), 3))}


def gas(strain: str = "volume", **options) -> CellMonteCarlo:
    edge = (N * KT_OVER_P_A3) ** (1 / 3)
    places = np.random.default_rng(0).uniform(0, edge, (N, 3))
    atoms = Atoms(f"Ar{N}", places, cell=[edge] * 3, pbc=True, calculator=Nothing())
    return CellMonteCarlo(atoms, CellSettings(KELVIN, BAR, strain, WIDTH[strain]), **options)


def of_ideal_gas(volumes_A3: np.ndarray, molecules: int) -> None:
    """V is gamma distributed, of shape N + 1 and scale kT / P."""
    x = np.array(volumes_A3)[60:] / KT_OVER_P_A3
    for series, right in ((x, molecules + 1), ((x - molecules - 1) ** 2, molecules + 1)):
        blocks = series[: len(series) // 20 * 20].reshape(20, -1).mean(axis=1)
        error = blocks.std(ddof=1) / np.sqrt(20)
        assert abs(blocks.mean() - right) < 4 * error
        assert error < 0.2 * right


def volumes_of(cells: CellMonteCarlo) -> np.ndarray:
    """Along a run. Nothing holds the shape of a gas's cell, so now and then it is a cube
    again, with the atoms where they were at first; the volume does not know.
    """
    found, start = [], cells.atoms.positions.copy()
    for accepted in cells.irun(1500, n_moves=2):
        assert 0 <= accepted <= 2
        found.append(cells.volume_A3)
        if len(found) % 20 == 0:
            cells.atoms.set_cell([cells.volume_A3 ** (1 / 3)] * 3)
            cells.atoms.set_positions(start)
    return np.array(found)


@pytest.mark.long
@pytest.mark.parametrize("strain", STRAINS)
def test_ase_gives_the_volume_of_an_ideal_gas_whatever_is_strained(strain):
    cells = gas(strain)
    of_ideal_gas(volumes_of(cells), N)
    assert 0.2 < cells.statistics.acceptance < 0.95


@pytest.mark.long
def test_ase_counts_molecules_and_keeps_their_shape():
    pairs = [(k, k + 1) for k in range(0, N, 2)]
    cells = gas("shape", molecules=pairs)
    apart = np.diff(cells.atoms.positions.reshape(-1, 2, 3), axis=1)
    of_ideal_gas(volumes_of(cells), N // 2)
    assert cells.apply(30) > 0
    after = np.diff(cells.atoms.positions.reshape(-1, 2, 3), axis=1)
    np.testing.assert_allclose(after, apart, atol=1e-9)


@pytest.mark.long
def test_ase_gives_the_volume_of_an_ideal_gas_between_steps_of_its_dynamics():
    cells = gas()
    cells.atoms.set_masses([40.0] * N)
    dynamics = NoseHooverChainNVT(cells.atoms, 5 * units.fs, temperature_K=KELVIN, tdamp=100)
    volumes, energies = [], []
    for _ in cells.irun(600, dynamics, md_steps=1, n_moves=2):
        volumes.append(cells.volume_A3)
        energies.append(cells.atoms.get_kinetic_energy())
    of_ideal_gas(np.array(volumes), N)
    assert np.mean(energies) == pytest.approx(1.5 * N * units.kB * KELVIN, rel=0.1)


def box_of(
    n: int, edge_nm: float, *, epsilon: float, cutoff_nm: float, barostat: bool = False
) -> openmm.System:
    """n argon atoms, or points without interaction."""
    system, pairs = openmm.System(), openmm.NonbondedForce()
    pairs.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    pairs.setCutoffDistance(cutoff_nm)
    for _ in range(n):
        system.addParticle(39.948)
        pairs.addParticle(0, 0.3405, epsilon)
    system.addForce(pairs)
    system.setDefaultPeriodicBoxVectors(*(edge_nm * np.eye(3)))
    if barostat:
        system.addForce(openmm.MonteCarloBarostat(PRESSURE_BAR * unit.bar, ARGON_K, 10))
    return system


def context_of(system: openmm.System, positions_nm: np.ndarray, kelvin: float) -> openmm.Context:
    integrator = openmm.LangevinMiddleIntegrator(kelvin, 5, 0.008)
    integrator.setRandomNumberSeed(3)
    platform = openmm.Platform.getPlatform("Reference")
    context = openmm.Context(system, integrator, platform)
    context.setPositions(positions_nm)
    context.setVelocitiesToTemperature(kelvin, 1)
    return context


@pytest.mark.long
@pytest.mark.parametrize("strain", STRAINS)
def test_openmm_gives_the_volume_of_an_ideal_gas_whatever_is_strained(strain):
    edge = 0.1 * (N * KT_OVER_P_A3) ** (1 / 3)
    places = np.random.default_rng(0).uniform(0, edge, (N, 3))
    system = box_of(N, edge, epsilon=0.0, cutoff_nm=0.05)
    cells = ContextCells(
        context_of(system, places, KELVIN), CellSettings(KELVIN, BAR, strain, WIDTH[strain])
    )
    volumes = []
    for _ in range(1500):
        cells.apply(2)
        volumes.append(cells.volume_A3)
        if len(volumes) % 20 == 0:  # as in `volumes_of`
            cells.context.setPeriodicBoxVectors(*(0.1 * volumes[-1] ** (1 / 3) * np.eye(3)))
            cells.context.setPositions(places)
    of_ideal_gas(np.array(volumes), N)


ARGON_K, PRESSURE_BAR, ATOMS = 180.0, 300.0, 64


def densities(barostat: bool, strain: str = "volume") -> np.ndarray:
    """Number densities (atoms per nm^3) of supercritical argon along a run."""
    edge = 1.8
    axis = (np.arange(4) + 0.5) / 4 * edge
    lattice = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    system = box_of(ATOMS, edge, epsilon=0.996, cutoff_nm=0.6, barostat=barostat)
    context = context_of(system, lattice, ARGON_K)
    width = {"volume": 0.12, "shape": 0.03}[strain]
    cells = None
    if not barostat:
        cells = ContextCells(context, CellSettings(ARGON_K, PRESSURE_BAR, strain, width))
    volumes = []
    for _ in range(1500):
        context.getIntegrator().step(10)
        if cells is not None:
            cells.apply(1)
        volumes.append(context.getState().getPeriodicBoxVolume()._value)
    return ATOMS / np.array(volumes)[200:]


@pytest.mark.slow
@pytest.mark.parametrize("strain", ["volume", "shape"])
def test_density_of_argon_is_that_of_openmms_barostat(strain):
    found = []
    for barostat in (True, False):
        series = densities(barostat, strain)
        blocks = series[: len(series) // 10 * 10].reshape(10, -1).mean(axis=1)
        found.append((blocks.mean(), blocks.std(ddof=1) / np.sqrt(10)))
    (theirs, their_error), (ours, our_error) = found
    assert abs(ours - theirs) < 3 * np.hypot(their_error, our_error)
    assert np.hypot(their_error, our_error) < 0.03 * theirs


WATER_BAR = 1.0


def water_densities(barostat: bool, strain: str = "volume") -> np.ndarray:
    """Molecules of rigid TIP3P per nm^3 along 30 ps, the first fifth left out."""
    field, edge = app.ForceField("amber14/tip3p.xml"), 1.45
    modeller = app.Modeller(app.Topology(), [] * unit.nanometer)
    modeller.addSolvent(field, model="tip3p", boxSize=edge * unit.nanometer * openmm.Vec3(1, 1, 1))
    system = field.createSystem(
        modeller.topology, nonbondedMethod=app.CutoffPeriodic, nonbondedCutoff=0.55
    )
    if barostat:
        system.addForce(openmm.MonteCarloBarostat(WATER_BAR, KELVIN, 10))
    integrator = openmm.LangevinMiddleIntegrator(KELVIN, 2, 0.002)
    integrator.setRandomNumberSeed(3)
    platform = openmm.Platform.getPlatform("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": "1"})
    context.setPositions(modeller.positions)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 100)
    context.setVelocitiesToTemperature(KELVIN, 1)
    settings = CellSettings(KELVIN, WATER_BAR, strain, {"volume": 0.03, "shape": 0.01}[strain])
    cells = None if barostat else ContextCells(context, settings)
    volumes = []
    for _ in range(1500):
        integrator.step(10)
        if cells is not None:
            cells.apply(1)
        volumes.append(context.getState().getPeriodicBoxVolume()._value)
    return system.getNumParticles() / 3 / np.array(volumes)[300:]


@pytest.mark.slow
@pytest.mark.parametrize("strain", ["volume", "shape"])
def test_density_of_water_is_that_of_openmms_barostat(strain):
    found = []
    for barostat in (True, False):
        blocks = water_densities(barostat, strain).reshape(8, -1).mean(axis=1)
        found.append((blocks.mean(), blocks.std(ddof=1) / np.sqrt(8)))
    (theirs, their_error), (ours, our_error) = found
    assert abs(ours - theirs) < 3.5 * np.hypot(their_error, our_error)
    assert np.hypot(their_error, our_error) < 0.02 * theirs


@pytest.mark.parametrize("strain", STRAINS)
def test_strains_are_symmetric_and_their_stretch_has_them_as_its_log_strain(strain):
    rng, settings = np.random.default_rng(2), CellSettings(300, 1, strain, 0.3)
    drawn = np.array([settings.drawn(rng) for _ in range(4000)])
    np.testing.assert_array_equal(drawn, np.swapaxes(drawn, 1, 2))
    stretches = torch.tensor(np.array([stretch_of(one) for one in drawn]))
    np.testing.assert_allclose(log_strain.log_strain(stretches), drawn, atol=1e-12)
    if strain == "shape":  # the same in every direction
        six = log_strain.components(torch.tensor(drawn)).numpy()
        np.testing.assert_allclose(np.cov(six.T), 0.09 * np.eye(6), atol=0.01)


def test_carried_atoms_move_alone_without_molecules():
    places = np.random.default_rng(0).standard_normal((3, 3))
    stretch = np.diag([1.1, 1.0, 0.9])
    np.testing.assert_allclose(carried(places, None, stretch), places @ stretch)


def test_rejected_moves_leave_the_cell_as_it_was():
    cells = gas()
    before = cells.volume_A3, cells.atoms.positions.copy()
    cells.atoms.calc.calculate = lambda *_, **__: None
    cells.stretched_eV(2 * np.eye(3))
    assert cells.volume_A3 == pytest.approx(8 * before[0])
    cells.settle(False)
    assert cells.volume_A3 == before[0] and np.array_equal(cells.atoms.positions, before[1])


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"temperature_K": 0.0}, InputError, "temperature_K must be positive"),
        ({"pressure_bar": -1.0}, InputError, "pressure_bar must be finite and not negative"),
        ({"sigma": 0.0}, InputError, "sigma must be above 0"),
        ({"strain": "twist"}, UnknownNameError, "twist"),
    ],
)
def test_settings_refuse_what_cannot_be(change, error, match):
    with pytest.raises(error, match=match):
        CellSettings(**({"temperature_K": 300.0, "pressure_bar": 1.0} | change))


def test_hosts_refuse_what_has_no_cell_to_move():
    settings, crystal = CellSettings(300, 1.0), gas().atoms
    open_ends = crystal.copy()
    open_ends.pbc, open_ends.calc = (True, True, False), Nothing()
    held = crystal.copy()
    held.calc, held.constraints = Nothing(), [FixAtoms([0])]
    for atoms, match in ((open_ends, "three periodic directions"), (held, "FixAtoms")):
        with pytest.raises(InputError, match=match):
            CellMonteCarlo(atoms, settings)
    both = IsotropicMTKNPT(
        crystal, 1 * units.fs, temperature_K=300, pressure_au=0, tdamp=100, pdamp=1000
    )
    with pytest.raises(InputError, match="moves the cell as well"):
        next(CellMonteCarlo(crystal, settings).irun(1, both))
    with pytest.raises(InputError, match="each of the 8 atoms once"):
        CellMonteCarlo(crystal, settings, molecules=[[0, 1]])
    places = np.array([[0.1] * 3, [0.9] * 3])
    with pytest.raises(InputError, match="MonteCarloBarostat"):
        ContextCells(
            context_of(box_of(2, 1.8, epsilon=0.0, cutoff_nm=0.5, barostat=True), places, ARGON_K),
            settings,
        )
    lonely = openmm.System()
    lonely.addParticle(1.0)
    with pytest.raises(InputError, match="not periodic"):
        ContextCells(context_of(lonely, np.zeros((1, 3)), 300), settings)
