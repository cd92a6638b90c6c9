"""System A's own experiments with an oracle distance score (arXiv:2403.01430): graph
recovery, k sweep, ODE and SDE against Langevin.

The oracle knows the clean distances, so that only the map to coordinates and the solver
are at work. Every function is deterministic: noise comes from the given seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.conformers.distance.maps import (
    DistanceMap,
    complete_edges,
    degree_normalised_map,
    distance_map,
    map_gain,
    pair_geometry,
    stretch,
)
from equidrift.models.conformers.distance.solvers import (
    Move,
    StepRule,
    annealed_langevin,
    geometric_sigmas,
    reverse_ode,
    reverse_sde,
)

LANGEVIN_RATES = (0.01, 0.3, 1.0, 1.5, 1.8)


def gaussian_distance_score(e: Tensor, d: Tensor, sigma: Tensor | float) -> Tensor:
    """The small-noise target (d - e) / s^2 with s^2 = 2 sigma^2, in 1/A;
    arXiv:2403.01430, distance distribution.

    Parameters
    ----------
    e, d : noisy and clean distances in A, same shape.
    sigma : noise level a coordinate in A.
    """
    return (d - e) / (2.0 * torch.as_tensor(sigma, dtype=e.dtype, device=e.device) ** 2)


def exact_distance_log_density(e: Tensor, d: Tensor, sigma: Tensor | float) -> Tensor:
    """log p(e | d): the non-central chi density with three degrees of freedom, in 1/A;
    arXiv:2403.01430, distance distribution.

    p = (e/d) (2 pi s^2)^(-1/2) [exp(-(e-d)^2 / 2 s^2) - exp(-(e+d)^2 / 2 s^2)], s^2 = 2
    sigma^2.
    """
    s2 = 2.0 * torch.as_tensor(sigma, dtype=e.dtype, device=e.device) ** 2
    gap = -torch.expm1(-2.0 * e * d / s2)
    return (
        torch.log(e / d)
        - 0.5 * torch.log(2.0 * torch.pi * s2)
        - (e - d) ** 2 / (2.0 * s2)
        + torch.log(gap)
    )


def exact_distance_score(e: Tensor, d: Tensor, sigma: Tensor | float) -> Tensor:
    """d/de log p(e | d) = 1/e - e/s^2 + (d/s^2) coth(d e / s^2), s^2 = 2 sigma^2, in
    1/A; arXiv:2403.01430, distance distribution.

    For d e / s^2 < 1e-3 the cotangent is replaced by 1/x + x/3. It holds outward terms
    1/e .. 2/e: volume factors of single distances, which are no part of the joint
    coordinate score; use `gaussian_distance_score` for moves (arXiv:2403.01430).
    """
    s2 = 2.0 * torch.as_tensor(sigma, dtype=e.dtype, device=e.device) ** 2
    x = d * e / s2
    small = x < 1e-3
    safe = torch.where(small, torch.ones_like(x), x)
    coth = torch.where(small, 1.0 / x.clamp_min(1e-30) + x / 3.0, 1.0 / torch.tanh(safe))
    return 1.0 / e - e / s2 + d / s2 * coth


def largest_gain(
    positions_A: Tensor,
    edges: Tensor,
    map_to_move: DistanceMap = degree_normalised_map,
    n_iterations: int = 50,
) -> Tensor:
    """lambda_max of map .

    J at these coordinates, (B,), by power iteration; it enters the stability rule of
    arXiv:2403.01430.

    See `map_gain` for what it is on a complete graph.
    """
    u = pair_geometry(positions_A)[1]
    phase = torch.arange(positions_A[0].numel(), dtype=positions_A.dtype, device=positions_A.device)
    move = torch.cos(1.0 + 2.3 * phase).view(positions_A.shape[1:]).expand_as(positions_A)
    gain = torch.ones(len(positions_A), dtype=positions_A.dtype, device=positions_A.device)
    for _ in range(n_iterations):
        moved = map_to_move(positions_A, stretch(u, move), edges)
        gain = moved.flatten(1).norm(dim=1) / move.flatten(1).norm(dim=1)
        move = moved / moved.flatten(1).norm(dim=1).clamp_min(1e-20)[:, None, None]
    return gain


def random_chain(
    n: int, seed: int, bond_A: float = 1.5, clash_A: float = 1.5
) -> NDArray[np.float64]:
    """A self-avoiding random chain, (n, 3) in A, centred: the stand-in for a molecule
    in arXiv:2403.01430.
    """
    rng = np.random.default_rng(seed)
    points = [np.zeros(3)]
    while len(points) < n:
        step = rng.standard_normal(3)
        new = points[-1] + bond_A * step / np.linalg.norm(step)
        if all(np.linalg.norm(new - p) > 0.9 * clash_A for p in points):
            points.append(new)
    chain = np.array(points)
    return chain - chain.mean(0)


def four_regular_edges(n: int = 10) -> Tensor:
    """The circulant 4-regular graph, each node joined to the next two on either side,
    (n, n).
    """
    k = torch.arange(n)
    gap = (k[:, None] - k[None]).remainder(n)
    return ((gap == 1) | (gap == 2) | (gap == n - 1) | (gap == n - 2)).double()


def oracle_move(clean_A: NDArray[np.float64], edges: Tensor, map_name: str) -> Move:
    """`move(c, sigma)` that knows the clean distances of `clean_A` (..., n, 3): Delta d
    = d - e on the edges.
    """
    target = pair_geometry(torch.from_numpy(clean_A))[0]
    to_move = distance_map(map_name)

    def move(c: Tensor, sigma: float) -> Tensor:
        return to_move(c, target - pair_geometry(c)[0], edges)

    return move


def edge_error(positions_A: Tensor, clean_A: NDArray[np.float64], edges: Tensor) -> Tensor:
    """Root mean square error of the edge lengths in A, (B,)."""
    target = pair_geometry(torch.from_numpy(clean_A)[None])[0]
    square = (pair_geometry(positions_A)[0] - target).square() * edges
    return (square.sum((1, 2)) / edges.sum()).sqrt()


def aligned_rmsd(positions_A: Tensor, clean_A: NDArray[np.float64], mirror: bool = True) -> Tensor:
    """RMSD in A after the best rotation (and reflection, with `mirror`: distances
    cannot tell); (..., n, 3) against (..., n, 3).
    """
    a = positions_A - positions_A.mean(-2, keepdim=True)
    b = torch.from_numpy(clean_A - clean_A.mean(-2, keepdims=True)).to(a.dtype)
    covariance = a.transpose(-2, -1) @ b
    singular = torch.linalg.svdvals(covariance)
    last = (
        singular[..., 2] if mirror else singular[..., 2] * torch.sign(torch.linalg.det(covariance))
    )
    overlap = singular[..., 0] + singular[..., 1] + last
    square = (a.square().sum((-2, -1)) + b.square().sum((-2, -1)) - 2.0 * overlap) / a.shape[-2]
    return square.clamp_min(0.0).sqrt()


def run_oracle(
    clean_A: NDArray[np.float64],
    edges: Tensor,
    *,
    solver: str,
    map_name: str = "degree",
    steps: int = 100,
    corrector: float = 6.0,
    step_rate: float = 0.3,
    gain: float = 0.0,
    sigma_max_A: float = 10.0,
    n_runs: int = 8,
    seed: int = 0,
) -> Tensor:
    """Samples (n_runs, ..., n, 3) of clean conformers (..., n, 3) from noise at
    `sigma_max_A` with the oracle score.

    `gain` = 0 switches the stability rule off (to see it fail); the paper's schedule
    ends at 0.01 A, without a jump to 0.
    """
    rng = np.random.default_rng(seed)
    z = torch.from_numpy(rng.standard_normal((steps + 1, n_runs, *clean_A.shape)))
    sigmas = geometric_sigmas(steps + 1, sigma_max_A, 0.01)[:-1]
    move, start = oracle_move(clean_A, edges, map_name), sigma_max_A * z[-1]
    if solver == "langevin":
        return annealed_langevin(move, start, sigmas, z.__getitem__, step_rate=step_rate)
    rule = StepRule(corrector, gain, 1e6)
    if solver == "ode":
        return reverse_ode(move, start, sigmas, rule)
    return reverse_sde(move, start, sigmas, z.__getitem__, rule)


def recover_four_regular(
    steps: int = 100, corrector: float = 6.0, map_name: str = "degree", seed: int = 0
) -> dict[str, float]:
    """The paper's first experiment: a 4-regular graph of 10 nodes recovered from noise
    by the reverse ODE.

    Its 20 edges leave 4 of 24 degrees of freedom open, so what can be recovered are the
    edge lengths.
    """
    clean, edges = random_chain(10, seed=1), four_regular_edges(10)
    samples = run_oracle(
        clean,
        edges,
        solver="ode",
        map_name=map_name,
        steps=steps,
        corrector=corrector,
        seed=seed,
        gain=1.5,
    )
    error = edge_error(samples, clean, edges)
    return {"median_edge_error_A": float(error.median()), "best_edge_error_A": float(error.min())}


def corrector_sweep(
    correctors: Sequence[float] = (0, 1, 2, 4, 6, 8, 10, 15, 20),
    *,
    solver: str = "ode",
    steps: int = 100,
    n: int = 20,
    map_name: str = "degree",
) -> dict[float, float]:
    """Median RMSD in A over 8 runs on a chain of n atoms, complete graph, for each k;
    infinite where it diverged.
    """
    clean, edges = random_chain(n, seed=2), complete_edges(n, dtype=torch.float64)
    result = {}
    for k in correctors:
        rmsd = aligned_rmsd(
            run_oracle(clean, edges, solver=solver, map_name=map_name, steps=steps, corrector=k),
            clean,
        )
        median = float(rmsd.nan_to_num(torch.inf, torch.inf).median())
        result[float(k)] = median if median < 100.0 else float("inf")
    return result


def against_langevin(
    steps: Sequence[int] = (20, 50, 100), n: int = 20, corrector: float = 20.0, n_chains: int = 6
) -> list[dict[str, float]]:
    """ODE and SDE against Langevin at equal numbers of steps: median RMSD in A over
    chains, Langevin at its best rate.

    Columns `ode` and `sde` have k = `corrector`, lowered by the stability rule;
    `langevin` is the best of `LANGEVIN_RATES`, of which GeoDiff's own (0.01, made for
    5000 steps) stands in `langevin_geodiff`. All use the degree-normalised map: on a
    complete graph the chain rule differs from it by a constant, which the rate absorbs.
    """
    chains = np.stack([random_chain(n, seed=2 + k) for k in range(n_chains)])
    edges, gain = complete_edges(n, dtype=torch.float64), map_gain("degree", n)

    def median(solver: str, count: int, rate: float = 0.0) -> float:
        samples = run_oracle(
            chains,
            edges,
            solver=solver,
            steps=count,
            corrector=corrector,
            step_rate=rate,
            gain=gain,
        )
        return float(aligned_rmsd(samples, chains).median())

    rows = []
    for count in steps:
        rates = {rate: median("langevin", count, rate) for rate in LANGEVIN_RATES}
        best = min(rates, key=rates.__getitem__)
        row = {
            "steps": float(count),
            "ode": median("ode", count),
            "sde": median("sde", count),
            "langevin": rates[best],
        }
        rows.append({**row, "langevin_rate": best, "langevin_geodiff": rates[0.01]})
    return rows
