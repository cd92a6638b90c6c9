"""Averages over frames: any network made exactly equivariant, by looking at its input in
frames that the input itself defines.

The usual frames, principal axes, jump where two moments of inertia coincide: for ammonia,
methane and benzene that is at equilibrium. Here every ordered pair of nodes gives a
frame, and its weight vanishes smoothly where the pair does not define one. Of node i
and node j with positions y from the centroid,

    e1 = y_i / |y_i|,  e3 = y_i x y_j / |y_i x y_j|,  e2 = e3 x e1,
    w_ij = |y_i|^4 / sum_k |y_k|^4  *  |y_i x y_j|^4 / sum_k |y_i x y_k|^4.

Fourth powers make the average twice differentiable. Frames are right-handed, so that
chirality is kept; nothing is detached, so that forces by autograd are the exact ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.shared.backbones.trunk import (
    Edges,
    Features,
    Globals,
    Inputs,
    Sizes,
    Symmetry,
    Trunk,
)

# Below this share of what two perpendicular arms would give, nodes count as nearly
# collinear (2 degrees): frames turned by half about the line then join in, with the same
# weight on it, so that the average neither has a cusp there nor points across the line.
BENT = 1e-3
Network = Callable[[Features, Tensor, Edges, Globals], Features]


class Frames(NamedTuple):
    """Frames of systems, which turn with them.

    axes : Tensor
        Rotations (b, f, 3, 3); columns are e1, e2, e3.
    weights : Tensor
        (b, f), none negative, of sum 1.
    """

    axes: Tensor
    weights: Tensor


def pair_frames(positions: Tensor, nodes: Tensor, pointers: Tensor | None = None) -> Frames:
    """The frames of all ordered pairs of nodes.

    A node paired with itself stands for "no direction across the line is defined": its
    third axis is arbitrary, and its weight above rounding for collinear nodes only.

    Parameters
    ----------
    positions : Tensor
        (b, n, 3).
    nodes : Tensor
        Which nodes exist, (b, n) bool; two or more in each system.
    pointers : Tensor, optional
        Vectors (b, p, 3) that take the place of y_j where nodes are collinear: their
        velocities, a field.

    Returns
    -------
    Frames
        Of f = n^2 frames, or 2 n (n + p) if some system is nearly collinear. Weights
        are continuous in the positions.

    Raises
    ------
    InputError
        If a system has one node only: a point defines no frame.

    References
    ----------
    Puny et al., Frame Averaging, arXiv:2110.03336; Dym, Lawrence and Siegel, Equivariant
    Frames and the Impossibility of Continuous Canonicalization, arXiv:2402.16077, for
    why frames must be weighted.
    """
    if bool((nodes.sum(1) < 2).any()):
        raise InputError("a system of one node defines no frame; give systems of two or more")
    y = centred(positions, nodes)
    square = y.square().sum(-1)
    share = square.square() / _not_zero(square.square().sum(1, keepdim=True))
    area, across = _areas(y, y)
    own = torch.eye(y.shape[1], dtype=torch.bool, device=y.device)
    area, across = area * ~own, across * ~own[..., None]  # not zero by rounding
    bent = _smooth_step(area.sum(-1) / BENT)
    linear = bool((bent < 1)[nodes].any())
    if pointers is not None and linear:
        more, further = _areas(y, pointers)
        area = torch.cat([area, (1 - bent)[..., None] * more], -1)
        across = torch.cat([across, further], 2)
        bent = _smooth_step(area.sum(-1) / BENT)
    first = _direction(y)[:, :, None].expand_as(across)
    defined = (across.square().sum(-1, keepdim=True) > 0).expand_as(across)
    third = _direction(torch.where(defined, across, _perpendicular(first)))
    axes = torch.stack([first, torch.linalg.cross(third, first), third], -1)
    # what a node has with itself is what rounding could not be told from
    own = torch.nn.functional.pad(own, (0, area.shape[-1] - len(own)))
    power = area.square() + torch.finfo(y.dtype).eps ** 3 * own.to(y.dtype)
    weights = share[..., None] * power / power.sum(-1, keepdim=True)
    if linear:
        half = torch.tensor([1.0, -1.0, -1.0], dtype=y.dtype, device=y.device)
        axes = torch.cat([axes, axes * half], 2)
        both = (1 + bent)[..., None] * weights, (1 - bent)[..., None] * weights
        weights = torch.cat(both, 2) / 2
    return Frames(axes.flatten(1, 2), weights.flatten(1))


def centred(positions: Tensor, nodes: Tensor) -> Tensor:
    """Positions (b, n, 3) from the centroid of the `nodes` (b, n); 0 for the others."""
    here = nodes.to(positions.dtype)[..., None]
    mean = (positions * here).sum(1, keepdim=True) / here.sum(1, keepdim=True).clamp_min(1)
    return (positions - mean) * here


def _areas(y: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Of nodes y (b, n, 3) and vectors (b, p, 3): squared sines of the angles between
    them, times the vector's share of all squared lengths, (b, n, p); cross products
    (b, n, p, 3).
    """
    shape = (*y.shape[:2], other.shape[1], 3)
    across = torch.linalg.cross(y[:, :, None].expand(shape), other[:, None].expand(shape))
    length = y.square().sum(-1)[..., None] * other.square().sum((1, 2))[:, None, None]
    return across.square().sum(-1) / _not_zero(length), across


def _direction(vector: Tensor) -> Tensor:
    """Unit vectors (..., 3); 0 where the vector is 0, with a finite gradient."""
    square = vector.square().sum(-1, keepdim=True)
    return vector / _not_zero(square).sqrt()


def _perpendicular(vector: Tensor) -> Tensor:
    """Some vector (..., 3) across each one: no rotation of it is meant by that."""
    axes = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return torch.linalg.cross(vector, axes[vector.abs().argmin(-1)])


def _not_zero(value: Tensor) -> Tensor:
    """The value, or 1 where it is 0: a quotient there has a finite gradient."""
    return torch.where(value > 0, value, torch.ones_like(value))


def _smooth_step(u: Tensor) -> Tensor:
    """0 at 0, 1 from 1 on, and smooth at both."""
    u = u.clamp(0, 1)
    return u.square() * (3 - 2 * u)


def frame_average(
    function: Callable[[Tensor], Tensor], positions: Tensor, *, vectors: bool = False
) -> Tensor:
    """Make one function of positions invariant, or equivariant, and evaluate it.

    Parameters
    ----------
    function : callable
        Of positions (m, n, 3), which it may treat as it likes: values (m, ...), or with
        `vectors` values (m, ..., 3).
    positions : Tensor
        (b, n, 3).
    vectors : bool, optional
        The values are vectors, and turn with the positions.

    Returns
    -------
    Tensor
        (b, ...): invariant under rotations and translations. The average of a function
        that is invariant already is that function, on centred positions.

    Examples
    --------
    >>> import torch
    >>> from equidrift.models.shared.backbones.frames import frame_average
    >>> height = lambda x: x[..., 2].amax(-1)  # not invariant
    >>> water = torch.tensor([[[0.0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]])
    >>> upside_down = water[..., [2, 0, 1]]
    >>> one, other = frame_average(height, water), frame_average(height, upside_down)
    >>> bool(torch.allclose(one, other))
    True
    """
    exists = torch.ones(positions.shape[:2], dtype=torch.bool, device=positions.device)
    frames = pair_frames(positions, exists)
    seen = centred(positions, exists)[:, None] @ frames.axes  # (b, f, n, 3)
    values = function(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
    if vectors:
        flat = values.reshape(*seen.shape[:2], -1, 3)  # (b, f, m, 3)
        values = (flat @ frames.axes.mT).reshape(values.shape)
    weights = frames.weights.reshape(*seen.shape[:2], *[1] * (values.ndim - 2))
    return (weights * values).sum(1)


def symmetry_gap(
    function: Callable[[Tensor], Tensor], positions: Tensor, *, vectors: bool = False
) -> Tensor:
    """How far a function is from its own average over frames: 0 where it is symmetric.

    A test for a network that is said to be equivariant: a bug in it shows here.

    Parameters
    ----------
    function : callable
        Of positions (m, n, 3), as of `frame_average`.
    positions : Tensor
        (b, n, 3); the function sees them centred.
    vectors : bool, optional
        The values are vectors, and turn with the positions.

    Returns
    -------
    Tensor
        Largest difference (b,), relative to the largest value.
    """
    exists = torch.ones(positions.shape[:2], dtype=torch.bool, device=positions.device)
    plain = function(centred(positions, exists))
    difference = (frame_average(function, positions, vectors=vectors) - plain).abs()
    size = plain.abs().reshape(len(plain), -1).amax(1)
    return difference.reshape(len(plain), -1).amax(1) / _not_zero(size)


class FrameAveraged(Trunk):
    """Any network of the trunks' signature, made exactly equivariant.

    It calls the network on n^2 copies of a system: for small systems, and to test with.

    Parameters
    ----------
    sizes : Sizes
        Channels of the network.
    network : callable
        Of the trunks' signature. It need not know any symmetry but the order of nodes:
        a transformer on plain coordinates will do. A module's parameters become this
        one's.

    Notes
    -----
    Scalars and vectors are smooth in the positions. Where all nodes lie on a line,
    the input vectors (velocities, fields) take part in the frames; where those lie on
    it too, vectors across the line are zero, as they must be.
    """

    symmetry = Symmetry("all", mirrors=False)

    def __init__(self, sizes: Sizes, network: Network):
        super().__init__(sizes)
        self.network = network

    def run(self, inputs: Inputs) -> Features:
        """The weighted average of what the network says in all frames."""
        nodes = inputs.edges.nodes
        here = nodes[..., None, None].to(inputs.positions.dtype)
        on_nodes = (inputs.features.vectors * here).mT.flatten(1, 2)
        pointers = torch.cat([on_nodes, inputs.globals.vectors.mT], 1)  # (b, n v + k, 3)
        frames = pair_frames(inputs.positions, nodes, pointers)
        scalars, vectors = self.network(*_seen_in(frames.axes, inputs))
        shape = frames.weights.shape
        scalars, vectors = scalars.unflatten(0, shape), vectors.unflatten(0, shape)
        flat = vectors.mT.flatten(2, 3)  # (b, f, n v, 3)
        back = (flat @ frames.axes.mT).reshape(vectors.mT.shape)
        return Features(
            torch.einsum("bf,bfns->bns", frames.weights, scalars),
            torch.einsum("bf,bfnvx->bnxv", frames.weights, back),
        )


def _seen_in(axes: Tensor, inputs: Inputs) -> Inputs:
    """The inputs, centred, in each of the frames with these axes (b, f, 3, 3)."""
    features, positions, edges, globals = inputs
    f = axes.shape[1]
    inverse = axes.mT
    y = centred(positions, edges.nodes)
    return Inputs(
        Features(
            features.scalars.repeat_interleave(f, 0),
            (inverse[:, :, None] @ features.vectors[:, None]).flatten(0, 1),
        ),
        (y[:, None] @ axes).flatten(0, 1),
        Edges(*(part.repeat_interleave(f, 0) for part in vars(edges).values())),
        Globals(
            globals.scalars.repeat_interleave(f, 0),
            (inverse @ globals.vectors[:, None]).flatten(0, 1),
        ),
    )
