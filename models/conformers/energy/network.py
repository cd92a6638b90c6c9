"""An energy of a molecule's geometry, at a noise level, from which force and score
follow as its gradient.

Two parts, both invariant under rotations, translations, reflections and the order of
atoms. A graph network that never sees the geometry gives every bond, angle, torsion,
plane and pair its own coefficients, of fixed functions of internal coordinates with the
couplings of a class-II force field. Neighbourhoods (`blocks` of them) add what no such
sum holds: moments of the surroundings of each atom within a cutoff, up to quadrupoles.
Coefficients are made once for a molecule and shared by all its geometries, in every
step of a relaxation: one evaluation of 40 atoms takes well below a millisecond of a
core in a batch.

At zero noise the energy is GFN2-xTB's up to a constant; with a reference force field
(see the sampler) only its difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from equidrift.models.shared.graph_codes import (
    ATOM_CODES,
    ELEMENTS,
    MAX_HOPS,
    PAIR_CODES,
    GraphCodes,
)

# Covalent radii (A, Cordero 2008, DOI 10.1039/b801115j) of `ELEMENTS`: where a bond's
# functions are centred.
RADII_A = (0.31, 0.84, 0.76, 0.71, 0.66, 0.57, 1.11, 1.07, 1.05, 1.02, 1.20, 1.39)
HYDROGEN = 1 + ELEMENTS.index(1)  # code of the element
BOND_SCALE_A = 0.15  # a stretch of this size counts as 1
SATURATION = 3.0  # stretches beyond this many scales no longer change the learned terms
COSINE_SCALE = 0.2  # the same for cosines of angles
COSINE_CENTRE = -0.4
COULOMB_EV_A = 14.399645  # of two unit charges
SMALLEST_A = 1.5  # where the radial functions of pairs begin
TERM_SCALE_EV = 0.05  # of a fresh network's terms


@dataclass(frozen=True)
class EnergyConfig:
    """Sizes. `blocks`: neighbourhoods after the bonded terms; 0 leaves a force field
    with learned coefficients.
    """

    width: int = 96
    rounds: int = 4
    hidden: int = 96
    radial: int = 16
    cutoff_A: float = 6.0
    blocks: int = 1
    channels: int = 32
    cutoff_neighbours_A: float = 5.0


@dataclass(frozen=True)
class Topology:
    """The terms of one molecule: atom codes (n, 7) and, for each kind of term, atoms
    (t, 2 to 4) and codes of the graph.
    """

    atom: NDArray[np.int64]
    bonds: NDArray[np.int64]
    bond_codes: NDArray[np.int64]  # (b, 2): order, smallest ring
    angles: NDArray[np.int64]  # centre in the middle
    torsions: NDArray[np.int64]
    planes: NDArray[np.int64]  # centre first
    pairs: NDArray[np.int64]  # every pair of atoms
    hops: NDArray[np.int64]  # (p,) code of the number of bonds between them

    @property
    def n_atoms(self) -> int:
        return len(self.atom)


def topology(codes: GraphCodes) -> Topology:
    """The terms of a molecule, from the codes of its graph."""
    order = codes.pair[..., 0].astype(np.int64)
    i, j = np.nonzero(np.triu(order))
    neighbours = [np.flatnonzero(row) for row in order]
    angles = [
        (a, c, b)
        for c, near in enumerate(neighbours)
        for k, a in enumerate(near)
        for b in near[k + 1 :]
    ]
    torsions = [
        (a, p, q, b)
        for p, q in zip(i.tolist(), j.tolist())
        for a in neighbours[p]
        for b in neighbours[q]
        if a != q and b != p and a != b
    ]
    planes = [(c, *near) for c, near in enumerate(neighbours) if len(near) == 3]
    every = np.stack(np.triu_indices(codes.n_atoms, 1), axis=1)
    return Topology(
        atom=codes.atom.astype(np.int64),
        bonds=np.stack([i, j], axis=1),
        bond_codes=np.stack([order[i, j], codes.pair[i, j, 2].astype(np.int64)], axis=1),
        angles=np.array(angles, np.int64).reshape(-1, 3),
        torsions=np.array(torsions, np.int64).reshape(-1, 4),
        planes=np.array(planes, np.int64).reshape(-1, 4),
        pairs=every,
        hops=codes.pair[every[:, 0], every[:, 1], 1].astype(np.int64),
    )


@dataclass
class Graphs:
    """The terms of several molecules, their atoms in one row (N in all).

    atom (N, 7); bonds (b, 2), bond_codes (b, 2), angles (a, 3), torsions (t, 4), planes
    (o, 4), pairs (p, 2) and hops (p,); `owner` (N,) is the molecule of each atom and
    `count` the number of molecules.
    """

    atom: Tensor
    bonds: Tensor
    bond_codes: Tensor
    angles: Tensor
    torsions: Tensor
    planes: Tensor
    pairs: Tensor
    hops: Tensor
    owner: Tensor
    count: int


def join(parts: Sequence[Topology]) -> Graphs:
    """One row of atoms out of several molecules."""
    sizes = [part.n_atoms for part in parts]
    begin = np.cumsum([0, *sizes[:-1]])
    shifted = {
        name: torch.from_numpy(
            np.concatenate([getattr(part, name) + at for part, at in zip(parts, begin)])
        )
        for name in ("bonds", "angles", "torsions", "planes", "pairs")
    }
    plain = {
        name: torch.from_numpy(np.concatenate([getattr(part, name) for part in parts]))
        for name in ("atom", "bond_codes", "hops")
    }
    owner = torch.from_numpy(np.repeat(np.arange(len(parts)), sizes))
    return Graphs(**shifted, **plain, owner=owner, count=len(parts))


class GraphEncoder(nn.Module):
    """Features of atoms from the graph alone: messages along bonds."""

    def __init__(self, config: EnergyConfig):
        super().__init__()
        w = config.width
        self.atom = nn.ModuleList([nn.Embedding(size, w) for size in ATOM_CODES])
        self.bond = nn.ModuleList(
            [nn.Embedding(size, w) for size in (PAIR_CODES[0], PAIR_CODES[2])]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(w) for _ in range(config.rounds)])
        self.messages = nn.ModuleList([nn.Linear(w, w) for _ in range(config.rounds)])
        self.updates = nn.ModuleList([perceptron(2 * w, 2 * w, w) for _ in range(config.rounds)])
        self.final = nn.LayerNorm(w)

    def forward(self, graphs: Graphs) -> Tensor:
        """(N, width)."""
        h: Tensor = sum(
            (table(graphs.atom[:, k]) for k, table in enumerate(self.atom)), start=torch.zeros(())
        )
        bond = sum(
            (table(graphs.bond_codes[:, k]) for k, table in enumerate(self.bond)),
            start=torch.zeros(()),
        )
        i, j = graphs.bonds.t()
        for norm, message, update in zip(self.norms, self.messages, self.updates):
            u = norm(h)
            sent = message(u)
            heard = torch.zeros_like(h)
            heard = heard.index_add(0, i, functional.silu(sent[j] + bond)).index_add(
                0, j, functional.silu(sent[i] + bond)
            )
            h = h + update(torch.cat([u, heard], dim=-1))
        out: Tensor = self.final(h)
        return out


def perceptron(size: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, out))


def begin_small(head: nn.Sequential) -> None:
    """Let a fresh perceptron say next to nothing."""
    last = cast(nn.Linear, head[-1])
    nn.init.normal_(last.weight, std=0.001)
    nn.init.zeros_(last.bias)


class Coefficients(nn.Module):
    """The coefficients of all terms, from features of atoms; a term read from either
    end gets the same ones.
    """

    BOND, ANGLE, TORSION, PLANE = 3, 4, 9, 2
    ANGLE_SIDE, TORSION_SIDE = 1, 3

    def __init__(self, config: EnergyConfig):
        super().__init__()
        w, hidden = config.width, config.hidden
        self.bond = perceptron(2 * w, hidden, self.BOND)
        self.angle = perceptron(3 * w, hidden, self.ANGLE + self.ANGLE_SIDE)
        self.torsion = perceptron(4 * w, hidden, self.TORSION + self.TORSION_SIDE)
        self.plane = perceptron(2 * w, hidden, self.PLANE)
        self.hop = nn.Embedding(MAX_HOPS + 2, w)
        self.pair = perceptron(2 * w, hidden, config.radial)
        self.charge = nn.Linear(w, 4)
        nn.init.normal_(self.charge.weight, std=0.01)
        for head in (self.bond, self.angle, self.torsion, self.plane, self.pair):
            begin_small(head)

    def forward(self, h: Tensor, graphs: Graphs) -> dict[str, Tensor]:
        """Each (terms, coefficients), eV; `angle_sides` and `torsion_sides` (2,
        terms, coefficients).
        """
        i, j = graphs.bonds.t()
        a, c, b = graphs.angles.t()
        p, q, r, s = graphs.torsions.t()
        o, *arms = graphs.planes.t()
        first, second = graphs.pairs.t()
        angle = torch.stack(
            [self.angle(torch.cat([h[x], h[c], h[y]], dim=-1)) for x, y in ((a, b), (b, a))]
        )
        turns = ((p, q, r, s), (s, r, q, p))
        torsion = torch.stack(
            [self.torsion(torch.cat([h[k] for k in turn], dim=-1)) for turn in turns]
        )
        charge = self.charge(h)
        signs = charge.new_tensor([1.0, 1.0, -1.0, -1.0])
        out = {
            "bond": self.bond(torch.cat([h[i] + h[j], h[i] * h[j]], dim=-1)),
            "angle": angle[..., : self.ANGLE].sum(0),
            "angle_sides": angle[..., self.ANGLE :],
            "torsion": torsion[..., : self.TORSION].sum(0),
            "torsion_sides": torsion[..., self.TORSION :],
            "plane": self.plane(torch.cat([h[o], h[arms[0]] + h[arms[1]] + h[arms[2]]], dim=-1)),
            "pair": self.pair(
                torch.cat(
                    [h[first] + h[second] + self.hop(graphs.hops), h[first] * h[second]], dim=-1
                )
            ),
        }
        out = {name: TERM_SCALE_EV * 10 * value for name, value in out.items()}
        return {
            **out,
            "charge": 0.02 * (charge[first] * signs * charge[second]).sum(-1, keepdim=True),
        }


def saturated(u: Tensor) -> Tensor:
    """u where it is small, and bounded by `SATURATION`."""
    return SATURATION * torch.tanh(u / SATURATION)


def dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(0)


def cross(a: Tensor, b: Tensor) -> Tensor:
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


class Radial(nn.Module):
    """Gaussians (p, k, count) in distances (p, k), smoothly 0 at the cutoff."""

    def __init__(self, count: int, begin_A: float, cutoff_A: float):
        super().__init__()
        self.cutoff_A = cutoff_A
        self.centres: Tensor
        self.register_buffer("centres", torch.linspace(begin_A, cutoff_A, count), persistent=False)
        self.inverse_width = 1.2 * (count - 1) / (cutoff_A - begin_A)

    def forward(self, d: Tensor) -> Tensor:
        wave = 0.5 * (1 + torch.cos(d.clamp(max=self.cutoff_A) * (math.pi / self.cutoff_A)))
        return (
            torch.exp(-0.5 * ((d[..., None] - self.centres) * self.inverse_width).square())
            * wave[..., None]
        )


@dataclass
class Surroundings:
    """The neighbours of the heavy atoms, padded to one number K: centres (c,),
    neighbours (c, K), codes of bonds between (c, K).

    `moments` (c, k, 10, K) are 1, the unit vectors and their products; `distances_A`
    (c, k, K); `real` (c, 1, K) marks no padding.
    """

    centres: Tensor
    neighbours: Tensor
    hops: Tensor
    moments: Tensor
    distances_A: Tensor
    real: Tensor


def surroundings(graphs: Graphs, x: Tensor, pairs: Tensor, hops: Tensor) -> Surroundings:
    """The neighbours among `pairs` (p, 2), each of which is a neighbour of either
    end that is no hydrogen.
    """
    heavy = graphs.atom[:, 0] != HYDROGEN
    centre, other = torch.cat([pairs, pairs.flip(1)]).t()
    kept = heavy[centre].nonzero()[:, 0]
    centre, other, code = centre[kept], other[kept], torch.cat([hops, hops])[kept]
    order = torch.argsort(centre, stable=True)
    centre, other, code = centre[order], other[order], code[order]
    centres, row, count = torch.unique_consecutive(centre, return_inverse=True, return_counts=True)
    slot = torch.arange(len(centre)) - (count.cumsum(0) - count)[row]
    width = int(count.max()) if len(count) else 0
    neighbours = centres[:, None].repeat(1, width)
    neighbours[row, slot] = other
    codes = torch.zeros_like(neighbours)
    codes[row, slot] = code
    r = (
        x.index_select(1, neighbours.reshape(-1)).view(3, len(centres), width, -1)
        - x.index_select(1, centres)[:, :, None]
    )
    r = r.transpose(2, 3)  # (3, c, k, K)
    d = (dot(r, r) + 1e-8).sqrt()
    a, b, c = r / d
    one = torch.ones_like(a)
    moments = torch.stack(
        [one, a, b, c, a * a - 1 / 3, b * b - 1 / 3, c * c - 1 / 3, a * b, a * c, b * c], dim=2
    )
    return Surroundings(centres, neighbours, codes, moments, d, (codes > 0)[:, None].to(x.dtype))


class Neighbourhood(nn.Module):
    """Moments of each heavy atom's surroundings up to quadrupoles, and the
    invariants they make.
    """

    def __init__(self, config: EnergyConfig):
        super().__init__()
        w, c = config.width, config.channels
        self.radial = Radial(config.radial, 0.8, config.cutoff_neighbours_A)
        self.filter = nn.Linear(config.radial, c, bias=False)
        self.hop = nn.Embedding(MAX_HOPS + 2, c)
        self.sender = nn.Linear(w, c)
        self.update = perceptron(w + 4 * c, config.hidden, w)
        self.read = perceptron(w, config.hidden // 2, 1)
        begin_small(self.read)

    def forward(self, h: Tensor, around: Surroundings) -> tuple[Tensor, Tensor]:
        """(features (N, k, width), energies (c, k) of the centres) from features h
        (N, 1 or k, width).
        """
        c, k, width = around.distances_A.shape
        sent = (
            self.sender(h)
            .index_select(0, around.neighbours.reshape(-1))
            .view(c, width, h.shape[1], -1)
            .transpose(1, 2)
        )
        sent = sent * (
            self.hop(around.hops)[:, None] * around.real[..., None]
        )  # (c, 1 or k, K, channels)
        weight = self.filter(self.radial(around.distances_A)) * sent
        moment = around.moments @ weight  # (c, k, 10, channels)
        v, q = moment[..., 1:4, :], moment[..., 4:, :]
        scale = q.new_tensor([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])[:, None]
        x, y, z = v.unbind(2)
        products = torch.stack([x * x, y * y, z * z, x * y, x * z, y * z], dim=2)
        invariants = [
            moment[..., 0, :],
            v.square().sum(2),
            (scale * q.square()).sum(2),
            (scale * q * products).sum(2),
        ]
        own = h.index_select(0, around.centres).expand(-1, k, -1)
        change = self.update(torch.cat([own, *invariants], dim=-1))
        state = h.expand(-1, k, -1).index_add(0, around.centres, change)
        return state, self.read(own + change)[..., 0]


class EnergyNetwork(nn.Module):
    """Energies (molecules, k) in eV of geometries x (3, N, k) in A."""

    def __init__(self, config: EnergyConfig):
        super().__init__()
        self.config = config
        self.encoder = GraphEncoder(config)
        self.noise = perceptron(3, 32, config.width)
        self.coefficients = Coefficients(config)
        self.bonded = Bonded()
        self.radial = Radial(config.radial, SMALLEST_A, config.cutoff_A)
        self.blocks = nn.ModuleList([Neighbourhood(config) for _ in range(config.blocks)])

    def features(self, graphs: Graphs, sigma_A: float = 0.0) -> Tensor:
        """Features of atoms (N, width) at a noise level; they do not depend on the
        geometry.
        """
        h: Tensor = self.encoder(graphs)
        if sigma_A > 0:
            level = h.new_tensor([1.0, 10 * sigma_A, math.log(sigma_A / 0.05)])
            h = h + self.noise(level)
        return h

    def forward(self, graphs: Graphs, x: Tensor, sigma_A: float = 0.0) -> Tensor:
        h = self.features(graphs, sigma_A)
        return self.energy(graphs, x, h, self.coefficients(h, graphs))

    def energy(self, graphs: Graphs, x: Tensor, h: Tensor, c: dict[str, Tensor]) -> Tensor:
        """Energies (molecules, k) with features and coefficients that were made
        before.
        """
        i, j = graphs.pairs.t()
        r = x.index_select(1, j) - x.index_select(1, i)
        d = (dot(r, r) + 1e-8).sqrt()
        far = graphs.hops > 3  # three bonds and more: the codes begin at 1
        charges = c["charge"] * far[:, None]
        coulomb = charges * COULOMB_EV_A * (d.square() + 1.0).rsqrt()
        smallest = d.detach().amin(1)
        close = (far & (smallest < self.config.cutoff_A)).nonzero()[:, 0]
        radial = self.radial(d.index_select(0, close)) @ c["pair"].index_select(0, close)[..., None]
        terms = [(i, coulomb), (i[close], radial[..., 0]), *self.bonded(x, graphs, c)]
        if self.blocks:
            near = (smallest < self.config.cutoff_neighbours_A).nonzero()[:, 0]
            around, state = (
                surroundings(graphs, x, graphs.pairs[near], graphs.hops[near]),
                h[:, None],
            )
            for block in self.blocks:
                state, energy = block(state, around)
                terms.append((around.centres, energy))
        out = x.new_zeros(graphs.count, x.shape[2])
        for atom, energy in terms:
            out = out.index_add(0, graphs.owner[atom], energy)
        return out
