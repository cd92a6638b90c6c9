"""The scripts of tools/ as modules, so that tests reach their functions."""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("EQUIDRIFT_DATA", ROOT / "../shared/data"))


@lru_cache
def tool(name: str) -> ModuleType:
    """The script tools/NAME.py, loaded without running it, with its siblings in reach."""
    folder = str(ROOT / "tools")
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / f"tools/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
