"""Log-strain coordinates of cells: GL+(3) = SPD x SO(3).

Every matrix g of positive determinant is P R in exactly one way, P symmetric and
positive definite (a stretch), R a rotation. The symmetric logarithm of P (the Hencky
strain) is a vector space, split here into volume (trace) and shape (deviator).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equidrift.errors import InputError

# A symmetric matrix's six components, in the orthonormal basis of the Frobenius product.
ROWS = (0, 1, 2, 1, 0, 0)
COLUMNS = (0, 1, 2, 2, 2, 1)


@torch.no_grad()
def polar(g: Tensor) -> tuple[Tensor, Tensor]:
    """Split matrices into stretch and rotation, g = P R.

    No gradient flows through it: that of the singular vectors is undefined at equal
    stretches, and so at the identity.

    Parameters
    ----------
    g : Tensor
        Matrices of positive determinant (..., 3, 3).

    Returns
    -------
    tuple[Tensor, Tensor]
        P, symmetric positive definite, and R, a rotation, each (..., 3, 3).

    Raises
    ------
    InputError
        If a determinant is not positive or not finite.

    References
    ----------
    Mironenco and Forre, Lie Group Decompositions for Equivariant Neural Networks,
    arXiv:2310.11366.
    """
    u, stretch, vt = _svd(g)
    return (u * stretch[..., None, :]) @ u.mT, u @ vt


@torch.no_grad()
def log_strain(g: Tensor) -> Tensor:
    """The symmetric logarithm (..., 3, 3) of the stretch P of g = P R (..., 3, 3).

    As for `polar`, no gradient flows through it and g's determinant is positive.
    """
    u, stretch, _ = _svd(g)
    return (u * stretch.log()[..., None, :]) @ u.mT


def stretch_of(strain: Tensor) -> Tensor:
    """The stretch exp(S) (..., 3, 3) of a symmetric strain S; smooth everywhere."""
    return torch.linalg.matrix_exp(strain)


def split(strain: Tensor) -> tuple[Tensor, Tensor]:
    """The log of the volume ratio (...) and the traceless shape (..., 3, 3)."""
    volume = strain.diagonal(dim1=-2, dim2=-1).sum(-1)
    unit = torch.eye(3, dtype=strain.dtype, device=strain.device)
    return volume, strain - volume[..., None, None] / 3 * unit


def components(strain: Tensor) -> Tensor:
    """The six components (..., 6) of a symmetric strain, its Frobenius norm kept."""
    return strain[..., ROWS, COLUMNS] * _weights(strain)


def from_components(six: Tensor) -> Tensor:
    """The symmetric strain (..., 3, 3) of six components: `components` undone."""
    values = six / _weights(six)
    order = torch.tensor([[0, 5, 4], [5, 1, 3], [4, 3, 2]], device=six.device)
    return values[..., order]


def _weights(like: Tensor) -> Tensor:
    return like.new_tensor([1.0] * 3 + [math.sqrt(2)] * 3)


def _svd(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    determinant = torch.linalg.det(g)
    if not bool((determinant.isfinite() & (determinant > 0)).all()):
        raise InputError(
            f"g has a determinant of {determinant.min().item():g}; log-strain coordinates need "
            "matrices of positive determinant: exchange two rows of a left-handed cell"
        )
    u, stretch, vt = torch.linalg.svd(g)
    return u, stretch, vt
