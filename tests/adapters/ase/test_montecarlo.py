"""`ProposalMonteCarlo` in ASE: exact for any calculator, observers and files as in
ASE's MD, momenta, and every refusal.
"""

from __future__ import annotations

import io

import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import Calculator, SCFError, all_changes
from ase.constraints import FixAtoms, FixBondLengths, FixedPlane
from ase.md.langevin import Langevin

from equidrift.adapters.ase.atoms import to_atoms
from equidrift.adapters.ase.calculators import MMFF
from equidrift.adapters.ase.montecarlo import ProposalMonteCarlo
from equidrift.errors import InexactProposalError, InputError, InputTypeError
from equidrift.records import Ensemble, Proposal
from tests.sampling import BUTANE, LOPSIDED, TREE, UNIFORM, p_value, rigid_density, start_A


class TorsionEnergy(Calculator):
    """0.1 eV cos(3 phi) + 0.04 eV cos(phi) of butane; fails or gives NaN where told to.

    It has no free_energy, as some have not.
    """

    implemented_properties = ["energy"]  # noqa: RUF012

    def __init__(self, trouble=None, above: float = 2.0):
        super().__init__()
        self.trouble, self.above = trouble, above

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        phi = float(TREE.torsions(self.atoms.positions)[0])
        if self.trouble is not None and phi > self.above:
            if isinstance(self.trouble, type):
                raise self.trouble("no convergence")
            self.results = {"energy": np.nan}
        else:
            self.results = {"energy": 0.1 * np.cos(3 * phi) + 0.04 * np.cos(phi)}


def butane(calculator=None):
    (atoms,) = to_atoms(Ensemble(BUTANE, start_A()[None]))
    atoms.calc = calculator or TorsionEnergy()
    return atoms


@pytest.mark.long
def test_moves_alone_sample_the_torsion_of_the_calculator():
    mc = ProposalMonteCarlo(butane(), LOPSIDED, 300, n_proposals=15, seed=2)
    phi = []
    mc.attach(lambda: phi.append(TREE.torsions(mc.atoms.positions)[0]))
    mc.run(250)
    probe = TorsionEnergy()

    def energy(x: np.ndarray) -> float:
        atoms = butane(probe)
        atoms.positions = x
        return atoms.get_potential_energy()

    assert len(phi) == 251 and p_value(np.array(phi[1:]), rigid_density(energy, start_A())) > 0.01
    assert mc.energy_eV == pytest.approx(mc.atoms.get_potential_energy(), abs=1e-9)


@pytest.mark.parametrize("trouble", [np.nan, SCFError, ZeroDivisionError])
def test_energies_that_fail_are_rejected_and_counted(trouble):
    atoms = butane(TorsionEnergy(trouble, above=0.0))
    atoms.positions = TREE.set_torsions(start_A(), [-1.0])
    mc = ProposalMonteCarlo(atoms, UNIFORM, 3000, n_proposals=60, seed=1)
    mc.run(2)
    assert 30 < mc.statistics.not_finite < 90 and TREE.torsions(mc.atoms.positions)[0] < 0
    assert mc.statistics.accepted > 5


def test_dynamics_between_moves_observers_log_and_trajectory(tmp_path):
    atoms, log, seen = butane(MMFF()), io.StringIO(), []
    dynamics = Langevin(
        atoms,
        1 * units.fs,
        temperature_K=300,
        friction=0.02 / units.fs,
        fixcm=False,
        rng=np.random.default_rng(0),
    )
    mc = ProposalMonteCarlo(
        atoms,
        UNIFORM,
        300,
        4,
        dynamics=dynamics,
        md_steps=3,
        logfile=log,
        trajectory=str(tmp_path / "a.traj"),
        loginterval=2,
    )
    mc.attach(lambda: seen.append(mc.nsteps), interval=3)
    flags = list(mc.irun(6))
    assert flags == [False] * 6 + [True] and seen == [0, 3, 6] and dynamics.nsteps == 18
    assert [line.split()[0] for line in log.getvalue().splitlines()] == ["step", "0", "2", "4", "6"]
    images = ase.io.read(tmp_path / "a.traj", ":")
    assert len(images) == 4 and images[-1].get_potential_energy() == pytest.approx(
        mc.energy_eV, abs=1e-6
    )
    assert mc.run(1) and mc.nsteps == 7
    assert set(mc.statistics.seconds) == {"dynamics", "proposals", "energies"}


def test_momenta_are_drawn_anew_after_accepted_moves_only():
    atoms = butane(TorsionEnergy())
    atoms.set_momenta(np.ones((len(atoms), 3)))
    mc, changed = ProposalMonteCarlo(atoms, UNIFORM, 300, 1, seed=0), []
    for _ in range(40):
        before, accepted = atoms.get_momenta(), mc.statistics.accepted
        mc.run(1)
        changed.append(not np.array_equal(before, atoms.get_momenta()))
        assert changed[-1] is (mc.statistics.accepted > accepted)
    assert 0 < sum(changed) < 40


def test_same_seed_same_chain_and_it_can_be_taken_up():
    def run(
        steps: int, seed: int = 0, first: ProposalMonteCarlo | None = None
    ) -> ProposalMonteCarlo:
        mc = ProposalMonteCarlo(butane(), UNIFORM, 300, 3, seed=seed)
        if first is not None:
            mc.atoms.positions, mc.nsteps, mc.energy_eV = (
                first.atoms.positions,
                first.nsteps,
                first.energy_eV,
            )
        mc.run(steps)
        return mc

    whole, again = run(8), run(3, first=run(5))
    assert np.array_equal(whole.atoms.positions, again.atoms.positions)
    assert not np.array_equal(whole.atoms.positions, run(8, seed=1).atoms.positions)


def test_constraints_are_kept_or_refused():
    fixed = butane()
    fixed.set_constraint([FixAtoms([1, 2]), FixBondLengths([[0, 1], [2, 3]])])
    ProposalMonteCarlo(fixed, UNIFORM, 300).run(3)
    fixed.set_constraint(FixAtoms([0, 3]))
    with pytest.raises(InputError, match="held fixed"):
        ProposalMonteCarlo(fixed, UNIFORM, 300).run(1)
    fixed.set_constraint(FixedPlane(0, [0, 0, 1]))
    with pytest.raises(InputError, match="cannot keep the constraint FixedPlane"):
        ProposalMonteCarlo(fixed, UNIFORM, 300)


def test_refuses_a_molecule_split_across_the_cell():
    atoms = butane()
    atoms.set_cell([12, 12, 12])
    atoms.pbc = True
    ProposalMonteCarlo(atoms, UNIFORM, 300).run(1)
    atoms.positions[2:] += [12, 0, 0]
    with pytest.raises(InputError, match="split across the periodic box"):
        ProposalMonteCarlo(atoms, UNIFORM, 300).run(1)


def test_other_refusals():
    class NoDensity:
        name, exact = "generator", False

        def propose(self, positions_A, *, kT_eV, rng):
            return Proposal(positions_A, None)

    atoms = butane()
    with pytest.raises(InexactProposalError, match="no proposal density"):
        ProposalMonteCarlo(atoms, NoDensity(), 300)
    with pytest.raises(InputError, match="for 14 atoms, but there are 13"):
        ProposalMonteCarlo(_shorter(atoms), UNIFORM, 300)
    with pytest.raises(InputError, match="temperature_K must be positive"):
        ProposalMonteCarlo(atoms, UNIFORM, -1)
    with pytest.raises(InputError, match="n_proposals must be 1 or more"):
        ProposalMonteCarlo(atoms, UNIFORM, 300, 0)
    with pytest.raises(InputTypeError, match=r"must be an ase\.Atoms"):
        ProposalMonteCarlo("CCCC", UNIFORM, 300)
    with pytest.raises(InputError, match="no calculator"):
        bare = atoms.copy()
        ProposalMonteCarlo(bare, UNIFORM, 300)
    with pytest.raises(InputError, match="same atoms object"):
        other = butane(MMFF())
        ProposalMonteCarlo(
            atoms,
            UNIFORM,
            300,
            dynamics=Langevin(other, units.fs, temperature_K=300, friction=0.01),
        )
    with pytest.raises(InputError, match="the dynamics keep 400"):
        ProposalMonteCarlo(
            atoms,
            UNIFORM,
            300,
            dynamics=Langevin(atoms, units.fs, temperature_K=400, friction=0.01, fixcm=False),
        )
    with pytest.raises(InputError, match="energy is nan eV before any move"):
        ProposalMonteCarlo(butane(TorsionEnergy(np.nan, above=-4.0)), UNIFORM, 300)


def _shorter(atoms):
    cut = atoms[:13]
    cut.calc = TorsionEnergy()
    return cut
