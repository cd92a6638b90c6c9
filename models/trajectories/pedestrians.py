"""ETH-UCY pedestrians: reading, windows of 8 + 12 frames, leave-one-scene-out training, best of 20 (methods C.7, C.8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.trajectories import metrics
from equidrift.models.trajectories.data import Source, array_graph
from equidrift.seeds import sample_seeds

PAST, FRAMES, PEOPLE, SAMPLES, KEPT = 8, 20, 4, 60, 20
SCENES = {
    "eth": ("biwi_eth",),
    "hotel": ("biwi_hotel",),
    "univ": ("students001", "students003"),
    "zara1": ("crowds_zara01",),
    "zara2": ("crowds_zara02",),
}
FURTHER = ("crowds_zara03_train", "uni_examples_train")  # in every training set
NEAR_M = 6.0


def read_tracks(path: str | Path) -> dict[int, dict[int, tuple[float, float]]]:
    """frame -> pedestrian -> (x, y) in m. Raises `InputError` for a missing or broken file."""
    out: dict[int, dict[int, tuple[float, float]]] = {}
    try:
        for line in Path(path).read_text().splitlines():
            word = line.split()
            out.setdefault(int(float(word[0])), {})[int(float(word[1]))] = (float(word[13]), float(word[15]))
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{str(path)!r} is no ETH-UCY track file ({error}); EQUIDRIFT_DATA/eth_ucy holds them") from error
    return out


def scene_windows(tracks: dict[int, dict[int, tuple[float, float]]], *, whole: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Windows (k, 20, PEOPLE, 2) around every pedestrian that is there for 20 frames, and who in them is real (k, PEOPLE).

    The first is the pedestrian asked about, the others the nearest ones at the last frame of the past. They must be there for the past;
    `whole`: for all 20 frames, as training needs. Missing futures and missing people are filled by their last place.
    """
    positions, real = [], []
    for first in sorted(tracks):
        frames = [tracks.get(first + k, {}) for k in range(FRAMES)]
        there = [p for p in frames[0] if all(p in f for f in frames[:PAST])]
        complete = [p for p in there if all(p in f for f in frames)]
        for person in complete:
            here = np.array(frames[PAST - 1][person])
            others = [p for p in (complete if whole else there) if p != person]
            apart = {p: float(np.linalg.norm(np.array(frames[PAST - 1][p]) - here)) for p in others}
            chosen = [person, *sorted((p for p in others if apart[p] < NEAR_M), key=lambda p: apart[p])[: PEOPLE - 1]]
            block = np.zeros((FRAMES, PEOPLE, 2))
            for k in range(PEOPLE):
                track = chosen[k] if k < len(chosen) else person
                last = frames[0][track]
                for t, f in enumerate(frames):
                    last = f.get(track, last)
                    block[t, k] = last
            positions.append(block)
            real.append([k < len(chosen) for k in range(PEOPLE)])
    return np.array(positions).reshape(-1, FRAMES, PEOPLE, 2), np.array(real, bool).reshape(-1, PEOPLE)


def features(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Node (count, PEOPLE, 1) and edge (count, PEOPLE, PEOPLE, 1) features: whose future is asked for."""
    node = np.zeros((count, PEOPLE, 1))
    node[:, 0] = 1.0
    return node, np.repeat(node[:, :, None], PEOPLE, 2)


def training_source(folder: str, leave_out: str | None) -> Source:
    """Training windows of every scene but one, turned at random. Raises `UnknownNameError` for another scene."""
    if leave_out not in SCENES:
        raise UnknownNameError("scene to leave out", str(leave_out), SCENES)
    names = [n for scene, files in SCENES.items() if scene != leave_out for n in files]
    names += [n for n in FURTHER if not (leave_out == "univ" and n.startswith("uni"))]
    parts = [scene_windows(read_tracks(Path(folder) / f"{n}.txt"), whole=True) for n in names]
    x, real = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    frames = torch.from_numpy(x - x[:, PAST - 1 : PAST, :1]).float()

    def draw(rng: np.random.Generator, pairs: int, length: int) -> tuple[Any, torch.Tensor, torch.Tensor]:
        if length != FRAMES:
            raise InputError(f"pedestrian windows have {FRAMES} frames, 8 of the past; set frames: {FRAMES} and context: {PAST}")
        count = max(2, pairs // (PEOPLE**2 * length))
        i = rng.integers(len(frames), size=count)
        graph = array_graph(*features(count))
        graph.mask = torch.from_numpy(real[i])
        angle = torch.from_numpy(rng.uniform(0, 2 * np.pi, count)).float()
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)
        return graph, torch.einsum("btnd,bde->btne", frames[i], turn), torch.arange(length, dtype=torch.float32)

    return Source(draw, 1, 1)


def benchmark_rows(folder: Path, limit: int | None) -> list[dict[str, Any]]:
    """Best of 20 (k-means of 60) on each scene, by the model that was trained on the others."""
    rows: list[dict[str, Any]] = []
    for scene, files in SCENES.items():
        parts = [scene_windows(read_tracks(folder / f"{n}.txt"), whole=False) for n in files]
        x, real = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        if limit is not None and limit < len(x):
            pick = np.linspace(0, len(x) - 1, limit).astype(int)
            x, real = x[pick], real[pick]
        truth = x[:, PAST:, 0]
        made = forecasts(f"pedestrians-{scene}", x, real)
        kept = np.stack([metrics.representatives(made[:, k], KEPT) for k in range(len(x))], 1)
        steady = (
            x[:, PAST - 1 : PAST, 0] + np.arange(1, FRAMES - PAST + 1)[None, :, None] * (x[:, PAST - 1, 0] - x[:, PAST - 2, 0])[:, None]
        )
        for row, samples in (("equidrift", kept), ("constant-velocity", steady[None])):
            ade, fde = metrics.best_of(samples, truth)
            rows.append({"row": f"eth-ucy-{scene}/{row}", "values": {"ADE": ade, "FDE": fde, "trajectories": len(x)}})
    for row in ("equidrift", "constant-velocity"):
        each = [r["values"] for r in rows if r["row"].endswith(f"/{row}")]
        mean = {key: float(np.mean([v[key] for v in each])) for key in ("ADE", "FDE")}
        rows.append({"row": f"eth-ucy/{row}", "values": mean})
    return rows


def forecasts(model_name: str, x: NDArray[np.float64], real: NDArray[np.bool_], samples: int = SAMPLES) -> NDArray[np.float64]:
    """Futures (samples, k, 12, 2) of the first pedestrian of each window."""
    from equidrift.models.trajectories.arrays import GeometricTrajectoryModel

    model = GeometricTrajectoryModel(model_name)
    node, edge = features(len(x))
    given = np.arange(FRAMES) < PAST
    out = []
    for k in range(samples):
        seeds = sample_seeds(3, k * len(x), (k + 1) * len(x))
        out.append(model.complete_many(x, node, edge, given, seeds, mask=real)[:, PAST:, 0])
    return np.stack(out)
