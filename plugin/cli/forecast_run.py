"""A run of `equidrift forecast`: checked, then from the model to the disk, chunk by
chunk.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equidrift.cli import output
from equidrift.cli.checked import check_smiles, check_topology, loaded, model_options
from equidrift.cli.forecast import Request
from equidrift.cli.md import picoseconds
from equidrift.cli.signals import kept_so_far, telling_what_is_kept
from equidrift.engine.frames import FrameJob, TrajectorySettings, make_settings
from equidrift.engine.pace import kept_of, leaping_by, new_spacing_fs
from equidrift.engine.trajectories import (
    Forecast,
    forecast_job,
    interpolation_job,
    refinement_job,
)
from equidrift.errors import InputError
from equidrift.files.formats import topology_path
from equidrift.files.journal import file_sha256
from equidrift.files.trajectories import load_trajectory
from equidrift.files.trajectory_stream import TrajectoryStream, sample_paths
from equidrift.files.unpacked import names_file
from equidrift.outputs import refuse_inputs
from equidrift.progress import frame_bar
from equidrift.protocols import LeapingTrajectoryModel, TrajectoryModel
from equidrift.records import Chunk, Trajectory
from equidrift.registry import make_trajectory_model
from equidrift.text import counted
from equidrift.units import PS_PER_FS

MD_STEPS_PER_S = 18_600.0  # OpenMM's Reference platform, one core, measured for
MD_ATOMS = 31.0  # atoms in MMFF94; the cost grows with the pairs, the square of the atoms


def forecast(request: Request) -> int:
    """Make what is requested, to disk; the exit code."""
    check(request)
    settings = settings_of(request)
    given = load_trajectory(request.trajectory, request.top, **request.reading)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        job = _job(request, given, settings)
    stream = TrajectoryStream(
        request.output,
        identity_of(request, settings, job),
        n=request.n,
        topology=True,
        inputs=request.files,
        overwrite=request.overwrite,
    )
    run = Run(request, job, stream)
    run.go()
    notes = [str(warning.message) for warning in caught]
    output.print_summary(run.close(notes, given), summary_text, request)
    return 0


def check(request: Request) -> None:
    """Refuse, before any work, options that do not go together and outputs that must
    not be replaced.
    """
    _check_mode(request)
    beside = topology_path(request.output) or request.output
    refuse_inputs([*sample_paths(request.output, request.n), beside], request.files)
    check_smiles(request.smiles)
    check_topology(request.top)


def _check_mode(request: Request) -> None:
    if request.interpolate and request.refine:
        raise InputError(
            "--interpolate and --refine exclude each other; run one, then the other on its result"
        )
    if request.refine and request.frames is not None:
        raise InputError(
            "--refine keeps the frames of TRAJ, so --frames does not go with it; leave it out"
        )
    if request.mode != "forecast" and request.every != "1":
        raise InputError(
            f"--every {request.every} thins out a forecast, and --{request.mode} makes none; "
            "leave it out"
        )
    if request.mode == "forecast" and request.frames is None:
        raise InputError(
            "--frames is missing: how many new frames? say --frames 20 "
            "(or give --interpolate or --refine)"
        )


def settings_of(request: Request) -> TrajectorySettings:
    """The engine's settings, with the model loaded."""
    own = model_options(request.set_, request.device)
    return make_settings(
        loaded(make_trajectory_model, request.chosen_model, own),
        seed=request.seed,
        steps=request.steps,
        broken=request.broken or ("report" if request.refine else "redraw"),
        max_attempts=request.max_attempts,
        batch_size=request.batch_size,
        options=own,
    )


def _job(request: Request, given: Trajectory, settings: TrajectorySettings) -> FrameJob:
    if request.interpolate:
        return interpolation_job(given, request.frames, settings)
    if request.refine:
        return refinement_job(given, request.level, settings)
    settings, every = paced(request.every, given, settings)
    return forecast_job(given, request.frames or 0, settings, every=every)


def paced(
    text: str, given: Trajectory, settings: TrajectorySettings
) -> tuple[TrajectorySettings, int]:
    """Settings, and how many new frames one is kept of, by --every. By a time, a model
    that leaps makes one leap of each, or the fewest of equal length.

    Raises
    ------
    InputError
        If the time is no multiple of the spacing of new frames, or no leap.
    """
    if text.strip().isdecimal():
        return settings, int(text)
    model, asked_fs = settings.model, picoseconds(text) / PS_PER_FS
    if isinstance(model, LeapingTrajectoryModel) and model.lag_fs is None:
        return leaping_by(settings, asked_fs)
    return settings, _frames_between(text, asked_fs, given, model)


def _frames_between(text: str, asked_fs: float, given: Trajectory, model: TrajectoryModel) -> int:
    """How many new frames one is kept of, by a time over their spacing."""
    leaps = isinstance(model, LeapingTrajectoryModel)
    if len(given) < 2 and not leaps:
        return 1  # refused for its single frame
    spacing_fs = new_spacing_fs(model, given)
    if every := kept_of(spacing_fs, asked_fs):
        return every
    nearest = max(1, round(asked_fs / spacing_fs)) * spacing_fs
    frames = "leaps" if leaps else "the given frames"
    raise InputError(
        f"--every {text} is no multiple of the {spacing_fs:g} fs between {frames}; "
        f"take {nearest:g}fs, a number of frames, or frames of another spacing"
    )


def identity_of(request: Request, settings: TrajectorySettings, job: FrameJob) -> dict[str, Any]:
    """Everything that decides the result: a run continues one with the same."""
    told: dict[str, Any] = {} if request.smiles is None else {"smiles": request.smiles}
    told |= {"largest_fragment": True} if request.largest_fragment else {}
    told |= {"every": request.every} if request.every != "1" else {}
    return {
        "mode": request.mode,
        "n": request.n,
        "frames": request.frames,
        "level": request.level,
        "stride": request.stride,
        "dt": request.dt,
        "charge": request.charge,
        "requested": request.chosen_model,
        "set": model_options(request.set_, request.device),
        "batch": settings.batch_size,
        "attempts": request.max_attempts,
        "suffix": request.output.suffix.lower(),
        "given": _described(str(request.trajectory)),
        "top": request.top and _described(request.top),
        **told,
        **job.provenance(),
    }


def _described(text: str) -> str:
    """What stands for an input in the run's fingerprint: a file by its name and
    content, a SMILES by itself.
    """
    return f"{Path(text).name}:{file_sha256(text)}" if names_file(text) else text


def every_of(job: FrameJob) -> int:
    """Of how many frames of a job one is kept."""
    return job.every if isinstance(job, Forecast) else 1


def plain_md_seconds(n_atoms: int, time_fs: float) -> float:
    """About how long as much plain dynamics takes in MMFF94, 1 fs per step, on one core."""
    return time_fs / (MD_STEPS_PER_S * (MD_ATOMS / n_atoms) ** 2)


class Run:
    """One run of the command: where it stands, and what its summary says."""

    def __init__(self, request: Request, job: FrameJob, stream: TrajectoryStream) -> None:
        self.request, self.job, self.stream = request, job, stream
        self.finished_before = stream.finished
        nothing = {"samples": request.n, "frames": job.n_frames // every_of(job), "done": 0}
        self.counts: dict[str, Any] = nothing | {"rejected": {}, "broken_frames": {}}
        self.counts |= stream.summary
        self.begun, self.resumed = time.monotonic(), self.counts["done"]

    def go(self) -> None:
        """Every chunk from where the stream's journal stands."""
        shown = not self.request.as_json and sys.stderr.isatty()
        n, total = self.request.n, self.request.n * self.job.n_frames
        with (
            telling_what_is_kept(lambda: kept_so_far(self.counts["done"], "frame")),
            frame_bar(total, shown=shown, done=self.resumed) as report,
        ):
            if self.finished_before:
                return
            held = self.stream.unfinished(self.job.settings.context)
            for chunk in self.job.chunks(n, self.stream.position, held):
                self._add(chunk)
                self.stream.add(chunk, self.job.position(chunk, n), self.counts)
                if report is not None:
                    report(chunk)

    def _add(self, chunk: Chunk) -> None:
        self.counts["done"] += chunk.n_frames
        for name, fresh in (("rejected", chunk.rejected), ("broken_frames", chunk.broken)):
            self.counts[name] = dict(sorted(sum(fresh, Counter(self.counts[name])).items()))

    def close(self, notes: list[str], given: Trajectory) -> dict[str, Any]:
        """Write the trajectories; the summary."""
        seconds = time.monotonic() - self.begun
        n, job = self.request.n, self.job
        written = self.stream.close(n, job.trajectories, job.frame)
        origin, spacing_fs = job.provenance(), given.dt_fs if len(given) > 1 else 0.0
        spacing_fs = job.dt_fs if isinstance(job, Forecast) else spacing_fs
        md_s = plain_md_seconds(given.molecule.n_atoms, n * job.n_frames * spacing_fs)
        made = self.counts["done"] - self.resumed
        counts = {name: value for name, value in self.counts.items() if name != "done"}
        return {
            "command": "forecast",
            "mode": self.request.mode,
            "output": [str(path) for path in written],
            "topology": output.topology_of(self.request.output),
            **{key: origin[key] for key in ("model", "weights_sha256", "seed", "exact")},
            **counts,
            "resumed_from": self.resumed,
            "seconds": round(seconds, 3),
            "frames_per_s": output.rate(made, seconds),
            "finished_before": self.finished_before,
            "notes": notes,
            "plain_md_seconds": round(md_s, 3),
        }


def summary_text(summary: Mapping[str, Any]) -> str:
    """What a person reads at the end of a run."""
    paths = summary["output"]
    where = paths[0] if len(paths) == 1 else f"{paths[0]} to {Path(paths[-1]).name}"
    trajectories = counted(summary["samples"], "trajectory")
    frames = f"{trajectories} of {counted(summary['frames'], 'frame')}"
    lines = [
        f"{frames} by {summary['model']} -> {where}",
        *output.topology_line(summary["topology"]),
        *output.resumed_lines(summary, "frame"),
        f"  draws rejected and made again: {output.reasons(summary['rejected'])}",
        f"  frames kept that fail a check: {output.reasons(summary['broken_frames'])}",
        "  not exact dynamics: a model's draws",
        *(f"  note: {note}" for note in summary["notes"]),
        *_cheaper_md(summary),
        output.rate_line(summary, "frames"),
    ]
    return "\n".join(lines)


def _cheaper_md(summary: Mapping[str, Any]) -> list[str]:
    """The line that says so if plain dynamics makes as many frames in less time."""
    by_network = summary["model"] not in ("md", "last-frame", "constant-velocity")
    ran = by_network and summary["frames_per_s"]
    if not ran or summary["plain_md_seconds"] >= summary["seconds"]:
        return []
    return [
        "  plain MD is cheaper: in MMFF94 about "
        f"{max(summary['plain_md_seconds'], 0.01):.2g} s for as many "
        f"frames; this took {summary['seconds']:.2g} s (--model md)"
    ]
