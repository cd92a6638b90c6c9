"""The template of docs/guide/plugins.md passes the suite that it inherits, and what breaks
a promise does not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from equidrift.testing.random_state import global_random_state_kept

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "plugins.md").read_text()
MODEL, TESTS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def outcome(model: str, folder: Path) -> str:
    """What pytest says of a package of another author."""
    (folder / "jiggle.py").write_text(model)
    (folder / "test_jiggle.py").write_text(f"from jiggle import Jiggle\n{TESTS}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_jiggle.py"]
    clean = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        command, cwd=folder, env=clean, check=False, capture_output=True, text=True
    )
    return done.stdout


@pytest.mark.long
def test_template_passes_its_suite(tmp_path: Path) -> None:
    assert re.search(r"^\d+ passed, 1 skipped", outcome(MODEL, tmp_path), flags=re.MULTILINE)


@pytest.mark.long
@pytest.mark.parametrize(
    ("promise", "change"),
    [
        (
            "test_a_sample_depends_on_its_seed_alone",
            ("sample_rng(int(seed))", "np.random.default_rng()"),
        ),
        (
            "test_global_random_state_is_left_alone",
            ("np.array(noise)", "np.random.rand(len(seeds), 1, 1)"),
        ),
        (
            "test_shape_and_nan_policy",
            ("return embedded", "embedded[0, 0] = np.nan\n        return embedded"),
        ),
    ],
)
def test_broken_promise_is_found_by_name(
    promise: str, change: tuple[str, str], tmp_path: Path
) -> None:
    assert change[0] in MODEL
    assert f"::{promise} " in outcome(MODEL.replace(*change), tmp_path)


def test_a_single_draw_from_the_global_state_is_seen_in_the_middle_of_its_words() -> None:
    np.random.seed(3)  # noqa: NPY002 - it is this state that is watched
    np.random.rand(5)  # noqa: NPY002
    with pytest.raises(AssertionError), global_random_state_kept():
        np.random.rand()  # noqa: NPY002
