"""The systems of B.7 and the rows of `equidrift bench fields`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equidrift.bench.fields import TASKS, network_rows, system_rows, test_sets_1d, test_sets_2d
from equidrift.bench.fields_cost import _errors
from equidrift.bench.fields_tracks import StereographicGP
from equidrift.errors import UnknownNameError
from equidrift.models.fields.functions.data import (
    SAWTOOTH_VARIANCE,
    SYSTEMS_1D,
    SYSTEMS_2D,
    Functions,
    draw_functions,
    radial_grid,
    true_kernel,
    unit_vectors,
)
from equidrift.models.fields.functions.sampler import FieldModel
from equidrift.models.fields.tracks.sampler import distance_km

test_sets_1d.__test__ = test_sets_2d.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("system", ["se", "matern52", "weakly-periodic"])
def test_shipped_gps_are_near_the_optimum_in_both_windows(system: str) -> None:
    for task, shift in TASKS.items():
        rows = {
            r["row"]: r["values"]["loglik"]
            for r in system_rows(system, task, test_sets_1d(system, shift, 100), 50)
        }
        assert rows[f"{system}/{task}"] == pytest.approx(
            rows[f"{system}/{task}-gp-optimum"], abs=0.03
        )
        assert rows[f"{system}/{task}-gp-diagonal"] < rows[f"{system}/{task}-gp-optimum"] - 0.5
        assert f"{system}/{task}-geomndp-published" in rows


def test_drawn_functions_have_the_published_variances() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(500, 100, 1, generator=generator) - 2
    assert float(draw_functions("sawtooth", x, generator).var()) == pytest.approx(
        SAWTOOTH_VARIANCE, rel=0.02
    )
    assert float(draw_functions("mixture", x, generator).var()) == pytest.approx(1.0, rel=0.1)
    assert len(radial_grid()) == 648


@pytest.mark.parametrize("system", [*SYSTEMS_1D, *SYSTEMS_2D])
def test_batches_are_functions_of_the_step(system: str) -> None:
    source = Functions(system, 4, seed=1, points=12)
    one, again, other = source(3), source(3), source(4)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True)) and not torch.equal(
        one[1], other[1]
    )
    d = 2 if system in SYSTEMS_2D else 1
    assert one[0].shape == one[1].shape == (4, 12, d) and bool(one[2].any(-1).all())


def test_unknown_system() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'sawtooth'"):
        Functions("sawtoth")


def test_the_correctors_gain() -> None:
    none, five = _errors(0, 600), _errors(5, 600)
    assert (
        five["mean_error_sd"] < 0.6 * none["mean_error_sd"]
        and five["covariance_error"] < 0.6 * none["covariance_error"]
    )


@pytest.mark.long
def test_stereographic_gp() -> None:
    """Known places are kept, and areas are those of the projection."""
    t = np.arange(25) * 0.25
    k = np.arange(6)[:, None]
    tracks = unit_vectors(20 + 2 * t + k + 0.3 * np.sin(3 * t + k), -40 - 5 * t - 3 * k)
    plane = StereographicGP(t, tracks)
    known = np.array([0, 6, 12, 18, 24])
    made = plane.predict(tracks, known)
    assert (
        distance_km(made[:, known], tracks[:, known]).max() < 5
        and distance_km(made, tracks).max() < 300
    )
    a, b = np.array([[0.3, 0.1, np.sqrt(0.9)]]), 1e-4
    beside = [a + b * np.array(d) for d in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))]
    sides = [point / np.linalg.norm(point) for point in beside]
    on_sphere = np.linalg.norm(np.cross(sides[0] - a, sides[1] - a))
    flat, log_area = plane.project(np.concatenate([a, *sides]) @ plane.frame)
    on_plane = abs(np.linalg.det(flat[1:] - flat[0]))
    assert np.exp(log_area[0]) == pytest.approx(on_sphere / on_plane, rel=1e-3)


def test_rows_of_what_is_not_shipped_are_left_out() -> None:
    assert network_rows("x/y", "field-nothing", [], 1, {}) == []


@pytest.mark.long
def test_rows_of_networks_hold_the_optimum_of_the_same_functions() -> None:
    sets = test_sets_1d("se", 0.0, 20)[:2]
    flow = {"steps": 4, "first_std": 1e-2}
    (made,) = network_rows("x/y", "field-se-network", sets, 50, flow, true_kernel("se"))
    values, (best, *_) = made["values"], system_rows("se", "interpolation", sets, 50)[1:2]
    assert values["n"] == 4 and values["knows_generator"] == 0.0
    assert values["optimum"] == pytest.approx(best["values"]["loglik"])
    assert values["below_optimum"] == pytest.approx(values["optimum"] - values["loglik"])
    assert values["below_optimum_se"] > 0 and values["optimum_se"] > 0


def test_rows_say_how_many_functions_they_are_of_and_whether_the_method_knows_the_generator() -> (
    None
):
    sets = test_sets_1d("se", 0.0, 20)
    rows = {r["row"]: r["values"] for r in system_rows("se", "interpolation", sets, 50)}
    own = {name: values for name, values in rows.items() if not name.endswith("-published")}
    assert all(values["n"] == 20 and values["loglik_se"] > 0 for values in own.values())
    assert all(values["knows_generator"] == 1.0 for values in own.values())
    assert rows["se/interpolation-geomndp-published"]["knows_generator"] == 0.0


@pytest.mark.parametrize(("name", "white"), [("field-se-network", True), ("field-se", False)])
def test_a_network_under_white_noise_alone_does_not_know_its_generator(
    name: str, white: bool
) -> None:
    assert FieldModel.load(name).white == white
