"""Spherical features: harmonics, couplings, and the three products of them.

The oracles are sympy's exact coefficients and, where it is installed, e3nn.
"""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from equidrift.models.shared.backbones.harmonics import (
    clebsch_gordan,
    count,
    coupling,
    gaunt_factor,
    part,
    paths,
    solid_harmonics,
)
from equidrift.models.shared.backbones.products import (
    ClebschGordanProduct,
    GauntFourier,
    GauntGrid,
    exact_grid,
    sphere,
)
from equidrift.models.shared.backbones.spherical import SphericalNetwork
from tests.models.shared.backbones.contract import TrunkContract
from tests.models.shared.backbones.rotations import random_rotations

LIMITS = [(1, 1, 1), (2, 2, 2), (2, 1, 3), (3, 3, 3), (2, 2, 4)]
GAUNT = pytest.mark.parametrize("product", [GauntGrid, GauntFourier])


class TestSphericalClebschGordan(TrunkContract):
    def make(self, sizes):
        return SphericalNetwork(sizes)


class TestSphericalGauntGrid(TrunkContract):
    def make(self, sizes):
        return SphericalNetwork(sizes, product="gaunt-grid")


class TestSphericalGauntFourier(TrunkContract):
    def make(self, sizes):
        return SphericalNetwork(sizes, degree=1, product="gaunt-fourier")


def e3nn_o3():
    """e3nn's tensors. It is a host of the tests alone (extra `test`)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("e3nn.o3")


def draw(*shape):
    generator = torch.Generator().manual_seed(6)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def as_matrix(turn: torch.Tensor, degree: int) -> torch.Tensor:
    """What a rotation does to the coefficients of all degrees, by least squares."""
    points = draw(4 * count(degree), 3)
    plain, turned = solid_harmonics(points, degree), solid_harmonics(points @ turn.mT, degree)
    return torch.linalg.lstsq(plain, turned).solution.mT


@pytest.fixture
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def test_harmonics_are_orthonormal_over_the_sphere():
    points, weights = sphere(7, 13)
    values = solid_harmonics(points, 6)
    gram = values.mT @ (weights[:, None] * values)
    assert (gram - torch.eye(49)).abs().max() < 1e-13


def test_harmonics_of_degree_one_are_the_vector():
    vectors = draw(5, 3)
    found = solid_harmonics(vectors, 1)[:, 1:]
    assert (found - math.sqrt(3 / (4 * math.pi)) * vectors).abs().max() < 1e-14


def test_harmonics_equal_e3nns():
    vectors = torch.nn.functional.normalize(draw(9, 3), dim=-1)
    theirs = e3nn_o3().spherical_harmonics(list(range(7)), vectors, False, "integral")
    assert (solid_harmonics(vectors, 6) - theirs).abs().max() < 1e-13


def test_couplings_equal_e3nns():
    o3 = e3nn_o3()
    for path in paths(4, 4, 4):
        theirs = o3.wigner_3j(*path, dtype=torch.float64)
        assert (torch.from_numpy(coupling(path).copy()) - theirs).abs().max() < 1e-12, path


def test_coefficients_equal_sympys():
    cg = pytest.importorskip("sympy.physics.wigner").clebsch_gordan
    for path in [(1, 1, 1), (1, 2, 2), (2, 2, 3), (3, 2, 4)]:
        a, b, c = path
        for m1 in range(-a, a + 1):
            for m2 in range(-b, b + 1):
                exact = float(cg(a, b, c, m1, m2, m1 + m2))
                assert abs(clebsch_gordan(path, m1, m2) - exact) < 1e-13


def test_couplings_are_invariant_tensors():
    turn = as_matrix(random_rotations(1)[0], 4)
    for path in paths(3, 3, 4):
        tensor = torch.from_numpy(coupling(path).copy())
        blocks = [turn[part(k), part(k)] for k in path]
        assert (torch.einsum("ijk,ia,jb,kc->abc", tensor, *blocks) - tensor).abs().max() < 1e-12


def test_integrals_of_three_harmonics_are_couplings_times_gaunts_factor():
    points, weights = sphere(40, 81)
    values = solid_harmonics(points, 4)
    for path in paths(4, 4, 4):
        three = [values[:, part(k)] for k in path]
        integral = torch.einsum("g,gi,gj,gk->ijk", weights, *three)
        expected = gaunt_factor(path) * torch.from_numpy(coupling(path).copy())
        assert (integral - expected).abs().max() < 1e-12, path


@GAUNT
@pytest.mark.parametrize("limits", LIMITS)
def test_a_gaunt_product_is_the_contraction_with_the_integrals(double, product, limits):
    x, y = draw(5, count(limits[0]), 2), draw(5, count(limits[1]), 2)
    expected = torch.zeros(5, count(limits[2]), 2)
    for path in paths(*limits):
        tensor = gaunt_factor(path) * torch.from_numpy(coupling(path).copy())
        a, b, c = map(part, path)
        expected[:, c] += torch.einsum("nic,njc,ijk->nkc", x[:, a], y[:, b], tensor)
    assert (product(*limits, 2)(x, y) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("limits", [(2, 2, 2), (3, 3, 3)])
@pytest.mark.parametrize("fewer", [(1, 0), (0, 1)])
def test_one_grid_point_fewer_is_wrong(double, limits, fewer):
    n_polar, n_around = exact_grid(sum(limits))
    coarse = GauntGrid(*limits, 1, grid=(n_polar - fewer[0], n_around - fewer[1]))
    # unit features of the highest degrees
    wrong = []
    for k in range(2 * limits[0] + 1):
        x = torch.zeros(1, count(limits[0]), 1)
        x[0, part(limits[0])][k] = 1
        wrong.append((coarse(x, x) - GauntGrid(*limits, 1)(x, x)).abs().max())
    assert max(wrong) > 0.1


@pytest.mark.parametrize("product", [ClebschGordanProduct, GauntGrid, GauntFourier])
@pytest.mark.parametrize("degree", [1, 3])
def test_a_product_turns_with_its_features(double, product, degree):
    turn = as_matrix(random_rotations(1)[0], degree)
    x, y = draw(4, count(degree), 2), draw(4, count(degree), 2).flip(0)
    make = product(degree, degree, degree, 2)
    assert (make(turn @ x, turn @ y) - turn @ make(x, y)).abs().max() < 1e-12


@GAUNT
def test_the_cross_product_is_lost_to_gaunt_and_kept_by_clebsch_gordan(double, product):
    x, y = torch.zeros(2, 4, 1), torch.zeros(2, 4, 1)
    x[:, 1:], y[:, 1:] = draw(2, 3, 1), draw(2, 3, 1).flip(0)
    assert product(1, 1, 1, 1)(x, y)[:, 1:].abs().max() < 1e-15
    kept = ClebschGordanProduct(1, 1, 1, 1)(x, y)[:, 1:, 0]
    cross = torch.linalg.cross(x[:, 1:, 0], y[:, 1:, 0])
    assert (torch.linalg.cross(kept, cross)).norm() < 1e-12 < kept.norm()


@pytest.mark.parametrize(
    ("degree", "kept", "every"), [(1, 4, 5), (2, 11, 15), (3, 23, 34), (4, 42, 65), (6, 106, 175)]
)
def test_gaunt_keeps_the_couplings_whose_degrees_sum_to_an_even_number(degree, kept, every):
    found = paths(degree, degree, degree)
    assert len(found) == every
    assert sum(abs(gaunt_factor(path)) > 1e-12 for path in found) == kept
