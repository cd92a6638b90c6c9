"""ETH-UCY pedestrians: reading, windows of 8 + 12 frames, leave-one-scene-out training,
best of 20 (arXiv:2410.13027, data and metrics).

The protocol is the usual one: 2.5 frames per second, every pedestrian that is there for
20 frames, forecast from 8 frames of it and of those around it. Pedestrians are a plane
without a north and a crowd without a left: training mirrors windows and changes their
pace.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.trajectories.graphs import array_graph
from equidrift.models.trajectories.sources import Drawn, Source

PAST, FRAMES, PEOPLE = 8, 20, 7
PACE = (0.7, 1.5)  # by how much training changes the scale of a window
SCENES = {
    "eth": ("biwi_eth",),
    "hotel": ("biwi_hotel",),
    "univ": ("students001", "students003"),
    "zara1": ("crowds_zara01",),
    "zara2": ("crowds_zara02",),
}
FURTHER = ("crowds_zara03_train", "uni_examples_train")  # in every training set


def read_tracks(path: str | Path) -> dict[int, dict[int, tuple[float, float]]]:
    """frame -> pedestrian -> (x, y) in m.

    Raises `InputError` for a missing or broken file.
    """
    out: dict[int, dict[int, tuple[float, float]]] = {}
    try:
        for line in Path(path).read_text().splitlines():
            word = line.split()
            out.setdefault(int(float(word[0])), {})[int(float(word[1]))] = (
                float(word[13]),
                float(word[15]),
            )
    except (OSError, ValueError, IndexError) as error:
        raise InputError(
            f"{str(path)!r} is no ETH-UCY track file ({error}); EQUIDRIFT_DATA/eth_ucy holds them"
        ) from error
    return out


def scene_windows(
    tracks: dict[int, dict[int, tuple[float, float]]],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Windows (k, 20, PEOPLE, 2) around every pedestrian that is there for 20 frames,
    and who in them is real (k, PEOPLE).

    The first is the pedestrian asked about, the others the nearest ones at the last
    frame of the past, all of which they must be there for. Their futures and missing
    people are filled by the last place of the past, and no one reads them.
    """
    who = {
        person: column
        for column, person in enumerate(
            sorted({person for frame in tracks.values() for person in frame})
        )
    }
    start, stop = min(tracks), max(tracks) + 1
    table = np.full((stop - start, len(who), 2), np.nan)
    for frame, people in tracks.items():
        for person, place in people.items():
            table[frame - start, who[person]] = place
    there = np.isfinite(table[..., 0])
    positions, real = [], []
    for first in range(len(table) - FRAMES + 1):
        whole = np.flatnonzero(there[first : first + FRAMES].all(0)).tolist()
        seen = np.flatnonzero(there[first : first + PAST].all(0))
        here = table[first + PAST - 1]
        for person in whole:
            others = seen[seen != person]
            near = others[
                np.argsort(np.linalg.norm(here[others] - here[person], axis=-1), kind="stable")
            ][: PEOPLE - 1]
            block = np.repeat(table[first : first + FRAMES, person][:, None], PEOPLE, 1)
            block[:PAST, 1 : 1 + len(near)] = table[first : first + PAST, near]
            block[PAST:, 1:] = block[PAST - 1, 1:]
            positions.append(block)
            real.append(np.arange(PEOPLE) <= len(near))
    return np.array(positions).reshape(-1, FRAMES, PEOPLE, 2), np.array(real, bool).reshape(
        -1, PEOPLE
    )


def features(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Node (count, PEOPLE, 1) and edge (count, PEOPLE, PEOPLE, 1) features: all people
    are alike.
    """
    return np.ones((count, PEOPLE, 1)), np.zeros((count, PEOPLE, PEOPLE, 1))


def training_source(folder: str, leave_out: str | None) -> Source:
    """Training windows of every scene but one, mirrored and scaled at random.

    Raises `UnknownNameError` for another scene.
    """
    if leave_out not in SCENES:
        raise UnknownNameError("scene to leave out", str(leave_out), SCENES)
    names = [n for scene, files in SCENES.items() if scene != leave_out for n in files]
    names += [n for n in FURTHER if not (leave_out == "univ" and n.startswith("uni"))]
    parts = [scene_windows(read_tracks(Path(folder) / f"{n}.txt")) for n in names]
    x, real = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    frames = torch.from_numpy(x - x[:, PAST - 1 : PAST, :1]).float()

    def draw(rng: np.random.Generator, pairs: int, length: int) -> Drawn:
        if length != FRAMES:
            raise InputError(
                f"pedestrian windows have {FRAMES} frames, 8 of the past; set frames: "
                f"{FRAMES} and context: {PAST}"
            )
        count = max(2, pairs // (PEOPLE**2 * length))
        i = rng.integers(len(frames), size=count)
        graph = array_graph(*features(count))
        graph.mask = torch.from_numpy(real[i])
        pace = PACE[0] * (PACE[1] / PACE[0]) ** rng.random(count)
        change = np.stack([pace, pace * rng.choice([-1.0, 1.0], count)], -1)
        return Drawn(
            graph,
            frames[i] * torch.from_numpy(change).float()[:, None, None],
            torch.arange(length, dtype=torch.float32, device="cpu"),
        )

    return Source(draw, 1, 1)
