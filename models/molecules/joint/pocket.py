"""Guidance of a draw by a pocket: Vina's terms pull at the places that the network
expects, and make the types of atoms likelier that fit where they are.

The terms are those of `equidrift.vina`, each averaged over the network's probabilities
of an atom's type. Nothing here was trained on pockets: the network proposes molecules as
it always does, and the pull selects among them and moves them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from equidrift.models.molecules.joint.alphabet import Alphabet
from equidrift.models.molecules.joint.network import Estimate
from equidrift.vina import HALOGENS, POLAR, RADII_A, Floats, Kinds, Pocket

KT_KCAL_MOL = 0.6  # at 300 K: a type's gain is its energy in this unit
STEP_A = 0.15  # A of a place for a gradient of 1 kcal/mol/A, at a pull of 1
FARTHEST_A = 0.4  # that one pull moves a place
WORST_KCAL_MOL = 2.0  # of an atom that overlaps with the pocket


@dataclass(frozen=True, eq=False)
class Pull:
    """A pocket as it acts on the tokens of an alphabet."""

    pocket: Pocket  # in A
    kinds: Kinds  # the different ones among the alphabet's types
    kind_of: Tensor  # int64 (types,): which of them each type is

    @classmethod
    def of(cls, pocket: Pocket, alphabet: Alphabet) -> Pull:
        """The pull of a pocket; every carbon counts as hydrophobic, since what it is
        bonded to is not known yet.
        """
        rows = [
            (
                RADII_A[z],
                z == 6 or z in HALOGENS,
                z in POLAR and hydrogens > 0,
                z == 8 or (z == 7 and not hydrogens and charge <= 0),
            )
            for z, charge, hydrogens in alphabet.types
        ]
        unique = sorted(set(rows))
        radii, *flags = (np.array(column) for column in zip(*unique, strict=True))
        kind_of = torch.tensor([unique.index(row) for row in rows], device="cpu")
        return cls(pocket, Kinds(radii, *flags), kind_of)

    def act(self, made: Estimate, origin_A: Tensor, mask: Tensor) -> tuple[Estimate, Tensor]:
        """(the estimate pulled, how each place is moved (b, n, 3) by it).

        Parameters
        ----------
        made : Estimate
            Of the network: logits of types (b, n, types), places (b, n, 3).
        origin_A : Tensor
            (b, 1, 3): where the origin of the places is in the pocket's frame.
        mask : Tensor
            (b, n): which tokens there are.
        """
        places = (made.x + origin_A).double().cpu().numpy()
        energy, gradient = (
            torch.from_numpy(part).to(made.x)[:, :, self.kind_of.to(made.x.device)]
            for part in self._by_kind(places)
        )
        chance = made.types.float().softmax(-1)
        push = -STEP_A * self.pocket.pull * (chance[..., None] * gradient).sum(2)
        length = push.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        push = push * (FARTHEST_A / length).clamp_max(1.0) * mask[..., None]
        gain = -self.pocket.pull / KT_KCAL_MOL * energy.clamp_max(WORST_KCAL_MOL)
        return Estimate(made.types + gain, made.bonds, made.x, []), push

    def _by_kind(self, places_A: Floats) -> tuple[Floats, Floats]:
        """Energies (b, n, kinds) and gradients (b, n, kinds, 3) at places (b, n, 3)."""
        return self.pocket.pairs(places_A[:, :, None], self.kinds)
