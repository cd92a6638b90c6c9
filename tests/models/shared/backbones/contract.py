"""What every trunk must keep: a test class of a trunk inherits `TrunkContract`.

Gaps are relative to the size of the outputs. Every parameter is random, so that no path
through a trunk is switched off.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.shared.backbones.trunk import Edges, Features, Globals, Inputs, Sizes, Trunk
from tests.models.shared.backbones.molecules import MOLECULES, inputs
from tests.models.shared.backbones.rotations import about, icosahedral, random_rotations
from tests.models.shared.other_device import OtherDevice, mark, marked, move

SIZES = Sizes(
    scalars=2,
    vectors=2,
    edges=1,
    global_scalars=1,
    global_vectors=1,
    out_scalars=2,
    out_vectors=2,
    width=8,
    layers=2,
)
GAPS = {torch.float64: 1e-12, torch.float32: 2e-5}
DTYPES = pytest.mark.parametrize("dtype", list(GAPS), ids=["float64", "float32"])
NAMES = pytest.mark.parametrize("name", list(MOLECULES))
ENANTIOMERS = "CHFClBr"
STEP = 1e-4  # A, of central differences: their error is then of the order 1e-8


def awake(trunk: Trunk, seed: int = 0) -> Trunk:
    """The trunk with every parameter moved at random, those that began at zero too."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in trunk.parameters():
            scale = 0.2 if p.ndim < 2 else 0.3 * p.shape[-1] ** -0.5
            p.add_(scale * torch.randn(p.shape, generator=draw).to(p))
    return trunk


def turned(given: Inputs, turn: Tensor) -> Inputs:
    """The inputs with everything that has a direction turned by an orthogonal matrix."""
    features, positions, edges, known = given
    return Inputs(
        Features(features.scalars, turn @ features.vectors),
        positions @ turn.mT,
        edges,
        Globals(known.scalars, turn @ known.vectors),
    )


def reordered(given: Inputs, order: Tensor) -> Inputs:
    """The inputs with their nodes in another order."""
    (scalars, vectors), positions, edges, known = given
    ordered = Edges(
        edges.features[:, order][:, :, order],
        edges.linked[:, order][:, :, order],
        edges.nodes[:, order],
    )
    features = Features(scalars[:, order], vectors[:, order])
    return Inputs(features, positions[:, order], ordered, known)


def padded(given: Inputs, extra: int, rubbish: float) -> Inputs:
    """The inputs with nodes that do not exist, full of rubbish."""

    def widen(part: Tensor, *axes: int) -> Tensor:
        for axis in axes:
            shape = [*part.shape[:axis], extra, *part.shape[axis + 1 :]]
            part = torch.cat([part, part.new_full(shape, rubbish)], axis)
        return part

    (scalars, vectors), positions, edges, known = given
    nodes = torch.cat([edges.nodes, edges.nodes.new_zeros(len(positions), extra)], 1)
    return Inputs(
        Features(widen(scalars, 1), widen(vectors, 1)),
        widen(positions, 1),
        Edges.complete(nodes, widen(edges.features, 1, 2)),
        known,
    )


def gap(one: Tensor, other: Tensor) -> float:
    """Largest difference, relative to the largest number."""
    one, other = one.detach(), other.detach()
    return float((one - other).abs().max() / one.abs().max().clamp_min(1e-3))


def forces(trunk: Trunk, given: Inputs) -> Tensor:
    """Minus the gradient (n, 3) of an energy: the sum of the nodes' first scalar."""
    features, positions, edges, known = given
    x = positions.detach().clone().requires_grad_()
    energy = trunk(features, x, edges, known).scalars[..., 0].sum()
    return -torch.autograd.grad(energy, x)[0][0]


class TrunkContract:
    """The suite; a subclass says how its trunk is made."""

    def make(self, sizes: Sizes) -> Trunk:
        """A trunk of these sizes."""
        raise NotImplementedError

    def trunk(self, dtype: torch.dtype = torch.float64, sizes: Sizes = SIZES) -> Trunk:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return awake(self.make(sizes)).to(dtype).eval()

    def rotations(self, trunk: Trunk, dtype: torch.dtype) -> Tensor:
        """Rotations under which the trunk promises to be exact."""
        some = icosahedral() if trunk.symmetry.rotations == "icosahedral" else random_rotations(4)
        return some.to(dtype)

    @DTYPES
    @NAMES
    @pytest.mark.parametrize("vectors", [False, True], ids=["still", "moving"])
    def test_outputs_turn_with_the_inputs(self, name, dtype, vectors):
        trunk, given = self.trunk(dtype), inputs(name, SIZES, dtype, vectors=vectors)
        scalars, vectors = trunk(*given)
        for turn in self.rotations(trunk, dtype):
            found = trunk(*turned(given, turn))
            assert gap(scalars, found.scalars) < GAPS[dtype]
            assert gap(turn @ vectors, found.vectors) < GAPS[dtype]

    @DTYPES
    @NAMES
    def test_outputs_stay_when_all_positions_are_moved(self, name, dtype):
        trunk, given = self.trunk(dtype), inputs(name, SIZES, dtype, vectors=True)
        features, positions, edges, known = given
        move = torch.tensor([0.7, -1.3, 2.1], dtype=dtype)
        for one, other in zip(
            trunk(*given), trunk(features, positions + move, edges, known), strict=True
        ):
            assert gap(one, other) < 4 * GAPS[dtype]

    @DTYPES
    @NAMES
    def test_mirror_images_are_told_apart_only_where_the_trunk_says_so(self, name, dtype):
        trunk, given = self.trunk(dtype), inputs(name, SIZES, dtype, vectors=True)
        mirror = -torch.eye(3, dtype=dtype)  # the inversion; with rotations, any mirror
        scalars, vectors = trunk(*given)
        found = trunk(*turned(given, mirror))
        if trunk.symmetry.mirrors:
            assert gap(scalars, found.scalars) < GAPS[dtype]
            assert gap(-vectors, found.vectors) < GAPS[dtype]
        elif name == ENANTIOMERS:
            assert gap(scalars, found.scalars) > 1e3 * GAPS[torch.float64]

    @pytest.mark.parametrize("dtype", [torch.float64])
    def test_chirality_is_told_by_scalars_where_the_trunk_says_so(self, dtype):
        still = replace(SIZES, vectors=0, global_vectors=0)
        trunk, given = self.trunk(dtype, still), inputs(ENANTIOMERS, still, dtype)
        other = trunk(*turned(given, -torch.eye(3, dtype=dtype)))
        told = gap(trunk(*given).scalars, other.scalars)
        assert told < 1e-12 if trunk.symmetry.mirrors else told > 1e-7

    @DTYPES
    @NAMES
    def test_outputs_follow_the_order_of_the_nodes(self, name, dtype):
        trunk, given = self.trunk(dtype), inputs(name, SIZES, dtype, vectors=True)
        n = given[1].shape[1]
        order = torch.randperm(n, generator=torch.Generator().manual_seed(5))
        for one, other in zip(trunk(*given), trunk(*reordered(given, order)), strict=True):
            assert gap(one[:, order], other) < GAPS[dtype]

    @DTYPES
    @NAMES
    def test_nodes_that_do_not_exist_change_nothing(self, name, dtype):
        trunk, given = self.trunk(dtype), inputs(name, SIZES, dtype, vectors=True)
        n = given[1].shape[1]
        for one, other in zip(trunk(*given), trunk(*padded(given, 2, 0.9)), strict=True):
            assert gap(one, other[:, :n]) < GAPS[dtype]
            assert not other[:, n:].any()

    @NAMES
    def test_a_system_is_the_same_alone_and_in_a_batch(self, name):
        trunk = self.trunk()
        given = inputs(name, SIZES, torch.float64, vectors=True)
        other = turned(given, random_rotations(1)[0])
        other = other[0], 1.1 * other[1], *other[2:]
        both = tuple(
            type(a)(*(torch.cat([p, q]) for p, q in zip(parts(a), parts(b), strict=True)))
            if not isinstance(a, Tensor)
            else torch.cat([a, b])
            for a, b in zip(given, other, strict=True)
        )
        together = trunk(*both)
        for k, one in enumerate((given, other)):
            for alone, part in zip(trunk(*one), together, strict=True):
                assert gap(alone, part[k : k + 1]) < 1e-12

    @NAMES
    def test_forces_are_those_of_finite_differences(self, name):
        trunk, given = self.trunk(), inputs(name, SIZES, torch.float64)
        features, positions, edges, known = given
        found = forces(trunk, given)
        for atom, axis in ((0, 0), (1, 2), (2, 1)):
            step = torch.zeros_like(positions)
            step[0, atom, axis] = STEP
            up, down = (
                trunk(features, positions + sign * step, edges, known).scalars[..., 0].sum()
                for sign in (1, -1)
            )
            expected = (down - up) / (2 * STEP)
            assert abs(found[atom, axis] - expected) < 1e-6 * max(1.0, float(found.abs().max()))

    @DTYPES
    @NAMES
    def test_forces_have_no_net_force_and_no_net_torque(self, name, dtype):
        free = replace(SIZES, global_vectors=0)
        trunk, given = self.trunk(dtype, free), inputs(name, free, dtype)
        force, x = forces(trunk, given), given[1][0]
        assert force.isfinite().all()
        size = force.norm(dim=-1).sum().clamp_min(1e-3)
        assert force.sum(0).norm() < 5 * GAPS[dtype] * size
        if trunk.symmetry.rotations == "all":
            torque = torch.linalg.cross(x, force).sum(0)
            assert torque.norm() < 20 * GAPS[dtype] * size

    @NAMES
    def test_every_parameter_and_position_has_a_finite_second_derivative(self, name):
        trunk, given = self.trunk(torch.float32), inputs(name, SIZES, torch.float32)
        features, positions, edges, known = given
        x = positions.clone().requires_grad_()
        scalars, vectors = trunk(features, x, edges, known)
        force = torch.autograd.grad(scalars.sum(), x, create_graph=True)[0]
        loss = force.square().sum() + vectors.square().sum()
        found = torch.autograd.grad(loss, list(trunk.parameters()), allow_unused=True)
        assert all(g.isfinite().all() for g in found if g is not None)

    def test_nothing_is_made_on_another_device_than_the_inputs(self):
        trunk, given = self.trunk(), inputs("CO2", SIZES, torch.float64, vectors=True)
        with OtherDevice():
            move(trunk)
            for record in given:
                mark([record] if isinstance(record, Tensor) else list(parts(record)), True)
            assert all(marked(part) for part in trunk(*given))

    def test_every_parameter_changes_the_outputs(self):
        trunk = self.trunk()
        scalars, vectors = trunk(*inputs(ENANTIOMERS, SIZES, torch.float64, vectors=True))
        (scalars.square().sum() + vectors.square().sum()).backward()
        silent = [
            name
            for name, p in trunk.named_parameters()
            if p.requires_grad and (p.grad is None or not p.grad.any())
        ]
        assert not silent

    def test_a_global_vector_holds_the_symmetry_about_its_axis_alone(self):
        trunk = self.trunk()
        given = inputs(ENANTIOMERS, SIZES, torch.float64)
        features, _, edges, known = given
        axis = known.vectors[0, :, 0] / known.vectors[0, :, 0].norm()
        across = torch.linalg.cross(axis, torch.tensor([1.0, 0, 0], dtype=axis.dtype))
        for direction, exact in ((axis, True), (across / across.norm(), False)):
            if exact and trunk.symmetry.rotations != "all":
                continue
            turn = about(direction, 0.9)
            found = trunk(features, given[1] @ turn.mT, edges, known)
            difference = gap(turn @ trunk(*given).vectors, found.vectors)
            assert difference < 1e-12 if exact else difference > 1e-6

    @pytest.mark.parametrize("part", range(4))
    def test_a_wrong_shape_is_refused_by_its_name(self, part):
        trunk, given = self.trunk(), list(inputs("water", SIZES, torch.float64))
        wrong = inputs("water", replace(SIZES, scalars=5, edges=3, global_scalars=4), torch.float64)
        given[part] = wrong[part] if part != 1 else given[1][..., :2]
        with pytest.raises(InputError, match=r"has the shape .* takes \("):
            trunk(*given)


def parts(value: Features | Edges | Globals) -> tuple[Tensor, ...]:
    """The tensors of a record."""
    return (value.features, value.linked, value.nodes) if isinstance(value, Edges) else tuple(value)
