"""The latent diffusion, as the protocol of molecule models has it: latents from noise,
decoded to graphs and coordinates, unfiltered.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.molecules.latent.network import DiffusionConfig, LatentDenoiser
from equidrift.models.molecules.latent.space import LatentSpace, Made
from equidrift.models.molecules.targets import Draw, DrawOptions, TargetModel, check_draw
from equidrift.models.shared.devices import Device, batch_size, pick_device
from equidrift.models.shared.run import load_network
from equidrift.seeds import sample_rng
from equidrift.weights import find

BATCH = 2048
GUIDANCE = 2.0


class LatentModel(TargetModel):
    """Draws molecules through the latent space.

    Parameters
    ----------
    weights : str
        Name of a shipped latent diffusion, or the path of a trained one; its card names
        the autoencoders.
    graph, geometry : str or None
        Autoencoders to use in their place.
    space
        Options of `LatentSpace`; the refiner is on by default.
    """

    takes_fragment = False
    default_steps = 30

    def __init__(
        self,
        weights: str = "latent",
        *,
        graph: str | None = None,
        geometry: str | None = None,
        device: Device = None,
        **space: Any,
    ):
        network, self.card = load_network(
            weights, "molecules-latent", lambda sizes: LatentDenoiser(DiffusionConfig(**sizes))
        )
        self.device = pick_device(device)
        self.network = network.to(self.device)
        self.name = str(self.card["name"])
        self.weights_sha256 = str(self.card["sha256"])[:12]
        self.max_atoms = int(self.card["max_atoms"])
        self.properties: Mapping[str, tuple[float, float]] = {
            name: (low, high) for name, (low, high) in self.card["properties"].items()
        }
        folder = find(weights).parent
        places: dict[str, Any] = {
            key: beside(folder, given or str(self.card[key]))
            for key, given in (("graph", graph), ("geometry", geometry))
        }
        self.space = LatentSpace(**{"refine": True, "device": self.device, **places, **space})

    def sample_many(
        self,
        seeds: NDArray[np.int64],
        wanted: NDArray[np.float64] | None,
        **options: Unpack[DrawOptions],
    ) -> list[Made | None]:
        """`sample` with targets of its own for each sample: wanted (k, properties) or
        (properties,), NaN where a property is free.
        """
        draw = Draw(**options)
        if draw.fragment is not None:
            raise InputError(
                "the latent model cannot hold a fragment; use the "
                "joint model, or leave the fragment out"
            )
        seeds = np.asarray(seeds, np.int64)
        z = self.latents(seeds, wanted, guidance=draw.guidance, steps=draw.steps)
        return self.space.decode(z, seeds, callback=draw.callback) if len(z) else []

    def latents(
        self,
        seeds: NDArray[np.int64],
        wanted: NDArray[np.float64] | None = None,
        *,
        observable: ArrayLike | None = None,
        guidance: float | None = None,
        steps: int | None = None,
    ) -> NDArray[np.float64]:
        """Latents (len(seeds), size): what `sample` decodes.

        Parameters
        ----------
        wanted : float64, shape (k, properties) or (properties,), or None
            In the order of `properties`, NaN where a property is free.
        observable : array_like, shape (k, length) or (length,), or None
            Of a model that was trained on vectors.

        Raises
        ------
        InputError
            for steps or guidance out of range, or an observable of another length.
        """
        steps = self.default_steps if steps is None else steps
        strength = GUIDANCE if guidance is None else float(guidance)
        check_draw(steps, strength)
        sizes = self.network.config
        given = (
            self._rows(wanted, len(seeds), sizes.properties, "wanted"),
            self._rows(observable, len(seeds), sizes.observable, "observable"),
        )
        out = np.zeros((len(seeds), sizes.latent))
        size = batch_size(BATCH, self.device)
        for begin in range(0, len(seeds), size):
            part = slice(begin, min(begin + size, len(seeds)))
            conditions = [None if table is None else table[part] for table in given]
            out[part] = self._drawn(seeds[part], conditions, steps, strength)
        return out

    @torch.inference_mode()
    def _drawn(
        self,
        seeds: NDArray[np.int64],
        conditions: list[NDArray[np.float64] | None],
        steps: int,
        strength: float,
    ) -> NDArray[np.float64]:
        """Latents (len(seeds), size) under property values and vectors, or None."""
        size = self.network.config.latent
        noise = np.stack([sample_rng(int(s)).standard_normal(size) for s in seeds])
        values, vectors = (
            None if table is None else torch.from_numpy(table.copy()).float().to(self.device)
            for table in conditions
        )
        start = torch.from_numpy(noise).float().to(self.device)
        made: Tensor = self.network.sample(start, steps, values, vectors, strength)
        return np.asarray(made.double().cpu().numpy())

    def _rows(
        self, table: ArrayLike | None, count: int, length: int, name: str
    ) -> NDArray[np.float64] | None:
        """A condition (length,) or (count, length) as a row for each sample."""
        if table is None:
            return None
        rows = np.asarray(table, np.float64)
        if rows.shape not in ((length,), (count, length)):
            raise InputError(
                f"{name} must be of shape ({length},) or ({count}, {length}) for {self.name}, "
                f"not {rows.shape}"
            )
        if name == "observable" and not np.isfinite(rows).all():
            raise InputError("observable holds NaN or infinity; leave such samples out")
        return np.broadcast_to(rows, (count, length))

    def _wanted(self, targets: Mapping[str, float]) -> NDArray[np.float64]:
        names = list(self.properties)
        for name, value in targets.items():
            if name not in names:
                raise UnknownNameError("property", name, names)
            if not np.isfinite(value):
                raise InputError(f"targets: {name} must be a finite number, not {value}")
        return np.array([float(targets.get(name, np.nan)) for name in names])


def beside(folder: Path, name: str) -> str:
    """The path of an autoencoder that a card names by a file beside it, or the name as
    it is.
    """
    path = folder / name
    return str(path) if name.endswith(".safetensors") and path.exists() else name


def load_latent(weights: str = "latent", **options: Any) -> LatentModel:
    """The shipped latent diffusion, or one of your own by path."""
    return LatentModel(weights, **options)
