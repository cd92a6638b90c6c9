"""R-hat and effective samples against arviz and theory; errors over several chains that
cover.
"""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.errors import InputError
from equidrift.montecarlo.basins import (
    correlation_time,
    effective_samples,
    mean_correlation_time,
    standard_error,
    summary,
    torsion_basins,
)
from equidrift.montecarlo.convergence import r_hat, torsion_r_hat
from tests.plugin.montecarlo.test_basins import autoregressive, hopping


def chains_of(rho: float, n: int, shifts: tuple[float, ...], scale: float = 1.0) -> np.ndarray:
    """(k, n) autoregressive chains about different means; the last of another width."""
    rows = [autoregressive(rho, n, seed) + shift for seed, shift in enumerate(shifts)]
    rows[-1] = rows[-1] * scale
    return np.array(rows)


@pytest.mark.long
@pytest.mark.parametrize("shifts", [(0.0, 0.0), (0.0, 0.3, 0.0, 0.1)])
@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("n", [400, 401])
def test_r_hat_is_that_of_arviz(shifts: tuple[float, ...], scale: float, n: int) -> None:
    arviz = pytest.importorskip("arviz")
    chains = chains_of(0.6, n, shifts, scale)
    expected = float(arviz.rhat(chains, method="rank"))
    assert r_hat(chains.ravel(), [n] * len(shifts)) == pytest.approx(expected, rel=1e-9)


def test_r_hat_of_values_with_ties_is_that_of_arviz() -> None:
    arviz = pytest.importorskip("arviz")
    chains = np.round(chains_of(0.5, 300, (0.0, 0.2)))
    assert r_hat(chains.ravel(), [300, 300]) == pytest.approx(
        float(arviz.rhat(chains, method="rank")), rel=1e-9
    )


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_samples_of_one_chain_are_those_of_arviz(rho: float) -> None:
    """arviz splits the chain in halves, so that estimates differ by their own noise."""
    arviz = pytest.importorskip("arviz")
    ours, theirs = [], []
    for seed in range(10):
        x = autoregressive(rho, 4000, seed)
        ours.append(len(x) / correlation_time(x))
        theirs.append(float(arviz.ess(x[None], method="mean")))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.1)
    exact = 4000 * (1 - rho) / (1 + rho)
    assert np.mean(ours) == pytest.approx(exact, rel=0.1)


def test_effective_samples_of_several_chains_are_those_of_arviz() -> None:
    arviz = pytest.importorskip("arviz")
    chains = chains_of(0.8, 3000, (0.0,) * 4)
    ours = chains.size / mean_correlation_time(chains.ravel(), [3000] * 4)
    assert ours == pytest.approx(float(arviz.ess(chains, method="mean")), rel=0.12)


def test_r_hat_is_near_one_for_chains_of_one_distribution_and_large_for_others() -> None:
    same = chains_of(0.5, 2000, (0.0, 0.0, 0.0))
    assert 0.99 < r_hat(same.ravel(), [2000] * 3) < 1.02
    shifted = chains_of(0.5, 2000, (0.0, 0.0, 1.5))
    assert r_hat(shifted.ravel(), [2000] * 3) > 1.1
    wider = chains_of(0.5, 2000, (0.0, 0.0), scale=4.0)  # of the same mean
    assert r_hat(wider.ravel(), [2000] * 2) > 1.1
    drifting = np.linspace(-1, 1, 2000) + 0.3 * autoregressive(0.0, 2000, 0)
    assert r_hat(drifting) > 1.3  # one chain, by its halves


def test_r_hat_of_chains_without_change_or_frames_is_nan() -> None:
    assert np.isnan(r_hat(np.ones(100)))
    assert np.isnan(r_hat(np.arange(3.0)))
    with pytest.raises(InputError, match="not the 10 that are there"):
        r_hat(np.arange(10.0), [4, 5])
    with pytest.raises(InputError, match="finite"):
        r_hat(np.array([0.0, np.nan, 1.0, 2.0, 3.0]))


def test_summary_warns_of_torsions_on_which_chains_disagree() -> None:
    rng = np.random.default_rng(0)
    stuck = np.concatenate([-1.2 + 0.2 * rng.standard_normal(500), np.full(500, 1.2)])
    stuck[500:] += 0.2 * rng.standard_normal(500)
    found = summary(stuck[:, None], ["a-b-c-d"], 300.0, [500, 500])
    assert found["torsions"][0]["r_hat"] > 1.3
    assert any("R-hat is" in text and "a-b-c-d" in text for text in found["warnings"])
    mixed = hopping(4000, 0.5, 1)[0][:, None]
    found = summary(mixed, ["t"], 300.0, [2000, 2000])
    assert found["torsions"][0]["r_hat"] < 1.02 and found["warnings"] == []


# Several chains -----------------------------------------------------------------------


def test_chains_that_stay_count_as_one_sample_each() -> None:
    """Four chains in one basin each: the mean is known as by four draws."""
    inside = np.repeat([1.0, 0.0, 1.0, 0.0], 500)
    inside[[0, 600]] = 0.0, 1.0
    error = standard_error(inside, [500] * 4)
    assert error == pytest.approx(np.sqrt(0.25 / 4), rel=0.05)
    assert standard_error(inside) != error  # as one chain, the basins would mix


def test_entries_are_counted_within_chains_only() -> None:
    """Where one chain ends and the next begins, nobody enters anything."""
    rng = np.random.default_rng(2)
    parts = [np.full(200, centre) + 0.1 * rng.standard_normal(200) for centre in (-1.2, 1.2)]
    phi = np.concatenate([*parts, *parts])[:, None]
    (basins,) = torsion_basins(phi, ["t"], [200] * 4)
    assert [basin.entries for basin in basins] == [0, 0]
    (basins,) = torsion_basins(phi, ["t"])
    assert sorted(basin.entries for basin in basins) == [1, 2]


def test_chains_of_one_distribution_have_the_effective_samples_of_one_long_chain() -> None:
    phi = hopping(8000, 0.9, 3)[0][:, None]
    several = effective_samples(phi, [2000] * 4)
    assert several == pytest.approx(effective_samples(phi), rel=0.15)
    assert torsion_r_hat(phi, [2000] * 4).shape == (1,)


def covered(repeats: int, chains: int, frames: int) -> tuple[float, float]:
    """Shares of population errors that hold the truth at one and at two of them: three
    wells of known weight, about 8 frames of correlation.
    """
    z = []
    for seed in range(repeats):
        runs = [hopping(frames, 0.8, 1000 * seed + k)[0] for k in range(chains)]
        (basins,) = torsion_basins(np.concatenate(runs)[:, None], ["t"], [frames] * chains)
        for basin in basins:
            well = round(abs(basin.centres_deg[0]) / 60) == 3
            truth = 0.5 if well else 0.3 if basin.centres_deg[0] > 0 else 0.2
            z.append((basin.population - truth) / basin.population_error)
    size = np.abs(z)
    return float((size < 1).mean()), float((size < 2).mean())


@pytest.mark.parametrize("chains", [1, 4])
def test_printed_errors_cover_the_truth_over_20_repeats(chains: int) -> None:
    one, two = covered(20, chains, 4000 // chains)
    assert 0.60 <= one <= 0.76
    assert two >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize("chains", [1, 4])
def test_printed_errors_cover_the_truth_over_2_000_repeats(chains: int) -> None:
    one, two = covered(2000, chains, 4000 // chains)
    assert 0.64 <= one <= 0.72
    assert 0.93 <= two <= 0.97
