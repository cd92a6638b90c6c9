"""Symmetries of the conformer network, and its Newton step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equidrift.models.shared.backbones.conformer import ConformerNetwork
from equidrift.models.shared.graph_codes import (
    Batch,
    collate,
    graph_codes,
    pad_positions,
    with_hydrogen_rows,
)
from equidrift.models.shared.newton import MAX_MOVE_A, distances, newton_step
from tests.models.networks import conformer, small_network

SMILES = ("C[C@H](N)C(=O)O", "F/C=C/Cl", "C1CC1O")
LEVEL = 1


def inputs(smiles: tuple[str, ...] = SMILES) -> tuple[Batch, torch.Tensor]:
    """A batch of molecules and their shaken positions in float64."""
    pairs = [conformer(text) for text in smiles]
    batch = collate([with_hydrogen_rows(graph_codes(molecule)) for molecule, _ in pairs])
    rng = np.random.default_rng(1)
    x = pad_positions(
        [x + 0.1 * rng.standard_normal(x.shape) for _, x in pairs], batch.mask.shape[1]
    )
    return batch, x.double()


def call(network: ConformerNetwork, batch: Batch, x: torch.Tensor) -> list[torch.Tensor]:
    sigma = torch.full((len(x),), 0.7, dtype=x.dtype) if network.noise is not None else None
    with torch.inference_mode():
        return [
            out * batch.mask[..., None]
            for out in network(batch, x, torch.full((len(x),), LEVEL), sigma)
        ]


def rotation(seed: int, *, reflect: bool = False) -> torch.Tensor:
    q, _ = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )
    return q * torch.linalg.det(q) * (-1 if reflect else 1)


@pytest.mark.parametrize(("noise", "reflect"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("seed", [0, 1])
def test_network_turns_and_moves_with_its_input(noise: bool, reflect: bool, seed: int) -> None:
    network = small_network(noise=noise).double()
    batch, x = inputs()
    q, shift = rotation(seed, reflect=reflect), torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    if noise:  # the generator scales its input about the origin: it is given centred positions
        shift = shift * 0
    moved = (x @ q + shift) * batch.mask[..., None]
    for before, after in zip(call(network, batch, x), call(network, batch, moved), strict=True):
        assert (before - x).abs().max() > 0.01, "the network does something"
        # not 1e-12: the floor of the Newton matrix is its largest entry times 1e-5,
        # which depends a little on the frame
        torch.testing.assert_close(
            after, (before @ q + shift) * batch.mask[..., None], atol=2e-5, rtol=0
        )


@pytest.mark.parametrize("noise", [False, True])
def test_equivariance_is_exact_where_axes_are_exchanged(noise: bool) -> None:
    """There the largest entry stays the same, so that nothing but rounding is left."""
    network = small_network(noise=noise).double()
    batch, x = inputs()
    q = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(
        call(network, batch, x @ q)[-1], call(network, batch, x)[-1] @ q, atol=1e-9, rtol=0
    )


def test_generator_is_equivariant_under_translation_about_its_scaling() -> None:
    """With noise, x is scaled by c_in first: a shift comes out scaled by the same
    factor.
    """
    network = small_network(noise=True).double()
    batch, x = inputs(SMILES[:1])
    shift = torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64)
    factor = 1.4 / np.hypot(0.7, 1.4)
    torch.testing.assert_close(
        call(network, batch, x + shift)[-1],
        call(network, batch, x)[-1] + factor * shift,
        atol=1e-6,
        rtol=0,
    )


def test_generator_tells_mirror_images_apart() -> None:
    network = small_network(noise=True).double()
    batch, x = inputs(SMILES[:1])
    q = rotation(0, reflect=True)
    assert (call(network, batch, x @ q)[-1] - call(network, batch, x)[-1] @ q).abs().max() > 1e-3


@pytest.mark.parametrize("noise", [False, True])
def test_permutation_equivariance(noise: bool) -> None:
    network = small_network(noise=noise).double()
    batch, x = inputs(SMILES[:1])
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    permuted = Batch(
        batch.atom[:, order],
        batch.pair[:, order][:, :, order],
        batch.mask[:, order],
        place[batch.tetrahedral],
    )
    torch.testing.assert_close(
        call(network, permuted, x[:, order])[-1],
        call(network, batch, x)[-1][:, order],
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize("noise", [False, True])
def test_padding_changes_nothing(noise: bool) -> None:
    """float32, as in use: a molecule alone or beside a bigger one."""
    network = small_network(noise=noise)
    batch, x = inputs(("CCO", "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O"))
    alone, y = collate([with_hydrogen_rows(graph_codes(conformer("CCO")[0]))]), x[:1, :9]
    torch.testing.assert_close(
        call(network, batch, x.float())[-1][:1, :9],
        call(network, alone, y.float())[-1],
        atol=1e-4,
        rtol=0,
    )


def test_newton_steps_recover_exact_distances() -> None:
    _, clean = conformer("C[C@H](N)C(=O)O")
    x = torch.from_numpy(clean)[None]
    target = distances(x)[1]
    n = x.shape[1]
    stiffness = torch.ones(1, n, n, dtype=x.dtype) - torch.eye(n, dtype=x.dtype)
    anchor = torch.full((1, n), 1e-6, dtype=x.dtype)
    moved = x + 0.1 * torch.randn(
        x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype
    )
    start = moved
    for _ in range(8):
        moved = newton_step(moved, start, target, stiffness, anchor)
    assert (distances(moved)[1] - target).abs().max() < 1e-4


def test_newton_step_solves_a_quadratic() -> None:
    """Without stiffness the function is the anchor's: one step ends at the start
    geometry.
    """
    start = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]], dtype=torch.float64)
    zero = torch.zeros(1, 2, 2, dtype=torch.float64)
    anchor = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    x = newton_step(start + 0.3, start, zero, zero, anchor)
    torch.testing.assert_close(x, start, atol=1e-10, rtol=0)
    # two atoms on a line: w (d - t)^2 / 2 a pair counted twice against two anchors,
    # minimum at d = (2 w t + a) / (2 w + a) for d0 = 1
    w = torch.tensor([[[0.0, 3.0], [3.0, 0.0]]], dtype=torch.float64)
    x = newton_step(
        start, start, 1.5 * torch.ones_like(w), w, torch.ones(1, 2, dtype=torch.float64)
    )
    assert float(distances(x)[1][0, 0, 1]) == pytest.approx(
        (2 * 3.0 * 1.5 + 1.0) / (2 * 3.0 + 1.0), abs=1e-4
    )


def test_long_steps_are_shortened() -> None:
    start = torch.zeros(1, 3, 3, dtype=torch.float64)
    far = start + torch.tensor(
        [[[100.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]], dtype=torch.float64
    )
    zero = torch.zeros(1, 3, 3, dtype=torch.float64)
    move = newton_step(far, start, zero, zero, torch.ones(1, 3, dtype=torch.float64)) - far
    assert float(move.norm(dim=-1).max()) == pytest.approx(MAX_MOVE_A)
    assert float(move[0, 1].norm()) == pytest.approx(MAX_MOVE_A / 100), (
        "the step keeps its direction"
    )


def test_coinciding_atoms_give_finite_results_and_gradients() -> None:
    network = small_network()
    batch, x = inputs(SMILES[:1])
    x = (x * 0).float().requires_grad_()
    out = network(batch, x, torch.tensor([LEVEL]))[-1]
    out.sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(x.grad).all()
