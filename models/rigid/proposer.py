"""Monte Carlo moves of rigid bodies, with exact densities: for water, ions, fragments
and whole ligands in every host.

A move changes rotation and place of the body and nothing inside it. Positions are the
pose and internal coordinates, dx = J(internal) dR ds, so the ratio of densities of the
poses is that of the positions, and constraints inside the body stay what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from equidrift.errors import InputError, UnknownNameError
from equidrift.frozen import plain_fields
from equidrift.geometry import Floats
from equidrift.models.rigid import igso3
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.flow import ScoreDensity
from equidrift.models.rigid.mixture import PoseDensity, PoseMixture
from equidrift.montecarlo.adapt import LEAST_CYCLES, Adapted, Advance, Alternating
from equidrift.montecarlo.proposals import DrawnAnew, SteppedTogether
from equidrift.protocols import Proposer
from equidrift.records import Proposal

FRAMES_PER_COMPONENT, MOST_COMPONENTS = 40, 24
DENSITIES = ("mixture", "score")


class RigidProposer(DrawnAnew):
    """Draws a body's pose from a density that the present pose does not enter.

    Parameters
    ----------
    body : RigidBody
        What moves, and what its pose is told from.
    density : PoseMixture or ScoreDensity
        Of the pose; `PoseMixture.ball` for uniform moves, `fit` or `adapt_rigid` for
        learned ones.
    name : str, optional
        As statistics show it.
    """

    exact = True
    tree = None

    def __init__(self, body: RigidBody, density: PoseDensity, *, name: str = "rigid") -> None:
        self.body, self.density, self.name = body, density, name
        self.about = density.about

    @classmethod
    def fit(
        cls,
        body: RigidBody,
        positions_A: Sequence[Floats] | Floats,
        *,
        density: str = "mixture",
        seed: int = 0,
    ) -> RigidProposer:
        """A proposer whose density is fitted to frames (k, n_atoms, 3).

        Parameters
        ----------
        body : RigidBody
            What moves.
        positions_A : (k, n_atoms, 3) array
            Frames, in A.
        density : str, optional
            "mixture" of IGSO(3) x Gaussians, or "score": a score that is learned by
            denoising, drawn with the exact density of its discretised probability flow
            (seconds of training), and a tenth of draws from the mixture.
        seed : int, optional
            Of the fit.

        Raises
        ------
        UnknownNameError
            For another density. InputError if there are fewer than 20 frames.

        Examples
        --------
        >>> start_A = np.array([[0, 0, 0.0], [0.8, 0, 0.6], [-0.8, 0, 0.6]])
        >>> rng = np.random.default_rng(0)
        >>> frames_A = start_A + 0.3 * rng.standard_normal((40, 1, 3))
        >>> body = RigidBody(start_A, [0, 1, 2])
        >>> proposer = RigidProposer.fit(body, frames_A)
        >>> made = proposer.propose(start_A, kT_eV=0.0257, rng=rng)
        >>> made.positions_A.shape
        (3, 3)
        """
        if density not in DENSITIES:
            raise UnknownNameError("density of poses", density, DENSITIES)
        rng = np.random.default_rng(seed)
        poses = [body.pose(x, rng) for x in positions_A]
        turns, places = (
            np.array(part).reshape(len(poses), 3, -1) for part in zip(*poses, strict=True)
        )
        components = min(MOST_COMPONENTS, len(poses) // FRAMES_PER_COMPONENT)
        mixture = PoseMixture.fit(
            turns, places[..., 0], components, oriented=body.oriented, seed=seed
        )
        if density == "mixture":
            return cls(body, mixture)
        from equidrift.models.rigid.train import trained_flow

        flow = trained_flow(turns, places[..., 0], body, seed=seed)
        return cls(body, ScoreDensity(flow, mixture), name="rigid-score")

    def propose_independent(
        self, positions_A: Floats, n: int, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """n poses from one state (n_atoms, 3); see
        `equidrift.protocols.IndependentProposer`.
        """
        del kT_eV
        turn, place = self.body.pose(positions_A, rng)
        made = self.density.drawn(n, rng, turn, place)
        current = made.log_q_present
        info = {"kind": "independent", "log_q_current": current}
        new = self.body.placed(positions_A, turn, made.turns, made.places_A)
        return [
            Proposal(x, current - q, {**info, "log_q": q})
            for x, q in zip(new, made.log_q.tolist(), strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `equidrift.montecarlo.proposals.proposer_from_dict` is the inverse."""
        return {
            "proposer": "rigid",
            "name": self.name,
            "body": self.body.to_dict(),
            "density": self.density.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RigidProposer:
        """The proposer that `to_dict` wrote."""
        stored = data["density"]
        kind = ScoreDensity if "flow" in stored else PoseMixture
        return cls(RigidBody.from_dict(data["body"]), kind.from_dict(stored), name=data["name"])


class LocalRigidProposer(SteppedTogether):
    """Small steps of a body: a turn from IGSO(3) about its mean position, and a normal
    shift. Symmetric, so log_q_ratio is 0.

    Parameters
    ----------
    atoms : sequence of int
        Of the body.
    sigma_A : float, optional
        Standard deviation of the shift along each axis.
    eps : float, optional
        Of the turn, in radians; a single atom is shifted alone.

    Raises
    ------
    InputError
        If there is no atom, or a step is not positive.
    """

    exact, name = True, "rigid-local"
    tree = None
    about = "small turns and shifts of a rigid body"

    def __init__(self, atoms: Sequence[int], sigma_A: float = 0.15, eps: float = 0.3) -> None:
        self.atoms = np.asarray(atoms, np.int64).ravel()
        if not len(self.atoms) or not (sigma_A > 0 and eps > 0):
            raise InputError(
                f"a rigid step needs atoms, and positive sigma_A and eps; got {len(self.atoms)} "
                f"atoms, sigma_A={sigma_A}, eps={eps}"
            )
        self.sigma_A, self.eps = float(sigma_A), float(eps)

    def propose_many(
        self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """One proposal from each of k states (k, n_atoms, 3)."""
        del kT_eV
        k = len(positions_A)
        turns = igso3.sample(np.full(k, self.eps), rng)
        shifts = self.sigma_A * rng.standard_normal((k, 1, 3))
        moved = np.array(positions_A, np.float64)
        body = moved[:, self.atoms]
        centre = body.mean(axis=1, keepdims=True)
        moved[:, self.atoms] = centre + shifts + (body - centre) @ np.swapaxes(turns, 1, 2)
        return [Proposal(x, 0.0, {"kind": "local"}) for x in moved]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `equidrift.montecarlo.proposals.proposer_from_dict` is the inverse."""
        return {"proposer": self.name, **plain_fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LocalRigidProposer:
        """The proposer that `to_dict` wrote."""
        return cls(data["atoms"], data["sigma_A"], data["eps"])


def adapt_rigid(
    advance: Advance,
    body: RigidBody,
    cycles: int,
    *,
    radius_A: float,
    density: str = "mixture",
    seed: int = 0,
) -> Adapted:
    """Explore with uniform and small moves, fit a mixture, explore with the fit, and fit
    again; what comes out never changes more, as exact sampling demands.

    Parameters
    ----------
    advance : callable
        Runs cycles with a proposer, and returns frames (k, n_atoms, 3) and statistics
        (`equidrift.montecarlo.adapt.Advance`).
    body : RigidBody
        What moves.
    cycles : int
        In all; at least 80.
    radius_A : float
        Of the ball of uniform moves about where the body's reference has it.
    density : str, optional
        Of the last fit, "mixture" or "score"; see `RigidProposer.fit`.
    seed : int, optional
        Of the fits.

    Raises
    ------
    UnknownNameError
        For another density. InputError if there are too few cycles to fit anything.
    """
    if density not in DENSITIES:
        raise UnknownNameError("density of poses", density, DENSITIES)
    if cycles < LEAST_CYCLES:
        raise InputError(
            f"the adaptive phase has {cycles} cycles, and {LEAST_CYCLES} are needed to fit a "
            "proposer; give it more time"
        )
    place_A = body.pose(body.reference_A, np.random.default_rng(seed))[1]
    centre_A = np.zeros(3) if body.sighted else place_A
    uniform = RigidProposer(body, PoseMixture.ball(centre_A, radius_A), name="rigid-uniform")
    simple: tuple[Proposer, ...] = (uniform, LocalRigidProposer(body.atoms))
    frames, first = advance(Alternating(*simple), cycles // 2)
    found = RigidProposer.fit(body, frames[len(frames) // 4 :], seed=seed)
    more, second = advance(Alternating(found, *simple), cycles - cycles // 2)
    kept = np.concatenate([frames[len(frames) // 2 :], more])
    found = RigidProposer.fit(body, kept, density=density, seed=seed)
    report = {
        "proposer": found.name,
        "cycles": cycles,
        "frames": len(kept),
        "components": found.density.components,
        "acceptance": {"uniform and local": first.acceptance, "with a fit": second.acceptance},
        "is": found.about,
    }
    return Adapted(found, report)
