"""Of several draws the one that comes nearest to the targets, by a network of
properties that the judge shares no molecule with.

The network that chooses is trained on half a of QM9's training molecules, the one that
conditions the generators; the judge of `equidrift generate` and of the benchmark is
trained on half b from other random weights, so that a choice gains nothing from its
errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.molecule import Raw, judge
from equidrift.errors import InputError, MoleculeError
from equidrift.models.molecules.data import PROPERTIES
from equidrift.models.molecules.properties.sampler import PropertyNetwork, load_properties
from equidrift.models.molecules.targets import DrawOptions, TargetModel
from equidrift.registry import make_molecule_model
from equidrift.seeds import sample_seeds

CHUNK = 256  # draws held at a time


class BestOf(TargetModel):
    """A model of molecules that draws `candidates` for each sample and keeps the one
    nearest to the targets.

    Parameters
    ----------
    model : object
        With `sample_many` and properties.
    network : PropertyNetwork
        Who chooses; it must not be the judge.
    candidates : int
        Draws per sample; without targets there is one.

    Raises
    ------
    InputError
        for less than one candidate.
    """

    def __init__(self, model: Any, network: PropertyNetwork, candidates: int = 8) -> None:
        if candidates < 1:
            raise InputError(f"candidates must be 1 or more, not {candidates}")
        self.model, self.network, self.candidates = model, network, candidates
        self.name = f"{model.name}-best-of-{candidates}"
        self.weights_sha256 = f"{model.weights_sha256}/{(network.weights_sha256 or '')[:12]}"
        self.max_atoms = model.max_atoms
        self.takes_fragment, self.takes_sites = model.takes_fragment, model.takes_sites
        self.takes_pocket, self.takes_spectrum = model.takes_pocket, model.takes_spectrum
        self.properties: Mapping[str, tuple[float, float]] = model.properties
        self.default_steps = model.default_steps * candidates
        self.spread = dict(zip(PROPERTIES, network.network.spread.tolist(), strict=True))

    def _wanted(self, targets: Mapping[str, float]) -> NDArray[np.float64]:
        return np.array([targets.get(name, np.nan) for name in self.properties])

    def sample_many(
        self,
        seeds: NDArray[np.int64],
        wanted: NDArray[np.float64] | None,
        **options: Unpack[DrawOptions],
    ) -> list[Raw | None]:
        """`sample` with a row of targets for each sample, in the order of `properties`,
        NaN where a property is free; `steps` are those of one draw.
        """
        if wanted is None:
            made: list[Raw | None] = self.model.sample(seeds, **options)
            return made
        wanted = np.broadcast_to(wanted, (len(seeds), wanted.shape[-1]))
        out: list[Raw | None] = []
        size = max(1, CHUNK // self.candidates)
        for begin in range(0, len(seeds), size):
            part = seeds[begin : begin + size]
            own = np.concatenate([sample_seeds(int(seed), 0, self.candidates) for seed in part])
            rows = np.repeat(wanted[begin : begin + size], self.candidates, axis=0)
            raws = self.model.sample_many(own, rows, **options)
            misses = self._misses(raws, rows).reshape(-1, self.candidates)
            out += [
                raws[k * self.candidates + int(best)] for k, best in enumerate(misses.argmin(1))
            ]
        return out

    def _misses(self, raws: list[Raw | None], rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far each draw is from its targets, in units of the properties' spread,
        squared; draws that are not valid come last.
        """
        sound = [k for k, raw in enumerate(raws) if not judge(raw).reason]
        misses = np.full(len(raws), np.inf)
        try:
            values = self.network.predict([raw for k in sound if (raw := raws[k]) is not None])
        except MoleculeError:  # an element that the network does not know
            return misses
        off = [
            (values[name] - rows[sound, k]) / self.spread[name]
            for k, name in enumerate(self.properties)
            if name in values
        ]
        misses[sound] = np.nansum(np.square(off), axis=0)
        return misses


def load_selected(
    weights: str = "joint", network: str = "properties-a", candidates: int = 8, **options: Any
) -> BestOf:
    """The joint model with the shipped network that chooses.

    Parameters
    ----------
    weights : str
        A model of molecules by name or path.
    network : str
        Weights of the network that chooses.
    candidates : int
        Draws per sample.
    options
        Of the model.
    """
    return BestOf(make_molecule_model(weights, **options), load_properties(network), candidates)
