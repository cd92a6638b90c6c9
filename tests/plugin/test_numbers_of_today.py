"""Seeds give the numbers that they gave: of sample, forecast, generate and md by the
public functions. `python -m tests.plugin.test_numbers_of_today [NAME ...]` writes the
numbers anew; it is right to do so only if a change means to change samples.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import equidrift
from equidrift.files.trajectories import load_trajectory

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests" / "data" / "numbers_of_today.json"
TOLERANCE_A = 2e-2  # of a distance: processors differ by less
MOLECULES_ALIKE = (
    2  # of four: one bond drawn otherwise, by the rounding of a processor, is another molecule
)


def distances(positions_A: np.ndarray) -> list[float]:
    """Mean distances of each structure's atoms from its first, (k,)."""
    x = np.asarray(positions_A).reshape(-1, *np.shape(positions_A)[-2:])
    return np.linalg.norm(x[:, 1:] - x[:, :1], axis=-1).mean(1).round(5).tolist()


def sample() -> list[float]:
    small = equidrift.sample("C[C@@H](O)C(N)=O", 4, seed=3, num_threads=1)
    large = equidrift.sample("CCOC(=O)CCc1ccc(OCCO)cc1", 2, seed=3, num_threads=1, effort=2)
    return distances(small.positions_A) + distances(large.positions_A)


def forecast() -> list[float]:
    data = ROOT / "examples" / "data"
    given = load_trajectory(data / "aspirin.xtc", data / "aspirin.pdb")[:12]
    made = equidrift.forecast(given, 3, 2, seed=3)
    return [value for one in made for value in distances(one.positions_A)]


def generate() -> list[float]:
    """The first molecule of each seed of four."""
    made = [equidrift.generate(1, seed=seed, batch_size=2)[0] for seed in range(3, 7)]
    return [value for one in made for value in (*distances(one.positions_A), one.molecule.n_atoms)]


def md() -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "x.xtc"
        options = {"adapt_ps": 0.05, "interval_ps": 0.05, "md_steps": 10, "platform": "Reference"}
        equidrift.md("CCCC", out, 0.2, seed=3, proposals="uniform", **options)
        return distances(load_trajectory(out, out.with_suffix(".top.pdb")).positions_A)


RUNS: dict[str, Callable[[], list[float]]] = {
    "sample": sample,
    "forecast": forecast,
    "generate": generate,
    "md": md,
}


@pytest.mark.long
@pytest.mark.parametrize("name", RUNS)
def test_public_functions_give_the_numbers_of_today_at_fixed_seeds(name: str) -> None:
    held, made = json.loads(FILE.read_text())[name], RUNS[name]()
    if name == "generate":
        same = np.isclose(made, held, rtol=0, atol=TOLERANCE_A).reshape(-1, 2).all(1)
        assert same.sum() >= MOLECULES_ALIKE, (made, held)
    else:
        np.testing.assert_allclose(made, held, rtol=0, atol=TOLERANCE_A)


if __name__ == "__main__":
    kept = json.loads(FILE.read_text())
    wanted = sys.argv[1:] or RUNS
    kept |= {name: made() for name, made in RUNS.items() if name in wanted}
    FILE.write_text(json.dumps(kept, indent=1) + "\n")
