"""Articulated skeletons: a stand-in for the poses of Human3.6M, which cannot be had
here.

17 joints, named as there, with fixed bones; angles of walking, sitting, reaching and
crouching people within limits, correlated as the limbs of a person are, and no two
joints in one place. Whoever knows this generator knows everything: what a model learns
from its samples is compared with fresh samples of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
JOINTS = (
    "pelvis", "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "spine", "thorax", "neck", "head", "left shoulder", "left elbow", "left wrist",
    "right shoulder", "right elbow", "right wrist",
)  # fmt: skip
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
# each bone in m where all angles are 0: standing, arms hanging; x right, y forward, z up
BONES_M = np.array([
    [0, 0, 0], [0.13, 0, 0], [0, 0, -0.45], [0, 0, -0.45], [-0.13, 0, 0], [0, 0, -0.45],
    [0, 0, -0.45], [0, 0, 0.23], [0, 0, 0.26], [0, 0.02, 0.12], [0, 0, 0.12], [-0.15, 0, 0],
    [0, 0, -0.28], [0, 0, -0.25], [0.15, 0, 0], [0, 0, -0.28], [0, 0, -0.25],
])  # fmt: skip
CLOSEST_M = 0.07  # of two joints without a bone between them
# name -> (mean, least, most) in degrees; of the limbs that of either side
ANGLES = {
    "spine bend": (5, -15, 60), "spine side": (0, -25, 25), "spine twist": (0, -35, 35),
    "neck bend": (5, -30, 40), "neck twist": (0, -60, 60),
    "hip bend": (5, -25, 120), "hip spread": (5, -10, 40), "knee": (8, 0, 140),
    "shoulder bend": (5, -40, 170), "shoulder spread": (10, -5, 120), "elbow": (20, 0, 145),
}  # fmt: skip
NOISE_DEG = 5.0


def articulated_skeletons(n: int, seed: int = 0) -> Array:
    """n poses, (n, 17, 3) in m, with the pelvis at the origin; see `JOINTS`.

    Parameters
    ----------
    n : int
        How many.
    seed : int
        Poses depend on it and on n alone.
    """
    rng = np.random.default_rng([seed, 17])
    found = np.zeros((0, len(JOINTS), 3))
    while len(found) < n:
        poses = positions(_angles(2 * n, rng))
        found = np.concatenate([found, poses[apart(poses)]])
    return found[:n]


def apart(poses: Array) -> NDArray[np.bool_]:
    """Whether no two joints without a bone between them are in one place, (n,)."""
    gap = np.linalg.norm(poses[:, :, None] - poses[:, None], axis=-1)
    free = ~np.eye(len(JOINTS), dtype=bool)
    for child, parent in enumerate(PARENTS):
        free[child, max(parent, 0)] = free[max(parent, 0), child] = False
    return gap[:, free].min(1) >= CLOSEST_M


def bone_error_percent(poses: Array) -> Array:
    """Largest deviation of a bone's length from its own, in %, (n,)."""
    children = np.arange(1, len(JOINTS))
    lengths = np.linalg.norm(poses[:, children] - poses[:, np.array(PARENTS)[children]], axis=-1)
    true = np.linalg.norm(BONES_M[children], axis=-1)
    worst: Array = 100.0 * np.abs(lengths / true - 1.0).max(1)
    return worst


def _angles(n: int, rng: np.random.Generator) -> dict[str, Array]:
    """Angles in degrees: name -> (n,), of limbs (n, 2), right and left."""
    mean = {name: np.full((n, 2), float(at)) for name, (at, _, _) in ANGLES.items()}
    kind = rng.integers(0, 4, n)
    phase, vigour = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.6, 1.4, n)
    sides = np.array([0.0, np.pi])
    swing = np.sin(phase[:, None] + sides)
    walk, sit, reach, crouch = ((kind == k)[:, None] for k in range(4))
    stride = vigour[:, None] * swing
    lift = vigour[:, None] * np.clip(np.sin(phase[:, None] + sides - 1.2), 0, None)
    mean["hip bend"] += walk * 30 * stride + sit * 85 + crouch * 95
    mean["knee"] += walk * 55 * lift + sit * 85 + crouch * (100 + 10 * vigour[:, None])
    mean["shoulder bend"] += walk * -25 * stride + sit * 25 + crouch * 50
    mean["elbow"] += walk * 15 + sit * 60 + crouch * 30
    mean["spine bend"] += crouch * 30 * vigour[:, None] + sit * 5
    arm = rng.integers(0, 2, n)
    one = reach * (np.arange(2) == arm[:, None])
    height = rng.uniform(60, 150, (n, 1))
    mean["shoulder bend"] += one * height
    mean["elbow"] += one * (100 - 0.6 * height)
    lean = reach[:, 0] * (height[:, 0] - 60) / 90 * np.where(arm == 0, -1.0, 1.0)
    mean["spine side"] += 15 * lean[:, None]
    mean["spine twist"] += 12 * (walk * stride)[:, :1]
    out = {}
    for name, (_, least, most) in ANGLES.items():
        drawn = np.clip(mean[name] + NOISE_DEG * rng.standard_normal((n, 2)), least, most)
        out[name] = drawn[:, 0] if name.startswith(("spine", "neck")) else drawn
    return out


def positions(angles: dict[str, Array]) -> Array:
    """Joints (n, 17, 3) in m of angles in degrees, see `ANGLES`."""
    n = len(angles["spine bend"])
    turn = [np.broadcast_to(np.eye(3), (n, 3, 3))] * len(JOINTS)
    half = [angles["spine twist"] / 2, angles["spine side"] / 2, -angles["spine bend"] / 2]
    spine = _turn("zyx", half)
    turn[7], turn[8] = spine, spine @ spine
    neck = _turn("zx", [angles["neck twist"], -angles["neck bend"]])
    turn[9], turn[10] = turn[8] @ neck, turn[8] @ neck
    for side, (hip, shoulder) in enumerate(((1, 14), (4, 11))):
        out = 1.0 if side == 0 else -1.0
        leg = _turn("yx", [-out * angles["hip spread"][:, side], angles["hip bend"][:, side]])
        turn[hip + 1] = leg
        turn[hip + 2] = leg @ _turn("x", [-angles["knee"][:, side]])
        upper = _turn(
            "yx", [-out * angles["shoulder spread"][:, side], angles["shoulder bend"][:, side]]
        )
        turn[shoulder], turn[shoulder + 1] = turn[8], turn[8] @ upper
        turn[shoulder + 2] = turn[8] @ upper @ _turn("x", [angles["elbow"][:, side]])
    found = np.zeros((n, len(JOINTS), 3))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            found[:, joint] = found[:, parent] + turn[joint] @ BONES_M[joint]
    return found


def _turn(axes: str, angles_deg: list[Array]) -> Array:
    """Rotations (n, 3, 3) about the axes, one after the other, in the moving frame."""
    turned: Array = np.eye(3)
    for axis, angle in zip(axes, np.radians(angles_deg), strict=True):
        k = "xyz".index(axis)
        i, j = (k + 1) % 3, (k + 2) % 3
        one = np.zeros((len(angle), 3, 3))
        one[:, k, k] = 1.0
        one[:, i, i] = one[:, j, j] = np.cos(angle)
        one[:, j, i] = np.sin(angle)
        one[:, i, j] = -np.sin(angle)
        turned = turned @ one
    return turned
