"""A force field fitted to one molecule in closed form: an energy linear in its
coefficients, over bonds, angles, torsions and pairs.

E = sum over terms of powers of each coordinate, products of coordinates that share
atoms, and radial functions of pairs three or more bonds apart. Forces are linear in the
coefficients too, so forces along a few hundred frames give them by least squares, in
seconds. The energy is conserved, and terms that a renumbering of equal atoms would swap
share their coefficients, so that symmetry is exact. Coefficients are found again by a
hash of what a term is made of: any order of the atoms will do.

Energies in amu A^2/fs^2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.trajectories.integrator.field import FLAT
from equidrift.models.trajectories.integrator.skeleton import Skeleton

POWERS = {"bond": 4, "angle": 4, "torsion": 6, "plane": 2}  # of planes the even ones: 2 and 4
CENTRES_A = np.geomspace(1.5, 6.0, 10)
WIDTH = 0.18  # of the radial Gaussians, in log d
# amu/fs^2 and the like: what leads back from beyond all that was seen
WALL = {"bond": 0.1, "angle": 0.05, "pair": 0.01}
MARGIN = {"bond": 0.03, "angle": 0.05, "pair": 0.05}  # of what was seen
COUPLED = (  # kinds whose products count, and the atoms that two of them share at least
    ("bond", "bond", 1),
    ("bond", "angle", 1),
    ("angle", "angle", 2),
    ("bond", "torsion", 2),
    ("angle", "torsion", 2),
    ("torsion", "torsion", 2),
    ("sine", "sine", 2),
)


def colours(node: NDArray[Any], edge: NDArray[Any]) -> list[bytes]:
    """A hash per atom, equal for atoms that a renumbering may swap (Weisfeiler and
    Leman's refinement), unlike those of other molecules.
    """
    found = [
        hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in np.ascontiguousarray(node)
    ]
    kinds = np.ascontiguousarray(edge)
    for _ in range(len(found)):
        rows = []
        for i in range(len(found)):
            seen = sorted(found[j] + kinds[i, j].tobytes() for j in range(len(found)) if j != i)
            rows.append(hashlib.blake2b(found[i] + b"".join(seen), digest_size=8).digest())
        if len(set(rows)) == len(set(found)) and found != rows and len(rows) > 2:
            return rows
        found = rows
    return found


def key_of(kind: str, atoms: Sequence[tuple[int, ...]], colour: list[bytes]) -> int:
    """A hash of a term of one or two coordinates: their kinds, the colours of their
    atoms, which they share; read from any end.
    """
    reads = []
    for turned in product(*((a, a[::-1]) for a in atoms)):
        places: dict[int, int] = {}
        pattern = bytes(places.setdefault(i, len(places)) for a in turned for i in a)
        reads.append(pattern + b"".join(colour[i] for i in places))
    text = kind.encode() + min(reads)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little", signed=True)


@dataclass
class Coordinates:
    """What a molecule's energy is made of: atoms of each kind of coordinate, products,
    and the keys of all coefficients.

    powers : kind -> (m, p) keys; couplings : (kind, kind) -> indices (k, 2) and keys
        (k,); references : kind -> (m,) keys, and so lows and highs: the range that
        training saw. Beyond it powers go on as straight lines, products stay, and a
        wall leads back.
    """

    atoms: dict[str, Tensor]
    powers: dict[str, NDArray[np.int64]]
    couplings: dict[tuple[str, str], tuple[Tensor, NDArray[np.int64]]]
    references: dict[str, NDArray[np.int64]]
    lows: dict[str, NDArray[np.int64]]
    highs: dict[str, NDArray[np.int64]]
    mass: Tensor


@dataclass(frozen=True)
class _Named:
    """The atoms of each coordinate by kind, and the colours of all atoms."""

    lists: dict[str, list[tuple[int, ...]]]
    colour: list[bytes]

    def keys(self, name: str, kinds: Iterable[str]) -> dict[str, NDArray[np.int64]]:
        """A key (m,) of each coordinate of some kinds."""
        return {
            kind: np.array(
                [key_of(f"{kind}{name}", [a], self.colour) for a in self.lists[kind]], np.int64
            )
            for kind in kinds
            if self.lists[kind]
        }

    def powers(self, kind: str, count: int) -> NDArray[np.int64]:
        """A key (m, count) of each power of each coordinate of a kind."""
        rows = [
            [key_of(f"{kind}{p}", self._ends(kind, a), self.colour) for p in range(1, count + 1)]
            for a in self.lists[kind]
        ]
        return np.array(rows, np.int64).reshape(-1, count)

    def _ends(self, kind: str, atoms: tuple[int, ...]) -> list[tuple[int, ...]]:
        """What of a coordinate is read from either end; even powers do not mind the
        order of a plane's three neighbours.
        """
        return [(i,) for i in atoms] if kind == "plane" else [atoms]

    def coupled(self, first: str, second: str, shared: int) -> tuple[Tensor, NDArray[np.int64]]:
        """Pairs (k, 2) of coordinates that share atoms, and their keys (k,)."""
        a, b = (self.lists["torsion" if kind == "sine" else kind] for kind in (first, second))
        found = [
            (i, j)
            for i, one in enumerate(a)
            for j, other in enumerate(b)
            if (first != second or i < j) and len(set(one) & set(other)) >= shared
        ]
        kind, colour = first + second, self.colour
        rows = [
            min(key_of(kind, [a[i], b[j]], colour), key_of(kind, [b[j], a[i]], colour))
            for i, j in found
        ]
        index = torch.from_numpy(np.array(found, np.int64).reshape(-1, 2))
        return index, np.array(rows, np.int64)


def coordinates(s: Skeleton, colour: list[bytes]) -> Coordinates:
    """The coordinates of a molecule's skeleton."""
    planes = s.planes.tolist()
    lists = {
        "bond": [tuple(a) for a in s.bonds.tolist()],
        "angle": [tuple(a) for a in s.angles.tolist()],
        "torsion": [tuple(a) for a in s.torsions.tolist()],
        "plane": [(row[0], *sorted(row[1:], key=lambda i: (colour[i], i))) for row in planes],
        "pair": [tuple(a) for a in s.pairs.tolist()],
    }
    named, counts = _Named(lists, colour), POWERS | {"pair": len(CENTRES_A) + 1}
    device = s.mass.device
    couplings = {
        (first, second): named.coupled(first, second, shared) for first, second, shared in COUPLED
    }
    atoms = {kind: torch.tensor(some, device=device) for kind, some in lists.items() if some}
    return Coordinates(
        atoms,
        {kind: named.powers(kind, counts[kind]) for kind in lists},
        {pair: (index.to(device), keys) for pair, (index, keys) in couplings.items()},
        named.keys("0", ("bond", "angle")),
        named.keys("low", WALL),
        named.keys("high", WALL),
        s.mass,
    )


def values(kind: str, x: Tensor) -> Tensor:
    """The coordinates (b, m) of a kind from their own atoms' positions x (b, m, atoms,
    3); of torsions the cosines, then the sines.
    """
    if kind in ("bond", "pair"):
        return ((x[:, :, 0] - x[:, :, 1]).square().sum(-1) + 1e-12).sqrt()
    if kind == "angle":
        u, w = x[:, :, 0] - x[:, :, 1], x[:, :, 2] - x[:, :, 1]
        return (u * w).sum(-1) * (u.square().sum(-1) * w.square().sum(-1) + 1e-12).rsqrt()
    if kind == "plane":
        u = x[:, :, 1:] - x[:, :, :1]
        u = u * (u.square().sum(-1, keepdim=True) + 1e-12).rsqrt()
        return (u[:, :, 0] * torch.linalg.cross(u[:, :, 1], u[:, :, 2])).sum(-1)
    a, b, c = x[:, :, 1] - x[:, :, 0], x[:, :, 2] - x[:, :, 1], x[:, :, 3] - x[:, :, 2]
    left, right = torch.linalg.cross(a, b), torch.linalg.cross(b, c)
    size = ((left.square().sum(-1) + FLAT) * (right.square().sum(-1) + FLAT)).rsqrt()
    length = (b.square().sum(-1) + 1e-12).sqrt()
    return torch.cat([(left * right).sum(-1) * size, (a * right).sum(-1) * length * size], -1)


def local_values(
    c: Coordinates, x: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Coordinates by kind, their gradients (b, m, atoms, 3) and their atoms (m, atoms);
    torsions as "torsion" and "sine".
    """
    q, gradients, atoms = {}, {}, dict(c.atoms)
    with torch.enable_grad():
        for kind, index in c.atoms.items():
            own = x.detach()[:, index].requires_grad_()
            found = values(kind, own)
            if kind == "torsion":
                m = len(index)
                for name, part, keep in (
                    ("torsion", found[:, :m], True),
                    ("sine", found[:, m:], False),
                ):
                    gradients[name] = torch.autograd.grad(part.sum(), own, retain_graph=keep)[0]
                    q[name] = part.detach()
                atoms["sine"] = index
            else:
                gradients[kind] = torch.autograd.grad(found.sum(), own)[0]
                q[kind] = found.detach()
    return q, gradients, atoms


def terms(kind: str, q: Tensor) -> tuple[Tensor, Tensor]:
    """The functions (b, m, p) of coordinates of a kind and their derivatives."""
    if kind == "pair":
        centre = torch.from_numpy(np.log(CENTRES_A)).to(q)
        off = (q.log()[..., None] - centre) / WIDTH
        bumps = torch.exp(-0.5 * off.square())
        return torch.cat([bumps, 1 / q[..., None]], -1), torch.cat(
            [-bumps * off / (WIDTH * q[..., None]), -1 / q[..., None].square()], -1
        )
    count = POWERS[kind]
    powers = range(2, 2 * count + 1, 2) if kind == "plane" else range(1, count + 1)
    return torch.stack([q**p for p in powers], -1), torch.stack(
        [p * q ** (p - 1) for p in powers], -1
    )


def is_covered(s: Skeleton, colour: list[bytes], table: dict[int, float]) -> bool:
    """Whether a table holds the coefficients of a molecule, by those of its bonds."""
    return (
        all(key_of("bond0", [tuple(pair)], colour) in table for pair in s.bonds.tolist())
        and len(s.bonds) > 0
    )


@dataclass
class Fitted:
    """A molecule's coordinates with its coefficients: ready to give forces."""

    coordinates: Coordinates
    reference: dict[str, Tensor]
    low: dict[str, Tensor]
    high: dict[str, Tensor]
    powers: dict[str, Tensor]
    couplings: dict[tuple[str, str], tuple[Tensor, Tensor]]

    def accelerations(self, x: Tensor) -> Tensor:
        """Accelerations (b, n, 3) at positions x (b, n, 3), in A/fs^2 and the dtype of
        x.
        """
        q, gradients, atoms = local_values(self.coordinates, x)
        slope, wall, seen = {}, {}, {}
        for kind, part in q.items():
            inside = (
                part.clamp(self.low[kind].to(x), self.high[kind].to(x))
                if kind in self.low
                else part
            )
            wall[kind] = WALL.get(kind, 0.0) * (part - inside)
            seen[kind] = (part == inside).to(x)  # products stay as they are beyond
            q[kind] = inside - self.reference[kind].to(x) if kind in self.reference else inside
            slope[kind] = torch.zeros_like(part)
        for (first, second), (index, strength) in self.couplings.items():
            k = strength.to(x)
            slope[first] = slope[first].index_add(1, index[:, 0], k * q[second][:, index[:, 1]])
            slope[second] = slope[second].index_add(1, index[:, 1], k * q[first][:, index[:, 0]])
        slope = {kind: part * seen[kind] + wall[kind] for kind, part in slope.items()}
        for kind, coefficients in self.powers.items():
            slope[kind] = slope[kind] + (terms(kind, q[kind])[1] * coefficients.to(x)).sum(-1)
        force = torch.zeros_like(x)
        for kind, gradient in gradients.items():
            pull = -slope[kind][..., None, None] * gradient
            force = force.index_add(1, atoms[kind].flatten(), pull.flatten(1, 2))
        return force / self.coordinates.mass.to(x)[:, None]


def all_keys(c: Coordinates) -> Iterator[NDArray[np.int64]]:
    """The keys of a molecule's coefficients, in the order of `design`."""
    for kind in c.atoms:
        yield c.powers[kind].ravel()
    for index, keys in c.couplings.values():
        if len(index):
            yield keys


def fitted(c: Coordinates, table: dict[int, float]) -> Fitted:
    """A molecule's coordinates with the coefficients of a table; what the table lacks
    is 0.
    """

    def look(keys: NDArray[np.int64]) -> Tensor:
        found = [table.get(k, 0.0) for k in keys.ravel().tolist()]
        return torch.tensor(found, dtype=torch.float64, device=c.mass.device).reshape(keys.shape)

    return Fitted(
        c,
        {kind: look(keys) for kind, keys in c.references.items()},
        {kind: look(keys) for kind, keys in c.lows.items()},
        {kind: look(keys) for kind, keys in c.highs.items()},
        {kind: look(c.powers[kind]) for kind in c.atoms},
        {pair: (index, look(keys)) for pair, (index, keys) in c.couplings.items() if len(index)},
    )


def design(c: Coordinates, x: Tensor, reference: dict[str, Tensor]) -> Tensor:
    """The force (b, 3 n) of each coefficient alone, (b, k, 3 n), in the order of
    `all_keys`.
    """
    q, gradients, atoms = local_values(c, x)
    q = {
        kind: part - reference[kind].to(x) if kind in reference else part
        for kind, part in q.items()
    }
    b, n = x.shape[:2]
    dense = {}
    for kind, gradient in gradients.items():
        m, each = atoms[kind].shape
        whole = x.new_zeros(b, m, n, 3)
        whole.scatter_add_(2, atoms[kind][None, :, :, None].expand(b, m, each, 3), -gradient)
        dense[kind] = whole.flatten(2)
    parts = [
        (terms(kind, q[kind])[1][..., None] * dense[kind][:, :, None]).flatten(1, 2)
        for kind in c.atoms
    ]
    for (first, second), (index, _) in c.couplings.items():
        if len(index):
            i, j = index.unbind(1)
            parts.append(
                q[second][:, j, None] * dense[first][:, i]
                + q[first][:, i, None] * dense[second][:, j]
            )
    return torch.cat(parts, 1)


def fit(
    c: Coordinates, frames: NDArray[Any], forces: NDArray[Any], ridge: float = 1e-6, chunk: int = 50
) -> dict[int, float]:
    """The table of coefficients that takes frames (t, n, 3) to forces (t, n, 3) in amu
    A/fs^2, by ridge regression in scaled columns.
    """
    x = torch.from_numpy(np.asarray(frames, np.float64))
    reference, table = {}, dict[int, float]()
    for kind, lows in c.lows.items():
        found = values(kind, x[:, c.atoms[kind]]).numpy()
        for keys, sign in ((lows, -1.0), (c.highs[kind], 1.0)):
            edge = (sign * found).max(0) + MARGIN[kind]
            table |= {int(k): sign * float(edge[keys == k].max()) for k in np.unique(keys)}
        if kind in c.references:
            keys = c.references[kind]
            table |= {int(k): float(found.mean(0)[keys == k].mean()) for k in np.unique(keys)}
            reference[kind] = x.new_tensor([table[k] for k in keys.tolist()])
    keys, place = np.unique(np.concatenate(list(all_keys(c))), return_inverse=True)
    where = torch.from_numpy(place.astype(np.int64))
    normal, right = (
        x.new_zeros(len(keys), len(keys)),
        x.new_zeros(len(keys)),
    )
    for start in range(0, len(x), chunk):
        part = design(
            c, x[start : start + chunk].float(), {kind: r.float() for kind, r in reference.items()}
        )
        tied = part.new_zeros(len(part), len(keys), part.shape[2]).index_add(1, where, part)
        columns = tied.transpose(1, 2).flatten(0, 1)
        wanted = torch.from_numpy(np.asarray(forces[start : start + chunk], np.float32)).flatten()
        normal += (columns.T @ columns).double()
        right += (columns.T @ wanted).double()
    scale = normal.diagonal().sqrt().clamp_min(1e-9)
    scaled = normal / scale[:, None] / scale + ridge * torch.eye(
        len(keys), dtype=x.dtype, device=x.device
    )
    answer = torch.linalg.solve(scaled, right / scale) / scale
    return table | dict(zip(keys.tolist(), answer.tolist(), strict=True))
