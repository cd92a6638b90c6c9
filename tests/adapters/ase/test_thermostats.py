"""Every MD class of ASE between moves: goes on from where a move put the atoms, at the
moves' temperature, or is refused by name.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings

import ase.md
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import NoseHooverChainNVT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

from equidrift.adapters.ase.montecarlo import ProposalMonteCarlo
from equidrift.adapters.ase.thermostats import KNOWN, REFUSED, renew, samples_canonically
from equidrift.errors import InputError
from equidrift.montecarlo.densities import Uniform
from equidrift.montecarlo.proposals import TorsionProposer
from tests.toy_chain import START, TREE

UNIFORM = TorsionProposer(TREE, Uniform(2), block_size=1)
PAIRS = np.array([(i, j) for i in range(5) for j in range(i)])
REST = np.linalg.norm(START[PAIRS[:, 0]] - START[PAIRS[:, 1]], axis=1)
STIFF = np.array([abs(i - j) <= 2 for i, j in PAIRS.tolist()])


class Springs(Calculator):
    """Bonds and angles of the chain as springs; the torsions turn freely."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x, (i, j) = self.atoms.positions, PAIRS[STIFF].T
        arms = x[i] - x[j]
        length = np.linalg.norm(arms, axis=1)
        pull = 20.0 * (length - REST[STIFF])
        forces = np.zeros_like(x)
        np.add.at(forces, i, -(pull / length)[:, None] * arms)
        np.add.at(forces, j, (pull / length)[:, None] * arms)
        energy = float(0.5 * (pull * (length - REST[STIFF])).sum())
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces,
            "stress": np.zeros(6),
        }


def atoms_at(kelvin: float = 300) -> Atoms:
    atoms = Atoms("C5", START, cell=[30, 30, 30], pbc=True)
    atoms.calc = Springs()
    MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=np.random.default_rng(0))
    return atoms


def classes() -> dict[str, type]:
    """Every public MD class that ASE has, abstract ones aside."""
    found: dict[str, type] = {}
    for module in pkgutil.iter_modules(ase.md.__path__):
        members = inspect.getmembers(
            importlib.import_module(f"ase.md.{module.name}"), inspect.isclass
        )
        found |= {
            name: kind
            for name, kind in members
            if issubclass(kind, MolecularDynamics) and kind is not MolecularDynamics
        }
    return found


T, FS = 300.0, units.fs
ARGUMENTS = {
    "VelocityVerlet": {},
    "Andersen": {"temperature_K": T, "andersen_prob": 0.01},
    "Bussi": {"temperature_K": T, "taut": 50 * FS},
    "Langevin": {"temperature_K": T, "friction": 0.01 / FS, "fixcm": False},
    "LangevinBAOAB": {"temperature_K": T, "T_tau": 100 * FS},
    "NoseHooverChainNVT": {"temperature_K": T, "tdamp": 50 * FS},
    "IsotropicMTKNPT": {
        "temperature_K": T,
        "tdamp": 50 * FS,
        "pdamp": 500 * FS,
        "pressure_au": 0.0,
    },
    "MTKNPT": {"temperature_K": T, "tdamp": 50 * FS, "pdamp": 500 * FS, "pressure_au": 0.0},
    "MaskedMTKNPT": {
        "temperature_K": T,
        "tdamp": 50 * FS,
        "pdamp": 500 * FS,
        "pressure_au": 0.0,
        "mask": (True, True, True),
    },
    "NVTBerendsen": {"temperature_K": T, "taut": 50 * FS},
    "NPTBerendsen": {"temperature_K": T, "pressure_au": 0.0, "compressibility_au": 1e-4},
    "Inhomogeneous_NPTBerendsen": {
        "temperature_K": T,
        "pressure_au": 0.0,
        "compressibility_au": 1e-4,
    },
    "MelchionnaNPT": {"temperature_K": T, "externalstress": 0.0, "ttime": 50 * FS, "pfactor": 1e3},
    "NPT": {"temperature_K": T, "externalstress": 0.0, "ttime": 50 * FS, "pfactor": 1e3},
}


def dynamics_of(name: str, atoms: Atoms, **changes: float) -> MolecularDynamics:
    options = {**ARGUMENTS[name], **changes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return classes()[name](atoms, timestep=1 * FS, **options)


def test_every_class_of_ase_is_known_or_refused_by_name():
    names = set(classes())
    assert "Langevin" in names and len(names) >= 14
    assert not set(KNOWN) & set(REFUSED)
    assert names <= set(KNOWN) | set(REFUSED), "ASE has a class that nobody has checked"
    assert names - {"SwitchLangevin"} == set(ARGUMENTS), (
        "the contract below must hold for every class"
    )


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_dynamics_go_on_from_where_a_move_put_the_atoms(name):
    atoms = atoms_at()
    mc = ProposalMonteCarlo(
        atoms, UNIFORM, T, 1, dynamics=dynamics_of(name, atoms), md_steps=2, seed=3
    )
    turned = 0
    for _ in range(25):
        before, accepted = TREE.torsions(atoms.positions), mc.statistics.accepted
        mc.step()
        mc.nsteps += 1
        moved = mc.statistics.accepted > accepted
        after = TREE.torsions(atoms.positions)
        mc.dynamics.run(1)
        drift = np.abs((TREE.torsions(atoms.positions) - after + np.pi) % (2 * np.pi) - np.pi)
        assert drift.max() < 0.2
        turned += moved and np.abs(np.sin((after - before) / 2)).max() > 0.5
    assert turned > 3


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_step_after_a_move_is_that_of_dynamics_made_there(name):
    """The oracle is the same class made anew where the atoms are: a copy of positions,
    momenta or forces shows at once.
    """
    atoms = atoms_at()
    atoms.positions[3] += 0.05  # so that forces differ between the places
    options = (
        {}
        if name in ("VelocityVerlet", "NoseHooverChainNVT") or "NPT" in name
        else {"rng": np.random.default_rng(7)}
    )
    mc = ProposalMonteCarlo(
        atoms, UNIFORM, T, 3, dynamics=dynamics_of(name, atoms, **options), md_steps=1, seed=3
    )
    start = atoms.get_positions()
    atoms.set_positions(TREE.set_torsions(start, [2.0, -1.0]))
    renew(mc.dynamics)
    other = Atoms(
        "C5", atoms.get_positions(), cell=[30, 30, 30], pbc=True, momenta=atoms.get_momenta()
    )
    other.calc = Springs()
    fresh = dynamics_of(name, other, **({"rng": np.random.default_rng(7)} if options else {}))
    mc.dynamics.run(1)
    fresh.run(1)
    assert np.abs(atoms.get_positions() - other.get_positions()).max() < 1e-9
    assert np.abs(atoms.get_momenta() - other.get_momenta()).max() < 1e-7


@pytest.mark.parametrize("name", sorted(set(ARGUMENTS) - {"VelocityVerlet"}))
def test_a_thermostat_at_another_temperature_is_refused(name):
    atoms = atoms_at()
    changed = dynamics_of(name, atoms, temperature_K=600.0)
    expected = "the dynamics keep 600.0 K" if name in KNOWN else "cannot run between exact moves"
    with pytest.raises(InputError, match=expected):
        ProposalMonteCarlo(atoms, UNIFORM, T, dynamics=changed)


def test_a_temperature_changed_on_the_way_is_refused():
    atoms = atoms_at()
    dynamics = dynamics_of("Langevin", atoms)
    mc = ProposalMonteCarlo(atoms, UNIFORM, T, dynamics=dynamics, md_steps=1)
    mc.run(1)
    dynamics.set_temperature(temperature_K=400)
    with pytest.raises(InputError, match=r"the dynamics keep 400\.0 K"):
        mc.run(1)


@pytest.mark.parametrize("name", sorted(set(ARGUMENTS) - set(KNOWN)))
def test_dynamics_that_do_not_sample_are_refused_or_said_to_be_inexact(name):
    atoms = atoms_at()
    dynamics = dynamics_of(name, atoms)
    with pytest.raises(InputError, match=f"{name} cannot run between exact moves"):
        ProposalMonteCarlo(atoms, UNIFORM, T, dynamics=dynamics)
    if "Berendsen" in name:
        mc = ProposalMonteCarlo(atoms, UNIFORM, T, dynamics=dynamics, md_steps=1, exact=False)
        assert mc.todict()["exact"] is False


def test_langevin_that_holds_the_centre_of_mass_is_refused_in_exact_mode():
    atoms = atoms_at()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dynamics = Langevin(
            atoms, FS, temperature_K=T, friction=0.01 / FS, rng=np.random.default_rng(0)
        )
    with pytest.raises(InputError, match=r"fixcm=True it does not sample.*fixcm=False"):
        ProposalMonteCarlo(atoms, UNIFORM, T, dynamics=dynamics)
    assert (
        ProposalMonteCarlo(atoms, UNIFORM, T, dynamics=dynamics, exact=False).todict()["exact"]
        is False
    )
    assert samples_canonically(None)


class Stubborn(VelocityVerlet):
    """A user's class that keeps its own positions, and that nobody told us of."""

    def step(self, forces=None):
        self.own = getattr(self, "own", self.atoms.get_positions()) + 1e-4
        self.atoms.set_positions(self.own)


class Unknown(MolecularDynamics):
    def step(self):
        self.atoms.positions += 1e-4


def test_classes_nobody_has_checked_are_refused_and_dynamics_that_undo_moves_found_out():
    atoms = atoms_at()
    with pytest.raises(InputError, match="Unknown cannot run between exact moves: it is not known"):
        ProposalMonteCarlo(atoms, UNIFORM, T, dynamics=Unknown(atoms, FS))
    mc = ProposalMonteCarlo(atoms, UNIFORM, T, 5, dynamics=Stubborn(atoms, FS), md_steps=2)
    with pytest.raises(InputError, match="Stubborn went back to where it was"):
        mc.run(10)


@pytest.mark.long
def test_nose_hoover_chains_with_moves_sample_the_free_rotor():
    """Torsions without energy are uniform, and the springs have kT each, as quadrature
    of a Gaussian gives.
    """
    atoms = atoms_at()
    dynamics = NoseHooverChainNVT(atoms, FS, temperature_K=T, tdamp=20 * FS)
    mc, phi = ProposalMonteCarlo(atoms, UNIFORM, T, 2, dynamics=dynamics, md_steps=5, seed=1), []
    mc.attach(lambda: phi.append(TREE.torsions(atoms.positions)))
    mc.run(300)
    assert np.abs(np.exp(1j * np.array(phi)).mean(axis=0)).max() < 4 / np.sqrt(len(phi) / 2)
