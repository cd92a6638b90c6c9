"""`PointModel`: a distribution over sets of labelled points, learnt in SE(3)-invariant
space (arXiv:2403.01430).
"""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.arguments import check_count
from equidrift.errors import InputError, NoValidSamplesError
from equidrift.models.conformers.distance.maps import complete_edges, distance_map
from equidrift.models.conformers.distance.sampler import DistanceOptions, draws, mapped
from equidrift.models.conformers.points.handedness import TOLD, Handedness
from equidrift.models.conformers.points.network import PointNetwork, PointSizes
from equidrift.models.conformers.points.objective import PointData, batches_of, denoising_loss
from equidrift.models.shared.config import LICENCE, TRAINING_DATA, make_schedule
from equidrift.models.shared.devices import Device, pick_device
from equidrift.models.shared.run import Kept, fit, fresh, load_network, save_module
from equidrift.protocols import Callback
from equidrift.seeds import check_seed, sample_rng, sample_seeds

Array = NDArray[np.float64]
TASK = "points"  # of the card
ATTEMPTS = 8  # draws until a set's fixed signs are right
log = logging.getLogger("equidrift")


class PointModel:
    """A distribution over sets of K labelled points, the same under all motions.

    Made by `PointModel.fit` or `PointModel.load`. Points are (K, 3) in the user's unit
    throughout.

    Attributes
    ----------
    network : PointNetwork
        Works in units of `radius`.
    radius : float
        Root mean square distance of a training point from the centre of its set, in the
        user's unit.
    handedness : Handedness
        Tells mirror images, which the network cannot.
    options : DistanceOptions
        How sets are drawn, in units of `radius`: by the projection (Gauss-Newton) with
        k = 2, which misses the fewest modes; `map="degree", corrector=20` is the
        published map.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> rod = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]])
    >>> swing = rng.uniform(0.0, 2.0, 64)
    >>> last = rod[2] + np.stack([np.sin(swing), 0 * swing, np.cos(swing)], 1)
    >>> sets = np.concatenate([np.repeat(rod[None], 64, 0), last[:, None]], 1)
    >>> model = PointModel.fit(sets, budget_s=None, schedule={"steps": 5})
    >>> model.sample(2, steps=4).shape
    (2, 4, 3)

    References
    ----------
    arXiv:2403.01430, projection-free diffusion in SE(3)-invariant space.
    """

    def __init__(
        self,
        network: PointNetwork,
        *,
        radius: float,
        handedness: Handedness,
        options: DistanceOptions | None = None,
        card: dict[str, Any] | None = None,
        device: Device = None,
    ):
        self.device = pick_device(device)
        self.network = network.double().eval().requires_grad_(False).to(self.device)
        self.radius, self.handedness, self.given = radius, handedness, card or {}
        self.options = options or USUAL
        self.training: dict[str, Any] = {}

    @property
    def n_points(self) -> int:
        """K."""
        return self.network.config.n_points

    @classmethod
    def fit(
        cls,
        points: ArrayLike,
        *,
        hidden: int = 64,
        layers: int = 4,
        budget_s: float | None = 60.0,
        schedule: dict[str, Any] | None = None,
        batch: int = 64,
        seed: int = 0,
        device: Device = None,
        **kept: Unpack[Kept],
    ) -> PointModel:
        """Learn a distribution from sets of points.

        Parameters
        ----------
        points : array_like, shape (N, K, 3)
            N sets of the same K points, in any one unit; where they lie and how they
            are turned does not matter. A tenth is held out and tells the loss before
            and after.
        hidden, layers : int
            Sizes of the network.
        budget_s : float or None
            Seconds of training; None where `schedule` says `steps`.
        schedule : dict, optional
            Settings of `models.shared.trainer.Schedule`.
        batch : int
            Sets of a training step.
        seed : int
            Of the first weights, of the order of the sets and of the noise.
        device : str or torch.device, optional
            Where to train; None is CUDA if there is one, else the CPU.
        **kept
            out, resume and progress; see `Kept`.

        Raises
        ------
        InputError
            For arrays of another shape, values that are not finite, fewer than ten
            sets, or sets that are all the same.
        """
        seed = check_seed(seed)
        data = PointData.of(points, seed)
        settings = make_schedule(schedule or {}, weight_decay=0.0)
        if budget_s is None and settings.steps is None:
            raise InputError("how long to train is not given; give budget_s or schedule['steps']")
        place = pick_device(device)
        sizes = PointSizes(data.n_points, hidden, layers)
        network = fresh(lambda: PointNetwork(sizes, data.mean, data.spread), seed).to(place)
        trainer = fit(
            network,
            batches_of(data.train, batch, seed, place),
            denoising_loss,
            settings,
            math.inf if budget_s is None else budget_s,
            held_out=(
                batches_of(data.held_out, batch, seed + 1, place) if len(data.held_out) else None
            ),
            **kept,
        )
        model = cls(network, radius=data.radius, handedness=data.handedness, device=place)
        model.training = trainer.card()
        _tell_hand(data.handedness)
        return model

    def sample(
        self,
        n: int,
        seed: int = 0,
        *,
        steps: int | None = None,
        callback: Callback | None = None,
        **options: Any,
    ) -> Array:
        """Sets (n, K, 3) in the user's unit, each with its centre at the origin and
        turned at random; sample k depends on the seed and k alone.

        Parameters
        ----------
        n : int
            How many.
        seed : int
            Of all of them.
        steps : int, optional
            Network calls of a set; 100 if not given.
        callback : callable, optional
            As of the conformer models.
        **options
            Of `DistanceOptions`, in place of the model's: map, corrector, solver, ...

        Raises
        ------
        NoValidSamplesError
            Where the signs of volumes that never changed in the training sets did not
            come out right in eight draws of each set.
        """
        check_count("n", n)
        chosen = DistanceOptions.from_dict({**dataclasses.asdict(self.options), **options})
        n_steps = chosen.steps if steps is None else check_count("steps", steps, least=2)
        streams = [sample_rng(int(k)) for k in sample_seeds(check_seed(seed), 0, n)]
        result = np.full((n, self.n_points, 3), np.nan)
        todo, move = np.arange(n), PointMove(self.network, chosen)
        for _ in range(ATTEMPTS):
            drawn = draws(
                move,
                [streams[k] for k in todo],
                self.n_points,
                n_steps,
                chosen,
                self.device,
                callback,
                np.float64,
            )
            turned, right = self.handedness.oriented(drawn)
            right &= np.isfinite(turned).all((1, 2))
            result[todo[right]] = turned[right]
            todo = todo[~right]
            if not len(todo):
                return result * self.radius
        raise NoValidSamplesError(
            f"{len(todo)} of {n} sets have volumes of the wrong sign after {ATTEMPTS} draws; train "
            "longer, or ask for more steps.",
            {"handedness": len(todo)},
            np.delete(result, todo, 0) * self.radius,
        )

    def card(self, **more: Any) -> dict[str, Any]:
        """The model card: what `load` needs, and what it is."""
        sizes, options = self.network.config, self.options
        own = {
            "name": "my-points",
            **points_card(sizes, self.radius, self.handedness, options),
            "description": about(sizes),
            "licence": LICENCE,
            "training_data": TRAINING_DATA,
            "quality": {},
        }
        return {**own, **self.given, **self.training, **more}

    def save(self, path: str | Path, **card: Any) -> Path:
        """Write PATH.safetensors, in float32, and its card; returns the former.

        Keywords go into the card.
        """
        return save_module(path, self.network, self.card(**{"name": Path(path).stem, **card}))

    @classmethod
    def load(cls, name_or_path: str | Path, *, device: Device = None) -> PointModel:
        """A model by the name of shipped weights, or by a path, on a device.

        Raises `WeightsError` for another family's.
        """
        network, card = load_network(name_or_path, TASK, _network)
        c = card["config"]
        return cls(
            network,
            radius=c["radius"],
            handedness=Handedness.from_card(c["handedness"]),
            options=DistanceOptions.from_dict(card["options"]),
            card=card,
            device=device,
        )


def _tell_hand(handedness: Handedness) -> None:
    """Say so where mirror images are left to chance."""
    if handedness.told < TOLD:
        log.warning(
            "the sets and their mirror images cannot be told apart (%.0f %% of the training "
            "sets); samples come as either",
            100 * handedness.told,
        )


class PointMove:
    """`move(c, sigma)` of a network of points, by the options' map on the complete
    graph.
    """

    def __init__(self, network: PointNetwork, options: DistanceOptions):
        self.network, self.map = network, distance_map(options.map)

    def __call__(self, c: Tensor, sigma: float) -> Tensor:
        """Moves (B, K, 3) at a noise level."""
        d = self.network(c, c.new_full((len(c),), sigma))
        edges = complete_edges(c.shape[1], dtype=c.dtype, device=c.device)
        return mapped(self.map, c, d, edges, edges)


# in units of the sets' radius
USUAL = DistanceOptions(
    map="gauss-newton", corrector=2.0, sigma_max_A=3.0, sigma_min_A=0.003, clip_A=10.0
)


def about(sizes: PointSizes) -> str:
    """What a model is, in a line."""
    return f"distribution over sets of {sizes.n_points} labelled points"


def points_card(
    sizes: PointSizes,
    radius: float,
    handedness: Handedness,
    options: DistanceOptions = USUAL,
) -> dict[str, Any]:
    """What the card of every model of points says of itself, and `PointModel.load`
    reads.
    """
    config = dataclasses.asdict(sizes) | {"radius": radius, "handedness": handedness.card()}
    return {
        "family": "conformers",
        "task": TASK,
        "config": config,
        "options": dataclasses.asdict(options),
        "elements": "none (labelled points)",
        "max_atoms": sizes.n_points,
        "units": "the training data's",
    }


def _network(c: dict[str, Any]) -> PointNetwork:
    """The network of a card's `config`."""
    return PointNetwork(PointSizes(c["n_points"], c["hidden"], c["layers"]))
