"""A learned force field: what a graph network reads off a molecule's bonds becomes the
constants of a classical energy.

The form is a molecular mechanics force field's (bonds, angles, stretch-bends,
out-of-plane bends, torsions, a buffered van der Waals term, charges; Halgren, J.
Comput. Chem. 17, 490 (1996), for the shapes), its constants are learned from forces,
for each level of theory. So it transfers to molecules that were never seen, keeps
energy, momentum and angular momentum, holds bonds together far from its training data,
and the network runs once per molecule, not once per step. Forces are written out by
hand: a training step needs no second derivative, and a step of dynamics no derivative
at all.

Energies in kcal/mol and A inside; accelerations leave in A/fs^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equidrift.models.trajectories.integrator.network import GraphSizes
from equidrift.models.trajectories.integrator.skeleton import Skeleton
from equidrift.units import AMU_A2_PER_FS2_EV, COULOMB_KCAL_A_PER_MOL_E2, KCAL_MOL_PER_EV

AMU_A2_PER_FS2_KCAL = AMU_A2_PER_FS2_EV / KCAL_MOL_PER_EV
SCALE_14 = 0.75
FLAT = 0.01  # A^4: below this square of its normal a plane has no torsion


@dataclass(frozen=True)
class FieldConfig(GraphSizes):
    """Sizes of a `LearnedField`; `rounds` of messages along bonds decide how far an
    atom sees.
    """

    rounds: int = 4


@dataclass
class TermConstants:
    """A skeleton with constants of its bonds, angles, torsions, planes, van der Waals
    pairs and charges of pairs.
    """

    terms: Skeleton
    bond: Tensor
    angle: Tensor
    torsion: Tensor
    plane: Tensor
    contact: Tensor
    charge: Tensor


@dataclass
class Constants(TermConstants):
    """Those of a field: bond (B, 3), angle (A, 5), torsion (T, 4), plane (O,), van der
    Waals (P, 2), charges (P,).
    """

    inverse_mass: Tensor


def mlp(inside: int, width: int, outside: int) -> nn.Sequential:
    """Two layers; what leaves begins small."""
    last = nn.Linear(width, outside)
    return nn.Sequential(
        nn.Linear(inside, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last
    )


class LearnedField(nn.Module):
    """Graph in, constants out (`constants`), and positions in, accelerations out
    (`accelerations`).
    """

    def __init__(self, config: FieldConfig):
        super().__init__()
        self.config = config
        w = config.width
        self.node, self.edge = config.entries()
        self.message = nn.ModuleList([mlp(2 * w, w, w) for _ in range(config.rounds)])
        self.update = nn.ModuleList([mlp(2 * w, w, w) for _ in range(config.rounds)])
        self.norm = nn.ModuleList([nn.LayerNorm(w) for _ in range(config.rounds)])
        self.radius = nn.Linear(
            config.node_features, 2
        )  # covalent and van der Waals radii: of the element, above all
        self.of_bond, self.of_angle, self.of_torsion = (
            mlp(3 * w, w, 3),
            mlp(5 * w, w, 6),
            mlp(5 * w, w, 4),
        )
        self.of_plane, self.of_atom, self.of_pair = mlp(2 * w, w, 1), mlp(w, w, 3), mlp(24, 24, 2)
        self.to_pair, self.if_near = (
            nn.Linear(w, 24),
            nn.Linear(1, 24),
        )  # pairs are many: what they read is small
        for head in (
            self.of_bond,
            self.of_angle,
            self.of_torsion,
            self.of_plane,
            self.of_atom,
            self.of_pair,
        ):
            final = head[-1]
            if isinstance(final, nn.Linear):
                nn.init.normal_(final.weight, std=0.01)
                nn.init.zeros_(final.bias)

    def embedded(self, s: Skeleton) -> tuple[Tensor, Tensor]:
        """Features of atoms (N, w) and bonds (B, w) after the rounds of messages."""
        h, e = self.node(s.node), self.edge(s.edge)
        i, j = s.bonds.unbind(1)
        to, of, along = torch.cat([i, j]), torch.cat([j, i]), torch.cat([e, e])
        for message, update, norm in zip(self.message, self.update, self.norm, strict=True):
            sent = message(torch.cat([h[of], along], -1))
            h = norm(h + update(torch.cat([h, torch.zeros_like(h).index_add(0, to, sent)], -1)))
        return h, e

    def constants(self, s: Skeleton) -> Constants:
        """The constants of a skeleton's terms; every term gets the same constants read
        from either end.
        """
        h, e = self.embedded(s)
        covalent, contact = self.radius(s.node).unbind(-1)
        i, j, k, m = s.torsions.unbind(1)
        middle = e[s.torsion_bonds]
        turn = self.of_torsion(torch.cat([h[i], h[j], middle, h[k], h[m]], -1))
        turn = turn + self.of_torsion(torch.cat([h[m], h[k], middle, h[j], h[i]], -1))
        around = torch.cat([h[s.planes[:, 0]], h[s.planes[:, 1:]].sum(1)], -1)
        flat = 10.0 * self.of_plane(around)[:, 0]
        pairs, charge = self._of_pairs(s, h, contact)
        bond, angle = self._of_bonds(s, h, e, covalent), self._of_angles(s, h, e)
        return Constants(s, bond, angle, turn, flat, pairs, charge, 1.0 / s.mass)

    def _of_bonds(self, s: Skeleton, h: Tensor, e: Tensor, covalent: Tensor) -> Tensor:
        """Stiffness, length and cubic share (B, 3)."""
        i, j = s.bonds.unbind(1)
        b = self.of_bond(torch.cat([h[i], h[j], e], -1)) + self.of_bond(
            torch.cat([h[j], h[i], e], -1)
        )
        length = 0.7 + covalent[i] + 0.7 + covalent[j] + 0.2 * b[:, 0]
        return torch.stack([350.0 * torch.exp(b[:, 1].clamp(-4, 3)), length, -2.0 + b[:, 2]], -1)

    def _of_angles(self, s: Skeleton, h: Tensor, e: Tensor) -> Tensor:
        """Stiffness, cosine, cubic share, coupling of the arms, and of each arm with the
        angle (A, 6).
        """
        i, j, k = s.angles.unbind(1)
        first, second = (e[s.angle_bonds[:, c]] for c in (0, 1))
        forth = self.of_angle(torch.cat([h[i], first, h[j], second, h[k]], -1))
        back = self.of_angle(torch.cat([h[k], second, h[j], first, h[i]], -1))
        a = forth + back
        shape = [
            60.0 * torch.exp(a[:, 0].clamp(-4, 3)),
            -0.35 + 0.5 * a[:, 1],
            a[:, 2],
            30.0 * a[:, 3],
        ]
        arms = [30.0 * (forth[:, 4] + back[:, 5]), 30.0 * (back[:, 4] + forth[:, 5])]
        return torch.stack([*shape, *arms], -1)

    def _of_pairs(self, s: Skeleton, h: Tensor, contact: Tensor) -> tuple[Tensor, Tensor]:
        """Distance and depth of the van der Waals wells (P, 2), and products of charges
        (P,).
        """
        own = self.of_atom(h)
        charges, size, depth = 0.5 * own[:, 0], 1.7 + contact + 0.3 * own[:, 1], own[:, 2]
        i, j = s.pairs.unbind(1)
        each = self.to_pair(h)
        near = self.if_near(s.near[:, None].to(h.dtype))
        p = self.of_pair(nn.functional.silu(each[i] + each[j] + near))
        reach = (size[i] + size[j] + 0.5 * p[:, 0]).clamp(1.5, 6.0)
        well = 0.05 * torch.exp((depth[i] + depth[j] + p[:, 1]).clamp(-6, 3))
        scale = torch.where(s.near, SCALE_14, 1.0).to(h.dtype) * COULOMB_KCAL_A_PER_MOL_E2
        return torch.stack([reach, well], -1), charges[i] * charges[j] * scale

    def accelerations(self, c: Constants, x: Tensor) -> Tensor:
        """Accelerations (b, N, d = 3) at positions x (b, N, 3), in A/fs^2 and the dtype
        of x.
        """
        force = torch.zeros_like(x)
        for atoms, pull in (
            stretch(c, x),
            *bend(c, x),
            *twist(c, x),
            *out_of_plane(c, x),
            contact_and_charge(c, x),
        ):
            force = force.index_add(1, atoms, pull)
        return force * (AMU_A2_PER_FS2_KCAL * c.inverse_mass.to(x.dtype))[:, None]


Pull = tuple[Tensor, Tensor]  # atoms (k,) and the forces on them (b, k, 3)


def both_ends(first: Tensor, second: Tensor, pull: Tensor) -> Pull:
    """A force on the first atom, and its reaction on the second."""
    return torch.cat([first, second]), torch.cat([pull, -pull], 1)


def direction(x: Tensor, here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (b, k, 3) from `there` to `here`, and distances (b, k, 1)."""
    r = x[:, here] - x[:, there]
    d = (r.square().sum(-1, keepdim=True) + 1e-12).sqrt()
    return r / d, d


def stretch(c: Constants, x: Tensor) -> Pull:
    """k q^2 (1 + c q + 7/12 c^2 q^2) of q = r - r0: MMFF's quartic."""
    i, j = c.terms.bonds.unbind(1)
    unit, d = direction(x, i, j)
    k, r0, cubic = (part[:, None].to(x.dtype) for part in c.bond.unbind(-1))
    q = d - r0
    slope = k * q * (2 + cubic * q * (3 + 7 / 3 * cubic * q))
    return both_ends(i, j, -slope * unit)


def bend(c: Constants, x: Tensor) -> tuple[Pull, Pull]:
    """k t^2 (1 + g t) + t (s1 q1 + s2 q2) + s q1 q2 of t = cos(angle) - c0 and the
    stretches q of its arms; smooth when straight.
    """
    i, j, k = c.terms.angles.unbind(1)
    u, du = direction(x, i, j)
    w, dw = direction(x, k, j)
    stiff, c0, cubic, cross, one, two = (part[:, None].to(x.dtype) for part in c.angle.unbind(-1))
    r0 = c.bond[:, 1].to(x.dtype)
    q1, q2 = du - r0[c.terms.angle_bonds[:, 0], None], dw - r0[c.terms.angle_bonds[:, 1], None]
    cosine = (u * w).sum(-1, keepdim=True)
    t = cosine - c0
    slope = stiff * t * (2 + 3 * cubic * t) + one * q1 + two * q2
    first = -(slope * (w - cosine * u) / du + (t * one + cross * q2) * u)
    second = -(slope * (u - cosine * w) / dw + (t * two + cross * q1) * w)
    return both_ends(i, j, first), both_ends(k, j, second)


def twist(c: Constants, x: Tensor) -> tuple[Pull, Pull, Pull]:
    """The sum over m = 1 .. 4 of v_m cos(phi)^m of each torsion."""
    i, j, k, m = c.terms.torsions.unbind(1)
    a, b, d = x[:, j] - x[:, i], x[:, k] - x[:, j], x[:, m] - x[:, k]
    left, right = torch.linalg.cross(a, b), torch.linalg.cross(b, d)
    size = (left.square().sum(-1, keepdim=True) + FLAT).rsqrt()
    size_right = (right.square().sum(-1, keepdim=True) + FLAT).rsqrt()
    left, right = left * size, right * size_right
    cosine = (left * right).sum(-1, keepdim=True)
    v1, v2, v3, v4 = (part[:, None].to(x.dtype) for part in c.torsion.unbind(-1))
    slope = v1 + cosine * (2 * v2 + cosine * (3 * v3 + 4 * cosine * v4))
    on_left, on_right = (
        slope * size * (right - cosine * left),
        slope * size_right * (left - cosine * right),
    )
    by_a = torch.linalg.cross(b, on_left)
    by_b = torch.linalg.cross(on_left, a) + torch.linalg.cross(d, on_right)
    by_d = torch.linalg.cross(on_right, b)
    return both_ends(i, j, by_a), both_ends(j, k, by_b), both_ends(k, m, by_d)


def out_of_plane(c: Constants, x: Tensor) -> tuple[Pull, Pull, Pull]:
    """k w^2 of the triple product w of the three unit vectors to a centre's neighbours."""
    j = c.terms.planes[:, 0]
    arms = [direction(x, c.terms.planes[:, m], j) for m in (1, 2, 3)]
    u = [unit for unit, _ in arms]
    normals = [torch.linalg.cross(u[(m + 1) % 3], u[(m + 2) % 3]) for m in range(3)]
    w = (u[0] * normals[0]).sum(-1, keepdim=True)
    slope = 2 * c.plane[:, None].to(x.dtype) * w
    pulls = [-slope * (normals[m] - w * u[m]) / arms[m][1] for m in range(3)]
    first, second, third = (both_ends(c.terms.planes[:, m + 1], j, pulls[m]) for m in range(3))
    return first, second, third


def contact_and_charge(c: Constants, x: Tensor) -> Pull:
    """The buffered 14-7 potential and buffered Coulomb of pairs."""
    i, j = c.terms.pairs.unbind(1)
    unit, d = direction(x, i, j)
    reach, well = (part[:, None].to(x.dtype) for part in c.contact.unbind(-1))
    r = d / reach
    r3 = r * r * r
    r6 = r3 * r3
    inverse, tail = 1 / (r + 0.07), 1 / (r6 * r + 0.12)
    a = 1.07 * inverse
    a3 = a * a * a
    a7, b = a3 * a3 * a, 1.12 * tail
    slope = -7 * well / reach * a7 * (inverse * (b - 2) + b * r6 * tail)
    slope = slope - c.charge[:, None].to(x.dtype) / (d + 0.05).square()
    return both_ends(i, j, -slope * unit)
