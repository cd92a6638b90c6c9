"""Aspirin's next frames by the default model, by plain MMFF94 dynamics (`model="md"`) and by
the last frame: what each costs, and how far its futures part from each other.
"""

import sys
import time
from pathlib import Path

import numpy as np

import equidrift

n = int(sys.argv[1]) if len(sys.argv) > 1 else 3
models = sys.argv[2].split(",") if len(sys.argv) > 2 else ["default", "md", "last-frame"]
data = Path(__file__).parent / "data"
known = equidrift.load_trajectory(data / "aspirin.xtc", data / "aspirin.pdb")
options = {"md": {"temperature_K": 500.0}}  # of the dynamics that the frames come from

for model in models:
    begun = time.perf_counter()
    futures = equidrift.forecast(known, 20, n=n, model=model, **options.get(model, {}))
    spent = time.perf_counter() - begun
    ends = np.array([future.positions_A[-1] for future in futures])
    moved = np.linalg.norm(ends - known.positions_A[-1], axis=-1).mean()
    apart = np.linalg.norm(ends - ends.mean(0), axis=-1).mean()
    print(
        f"{model}: {spent / n:.2f} s a future of {20 * known.dt_fs:.0f} fs; atoms moved by "
        f"{moved:.2f} A, and the futures lie {apart:.2f} A about their mean"
    )
