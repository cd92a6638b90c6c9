"""Prior paths: where frames that are not given would be if the motion went straight on,
and how far data stray from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.trajectories.diffusion.egtn import EGTN, EGTNConfig
from equidrift.models.trajectories.diffusion.frames import KnownFrames
from equidrift.models.trajectories.diffusion.on_path import PathDenoiser
from equidrift.models.trajectories.diffusion.path_spread import PathSpread, Prior

LINE, LEARNED, INTEGRATOR = PRIORS = ("line", "learned", "integrator")


def _network() -> EGTNConfig:
    return EGTNConfig(width=64, layers=4, heads=4, scaled=True, velocities=True)


@dataclass(frozen=True)
class PathConfig:
    """Sizes of a network over a prior path.

    Parameters
    ----------
    network : EGTNConfig
        Sizes of the network.
    frames : int
        The longest window.
    line : float
        Share of the velocity that the prior path keeps beyond given frames: 1 is
        constant velocity, 0 holds the nearest given frame.
    prior : str
        "line"; "learned": the combination of given frames of arXiv:2410.13027, learned
        with the rest; or "integrator": the mean path of the learned integrator
        (`mean_path.MeanPath`, of plain arrays `carried_path.CarriedPath`), which is made
        beforehand.
    comoving : bool
        Works in the frame of reference that moves with the mean of the given frames, so
        that a boosted input gives the boosted output.
    reads_path : bool
        The network reads the prior path as it is, and residuals as vectors on it
        (`PathDenoiser`), in a spread that the path tells for each node (`PathSpread`).
        Else it is an EGTN that reads noisy frames, and the distance from the nearest given
        frame alone tells the spread.
    """

    network: EGTNConfig = field(default_factory=_network)
    frames: int = 30
    line: float = 1.0
    prior: str = LINE
    comoving: bool = False
    reads_path: bool = False

    def __post_init__(self) -> None:
        if self.prior not in PRIORS:
            raise UnknownNameError("prior path", str(self.prior), PRIORS)


Config = TypeVar("Config", bound=PathConfig)


class PathNetwork(nn.Module, Generic[Config]):
    """A network, and the spread (frames,) of residuals from the prior path at each
    distance in frames from the nearest given one.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.path_spread = PathSpread(config.network) if config.reads_path else None
        self.network = (PathDenoiser if config.reads_path else EGTN)(config.network)
        learned = config.prior == LEARNED
        self.prior = prior_network(config.network) if learned else None
        # no weight on earlier frames at first: the last frame, as the network moves it
        self.gamma = nn.Parameter(torch.zeros(config.frames)) if learned else None
        self.spread: Tensor
        self.register_buffer("spread", torch.ones(config.frames))  # a buffer moves with the module

    def line(self, known: KnownFrames) -> Tensor:
        """The prior path (b, t, n, d): the one that was made beforehand, else `anchors`.

        Raises
        ------
        InputError
            If the network was trained on paths of the integrator, and there is none.
        """
        if known.path is not None:
            return known.path
        if self.prior is not None and self.gamma is not None:
            return combined(self.prior, self.gamma, known)
        if self.config.prior != LINE:
            raise InputError(
                "this network goes on from the integrator's mean path, and none was given: use "
                "it on molecules, with frames given whole"
            )
        return self.anchors(known.frames, known.given)

    def anchors(self, x: Tensor, given: Tensor) -> Tensor:
        """The prior path (b, t, n, d) through the frames of x that are given (t,).

        Between two given frames it is the line that joins them. Beyond them it goes on
        with the share `line` of the last velocity. From one given frame it stays there;
        without any it is zero.
        """
        known = torch.nonzero(given)[:, 0].tolist()
        if not known:
            return torch.zeros_like(x)
        if len(known) == 1:
            return x[:, known].expand_as(x)
        return torch.stack([self._on_path(x, known, k) for k in range(x.shape[1])], 1)

    def _on_path(self, x: Tensor, known: list[int], k: int) -> Tensor:
        """Frame k (b, n, d) of the path through the frames `known`, two or more."""
        following = next((j for j, place in enumerate(known) if place >= k), len(known))
        j = min(max(1, following), len(known) - 1)
        a, b = known[j - 1], known[j]
        outside = k > b or k < a
        near = b if k > b else a
        slope = (x[:, b] - x[:, a]) / (b - a)
        return x[:, near] + slope * ((k - near) * (self.config.line if outside else 1.0))

    def scale(self, given: Tensor) -> Tensor:
        """The spread (t,) of each frame's residual."""
        return self.spread[distance(given).clamp_max(len(self.spread) - 1)]

    def prior_of(self, known: KnownFrames) -> Prior:
        """The prior path, and the spread of residuals from it."""
        line = self.line(known)
        usual = self.scale(known.given)[None, :, None, None].to(known.frames.dtype)
        if self.path_spread is None:
            return Prior(line, usual, usual)
        factor, told = self.path_spread(known, line)
        return Prior(line, usual * factor, usual, told)

    def moved(self, known: KnownFrames, prior: Prior, y: Tensor, time: Tensor) -> Tensor:
        """By how much (b, t, n, d) the network moves frames, in units of their residuals.

        Parameters
        ----------
        y : Tensor (b, t, n, d)
            The residual of the frames that are not given, as it is now, in its units.
        time : Tensor (b,)
            As the network reads it, 0 to 1000.
        """
        if isinstance(self.network, PathDenoiser):
            made: Tensor = self.network(known, prior, y, time)
            return made
        frames = torch.where(known.fixed, known.frames, prior.line + prior.units * y)
        out, _ = self.network(known.graph, frames, known.clock, known.given_each, time)
        return (out - frames) / prior.units

    def frames_of(self, known: KnownFrames, y: Tensor, prior: Prior) -> Tensor:
        """Frames of a residual y, the given ones as they are; centred if there is none."""
        made = torch.where(known.fixed, known.frames, prior.frames(y))
        return known.projected(made)


def on_integrator(network: nn.Module) -> bool:
    """Whether a network goes on from an integrator's path, which is made beforehand."""
    return isinstance(network, PathNetwork) and network.config.prior == INTEGRATOR


def prior_network(config: EGTNConfig) -> EGTN:
    """The network of a learned prior: two layers that read no diffusion time."""
    sizes = config.node_features, config.edge_features, config.width, 2
    return EGTN(EGTNConfig(*sizes, times=False, global_vectors=config.global_vectors))


def combined(prior: EGTN, gamma: Tensor, known: KnownFrames) -> Tensor:
    """A learned combination (b, t, n, d) of the given frames for every frame, whose
    weights sum to 1; zero without a given frame (arXiv:2410.13027, learnable prior).

    Parameters
    ----------
    prior : EGTN
        Moves the given frames, and weighs them by its features.
    gamma : Tensor (frames,)
        Scale of the weights in each frame of the longest window.

    Raises
    ------
    InputError
        If the window is longer.
    """
    x = known.frames
    if not known.any_given:
        return torch.zeros_like(x)
    if x.shape[1] > len(gamma):
        raise InputError(
            f"this model was made for windows of {len(gamma)} frames at most, and got "
            f"{x.shape[1]}; chain windows"
        )
    given = x[:, known.given]
    seen = torch.ones(given.shape[:2], dtype=torch.bool, device=x.device)
    moved, h = prior(known.graph, given, known.clock[known.given], seen)
    weight = gamma[None, : x.shape[1], None, None] * h.mean(-1)[:, None, :-1]  # (b, t, s - 1, n)
    last = 1 - weight.sum(2, keepdim=True)
    return torch.einsum("btsn,bsnd->btnd", torch.cat([weight, last], 2), moved)


def distance(given: Tensor) -> Tensor:
    """Frames (t,) to the nearest given frame; 0 for given ones, and 0 everywhere if
    none is given.
    """
    known = torch.nonzero(given)[:, 0]
    t = torch.arange(len(given), device=given.device)
    return (t[:, None] - known[None]).abs().amin(1) if len(known) else torch.zeros_like(t)
