"""RDKit's threads keep to the share of a worker."""

from __future__ import annotations

import pytest

from equidrift.adapters.rdkit.threads import SHARE, thread_count
from equidrift.scale.pool import THREAD_VARIABLES


@pytest.mark.parametrize(
    ("named", "asked", "told"), [("3", 0, 3), ("3", 2, 2), ("", 0, 0), ("4,2", 0, 0), ("no", 1, 1)]
)
def test_all_threads_are_the_share_of_the_process_when_it_has_one(
    monkeypatch: pytest.MonkeyPatch, named: str, asked: int, told: int
) -> None:
    monkeypatch.setenv(SHARE, named)
    assert thread_count(asked) == told
    assert SHARE in THREAD_VARIABLES
