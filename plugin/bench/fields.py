"""`equidrift bench fields`: log-likelihood per target of the regression suites of
arXiv:2307.05431, beside GPs and the published rows.

1D: 1 to 10 context points and 50 (sawtooth, mixture: 100) targets, in [-2, 2] and, for
generalisation, in [2, 6]. 2D: 25 context points of the radial grid, all 623 others as
targets (rows of networks, and `-gp-optimum-125` beside them: 100). The conditional is
the difference of two joints. Rows by method: no suffix is the shipped default,
`-network` a score network under white noising that knows no kernel (1D) or one on top
of the fitted limit (2D), `-32` what was fitted to 32 functions.

Every row has its number of functions `n`, the standard error `loglik_se`, and
`knows_generator`: 1 if the method is, or was fitted within, the family of processes
that the functions were drawn from, so that it shows what the simulator's own law reaches
and not what can be learned. Rows of networks hold `optimum`, the log-likelihood of the
generating GP on the same functions, and `below_optimum` with the standard error of the
paired differences: networks have fewer functions than GPs, and rows of different
functions cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from equidrift.bench.fields_atoms import atom_rows
from equidrift.bench.fields_cost import cost_rows
from equidrift.bench.fields_learning import learning_rows
from equidrift.bench.fields_tracks import cyclone_rows
from equidrift.bench.fix import fix_rows
from equidrift.bench.machine import Progress
from equidrift.bench.parts import Parts, benchmark, of_data
from equidrift.bench.rows import Row, means, published, row
from equidrift.errors import UnknownNameError
from equidrift.models.fields.functions.data import (
    GAUSSIAN,
    SYSTEMS_1D,
    SYSTEMS_2D,
    draw_functions,
    radial_grid,
    true_kernel,
)
from equidrift.models.fields.functions.kernels import Kernel
from equidrift.models.fields.functions.sampler import FieldModel
from equidrift.models.shared.likelihood import EXACT_VALUES

TASKS = {"interpolation": 0.0, "generalisation": 4.0}  # where the window of [-2, 2] is moved to
QUICK, FULL = 100, 1000  # functions of a row in 1D
FULL_EXPERTS = 200  # of sawtooth and mixture
QUICK_2D, FULL_2D = 60, 60  # fewer say too little: at 4 the optimum came out .06 too low
QUICK_NETWORK, FULL_NETWORK = 10, 60  # of a row of a network, whose likelihood costs an integral
QUICK_NETWORK_2D, FULL_NETWORK_2D = 3, 12
CONTEXT_2D = 25  # points of the radial grid that are known
POINTS_NETWORK_2D = 125  # of the grid, known ones included, in rows of networks
# Of the networks' likelihoods: half the steps and twice the first noise flatter them by 0.03.
FLOW = {"steps": 60, "first_std": 1e-3}
FLOW_2D = {"steps": 20, "first_std": 5e-3}
NETWORKS_2D = ("2d-div-free-network", "2d-div-free-network-32", "2d-div-free-plain-32")
KNOWS, IGNORES = {"knows_generator": 1.0}, {"knows_generator": 0.0}
# arXiv:2307.05431, tables: the table of the authors' code
PUBLISHED = {
    "geomndp-published": {
        "interpolation": dict(zip(SYSTEMS_1D, (0.69, 0.32, -0.51, 3.39, 0.41), strict=True)),
        "generalisation": dict(zip(SYSTEMS_1D, (0.71, 0.31, -0.52, 3.39, 0.39), strict=True)),
        "equivariant": dict(zip(SYSTEMS_2D, (0.56, 0.65, 0.66), strict=True)),
    },
    "gnp-published": {
        "interpolation": dict(zip(SYSTEMS_1D, (0.70, 0.30, -0.47, 0.42, 0.10), strict=True)),
        "generalisation": dict(zip(SYSTEMS_1D, (0.69, 0.30, -0.47, 0.42, 0.10), strict=True)),
    },
    "ndp-published": {"equivariant": dict(zip(SYSTEMS_2D, (0.55, 0.62, 0.62), strict=True))},
}


def parts_of(full: bool, say: Progress) -> Parts:
    """What measures 1d, 2d, few, cost, learning, cyclones, fix, atoms.

    The long form has 1000 functions per 1D row of a GP and 60 of a network, else 100 and
    10; 12 per 2D row of a network, else 3. 2D rows of GPs have 60 either way. Networks
    that are trained within the bench have 1500 steps, else 300.
    """
    return {
        "1d": lambda: rows_1d(full, say),
        "2d": lambda: rows_2d(full, say),
        "few": lambda: few_function_rows(full, say),
        "cost": lambda: cost_rows(say),
        "learning": lambda: learning_rows(full, say),
        "cyclones": lambda: of_data(
            "cyclones",
            ["hurdat/AL.csv"],
            lambda folder: cyclone_rows(folder / "hurdat", full, say),
            say,
        ),
        "fix": lambda: of_data(
            "fix", ["gfn2_conformers/qm9_val.npz"], lambda _folder: fix_rows(full, say), say
        ),
        "atoms": lambda: of_data(
            "atoms",
            ["rmd17", "qm9_130831.npz"],
            lambda folder: atom_rows(folder, full, say),
            say,
        ),
    }


run = benchmark("fields", parts_of)


def rows_1d(full: bool, say: Progress) -> list[Row]:
    """Rows of functions of one variable."""
    rows: list[Row] = []
    for system in SYSTEMS_1D:
        targets = 50 if system in SYSTEMS_1D[:3] else 100
        count = (FULL if targets == 50 else FULL_EXPERTS) if full else QUICK
        for task, shift in TASKS.items():
            say(f"{system}/{task}")
            rows += system_rows(system, task, test_sets_1d(system, shift, count), targets)
            sets = test_sets_1d(system, shift, FULL_NETWORK if full else QUICK_NETWORK)
            rows += network_rows(
                f"{system}/{task}-network",
                f"field-{system}-network",
                sets,
                targets,
                FLOW,
                law(system),
            )
    return rows


def rows_2d(full: bool, say: Progress) -> list[Row]:
    """Rows of functions of two variables."""
    rows: list[Row] = []
    for system in SYSTEMS_2D:
        say(f"{system}/equivariant")
        sets = test_sets_2d(system, FULL_2D if full else QUICK_2D)
        rows += system_rows(system, "equivariant", sets, len(radial_grid()) - CONTEXT_2D)
    return rows


def system_rows(
    system: str, task: str, sets: list[tuple[int, Tensor, Tensor]], targets: int
) -> list[Row]:
    """Rows of one system: the shipped model, the GP it was drawn from and its diagonal
    (if there is one), and the papers.
    """
    rows, count = [], functions(sets)
    model = shipped(system)
    if model is not None:
        values = loglik(sets, targets, lambda x, y: log_prob(model, x, y))
        rows.append(row(f"{system}/{task}", values | KNOWS, count))
    kernel = law(system)
    if kernel is not None:
        joint = loglik(sets, targets, lambda x, y: kernel.gram(x).log_prob(y))
        rows.append(row(f"{system}/{task}-gp-optimum", joint | KNOWS, count))
        apart = summary([diagonal(kernel, n, x, y) / targets for n, x, y in sets])
        rows.append(row(f"{system}/{task}-gp-diagonal", apart | KNOWS, count))
    for name, tables in PUBLISHED.items():
        if task in tables:
            values = {"loglik": tables[task][system], **IGNORES}
            rows.append(published(f"{system}/{task}-{name}", values))
    return rows


def network_rows(
    label: str,
    name: str,
    sets: list[tuple[int, Tensor, Tensor]],
    targets: int,
    flow: dict[str, Any],
    kernel: Kernel | None = None,
) -> list[Row]:
    """The row of a shipped network, by the flow; none if it is not there.

    With the `kernel` that the functions were drawn from, `optimum` is the log-likelihood
    of its GP on the very same functions, and `below_optimum` what the network lacks: its
    standard error is that of the differences, far less than that of either.
    """
    try:
        model = FieldModel.load(name)
    except UnknownNameError:
        return []

    def joint(x: Tensor, y: Tensor) -> Tensor:
        probes = 0 if y[0].numel() <= EXACT_VALUES else 8
        return torch.tensor(model.log_prob(x.numpy(), y.numpy(), probes=probes, **flow))

    parts = per_target(sets, targets, joint)
    values = summary(parts) | (IGNORES if model.white else KNOWS)
    if kernel is not None:
        best = torch.cat(per_target(sets, targets, lambda x, y: kernel.gram(x).log_prob(y)))
        lacks = best - torch.cat(parts)
        values |= means({"optimum": best.numpy(), "below_optimum": lacks.numpy()})
    return [row(label, values, functions(sets))]


def few_function_rows(full: bool, say: Progress) -> list[Row]:
    """div-free fields: the GP fitted to 32 functions on all points; networks, on 125
    points, fitted to many functions and to 32.
    """
    system, rows = "2d-div-free", []
    sets = test_sets_2d(system, FULL_2D if full else QUICK_2D)
    try:
        model = FieldModel.load(f"field-{system}-32")
        values = loglik(sets, len(radial_grid()) - CONTEXT_2D, lambda x, y: log_prob(model, x, y))
        rows.append(row(f"{system}/equivariant-32", values | KNOWS, functions(sets)))
    except UnknownNameError:
        pass
    count = FULL_NETWORK_2D if full else QUICK_NETWORK_2D
    fewer = [(n, x[:, :POINTS_NETWORK_2D], y[:, :POINTS_NETWORK_2D]) for n, x, y in sets[:count]]
    targets = POINTS_NETWORK_2D - CONTEXT_2D
    kernel = true_kernel(system)
    values = loglik(fewer, targets, lambda x, y: kernel.gram(x).log_prob(y))
    rows.append(row(f"{system}/gp-optimum-125", values | KNOWS, functions(fewer)))
    for name in NETWORKS_2D:
        say(name)
        rows += network_rows(
            f"{system}/{name.removeprefix(system + '-')}-125",
            f"field-{name}",
            fewer,
            targets,
            FLOW_2D,
            kernel,
        )
    return rows


def shipped(system: str) -> FieldModel | None:
    """The shipped model of a system."""
    try:
        return FieldModel.load(f"field-{system}")
    except UnknownNameError:
        return None


def log_prob(model: FieldModel, x: Tensor, y: Tensor) -> Tensor:
    """Log densities of a set of functions."""
    return torch.tensor(model.log_prob(x.numpy(), y.numpy()))


def law(system: str) -> Kernel | None:
    """The kernel that a system's functions are drawn from; None if they are from none."""
    return true_kernel(system) if system in GAUSSIAN else None


def loglik(
    sets: list[tuple[int, Tensor, Tensor]], targets: int, joint: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, float]:
    """Log-likelihood per target; see `per_target`."""
    return summary(per_target(sets, targets, joint))


def per_target(
    sets: list[tuple[int, Tensor, Tensor]], targets: int, joint: Callable[[Tensor, Tensor], Tensor]
) -> list[Tensor]:
    """Log-likelihood per target of each function: that of context and targets less that
    of the context.
    """
    return [(joint(x, y) - joint(x[:, :n], y[:, :n])) / targets for n, x, y in sets]


def functions(sets: list[tuple[int, Tensor, Tensor]]) -> int:
    """How many functions some sets hold."""
    return sum(len(x) for _, x, _ in sets)


def summary(parts: list[Tensor]) -> dict[str, float]:
    """Mean over functions with its standard error, and its 95 % error."""
    values = means({"loglik": torch.cat(parts).numpy()})
    return values | {"error": 1.96 * values.get("loglik_se", math.nan)}


def test_sets_1d(system: str, shift: float, functions: int) -> list[tuple[int, Tensor, Tensor]]:
    """(context size, x, y) for 1 to 10 context points; the random stream is not the
    training's.
    """
    generator = torch.Generator().manual_seed(20_240_001 + int(shift))
    targets = 50 if system in SYSTEMS_1D[:3] else 100
    sets = []
    for n in range(1, 11):
        x = (
            4
            * torch.rand(functions // 10, n + targets, 1, generator=generator, dtype=torch.float64)
            - 2
            + shift
        )
        sets.append((n, x, draw_functions(system, x, generator)))
    return sets


def test_sets_2d(system: str, functions: int) -> list[tuple[int, Tensor, Tensor]]:
    """One function at a time on the whole grid, its context points first."""
    generator = torch.Generator().manual_seed(20_240_002)
    grid, sets = radial_grid(), []
    for _ in range(functions):
        x = grid[torch.randperm(len(grid), generator=generator)][None]
        sets.append((CONTEXT_2D, x, draw_functions(system, x, generator)))
    return sets


def diagonal(kernel: Kernel, n: int, x: Tensor, y: Tensor) -> Tensor:
    """Log density of the targets under the GP posterior's marginals (B,): each value by
    itself.
    """
    gram = kernel.gram(x)
    size = n * kernel.components
    matrix = gram.dense
    weights = torch.linalg.solve(matrix[:, :size, :size], matrix[:, :size, size:])
    flat = y.flatten(1)
    mean = (weights.mT @ flat[:, :size, None])[..., 0]
    variance = matrix.diagonal(dim1=1, dim2=2)[:, size:] - (weights * matrix[:, :size, size:]).sum(
        1
    )
    terms: Tensor = (flat[:, size:] - mean).square() / variance + (2 * math.pi * variance).log()
    return -0.5 * terms.sum(1)
