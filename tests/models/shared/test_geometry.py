"""Means and superposition of masked geometries."""

from __future__ import annotations

import torch

from equidrift.models.shared.geometry import centre, centred, superpose

MASK = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])


def test_centred_reads_and_writes_masked_atoms_alone() -> None:
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    out = centred(x, MASK)
    torch.testing.assert_close(out[0, :3], x[0, :3] - x[0, :3].mean(0))
    torch.testing.assert_close(centre(x, MASK)[1, 0], x[1].mean(0))
    assert not out[0, 3:].any()


def test_superpose_undoes_a_motion_and_keeps_the_hand() -> None:
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)))[0]
    q = q * torch.linalg.det(q).sign()
    kept = MASK[..., None]
    torch.testing.assert_close(superpose(x @ q + 3.0, x, MASK), x * kept, atol=1e-5, rtol=0)
    mirrored = superpose(-(x @ q), x, MASK)
    assert (
        float((mirrored - x)[1].square().sum()) > 1e-2
    )  # the three atoms of the first lie in a plane
