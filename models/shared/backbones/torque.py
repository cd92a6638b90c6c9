"""Forces without a net force and without a net torque.

A trunk that is exact under some rotations alone (PONITA's grid has 60) gives forces that
are the gradient of an energy, but turn a free molecule a little: its angular momentum
drifts in a long simulation.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHARE = 1e-6  # of the largest moment: a smaller one is that of a line, about which nothing turns


def without_torque(positions: Tensor, forces: Tensor, nodes: Tensor) -> Tensor:
    """The nearest forces that neither move nor turn a system as a whole.

    Of all forces f' with sum f' = 0 and sum r x f' = 0 those with the least |f' - f|: a
    projection, which turns with the system. Momentum and angular momentum are then kept
    to rounding; the energy is kept no better than the trunk is invariant, for f' is no
    longer a gradient.

    Parameters
    ----------
    positions, forces : Tensor, shape (b, n, 3)
        In any units.
    nodes : Tensor, shape (b, n)
        Which nodes exist; bool.

    Returns
    -------
    Tensor, shape (b, n, 3)
        Zero where no node exists.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]]])
    >>> made = without_torque(x, torch.ones(1, 3, 3), torch.ones(1, 3, dtype=torch.bool))
    >>> bool(made.abs().max() < 1e-6)  # the same force everywhere only moves
    True
    """
    here = nodes.to(forces.dtype)[..., None]
    count = here.sum(1, keepdim=True).clamp_min(1)
    arm = (positions - (positions * here).sum(1, keepdim=True) / count) * here
    balanced = (forces - (forces * here).sum(1, keepdim=True) / count) * here
    torque = torch.linalg.cross(arm, balanced).sum(1)
    square = arm.square().sum((1, 2))[:, None, None]
    unit = torch.eye(3, dtype=arm.dtype, device=arm.device)
    inertia = square * unit - arm.mT @ arm
    # a line has no moment about itself, a single node none at all
    inverse = torch.linalg.pinv(inertia, hermitian=True, rtol=SHARE)
    spin = (inverse @ torque[..., None])[..., 0]
    return balanced - torch.linalg.cross(spin[:, None].expand_as(arm), arm)
