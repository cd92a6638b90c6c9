"""Cyclone tracks on the globe: learn from HURDAT2, then forecast a storm from its first
two days, with uncertainty in km.
"""

import os
import sys
from pathlib import Path

import numpy as np

from equidrift.models.fields.functions.data import hurdat_tracks
from equidrift.models.fields.tracks.sampler import TrackModel, distance_km

budget_s = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
out = sys.argv[2] if len(sys.argv) > 2 else "cyclones.safetensors"
folder = Path(os.environ.get("EQUIDRIFT_DATA", "")) / "hurdat"
if not (folder / "AL.csv").is_file():
    print(
        "skipped: this needs HURDAT2's AL.csv and EP.csv in the folder hurdat of the one that "
        "EQUIDRIFT_DATA names"
    )
    sys.exit(0)

# the first 25 six-hourly places of each storm that has them without a gap
days, tracks = hurdat_tracks(folder)
order = np.random.default_rng(0).permutation(len(tracks))
test, train = tracks[order[: len(tracks) // 10]], tracks[order[len(tracks) // 10 :]]
print(f"{len(train)} storms to learn from, {len(test)} held out, {days[-1]:g} days each")

model = TrackModel.fit(days, train, budget_s=budget_s)
model.save(out, training_data="HURDAT2 (NOAA, public domain)", licence="MIT")

storm = test[0]
# two days known, four to come: (20, 16, 3)
forecast = model.condition(days[:9], storm[:9]).sample(days[9:], n=20, seed=1)
mean = forecast.mean(0) / np.linalg.norm(forecast.mean(0), axis=-1, keepdims=True)
for day in (3, 4, 6):
    k = round(day / 0.25) - 9
    error, spread = (
        distance_km(mean[k], storm[9 + k]),
        distance_km(forecast[:, k], mean[None, k]).mean(),
    )
    print(f"day {day}: error of the mean {error:.0f} km, spread {spread:.0f} km")
