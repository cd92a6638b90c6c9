"""`equidrift bench backbones`: the trunks of the symmetry kit side by side.

N-body in one step, the protocol of EGNN, SEGNN and PONITA: five charged particles, 3000
systems to learn from, positions 1000 steps (frame 40) from positions, velocities and
charges at frame 30. Every trunk is trained here, from the same seed and for the same CPU
time. `MSE` is over 2000 unseen systems (the quick form: 500). `ms` is CPU time of a call
on 100 systems with its gradient; `equivariance_error` the root mean square change of an
answer if its question is turned, relative to the displacement.

Energies and forces of rMD17 and the gap of QM9: see `backbones_molecules`; they need the
folder EQUIDRIFT_DATA.

Products of spherical features: `ms` of 2000 pairs with 8 channels against the degree L,
and the couplings that a product has weights for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equidrift.bench.backbones_molecules import molecule_rows
from equidrift.bench.machine import Progress, silent
from equidrift.bench.parts import Parts, benchmark
from equidrift.bench.rows import Row, means, published, row
from equidrift.models.shared.backbones import fit
from equidrift.models.shared.backbones.choice import TRUNKS
from equidrift.models.shared.backbones.harmonics import gaunt_factor, paths
from equidrift.models.shared.backbones.products import PRODUCTS, product_ms
from equidrift.models.trajectories.arrays import nbody
from equidrift.seeds import sample_rng

TRAIN, TEST = 3000, 2000
TEST_QUICK = 500
GIVEN, ASKED = 30, 40  # frames of 100 steps
BUDGET_S, BUDGET_QUICK_S = 300.0, 15.0  # CPU time of a training
WIDTH, LAYERS = 32, 3
SEED = 44  # of the systems; those of `bench trajectories` have 43
DEGREES = (1, 2, 3, 4, 5, 6)
# trunks that cost too much for the protocol in a bench: one product is enough of the two
LEFT_OUT = ("gaunt-fourier",)
# mean square errors of the papers, trained for 10000 epochs
PUBLISHED = {
    "egnn-published": 0.0070,
    "frame-averaging-published": 0.0057,
    "segnn-published": 0.0043,
    "ponita-published": 0.0043,
}


def parts_of(full: bool, say: Progress) -> Parts:
    """What measures nbody, molecules, products.

    The long form gives every trunk five CPU-minutes of training on N-body instead of 15
    seconds, 100 seconds on each molecule of rMD17 instead of 4, and five minutes on QM9
    instead of 8 seconds, tests on 2000 systems instead of 500, and times each product of
    features five times instead of once.
    """
    return {
        "nbody": lambda: nbody_rows(full, say),
        "molecules": lambda: molecule_rows(full, say),
        "products": lambda: product_rows(5 if full else 1, say),
    }


run = benchmark("backbones", parts_of)


def nbody_rows(full: bool, say: Progress) -> list[Row]:
    """Every trunk, trained here, beside no model and the published ones."""
    test = TEST if full else TEST_QUICK
    say(f"N-body: simulate {TRAIN + test} systems")
    systems = one_step(0, TRAIN + test)
    budget_s = BUDGET_S if full else BUDGET_QUICK_S
    rows = baselines(systems[TRAIN:])
    for name in TRUNKS:
        if name not in LEFT_OUT:
            say(f"N-body: {name}, {budget_s:.0f} s of CPU")
            rows.append(trunk_row(name, systems, budget_s))
    return rows + [published(f"nbody/{name}", {"MSE": value}) for name, value in PUBLISHED.items()]


def one_step(start: int, stop: int) -> fit.Moves:
    """Charged particles at frames 30 and 40, of the random streams `start` to `stop`.

    As in the published simulator: positions N(0, 1), speeds of 0.5, charges +-1, forces
    clipped at 100, semi-implicit Euler with a step of 0.001 (Satorras et al.,
    arXiv:2102.09844, appendix C.1).
    """
    rngs = [sample_rng((SEED << 32) + k) for k in range(start, stop)]
    x = np.stack([rng.standard_normal((5, 3)) for rng in rngs])
    v = np.stack([rng.standard_normal((5, 3)) for rng in rngs])
    v *= nbody.SPEED / np.linalg.norm(v, axis=-1, keepdims=True)
    charge = np.stack([rng.choice([-1.0, 1.0], size=(5, 1)) for rng in rngs])
    edges = (charge * charge.swapaxes(1, 2))[..., None]
    x, v = advance(x, v, edges, GIVEN)
    later, _ = advance(x, v, edges, ASKED - GIVEN)
    return fit.Moves.from_arrays(x, v, later, charge, edges)


def advance(
    x: NDArray[np.float64], v: NDArray[np.float64], edges: NDArray[np.float64], frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions and velocities (k, 5, 3) some frames later."""
    for _ in range(frames * nbody.STEPS_PER_FRAME):
        v = v + nbody.STEP * nbody.force("charged", x, edges)
        x = x + nbody.STEP * v
    return x, v


def baselines(test: fit.Moves) -> list[Row]:
    """What is wrong of no movement, and of straight lines."""
    time = (ASKED - GIVEN) * nbody.SPACING
    rows = []
    for name, made in (
        ("no-movement", test.positions),
        ("straight-line", test.positions + time * test.velocities),
    ):
        errors = (made - test.later).square().mean((1, 2)).numpy()
        rows.append(row(f"nbody/{name}", means({"MSE": errors}), len(test)))
    return rows


def trunk_row(name: str, systems: fit.Moves, budget_s: float) -> Row:
    """A trunk, trained for `budget_s` seconds of CPU."""
    trunk, spent = fit.fit(name, systems[:TRAIN], budget_s, width=WIDTH, layers=LAYERS)
    test = systems[TRAIN:]
    columns = {
        "MSE": fit.square_errors(trunk, test).numpy(),
        "equivariance_error": fit.equivariance_error(trunk, test[: fit.AT_ONCE]).numpy(),
    }
    values = means(columns) | {
        "ms": fit.call_ms(trunk, test),
        "parameters": fit.parameters(trunk),
        "steps": spent.steps,
        "cpu_s": spent.cpu_s,
    }
    return row(f"nbody/{name}", values, len(test))


def product_rows(repeats: int, say: Progress = silent) -> list[Row]:
    """Cost and couplings of the products of spherical features, for each degree."""
    say("products of spherical features")
    rows = []
    for degree in DEGREES:
        every = paths(degree, degree, degree)
        kept = sum(abs(gaunt_factor(path)) > 0 for path in every)
        for name in PRODUCTS:
            count = len(every) if name == "clebsch-gordan" else kept
            values = {"ms": product_ms(name, degree, repeats), "couplings": count}
            rows.append(row(f"product-L{degree}/{name}", values, repeats))
    return rows
