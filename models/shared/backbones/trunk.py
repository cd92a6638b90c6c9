"""What every trunk of the symmetry kit takes and gives: one signature.

`trunk(features, positions, edges, globals) -> scalars, vectors`. Layouts are dense and
padded: b systems of at most n nodes. Vectors have their channels last, (b, n, 3, c), so
that a linear layer without bias mixes channels and leaves directions alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.shared.layers import pairs_of

# rotations that leave a trunk's function as it is, up to the precision of its numbers
Rotations = Literal["all", "icosahedral", "none"]


class Features(NamedTuple):
    """What is known of nodes, or found out about them.

    scalars : Tensor
        Invariants (b, n, s).
    vectors : Tensor
        Vectors (b, n, 3, v), which turn with the positions.
    """

    scalars: Tensor
    vectors: Tensor

    def invariants(self) -> Tensor:
        """Scalars, and the vectors' squared lengths on a scale where none is large."""
        return torch.cat([self.scalars, torch.log1p(self.vectors.square().sum(-2))], -1)


class Globals(NamedTuple):
    """What is known of whole systems.

    scalars : Tensor
        Invariants (b, g): a temperature, the logarithm of a noise level.
    vectors : Tensor
        Vectors (b, 3, k) of the surroundings: an electric field, a surface's normal.
    """

    scalars: Tensor
    vectors: Tensor

    @classmethod
    def none(cls, positions: Tensor) -> Globals:
        """Of systems at `positions` (b, n, 3) of which nothing is known as a whole."""
        b = len(positions)
        return cls(positions.new_zeros(b, 0), positions.new_zeros(b, 3, 0))


@dataclass(frozen=True)
class Edges:
    """Which pairs of nodes exchange messages, and what is known of them.

    Parameters
    ----------
    features : Tensor
        Invariants of pairs (b, n, n, e); the first node hears, the second one speaks.
    linked : Tensor
        Which pairs exchange messages, (b, n, n) bool; no node is linked with itself.
    nodes : Tensor
        Which nodes exist, (b, n) bool; the others are padding.
    """

    features: Tensor
    linked: Tensor
    nodes: Tensor

    @classmethod
    def complete(cls, nodes: Tensor, features: Tensor) -> Edges:
        """All pairs of two different `nodes` (b, n) linked; features (b, n, n, e)."""
        return cls(features, pairs_of(nodes), nodes)


@dataclass(frozen=True)
class Sizes:
    """Channels of a trunk's inputs and outputs, its width and its number of layers."""

    scalars: int = 1
    vectors: int = 0
    edges: int = 0
    global_scalars: int = 0
    global_vectors: int = 0
    out_scalars: int = 1
    out_vectors: int = 1
    width: int = 32
    layers: int = 3

    @property
    def node_scalars(self) -> int:
        """Scalars of a node once the globals are told to it (see `Inputs.told`)."""
        return self.scalars + self.global_scalars

    @property
    def node_vectors(self) -> int:
        """Vectors of a node once the globals are told to it."""
        return self.vectors + self.global_vectors


@dataclass(frozen=True)
class Symmetry:
    """What a trunk promises, and its tests hold it to.

    Parameters
    ----------
    rotations : {"all", "icosahedral", "none"}
        Rotations of positions and vectors that turn the outputs' vectors with them and
        leave the scalars.
    mirrors : bool
        The same of mirror images. Such a trunk is blind to chirality: R and S have the
        same scalars, whatever it is trained on.
    """

    rotations: Rotations
    mirrors: bool


class Inputs(NamedTuple):
    """What a trunk is given, in the order of its signature: `trunk(*inputs)`.

    features : Features
        Scalars (b, n, s) and vectors (b, n, 3, v) of nodes.
    positions : Tensor
        (b, n, 3), in the unit of the trunk's lengths.
    edges : Edges
        Pairs of nodes, and features (b, n, n, e) of them.
    globals : Globals
        Scalars (b, g) and vectors (b, 3, k) of whole systems.
    """

    features: Features
    positions: Tensor
    edges: Edges
    globals: Globals

    def told(self) -> Features:
        """Features (b, n, s + g) and (b, n, 3, v + k): every node knows the globals.

        With a global vector among them an equivariant trunk is *subequivariant* as a
        function of the nodes alone: exact about the axis of the vector, and free off it.

        References
        ----------
        Han et al., Learning Physical Dynamics with Subequivariant Graph Neural Networks,
        arXiv:2210.06876, section 4.1.
        """
        b, n = self.features.scalars.shape[:2]
        scalars = self.globals.scalars[:, None].expand(b, n, -1)
        vectors = self.globals.vectors[:, None].expand(b, n, 3, -1)
        return Features(
            torch.cat([self.features.scalars, scalars], -1),
            torch.cat([self.features.vectors, vectors], -1),
        )


class Trunk(nn.Module):
    """A network of the one signature; `run` is what each trunk writes.

    Parameters
    ----------
    sizes : Sizes
        Channels of inputs and outputs, width and layers.
    """

    symmetry: Symmetry

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.sizes = sizes

    def forward(
        self, features: Features, positions: Tensor, edges: Edges, globals: Globals
    ) -> Features:
        """Scalars (b, n, out_scalars) and vectors (b, n, 3, out_vectors) of the nodes.

        Parameters
        ----------
        features : Features
            Scalars (b, n, sizes.scalars) and vectors (b, n, 3, sizes.vectors).
        positions : Tensor
            (b, n, 3), in the unit of the trunk's lengths.
        edges : Edges
            Pairs, and features (b, n, n, sizes.edges).
        globals : Globals
            Scalars (b, sizes.global_scalars), vectors (b, 3, sizes.global_vectors).

        Returns
        -------
        Features
            Those of nodes that do not exist are zero.

        Raises
        ------
        InputError
            If a shape is another one.
        """
        inputs = Inputs(features, positions, edges, globals)
        check_shapes(self.sizes, inputs)
        scalars, vectors = self.run(inputs)
        here = edges.nodes.to(scalars.dtype)
        return Features(scalars * here[..., None], vectors * here[..., None, None])

    def run(self, inputs: Inputs) -> Features:
        """`forward`, of inputs whose shapes fit; padding may hold anything."""
        raise NotImplementedError


def check_shapes(sizes: Sizes, inputs: Inputs) -> None:
    """Raise `InputError` unless all shapes are those of `sizes`."""
    features, positions, edges, globals = inputs
    b, n = positions.shape[:2]
    expected = {
        "positions": (positions, (b, n, 3)),
        "features.scalars": (features.scalars, (b, n, sizes.scalars)),
        "features.vectors": (features.vectors, (b, n, 3, sizes.vectors)),
        "edges.features": (edges.features, (b, n, n, sizes.edges)),
        "edges.linked": (edges.linked, (b, n, n)),
        "edges.nodes": (edges.nodes, (b, n)),
        "globals.scalars": (globals.scalars, (b, sizes.global_scalars)),
        "globals.vectors": (globals.vectors, (b, 3, sizes.global_vectors)),
    }
    for name, (value, shape) in expected.items():
        if tuple(value.shape) != shape:
            raise InputError(
                f"{name} has the shape {tuple(value.shape)}; a trunk of {sizes} takes {shape}"
            )
