"""Which symmetries a function of positions has, and by how much it breaks the others.

A diagnostic for a user's model, or, where the model was fitted to data without a
symmetry built in, for those data: an electric field that nobody wrote down, a surface,
a labelling that depends on the order of atoms.

Of a group, the breaking is the share of a function's mean square that its average over
the group does not keep. With f_g the function seen from a group element g (positions
turned, values turned back), it is the variance of f_g over g: over all elements of a
small group, or over even turns about an axis; over random elements of the others, which
estimate it without bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from equidrift.errors import InputError

Output = Literal["scalars", "vectors", "matrices"]
ELEMENTS = 16  # drawn of every group
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Breaking:
    """How much of a function one symmetry does not explain.

    Parameters
    ----------
    symmetry : str
        Name of the group, as in the report's table.
    share, share_se : float
        Of the mean square, 0 to 1 (by chance slightly more), and the standard error of
        that over the data.
    """

    symmetry: str
    share: float
    share_se: float


@dataclass(frozen=True)
class SymmetryReport:
    """The breaking of every symmetry, the largest first; `str` of it is a table."""

    breakings: tuple[Breaking, ...]
    systems: int

    def __getitem__(self, symmetry: str) -> Breaking:
        for one in self.breakings:
            if one.symmetry == symmetry:
                return one
        known = ", ".join(one.symmetry for one in self.breakings)
        raise InputError(f"the report has no symmetry {symmetry!r}; it has {known}")

    def __str__(self) -> str:
        rows = [f"share of the mean square that a symmetry does not keep ({self.systems} systems)"]
        rows += [
            f"{one.symmetry:<22} {100 * one.share:8.3f} % +- {100 * one.share_se:.3f}"
            for one in self.breakings
        ]
        return "\n".join(rows)


def random_rotations(count: int, seed: int = 0) -> Tensor:
    """Uniform rotation matrices (count, 3, 3), in float64 on the CPU."""
    draw = torch.Generator(device="cpu").manual_seed(seed)
    normal = torch.randn(count, 3, 3, generator=draw, dtype=torch.float64, device="cpu")
    q, r = torch.linalg.qr(normal)
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
    return q * torch.linalg.det(q).sign()[:, None, None]


def turns_about(axis: int, count: int) -> Tensor:
    """Even turns (count, 3, 3) about the coordinate axis x, y or z (0, 1 or 2)."""
    angle = 2 * math.pi * torch.arange(count, dtype=torch.float64, device="cpu") / count
    one, other = (axis + 1) % 3, (axis + 2) % 3
    found = torch.zeros(count, 3, 3, dtype=torch.float64, device="cpu")
    found[:, axis, axis] = 1
    found[:, one, one] = found[:, other, other] = angle.cos()
    found[:, other, one], found[:, one, other] = angle.sin(), -angle.sin()
    return found


def point_groups() -> dict[str, Tensor]:
    """Orthogonal matrices of each group whose elements are all taken."""
    groups = {}
    for k, name in enumerate(AXES):
        groups[f"rotations about {name}"] = turns_about(k, ELEMENTS)
    for k, name in enumerate(AXES):
        mirror = torch.eye(3, dtype=torch.float64, device="cpu")
        mirror[k, k] = -1
        groups[f"mirror across {name}"] = torch.stack([mirror @ mirror, mirror])
    inversion = torch.eye(3, dtype=torch.float64, device="cpu")
    groups["inversion"] = torch.stack([inversion, -inversion])
    return groups


def symmetry_report(
    model: Callable[[Tensor], Tensor],
    data: Tensor,
    *,
    output: Output = "scalars",
    nodes_alike: bool = True,
    seed: int = 0,
) -> SymmetryReport:
    """How much a function of positions breaks each symmetry, on a user's data.

    Parameters
    ----------
    model : callable
        Of positions (m, n, 3): scalars (m, ...), vectors (m, ..., 3) or matrices
        (m, ..., 3, 3).
    data : Tensor
        Positions (m, n, 3) of the systems it is asked about: those it was fitted to.
    output : {"scalars", "vectors", "matrices"}, optional
        How values turn. Energies are scalars, forces vectors, inertia a matrix.
    nodes_alike : bool, optional
        Ask for the order of nodes too. Not for nodes of several kinds. Values with a
        second axis of n are then those of the nodes.
    seed : int, optional
        Of the group elements that are drawn.

    Returns
    -------
    SymmetryReport
        Of all rotations, rotations about x, y and z, mirrors, the inversion,
        translations, and the order of nodes.

    Raises
    ------
    InputError
        If `data` is not (m, n, 3), or the values do not turn as `output` says.

    References
    ----------
    Kim et al., Regularizing Towards Soft Equivariance Under Mixed Symmetries,
    arXiv:2306.00356, whose question this answers for a function instead of weights.

    Examples
    --------
    >>> import torch
    >>> from equidrift.models.shared.backbones.symmetry import symmetry_report
    >>> data = torch.randn(64, 5, 3, generator=torch.Generator().manual_seed(0))
    >>> gravity = lambda x: x[..., 2].sum(1)  # an energy that knows which way is down
    >>> report = symmetry_report(gravity, data)
    >>> round(report["rotations about z"].share, 6), report["rotations about x"].share > 0.9
    (0.0, True)
    """
    if data.ndim != 3 or data.shape[-1] != 3 or len(data) < 2:
        raise InputError(f"data has the shape {tuple(data.shape)}; give (m, n, 3), m at least 2")
    draw = torch.Generator(device="cpu").manual_seed(seed)
    with torch.no_grad():
        found = [
            _breaking(name, _seen_from(model, data, group, output), output, drawn=False)
            for name, group in point_groups().items()
        ]
        shifts = data.std() * torch.randn(ELEMENTS, 3, generator=draw, device="cpu").to(data)
        some = {
            "all rotations": _seen_from(model, data, random_rotations(ELEMENTS, seed), output),
            "translations": torch.stack([model(data + shift) for shift in shifts]),
        }
        if nodes_alike:
            some["order of nodes"] = _reordered(model, data, draw)
        found += [_breaking(name, seen, output, drawn=True) for name, seen in some.items()]
    return SymmetryReport(tuple(sorted(found, key=lambda one: -one.share)), len(data))


def _seen_from(
    model: Callable[[Tensor], Tensor], data: Tensor, group: Tensor, output: Output
) -> Tensor:
    """The function seen from each group element: values (k, m, ...), turned back."""
    seen = []
    for g in group.to(data):
        values = model(data @ g.mT)
        axes = {"scalars": 0, "vectors": 1, "matrices": 2}[output]
        if tuple(values.shape[values.ndim - axes :]) != (3,) * axes:
            raise InputError(
                f"values of the shape {tuple(values.shape)} are no {output}; those end in "
                f"{(3,) * axes}"
            )
        if output != "scalars":
            values = values @ g
        seen.append(g.mT @ values if output == "matrices" else values)
    return torch.stack(seen)


def _reordered(model: Callable[[Tensor], Tensor], data: Tensor, draw: torch.Generator) -> Tensor:
    """Values (k, m, ...) with nodes in k random orders, put back into the first one."""
    found, n = [], data.shape[1]
    for _ in range(ELEMENTS):
        order = torch.randperm(n, generator=draw, device="cpu").to(data.device)
        values = model(data[:, order])
        per_node = values.ndim > 1 and values.shape[1] == n
        found.append(values[:, order.argsort()] if per_node else values)
    return torch.stack(found)


def _breaking(name: str, seen: Tensor, output: Output, *, drawn: bool) -> Breaking:
    """Of values (k, m, ...) seen from k group elements; `drawn`: at random."""
    flat = seen.double().flatten(2) if seen.ndim > 2 else seen.double()[..., None]
    # a constant scalar is symmetric, and says nothing: what varies over the data counts
    middle = flat.mean((0, 1)) if output == "scalars" else flat.new_zeros(())
    broken = flat.var(0, correction=int(drawn)).sum(-1)  # (m,)
    whole = (flat - middle).square().sum(-1).mean()
    share = broken / torch.where(whole > 0, whole, torch.ones_like(whole))
    return Breaking(name, float(share.mean()), float(share.std() / math.sqrt(len(share))))
