"""Rows `cloud-.../...` of `equidrift bench align`: clouds of points laid onto a surface,
as in the task of TUD-L (a scan of one object, its mesh, one pose), whose scans cannot be
had here: meshes of ours, a sphere with smooth bumps, each another one.

A model is 400 points of the whole mesh; a scan 400 other ones, turned and shifted.
`cloud-whole` sees all of it; `cloud-noise` with noise of 2 % of the diameter on every
point; `cloud-partial` only the side that faces a viewer (some 40 %), with noise of .5 %.
`turn_deg` and `shift_percent` (of the diameter) are medians of the errors of rotation and
place; `found` is the percent with an ADD below a tenth of the diameter: the mean distance
of the model's points from where they belong (Hinterstoisser et al., ACCV 2012).

`icp` is the iterative closest point (Besl and McKay, IEEE PAMI 1992, 14, 239) from as many
rotations as `register` begins from, the one with the least distance kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, cKDTree

from equidrift.bench.machine import Progress
from equidrift.bench.rows import Row, means, medians, row, shares
from equidrift.geometry import Floats
from equidrift.models.rigid import rotations
from equidrift.models.rigid.registration import STARTS, register

POINTS = 400  # of a model, and of a scan
VERTICES = 900
FIRST_SEED = 100  # constants of `register` were chosen on the first five
BUMPS = 6
ICP_STEPS = 40
ADD_SHARE = 0.1  # of the diameter
FACING = 0.1  # cosine between normal and view from which a point is seen
# kind -> (noise over the diameter, whether one side alone is seen)
KINDS = {"whole": (0.0, False), "noise": (0.02, False), "partial": (0.005, True)}

Pose = tuple[Floats, Floats]  # rotation (3, 3) and shift (3,)


@dataclass(frozen=True, eq=False)
class Mesh:
    """Corners (t, 3, 3) of triangles, and what lies outside is away from the origin."""

    corners: Floats

    @classmethod
    def bumpy(cls, rng: np.random.Generator) -> Mesh:
        """A sphere with smooth bumps, of three unlike lengths."""
        k = np.arange(VERTICES) + 0.5
        polar, around = np.arccos(1 - 2 * k / VERTICES), np.pi * (1 + np.sqrt(5)) * k
        u = np.stack(
            [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=1
        )
        triangles = ConvexHull(u).simplices
        size = np.ones(VERTICES)
        for axis in rotations.haar(BUMPS, rng)[:, 0]:
            size += rng.uniform(-0.3, 0.5) * np.exp(4 * (u @ axis - 1))
        return cls((u * size[:, None] * [1.0, 0.8, 0.6])[triangles])

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """n points (n, 3) of the surface, uniform, and its outer normals (n, 3) there."""
        a, b, c = np.swapaxes(self.corners, 0, 1)
        normals = np.cross(b - a, c - a)
        normals *= np.sign(np.einsum("tx,tx->t", normals, a))[:, None]
        areas = np.linalg.norm(normals, axis=1)
        pick = rng.choice(len(areas), n, p=areas / areas.sum())
        s, t = np.sqrt(rng.random((n, 1))), rng.random((n, 1))
        points = (1 - s) * a[pick] + s * (1 - t) * b[pick] + s * t * c[pick]
        return points, normals[pick] / areas[pick, None]

    def seen(self, n: int, side: Floats, rng: np.random.Generator) -> Floats:
        """n points (n, 3) whose normals face a side (3,)."""
        points, normals = self.draw(12 * n, rng)
        found: Floats = points[normals @ side > FACING][:n]
        return found


def clouds(count: int, say: Progress) -> list[Row]:
    """The rows, of so many meshes each."""
    rows = []
    methods: dict[str, Callable[[Floats, Floats], Pose]] = {"equidrift": registered, "icp": icp}
    for kind, (noise, one_side) in KINDS.items():
        for method, find in methods.items():
            say(f"cloud-{kind}/{method}")
            errors, seconds = [], 0.0
            for seed in range(FIRST_SEED, FIRST_SEED + count):
                model, scan, truth = scanned(noise, one_side, seed)
                begun = time.process_time()
                found = find(scan, model)
                seconds += time.process_time() - begun
                errors.append(pose_errors(found, truth, model))
            turn, shift, add = np.array(errors).T
            values = shares({"found": add < ADD_SHARE})
            values |= medians({"turn_deg": turn, "shift_percent": 100 * shift})
            values |= means({"ADD_percent": 100 * add}) | {"cpu_s": seconds / count}
            rows.append(row(f"cloud-{kind}/{method}", values, count))
    return rows


def scanned(noise: float, one_side: bool, seed: int) -> tuple[Floats, Floats, Pose]:
    """A model (POINTS, 3), a scan (POINTS, 3), and the pose that lays the scan onto it."""
    rng = np.random.default_rng([seed, 17])
    mesh = Mesh.bumpy(rng)
    model, _ = mesh.draw(POINTS, rng)
    side = rotations.haar(1, rng)[0, 0]
    points = mesh.seen(POINTS, side, rng) if one_side else mesh.draw(POINTS, rng)[0]
    points = points + noise * diameter(model) * rng.standard_normal(points.shape)
    turn, shift = rotations.haar(1, rng)[0], rng.uniform(-5, 5, 3)
    return model, (points - shift) @ turn, (turn, shift)


def diameter(points: Floats) -> float:
    """The largest distance between two of the points (n, 3)."""
    return float(np.sqrt(np.square(points[:, None] - points).sum(-1).max()))


def pose_errors(found: Pose, truth: Pose, model: Floats) -> tuple[float, float, float]:
    """Errors of the rotation in degrees, and of the place of the model's centre and the
    mean error of its points, over its diameter.
    """
    turn = float(np.degrees(rotations.angle(found[0] @ truth[0].T)))
    back = (model - truth[1]) @ truth[0]  # where the model's points are in the scan
    away = back @ found[0].T + found[1] - model
    size = diameter(model)
    return (
        turn,
        float(np.linalg.norm(away.mean(axis=0))) / size,
        float(np.linalg.norm(away, axis=1).mean()) / size,
    )


def registered(scan: Floats, model: Floats) -> Pose:
    """`register` with its defaults."""
    found = register(scan, model)
    return found.rotation, found.shift


def icp(scan: Floats, model: Floats) -> Pose:
    """The best of iterative closest points from `STARTS` rotations."""
    tree = cKDTree(model)
    turns = rotations.haar(STARTS, np.random.default_rng(0))
    settled = [_settled(scan, model, tree, turn) for turn in turns]
    distances = [np.square(tree.query(scan @ turn.T + shift)[0]).mean() for turn, shift in settled]
    return settled[int(np.argmin(distances))]


def _settled(scan: Floats, model: Floats, tree: cKDTree, start: Floats) -> Pose:
    """The pose that steps to the closest points lead to from a rotation (3, 3)."""
    centre = scan.mean(axis=0)
    turn, shift = start, model.mean(axis=0) - start @ centre
    for _ in range(ICP_STEPS):
        near = model[tree.query(scan @ turn.T + shift)[1]]
        turn = rotations.fitted(scan - centre, near - near.mean(axis=0))
        shift = near.mean(axis=0) - turn @ centre
    return turn, shift
