"""Graphs of molecules and of plain arrays, as the networks of trajectories read them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.errors import UnknownNameError
from equidrift.models.shared.graph_codes import ATOM_CODES, ELEMENTS, PAIR_CODES, graph_codes
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.records import Molecule

HOPS = 3  # bonds between atoms that see each other in GeoTDM as published
MD_LEVELS = ("GFN2-xTB", "MMFF94")  # levels of theory of the dynamics; a node feature each
MASSES = (
    1.008,
    10.81,
    12.011,
    14.007,
    15.999,
    18.998,
    28.085,
    30.974,
    32.06,
    35.45,
    79.904,
    126.904,
)  # amu, as ELEMENTS
NODE_FEATURES, EDGE_FEATURES = sum(ATOM_CODES) + len(MD_LEVELS), sum(PAIR_CODES)


@lru_cache(maxsize=512)
def _features(
    molecule: Molecule, level: str
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    if level not in MD_LEVELS:
        raise UnknownNameError("level of theory of a trajectory", level, MD_LEVELS)
    codes = graph_codes(molecule)
    node = np.concatenate(
        [np.eye(size, dtype=np.float32)[codes.atom[:, k]] for k, size in enumerate(ATOM_CODES)], -1
    )
    edge = np.concatenate(
        [np.eye(size, dtype=np.float32)[codes.pair[..., k]] for k, size in enumerate(PAIR_CODES)],
        -1,
    )
    which = np.repeat(
        np.eye(len(MD_LEVELS), dtype=np.float32)[[MD_LEVELS.index(level)]], molecule.n_atoms, 0
    )
    mass = np.array([MASSES[ELEMENTS.index(z)] for z in molecule.numbers.tolist()])
    return np.concatenate([node, which], -1), edge, mass


def molecule_graph(molecule: Molecule, level: str, copies: int = 1) -> Graph:
    """`copies` equal graphs of a molecule: one-hot codes of atoms, pairs and the level
    of theory; masses in amu.
    """
    node, edge, mass = (
        torch.from_numpy(part)[None].expand(copies, *part.shape)
        for part in _features(molecule, level)
    )
    return Graph(
        node, edge, mass, torch.ones(copies, molecule.n_atoms, dtype=torch.bool, device="cpu")
    )


def fingerprint(molecule: Molecule) -> str:
    """A hash of a molecule's graph that does not depend on the order of its atoms."""
    codes = graph_codes(molecule)
    n = molecule.n_atoms
    rows = [
        codes.atom[i].tobytes()
        + b"".join(
            sorted(codes.pair[i, j].tobytes() + codes.atom[j].tobytes() for j in range(n) if j != i)
        )
        for i in range(n)
    ]
    return hashlib.blake2b(b"".join(sorted(rows)), digest_size=8).hexdigest()


_HOPS = sum(
    PAIR_CODES[:1]
)  # where the one-hot code of the number of bonds between two atoms begins


def linked(graph: Graph, hops: int) -> torch.Tensor:
    """Pairs (b, n, n) of a molecule's graph that at most `hops` bonds keep apart; an
    atom is not linked with itself.
    """
    return graph.edge[..., _HOPS + 2 : _HOPS + 2 + hops].sum(-1) > 0


def array_graph(
    nodes: NDArray[Any],
    edges: NDArray[Any],
    masses: NDArray[Any] | None = None,
    vectors: NDArray[Any] | None = None,
) -> Graph:
    """The graphs (b, n) of node features (b, n, f) and edge features (b, n, n, e);
    masses (b, n), 1 where not given; global vectors (b, g, d), if there are any.
    """
    node, edge = (
        torch.as_tensor(np.asarray(nodes, np.float32)),
        torch.as_tensor(np.asarray(edges, np.float32)),
    )
    mass = (
        torch.ones(node.shape[:2], dtype=torch.float64, device=node.device)
        if masses is None
        else torch.as_tensor(np.asarray(masses, np.float64))
    )
    mask = torch.ones(node.shape[:2], dtype=torch.bool, device=node.device)
    axes = None if vectors is None else torch.as_tensor(np.asarray(vectors, np.float32))
    return Graph(node, edge, mass, mask, vectors=axes)
