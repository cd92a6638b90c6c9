"""Equilibrium frames of alanine dipeptide with forces, and a long reference of its
(phi, psi): MD with exact torsion moves.

    python tools/make_boltzmann_data.py OUT.npz --frames 20000 --seed 1 --histogram
    FRAMES.npz [--basin | --reference]

`openmmtools.testsystems.AlanineDipeptideImplicit` (ff96 + OBC) at 300 K without
constraints. Every cycle runs 40 steps of 1 fs (LangevinMiddle, 5 / ps), draws 8 (phi,
psi) from a density q, turns the molecule rigidly to each (Jacobian 1), and takes the
next state from these and the present one with odds exp(-U / kT) / q: a move that keeps
the Boltzmann distribution (Tjelmeland, NTNU preprint 2004), and whose odds, averaged
over cycles, are an unbiased histogram of far less variance than the frames' own. q is
half the smoothed histogram of FRAMES.npz (key R, in A) and half its part with 0 < phi <
2 rad, the rare basin; it changes the speed, not the result.

--basin stays in the rare basin, for training frames there: a segment of MD that leaves
it is taken back. --reference runs a chain in either basin, and turns states of each
into the other by draws from the histogram there; the works of both directions give the
free energy between the basins by Bennett's ratio (J. Comput. Phys. 1976, 22, 245). It
writes OUT.json, small enough for a model's card.

Velocities are drawn anew every cycle, by one step of infinite friction after the draw:
the integrator's middle step is where a fresh velocity leaves its positions'
distribution alone, while velocities drawn at a whole step heat a mode of frequency w by
(w dt / 2)^2.

Writes positions_A, forces_eV_A, energies_eV, numbers, bonds, names, resnames,
temperature_K, rare (frames,) the odds of the rare basin at every cycle, and
ramachandran (64, 64), the summed odds by the two `torsions` (2, 4), phi and psi up to a
half turn, from -pi to pi.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import openmm
from openmm import unit
from openmmtools.testsystems import AlanineDipeptideImplicit

from equidrift.adapters.openmm.sampler import topology_bonds
from equidrift.montecarlo.densities import Histogram
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV, NM_PER_A

TEMPERATURE_K, STEP_FS, FRICTION_PER_PS = 300.0, 1.0, 5.0
STEPS, POOL, BURN_IN, BINS = 40, 8, 100, 64
INFINITE_PER_PS = 1e7  # friction of a step that forgets its velocity
QUANTILES = 200
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

    def __init__(self, density: Histogram, seed: int, basin: str = ""):
        system = AlanineDipeptideImplicit(constraints=None)
        atoms = list(system.topology.atoms())
        self.numbers, self.bonds = (
            np.array([atom.element.atomic_number for atom in atoms]),
            topology_bonds(system.topology),
        )
        self.names, self.residues = zip(
            *((atom.name, atom.residue.name) for atom in atoms), strict=True
        )
        self.tree = TorsionTree(len(atoms), self.bonds, PHI_PSI, self.numbers)
        self.density, self.basin, self.rng = density, basin, np.random.default_rng(seed)
        self.integrator = openmm.LangevinMiddleIntegrator(
            TEMPERATURE_K, FRICTION_PER_PS / unit.picosecond, STEP_FS * unit.femtosecond
        )
        self.integrator.setRandomNumberSeed(seed)
        self.context = openmm.Context(
            system.system, self.integrator, openmm.Platform.getPlatformByName("CPU")
        )
        start = system.positions.value_in_unit(unit.angstrom)
        if basin == "rare":  # the side chain turned into it, then relaxed
            self.place(self.tree.set_torsions(start, np.array([1.0, -0.8])))
            openmm.LocalEnergyMinimizer.minimize(self.context, 10, 50)
            start = self.positions()
        self.place(start)
        self.odds, self.ramachandran = [], np.zeros((BINS, BINS))
        self.other: Histogram | None = None  # the density of the other basin
        self.works: list[np.ndarray] = []  # (POOL,) a cycle, kT, of turning into it

    def place(self, positions_A: np.ndarray) -> None:
        """Put the atoms there."""
        self.context.setPositions(positions_A * NM_PER_A)

    def positions(self) -> np.ndarray:
        """Where the atoms are, in A."""
        state = self.context.getState(positions=True)
        return np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))

    def energy(self) -> float:
        """The potential energy in eV."""
        energy = self.context.getState(energy=True).getPotentialEnergy()
        return float(energy.value_in_unit(unit.kilojoule_per_mole)) / KJ_MOL_PER_EV

    def inside(self, phi: np.ndarray) -> np.ndarray:
        """Whether phi (..., 2) is where this chain may be."""
        return (
            np.ones(phi.shape[:-1], bool) if not self.basin else rare(phi) == (self.basin == "rare")
        )

    def turned(
        self, x: np.ndarray, phi: np.ndarray, density: Histogram
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x and copies turned to draws of a density: positions, torsions, and log of
        exp(-U / kT) / q, the own q for x itself.
        """
        new = density.sample(POOL, self.rng)
        pool, angles = (
            np.concatenate([x[None], self.tree.set_torsions(x, new)]),
            np.vstack([phi, new]),
        )
        energies = []
        for member in pool:
            self.place(member)
            energies.append(self.energy())
        log_q = np.concatenate([self.density.log_prob(phi[None]), density.log_prob(new)])
        return pool, angles, -np.array(energies) / (BOLTZMANN_EV_PER_K * TEMPERATURE_K) - log_q

    def cycle(self, count: bool) -> None:
        """One cycle; `count` adds its odds to the histogram."""
        before = self.positions() if self.basin else None
        self.context.setVelocitiesToTemperature(TEMPERATURE_K, int(self.rng.integers(1, 2**31 - 1)))
        self.integrator.setFriction(INFINITE_PER_PS)
        self.integrator.step(1)
        self.integrator.setFriction(FRICTION_PER_PS)
        self.integrator.step(STEPS - 1)
        x = self.positions()
        phi = self.tree.torsions(x)
        if before is not None and not self.inside(phi):
            x, phi = before, self.tree.torsions(before)
        pool, angles, log_odds = self.turned(x, phi, self.density)
        log_odds[~self.inside(angles)] = -np.inf
        odds = np.exp(log_odds - log_odds.max())
        odds /= odds.sum()
        chosen = pool[self.rng.choice(len(pool), p=odds)]
        if count:
            if self.other is not None:
                _, ends, there = self.turned(x, phi, self.other)
                there[self.inside(ends)] = -np.inf
                self.works.append(log_odds[0] - there[1:])
            self.odds.append(odds[rare(angles)].sum())
            cells = np.floor((angles + np.pi) / (2 * np.pi) * BINS).astype(int) % BINS
            np.add.at(self.ramachandran, tuple(cells.T), odds)
        self.place(chosen)


def split(density: Histogram) -> dict[str, Histogram]:
    """The density in either basin: every cell that the basin overlaps."""
    edges = np.arange(density.bins + 1) / density.bins * 2 * np.pi - np.pi
    inside = (edges[1:] > RARE[0]) & (edges[:-1] < RARE[1])
    outside = (edges[:-1] < RARE[0]) | (edges[1:] > RARE[1])
    with np.errstate(divide="ignore"):
        return {
            name: Histogram(np.log(density.table * part[:, None]))
            for name, part in (("rare", inside), ("common", outside))
        }


def bennett(forward: np.ndarray, backward: np.ndarray) -> float:
    """Free energy (kT) from works of both directions, equally many."""
    low, high = -50.0, 50.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        surplus = (1 / (1 + np.exp(forward - middle))).sum() - (
            1 / (1 + np.exp(backward + middle))
        ).sum()
        low, high = (low, middle) if surplus > 0 else (middle, high)
    return 0.5 * (low + high)


def reference(args: argparse.Namespace, phi: np.ndarray) -> None:
    """Both basins' chains, and what the benchmark compares with."""
    density = split(proposal_density(phi))
    chains = {
        name: Chain(density[name], args.seed + k, name) for k, name in enumerate(("common", "rare"))
    }
    chains["common"].other, chains["rare"].other = density["rare"], density["common"]
    energies: dict[str, list[float]] = {name: [] for name in chains}
    begun = time.process_time()
    for k in range(-BURN_IN, args.frames):
        for name, chain in chains.items():
            chain.cycle(k >= 0)
            if k >= 0:
                energies[name].append(chain.energy())
        if (k + 1) % 500 == 0 and k > 0:
            write_reference(args, chains, energies)
            found = json.loads(args.out.read_text())
            print(
                f"{k + 1} cycles, {time.process_time() - begun:.0f} s of CPU: "
                f"{found['delta_F_kT']:.4f} kT",
                flush=True,
            )


def write_reference(
    args: argparse.Namespace, chains: dict[str, Chain], energies: dict[str, list[float]]
) -> None:
    """OUT.json."""
    works = [np.array(chains[name].works) for name in ("common", "rare")]
    delta = bennett(*works)
    n, rng = len(works[0]) // 20 * 20, np.random.default_rng(0)
    blocks = [work[:n].reshape(20, -1) for work in works]
    drawn = [
        bennett(*(block[rng.integers(20, size=20)].ravel() for block in blocks)) for _ in range(200)
    ]
    share = np.exp(-delta) / (1 + np.exp(-delta))
    mass = {"common": 1 - share, "rare": share}
    table = sum(
        mass[name] * chain.ramachandran / chain.ramachandran.sum() for name, chain in chains.items()
    )
    weights = np.concatenate(
        [np.full(len(energies[name]), mass[name] / len(energies[name])) for name in energies]
    )
    values = np.concatenate([energies[name] for name in energies]) / (
        BOLTZMANN_EV_PER_K * TEMPERATURE_K
    )
    order = np.argsort(values)
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    quantiles = np.interp(at, np.cumsum(weights[order]) - 0.5 * weights[order], values[order])
    cells = np.flatnonzero(table.ravel() > 1e-7)
    found = {
        "cycles": len(works[0]),
        "seed": args.seed,
        "delta_F_kT": delta,
        "delta_F_stderr_kT": float(np.std(drawn)),
        "torsions": chains["rare"].tree.atoms.tolist(),
        "energy_quantiles_kT": [round(v, 3) for v in quantiles.tolist()],
        "bins": BINS,
        "cells": cells.tolist(),
        "shares": [float(f"{v:.3g}") for v in table.ravel()[cells]],
    }
    args.out.write_text(json.dumps(found))


def main() -> None:
    """Run the chains and write them, or the reference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=20000)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--histogram", type=Path, required=True)
    parser.add_argument("--basin", action="store_true")
    parser.add_argument("--reference", action="store_true")
    args = parser.parse_args()
    with np.load(args.histogram, allow_pickle=False) as file:
        frames = file["R"].astype(np.float64)
    phi = TorsionTree(
        22,
        topology_bonds(AlanineDipeptideImplicit().topology),
        PHI_PSI,
        file_numbers(args.histogram),
    ).torsions(frames)
    if args.reference:
        reference(args, phi)
    else:
        collect(args, phi)


def collect(args: argparse.Namespace, phi: np.ndarray) -> None:
    """Frames with forces of one chain."""
    chain = Chain(proposal_density(phi), args.seed, "rare" if args.basin else "")
    positions, forces, energies = [], [], []
    begun = time.process_time()
    for k in range(-BURN_IN, args.frames):
        chain.cycle(k >= 0)
        if k < 0:
            continue
        state = chain.context.getState(positions=True, forces=True, energy=True)
        positions.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        kj_mol_nm = state.getForces(asNumpy=True).value_in_unit(
            unit.kilojoule_per_mole / unit.nanometer
        )
        forces.append(kj_mol_nm * NM_PER_A / KJ_MOL_PER_EV)
        energies.append(
            state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / KJ_MOL_PER_EV
        )
        if (k + 1) % 2000 == 0 or k + 1 == args.frames:
            arrays = {
                "positions_A": np.array(positions),
                "forces_eV_A": np.array(forces, np.float32),
                "energies_eV": np.array(energies),
            }
            system = {
                "numbers": chain.numbers,
                "bonds": chain.bonds,
                "names": chain.names,
                "resnames": chain.residues,
            }
            system |= {"torsions": chain.tree.atoms}
            np.savez(
                args.out,
                **arrays,
                **system,
                temperature_K=TEMPERATURE_K,
                rare=chain.odds,
                ramachandran=chain.ramachandran,
            )
            odds, own = np.array(chain.odds), rare(chain.tree.torsions(arrays["positions_A"]))
            blocks = odds[: len(odds) // 20 * 20].reshape(20, -1).mean(axis=1)
            print(
                f"{k + 1} frames, {time.process_time() - begun:.0f} s of CPU, P(rare) "
                f"{odds.mean():.5f} +- {blocks.std() / 19**0.5:.5f} "
                f"(own frames {own.mean():.5f}), entered or left {int((np.diff(own) != 0).sum())} "
                "times",
                flush=True,
            )


def file_numbers(path: Path) -> np.ndarray:
    """Atomic numbers of the frames."""
    with np.load(path, allow_pickle=False) as file:
        return np.array(file["z"])


if __name__ == "__main__":
    main()
