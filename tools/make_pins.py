#!/usr/bin/env python3
"""Write `tests/data/pins.json` anew: samples and trainings at fixed seeds, which
tests/models/shared/test_pins.py holds.

    make_pins.py [NAME ...]     those names alone, the others stay as they are

Only a change that means to change samples calls for it. Geometries that a training asks
for for the first time go to `tests/data/geometries.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import geometries  # the tests are no package that is installed
from tests.models.shared import pins


def main() -> None:
    """Make the pins that are named, all of them if none is."""
    kept = json.loads(pins.FILE.read_text()) if pins.FILE.exists() else {}
    for name, make in pins.ALL.items():
        if name in sys.argv[1:] or len(sys.argv) == 1:
            kept[name] = pins.summary(make())
            print(name, kept[name]["mean"], kept[name]["spread"], flush=True)
    lines = [f" {json.dumps(name)}: {json.dumps(kept[name])}" for name in pins.ALL if name in kept]
    geometries.write_missing()
    pins.FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
