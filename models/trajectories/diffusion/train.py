"""What the flow, GeoTDM and the alternatives learn: windows of frames with masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.trajectories.arrays.carried_path import CarriedPath
from equidrift.models.trajectories.arrays.modes import Modes, modes_loss
from equidrift.models.trajectories.config import Plan, TrajectoryTraining, moves_along
from equidrift.models.trajectories.data import FrameBatches
from equidrift.models.trajectories.diffusion.flow import flow_loss
from equidrift.models.trajectories.diffusion.geotdm import geotdm_loss
from equidrift.models.trajectories.diffusion.mean_path import CLOCK_FS, MeanPath
from equidrift.models.trajectories.diffusion.path import INTEGRATOR, PathNetwork
from equidrift.models.trajectories.diffusion.residual import RESIDUAL, residual_loss
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.models.trajectories.integrator.train import training_of
from equidrift.models.trajectories.sources import Drawn, PriorPath, Source

PUBLISHED_NETWORK: dict[str, Any] = {"width": 128, "layers": 6}  # of arXiv:2410.13027
# of the forms over a prior path
PATH_NETWORK: dict[str, Any] = {
    "width": 64,
    "layers": 4,
    "heads": 4,
    "scaled": True,
    "velocities": True,
}


def window_plan(
    c: TrajectoryTraining,
    source: Source,
    sizes: dict[str, int],
    unit: str,
    runs: Sequence[Dynamics] = (),
    unseen: Source | None = None,
) -> Plan:
    """Windows with masks, for the flow, GeoTDM and alternatives.

    Lengths are divided by the spread of the data.
    """
    batches = _batches(c, source)
    held_out = None if unseen is None else _batches(c, unseen)
    if c.kind == "modes":
        return modes_plan(c, batches, sizes, unit, held_out)
    length = batches.length()
    for part in (batches, held_out):
        if part is not None:
            part.scale = 1.0 / length
    training = training_of(runs, None, length) if runs else {"length": length, "unit": unit}
    training |= {"given": c.given} | ({"context": c.context} if c.given == "forecast" else {})
    residual = c.kind == "geotdm" and c.options.get("form") == RESIDUAL
    usual = PATH_NETWORK if c.kind == "flow" or residual else PUBLISHED_NETWORK
    config: dict[str, Any] = {"kind": c.kind, "frames": c.frames}
    config |= {"network": sizes | usual | c.network}
    config |= ({"comoving": moves_along(c)} if c.kind == "flow" or residual else {}) | c.options
    if c.kind == "geotdm" and not residual:
        return Plan(config, batches, geotdm_loss, training, held_out=held_out)

    if c.options.get("prior") == INTEGRATOR:
        prior, told = prior_path(c, runs)
        training |= told
        for part in (batches, held_out):
            if part is not None:
                part.prior = prior

    def prepare(made: nn.Module) -> None:
        network = cast(PathNetwork[Any], made)
        if not c.init:
            network.spread.copy_(batches.spread(network))

    loss = residual_loss if residual else flow_loss
    return Plan(config, batches, loss, training, prepare, held_out=held_out)


def prior_path(c: TrajectoryTraining, runs: Sequence[Dynamics]) -> tuple[PriorPath, dict[str, Any]]:
    """The integrator's paths of windows, and what the card says of it.

    Raises
    ------
    InputError
        If plain arrays come without the weights of an integrator, or molecules with some.
    """
    if not runs:
        if not c.prior_weights:
            raise InputError(
                "options: prior: integrator needs the integrator whose paths it goes on from; set "
                "prior_weights, such as nbody-charged, or the path of your own"
            )
        carried = CarriedPath(c.prior_weights)
        told = {"prior_weights": c.prior_weights, "prior_sha256": carried.weights_sha256}
        return carried.of_windows, told
    if c.prior_weights:
        raise InputError(
            "prior_weights is for plain arrays; molecules go on from the shipped integrator"
        )
    prior = MeanPath()

    def mean_path(drawn: Drawn, given: Tensor) -> Tensor:
        assert drawn.run is not None  # windows of molecules tell theirs
        spacing_fs = CLOCK_FS * float(drawn.clock[1] - drawn.clock[0])
        return prior(drawn.run.molecule, drawn.frames, given, spacing_fs)

    return mean_path, {"prior_sha256": prior.model.weights_sha256}


def _batches(c: TrajectoryTraining, source: Source) -> FrameBatches:
    return FrameBatches(
        source,
        frames=c.frames,
        context=c.context,
        given=c.given,
        pairs=c.pairs_per_batch,
        seed=c.seed,
    )


def modes_plan(
    c: TrajectoryTraining,
    batches: FrameBatches,
    sizes: dict[str, int],
    unit: str,
    held_out: FrameBatches | None,
) -> Plan:
    """`context` frames in, the rest of the window out.

    Lengths stay as they are; the network knows the ordinary step.
    """
    if c.context >= c.frames:
        raise InputError(
            f"alternatives need frames to come: context {c.context} must be below frames {c.frames}"
        )
    config = (
        {"kind": "modes", "past": c.context, "future": c.frames - c.context} | sizes | c.network
    )

    def prepare(made: nn.Module) -> None:
        if not c.init:
            modes = cast(Modes, made)
            with torch.no_grad():  # alternatives that begin apart are all found useful
                modes.futures.bias.normal_(
                    0.0, 0.4, generator=torch.Generator().manual_seed(c.seed)
                )
            steps = [batches(step).frames.diff(dim=1).square().sum(-1).mean() for step in range(8)]
            modes.unit.copy_(torch.stack(steps).mean().sqrt().clamp_min(1e-9))

    return Plan(
        config,
        batches,
        modes_loss,
        {"length": 1.0, "unit": unit, "given": "forecast"},
        prepare,
        held_out=held_out,
    )
