"""Velocities that frames tell: a Kalman filter over the normal modes of a force field.

Positions are known exactly at each frame, and nothing of the velocities at first but
their temperature. From frame to frame the force field carries both on; where the next
frame lies elsewhere, each mode's velocity is put right by as much as its linear Langevin
dynamics says. A stretch that turns over between two frames hides its speed, and keeps
more of its thermal spread than a slow torsion does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from equidrift.units import AMU_A2_PER_FS2_EV, BOLTZMANN_AMU_A2_PER_FS2_K

Array = NDArray[np.float64]
# (positions_A, velocities_A_fs) (n, 3) each -> both one frame later, friction but no noise
Step = Callable[[Array, Array], tuple[Array, Array]]

DIFFERENCE_A = 0.005  # of the finite differences of forces
SLOWEST_PER_FS = 1e-4  # modes below are free: a period of 60 ps


@dataclass(frozen=True)
class Modes:
    """Normal modes about a geometry: `basis` (3n, m), orthonormal in mass-weighted
    coordinates; `omega` (m,) in rad/fs, imaginary frequencies by their size; `root_mass`
    (n, 1) in amu^0.5.
    """

    basis: Array
    omega: Array
    root_mass: Array

    def amplitudes(self, x: Array) -> Array:
        """Amplitudes (m,) of displacements or velocities (n, 3)."""
        found: Array = (self.root_mass * x).ravel() @ self.basis
        return found

    def vectors(self, amplitudes: Array) -> Array:
        """Displacements or velocities (n, 3) of amplitudes (m,)."""
        made: Array = (self.basis @ amplitudes).reshape(-1, 3) / self.root_mass
        return made


@dataclass(frozen=True)
class Bath:
    """Temperature in K, friction per fs."""

    temperature_K: float
    friction_per_fs: float

    @property
    def kT(self) -> float:
        """The thermal energy in amu A^2/fs^2."""
        return BOLTZMANN_AMU_A2_PER_FS2_K * self.temperature_K


def normal_modes(
    forces_eV_A: Callable[[Array], Array], positions_A: Array, masses_amu: Array
) -> Modes:
    """The modes of forces (n, 3) -> (n, 3) about positions (n, 3), by central
    differences: 6 n evaluations.
    """
    n = len(positions_A)
    hessian = np.empty((3 * n, 3 * n))
    for k in range(3 * n):
        move = np.zeros(3 * n)
        move[k] = DIFFERENCE_A
        pair = [forces_eV_A(positions_A + sign * move.reshape(n, 3)) for sign in (1.0, -1.0)]
        hessian[k] = -(pair[0] - pair[1]).ravel() / (2 * DIFFERENCE_A)
    root = np.sqrt(masses_amu)[:, None]
    weighted = AMU_A2_PER_FS2_EV * hessian / np.outer(root.repeat(3), root.repeat(3))
    values, basis = np.linalg.eigh((weighted + weighted.T) / 2)
    return Modes(basis, np.maximum(np.sqrt(np.abs(values)), SLOWEST_PER_FS), root)


def propagator(omega: Array, time_fs: float, friction_per_fs: float) -> Array:
    """The mean motion (m, 2, 2) of (q, dq/dt) of damped oscillators over a time."""
    g = friction_per_fs / 2
    w = np.sqrt((omega**2 - g**2).astype(complex))
    w = np.where(np.abs(w) < 1e-9, 1e-9, w)  # critically damped: sin(w t) / w is t
    cos, sin = np.cos(w * time_fs), np.sin(w * time_fs) / w
    rows = [[cos + g * sin, sin], [-(omega**2) * sin, cos - g * sin]]
    made: Array = np.exp(-g * time_fs) * np.moveaxis(np.array(rows).real, -1, 0)
    return made


def gains(omega: Array, spread: Array, time_fs: float, bath: Bath) -> tuple[Array, Array]:
    """What a frame tells of the velocities of modes.

    Parameters
    ----------
    omega, spread : (m,) frequency, and variance of the velocity at the frame before.
    time_fs : between the frames.

    Returns
    -------
    gain (m,), by which a displacement from the expected position changes the velocity,
    and the variance (m,) of the velocity that is left.
    """
    flow = propagator(omega, time_fs, bath.friction_per_fs)
    still = np.zeros((len(omega), 2, 2))
    still[:, 0, 0], still[:, 1, 1] = bath.kT / omega**2, bath.kT
    noise = still - flow @ still @ flow.transpose(0, 2, 1)
    before = np.zeros_like(still)
    before[:, 1, 1] = spread
    after = flow @ before @ flow.transpose(0, 2, 1) + noise
    position = np.maximum(after[:, 0, 0], 1e-12 * bath.kT * time_fs**2)
    gain = after[:, 0, 1] / position
    return gain, np.clip(after[:, 1, 1] - gain * after[:, 0, 1], 0.0, bath.kT)


def observed(
    frames_A: Array, time_fs: float, modes: Modes, step: Step, bath: Bath
) -> tuple[Array, Array]:
    """Mean velocities (n, 3) in A/fs at the last of the frames (t, n, 3), whose centre
    of mass rests, and the variances (m,) of the modes about it.
    """
    velocity, spread = np.zeros_like(frames_A[0]), np.full(len(modes.omega), bath.kT)
    for now, following in pairwise(frames_A):
        x, v = step(now, velocity)
        gain, spread = gains(modes.omega, spread, time_fs, bath)
        change = gain * modes.amplitudes(following - x)
        speed = modes.amplitudes(v) + change
        most = 4.0 * np.sqrt(bath.kT)  # what no dynamics shows cannot run away
        velocity = modes.vectors(np.clip(speed, -most, most))
    return velocity, spread
