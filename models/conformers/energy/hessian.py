"""A model Hessian of a molecule: springs along bonds, angles and torsions.

The force constants are Lindh's (R. Lindh, A. Bernhardsson, G. Karlstroem, P.-A.
Malmqvist, Chem. Phys. Lett. 241, 423 (1995)), on the coordinates of the molecular
graph.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equidrift.models.conformers.energy.terms import Topology
from equidrift.models.shared.graph_codes import ELEMENTS

HARTREE_EV, BOHR_A = 27.211386, 0.52917721
STRETCH, BEND, TURN = (
    0.45 * HARTREE_EV / BOHR_A**2,
    0.15 * HARTREE_EV,
    0.005 * HARTREE_EV,
)  # eV/A^2, eV, eV
# by the rows of the periodic table of two atoms: decay (1/bohr^2), and distance (bohr) of a
# bond of strength 1
DECAY = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]])
REFERENCE = np.array([[1.35, 2.10, 2.53], [2.10, 2.87, 3.40], [2.53, 3.40, 3.40]])
ROW = np.array([0 if z == 1 else 1 if z < 10 else 2 for z in ELEMENTS])
STIFFEST_TURN = (
    3.0  # in units of `TURN`: bonds of a torsion shorter than the reference make it stiffer
)
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def model_hessian(terms: Topology, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positive semidefinite Hessian (k, 3n, 3n) in eV/A^2 of geometries (k, n, 3)."""
    x = np.asarray(positions_A, np.float64)
    k, n, _ = x.shape
    row = ROW[terms.atom[:, 0] - 1]

    def strength(i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        gap = np.square(x[:, i] - x[:, j]).sum(-1) / BOHR_A**2
        decay, reference = DECAY[row[i], row[j]], REFERENCE[row[i], row[j]]
        out: Floats = np.exp(decay * (np.square(reference) - gap))
        return out

    rows = []
    i, j = terms.bonds.T
    rows.append(_rows(n, terms.bonds, _stretch(x, i, j), STRETCH * strength(i, j)))
    a, o, b = terms.angles.T
    rows.append(_rows(n, terms.angles, _bend(x, a, o, b), BEND * strength(a, o) * strength(o, b)))
    p, q, r, s = terms.torsions.T
    stiff = np.minimum(strength(p, q) * strength(q, r) * strength(r, s), STIFFEST_TURN)
    rows.append(_rows(n, terms.torsions, _turn(x, p, q, r, s), TURN * stiff))
    b_matrix = np.concatenate(rows, axis=1).reshape(k, -1, 3 * n)
    return b_matrix.transpose(0, 2, 1) @ b_matrix


def _rows(
    n: int,
    atoms: NDArray[np.int64],
    derivative: NDArray[np.float64],
    stiffness: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Rows (k, t, n, 3) of the B matrix, each times the root of its stiffness."""
    k, t = stiffness.shape
    out = np.zeros((k, t, n, 3))
    for column in range(atoms.shape[1]):
        out[:, np.arange(t), atoms[:, column]] += (
            derivative[:, :, column] * np.sqrt(stiffness)[..., None]
        )
    return out


def _unit(r: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    length = np.sqrt(np.square(r).sum(-1, keepdims=True) + 1e-12)
    return r / length, length


def _stretch(x: Floats, i: Indices, j: Indices) -> NDArray[np.float64]:
    unit, _ = _unit(x[:, j] - x[:, i])
    return np.stack([-unit, unit], axis=2)


def _bend(x: Floats, a: Indices, o: Indices, b: Indices) -> NDArray[np.float64]:
    (e, le), (f, lf) = _unit(x[:, a] - x[:, o]), _unit(x[:, b] - x[:, o])
    cosine = (e * f).sum(-1, keepdims=True)
    sine = np.sqrt(np.maximum(1 - cosine**2, 1e-2))  # straight angles bend either way
    da, db = (cosine * e - f) / (le * sine), (cosine * f - e) / (lf * sine)
    return np.stack([da, -da - db, db], axis=2)


def _turn(x: Floats, p: Indices, q: Indices, r: Indices, s: Indices) -> NDArray[np.float64]:
    b1, b2, b3 = x[:, q] - x[:, p], x[:, r] - x[:, q], x[:, s] - x[:, r]
    n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
    length2 = np.square(b2).sum(-1, keepdims=True)
    length = np.sqrt(length2)
    s1, s2 = np.square(n1).sum(-1, keepdims=True), np.square(n2).sum(-1, keepdims=True)
    straight = 0.05 * length2  # no torsion is defined there
    dp, ds = -length * n1 / np.maximum(s1, straight), length * n2 / np.maximum(s2, straight)
    f, g = (b1 * b2).sum(-1, keepdims=True) / length2, (b3 * b2).sum(-1, keepdims=True) / length2
    dq = -(1 + f) * dp + g * ds
    return np.stack([dp, dq, -dp - dq - ds, ds], axis=2)
