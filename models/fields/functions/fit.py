"""What `FieldModel.fit` makes of functions before any network is trained: standard
values, the limiting kernel, experts, batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.fields.functions.data import as_fields
from equidrift.models.fields.functions.experts import expert_family, fit_experts
from equidrift.models.fields.functions.kernels import (
    Kernel,
    fit_kernel,
    fitted_family,
    main_period,
    make_kernel,
)
from equidrift.models.fields.functions.network import NetworkConfig
from equidrift.models.fields.functions.objective import FieldDiffusion
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.run import own_random_state
from equidrift.models.shared.split import HELD_OUT, split
from equidrift.weights import load_weights

Array = NDArray[np.float64]
Network = NetworkConfig | Mapping[str, Any] | str  # a mapping: sizes other than the usual ones
Draw = Callable[[int], tuple[Tensor, Tensor, Tensor]]  # step -> points, values, mask


@dataclass(frozen=True)
class Standard:
    """Functions: points x (F, n, d), values y (F, n, p) less `centre` over `scale`, 0
    where not known, and the mask (F, n) of those.

    span : largest extent of a function along one coordinate; spacing : typical distance
        of neighbours.
    """

    x: Tensor
    y: Tensor
    mask: Tensor
    centre: float
    scale: float
    span: float
    spacing: float
    vector: bool

    @property
    def dimension(self) -> int:
        """Of the points."""
        return self.x.shape[-1]

    @property
    def components(self) -> int:
        """Of a value."""
        return self.y.shape[-1]


def standardised(x: ArrayLike, y: ArrayLike, mask: ArrayLike | None, vector: bool) -> Standard:
    """A user's functions, checked; arguments as `FieldModel.fit`.

    Raises
    ------
    InputError
        for arrays that do not go together, and values that are all the same.
    """
    points, values, known = as_fields(x, y, mask)
    d, p = points.shape[-1], values.shape[-1]
    if vector and p != d:
        raise InputError(
            f"vector=True is for fields of {d} components in {d} dimensions, y has {p}; leave "
            "vector out for scalars"
        )
    if not vector and p != 1:
        raise InputError(
            f"y has {p} components per point; give vector=True for a vector field, or fit one "
            "model per component"
        )
    seen = values[known]
    centre = 0.0 if vector else float(seen.mean())
    scale = float(np.sqrt(np.square(seen - centre).mean()))
    if scale == 0 or not np.isfinite(scale):
        raise InputError("y is the same value everywhere; there is no distribution to learn")
    there = torch.tensor(known, device="cpu")
    standard = ((torch.tensor(values, device="cpu") - centre) / scale) * there[..., None]
    span, spacing = extent(points, known)
    return Standard(
        torch.tensor(points, device="cpu"), standard, there, centre, scale, span, spacing, vector
    )


def first_diffusion(
    data: Standard,
    limit: str | Kernel,
    base: Literal["limit", "experts"],
    network: Network,
    seed: int,
) -> FieldDiffusion:
    """The diffusion with its limiting kernel and experts fitted, and a network of
    random weights that depend on the seed alone.

    Raises
    ------
    InputError
        for experts of anything but scalars on a line, and settings that do not fit the
        values.
    """
    config = sizes_of(network, data)  # before anything that takes long
    line = data.dimension == data.components == 1
    if base == "experts" and not (line and limit in ("fitted", "white")):
        what = f"{data.components} components in {data.dimension} dimensions and {limit!r}"
        raise InputError(f"base='experts' is for scalars on a line with a white limit, not {what}")
    limit = "white" if base == "experts" else limit
    period = (
        main_period(data.x, data.y, data.span, data.spacing)
        if line and (limit == "fitted" or base == "experts")
        else None
    )
    kernel = limiting_kernel(limit, data, period)
    if limit == "fitted":
        fit_kernel(kernel, data.x, data.y, data.mask, seed=seed)
    experts = expert_family(data.span, data.spacing, period) if base == "experts" else None
    if experts is not None:
        fit_experts(experts, data.x, data.y, data.mask, seed=seed)
    with own_random_state(seed):
        return FieldDiffusion(kernel, config, experts=experts)


def training_batches(data: Standard, batch: int, seed: int) -> tuple[Draw, Draw | None]:
    """Batches of functions by step, and those that are held out (all of them at every
    step; None of few functions).
    """
    rows, held = split(range(len(data.x)), HELD_OUT, seed)
    arrays, unseen = (
        [a[part] for a in (data.x.float(), data.y.float(), data.mask)] for part in (rows, held)
    )
    size = min(batch, len(arrays[0]))

    def batches(step: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        pick = torch.randint(len(arrays[0]), (size,), generator=generator, device=generator.device)
        return arrays[0][pick], arrays[1][pick], arrays[2][pick]

    def held_out(_step: int) -> tuple[Tensor, Tensor, Tensor]:
        return unseen[0], unseen[1], unseen[2]

    return batches, held_out if len(held) else None


@dataclass(frozen=True)
class Batch(Batched):
    """What the training loop counts by its length."""

    x: Tensor
    y: Tensor
    mask: Tensor


def start_from(diffusion: FieldDiffusion, name_or_path: str | Path) -> None:
    """Take over a saved model's network."""
    state, _ = load_weights(name_or_path)
    try:
        diffusion.network.load_state_dict(
            {k[8:]: v for k, v in state.items() if k.startswith("network.")}
        )
    except RuntimeError as error:
        raise InputError(
            f"start={str(name_or_path)!r} holds another network than the one to be trained: {error}"
        ) from error


def extent(x: Array, known: NDArray[np.bool_]) -> tuple[float, float]:
    """(largest extent of a function along a coordinate, typical distance of neighbours
    in it).
    """
    extents = [np.ptp(points[mask], axis=0).max() for points, mask in zip(x, known, strict=True)]
    count = float(np.median(known.sum(-1)))
    span = float(max(extents))
    return span or 1.0, (span or 1.0) / max(1.0, count ** (1 / x.shape[-1]))


def limiting_kernel(limit: str | Kernel, data: Standard, period: float | None) -> Kernel:
    """The kernel that `limit` names, not fitted yet.

    Raises `InputError` for one of other components.
    """
    if isinstance(limit, Kernel):
        if limit.components != data.components:
            raise InputError(
                f"limit is a kernel of {limit.components} components, the values have "
                f"{data.components}"
            )
        return limit
    if limit == "fitted":
        return fitted_family(data.components, data.dimension, data.span, data.spacing, period)
    return make_kernel(limit, data.components, length=data.span / 10)


def sizes_of(network: Network, data: Standard) -> NetworkConfig:
    """The sizes of the network asked for.

    Raises
    ------
    InputError
        for another name, or a size that a network has not.
    """
    if isinstance(network, NetworkConfig):
        return network
    if isinstance(network, Mapping):
        known = {field.name for field in fields(NetworkConfig)} - {"components", "dimension"}
        for name in network:
            if name not in known:
                raise UnknownNameError("size of a network", name, known)
        return replace(sizes_of("auto", data), **network)
    if network not in ("auto", "none"):
        raise InputError(
            f"network must be 'auto', 'none', sizes or a NetworkConfig, not {network!r}"
        )
    span, spacing = data.span, data.spacing
    shape: dict[str, Any] = {
        "kind": "attention",
        "width": 96,
        "layers": 4,
        "wave_min": spacing / 2,
        "wave_max": 4 * span,
    }
    if data.vector:
        shape = {
            "kind": "vector",
            "width": 32,
            "layers": 3,
            "wave_min": spacing,
            "wave_max": span / 2,
        }
    if network == "none":
        shape["kind"] = "none"
    return NetworkConfig(components=data.components, dimension=data.dimension, **shape)
