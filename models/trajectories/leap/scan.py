"""MMFF94's energy along the circle of each torsion, as a leap reads it.

Everything else stands still while a bond turns, so that the energy knows the wells of a
torsion and the ways between them, if not how far neighbours give way: the network learns
from dynamics how much of it holds at a lag.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.graph import Graph
from equidrift.mmff import mmff_system
from equidrift.montecarlo.turns import Turn, TurnTerms
from equidrift.records import Molecule
from equidrift.registry import host_function
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K

Array = NDArray[np.float64]

BINS = 36  # of a circle
CHANNELS = 4  # log odds and the height of the way, by all pairs and by near ones
MOST_KT = 20.0  # higher energies count as that
NEAREST = 4  # bonds between the atoms of a near pair, at most
SCALE_KT = 10.0  # what the numbers are divided by


@dataclass(frozen=True, eq=False)
class TorsionScan:
    """The energies along the circles of a molecule's torsions.

    Attributes
    ----------
    tree : TorsionTree
        The m bonds.
    circles : tuple of list of Turn
        Of each bond by all terms, and by those of near pairs, which other torsions
        change less.
    """

    tree: TorsionTree
    circles: tuple[list[Turn], list[Turn]]

    @classmethod
    def of(cls, molecule: Molecule, tree: TorsionTree) -> TorsionScan:
        """In MMFF94.

        Raises
        ------
        MoleculeError
            If MMFF94 has no type for an atom.
        InputError
            For more atoms than a turn is read of.
        """
        terms = host_function("openmm", "turn_terms")(mmff_system(molecule))
        if terms is None:
            raise InputError(f"{molecule!r} is too large for leaps; run plain MD (--model md)")
        both = (terms, near_terms(terms, molecule))
        every, near = ([Turn(tree, k, each) for k in range(tree.n_torsions)] for each in both)
        return cls(tree, (every, near))

    def channels(self, x: Array, temperature_K: float, bins: int = BINS) -> Array:
        """What each bin of each torsion is told by (b, m, bins, CHANNELS) in conformations
        (b, n, 3): minus its energy, normalised to log odds, and minus the height of the
        lower way there from the present angle, by both sets of terms.
        """
        middle = -np.pi + (np.arange(bins) + 0.5) * 2 * np.pi / bins
        phi = self.tree.torsions(x)
        energy = np.empty((2, len(x), self.tree.n_torsions, bins + 1))
        for kind, circles in enumerate(self.circles):
            for k, circle in enumerate(circles):
                for b, one in enumerate(x):
                    angles = np.append(middle - phi[b, k], 0.0)
                    energy[kind, b, k] = circle.energies(one, angles)[0]
        energy /= BOLTZMANN_EV_PER_K * temperature_K
        parts = [
            part
            for found in energy
            for part in (log_odds(found[..., :-1]), -ways(found[..., :-1], found[..., -1], phi))
        ]
        return np.stack(parts, -1) / SCALE_KT


def near_terms(terms: TurnTerms, molecule: Molecule) -> TurnTerms:
    """The terms without pairs of atoms more than NEAREST bonds apart."""
    graph = Graph(molecule.n_atoms, molecule.bonds)
    apart = np.array([graph.steps_from([k], NEAREST + 1) for k in range(molecule.n_atoms)])
    return terms.with_pairs(apart[terms.pairs[:, 0], terms.pairs[:, 1]] <= NEAREST)


def log_odds(energy_kT: Array) -> Array:
    """Logarithms of exp(-U) (..., bins), normalised; energies end MOST_KT above the lowest."""
    height = np.minimum(energy_kT - energy_kT.min(-1, keepdims=True), MOST_KT)
    found: Array = -height - np.log(np.exp(-height).sum(-1, keepdims=True))
    return found


def ways(energy_kT: Array, here_kT: Array, phi_rad: Array) -> Array:
    """Height (..., bins) above the present energy of the highest place on the lower of the
    two ways round the circle, each bin itself counted; 0 to MOST_KT.

    Parameters
    ----------
    energy_kT : (..., bins) array
        At the middle of each bin.
    here_kT, phi_rad : (...) array
        The present energy, and the present angle.
    """
    bins = energy_kT.shape[-1]
    first = ((phi_rad + np.pi) / (2 * np.pi) * bins).astype(np.int64) % bins
    steps = np.arange(bins)
    turned = (first[..., None] + steps) % bins  # bins in their order from the present one
    rolled = np.take_along_axis(energy_kT, turned, -1)
    ahead = np.maximum.accumulate(rolled, -1)
    behind = np.maximum.accumulate(rolled[..., -steps % bins], -1)
    lower = np.minimum(ahead, behind[..., -steps % bins])
    found = np.empty_like(lower)
    np.put_along_axis(found, turned, lower, -1)
    return np.clip(found - here_kT[..., None], 0.0, MOST_KT)
