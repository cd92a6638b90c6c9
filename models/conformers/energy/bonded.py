"""Energies of bonds, angles, torsions and planes, with the couplings of a class-II force
field.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from equidrift.models.conformers.energy.layers import dot
from equidrift.models.conformers.energy.terms import Graphs

# Covalent radii (A, Cordero 2008, DOI 10.1039/b801115j) of `ELEMENTS`: where a bond's
# functions are centred.
RADII_A = (0.31, 0.84, 0.76, 0.71, 0.66, 0.57, 1.11, 1.07, 1.05, 1.02, 1.20, 1.39)
BOND_SCALE_A = 0.15  # a stretch of this size counts as 1
SATURATION = 3.0  # stretches beyond this many scales no longer change the learned terms
COSINE_SCALE = 0.2  # the same for cosines of angles
COSINE_CENTRE = -0.4


def saturated(u: Tensor) -> Tensor:
    """u where it is small, and bounded by `SATURATION`."""
    return SATURATION * torch.tanh(u / SATURATION)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross product of vectors laid out (3, ...)."""
    return torch.stack(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


Arm = Callable[
    [Tensor, Tensor], tuple[Tensor, Tensor, Tensor]
]  # i, j -> unit vectors, stretches, distances
Term = tuple[Tensor, Tensor]  # an atom of each term (t,), energies (t, k)


class Bonded(nn.Module):
    """Energies (terms, k) of bonds, angles, torsions and planes; coordinates are
    laid out (3, atoms, k).
    """

    def __init__(self) -> None:
        super().__init__()
        self.radii: Tensor
        self.register_buffer("radii", torch.tensor((0.0, *RADII_A)), persistent=False)

    def forward(self, x: Tensor, graphs: Graphs, c: dict[str, Tensor]) -> list[Term]:
        """Pairs of (an atom of each term, energies)."""
        element = graphs.atom[:, 0]

        def arm(i: Tensor, j: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """From i to j: unit vectors (3, t, k), and stretches and distances (t,
            k).
            """
            r = x.index_select(1, j) - x.index_select(1, i)
            d = (dot(r, r) + 1e-8).sqrt()
            centre = (self.radii[element[i]] + self.radii[element[j]])[:, None]
            return r / d, saturated((d - centre) / BOND_SCALE_A), d

        return [
            self._bonds(arm, graphs, c["bond"]),
            self._angles(arm, graphs, c["angle"], c["angle_sides"]),
            self._torsions(arm, graphs, c["torsion"], c["torsion_sides"]),
            self._planes(arm, graphs, c["plane"]),
        ]

    def _bonds(self, arm: Arm, graphs: Graphs, c: Tensor) -> Term:
        i, j = graphs.bonds.t()
        _, u, _ = arm(i, j)
        return i, u * (c[:, 0:1] + u * (c[:, 1:2] + u * c[:, 2:3]))

    def _angles(self, arm: Arm, graphs: Graphs, c: Tensor, sides: Tensor) -> Term:
        a, o, b = graphs.angles.t()
        e1, u1, _ = arm(o, a)
        e2, u2, _ = arm(o, b)
        v = (dot(e1, e2) - COSINE_CENTRE) / COSINE_SCALE
        polynomial = v * (c[:, 0:1] + v * (c[:, 1:2] + v * c[:, 2:3]))
        coupled = c[:, 3:4] * u1 * u2 + v * (sides[0, :, 0:1] * u1 + sides[1, :, 0:1] * u2)
        return o, polynomial + coupled

    def _torsions(self, arm: Arm, graphs: Graphs, c: Tensor, sides: Tensor) -> Term:
        p, q, r, s = graphs.torsions.t()
        e1, u1, _ = arm(q, p)
        e2, u2, _ = arm(q, r)
        e3, u3, _ = arm(r, s)
        n1, n2 = cross(e1, e2), cross(e3, -e2)
        l1, l2 = dot(n1, n1), dot(n2, n2)
        # both sines: a torsion at a straight angle is none
        cosine = -dot(n1, n2) * ((l1 + 1e-4) * (l2 + 1e-4)).rsqrt()
        v1, v2 = (
            (dot(e1, e2) - COSINE_CENTRE) / COSINE_SCALE,
            (-dot(e2, e3) - COSINE_CENTRE) / COSINE_SCALE,
        )
        t2 = 2 * cosine.square() - 1
        t3 = cosine * (2 * t2 - 1)
        t4 = 2 * t2.square() - 1
        series = (
            c[:, 0:1] * cosine
            + c[:, 1:2] * t2
            + c[:, 2:3] * t3
            + c[:, 3:4] * t4
            + c[:, 4:5] * (2 * t3.square() - 1)
        )
        middle = (
            u2 * (c[:, 5:6] * cosine + c[:, 6:7] * t2 + c[:, 7:8] * t3)
            + c[:, 8:9] * v1 * v2 * cosine
        )
        ends = [
            v * (side[:, 0:1] * cosine + side[:, 1:2] * t2) + side[:, 2:3] * u * cosine
            for side, v, u in ((sides[0], v1, u1), (sides[1], v2, u3))
        ]
        return q, l1 * l2 * (series + middle + ends[0] + ends[1])

    def _planes(self, arm: Arm, graphs: Graphs, c: Tensor) -> Term:
        o, *arms = graphs.planes.t()
        e1, e2, e3 = (arm(o, k)[0] for k in arms)
        square = dot(e1, cross(e2, e3)).square()
        return o, square * (10 * c[:, 0:1] + 20 * c[:, 1:2] * square)
