"""Contract suites for models of other packages: what equidrift relies on, as tests.

A test class inherits a suite and says how its model is made. pytest must be installed.

Examples
--------
>>> from equidrift.registry import make_model
>>> from equidrift.testing import ConformerModelContract
>>> class TestEmbedding(ConformerModelContract):
...     def make(self):
...         return make_model("etkdg")
"""

from __future__ import annotations

import pytest

# before the suites are imported: their asserts then tell what differed
pytest.register_assert_rewrite(
    "equidrift.testing.conformer_model",
    "equidrift.testing.molecule_model",
    "equidrift.testing.proposer",
    "equidrift.testing.random_state",
    "equidrift.testing.refiner",
    "equidrift.testing.trajectory_model",
)

from equidrift.testing.conformer_model import ConformerModelContract  # noqa: E402 - see above
from equidrift.testing.molecule_model import MoleculeModelContract  # noqa: E402
from equidrift.testing.proposer import ProposerContract  # noqa: E402
from equidrift.testing.refiner import RefinerContract  # noqa: E402
from equidrift.testing.trajectory_model import TrajectoryModelContract  # noqa: E402

__all__ = [
    "ConformerModelContract",
    "MoleculeModelContract",
    "ProposerContract",
    "RefinerContract",
    "TrajectoryModelContract",
]
