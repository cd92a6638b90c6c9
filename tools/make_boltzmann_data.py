"""Equilibrium frames of alanine dipeptide with forces, and a long reference of its (phi, psi): MD with exact torsion moves.

    python tools/make_boltzmann_data.py OUT.npz --frames 20000 --seed 1 --histogram FRAMES.npz [--basin]

`openmmtools.testsystems.AlanineDipeptideImplicit` (ff96 + OBC) at 300 K without constraints. Every cycle runs 40 steps of 1 fs
(LangevinMiddle, 5 / ps), draws 8 (phi, psi) from a density q, turns the molecule rigidly to each (Jacobian 1), and takes the next state
from these and the present one with odds exp(-U / kT) / q: a move that keeps the Boltzmann distribution (Tjelmeland, NTNU preprint 2004),
and whose odds, averaged over cycles, are an unbiased histogram of far less variance than the frames' own. q is half the smoothed
histogram of FRAMES.npz (key R, in A) and half its part with 0 < phi < 2 rad, the rare basin; it changes the speed, not the result.

--basin stays in the rare basin, for training frames there: a segment of MD that leaves it is taken back.

Writes positions_A, forces_eV_A, energies_eV, numbers, bonds, names, resnames, temperature_K, rare (frames,) the odds of the rare basin at
every cycle, and ramachandran (64, 64), the summed odds by the two `torsions` (2, 4), phi and psi up to a half turn, from -pi to pi.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import openmm
from openmm import unit
from openmmtools.testsystems import AlanineDipeptideImplicit

from equidrift.adapters.openmm_sampler import topology_bonds
from equidrift.proposals import Histogram
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV, NM_PER_A

TEMPERATURE_K, STEP_FS, FRICTION_PER_PS = 300.0, 1.0, 5.0
STEPS, POOL, BURN_IN, BINS = 40, 8, 100, 64
PHI_PSI = np.array([[6, 8], [8, 14]])  # N-CA and CA-C
RARE = (0.0, 2.0)  # of phi, rad


def rare(phi: np.ndarray) -> np.ndarray:
    """Whether phi (..., 2) is in the rare basin."""
    return (phi[..., 0] > RARE[0]) & (phi[..., 0] < RARE[1])


def proposal_density(phi: np.ndarray) -> Histogram:
    """Half of the histogram of (phi, psi) and half of its part in the rare basin."""
    table = Histogram.fit(phi, floor=0.05).table
    centres = (np.arange(len(table)) + 0.5) / len(table) * 2 * np.pi - np.pi
    part = table * ((centres > RARE[0]) & (centres < RARE[1]))[:, None]
    return Histogram(np.log(0.5 * table + 0.5 * part / part.sum()))


class Chain:
    """One chain: MD, then a choice among turned copies."""

    def __init__(self, density: Histogram, seed: int, basin: bool):
        system = AlanineDipeptideImplicit(constraints=None)
        atoms = list(system.topology.atoms())
        self.numbers, self.bonds = np.array([atom.element.atomic_number for atom in atoms]), topology_bonds(system.topology)
        self.names, self.residues = zip(*((atom.name, atom.residue.name) for atom in atoms))
        self.tree = TorsionTree(len(atoms), self.bonds, PHI_PSI, self.numbers)
        self.density, self.basin, self.rng = density, basin, np.random.default_rng(seed)
        self.integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE_K, FRICTION_PER_PS / unit.picosecond, STEP_FS * unit.femtosecond)
        self.integrator.setRandomNumberSeed(seed)
        self.context = openmm.Context(system.system, self.integrator, openmm.Platform.getPlatformByName("CPU"))
        start = system.positions.value_in_unit(unit.angstrom)
        if basin:  # the side chain turned into it, then relaxed
            self.place(self.tree.set_torsions(start, np.array([1.0, -0.8])))
            openmm.LocalEnergyMinimizer.minimize(self.context, 10, 50)
            start = self.positions()
        self.place(start)
        self.odds, self.ramachandran = [], np.zeros((BINS, BINS))

    def place(self, positions_A: np.ndarray) -> None:
        self.context.setPositions(positions_A * NM_PER_A)

    def positions(self) -> np.ndarray:
        return np.array(self.context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.angstrom))

    def energy(self) -> float:
        return float(self.context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)) / KJ_MOL_PER_EV

    def cycle(self, count: bool) -> None:
        """One cycle; `count` adds its odds to the histogram."""
        before = self.positions() if self.basin else None
        self.context.setVelocitiesToTemperature(TEMPERATURE_K, int(self.rng.integers(1, 2**31 - 1)))
        self.integrator.step(STEPS)
        x = self.positions()
        phi = self.tree.torsions(x)
        if before is not None and not rare(phi):
            x, phi = before, self.tree.torsions(before)
        new = self.density.sample(POOL, self.rng)
        pool, angles = np.concatenate([x[None], self.tree.set_torsions(x, new)]), np.vstack([phi, new])
        energies = []
        for member in pool:
            self.place(member)
            energies.append(self.energy())
        log_odds = -np.array(energies) / (BOLTZMANN_EV_PER_K * TEMPERATURE_K) - self.density.log_prob(angles)
        if self.basin:
            log_odds[~rare(angles)] = -np.inf
        odds = np.exp(log_odds - log_odds.max())
        odds /= odds.sum()
        self.place(pool[self.rng.choice(len(pool), p=odds)])
        if count:
            self.odds.append(odds[rare(angles)].sum())
            cells = np.floor((angles + np.pi) / (2 * np.pi) * BINS).astype(int) % BINS
            np.add.at(self.ramachandran, tuple(cells.T), odds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=20000)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--histogram", type=Path, required=True)
    parser.add_argument("--basin", action="store_true")
    args = parser.parse_args()
    with np.load(args.histogram, allow_pickle=False) as file:
        frames = file["R"].astype(np.float64)
    phi = TorsionTree(22, topology_bonds(AlanineDipeptideImplicit().topology), PHI_PSI, file_numbers(args.histogram)).torsions(frames)
    chain = Chain(proposal_density(phi), args.seed, args.basin)
    positions, forces, energies = [], [], []
    begun = time.process_time()
    for k in range(-BURN_IN, args.frames):
        chain.cycle(k >= 0)
        if k < 0:
            continue
        state = chain.context.getState(positions=True, forces=True, energy=True)
        positions.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        kj_mol_nm = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        forces.append(kj_mol_nm * NM_PER_A / KJ_MOL_PER_EV)
        energies.append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / KJ_MOL_PER_EV)
        if (k + 1) % 2000 == 0 or k + 1 == args.frames:
            arrays = {"positions_A": np.array(positions), "forces_eV_A": np.array(forces, np.float32), "energies_eV": np.array(energies)}
            system = {"numbers": chain.numbers, "bonds": chain.bonds, "names": chain.names, "resnames": chain.residues}
            system |= {"torsions": chain.tree.atoms}
            np.savez(args.out, **arrays, **system, temperature_K=TEMPERATURE_K, rare=chain.odds, ramachandran=chain.ramachandran)
            odds, own = np.array(chain.odds), rare(chain.tree.torsions(arrays["positions_A"]))
            blocks = odds[: len(odds) // 20 * 20].reshape(20, -1).mean(axis=1)
            print(f"{k + 1} frames, {time.process_time() - begun:.0f} s of CPU, P(rare) {odds.mean():.5f} +- {blocks.std() / 19**0.5:.5f} "
                  f"(own frames {own.mean():.5f}), entered or left {int((np.diff(own) != 0).sum())} times", flush=True)


def file_numbers(path: Path) -> np.ndarray:
    """Atomic numbers of the frames."""
    with np.load(path, allow_pickle=False) as file:
        return np.array(file["z"])


if __name__ == "__main__":
    main()
