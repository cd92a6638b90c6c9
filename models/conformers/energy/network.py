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

import torch
from torch import Tensor, nn
from torch.nn import functional

from equidrift.models.conformers.energy.bonded import Bonded
from equidrift.models.conformers.energy.by_trunk import TrunkEnergy
from equidrift.models.conformers.energy.layers import EnergyConfig, begin_small, dot, perceptron
from equidrift.models.conformers.energy.neighbourhood import Neighbourhood, Radial, surroundings
from equidrift.models.conformers.energy.terms import Graphs
from equidrift.models.shared.graph_codes import ATOM_CODES, MAX_HOPS, PAIR_CODES
from equidrift.models.shared.layers import embedded

COULOMB_EV_A = 14.399645  # of two unit charges
SMALLEST_A = 1.5  # where the radial functions of pairs begin
TERM_SCALE_EV = 0.05  # of a fresh network's terms


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
        h, bond = embedded(self.atom, graphs.atom), embedded(self.bond, graphs.bond_codes)
        i, j = graphs.bonds.t()
        for norm, message, update in zip(self.norms, self.messages, self.updates, strict=True):
            u = norm(h)
            sent = message(u)
            heard = torch.zeros_like(h)
            heard = heard.index_add(0, i, functional.silu(sent[j] + bond)).index_add(
                0, j, functional.silu(sent[i] + bond)
            )
            h = h + update(torch.cat([u, heard], dim=-1))
        out: Tensor = self.final(h)
        return out


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
        blocks = 0 if config.backbone is not None else config.blocks
        self.blocks = nn.ModuleList([Neighbourhood(config) for _ in range(blocks)])
        self.trunk = None if config.backbone is None else TrunkEnergy(config)

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
        """Energies (molecules, k) in eV of geometries x (3, N, k) at a noise level."""
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
        if self.trunk is not None:
            terms.append((torch.arange(x.shape[1], device=x.device), self.trunk(graphs, x, h)))
        out = x.new_zeros(graphs.count, x.shape[2])
        for atom, energy in terms:
            out = out.index_add(0, graphs.owner[atom], energy)
        return out
