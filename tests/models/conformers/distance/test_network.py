"""The dual network: symmetries, edge types, padding, preconditioning, and that it
learns.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from equidrift.models.conformers.distance.network import (
    EDGE_AROMATIC,
    EDGE_DOUBLE,
    EDGE_FAR,
    EDGE_HOP2,
    EDGE_HOP3,
    EDGE_OTHER,
    EDGE_SINGLE,
    DistanceConfig,
    DistanceNetwork,
    edge_types,
    element_index,
    pair_indices,
)
from equidrift.models.conformers.distance.objective import (
    DistanceBatch,
    denoising_loss,
    stratified_log_sigma,
)

CHAIN = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [1, 6]])


def network(seed: int = 0) -> DistanceNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = DistanceNetwork(DistanceConfig(hidden=16, global_layers=2, local_layers=2))
        for head in net.heads:
            torch.nn.init.normal_(head["tail"][-1].weight)
    return net


def inputs(count: int = 3, n: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, n, 3, generator=generator) * 2.0
    elements = torch.from_numpy(element_index(np.array([6, 6, 7, 8, 1, 1, 9])[:n])).expand(count, n)
    kinds = torch.from_numpy(edge_types(n, CHAIN, np.array([1, 2, 1, 1.5, 1, 1.0]))).expand(
        count, n, n
    )
    return x, elements, kinds, torch.tensor([0.02, 0.3, 4.0])[:count]


def table(d: Tensor, n: int) -> Tensor:
    return d[:, pair_indices(n)[2]].view(len(d), n, n) * (1 - torch.eye(n))


def test_edge_types() -> None:
    types = edge_types(7, CHAIN, np.array([1, 2, 1, 1.5, 3, 0.0]))
    assert (types == types.T).all()
    assert (
        types[0, 1] == EDGE_SINGLE
        and types[1, 2] == EDGE_DOUBLE
        and types[3, 4] == EDGE_AROMATIC
        and types[1, 6] == EDGE_OTHER
    )
    assert (
        types[0, 2] == EDGE_HOP2
        and types[0, 3] == EDGE_HOP3
        and types[0, 4] == EDGE_FAR
        and types[0, 0] == EDGE_FAR
    )
    ring = edge_types(3, np.array([[0, 1], [1, 2], [2, 0]]), np.ones(3))
    assert (ring[~np.eye(3, dtype=bool)] == EDGE_SINGLE).all()


def test_network_is_blind_to_rotation_reflection_and_translation() -> None:
    net, (x, elements, kinds, sigma) = network(), inputs()
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)))[0]
    for rotation in (q, -q):
        assert torch.allclose(
            net(x @ rotation.T + 3.0, elements, kinds, sigma),
            net(x, elements, kinds, sigma),
            atol=2e-4,
        )


def test_network_follows_permutations() -> None:
    net, (x, elements, kinds, sigma) = network(), inputs()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    d = table(net(x, elements, kinds, sigma), 7)
    permuted = table(net(x[:, order], elements[:, order], kinds[:, order][:, :, order], sigma), 7)
    assert torch.allclose(permuted, d[:, order][:, :, order], atol=1e-4)


def test_padding_and_batching_change_nothing() -> None:
    net, (x, elements, kinds, sigma) = network(), inputs()
    d = table(net(x, elements, kinds, sigma), 7)
    alone = torch.cat(
        [
            table(net(x[k : k + 1], elements[k : k + 1], kinds[k : k + 1], sigma[k : k + 1]), 7)
            for k in range(3)
        ]
    )
    assert torch.allclose(alone, d, atol=1e-4)


def test_gradient_reaches_every_parameter_and_matches_differences() -> None:
    net, (x, elements, kinds, sigma) = network().double(), inputs()
    x, sigma = x.double().requires_grad_(), sigma.double()
    net(x, elements, kinds, sigma).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert torch.autograd.gradcheck(
        lambda y: net(y, elements[:1], kinds[:1], sigma[1:2]),
        x[:1].detach().requires_grad_(),
        atol=1e-4,
    )


def test_prediction_tends_to_the_input_at_low_noise_and_to_the_prior_at_high() -> None:
    net, (x, elements, kinds, _) = network(), inputs()
    i, j, _ = pair_indices(7)
    e = (x[:, i] - x[:, j]).norm(dim=-1)
    assert torch.allclose(net(x, elements, kinds, torch.full((3,), 1e-5)), e, atol=1e-2)
    far = net(x, elements, kinds, torch.full((3,), 1e4))
    spread = net.prior_spread[kinds[:, i, j]]
    assert ((far - net.prior_mean[kinds[:, i, j]]).abs() < 30 * spread).all()


def test_stratified_noise_levels_cover_the_range() -> None:
    sigma = stratified_log_sigma(np.random.default_rng(0), 100, 0.01, 10.0)
    assert sigma.min() >= 0.01 and sigma.max() <= 10.0
    counts = np.histogram(np.log(sigma.numpy()), bins=10, range=(np.log(0.01), np.log(10.0)))[0]
    assert counts.min() >= 9


def test_loss_falls_on_one_molecule() -> None:
    net, (x, elements, kinds, _) = network(), inputs(1)
    batch = DistanceBatch(
        elements.expand(16, 7),
        kinds.expand(16, 7, 7),
        (x - x.mean(1, keepdim=True)).expand(16, 7, 3),
    )
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    rng = np.random.default_rng(0)
    for _ in range(40):
        noise = torch.from_numpy(rng.standard_normal((16, 7, 3)).astype(np.float32))
        loss, error = denoising_loss(net, batch, stratified_log_sigma(rng, 16, 0.05, 5.0), noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert error.shape == (16, 21)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


def test_mask_hides_padded_atoms() -> None:
    net, (x, elements, kinds, sigma) = network(), inputs()
    pad = 2
    wide = torch.cat([x, torch.full((3, pad, 3), 1.7) * torch.tensor([1.0, 2.0])[None, :, None]], 1)
    more = torch.nn.functional.pad(elements, (0, pad))
    wider = torch.nn.functional.pad(kinds, (0, pad, 0, pad))
    mask = torch.arange(7 + pad).expand(3, -1) < 7
    d = table(net(x, elements, kinds, sigma), 7)
    padded = table(net(wide, more, wider, sigma, mask), 7 + pad)[:, :7, :7]
    assert torch.allclose(padded, d, atol=1e-4)


@pytest.mark.parametrize(("number", "row"), [(1, 0), (6, 2), (53, 11), (26, -1)])
def test_each_element_has_its_row_and_others_have_none(number: int, row: int) -> None:
    assert element_index(np.array([number]))[0] == row
