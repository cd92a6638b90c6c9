"""QM9's twelve properties of a molecule and its geometry: the judge of generated
molecules, trained on half b of QM9's training part.

An equivariant network in the manner of PaiNN (Schuett et al., ICML 2021) with scalars
and vectors on atoms. Its messages are radial convolutions with full kernels: K learned
functions of the distance gather the neighbours' features, and one matrix maps the K x M
numbers back, so that nearly all work is matrix products. What it knows of bonds is how
many there are between two atoms (1, 2, 3 or more), since orders depend on how rings are
Kekulised and distances tell them anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equidrift.errors import MoleculeError
from equidrift.models.molecules.data import ELEMENTS, PROPERTIES
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.devices import Device, batch_size, pick_device
from equidrift.models.shared.run import check_task, own_random_state
from equidrift.records import SYMBOLS, Molecule
from equidrift.weights import load_weights

MAX_HOPS = 4  # code of everything that is further apart than three bonds
SUMS = (
    "alpha_bohr3",
    "zpve_eV",
    "u0_eV",
    "u298_eV",
    "h298_eV",
    "g298_eV",
    "cv_cal_mol_K",
)  # contributions of atoms
POOLED = ("homo_eV", "lumo_eV", "gap_eV")  # of the whole
BATCH_SIZE = 64
_PAIR_PARTS = (
    4  # scalar and vector messages: from scalars, to vectors, vectors passed on, from vectors
)


@dataclass(frozen=True)
class PropertyConfig:
    """Sizes of a property network."""

    width: int = 128  # scalars of an atom
    message: int = 64  # scalars sent
    vectors: int = 48  # of an atom
    layers: int = 4  # rounds of messages
    scalar_kernels: int = 12  # radial functions of scalar messages
    vector_kernels: int = 4  # radial functions of vector messages
    radial: int = 32  # Gaussians that these are sums of
    cutoff_A: float = 9.0  # centre of the last of them


@dataclass(frozen=True)
class PropertyBatch(Batched):
    """Molecules padded to one size: element (b, n) with 0 for none, charge (b, n), hops
    (b, n, n), x (b, n, 3) in A, mask (b, n).

    composition (b, 6): atoms of each element, and 1. targets (b, 12) or None, in the
    units of `PROPERTIES`.
    """

    element: Tensor
    charge: Tensor
    hops: Tensor
    x: Tensor
    mask: Tensor
    composition: Tensor
    targets: Tensor | None = None


def make_batch(
    numbers: Sequence[NDArray[Any]],
    charges: Sequence[NDArray[Any]],
    bonds: Sequence[NDArray[Any]],
    positions_A: Sequence[NDArray[Any]],
    targets: NDArray[np.float64] | None = None,
) -> PropertyBatch:
    """Arrays of molecules, one entry each (see `Molecule` for their meaning), as one
    batch.
    """
    b, n = len(numbers), max(len(z) for z in numbers)
    element, charge = np.zeros((b, n), np.int64), np.zeros((b, n), np.int64)
    bonded, x = np.zeros((b, n, n), np.float32), np.zeros((b, n, 3))
    each = zip(numbers, charges, bonds, positions_A, strict=True)
    for k, (z, q, pairs, positions) in enumerate(each):
        m = len(z)
        element[k, :m], charge[k, :m], x[k, :m] = (
            _CODE[z],
            np.clip(q, -1, 1) + 1,
            positions - np.mean(positions, axis=0),
        )
        bonded[k, pairs[:, 0], pairs[:, 1]] = bonded[k, pairs[:, 1], pairs[:, 0]] = 1
    composition = np.stack(
        [(element == code).sum(1) for code in range(1, len(ELEMENTS) + 1)] + [np.ones(b, int)],
        axis=1,
    )
    return PropertyBatch(
        torch.from_numpy(element),
        torch.from_numpy(charge),
        torch.from_numpy(_hops(bonded)),
        torch.from_numpy(x.astype(np.float32)),
        torch.from_numpy(element > 0),
        torch.from_numpy(composition.astype(np.float64)),
        None if targets is None else torch.from_numpy(targets),
    )


_CODE = np.zeros(len(SYMBOLS), np.int64)
_CODE[list(ELEMENTS)] = np.arange(1, len(ELEMENTS) + 1)


def _hops(bonded: NDArray[np.float32]) -> NDArray[np.int64]:
    """Bonds between atoms, (b, n, n): 0 for an atom itself, 1, 2, 3, or `MAX_HOPS` for
    more.
    """
    reach, out = bonded, np.full(bonded.shape, MAX_HOPS, np.int64)
    seen = []
    for _ in range(MAX_HOPS - 1):
        seen.append(reach > 0)
        reach = reach @ bonded
    for hop in range(MAX_HOPS - 1, 0, -1):
        out[seen[hop - 1]] = hop
    diagonal = np.arange(bonded.shape[1])
    out[:, diagonal, diagonal] = 0
    return out


class Layer(nn.Module):
    """Messages between atoms, then scalars and vectors of an atom mixed."""

    def __init__(self, c: PropertyConfig):
        super().__init__()
        w, m, u = c.width, c.message, c.vectors
        ks, kv = c.scalar_kernels, c.vector_kernels
        self.kernels = (ks, kv, kv, kv)
        self.norm, self.norm_update = nn.LayerNorm(w), nn.LayerNorm(w + u)
        self.narrow, self.narrow_u = nn.Linear(w, m), nn.Linear(w, u)
        self.to_scalar = nn.Linear(ks * m + kv * u, w)
        self.to_vector = nn.Linear(2 * kv * u, u, bias=False)
        self.mix = nn.Linear(u, 2 * u, bias=False)
        self.update = nn.Sequential(nn.Linear(w + u, w), nn.SiLU(), nn.Linear(w, w + 2 * u))
        self.dot = nn.Linear(u, w, bias=False)

    def forward(self, s: Tensor, v: Tensor, kernel: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """s (b, n, w), v (b, 3, n, u); kernel (b, n, K, n), the last for the neighbour;
        unit (b, 3, n, 1, n).
        """
        b, n, _ = s.shape
        plain, to_vector, passed, from_vector = torch.split(kernel, list(self.kernels), dim=2)
        hidden = self.norm(s)
        a, c = nn.functional.silu(self.narrow(hidden)), nn.functional.silu(self.narrow_u(hidden))
        scalar = torch.bmm(plain.reshape(b, -1, n), a).view(b, n, -1)
        vector = torch.bmm((to_vector[:, None] * unit).reshape(b, -1, n), c).view(b, 3, n, -1)
        other = torch.bmm(passed.reshape(b, -1, n), v.permute(0, 2, 1, 3).reshape(b, n, -1))
        other = other.view(b, n, -1, 3, v.shape[-1]).permute(0, 3, 1, 2, 4).reshape(b, 3, n, -1)
        along = from_vector[:, :, :, None] * unit.permute(0, 2, 3, 1, 4)  # (b, n, K, 3, n)
        dot = torch.bmm(along.reshape(b, -1, 3 * n), v.reshape(b, 3 * n, -1)).view(b, n, -1)
        s = s + self.to_scalar(torch.cat([scalar, dot], dim=-1))
        v = v + self.to_vector(torch.cat([vector, other], dim=-1))
        left, right = self.mix(v).chunk(2, dim=-1)
        length = (right.square().sum(1) + 1e-6).sqrt()
        add, gate, scale = self.update(self.norm_update(torch.cat([s, length], dim=-1))).split(
            (s.shape[-1], *(v.shape[-1],) * 2), dim=-1
        )
        return s + add + self.dot(scale * (left * right).sum(1)), v + gate[:, None] * left


class PropertyNet(nn.Module):
    """The network; `forward` gives the twelve properties less what the composition
    tells, over their spread.
    """

    def __init__(self, config: PropertyConfig):
        super().__init__()
        self.config = c = config
        w = c.width
        self.element, self.charge = nn.Embedding(len(ELEMENTS) + 1, w), nn.Embedding(3, w)
        self.hop = nn.Embedding(MAX_HOPS + 1, 64)
        per_layer = c.scalar_kernels + (_PAIR_PARTS - 1) * c.vector_kernels
        self.radial, self.kernel = nn.Linear(c.radial, 64), nn.Linear(64, c.layers * per_layer)
        self.layers = nn.ModuleList([Layer(c) for _ in range(c.layers)])
        self.norm = nn.LayerNorm(w)
        self.sums = nn.Sequential(nn.Linear(w, w), nn.SiLU(), nn.Linear(w, len(SUMS) + 3))
        self.pool = nn.Linear(w, 8)
        self.pooled = nn.Sequential(nn.Linear(9 * w, w), nn.SiLU(), nn.Linear(w, len(POOLED)))
        self.dipole = nn.Linear(c.vectors, 1, bias=False)
        self.centres: Tensor
        self.register_buffer("centres", torch.linspace(0.5, c.cutoff_A, c.radial), persistent=False)
        # set before training: what the composition tells of a property (6, 12), and the spread
        # of the rest (12,)
        self.baseline: Tensor
        self.spread: Tensor
        self.register_buffer(
            "baseline", torch.zeros(len(ELEMENTS) + 1, len(PROPERTIES), dtype=torch.float64)
        )
        self.register_buffer("spread", torch.ones(len(PROPERTIES), dtype=torch.float64))

    def forward(self, batch: PropertyBatch) -> Tensor:
        """(b, 12) float32."""
        x, mask = batch.x, batch.mask
        both = mask[:, :, None] & mask[:, None]
        step = x[:, :, None] - x[:, None]
        d = (step.square().sum(-1) + 1e-8).sqrt()
        apart = both & (batch.hops > 0)
        unit = (step / d[..., None] * apart[..., None]).permute(0, 3, 1, 2)[:, :, :, None]
        kernels = self._kernels(d, batch.hops, apart)
        s = self.element(batch.element) + self.charge(batch.charge)
        v = s.new_zeros(len(x), 3, x.shape[1], self.config.vectors)
        if kernels[0].dtype != s.dtype:
            s, v, unit = s.to(kernels[0].dtype), v.to(kernels[0].dtype), unit.to(kernels[0].dtype)
        for layer, kernel in zip(self.layers, kernels, strict=True):
            s, v = layer(s, v, kernel, unit)
        return self._read(self.norm(s), v, x, mask)

    def _kernels(self, d: Tensor, hops: Tensor, apart: Tensor) -> list[Tensor]:
        """Of each layer, (b, n, K, n)."""
        width = (self.centres[1] - self.centres[0]) * 1.2
        shape = torch.exp(
            (-(((d[..., None] - self.centres) / width) ** 2)).clamp_min(-20.0)
        )  # smaller ones are slow and nothing
        features = nn.functional.silu(self.radial(shape) + self.hop(hops))
        kernel = self.kernel(features) * apart[..., None]
        return list(kernel.transpose(2, 3).contiguous().chunk(self.config.layers, dim=2))

    def _read(self, s: Tensor, v: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """Sums over atoms, pooled atoms, the length of the dipole, and the spread of
        the electrons.
        """
        there = mask[..., None].float()
        atoms = self.sums(s).float() * there
        weight = self.pool(s).float().masked_fill(~mask[..., None], -1e9).softmax(1)
        share = torch.cat([weight, there / there.sum(1, keepdim=True)], dim=-1)
        whole = self.pooled(torch.bmm(share.transpose(1, 2).to(s.dtype), s).flatten(1)).float()
        charge = (
            atoms[..., -1:] - atoms[..., -1:].sum(1, keepdim=True) / there.sum(1, keepdim=True)
        ) * there
        vector = (charge * x).sum(1) + (
            self.dipole(v).float().squeeze(-1) * there.squeeze(-1)[:, None]
        ).sum(-1)
        mu = (vector.square().sum(-1) + 1e-6).sqrt()
        r2 = (atoms[..., -2] * x.square().sum(-1) * 0.05 + atoms[..., -3]).sum(1)
        columns = {name: atoms[..., k].sum(1) for k, name in enumerate(SUMS)} | {
            name: whole[:, k] for k, name in enumerate(POOLED)
        }
        columns |= {"mu_D": mu, "r2_bohr2": r2}
        return torch.stack([columns[name] for name in PROPERTIES], dim=1)


class PropertyNetwork:
    """Predicts QM9's properties; float32 on the CPU.

    Parameters
    ----------
    network : PropertyNet
        The trained network.
    name, weights_sha256 : str, str or None
        Where it comes from.
    device : Device
        Torch device; None is CUDA if there is one, else the CPU.
    """

    def __init__(
        self,
        network: PropertyNet,
        name: str = "properties",
        weights_sha256: str | None = None,
        device: Device = "cpu",
    ) -> None:
        self.device = pick_device(device)
        self.network = network.eval().to(self.device)
        self.name, self.weights_sha256 = name, weights_sha256

    def predict(
        self, systems: Sequence[tuple[Molecule, NDArray[np.float64]]]
    ) -> dict[str, NDArray[np.float64]]:
        """Properties of (molecule, positions_A (n_atoms, 3)), as arrays (len(systems),)
        by name; NaN where a coordinate is not finite.

        Raises
        ------
        MoleculeError
            for an element that QM9 does not have.
        """
        out = np.full((len(systems), len(PROPERTIES)), np.nan)
        for molecule, _ in systems:
            if unknown := sorted({SYMBOLS[z] for z in molecule.numbers.tolist() if _CODE[z] == 0}):
                known = " ".join(SYMBOLS[z] for z in ELEMENTS)
                raise MoleculeError(
                    f"{molecule!r} holds {', '.join(unknown)}, which the "
                    f"property network does not know; it knows {known}"
                )
        good = [
            k
            for k, (molecule, x) in enumerate(systems)
            if molecule.n_atoms and np.isfinite(x).all()
        ]
        order = sorted(good, key=lambda k: systems[k][0].n_atoms)
        size = batch_size(BATCH_SIZE, self.device)
        for begin in range(0, len(order), size):
            rows = order[begin : begin + size]
            graphs, positions = [systems[k][0] for k in rows], [systems[k][1] for k in rows]
            numbers, charges = [g.numbers for g in graphs], [g.formal_charges for g in graphs]
            out[rows] = self._values(
                make_batch(numbers, charges, [g.bonds for g in graphs], positions)
            )
        return {name: out[:, k] for k, name in enumerate(PROPERTIES)}

    @torch.no_grad()
    def _values(self, batch: PropertyBatch) -> NDArray[np.float64]:
        net, batch = self.network, batch.to(self.device)
        made = batch.composition @ net.baseline + net(batch).double() * net.spread
        values: NDArray[np.float64] = made.cpu().numpy()
        return values


def make_network(config: PropertyConfig, seed: int = 0) -> PropertyNet:
    """A network with random weights that depend on `seed` alone."""
    with own_random_state(seed):
        return PropertyNet(config)


@lru_cache(maxsize=2)
def load_properties(weights: str = "properties", device: Device = None) -> PropertyNetwork:
    """The shipped network, or one from the path of trained weights, on a device.

    Raises `WeightsError` or `UnknownNameError` where there is none.
    """
    state, card = load_weights(weights)
    check_task(weights, card, "molecules-properties")
    network = make_network(PropertyConfig(**card["config"]))
    scales = {
        key: torch.tensor(card["scales"][key], dtype=torch.float64, device="cpu")
        for key in ("baseline", "spread")
    }
    network.load_state_dict(state | scales)
    return PropertyNetwork(network, card["name"], card["sha256"], device)


def network_values(
    systems: Sequence[tuple[Molecule, NDArray[np.float64]]],
) -> dict[str, NDArray[np.float64]]:
    """`predict` of the shipped network: the judge `network` of `equidrift.generate`."""
    return load_properties().predict(systems)
