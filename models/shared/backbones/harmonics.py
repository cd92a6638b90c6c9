"""Real spherical harmonics and how two of them couple to a third.

Conventions are e3nn's: within a degree l the orders run from -l to l, the polar axis is y,
and degree 1 is a vector's (x, y, z). Coefficients of all degrees up to L stand side by
side, (L + 1)^2 of them.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Path = tuple[int, int, int]  # degrees l1, l2 and l3


def count(degree: int) -> int:
    """Coefficients of all degrees up to `degree`."""
    return (degree + 1) ** 2


def part(degree: int) -> slice:
    """Where the 2 l + 1 coefficients of one degree stand."""
    return slice(degree**2, (degree + 1) ** 2)


def degrees(degree: int) -> list[int]:
    """The degree of each coefficient."""
    return [k for k in range(degree + 1) for _ in range(2 * k + 1)]


@lru_cache(maxsize=128)
def norm(degree: int, order: int) -> float:
    """What makes a harmonic's square integrate to 1 over the sphere."""
    both = 1.0 if order == 0 else math.sqrt(2)
    ratio = math.factorial(degree - order) / math.factorial(degree + order)
    return both * math.sqrt((2 * degree + 1) / (4 * math.pi) * ratio)


def solid_harmonics(vectors: Tensor, degree: int) -> Tensor:
    """Real solid harmonics r^l Y_lm of all degrees up to `degree`.

    Parameters
    ----------
    vectors : Tensor
        (..., 3); unit vectors give spherical harmonics.
    degree : int
        L.

    Returns
    -------
    Tensor
        (..., (L + 1)^2); polynomials of the vectors, smooth at 0 too. Orthonormal over
        the unit sphere.
    """
    y, z, x = vectors.unbind(-1)  # the polar axis is the second one
    square = vectors.square().sum(-1)
    table: dict[tuple[int, int], Tensor] = {}
    cosine, sine = torch.ones_like(x), torch.zeros_like(x)  # of r^m (x + i y)^m
    for m in range(degree + 1):
        # associated Legendre functions without their sines, times r^(l - m)
        before = torch.zeros_like(x)
        now = torch.full_like(x, float(math.prod(range(1, 2 * m, 2))))
        for k in range(m, degree + 1):
            table[k, m] = norm(k, m) * now * cosine
            if m:
                table[k, -m] = norm(k, m) * now * sine
            following = ((2 * k + 1) * z * now - (k + m) * square * before) / (k - m + 1)
            before, now = now, following
        cosine, sine = x * cosine - y * sine, x * sine + y * cosine
    return torch.stack([table[k, m] for k in range(degree + 1) for m in range(-k, k + 1)], -1)


def paths(first: int, second: int, third: int) -> list[Path]:
    """All couplings of degrees up to these: |l1 - l2| <= l3 <= l1 + l2."""
    return [
        (a, b, c)
        for a in range(first + 1)
        for b in range(second + 1)
        for c in range(abs(a - b), min(a + b, third) + 1)
    ]


def clebsch_gordan(path: Path, m1: int, m2: int) -> float:
    """The coefficient <l1 m1 l2 m2 | l3 m1+m2>, by Racah's sum.

    References
    ----------
    Edmonds, Angular Momentum in Quantum Mechanics, equation 3.6.10.
    """
    a, b, c = path
    m3 = m1 + m2
    if abs(m3) > c:
        return 0.0
    f = math.factorial
    triangle = f(c + a - b) * f(c - a + b) * f(a + b - c) / f(a + b + c + 1)
    states = f(c + m3) * f(c - m3) * f(a - m1) * f(a + m1) * f(b - m2) * f(b + m2)
    total = 0.0
    for k in range(max(0, b - c - m1, a - c + m2), min(a + b - c, a - m1, b + m2) + 1):
        below = [a + b - c - k, a - m1 - k, b + m2 - k, c - b + m1 + k, c - a - m2 + k]
        total += (-1) ** k / (f(k) * math.prod(map(f, below)))
    return math.sqrt((2 * c + 1) * triangle * states) * total


def to_complex(degree: int) -> NDArray[np.complex128]:
    """Rows: real harmonics of a degree, by the complex ones with orders -l to l.

    The phase (-i)^l makes every real coupling real.
    """
    turn = np.zeros((2 * degree + 1, 2 * degree + 1), complex)
    turn[degree, degree] = 1
    for m in range(1, degree + 1):
        up, down = degree + m, degree - m
        turn[up, up], turn[up, down] = (-1) ** m / math.sqrt(2), 1 / math.sqrt(2)
        turn[down, up], turn[down, down] = -1j * (-1) ** m / math.sqrt(2), 1j / math.sqrt(2)
    return turn * (-1j) ** degree


@lru_cache(maxsize=4096)
def coupling(path: Path) -> NDArray[np.float64]:
    """The real invariant tensor (2 l1 + 1, 2 l2 + 1, 2 l3 + 1) of a path, of norm 1."""
    a, b, c = path
    table = np.zeros((2 * a + 1, 2 * b + 1, 2 * c + 1), complex)
    for m1 in range(-a, a + 1):
        for m2 in range(-b, b + 1):
            if abs(m1 + m2) <= c:
                table[a + m1, b + m2, c + m1 + m2] = clebsch_gordan(path, m1, m2)
    turns = to_complex(a), to_complex(b), to_complex(c).conj()
    real = np.einsum("ia,jb,kc,abc->ijk", *turns, table)
    # with this sign 1 x 1 -> 1 is the cross product
    found = (-1) ** sum(path) * real.real / np.linalg.norm(real.real)
    found.setflags(write=False)
    return found


def gaunt_factor(path: Path) -> float:
    """The Gaunt coefficient of a path: what the integral of three harmonics is of
    `coupling`. It is 0 where l1 + l2 + l3 is odd.
    """
    a, b, c = path
    if (a + b + c) % 2:
        return 0.0
    sign = (-1) ** ((a + b - c) // 2)  # of the phases (-i)^l
    size = math.sqrt((2 * a + 1) * (2 * b + 1) / (4 * math.pi))
    return sign * size * clebsch_gordan(path, 0, 0)
