"""Trajectories of which some atoms are known in some frames: `complete` for masks
(n_frames, n_atoms).

Diffusion models draw what is missing by the Langevin-corrected conditional sampler
(arXiv:2307.05431), known atoms noised to the level of each step. The integrator runs
from the nearest frame of which all is known, its known atoms led along their path: they
arrive by their last `LEAD` steps where a gap precedes, and after each step bonds,
angles and torsions to them are put right. That is steering, and no exact conditional of
the learned dynamics. Where no frame is whole, the one with most atoms is first
completed by held conformers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.checks.conditions import make_conditions
from equidrift.engine.conformers import sample_molecule
from equidrift.errors import EquidriftError, InputError
from equidrift.models.shared.conditioning import conditional_sample
from equidrift.models.shared.newton import Held, newton_step
from equidrift.models.shared.schedules import noise_level
from equidrift.models.trajectories.diffusion.draw import WindowNetwork
from equidrift.models.trajectories.diffusion.flow import Flow
from equidrift.models.trajectories.diffusion.frames import KnownFrames, Normal
from equidrift.models.trajectories.diffusion.geotdm import GeoTDM
from equidrift.models.trajectories.diffusion.path_spread import Prior
from equidrift.models.trajectories.diffusion.residual import RHO, ResidualGeoTDM
from equidrift.models.trajectories.graphs import linked
from equidrift.models.trajectories.integrator.integrator import advance
from equidrift.models.trajectories.windows import CONTEXT, gaps, run_of
from equidrift.records import Molecule, Trajectory
from equidrift.text import counted

if TYPE_CHECKING:
    from equidrift.models.trajectories.integrator.run import IntegratorRun

Estimate = Callable[[Tensor, float], Tensor]  # noisy frames and a time -> clean frames
LEAD = 8  # frames in which a free atom is led to where it is known next
LEAST_HELD = 3  # atoms of a frame that a conformer can be placed by


def conformer_frame(
    molecule: Molecule, known_A: NDArray[np.float64], mask: NDArray[np.bool_], seed: int
) -> NDArray[np.float64]:
    """A whole frame (n, 3) around the known atoms of it, by ETKDG and MMFF94 with these
    held.

    Raises
    ------
    InputError
        where too few atoms are known, or no geometry holds them.
    """
    if mask.sum() < LEAST_HELD:
        raise InputError(
            f"no frame is known whole, and at most {counted(int(mask.sum()), 'atom')} "
            "of one are; give all "
            f"atoms of a frame, or {LEAST_HELD} of one at least"
        )
    held = make_conditions(fix={int(k): known_A[k] for k in np.flatnonzero(mask)})
    try:
        made: NDArray[np.float64] = sample_molecule(
            molecule, 1, model="etkdg-mmff", seed=seed, conditions=held
        ).positions_A[0]
    except EquidriftError as error:
        raise InputError(
            "no frame is known whole, and the atoms known of the fullest one cannot be completed: "
            f"{error}"
        ) from error
    return made


def steered(
    run: IntegratorRun,
    start: Tensor,
    known: Tensor,
    mask: Tensor,
    guard: Callable[[Tensor], Tensor],
) -> Tensor:
    """Frames (b, t, n, 3) from `start` (b, k, n, 3), whole frames that end before them,
    through known (t, n, 3) where mask (t, n).
    """
    v, temperature = run.state(start)
    bath, spacing = run.bath(temperature), run.spacing
    stiff = linked(run.graph, 3).to(start.dtype)
    following = next_known(mask)
    x, out = start[:, -1], []
    for k in range(len(mask)):
        before = x
        x, v = advance(lambda y, step: run.force(y, step) + guard(y), x, v, run.clock, bath)
        left = following[k] - k
        atoms = torch.arange(len(left), device=x.device)
        ahead = known[following[k].clamp(max=len(mask) - 1), atoms]
        share = torch.where(left < LEAD, 1.0 / (left + 1.0), 0.0).to(x.dtype)[:, None]
        led = x + share * (ahead - x)
        here = mask[k][None].expand(len(x), -1)
        led = put_right(led, x, stiff, here)
        speed = (led - before) / spacing
        v = torch.where(here[..., None], speed, v + (led - x) / spacing)
        x = led
        out.append(x)
    return torch.stack(out, 1)


def put_right(x: Tensor, like: Tensor, stiff: Tensor, held: Tensor) -> Tensor:
    """x (b, n, 3) with the near distances of `like`, held atoms unmoved: a few Newton
    steps (arXiv:2403.01430).
    """
    if not bool(held.any()):
        return x
    target = (like[:, :, None] - like[:, None]).norm(dim=-1)
    anchor = x.new_full(x.shape[:2], 0.02)
    start = x
    for _ in range(2):
        x = newton_step(x, start, target, stiff, anchor, Held(held, start))
    return torch.where(held[..., None], start, x)


def next_known(mask: Tensor) -> Tensor:
    """(t, n) the first frame, this one or a later, in which an atom is known; far
    beyond the end where there is none.
    """
    t = len(mask)
    place = torch.arange(t, device=mask.device)[:, None]
    where = torch.where(mask, place, 10 * t + 10 * LEAD)
    return where.flip(0).cummin(0).values.flip(0)


class FrameNoising:
    """`conditioning.Noising` of frames whose clean value a model estimates: y_t =
    alpha(t) y_0 + std(t) noise; times fall from 1 to 0.
    """

    def __init__(self, alpha: Callable[[float], float], std: Callable[[float], float]):
        self.alpha, self.std = alpha, std

    def prior(self, noise: Tensor) -> Tensor:
        """Noise alone."""
        return noise

    def transition(self, y: Tensor, earlier: float, later: float, noise: Tensor) -> Tensor:
        """y_later of y_earlier."""
        a = self.alpha(later) / max(self.alpha(earlier), 1e-12) if later < 1 else 0.0
        return a * y + max(self.std(later) ** 2 - (a * self.std(earlier)) ** 2, 0.0) ** 0.5 * noise

    def reverse(
        self, y: Tensor, t: float, to: float, score: Tensor, noise: Tensor | None
    ) -> Tensor:
        """Towards the clean estimate that stands for the score, its noise kept: a step
        of the probability flow.
        """
        del noise
        return self.alpha(to) * score + self.std(to) / self.std(t) * (y - self.alpha(t) * score)

    def langevin(
        self, y: Tensor, t: float, step: float, score: Tensor, noise: Tensor, free: Tensor
    ) -> Tensor:
        """One step of the free points, in units of the noise's variance."""
        spread = free[..., None] if free.ndim == y.ndim - 1 else free[None, ..., None]
        move = 0.5 * step * (self.alpha(t) * score - y) + step**0.5 * self.std(t) * noise
        return torch.where(spread, y + move, y)


def drawn(
    estimate: Estimate,
    noising: FrameNoising,
    known: Tensor,
    mask: Tensor,
    times: list[float],
    normal: Normal,
    corrections: int = 2,
) -> Tensor:
    """Clean frames (b, t, n, d) given known ones where mask (t, n), `estimate(y, t)`
    being the model's clean frames.
    """
    b, t, n, d = known.shape

    def score(y: Tensor, time: float) -> Tensor:
        return estimate(y.reshape(b, t, n, d), time).reshape(b, t * n, d)

    def draw() -> Tensor:
        return normal().reshape(b, t * n, d)

    made = conditional_sample(
        noising,
        score,
        known.reshape(b, t * n, d),
        ~mask.reshape(-1),
        times,
        draw,
        corrections=corrections,
        psi=1.0,
        tau=0.7,
    )
    return score(made, times[-1]).reshape(b, t, n, d)


def drawn_atoms(
    network: WindowNetwork, known: KnownFrames, mask: Tensor, normal: Normal, steps: int
) -> Tensor:
    """Frames (b, t, n, d) of a diffusion network, those known where mask (t, n).

    `known` says which frames are given whole.
    """
    if not network.config.comoving:
        return _drawn_atoms(network, known, mask, normal, steps)
    drift = known.drift()
    return _drawn_atoms(network, known.at_rest(drift), mask, normal, steps) + drift


def _drawn_atoms(
    network: WindowNetwork, known: KnownFrames, mask: Tensor, normal: Normal, steps: int
) -> Tensor:
    """The same, in whatever frame of reference the known frames are in."""
    if isinstance(network, GeoTDM):
        return drawn_geotdm(network, known, mask, normal, steps)
    prior = network.prior_of(known)
    # given frames have no residual, and keep their own units
    prior = replace(prior, units=torch.where(known.fixed, 1.0, prior.units))
    if isinstance(network, ResidualGeoTDM):
        estimate, noising = _of_residual(network, known, prior)
    else:
        estimate, noising = _of_flow(network, known, prior)
    times = torch.linspace(1.0, 0.02, steps + 1, device="cpu").tolist()
    target = prior.residual(known.frames)
    return prior.frames(drawn(estimate, noising, target, mask, times, normal))


def _of_flow(model: Flow, known: KnownFrames, prior: Prior) -> tuple[Estimate, FrameNoising]:
    """The flow's clean residual at a time, and the noise of it."""

    def estimate(y: Tensor, time: float) -> Tensor:
        return model.estimate(known, y, prior, y.new_full((len(y),), 1 - time))

    return estimate, FrameNoising(lambda t: 1 - t, lambda t: t)


def _of_residual(
    model: ResidualGeoTDM, known: KnownFrames, prior: Prior
) -> tuple[Estimate, FrameNoising]:
    """The residual form's clean residual at a time, and the noise of it."""

    def sigma(time: float) -> float:
        return noise_level(1 - time, model.config.highest, model.config.lowest, RHO)

    def alpha(time: float) -> float:
        return (1 + sigma(time) ** 2) ** -0.5

    def estimate(y: Tensor, time: float) -> Tensor:
        return model.denoised(known, y / alpha(time), prior, y.new_full((len(y),), sigma(time)))

    return estimate, FrameNoising(alpha, lambda time: alpha(time) * sigma(time))


def drawn_geotdm(
    model: GeoTDM, known: KnownFrames, mask: Tensor, normal: Normal, steps: int
) -> Tensor:
    """`drawn_atoms` of GeoTDM."""
    total, kept_after = model.config.steps, model.kept.tolist()
    anchor = model.anchors(known)

    def kept(time: float) -> float:
        return float(kept_after[max(round(time * total) - 1, 0)]) if time > 0 else 1.0

    def estimate(y: Tensor, time: float) -> Tensor:
        tau = torch.full((len(y),), max(round(time * total) - 1, 0), device=y.device)
        noise = model.noise_of(known, y + anchor, tau)
        return (y - (1 - kept(time)) ** 0.5 * noise) / kept(time) ** 0.5

    grid = torch.linspace(total - 1, 0, min(steps, total), device="cpu").round().long()
    times = [(k + 1) / total for k in grid.unique().flip(0).tolist()]
    noising = FrameNoising(lambda t: kept(t) ** 0.5, lambda t: (1 - kept(t)) ** 0.5)
    return anchor + drawn(estimate, noising, known.frames - anchor, mask, times, normal)


def between(
    run: IntegratorRun,
    x: Tensor,
    mask: Tensor,
    blend: Callable[[Tensor, Tensor], Tensor],
    guard: Callable[[Tensor], Any],
) -> Tensor:
    """Frames (b, t, n, 3) of the integrator: from the whole frames on either side of
    each gap of x, through what is known in it.

    blend : joins two runs (b, g, n, 3). guard : makes the guard of whole frames.
    """
    whole = mask.all(1)
    out = x.clone()
    for first, last in gaps(whole):
        inner = slice(first, last + 1)
        runs = []
        for flip, edge in ((False, first - 1), (True, last + 1)):
            past = (
                run_of(whole.flip(0), len(whole) - 1 - edge, -1)
                if flip
                else run_of(whole, edge, -1)
            )
            if past is None:
                continue
            past = slice(max(past.start, past.stop - CONTEXT), past.stop)
            start = (out.flip(1) if flip else out)[:, past]
            part, there = (u[inner].flip(0) if flip else u[inner] for u in (x[0], mask))
            made = steered(run, start, part, there, guard(start))
            runs.append(made.flip(1) if flip else made)
        out[:, inner] = runs[0] if len(runs) == 1 else blend(*runs)
        here = mask[inner][None].expand(len(out), -1, -1)
        put = torch.where(here[..., None], x[:, inner], out[:, inner]).flatten(0, 1)
        stiff = linked(run.graph, 3).to(x.dtype).repeat_interleave(last - first + 1, 0)
        out[:, inner] = put_right(
            put, out[:, inner].flatten(0, 1), stiff, here.flatten(0, 1)
        ).unflatten(0, (len(out), -1))
    return out


def check_mask(trajectory: Trajectory, given: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Known positions (t, n, 3), 0 where not given.

    Raises `InputError` for another shape, and for NaN that is marked as given.
    """
    known = np.array(trajectory.positions_A, np.float64)
    if given.shape != known.shape[:2]:
        raise InputError(
            f"given has shape {given.shape}, expected (n_frames,) or (n_frames, n_atoms) = "
            f"{known.shape[:2]}"
        )
    if not given.any():
        raise InputError("no atom is given in any frame; give at least the atoms of one frame")
    if not np.isfinite(known[given]).all():
        frame, atom = np.argwhere(given & ~np.isfinite(known).all(2))[0]
        raise InputError(
            f"atom {atom} of frame {frame} is marked as given and holds NaN or infinity; mark it "
            "as not given, or mend it"
        )
    known[~given] = 0.0
    return known
