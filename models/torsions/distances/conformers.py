"""Conformers whose rotatable bonds are turned: by the diffusion, or at random as its
control.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.models.shared.devices import Device
from equidrift.models.torsions.distances.sampler import KT_CONFORMERS_EV, STEPS, TorsionTurner
from equidrift.protocols import (
    Callback,
    CandidConformerModel,
    TimedConformerModel,
    limited,
    never_embeds,
)
from equidrift.records import Molecule
from equidrift.registry import make_model
from equidrift.seeds import sample_rng
from equidrift.torsions import TorsionTree

SHARED = 4  # conformers that are turned from one embedded start: embedding is the dearer part


class TurnedConformers(TimedConformerModel, CandidConformerModel):
    """Embedded conformers with turned bonds.

    Every `shared` consecutive seeds have one start, that of their first; conformer k
    follows from its seed alone.

    Parameters
    ----------
    weights : str, Path or None
        Of the torsion diffusion; None turns to uniform torsions.
    start : str
        Model that makes the starts.
    shared : int
        Conformers of one start.
    steps, kT_eV, device
        See `TorsionTurner`.
    """

    name = "torsions-all"

    def __init__(
        self,
        weights: str | Path | None,
        *,
        start: str = "etkdg",
        shared: int = SHARED,
        steps: int = STEPS,
        kT_eV: float = KT_CONFORMERS_EV,
        device: Device = None,
    ):
        if shared < 1:
            raise InputError(f"shared must be at least 1, not {shared}; give for example 4")
        self.start, self.shared = make_model(start), shared
        self.elements, self.max_atoms = self.start.elements, self.start.max_atoms
        self.turner = None
        if weights is not None:
            self.turner = TorsionTurner(weights, steps=steps, kT_eV=kT_eV, device=device)

    def timed(self, timeout_s: float) -> TurnedConformers:
        """The same with a time limit on each call of what makes the starts."""
        model = copy.copy(self)
        model.start = limited(self.start, timeout_s)
        return model

    def never_embeds(self, molecule: Molecule) -> bool:
        """Whether no start of this molecule can be made."""
        return never_embeds(self.start, molecule)

    def sample(
        self,
        molecule: Molecule,
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,  # noqa: ARG002 - the protocol's
        callback: Callback | None = None,
    ) -> Floats:
        """(k, n_atoms, 3) in A of seeds (k,); a conformer that cannot be made is NaN."""
        seeds = np.asarray(seeds, np.int64)
        own, row = np.unique(seeds - seeds % self.shared, return_inverse=True)
        positions = self.start.sample(molecule, own)[row]
        made = self._turned(molecule, positions, seeds)
        if callback is not None:
            callback({"done": len(seeds), "total": len(seeds)})
        return made

    def _turned(self, molecule: Molecule, positions_A: Floats, seeds: NDArray[np.int64]) -> Floats:
        tree = TorsionTree.of(molecule)
        if not tree.n_torsions:
            return positions_A
        if self.turner is not None:
            return self.turner.turned(molecule, positions_A, seeds)
        phi = [sample_rng(int(s)).uniform(-np.pi, np.pi, tree.n_torsions) for s in seeds]
        return tree.set_torsions(positions_A, np.array(phi))
