"""The symmetry report: injected breakings are found, by their sizes, and nothing else."""

from __future__ import annotations

import doctest

import pytest
import torch

from equidrift.errors import InputError
from equidrift.models.shared.backbones import frames, symmetry
from equidrift.models.shared.backbones.choice import TRUNKS, make_trunk
from equidrift.models.shared.backbones.symmetry import symmetry_report
from equidrift.models.shared.backbones.trunk import Edges, Features, Globals, Sizes

SHARES = pytest.mark.parametrize("share", [0.0, 0.1, 0.5])


def clouds(count=512, nodes=5):
    draw = torch.Generator().manual_seed(12)
    return torch.randn(count, nodes, 3, generator=draw, dtype=torch.float64)


def springs(x):
    """Vectors of mean square 1 on every component, which keep every symmetry."""
    y = x - x.mean(1, keepdim=True)
    return y / (1 - 1 / x.shape[1]) ** 0.5


def broken(share, extra):
    """Springs, and a share of the mean square of something else."""
    return lambda x: (1 - share) ** 0.5 * springs(x) + share**0.5 * extra(x)


def field(x):
    """A field along z, of mean square 1 a component as the springs."""
    return (3**0.5 * torch.tensor([0.0, 0.0, 1.0], dtype=x.dtype)).expand(x.shape)


def place(x):
    """A force that depends on where the origin is."""
    return x.mean(1, keepdim=True).expand(x.shape) * x.shape[1] ** 0.5


def numbering(x):
    """A force that the first node alone feels."""
    first = torch.zeros(x.shape[1], 1, dtype=x.dtype)
    first[0] = x.shape[1] ** 0.5
    return springs(x) * first


@SHARES
def test_a_field_breaks_what_turns_its_direction_and_nothing_else(share):
    report = symmetry_report(broken(share, field), clouds(), output="vectors")
    for name in ("rotations about x", "rotations about y", "all rotations", "inversion"):
        assert abs(report[name].share - share) < 0.03, name
    assert abs(report["mirror across z"].share - share) < 0.03
    for name in ("rotations about z", "mirror across x", "mirror across y", "translations"):
        assert report[name].share < 1e-12
    assert report["order of nodes"].share < 1e-12


@SHARES
def test_a_force_that_knows_the_origin_breaks_translations(share):
    report = symmetry_report(broken(share, place), clouds(), output="vectors")
    # shifts as long as the data's spread add their own mean square to the origin's
    added = 5 * share
    assert abs(report["translations"].share - added / (1 + added)) < 0.06
    assert report["all rotations"].share < 1e-12


@SHARES
def test_a_force_that_knows_the_numbering_breaks_the_order_of_nodes(share):
    report = symmetry_report(broken(share, numbering), clouds(), output="vectors")
    # the part of the numbering's force that the average over orders does not keep
    kept = (1 - share) ** 0.5 + (share / 5) ** 0.5
    whole = 1 + 2 * (share * (1 - share) / 5) ** 0.5
    assert abs(report["order of nodes"].share - (1 - kept**2 / whole)) < 0.03
    assert report["translations"].share < 1e-12


def test_a_matrix_that_is_bent_along_z_is_found():
    def inertia(x):
        y = springs(x)
        matrix = y.mT @ y / x.shape[1]
        z = torch.tensor([0.0, 0.0, 1.0], dtype=x.dtype)
        return matrix + 0.3 * (matrix @ z)[:, :, None] * z

    report = symmetry_report(inertia, clouds(), output="matrices")
    assert report["rotations about z"].share < 1e-12
    assert report["rotations about x"].share > 0.01


def test_a_model_that_is_fitted_to_data_tells_what_the_data_break():
    """Least squares on coordinates alone: the model knows no symmetry, the data do."""
    x = clouds(1024)
    wanted = broken(0.1, field)(x).flatten(1)
    known = torch.cat([x.flatten(1), torch.ones(len(x), 1, dtype=x.dtype)], 1)
    solution = torch.linalg.lstsq(known, wanted).solution

    def model(some):
        one = torch.ones(len(some), 1, dtype=some.dtype)
        return (torch.cat([some.flatten(1), one], 1) @ solution).reshape(some.shape)

    report = symmetry_report(model, x, output="vectors")
    assert abs(report["rotations about x"].share - 0.1) < 0.02
    assert report["rotations about z"].share < 1e-3
    assert "rotations about x" in str(report) and "1024 systems" in str(report)


@pytest.mark.long
@pytest.mark.parametrize("name", TRUNKS)
def test_a_trunk_breaks_no_symmetry_that_it_promises(name):
    sizes = Sizes(width=8, layers=1, scalars=1, out_vectors=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = make_trunk(name, sizes).double()

    def forces(x):
        b, n, _ = x.shape
        nodes = torch.ones(b, n, dtype=torch.bool)
        edges = Edges.complete(nodes, x.new_zeros(b, n, n, 0))
        given = Features(x.new_ones(b, n, 1), x.new_zeros(b, n, 3, 0))
        return trunk(given, x, edges, Globals(x.new_zeros(b, 0), x.new_zeros(b, 3, 0))).vectors[
            ..., 0
        ]

    report = symmetry_report(forces, clouds(12), output="vectors")
    assert report["translations"].share < 1e-20 and report["order of nodes"].share < 1e-20
    if trunk.symmetry.rotations == "all":
        assert report["all rotations"].share < 1e-20
    else:  # the grid's gap, untrained
        assert 1e-9 < report["all rotations"].share < 0.2
    assert (report["inversion"].share < 1e-20) is trunk.symmetry.mirrors


def test_wrong_data_and_wrong_outputs_are_refused():
    with pytest.raises(InputError, match="give \\(m, n, 3\\)"):
        symmetry_report(lambda x: x.sum(-1), torch.zeros(4, 3))
    with pytest.raises(InputError, match="are no vectors"):
        symmetry_report(lambda x: x[..., :2], clouds(4), output="vectors")
    with pytest.raises(InputError, match="has no symmetry 'spin'; it has"):
        symmetry_report(lambda x: x.sum((1, 2)), clouds(4))["spin"]


@pytest.mark.parametrize("module", [symmetry, frames])
def test_examples_in_docstrings_hold(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed
