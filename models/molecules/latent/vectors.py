"""Arithmetic of latents, and the conformers that they stand for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.models.molecules.latent.geometry import GeometryAutoencoder, hand
from equidrift.models.shared.graph_codes import GraphCodes, collate, pad_positions
from equidrift.seeds import sample_rng

# a measure of chirality (`hand`) nearer to 0 does not tell a molecule from its mirror image
DECIDED = 0.02


def nearest_conformers(
    geometry: GeometryAutoencoder,
    codes: Sequence[GraphCodes],
    shapes: NDArray[np.float64],
    seeds: Sequence[int],
    *,
    draws: int,
    steps: int,
) -> NDArray[np.float64]:
    """Of the conformers drawn for each graph, the one that encodes nearest to its latent.

    Parameters
    ----------
    geometry : GeometryAutoencoder
        decodes and encodes.
    codes : sequence of GraphCodes
        the graphs.
    shapes : ndarray (k, d)
        conformer latents; rows of 0 stand for any conformer.
    seeds : sequence of int
        of the noise that each graph's conformers start from.
    draws : int
        conformers drawn for each graph; a single one if no latent tells them apart.
    steps : int
        network calls for each of them.

    Returns
    -------
    ndarray (k, n, 3)
        Positions in A, padded to the largest graph.
    """
    device = next(geometry.parameters()).device
    batch = collate(list(codes)).to(device)
    z = torch.from_numpy(shapes).float().to(device)  # (k, d)
    size = tuple(batch.mask.shape)
    best, near = np.zeros((*size, 3)), np.full(len(codes), -np.inf)
    for draw in range(draws if bool(z.any()) else 1):
        starts = [
            _stream(seed, draw).standard_normal((graph.n_atoms, 3))
            for graph, seed in zip(codes, seeds, strict=True)
        ]
        x = geometry.decode(batch, z, pad_positions(starts, size[1]).to(device), steps)
        cosine = np.zeros(len(codes))
        if draws > 1:
            cosine = (geometry.encoder(batch, x) * z).mean(1).double().cpu().numpy()
        better = cosine > near
        best[better], near[better] = x.double().cpu().numpy()[better], cosine[better]
    return best


def _stream(seed: int, draw: int) -> np.random.Generator:
    """The random stream of a sample's draw; the first is the sample's own."""
    if draw == 0:
        return sample_rng(seed)
    return np.random.Generator(np.random.Philox(key=[seed, draw]))


def turned(
    numbers: NDArray[np.int64], x: NDArray[np.float64], wanted: float
) -> NDArray[np.float64]:
    """The conformer x (n, 3) or its mirror image, whichever has the hand `wanted`;
    where it is next to 0, x itself.
    """
    return -x if abs(wanted) > DECIDED and hand(numbers, x) * wanted < 0 else x


def normalised(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of mean square 1; those that are all but 0, which stand for no conformer,
    become 0.
    """
    size = np.sqrt(np.square(z).mean(1, keepdims=True))
    return np.where(size > 1e-3, z / np.maximum(size, 1e-3), 0.0)


def slerp(a: NDArray[np.float64], b: NDArray[np.float64], t: float) -> NDArray[np.float64]:
    """The point at share t of the great circle from a to b, straight where they are
    parallel or one is 0.
    """
    size = np.linalg.norm(a) * np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / size, -1, 1)) if size > 0 and len(a) > 1 else 0.0
    if not 1e-6 < angle < np.pi - 1e-6:
        return (1 - t) * a + t * b
    out: NDArray[np.float64] = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    return out


def great_circles(
    a: NDArray[np.float64], b: NDArray[np.float64], parts: Sequence[slice], n: int
) -> NDArray[np.float64]:
    """`n` latents (n, size) from a to b, ends included: each part along its great circle."""
    shares = np.linspace(0, 1, n)
    return np.stack([np.concatenate([slerp(a[s], b[s], t) for s in parts]) for t in shares])
