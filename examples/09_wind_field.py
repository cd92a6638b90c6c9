"""Wind-like vector fields: learn a distribution from simulated divergence-free fields,
then complete one from a few stations.
"""

import sys

import numpy as np

from equidrift.models.fields.functions.sampler import FieldModel

n_fields = int(sys.argv[1]) if len(sys.argv) > 1 else 200
out = sys.argv[2] if len(sys.argv) > 2 else "wind.safetensors"
rng = np.random.default_rng(0)


def wind(x):
    """Divergence-free winds (F, n, 2) in m/s: each the turned gradient of a sum of plane
    waves with wavelengths of 300 to 900 km.
    """
    angle = rng.uniform(0, 2 * np.pi, (len(x), 40))
    direction = np.stack([np.cos(angle), np.sin(angle)], -1)
    k = 2 * np.pi / rng.uniform(300, 900, (len(x), 40, 1)) * direction
    phase = np.einsum("fwd,fnd->fnw", k, x) + rng.uniform(0, 2 * np.pi, (len(x), 1, 40))
    turned = np.stack([-k[..., 1], k[..., 0]], -1) / np.linalg.norm(k, axis=-1, keepdims=True)
    return 8 * np.sqrt(2 / 40) * np.einsum("fnw,fwd->fnd", np.cos(phase), turned)


stations = rng.uniform(0, 1000, (n_fields, 30, 2))  # km; each day has stations elsewhere
winds = wind(stations) + rng.normal(0, 0.3, (n_fields, 30, 2))
winds[rng.random((n_fields, 30)) < 0.1] = np.nan  # and some of them were silent

# a network on top: network="auto", budget_s=600
model = FieldModel.fit(stations, winds, vector=True, network="none")
model.save(out, units="km, m/s")
shares = model.diffusion.kernel.log_variance.exp().numpy()
for k, kind in enumerate(model.diffusion.kernel.kinds[:3]):
    print(f"{kind}: {float(shares[k::3].sum()):.3f} of the variance")

today = rng.uniform(0, 1000, (1, 20, 2))
truth = wind(today)[0]
known = model.condition(today[0, :15], truth[:15])
guesses = known.sample(today[0, 15:], n=50, seed=1)  # 50 winds at the 5 other places: (50, 5, 2)
error, spread = np.abs(guesses.mean(0) - truth[15:]).mean(), guesses.std(0).mean()
print(
    f"error {error:.2f} m/s, spread {spread:.2f} m/s, log density of the truth "
    f"{known.log_prob(today[0, 15:], truth[None, 15:])[0]:.1f}"
)
