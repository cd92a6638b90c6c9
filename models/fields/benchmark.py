"""`equidrift bench fields`: log-likelihood per target of the regression suites of methods B.7, beside GPs and the published rows.

1D: 1 to 10 context points and 50 (sawtooth, mixture: 100) targets, in [-2, 2] and, for generalisation, in [2, 6]. 2D: 25 context
points of the radial grid, all 623 others as targets. The conditional is the difference of two joints (B.6).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equidrift.errors import UnknownNameError
from equidrift.models.conformers.benchmark import commit, machine
from equidrift.models.conformers.fix_benchmark import fix_rows
from equidrift.models.fields.atom_benchmark import atom_rows
from equidrift.models.fields.data import SYSTEMS_1D, SYSTEMS_2D, draw_functions, radial_grid, true_kernel
from equidrift.models.fields.kernels import Kernel
from equidrift.models.fields.sampler import FieldModel

TASKS = {"interpolation": 0.0, "generalisation": 4.0}  # where the window of [-2, 2] is moved to
QUICK, FULL, QUICK_2D, FULL_2D, CONTEXT_2D = 100, 1000, 4, 32, 25
# methods B.8: the table of the authors' code
PUBLISHED = {
    "geomndp-published": {
        "interpolation": dict(zip(SYSTEMS_1D, (0.69, 0.32, -0.51, 3.39, 0.41))),
        "generalisation": dict(zip(SYSTEMS_1D, (0.71, 0.31, -0.52, 3.39, 0.39))),
        "equivariant": dict(zip(SYSTEMS_2D, (0.56, 0.65, 0.66))),
    },
    "gnp-published": {
        "interpolation": dict(zip(SYSTEMS_1D, (0.70, 0.30, -0.47, 0.42, 0.10))),
        "generalisation": dict(zip(SYSTEMS_1D, (0.69, 0.30, -0.47, 0.42, 0.10))),
    },
    "ndp-published": {"equivariant": dict(zip(SYSTEMS_2D, (0.55, 0.62, 0.62)))},
}
Progress = Callable[[object], None]


def run(full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The table as one object (architecture.md, Results).

    Parameters
    ----------
    full : 1000 functions a 1D row and 32 a 2D row; else 100 and 4.
    progress : called with a line of text before every row.
    """
    say = progress or (lambda message: None)
    rows: list[dict[str, Any]] = []
    for system in SYSTEMS_1D:
        for task, shift in TASKS.items():
            say(f"{system}/{task}")
            rows += system_rows(system, task, test_sets_1d(system, shift, FULL if full else QUICK), 50 if system in SYSTEMS_1D[:3] else 100)
    for system in SYSTEMS_2D:
        say(f"{system}/equivariant")
        rows += system_rows(system, "equivariant", test_sets_2d(system, FULL_2D if full else QUICK_2D), len(radial_grid()) - CONTEXT_2D)
    data = os.environ.get("EQUIDRIFT_DATA")
    if data and (Path(data) / "gfn2_conformers" / "qm9_val.npz").exists():
        rows += fix_rows(full, say)
    if data and (Path(data) / "rmd17").is_dir() and (Path(data) / "qm9_130831.npz").is_file():
        rows += atom_rows(Path(data), full, say)
    return {"name": "fields", "machine": machine(), "commit": commit(), "rows": rows}


def system_rows(system: str, task: str, sets: list[tuple[int, Tensor, Tensor]], targets: int) -> list[dict[str, Any]]:
    """Rows of one system: the shipped model, the GP it was drawn from and its diagonal (where there is one), and the papers."""
    rows = []
    model = shipped(system)
    if model is not None:
        rows.append({"row": f"{system}/{task}", "values": loglik(sets, targets, lambda x, y: log_prob(model, x, y))})
    try:
        kernel = true_kernel(system)
    except UnknownNameError:
        kernel = None
    if kernel is not None:
        joint = loglik(sets, targets, lambda x, y: kernel.gram(x).log_prob(y))
        rows.append({"row": f"{system}/{task}-gp-optimum", "values": joint})
        rows.append({"row": f"{system}/{task}-gp-diagonal", "values": summary([diagonal(kernel, n, x, y) / targets for n, x, y in sets])})
    for name, tables in PUBLISHED.items():
        if task in tables:
            rows.append({"row": f"{system}/{task}-{name}", "values": {"loglik": tables[task][system]}})
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


def loglik(sets: list[tuple[int, Tensor, Tensor]], targets: int, joint: Callable[[Tensor, Tensor], Tensor]) -> dict[str, float]:
    """Log-likelihood a target: that of context and targets less that of the context."""
    return summary([(joint(x, y) - joint(x[:, :n], y[:, :n])) / targets for n, x, y in sets])


def summary(parts: list[Tensor]) -> dict[str, float]:
    """Mean and its 95 % error over functions."""
    values = torch.cat(parts)
    return {"loglik": float(values.mean()), "error": 1.96 * float(values.std()) / math.sqrt(len(values)), "functions": len(values)}


def test_sets_1d(system: str, shift: float, functions: int) -> list[tuple[int, Tensor, Tensor]]:
    """(context size, x, y) for 1 to 10 context points; the random stream is not the training's."""
    generator = torch.Generator().manual_seed(20_240_001 + int(shift))
    targets = 50 if system in SYSTEMS_1D[:3] else 100
    sets = []
    for n in range(1, 11):
        x = 4 * torch.rand(functions // 10, n + targets, 1, generator=generator, dtype=torch.float64) - 2 + shift
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
    """Log density of the targets under the GP posterior's marginals (B,): each value by itself."""
    gram = kernel.gram(x)
    size = n * kernel.components
    matrix = gram.matrix if gram.matrix is not None else gram.variance * torch.eye(x.shape[1] * kernel.components, dtype=x.dtype)[None]
    weights = torch.linalg.solve(matrix[:, :size, :size], matrix[:, :size, size:])
    flat = y.flatten(1)
    mean = (weights.mT @ flat[:, :size, None])[..., 0]
    variance = matrix.diagonal(dim1=1, dim2=2)[:, size:] - (weights * matrix[:, :size, size:]).sum(1)
    return -0.5 * ((flat[:, size:] - mean).square() / variance + (2 * math.pi * variance).log()).sum(1)
