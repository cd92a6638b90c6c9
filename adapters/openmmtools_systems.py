"""Test systems of openmmtools that the benchmarks are run on."""

from __future__ import annotations

from typing import Any

from openmmtools import testsystems


def alanine_dipeptide() -> tuple[Any, Any, Any]:
    """(System, Topology, positions) of alanine dipeptide in ff96 with OBC solvent, without constraints."""
    made = testsystems.AlanineDipeptideImplicit(constraints=None)
    return made.system, made.topology, made.positions
