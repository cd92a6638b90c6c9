"""The learned energy at work: energies and forces of geometries, and relaxation by a
few quasi-Newton steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.checks.conditions import Known
from equidrift.errors import MoleculeError
from equidrift.geometry import align
from equidrift.models.conformers.energy.hessian import model_hessian
from equidrift.models.conformers.energy.layers import EnergyConfig
from equidrift.models.conformers.energy.network import EnergyNetwork
from equidrift.models.conformers.energy.terms import Topology, join, topology
from equidrift.models.conformers.refiner import Refinement, StepRefiner
from equidrift.models.shared.devices import Device, batch_size, pick_device
from equidrift.models.shared.graph_codes import graph_codes
from equidrift.models.shared.run import load_network
from equidrift.records import SYMBOLS, Molecule
from equidrift.registry import host_function

Surface = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]
GEOMETRIES_PER_BATCH = 32  # of one molecule in one call: more leave the cache
LONGEST_STEP_A = 0.1  # of an atom; .25 A hops into other basins
SOFTEST_EV_A2 = 0.07  # least curvature that a step believes in
RESTRAINT_EV_A2 = 20.0  # stiffness of a violated distance bound
CONVERGED_EV_A = 0.02
# Expected RMSD to the GFN2-xTB minimum = FACTOR * drift**POWER, drift (A) the RMSD of DRIFT_STEPS
# further steps. Fitted on 99 validation paths (mean .37 A). On 103 test paths, in four groups by
# it, .10, .26, .42 and .55 A are expected, .10, .22, .46 and .49 (+-.06) found; Spearman .76. Of
# conformer-energy-elements on 28 validation paths with Si, P or I .10, .29 and .53 in three groups,
# .09, .27 and .35 (+-.06) found; Spearman .76.
DRIFT_STEPS = 5
DRIFT_FACTOR, DRIFT_POWER = 1.13, 0.354
LEAST_DRIFT_A = 1e-3  # .1 A are expected of less


class EnergySurface:
    """`energy_eV (k,), gradient_eV_A (k, n, 3) = surface(positions_A (k, n, 3))` of one
    molecule.

    Features and coefficients of the molecule are computed once. `reference` (positions
    (n, 3) -> energy, gradient) is added.
    """

    def __init__(self, network: EnergyNetwork, terms: Topology, reference: Any = None):
        self.network, self.reference = network, reference
        self.device = next(network.parameters()).device
        self.graphs = join([terms]).to(self.device)
        with torch.no_grad():
            self.features = network.features(self.graphs)
            self.coefficients = network.coefficients(self.features, self.graphs)

    def __call__(
        self, positions_A: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies (k,) in eV and gradients (k, n, 3) in eV/A."""
        size = batch_size(GEOMETRIES_PER_BATCH, self.device)
        parts = [self._block(positions_A[k : k + size]) for k in range(0, len(positions_A), size)]
        energy, gradient = (np.concatenate(column) for column in zip(*parts, strict=True))
        if self.reference is not None:
            of_reference = [self.reference(x) for x in positions_A]
            energy = energy + np.array([e for e, _ in of_reference])
            gradient = gradient + np.stack([g for _, g in of_reference])
        return energy, gradient

    def energies_eV(self, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """The energies (k,) alone, which cost less than half of what `__call__` does."""
        size = batch_size(GEOMETRIES_PER_BATCH, self.device)
        with torch.no_grad():
            parts = [
                self._energy(self._on_device(positions_A[k : k + size]))[0]
                for k in range(0, len(positions_A), size)
            ]
        energies: NDArray[np.float64] = torch.cat(parts).double().cpu().numpy()
        if self.reference is not None:
            energies = energies + np.array([self.reference(x)[0] for x in positions_A])
        return energies

    def _on_device(self, positions: NDArray[np.float64]) -> Tensor:
        centred = positions - positions.mean(1, keepdims=True)  # small numbers keep float32 exact
        x = torch.from_numpy(np.ascontiguousarray(centred.transpose(2, 1, 0)))
        return x.to(self.device, self.features.dtype)

    def _energy(self, x: Tensor) -> Tensor:
        return self.network.energy(self.graphs, x, self.features, self.coefficients)

    def _block(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x = self._on_device(positions).requires_grad_(True)
        with torch.enable_grad():
            energy = self._energy(x)
            (gradient,) = torch.autograd.grad(energy.sum(), x)
        return (
            energy.detach()[0].double().cpu().numpy(),
            gradient.permute(2, 1, 0).double().cpu().numpy(),
        )


def relax(
    surface: Surface,
    hessian: NDArray[np.float64],
    positions_A: NDArray[np.float64],
    steps: int,
    *,
    free: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """BFGS on all conformers at once; returns the geometry of lowest energy that each
    has seen.

    Parameters
    ----------
    surface : callable
        Energies (k,) and gradients (k, n, 3) of geometries (k, n, 3).
    hessian : (k, 3n, 3n)
        The one to start from, eV/A^2; `SOFTEST_EV_A2` is added.
    positions_A : (k, n, 3)
        The geometries to begin with.
    steps : int
        How many steps are taken; the surface is evaluated once more than that.
    free : (n,) bool or None
        Atoms that may move, None for all.
    """
    x = np.array(positions_A, np.float64)
    k, n, _ = x.shape
    move = np.ones(3 * n, bool) if free is None else np.repeat(free, 3)
    inner = hessian[:, move][:, :, move] + SOFTEST_EV_A2 * np.eye(int(move.sum()))
    inverse: NDArray[np.float64] = np.linalg.inv(inner).astype(np.float64)
    energy, gradient = surface(x)
    best, lowest = x.copy(), energy.copy()
    for _ in range(steps):
        g = gradient.reshape(k, -1)[:, move]
        step = np.zeros((k, 3 * n))
        step[:, move] = -np.einsum("kij,kj->ki", inverse, g)
        length = np.linalg.norm(step.reshape(k, n, 3), axis=-1).max(1)
        step *= np.minimum(1.0, LONGEST_STEP_A / np.maximum(length, 1e-12))[:, None]
        if np.abs(g).max() < CONVERGED_EV_A / 10:
            break
        x = x + step.reshape(k, n, 3)
        energy, gradient = surface(x)
        better = energy < lowest
        best[better], lowest[better] = x[better], energy[better]
        inverse = updated(inverse, step[:, move], gradient.reshape(k, -1)[:, move] - g)
    return best


def updated(
    inverse: NDArray[np.float64], s: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """BFGS's inverse Hessian (k, m, m) after steps s (k, m) that changed the
    gradients by y (k, m); left where s.y is not positive.
    """
    sy = (s * y).sum(1)
    good = sy > 1e-8
    rho = np.where(good, 1 / np.where(good, sy, 1.0), 0.0)
    hy = np.einsum("kij,kj->ki", inverse, y)
    scale = rho + rho**2 * (y * hy).sum(1)
    cross = rho[:, None, None] * hy[:, :, None] * s[:, None, :]
    new: NDArray[np.float64] = (
        inverse
        + scale[:, None, None] * s[:, :, None] * s[:, None, :]
        - cross
        - cross.transpose(0, 2, 1)
    )
    return new


class EnergyModel(StepRefiner):
    """Moves conformers towards GFN2-xTB minima along the gradient of a learned energy;
    graph and stereo are for the caller to check.

    Parameters
    ----------
    weights : str
        Name of a shipped model, or the path of a card or safetensors file that
        `equidrift train` wrote.
    device : str, torch.device or None
        Torch device of the network; None is CUDA where there is one, else the CPU. The
        reference, MMFF94, runs on the CPU.

    Raises
    ------
    WeightsError
        for weights of another kind of model.
    """

    task = "energy"
    default_steps = 15  # of quasi-Newton
    most_steps = 200
    max_atoms = 200

    def __init__(self, weights: str = "conformer-energy", *, device: Device = None):
        def make(config: dict[str, Any]) -> EnergyNetwork:
            return EnergyNetwork(EnergyConfig.of_card(config))

        self.network, self.card = load_network(weights, self.task, make)
        self.device = pick_device(device)
        self.network.requires_grad_(False).to(self.device)
        self.name = str(self.card["name"])
        self.weights_sha256 = str(self.card["sha256"])[:12]
        self.elements = tuple(SYMBOLS.index(symbol) for symbol in self.card["elements"])
        self.reference = self.card["config"]["reference"]

    def surface(self, molecule: Molecule) -> EnergySurface:
        """The energy surface of a molecule, eV and A; zero of energy is that of MMFF94
        plus a constant of the molecule.

        Raises
        ------
        MoleculeError
            for an element that the training data lacked, or a molecule that MMFF94, the
            reference, cannot type.
        """
        self.check_elements(molecule)
        reference = None
        if self.reference == "MMFF94":
            reference = host_function("rdkit", "MMFFEnergy")(molecule)
        return EnergySurface(self.network, topology(graph_codes(molecule)), reference)

    def check_elements(self, molecule: Molecule) -> None:
        """Raise `MoleculeError` for an element that the training data lacked."""
        known = tuple(self.elements or ())
        if unknown := sorted({SYMBOLS[z] for z in molecule.numbers.tolist() if z not in known}):
            raise MoleculeError(
                f"{self.name} knows {', '.join(self.card['elements'])}, not {', '.join(unknown)}; "
                "the weights 'conformer-energy-elements' know Si, P and I, too; for others there "
                "are the refiner 'refine' and relax='gfn2'"
            )

    def energies_eV(
        self,
        molecule: Molecule,
        positions_A: NDArray[np.float64],
        apart: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Energies (k,) of conformers (k, n_atoms, 3), NaN where these are; `apart` (k,)
        numbers what the network is to see alone, so that an energy is the same to the
        last bit whatever is asked beside it.

        Raises `MoleculeError` as `surface` does.
        """
        energies = np.full(len(positions_A), np.nan)
        good = np.flatnonzero(np.isfinite(positions_A).all((1, 2)))
        if len(good):
            surface = self.surface(molecule)
            of = np.zeros(len(good), np.int64) if apart is None else np.asarray(apart)[good]
            for rows in (good[of == k] for k in np.unique(of)):
                energies[rows] = surface.energies_eV(positions_A[rows])
        return energies

    def expected_rmsd_A(
        self, molecule: Molecule, positions_A: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How far conformers that this energy has relaxed are from their GFN2-xTB minima.

        A few steps further down a soft surface tell it: the farther they lead, the
        less is known of where the minimum is. Calibrated with the weights
        conformer-energy, on what `refine` and 20 steps make of MMFF94 minima.

        Parameters
        ----------
        molecule : Molecule
            The graph.
        positions_A : (k, n_atoms, 3)
            Conformers.

        Returns
        -------
        (k,) float64
            Expected RMSD of all atoms in A, NaN where the positions are.

        Raises
        ------
        MoleculeError
            For an element that the training data lacked.
        """
        (further,) = self.refine_many([(molecule, positions_A)], steps=DRIFT_STEPS)
        expected = np.full(len(further), np.nan)
        for k in np.flatnonzero(np.isfinite(further).all((1, 2))):
            moved = align(further[k], positions_A[k]) - positions_A[k]
            drift = float(np.sqrt(np.square(moved).sum(1).mean()))
            expected[k] = DRIFT_FACTOR * max(drift, LEAST_DRIFT_A) ** DRIFT_POWER
        return expected

    def _refined(self, asked: Refinement) -> list[NDArray[np.float64]]:
        """Relaxed conformers; those of a molecule that MMFF94 cannot type become NaN, so
        that whoever checks them keeps what there was.
        """
        results = []
        for k, (molecule, positions) in enumerate(asked.jobs):
            moved = np.array(positions, np.float64)
            good = np.isfinite(moved).all((1, 2))
            self.check_elements(molecule)
            if good.any():
                try:
                    known = asked.known_of(k)
                    moved[good] = self._relax(molecule, moved[good], asked.steps, known)
                except MoleculeError:
                    moved[good] = np.nan
            if asked.callback is not None:
                total = sum(len(x) for _, x in asked.jobs)
                asked.callback({"done": len(moved), "total": total})
            results.append(moved)
        return results

    def _relax(
        self, molecule: Molecule, x: NDArray[np.float64], steps: int, known: Known | None
    ) -> NDArray[np.float64]:
        surface: Surface = self.surface(molecule)
        terms = topology(graph_codes(molecule))
        free = None
        if known is not None:
            free = ~known.held if len(known.atoms) else None
            if len(known.pairs):
                surface = Restrained(surface, known)
        parts = []
        size = batch_size(GEOMETRIES_PER_BATCH, self.device)
        for begin in range(0, len(x), size):
            block = x[begin : begin + size]
            parts.append(relax(surface, model_hessian(terms, block), block, steps, free=free))
        return np.concatenate(parts)


class Restrained:
    """A surface with flat-bottomed springs on distances."""

    def __init__(self, surface: Surface, known: Known):
        self.surface, self.known = surface, known

    def __call__(
        self, positions_A: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies (k,) in eV and gradients (k, n, 3) in eV/A, springs included."""
        energy, gradient = self.surface(positions_A)
        i, j = self.known.pairs.T
        r = positions_A[:, i] - positions_A[:, j]
        d = np.linalg.norm(r, axis=-1)
        over = d - np.clip(d, self.known.lower_A, self.known.upper_A)
        pull = (RESTRAINT_EV_A2 * over / np.maximum(d, 1e-6))[..., None] * r
        gradient = gradient.copy()
        for k in range(len(i)):  # a pair may share atoms with another
            gradient[:, i[k]] += pull[:, k]
            gradient[:, j[k]] -= pull[:, k]
        return energy + 0.5 * RESTRAINT_EV_A2 * np.square(over).sum(1), gradient


def load_energy(weights: str = "conformer-energy", **options: Any) -> EnergyModel:
    """The shipped energy, or one of your own by path."""
    return EnergyModel(weights, **options)


def load_elements(weights: str = "conformer-energy-elements", **options: Any) -> EnergyModel:
    """The shipped energy for molecules with Si, P or I."""
    return EnergyModel(weights, **options)
