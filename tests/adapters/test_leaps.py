"""Leaps in the hosts and on the command line: over a time of their own, settled where
they are used.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import ase.io
import MDAnalysis as mda
import numpy as np
import openmm
import pytest
from ase import units
from openmm import app, unit

import equidrift
from equidrift.adapters.ase.calculators import MMFF
from equidrift.adapters.ase.dynamics import DiffusionDynamics
from equidrift.adapters.openmm.proposer import TrajectoryProposer
from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.simulation import prepare
from equidrift.errors import InputError, MoleculeError
from equidrift.files.trajectories import load_trajectory
from equidrift.models.trajectories.leap.proposer import LeapProposer
from equidrift.models.trajectories.leap.sampler import LeapModel
from equidrift.records import Molecule, Trajectory
from equidrift.registry import make_trajectory_model
from tests.commands import Cli, caller
from tests.conftest import make_trajectory
from tests.leaps import LAGS_PS

SMILES = "CCCCO"
SHORT: dict[str, Any] = {"settle_fs": 20.0}  # of the dynamics after a leap


@pytest.fixture(scope="module")
def weights(leap_training: dict[str, Any]) -> str:
    return str(leap_training["weights"])


@pytest.fixture(scope="module")
def past() -> Trajectory:
    """Frames 10 fs apart."""
    return make_trajectory(SMILES)


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    past: Trajectory,
    weights: str,
) -> Cli:
    """Run `equidrift forecast` with the leaps; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    call = caller(monkeypatch, capsys)
    past.save("in.npz")
    asked = ("forecast", "in.npz", "--model", weights, "--set", "settle_fs=20")
    return lambda *more: call(*asked, *more)


@pytest.mark.long
@pytest.mark.parametrize("frames", [1, 4])
def test_leaps_lie_a_lag_apart_whatever_the_spacing_of_the_given_frames(
    frames: int, past: Trajectory, weights: str
) -> None:
    (made,) = equidrift.forecast(past[-frames:], 3, model=weights, lag_ps=5.0, **SHORT)
    np.testing.assert_allclose(made.time_fs, past.time_fs[-1] + 5000.0 * np.arange(1, 4))
    assert made.provenance["options"]["lag_ps"] == 5.0 and made.provenance["exact"] is False
    (again,) = equidrift.forecast(past, 3, model=weights, lag_ps=5.0, **SHORT)
    np.testing.assert_allclose(again.positions_A, made.positions_A, atol=1e-6)


@pytest.mark.long
def test_a_lag_is_asked_for_once_where_frames_are_to_be_filled(
    past: Trajectory, weights: str
) -> None:
    model = make_trajectory_model(weights, lag_ps=5.0, **SHORT)
    far = past.replace(time_fs=1000.0 * np.arange(len(past)))
    given = np.arange(len(past)) < 3
    with pytest.raises(InputError, match=r"1000 fs apart, and .* leaps by 5000 fs"):
        model.complete(far, given, np.arange(1))
    with pytest.raises(InputError, match="the training held 1 to 5 ps"):
        make_trajectory_model(weights, lag_ps=50.0)


@pytest.mark.parametrize(("every", "leaps", "lag_ps"), [("5ps", 1, 5.0), ("12ps", 3, 4.0)])
def test_command_leaps_by_the_time_between_kept_frames(
    every: str, leaps: int, lag_ps: float, cli: Cli, past: Trajectory
) -> None:
    code, out, err = cli("--frames", 2, "--every", every, "-o", "x.npz", "--json")
    assert code == 0, err
    assert json.loads(out)["frames"] == 2
    (made,) = [load_trajectory("x.npz")]
    apart = 1000 * leaps * lag_ps
    np.testing.assert_allclose(made.time_fs, past.time_fs[-1] + apart * np.arange(1, 3))
    assert made.provenance["options"]["lag_ps"] == pytest.approx(lag_ps)
    assert made.provenance.get("every", 1) == leaps


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--every", "300fs"), "leaps by 1 to 5 ps, and 0.3 ps is no such leap"),
        (("--every", "2.5ps", "--set", "lag_ps=1"), "no multiple of the 1000 fs between leaps"),
        (("--set", "lag_ps=9"), "lag_ps is 9, and the training held 1 to 5 ps"),
        ((), "frames are 10 fs apart, and the model .* was trained on 1000 to 5000 fs"),
    ],
)
def test_command_refuses_leaps_of_other_times(asked: tuple[str, ...], told: str, cli: Cli) -> None:
    code, _, err = cli("--frames", 2, *asked, "-o", "x.npz")
    assert code == 2 and not Path("x.npz").exists()
    assert re.search(told, " ".join(err.split())), err


def test_leaps_open_in_every_host(cli: Cli, past: Trajectory) -> None:
    code, _, err = cli("--frames", 3, "--every", "5ps", "-n", 2, "-o", "x.xtc", "--device", "cpu")
    assert code == 0, err
    universe = mda.Universe("x.top.pdb", "x_0001.xtc")
    assert universe.trajectory.n_frames == 3 and universe.trajectory.dt == pytest.approx(5.0)
    (made,) = equidrift.forecast(past, 3, model=make_trajectory_model("last-frame"))
    read = load_trajectory("x_0001.xtc", "x.top.pdb")
    images = read.to_ase()
    ase.io.write("x.traj", images)
    assert len(ase.io.read("x.traj", ":")) == 3 and made.molecule == read.molecule
    topology = app.PDBFile("x.top.pdb").topology
    assert topology.getNumAtoms() == read.molecule.n_atoms


def simulation(temperature_K: float = 300.0) -> app.Simulation:
    """Of a molecule whose bonds to hydrogen are held."""
    ensemble = equidrift.sample(SMILES, 1, model="etkdg-mmff", seed=1)
    topology, positions = ensemble.to_openmm()
    integrator = openmm.LangevinMiddleIntegrator(temperature_K, 1, 0.002)
    integrator.setRandomNumberSeed(1)
    system = equidrift.mmff_system(ensemble.molecule, constraints="HBonds")
    reference = openmm.Platform.getPlatform("Reference")
    made = app.Simulation(topology, system, integrator, reference)
    prepare(made, positions[0], temperature_K=temperature_K, seed=1)
    return made


def test_openmm_leaps_from_where_it_stands_and_settles_in_its_own_system(weights: str) -> None:
    sim = simulation()
    sim.step(3)
    proposer = TrajectoryProposer(sim, weights, lag_ps=5.0, **SHORT)
    for leap in (1, 2):
        made = proposer.step(1)
        state = sim.context.getState(positions=True)
        assert state.getTime().value_in_unit(unit.picosecond) == pytest.approx(0.006 + 5.0 * leap)
        assert sim.currentStep == 3 + 2500 * leap and made.exact is False
    x = np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    held = [sim.system.getConstraintParameters(k) for k in range(sim.system.getNumConstraints())]
    for i, j, length in held:
        wanted = length.value_in_unit(unit.angstrom)
        assert np.linalg.norm(x[i] - x[j]) == pytest.approx(wanted, abs=2e-4)


def test_openmm_refuses_leaps_that_do_not_fit(weights: str) -> None:
    with pytest.raises(InputError, match="velocities='redraw'"):
        TrajectoryProposer(simulation(), weights, lag_ps=5.0, velocities="proposal")
    with pytest.raises(InputError, match="temperature_K is 400"):
        TrajectoryProposer(simulation(400.0), weights, lag_ps=5.0)


class Counting(MMFF):
    """MMFF94 that counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        self.asked += 1
        super().calculate(*args, **kwargs)


@pytest.mark.parametrize("calculator", [True, False])
def test_ase_leaps_from_where_it_stands_and_settles_by_its_calculator(
    calculator: bool, past: Trajectory, weights: str
) -> None:
    atoms = past[:1].to_ase()[0]
    atoms.calc = counting = Counting() if calculator else None
    dynamics = DiffusionDynamics(
        atoms, 5000 * units.fs, weights, block=2, options={"settle_fs": 10.0}
    )
    before = atoms.positions.copy()
    dynamics.run(2)
    assert dynamics.get_time() == pytest.approx(10_000 * units.fs)
    assert np.abs(atoms.positions - before).max() > 0.1
    assert 100 < atoms.get_temperature() < 700, "momenta are drawn at 300 K"
    if counting is not None:
        assert 2 * 20 < counting.asked < 200, "leaps settle by the calculator, and cost no more"


@pytest.mark.long
def test_exact_twin_moves_a_simulation_by_the_density_that_it_was_trained_to(
    weights: str,
) -> None:
    sim = simulation()
    molecule = Molecule.from_smiles(SMILES)
    proposer = LeapProposer(weights, molecule, lag_ps=max(LAGS_PS))
    sampler = ProposalSampler(sim, proposer, md_steps=5, n_proposals=4, seed=1)
    sampler.run(25)
    counts = sampler.statistics
    assert counts.proposed == 100 and 0 < counts.accepted < 100


def test_shipped_leaps_go_on_from_one_frame_where_a_lag_is_given(past: Trajectory) -> None:
    (made,) = equidrift.forecast(past[-1:], 2, lag_ps=20.0)
    assert made.provenance["model"] == "leap"
    assert made.dt_fs == 20_000.0 and len(made) == 2
    assert made.provenance["exact"] is False


def test_elements_that_no_training_molecule_held_are_refused(past: Trajectory) -> None:
    assert make_trajectory_model("leap").elements == (1, 6, 7, 8, 9, 16, 17, 35, 53)
    start = equidrift.sample("CC[Si](C)(C)CCO", 1, model="etkdg-mmff")
    frame = equidrift.Trajectory(start.molecule, start.positions_A, [0.0])
    with pytest.raises(MoleculeError, match="Si"):
        equidrift.forecast(frame, 1, model="leap", lag_ps=20.0)


def test_leaping_leaves_the_model_that_it_was_made_of_as_it_was(weights: str) -> None:
    model = make_trajectory_model(weights)
    assert isinstance(model, LeapModel)
    other = model.leaping(lag_fs=5000.0, settle=lambda x, _seed: x)
    assert (model.lag_fs, model.settle) == (None, None)
    assert other.lag_fs == 5000.0 and other.dt_range_fs[0] == 0.0
