"""Correlation times against theory and pymbar; basins of known densities; errors that
cover.
"""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.errors import InputError
from equidrift.montecarlo.basins import (
    assign,
    basin_edges,
    correlation_time,
    effective_samples,
    joint_basins,
    summary,
    torsion_basins,
)


def autoregressive(rho: float, n: int, seed: int) -> np.ndarray:
    rng, x = np.random.default_rng(seed), np.empty(n)
    x[0] = rng.standard_normal()
    noise = rng.standard_normal(n) * np.sqrt(1 - rho**2)
    for k in range(1, n):
        x[k] = rho * x[k - 1] + noise[k]
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.97])
def test_correlation_time_of_an_autoregressive_series(rho):
    times = [correlation_time(autoregressive(rho, 20_000, seed)) for seed in range(4)]
    assert np.mean(times) == pytest.approx((1 + rho) / (1 - rho), rel=0.15)


def test_correlation_time_agrees_with_pymbar():
    timeseries = pytest.importorskip("pymbar").timeseries
    x = autoregressive(0.8, 10_000, 3)
    assert correlation_time(x) == pytest.approx(timeseries.statistical_inefficiency(x), rel=0.2)


def test_correlation_time_of_odd_cases():
    assert correlation_time(np.ones(50)) == 50
    assert correlation_time(np.tile([1.0, -1.0], 50)) == 1
    assert correlation_time(np.random.default_rng(0).standard_normal((100, 3))).shape == (3,)
    for bad in (np.ones(1), np.array([1.0, np.nan]), np.ones((2, 2, 2))):
        with pytest.raises(InputError, match="two or more finite frames"):
            correlation_time(bad)


def hopping(
    n: int, stay: float, seed: int, weights=(0.5, 0.3, 0.2)
) -> tuple[np.ndarray, np.ndarray]:
    """Wells at 180, 60 and -60 degrees, left with probability 1 - stay for a well drawn
    by its weight.
    """
    rng = np.random.default_rng(seed)
    drawn, keep = rng.choice(3, n, p=weights), rng.random(n) < stay
    keep[0] = False
    well = drawn[np.maximum.accumulate(np.where(keep, 0, np.arange(n)))]
    phi = np.radians([180, 60, -60])[well] + 0.2 * rng.standard_normal(n)
    return (phi + np.pi) % (2 * np.pi) - np.pi, well


def test_basins_of_three_wells():
    phi, well = hopping(20_000, 0.8, 0)
    assert len(basin_edges(phi)) == 3
    (basins,) = torsion_basins(phi[:, None], ["t"])
    assert [round(abs(basin.centres_deg[0]) / 60) for basin in basins] == [3, 1, 1]
    assert [basin.population for basin in basins] == pytest.approx(
        [np.mean(well == k) for k in range(3)], abs=0.003
    )
    assert basins[1].free_energy_kT == pytest.approx(np.log(0.5 / 0.3), abs=0.1)
    assert basins[0].free_energy_error_kT == 0 and all(basin.entries > 500 for basin in basins)


def test_errors_cover_the_truth():
    z_p, z_f = [], []
    for seed in range(80):
        phi, _ = hopping(2_000, 0.8, seed)
        basins = torsion_basins(phi[:, None], ["t"])[0]
        top, second = basins[0], basins[1]
        z_p.append((top.population - 0.5) / top.population_error)
        z_f.append((second.free_energy_kT - np.log(0.5 / 0.3)) / second.free_energy_error_kT)
    for z in (z_p, z_f):
        assert abs(np.mean(z)) < 0.35 and 0.7 < np.std(z) < 1.35


def test_effective_samples_is_the_slower_of_cosine_and_sine():
    phi, _ = hopping(20_000, 0.8, 1)
    assert effective_samples(phi[:, None])[0] == pytest.approx(
        20_000 / 9, rel=0.2
    )  # (1 + 0.8) / (1 - 0.8) = 9


def test_one_basin_without_structure():
    rng = np.random.default_rng(0)
    for phi in (
        rng.uniform(-np.pi, np.pi, 5000),
        3.0 + 0.3 * rng.standard_normal(5000),
        np.full(10, 0.3),
    ):
        assert len(basin_edges(phi)) == 0
        assert set(assign(phi, basin_edges(phi))) == {0}


def test_basin_across_the_border_of_the_circle_is_one():
    rng = np.random.default_rng(1)
    phi = np.where(rng.random(5000) < 0.5, np.pi, 0) + 0.3 * rng.standard_normal(5000)
    edges = basin_edges(phi)
    assert len(edges) == 2
    assert assign([3.1, -3.1, 0.1], edges).tolist() in ([1, 1, 0], [0, 0, 1])


def test_joint_basins_and_summary():
    a, b = hopping(5000, 0.5, 2)[0], hopping(5000, 0.5, 3)[0]
    states = joint_basins(np.stack([a, b], axis=1), limit=4)
    assert len(states) == 4 and states[0].population == pytest.approx(0.25, abs=0.03)
    result = summary(np.stack([a, b], axis=1), ["a", "b"], 300.0)
    assert [row["torsion"] for row in result["torsions"]] == ["a", "b"] and len(
        result["states"]
    ) == 9
    second = result["torsions"][0]["basins"][1]
    assert second["free_energy_kJ_mol"] == pytest.approx(second["free_energy_kT"] * 2.494, rel=1e-3)
    assert sum(state["population"] for state in result["states"]) == pytest.approx(1)


def test_a_basin_never_left_has_no_error():
    basin = torsion_basins(0.1 * np.random.default_rng(0).standard_normal((500, 1)), ["t"])[0][0]
    assert basin.population == 1 and np.isnan(basin.population_error) and basin.entries == 0


def test_bad_input():
    with pytest.raises(InputError, match="n_frames, n_torsions"):
        effective_samples(np.zeros(5))
    with pytest.raises(InputError, match="2 entries for 1 torsion"):
        torsion_basins(np.zeros((5, 1)), ["a", "b"])


def test_summary_warns_of_basins_entered_fewer_than_ten_times():
    rng = np.random.default_rng(0)
    state = np.repeat([0, 1, 0, 1, 0], [400, 60, 300, 40, 200])
    phi = np.where(state == 0, -1.2, 1.2) + 0.2 * rng.standard_normal(len(state))
    found = summary(phi[:, None], ["a-b-c-d"], 300.0)["warnings"]
    assert len(found) == 2 and "entered 2 times (at least 10 are wanted)" in found[0]
    quick = np.where(np.arange(1000) // 20 % 2 == 0, -1.2, 1.2) + 0.2 * rng.standard_normal(1000)
    assert summary(quick[:, None], ["a-b-c-d"], 300.0)["warnings"] == []
    assert summary(0.2 * rng.standard_normal((500, 1)), ["a-b-c-d"], 300.0)["warnings"] == []
