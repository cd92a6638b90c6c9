"""The score of noised poses as a small network, with its exact derivative. numpy only.

It is a multilayer perceptron with SiLU. It sees the rotation's nine numbers (of a linear
body its axis alone, so that a spin about it changes nothing), the place in standard
deviations and the noise level. It says sigma times the score: a rotation vector in the
frame that places are told in, exp(w) R, and a shift. Both are smooth on all of SO(3).
Scales of inputs and outputs are those of a Gaussian of unit variance (Karras et al.,
arXiv:2206.00364, table 1), so that with outputs of zero places follow that Gaussian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.models.rigid import rotations

SIGMA_MAX, SIGMA_MIN = 2.0, 0.05  # radians, and standard deviations of the places
WIDTH, HIDDEN = 64, 3  # of the hidden layers, and how many


@dataclass(frozen=True, eq=False)
class ScoreNetwork:
    """sigma times the score of poses with noise sigma, whatever its weights are.

    Parameters
    ----------
    weights, biases : sequence of (out, in) and (out,) array
        Of each layer.
    turning : bool
        Whether the rotation is moved and seen; False leaves the place alone.
    axis : (3,) array, optional
        Of a linear body, a unit vector at rotation 1.

    Raises
    ------
    InputError
        If the layers do not fit each other, or what goes in and comes out.
    """

    weights: Sequence[Floats]
    biases: Sequence[Floats]
    turning: bool = True
    axis: Floats | None = None

    def __post_init__(self) -> None:
        wanted = [self.inputs, *(len(b) for b in self.biases[:-1])]
        found = [w.shape[1] for w in self.weights]
        ends = len(self.biases) > 0 and len(self.biases[-1]) == self.moving
        heights = [len(w) for w in self.weights] == [len(b) for b in self.biases]
        if not ends or not heights or wanted != found:
            raise InputError(
                f"layers of shapes {[w.shape for w in self.weights]} do not fit: a score of "
                f"these poses takes {self.inputs} numbers and gives {self.moving}"
            )

    @classmethod
    def drawn(
        cls,
        rng: np.random.Generator,
        *,
        turning: bool = True,
        axis: Floats | None = None,
        scale: float = 1.0,
        last: float = 0.0,
    ) -> ScoreNetwork:
        """A network of random weights, normal with deviation scale / sqrt(in); those of
        the last layer with `last` in its place.
        """
        empty = cls.sizes(turning, axis)
        scales = [scale] * (len(empty) - 2) + [last]
        pairs = zip(empty[:-1], empty[1:], scales, strict=True)
        weights = [rng.standard_normal((b, a)) * s / np.sqrt(a) for a, b, s in pairs]
        return cls(weights, [np.zeros(len(w)) for w in weights], turning, axis)

    @staticmethod
    def sizes(turning: bool, axis: Floats | None) -> list[int]:
        """Numbers that go in (three of the place and three of the noise last), that each
        hidden layer has, and that come out.
        """
        seen = 0
        if turning:
            seen = 9 if axis is None else 3
        return [seen + 6, *[WIDTH] * HIDDEN, 6 if turning else 3]

    @property
    def inputs(self) -> int:
        """How many numbers the first layer takes."""
        return self.sizes(self.turning, self.axis)[0]

    @property
    def moving(self) -> int:
        """Dimensions that move: 6, or 3 of the place alone."""
        return 6 if self.turning else 3

    def features(self, turns: Floats, places: Floats, sigma: float | Floats) -> Floats:
        """(k, inputs) of poses (k, 3, 3), (k, 3) with noise sigma, one or (k, 1)."""
        out = np.empty((len(places), self.inputs))
        if self.turning:
            out[:, : self.inputs - 6] = self._seen(turns)
        out[:, -6:-3] = places / np.sqrt(1 + sigma**2)
        level = np.log(sigma / SIGMA_MIN) / np.log(SIGMA_MAX / SIGMA_MIN)
        out[:, -3:-2], out[:, -2:-1] = 2 * level - 1, np.sin(np.pi * level)
        out[:, -1:] = np.cos(np.pi * level)
        return out

    def rates(self, turns: Floats, places: Floats, sigma: float) -> Floats:
        """(k, moving) sigma times the score, the rotation's part first."""
        a, last = self.features(turns, places, sigma), len(self.weights) - 1
        for n, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            a = a @ weight.T + bias
            if n < last:
                a *= logistic(a)
        return self._scaled(a, places, sigma)

    def rates_and_slopes(
        self, turns: Floats, places: Floats, sigma: float
    ) -> tuple[Floats, Floats]:
        """`rates`, and their derivatives (k, moving, moving): the last axis is along
        exp(d) R and along the place.
        """
        k, m = len(places), self.moving
        inner = 1 / np.sqrt(1 + sigma**2)
        slopes = np.zeros((k, m, self.inputs))
        if self.turning:
            # (k, 3, seen): what is seen of E_j R
            turned = self._seen((rotations.GENERATORS @ turns[:, None]).reshape(-1, 3, 3))
            slopes[:, :3, : turned.shape[1]] = turned.reshape(k, 3, -1)
        slopes[:, -3:, -6:-3] = inner * np.eye(3)
        a, last = self.features(turns, places, sigma), len(self.weights) - 1
        for n, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            a = a @ weight.T + bias
            # one product of matrices is faster than k
            slopes = (slopes.reshape(k * m, -1) @ weight.T).reshape(k, m, len(weight))
            if n < last:
                gate = logistic(a)
                a *= gate
                slopes *= (gate + a * (1 - gate))[:, None]
        slopes *= inner
        slopes[:, -3:, -3:] -= sigma / (1 + sigma**2) * np.eye(3)
        return self._scaled(a, places, sigma), np.swapaxes(slopes, 1, 2)

    @staticmethod
    def _scaled(a: Floats, places: Floats, sigma: float) -> Floats:
        """Rates of the last layer's outputs (k, moving): scaled, and with the pull of a
        Gaussian of unit variance.
        """
        a *= 1 / np.sqrt(1 + sigma**2)
        a[:, -3:] -= sigma / (1 + sigma**2) * places
        return a

    def _seen(self, turns: Floats) -> Floats:
        """(k, 9) or (k, 3) what is seen of rotations, or of their derivatives."""
        if self.axis is not None:
            return np.asarray(turns @ self.axis, np.float64)
        return turns.reshape(len(turns), 9)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse."""
        return {
            "weights": [w.tolist() for w in self.weights],
            "biases": [b.tolist() for b in self.biases],
            "turning": self.turning,
            "axis": None if self.axis is None else self.axis.tolist(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScoreNetwork:
        """The network that `to_dict` wrote."""
        weights, biases = (
            [np.array(part, np.float64) for part in data[name]] for name in ("weights", "biases")
        )
        axis = None if data["axis"] is None else np.array(data["axis"], np.float64)
        return cls(weights, biases, data["turning"], axis)


def logistic(a: Any) -> Any:
    """The logistic function of an array of either precision; it does not overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * a)
