"""forecast, interpolate and refine_trajectory: seeds, masks, broken frames, provenance."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equidrift import api
from equidrift.api import forecast, interpolate, refine_trajectory
from equidrift.checks.geometry import BOND_LENGTH, NO_COORDINATES
from equidrift.engine.trajectories import Completion, grid_of, make_settings, windows
from equidrift.errors import (
    InputError,
    InputTypeError,
    ModelError,
    NoValidSamplesError,
    UnknownNameError,
)
from equidrift.files.plain import plain
from equidrift.records import Trajectory
from tests.conftest import make_trajectory
from tests.doubles import Walker


def test_new_frames_go_on_after_the_given_ones() -> None:
    trajectory = make_trajectory()
    samples = forecast(trajectory, 7, 3, model=Walker(), seed=5)
    assert [len(sample) for sample in samples] == [7, 7, 7]
    for k, sample in enumerate(samples):
        np.testing.assert_allclose(sample.time_fs, 110 + 10 * np.arange(1, 8))
        assert sample.molecule == trajectory.molecule and sample.provenance["exact"] is False
        assert (
            sample.provenance["sample"] == k
            and sample.provenance["seed"] == 5
            and sample.provenance["given_frames"] == 12
        )
        json.dumps(plain(sample.provenance))
    assert not np.array_equal(samples[0].positions_A, samples[1].positions_A)


@pytest.mark.parametrize("chunk", [4, 100])
def test_sample_k_depends_on_the_seed_and_k_alone(chunk: int) -> None:
    trajectory, forecast = make_trajectory(), partial(api.forecast, chunk=chunk)
    whole = forecast(trajectory, 10, 5, model=Walker(share=0.3), seed=2)
    small = forecast(trajectory, 10, 5, model=Walker(share=0.3), seed=2, batch_size=2)
    fewer = forecast(trajectory, 10, 2, model=Walker(share=0.3), seed=2)
    for a, b in zip(whole, small, strict=True):
        np.testing.assert_array_equal(a.positions_A, b.positions_A)
        assert a.provenance == b.provenance
    np.testing.assert_array_equal(whole[1].positions_A, fewer[1].positions_A)
    other = forecast(trajectory, 10, 1, model=Walker(), seed=3)
    assert not np.array_equal(other[0].positions_A, whole[0].positions_A)


def test_long_forecasts_are_chained_by_chunks() -> None:
    """After the first chunk every sample goes on from its own past, of which the model
    sees so many frames as `context` says.
    """
    model = Walker()
    samples = forecast(make_trajectory(), 10, 2, model=model, chunk=4, context=6)
    assert model.calls == [(2, 6 + 4), (1, 6 + 4), (1, 6 + 4), (1, 6 + 2), (1, 6 + 2)]
    for sample in samples:
        assert (
            len(sample) == 10
            and len(sample.provenance["seeds"]) == 3
            and sample.provenance["drawn"] == 3
        )
        steps = np.abs(np.diff(sample.positions_A, axis=0)).max(axis=(1, 2))
        assert (steps < 0.05).all(), "chunks join without a step"
        assert abs(sample.positions_A[5] - make_trajectory().positions_A[-1]).max() > 0


def test_a_model_of_several_pasts_is_called_once_per_chunk() -> None:
    forecast = partial(api.forecast, chunk=4)

    class Many(Walker):
        def continue_many(
            self, trajectories: Any, n_frames: int, seeds: Any, **options: Any
        ) -> list[Trajectory]:
            many.append(len(seeds))
            return [
                self.continue_(t, n_frames, seeds[k : k + 1], **options)[0]
                for k, t in enumerate(trajectories)
            ]

    many: list[int] = []
    samples = forecast(make_trajectory(), 10, 3, model=Many(), seed=1)
    assert many == [3, 3]
    for one, other in zip(
        samples, forecast(make_trajectory(), 10, 3, model=Walker(), seed=1), strict=True
    ):
        np.testing.assert_array_equal(one.positions_A, other.positions_A)


def test_broken_draws_are_made_again() -> None:
    samples = forecast(make_trajectory(), 5, 20, model=Walker(share=0.4), seed=1)
    assert {reason for sample in samples for reason in sample.provenance["rejected"]} == {
        BOND_LENGTH
    }
    assert all(sample.provenance["broken_frames"] == {} for sample in samples)
    assert all(
        sample.provenance["drawn"] == 1 + sum(sample.provenance["rejected"].values())
        for sample in samples
    )
    assert sum(sample.provenance["drawn"] for sample in samples) > 20


def test_broken_frames_are_reported_where_that_is_asked_for() -> None:
    samples = forecast(make_trajectory(), 5, 20, model=Walker(share=0.4), seed=1, broken="report")
    counts = [sample.provenance["broken_frames"].get(BOND_LENGTH, 0) for sample in samples]
    assert set(counts) == {0, 1} and all(sample.provenance["drawn"] == 1 for sample in samples)


def test_never_fewer_in_silence() -> None:
    with pytest.raises(
        NoValidSamplesError,
        match=r"2 of 2 samples have broken frames after frame 0 in each of 3 "
        r"draws.*broken='report'",
    ) as told:
        forecast(make_trajectory(), 5, 2, model=Walker(share=1.0), max_attempts=3)
    assert told.value.reasons == {BOND_LENGTH: 6}


def test_faults_of_the_given_frames_are_not_the_models() -> None:
    """A strained start, such as a transition state, is gone on with."""
    stretched = make_trajectory()
    x = stretched.positions_A.copy()
    x[:, 0] = x[:, 1] + 1.4 * (x[:, 0] - x[:, 1])  # a carbon pulled away from its neighbour
    (made,) = forecast(stretched.replace(positions_A=x), 3, model=Walker())
    assert len(made) == 3 and BOND_LENGTH in made.provenance["faults_of_given_frames"]
    assert "faults_of_given_frames" not in forecast(stretched, 3, model=Walker())[0].provenance


def test_nan_is_never_kept() -> None:
    class Lost(Walker):
        def complete(self, trajectory: Any, given: Any, seeds: Any, **_: Any) -> Any:
            return np.where(given[:, None, None], trajectory.positions_A, np.nan)[None].repeat(
                len(seeds), 0
            )

    with pytest.raises(NoValidSamplesError) as told:
        forecast(make_trajectory(), 2, model=Lost(), broken="report", max_attempts=2)
    assert set(told.value.reasons) == {NO_COORDINATES}


def test_what_a_model_raises_is_told() -> None:
    class Broken(Walker):
        def complete(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("out of luck")

    with pytest.raises(ModelError, match=r"'walker' failed on Molecule.*out of luck"):
        forecast(make_trajectory(), 2, model=Broken())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda t: forecast(t, 0, model="last-frame"),
            InputError,
            "n_frames must be 1 or more, not 0",
        ),
        (
            lambda t: forecast(t, 2.5, model="last-frame"),
            InputTypeError,
            "n_frames must be an integer",
        ),
        (lambda t: forecast(t, 5, 0, model="last-frame"), InputError, "n must be 1 or more"),
        (
            lambda t: forecast(t, 5, model="last-fram"),
            UnknownNameError,
            "unknown trajectory model 'last-fram'. Did you mean 'last-frame'",
        ),
        (
            lambda t: forecast(t, 5, model="nowhere.safetensors"),
            InputError,
            "no model card nowhere.json",
        ),
        (
            lambda t: forecast(t, 5, model=object()),
            InputTypeError,
            "object with complete and continue_",
        ),
        (
            lambda t: forecast(t, 5, model="last-frame", broken="redrwa"),
            UnknownNameError,
            "Did you mean 'redraw'",
        ),
        (lambda t: forecast(t, 5, model="last-frame", seed=-1), InputError, "seed must lie in"),
        (
            lambda t: forecast(t, 5, model="last-frame", steps=0),
            InputError,
            "steps must be 1 or more",
        ),
        (
            lambda t: interpolate(t, model="last-frame"),
            InputError,
            "none is missing between them; give n_frames",
        ),
        (lambda t: interpolate(t, 0, model="last-frame"), InputError, "n_frames must be 1 or more"),
        (
            lambda t: interpolate(t[:1], model="last-frame"),
            InputError,
            "has no two frames at times that advance",
        ),
        (
            lambda t: interpolate(t.replace(time_fs=[*range(11), 13.5]), model="last-frame"),
            InputError,
            "3.5 fs after frame 10 is no multiple",
        ),
        (
            lambda t: interpolate(t.replace(time_fs=[*range(11), 5]), model="last-frame"),
            InputError,
            "at times that advance; sort",
        ),
        (
            lambda t: interpolate(t, 30, model=Walker()),
            InputError,
            "frames would be 0.322581 fs apart, and .* 1 to 1000 fs; put fewer",
        ),
        (
            lambda t: interpolate(
                t.replace(time_fs=1e3 * np.arange(12)), 30, model=Walker(window=20)
            ),
            InputError,
            "30 frames are missing in a row, and the model sees 20",
        ),
        (
            lambda t: refine_trajectory(t, model="last-frame"),
            InputError,
            "'last-frame' does not refine trajectories; use one that does",
        ),
        (
            lambda t: refine_trajectory(t, model=Walker(), level=0),
            InputError,
            "level must be a number above 0 and at most 1",
        ),
        (lambda t: refine_trajectory(t, model=Walker(), level=True), InputError, "level must be"),
    ],
)
def test_bad_requests(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(make_trajectory())


def test_interpolation_between_neighbours_keeps_the_given_frames() -> None:
    trajectory = make_trajectory()
    for sample in interpolate(trajectory, 4, 2, model=Walker()):
        assert len(sample) == 11 * 5 + 1 and sample.dt_fs == pytest.approx(2.0)
        np.testing.assert_array_equal(sample.positions_A[::5], trajectory.positions_A)
        assert sample.provenance["given"] == list(range(0, 56, 5))


def test_interpolation_fills_gaps_in_time() -> None:
    whole = make_trajectory()
    kept = np.array([0, 1, 2, 3, 9, 10, 11])
    (sample,) = interpolate(whole[kept], model=Walker())
    np.testing.assert_allclose(sample.time_fs, whole.time_fs)
    np.testing.assert_array_equal(sample.positions_A[kept], whole.positions_A[kept])
    assert sample.provenance["given"] == kept.tolist()


@given(
    mask=st.lists(st.booleans(), min_size=12, max_size=12),
    window=st.sampled_from([0, 9, 12, 20]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_any_given_frames_stay_exactly(mask: list[bool], window: int, seed: int) -> None:
    """Forecast, interpolation, upsampling, inpainting: any mask, in one window or many."""
    trajectory = make_trajectory()
    known = np.array([True, True, *mask[2:-1], True])
    blank = np.where(known[:, None, None], trajectory.positions_A, np.nan)
    options = make_settings(Walker(window=window), seed=seed)
    gap = max(len(run) for run in "".join("x" if k else "." for k in known).split("x"))
    if 0 < window < 12 and gap + max(2, window // 3) + 1 > window:
        return
    job = Completion(trajectory.replace(positions_A=blank), known, options)
    (chunk,) = job.chunks(3)
    assert np.isfinite(chunk.positions_A).all()
    for one in chunk.positions_A:
        np.testing.assert_array_equal(one[known], trajectory.positions_A[known])


@given(st.integers(2, 60), st.integers(8, 20), st.integers(1, 3), st.data())
@settings(max_examples=60, deadline=None)
def test_windows_cover_everything_once(n: int, size: int, gap: int, data: st.DataObject) -> None:
    known = np.zeros(n, bool)
    known[:: gap + 1] = True
    known[-1] = True
    filled = known.copy()
    for begin, stop, done in windows(known, size, 2):
        assert 0 < stop - begin <= size and filled[begin : begin + done].all()
        filled[begin:stop] = True
    assert filled.all()


def test_windows_of_a_long_interpolation_join() -> None:
    model = Walker(window=12)
    (sample,) = interpolate(make_trajectory(), 3, model=model)
    assert len(model.calls) > 3 and all(frames <= 12 for _, frames in model.calls)
    assert np.isfinite(sample.positions_A).all() and len(sample) == 45
    again, *_ = interpolate(make_trajectory(), 3, 3, model=Walker(window=12))
    np.testing.assert_array_equal(again.positions_A, sample.positions_A)


def test_grid_of_an_interpolation_is_nan_where_nothing_is_given() -> None:
    whole, known = grid_of(make_trajectory(), 1)
    assert (
        np.isnan(whole.positions_A[~known]).all()
        and np.isfinite(whole.positions_A[known]).all()
        and known.sum() == 12
    )


def test_refinement_takes_broken_bonds_and_counts_them() -> None:
    trajectory = make_trajectory()
    x = trajectory.positions_A.copy()
    x[3] *= 2.5
    samples = refine_trajectory(trajectory.replace(positions_A=x), 2, model=Walker(), level=0.5)
    for sample in samples:
        assert len(sample) == 12 and sample.provenance["level"] == 0.5
        assert (
            sample.provenance["broken_frames_before"]
            == {BOND_LENGTH: 1}
            == sample.provenance["broken_frames"]
        )
        assert 0 < np.abs(sample.positions_A - x).max() < 0.1
    assert not np.array_equal(samples[0].positions_A, samples[1].positions_A)
