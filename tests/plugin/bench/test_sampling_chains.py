"""What chains are worth: effective samples that are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.bench.sampling_chains import TimedChain, worth

SECONDS, FRAMES = 2.0, 4000


def hopping(stay: float, seed: int) -> TimedChain:
    """Two wells of equal weight; a frame keeps the well of the one before with odds
    `stay`, and else draws one.
    """
    rng = np.random.default_rng(seed)
    well, kept = rng.integers(0, 2, FRAMES), rng.random(FRAMES) < stay
    first = np.maximum.accumulate(np.where(kept, 0, np.arange(FRAMES)))
    phi = np.pi * well[first] + 0.5  # cosine and sine change with the well alone
    return TimedChain(phi[:, None], 10, SECONDS, 0.5)


def test_chains_are_worth_the_samples_of_their_correlation_time() -> None:
    """1 + 2 sum of s^t = (1 + s) / (1 - s)."""
    chains = {
        "md": [hopping(0.9, k) for k in range(6)],
        "equidrift": [hopping(0.5, 10 + k) for k in range(6)],
    }
    found = worth(chains)
    for method, stay in (("md", 0.9), ("equidrift", 0.5)):
        expected = FRAMES * (1 - stay) / (1 + stay) / SECONDS
        values = found[method]
        assert abs(values["ess_per_cpu_s"] - expected) < 4 * values["ess_per_cpu_s_se"]
        assert values["ess_per_cpu_s_se"] < 0.1 * expected
        assert values["frames"] == 6 * FRAMES and values["chains_that_stayed"] == 0
    ours = found["equidrift"]
    assert ours["ess_per_cpu_s_over_md"] == pytest.approx(
        (0.5 / 1.5) / (0.1 / 1.9), abs=4 * ours["ess_per_cpu_s_over_md_se"]
    )
    assert ours["speed_over_md"] == 1.0 and ours["acceptance"] == 50.0


def test_a_chain_that_stays_counts_as_one_sample() -> None:
    still = TimedChain(np.full((FRAMES, 1), 0.5), 10, SECONDS, float("nan"))
    found = worth({"md": [still, still], "equidrift": [hopping(0.5, k) for k in range(3)]})
    assert found["md"]["ess_per_cpu_s"] == pytest.approx(1 / SECONDS, rel=0.1)
    assert found["md"]["chains_that_stayed"] == 2 and found["md"]["turned"] == 0


def test_a_chain_is_not_judged_by_its_own_mean() -> None:
    """Three that stay in either well: by their own mean each would look decorrelated."""
    rng = np.random.default_rng(0)
    moved = [
        TimedChain(well + 0.1 * rng.standard_normal((FRAMES, 1)), 10, SECONDS, 0.5)
        for well in (0.5, 0.5, np.pi + 0.5)
    ]
    found = worth({"md": [hopping(0.9, 1), hopping(0.9, 2)], "equidrift": moved})
    assert found["equidrift"]["ess_per_cpu_s"] < 3 / SECONDS
    assert found["equidrift"]["reference_spread"] > 1
