"""What the suites of models share."""

from __future__ import annotations

from typing import Any

import pytest


class Suite:
    """Inherit a suite, and override `make`.

    Attributes
    ----------
    steps : int or None
        Of the model's solver, to keep a test short; None for its own number.
    """

    steps: int | None = None

    def make(self) -> Any:
        """The model that is tested."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def model(self) -> Any:
        """The model, made once for all tests of the suite."""
        return self.make()
