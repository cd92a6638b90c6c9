"""Small systems whose torsion density is known, for every host of the exact moves."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import openmm
from openmm import app

from equidrift.adapters.openmm.topology import to_topology
from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.mmff import mmff_system
from equidrift.montecarlo.densities import Uniform, WrappedMixture
from equidrift.montecarlo.proposals import TorsionProposer
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K

BUTANE = Molecule.from_smiles("CCCC")
TREE = TorsionTree.of(BUTANE)
UNIFORM = TorsionProposer(TREE, Uniform(1), name="uniform")
LOPSIDED = TorsionProposer(
    TREE, WrappedMixture([0.6, 0.4], [[np.pi], [1.0]], [[0.5], [1.2]]), name="lopsided"
)
KT_EV = BOLTZMANN_EV_PER_K * 300
BINS = 12


@lru_cache
def start_A() -> np.ndarray:
    """A minimum of butane in MMFF94."""
    return ETKDGMMFF().sample(BUTANE, np.array([1]))[0]


def simulation(
    constraints: str | None = None,
    *,
    system: openmm.System | None = None,
    seed: int = 1,
    timestep_ps: float = 0.001,
) -> app.Simulation:
    """Butane at 300 K on the Reference platform."""
    integrator = openmm.LangevinMiddleIntegrator(300, 1, timestep_ps)
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatform("Reference")
    system = mmff_system(BUTANE, constraints=constraints) if system is None else system
    made = app.Simulation(to_topology(BUTANE), system, integrator, platform)
    made.context.setPositions(start_A() * 0.1)
    made.context.applyConstraints(1e-6)
    made.context.setVelocitiesToTemperature(300, seed)
    return made


def rigid_density(
    energy,
    positions_A: np.ndarray,
    tree: TorsionTree = TREE,
    kT_eV: float = KT_EV,
    points: int = 360,
) -> np.ndarray:
    """Probability of each of `BINS` bins of the one torsion while everything else
    stands still, by quadrature.
    """
    grid = (np.arange(points) + 0.5) / points * 2 * np.pi - np.pi
    u = np.array([energy(x) for x in tree.set_torsions(positions_A, grid[:, None])]) / kT_eV
    weight = np.exp(u.min() - u).reshape(BINS, -1).sum(axis=1)
    return weight / weight.sum()


def p_value(phi: np.ndarray, expected: np.ndarray) -> float:
    """Of a chi-square test of independent angles against probabilities of bins; bins
    that expect little are joined.
    """
    from scipy import stats

    counts, _ = np.histogram(phi, BINS, (-np.pi, np.pi))
    rare = expected * len(phi) < 8
    merge = lambda a: np.append(a[~rare], a[rare].sum()) if a[rare].sum() > 0 else a[~rare]  # noqa: E731
    wanted = merge(expected * len(phi))
    return float(
        stats.chisquare(
            merge(counts.astype(float))[: len(wanted)], wanted * counts.sum() / wanted.sum()
        ).pvalue
    )
