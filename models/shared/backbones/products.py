"""Three products of spherical features: Clebsch-Gordan, and Gaunt's in two forms.

A feature (..., (L + 1)^2, c) holds the coefficients of all degrees up to L. The Gaunt
product reads two features as functions on the sphere, multiplies them pointwise, and
reads the coefficients of that. It is another operation, not a faster one: all couplings
with l1 + l2 + l3 odd are lost, the cross product among them (4 of 5, 11 of 15, 23 of 34
and 42 of 65 remain for L = 1 to 4), and a coupling's weight is a product of three, one
for each degree. From true vectors it makes no pseudovectors: it is blind to chirality.
"""

from __future__ import annotations

import math
import time
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equidrift.models.shared.backbones.harmonics import (
    count,
    coupling,
    degrees,
    part,
    paths,
    solid_harmonics,
)

ProductName = Literal["clebsch-gordan", "gaunt-grid", "gaunt-fourier"]


class ClebschGordanProduct(nn.Module):
    """Every coupling of two features, with a weight of its own for each channel.

    Parameters
    ----------
    first, second, third : int
        Highest degrees of both features and of the product.
    channels : int
        c.
    """

    def __init__(self, first: int, second: int, third: int, channels: int):
        super().__init__()
        self.third = third
        # tables are float64 until the module is moved: .double() then finds them exact
        self.paths = paths(first, second, third)
        into = [sum(path[2] == l3 for path in self.paths) for l3 in range(third + 1)]
        scale = torch.tensor([[into[path[2]] ** -0.5] for path in self.paths])
        self.weight = nn.Parameter(scale * torch.randn(len(self.paths), channels))
        for k, path in enumerate(self.paths):
            # every component of the product is then as large as the features' are
            tensor = coupling(path) * math.sqrt(2 * path[2] + 1)
            self.register_buffer(f"coupling_{k}", torch.from_numpy(tensor), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x (..., (l1 + 1)^2, c) and y: (..., (third + 1)^2, c)."""
        found: list[list[Tensor]] = [[] for _ in range(self.third + 1)]
        for k, (a, b, c) in enumerate(self.paths):
            pairs = torch.einsum(
                "...ic,...jc,ijk->...kc",
                x[..., part(a), :],
                y[..., part(b), :],
                self.get_buffer(f"coupling_{k}").to(x.dtype),
            )
            found[c].append(self.weight[k] * pairs)
        return torch.cat([torch.stack(some).sum(0) for some in found], -2)


class ByDegree(nn.Module):
    """A weight for each degree and channel."""

    def __init__(self, degree: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(degree + 1, channels))
        self.degrees: Tensor
        self.register_buffer("degrees", torch.tensor(degrees(degree)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., (L + 1)^2, c)."""
        return x * self.weight[self.degrees]


class GauntProduct(nn.Module):
    """What both forms of the Gaunt product share: weights w1(l1) w2(l2) w3(l3).

    Its parameters are those of `ClebschGordanProduct`.
    """

    def __init__(self, first: int, second: int, third: int, channels: int):
        super().__init__()
        self.first, self.second = ByDegree(first, channels), ByDegree(second, channels)
        self.third = ByDegree(third, channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x (..., (l1 + 1)^2, c) and y: (..., (third + 1)^2, c)."""
        return self.third(self.product(self.first(x), self.second(y)))

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        """The product without weights."""
        raise NotImplementedError


def sphere(n_polar: int, n_around: int) -> tuple[Tensor, Tensor]:
    """Points (g, 3) of a Gauss-Legendre grid with even steps around, and weights (g,)."""
    height, weight = np.polynomial.legendre.leggauss(n_polar)
    turn = 2 * math.pi * np.arange(n_around) / n_around
    ring = np.sqrt(1 - height**2)[:, None]
    axes = [ring * np.sin(turn), height[:, None] + 0 * turn, ring * np.cos(turn)]
    points = np.stack(axes, -1).reshape(-1, 3)
    weights = np.repeat(weight * 2 * math.pi / n_around, n_around)
    return torch.from_numpy(points), torch.from_numpy(weights)


def exact_grid(degree: int) -> tuple[int, int]:
    """The smallest grid (polar, around) that integrates harmonics up to this degree."""
    return math.ceil((degree + 1) / 2), degree + 1


class GauntGrid(GauntProduct):
    """The Gaunt product on a grid: to values, times, and back, by three matrices.

    Parameters
    ----------
    first, second, third, channels : int
        See `ClebschGordanProduct`.
    grid : tuple[int, int], optional
        Points in polar direction and around; by default the fewest that are exact, those
        for degree first + second + third. One fewer of either is wrong by a quarter.

    References
    ----------
    Xie et al., The Price of Freedom, arXiv:2506.13523, for the grid; Luo et al., Gaunt
    Tensor Products, arXiv:2401.10216, for the product.
    """

    def __init__(
        self,
        first: int,
        second: int,
        third: int,
        channels: int,
        grid: tuple[int, int] | None = None,
    ):
        super().__init__(first, second, third, channels)
        points, weights = sphere(*(grid or exact_grid(first + second + third)))
        values = solid_harmonics(points, max(first, second, third))
        self.to_first: Tensor
        self.to_second: Tensor
        self.back: Tensor
        for name, matrix in (
            ("to_first", values[:, : count(first)]),
            ("to_second", values[:, : count(second)]),
            ("back", (weights[:, None] * values[:, : count(third)]).mT),
        ):
            self.register_buffer(name, matrix.contiguous(), persistent=False)

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        """Pointwise on the grid."""
        one, other, back = (m.to(x.dtype) for m in (self.to_first, self.to_second, self.back))
        return back @ ((one @ x) * (other @ y))


def fourier_coefficients(degree: int) -> NDArray[np.complex128]:
    """Harmonics up to `degree` as trigonometric polynomials of both angles.

    Returns
    -------
    ndarray
        ((L + 1)^2, 2 L + 1, 2 L + 1): coefficients of exp(i (u theta + v phi)), u and v
        from -L to L. Theta runs through the whole circle: a harmonic of odd order
        changes its sign where theta does.
    """
    size = 2 * degree + 1
    angle = 2 * math.pi * np.arange(size) / size
    theta, phi = angle[:, None], angle[None]
    axes = np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi, np.sin(theta) * np.cos(phi)
    values = solid_harmonics(torch.from_numpy(np.stack(axes, -1)), degree).numpy()
    found = np.fft.fftshift(np.fft.fft2(values, axes=(0, 1)), axes=(0, 1)) / size**2
    return np.moveaxis(found, -1, 0)


def fourier_integrals(outer: int, third: int) -> NDArray[np.complex128]:
    """Integrals over the sphere of exp(i (u theta + v phi)) times each harmonic.

    Returns
    -------
    ndarray
        (2 outer + 1, 2 outer + 1, (third + 1)^2), in closed form: the integral of
        exp(i k theta) from 0 to pi is pi at k = 0, 2 i / k at odd k, and 0 elsewhere.
    """
    known = fourier_coefficients(third)
    # times sin(theta): orders of theta shift by one
    shifted = np.zeros((len(known), 2 * third + 3, 2 * third + 1), complex)
    shifted[:, 2:] += known / 2j
    shifted[:, :-2] -= known / 2j
    u = np.arange(-outer, outer + 1)
    order = u[:, None] + np.arange(-third - 1, third + 2)[None]
    odd = order % 2 == 1
    line = np.where(odd, 2j / np.where(odd, order, 1), np.where(order == 0, math.pi, 0))
    # around, only orders that cancel remain
    around = 2 * math.pi * (u[:, None] + np.arange(-third, third + 1)[None] == 0)
    return np.einsum("up,vq,kpq->uvk", line, around, shifted)


class GauntFourier(GauntProduct):
    """The Gaunt product by Fourier series of both angles, convolved by FFT.

    References
    ----------
    Luo, Chen and Krishnapriyan, Gaunt Tensor Products, arXiv:2401.10216, section 3.
    """

    def __init__(self, first: int, second: int, third: int, channels: int):
        super().__init__(first, second, third, channels)
        self.outer = first + second
        for name, degree in (("of_first", first), ("of_second", second)):
            coefficients = fourier_coefficients(degree)
            pad = self.outer - degree
            wide = np.pad(coefficients, ((0, 0), (pad, pad), (pad, pad)))
            # the series' order 0 comes first, as the FFT has it
            self._keep(name, np.fft.ifftshift(wide, axes=(1, 2)))
        integrals = fourier_integrals(self.outer, third)
        self._keep("integrals", np.fft.ifftshift(integrals, axes=(0, 1)))

    def _keep(self, name: str, table: NDArray[np.complex128]) -> None:
        # real and imaginary parts apart, so that the module's dtype carries over
        both = torch.view_as_real(torch.from_numpy(np.ascontiguousarray(table)))
        self.register_buffer(name, both, persistent=False)

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        """By series."""
        one, other, back = (
            torch.view_as_complex(self.get_buffer(name).to(x.dtype).contiguous())
            for name in ("of_first", "of_second", "integrals")
        )
        values = [
            torch.fft.ifft2(torch.einsum("kuv,...kc->...cuv", table, part_.to(table.dtype)))
            for table, part_ in ((one, x), (other, y))
        ]
        series = torch.fft.fft2(values[0] * values[1]) * (2 * self.outer + 1) ** 2
        return torch.einsum("...cuv,uvk->...kc", series, back).real


PRODUCTS: dict[ProductName, type[ClebschGordanProduct] | type[GauntProduct]] = {
    "clebsch-gordan": ClebschGordanProduct,
    "gaunt-grid": GauntGrid,
    "gaunt-fourier": GauntFourier,
}


def make_product(name: ProductName, degree: int, channels: int) -> nn.Module:
    """A product of two features up to `degree`, cut to that degree."""
    return PRODUCTS[name](degree, degree, degree, channels)


@torch.no_grad()
def product_ms(
    name: ProductName, degree: int, repeats: int, pairs: int = 2000, channels: int = 8
) -> float:
    """Milliseconds of CPU that a product of so many pairs takes: the least of the times."""
    product = make_product(name, degree, channels)
    draw = torch.Generator(device="cpu").manual_seed(0)
    shape = (2, pairs, count(degree), channels)
    x, y = torch.randn(shape, generator=draw, device="cpu")
    product(x, y)  # what only the first call costs
    spent = []
    for _ in range(repeats):
        begun = time.process_time()
        product(x, y)
        spent.append(time.process_time() - begun)
    return 1000 * min(spent)
