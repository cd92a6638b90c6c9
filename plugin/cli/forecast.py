"""equidrift forecast: trajectories continued, filled in or refined, streamed to disk."""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli.options import LargestFragment, ModelOptions, Overwrite, SummaryAsJson


def command(
    trajectory: Annotated[
        Path,
        typer.Argument(
            metavar="TRAJ",
            help="The trajectory: .xtc .trr .dcd .h5md .nc .pdb .traj .extxyz .xyz or .npz.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="File to write: .xtc .dcd .h5md .traj .extxyz .xyz .pdb or .npz. With -n above 1, files OUT_0000, OUT_0001, ...",
        ),
    ],
    top: Annotated[
        str | None,
        typer.Option(
            "--top", metavar="TOP", help="The bonds: a .pdb, .sdf or .mol file, or a SMILES."
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            help="New frames to make; with --interpolate, between each pair of neighbours."
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", help="Trajectories to sample.")] = 1,
    interpolate: Annotated[
        bool,
        typer.Option(
            "--interpolate",
            help="Make frames between the given ones; without --frames, those that are missing.",
        ),
    ] = False,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine", help="Improve a coarse trajectory by adding noise and removing it."
        ),
    ] = False,
    level: Annotated[
        float,
        typer.Option(
            help="Noise that --refine adds: above 0 (little changes) to 1 (nothing is kept)."
        ),
    ] = 0.3,
    model: Annotated[
        str,
        typer.Option(
            help="default, geotdm, last-frame or constant-velocity, or the path of weights you trained."
        ),
    ] = "default",
    seed: Annotated[
        int, typer.Option(help="Random seed: the same seed gives the same trajectories.")
    ] = 0,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Network calls for each window of frames. Default: the model's own number."
        ),
    ] = None,
    stride: Annotated[int, typer.Option(help="Use every STRIDE-th frame of TRAJ.")] = 1,
    dt: Annotated[
        float | None,
        typer.Option(
            metavar="FS", help="Time between the frames of TRAJ in fs, if the file does not say."
        ),
    ] = None,
    charge: Annotated[
        int | None, typer.Option(help="Total charge, if bonds must be perceived.")
    ] = None,
    smiles: Annotated[
        str | None,
        typer.Option(
            "--smiles", help="The molecule as a SMILES, if the file tells no bond orders."
        ),
    ] = None,
    largest_fragment: LargestFragment = False,
    broken: Annotated[
        str | None,
        typer.Option(
            help="If a bond breaks: redraw the frames, or report and keep them. Default: redraw; with --refine, report."
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Trajectories made in one call of the model. Default: the model's own number."
        ),
    ] = None,
    max_attempts: Annotated[
        int, typer.Option(help="Draws of a trajectory before it is given up.")
    ] = 20,
    set_: ModelOptions = None,
    overwrite: Overwrite = False,
    as_json: SummaryAsJson = False,
) -> int:
    """Continue a trajectory, or interpolate or refine it.

    If the run is interrupted, give the same command again: it continues where it
    stopped.
    """
    from equidrift.arguments import check_count
    from equidrift.cli.options import model_files, model_options
    from equidrift.engine.trajectories import make_settings
    from equidrift.files.formats import topology_path
    from equidrift.files.trajectories import check_trajectory_output, load_trajectory
    from equidrift.files.trajectory_stream import TrajectoryStream, sample_paths
    from equidrift.outputs import refuse_inputs

    mode = _mode(interpolate, refine, frames)
    check_count("n", n)
    check_trajectory_output(output)
    files = [path for path in (trajectory, top, *model_files(model)) if path is not None]
    written = [*sample_paths(output, n), topology_path(output) or output]
    refuse_inputs(written, files)
    options = model_options(set_ or [])
    broken = broken or ("report" if refine else "redraw")
    settings = make_settings(
        model,
        seed=seed,
        steps=steps,
        broken=broken,
        max_attempts=max_attempts,
        batch_size=batch_size,
        **options,
    )
    given = load_trajectory(
        trajectory,
        top,
        dt_fs=dt,
        stride=stride,
        charge=charge,
        smiles=smiles,
        largest_fragment=largest_fragment,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        job = _job(mode, given, frames, level, settings)
    notes = [str(warning.message) for warning in caught]
    identity = {
        "mode": mode,
        "n": n,
        "frames": frames,
        "level": level,
        "stride": stride,
        "dt": dt,
        "charge": charge,
        "requested": model,
    }
    identity |= {} if smiles is None else {"smiles": smiles}
    identity |= {"largest_fragment": True} if largest_fragment else {}
    identity |= {
        "set": options,
        "batch": settings.batch_size,
        "attempts": max_attempts,
        "suffix": output.suffix.lower(),
    }
    identity |= {
        "given": _described(str(trajectory)),
        "top": top and _described(top),
        **job.provenance(),
    }
    stream = TrajectoryStream(
        output, identity, n=n, topology=True, inputs=files, overwrite=overwrite
    )
    again = stream.finished
    summary = _run(job, n, stream, shown=not as_json and sys.stderr.isatty())
    written = stream.close(n, job.trajectories, job.frame)
    result: dict[str, Any] = {
        "command": "forecast",
        "mode": mode,
        "output": [str(path) for path in written],
    }
    result |= {**_kept(job, output), **summary, "finished_before": again}
    md_s = plain_md_seconds(given.molecule.n_atoms, n * job.n_frames * _spacing_fs(given))
    result |= {"notes": notes, "plain_md_seconds": round(md_s, 3)}
    _print(result, as_json)
    return 0


def _mode(interpolate: bool, refine: bool, frames: int | None) -> str:
    from equidrift.errors import InputError

    if interpolate and refine:
        raise InputError(
            "--interpolate and --refine exclude each other; run one, then the other on its result"
        )
    if refine and frames is not None:
        raise InputError(
            "--refine keeps the frames of TRAJ, so --frames does not go with it; leave it out"
        )
    if not interpolate and not refine and frames is None:
        raise InputError(
            "--frames is missing: how many new frames? say --frames 20 (or give --interpolate or --refine)"
        )
    return "interpolate" if interpolate else "refine" if refine else "forecast"


def _job(mode: str, given: Any, frames: int | None, level: float, settings: Any) -> Any:
    from equidrift.engine.trajectories import forecast_job, interpolation_job, refinement_job

    if mode == "interpolate":
        return interpolation_job(given, frames, settings)
    return (
        refinement_job(given, level, settings)
        if mode == "refine"
        else forecast_job(given, frames or 0, settings)
    )


def _spacing_fs(given: Any) -> float:
    """Time between frames; 0 for a single one."""
    return float(given.dt_fs) if len(given) > 1 else 0.0


def plain_md_seconds(n_atoms: int, time_fs: float) -> float:
    """About how long as much plain dynamics takes in MMFF94, 1 fs a step, on one core.

    OpenMM's Reference platform makes 18,600 steps/s for 31 atoms; pairs grow with the
    square.
    """
    steps_per_s = 18_600.0 * (31.0 / n_atoms) ** 2
    return time_fs / steps_per_s


def _described(text: str) -> str:
    """What stands for an input in the run's fingerprint: a file by its name and
    content, a SMILES by itself.
    """
    from equidrift.files.journal import file_sha256

    return f"{Path(text).name}:{file_sha256(text)}" if Path(text).is_file() else text


def _run(job: Any, n: int, stream: Any, *, shown: bool) -> dict[str, Any]:
    """Every chunk from where the stream's journal stands; the counts of the whole run."""
    from equidrift.cli.output import count
    from equidrift.cli.signals import kept, telling_what_is_kept
    from equidrift.engine.trajectories import CONTEXT
    from equidrift.progress import frame_bar

    counts: dict[str, Any] = {
        "samples": n,
        "frames": job.n_frames,
        "done": 0,
        "rejected": {},
        "broken_frames": {},
    } | stream.summary
    begun, resumed = time.monotonic(), counts["done"]
    with (
        telling_what_is_kept(lambda: kept(count(counts["done"], "frame"))),
        frame_bar(n * job.n_frames, shown=shown, done=resumed) as report,
    ):
        held = () if stream.finished else stream.unfinished(CONTEXT)
        for chunk in () if stream.finished else job.chunks(n, stream.position, held):
            counts["done"] += chunk.n_frames
            for name, fresh in (("rejected", chunk.rejected), ("broken_frames", chunk.broken)):
                counts[name] = dict(sorted(sum(fresh, Counter(counts[name])).items()))
            stream.add(chunk, job.position(chunk, n), counts)
            if report is not None:
                report(chunk)
    seconds = time.monotonic() - begun
    made = counts.pop("done") - resumed
    return counts | {
        "resumed_from": resumed,
        "seconds": round(seconds, 3),
        "frames_per_s": round(made / seconds, 3) if seconds else None,
    }


def _kept(job: Any, output: Path) -> dict[str, Any]:
    """The topology beside the result where its format holds no graph, and where the
    frames come from.
    """
    from equidrift.cli.output import topology_of

    origin = job.provenance()
    return {"topology": topology_of(output)} | {
        key: origin[key] for key in ("model", "weights_sha256", "seed", "exact")
    }


def _print(result: dict[str, Any], as_json: bool) -> None:
    from equidrift.cli.output import FINISHED_BEFORE, count, print_json, topology_line

    if as_json:
        print_json(result)
        return
    paths = result["output"]
    where = paths[0] if len(paths) == 1 else f"{paths[0]} to {Path(paths[-1]).name}"
    frames = f"{count(result['samples'], 'trajectory')} of {count(result['frames'], 'frame')}"
    lines = [f"{frames} by {result['model']} -> {where}"]
    lines += topology_line(result["topology"])
    if result["finished_before"]:
        lines.append(FINISHED_BEFORE)
    elif result["resumed_from"]:
        lines.append(f"  continued from frame {result['resumed_from']}")
    for name, label in (
        ("rejected", "draws rejected and made again"),
        ("broken_frames", "frames kept that fail a check"),
    ):
        lines.append(
            f"  {label}: {', '.join(f'{reason} {number}' for reason, number in result[name].items()) or 'none'}"
        )
    lines.append("  not exact dynamics: a model's draws")
    lines += [f"  note: {note}" for note in result["notes"]]
    by_network = result["model"] not in ("last-frame", "constant-velocity")
    ran = by_network and result["frames_per_s"]
    if ran and result["plain_md_seconds"] < result["seconds"]:
        lines.append(
            f"  plain MD is cheaper: in MMFF94 about {result['plain_md_seconds']:.2g} s for as "
            f"many frames; this took {result['seconds']:.2g} s (equidrift md --proposals none)"
        )
    lines.append(f"  {result['seconds']:.1f} s, {result['frames_per_s'] or 0:.1f} frames/s")
    typer.echo("\n".join(lines))
