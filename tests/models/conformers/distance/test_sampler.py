"""Solvers, the stability rule, the chirality step, and SE3Distance behind the
ConformerModel protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from equidrift.errors import InputError, MoleculeError, UnknownNameError
from equidrift.models.conformers.distance import sampler as ds
from equidrift.models.conformers.distance import solvers
from equidrift.models.conformers.distance.chirality import chirality_step, signed_volumes
from equidrift.models.conformers.distance.maps import complete_edges, map_gain
from equidrift.models.conformers.distance.network import DistanceConfig, DistanceNetwork
from equidrift.protocols import ConformerModel
from equidrift.records import Molecule
from equidrift.weights import CARD_KEYS, save_weights
from tests.models.conformers.distance import experiments as de

STAR = {
    "numbers": [6, 1, 7, 8, 9],
    "bonds": [[0, 1], [0, 2], [0, 3], [0, 4]],
    "bond_orders": [1, 1, 1, 1],
    "formal_charges": [0] * 5,
}


def molecule(tetrahedral: list[list[int]] | None = None) -> Molecule:
    return Molecule(**STAR, tetrahedral=tetrahedral or [])


def model(**options: object) -> ds.SE3Distance:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DistanceNetwork(DistanceConfig(hidden=16, global_layers=1, local_layers=1))
    return ds.SE3Distance(net, ds.DistanceOptions.from_dict({"steps": 8, **options}))


def still(c: Tensor, sigma: float) -> Tensor:
    return torch.zeros_like(c)


def test_noise_falls_geometrically_and_ends_at_zero() -> None:
    sigmas = solvers.geometric_sigmas(5, 10.0, 0.01)
    assert (
        len(sigmas) == 6
        and sigmas[0] == pytest.approx(10.0)
        and sigmas[4] == pytest.approx(0.01)
        and sigmas[5] == 0.0
    )
    with pytest.raises(InputError, match="steps"):
        solvers.geometric_sigmas(1, 10.0, 0.01)


@pytest.mark.parametrize(("kind", "power"), [("ode", 1), ("sde", 2)])
def test_stability_rule(kind: str, power: int) -> None:
    assert solvers.stable_corrector(1.0, 1.0, 0.9, kind, 1.0) == 1.0
    k = solvers.stable_corrector(20.0, 1.0, 0.5, kind, 1.1)
    assert k * (1 - 0.5**power) * 1.1 == pytest.approx(1.8)
    assert solvers.stable_corrector(20.0, 1.0, 1.0, kind, 1.0) == 20.0
    assert solvers.stable_corrector(
        lambda sigma: 3.0 * sigma, 0.5, 0.49, kind, 1.0
    ) == pytest.approx(1.5)


def test_solvers_are_exact_for_one_gaussian() -> None:
    """For data N(0, 1) a coordinate the score is known; ODE and SDE must end with unit
    variance, and Langevin near it.
    """
    rng = np.random.default_rng(0)
    z = torch.from_numpy(rng.standard_normal((401, 4, 500, 3)))
    sigmas = solvers.geometric_sigmas(400, 20.0, 0.01)

    def move(c: Tensor, sigma: float) -> Tensor:
        return -c * sigma**2 / (1.0 + sigma**2)

    start = (1 + 20.0**2) ** 0.5 * z[-1]
    assert float(solvers.reverse_ode(move, start, sigmas).std()) == pytest.approx(1.0, abs=0.03)
    assert float(solvers.reverse_sde(move, start, sigmas, z.__getitem__).std()) == pytest.approx(
        1.0, abs=0.03
    )
    assert float(
        solvers.annealed_langevin(move, start, sigmas, z.__getitem__, step_rate=0.1).std()
    ) == pytest.approx(1.0, abs=0.15)


def test_steps_are_centred_clipped_and_reported() -> None:
    seen: list[dict[str, object]] = []
    start = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)) + 4.0
    out = solvers.reverse_ode(
        lambda c, s: torch.full_like(c, 1e9) * (c > 0),
        start,
        [1.0, 0.5, 0.0],
        solvers.StepRule(clip_A=0.1, callback=seen.append),
    )
    assert float(out.mean(1).abs().max()) < 1e-5
    assert float((out - solvers.recentre(start)).norm(dim=-1).max()) < 0.5
    assert [s["step"] for s in seen] == [1, 2] and seen[0]["sigma_A"] == 1.0


# ---- the paper's experiments


def test_four_regular_graph_is_recovered_by_the_reverse_ode() -> None:
    """With k = 20 the lengths of all edges come out to a few hundredths of an Angstrom;
    k = 1 under-moves.
    """
    assert de.recover_four_regular(steps=400, corrector=20.0)["median_edge_error_A"] < 0.05
    assert de.recover_four_regular(steps=100, corrector=1.0)["median_edge_error_A"] > 0.2
    assert (
        de.recover_four_regular(map_name="gauss-newton", corrector=1.0)["median_edge_error_A"]
        < 0.05
    )


def test_corrector_sweep() -> None:
    sweep = de.corrector_sweep((0, 1, 2, 4, 6, 10, 20), steps=100)
    assert sweep[0.0] > 5.0
    assert sweep[1.0] > sweep[2.0] > sweep[4.0] > sweep[20.0]
    assert all(np.isfinite(value) for value in sweep.values())


@pytest.mark.parametrize("solver", ["ode", "sde"])
@pytest.mark.parametrize("steps", [20, 50])
def test_runs_diverge_just_where_the_stability_rule_says(solver: str, steps: int) -> None:
    sigmas = solvers.geometric_sigmas(steps + 1, 10.0, 0.01)
    limit = 2.0 / (map_gain("degree", 20) * solvers.step_fraction(sigmas[0], sigmas[1], solver))
    sweep = de.corrector_sweep((0.85 * limit, 1.6 * limit), solver=solver, steps=steps)
    below, above = sweep.values()
    assert below < 3.0 and above > 20.0


def test_the_rule_keeps_large_correctors_stable() -> None:
    clean = de.random_chain(20, seed=2)
    edges = complete_edges(20, dtype=torch.float64)
    for solver in ("ode", "sde"):
        out = de.run_oracle(
            clean, edges, solver=solver, steps=20, corrector=20.0, gain=map_gain("degree", 20)
        )
        assert float(de.aligned_rmsd(out, clean).max()) < 4.0


def test_ode_and_sde_beat_langevin_at_equal_steps() -> None:
    for row in de.against_langevin(n=14, n_chains=4):
        assert max(row["ode"], row["sde"]) < row["langevin"], row


def test_aligned_rmsd() -> None:
    clean = de.random_chain(8, seed=0)
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    q *= np.sign(np.linalg.det(q))
    turned = torch.from_numpy(np.stack([clean @ q.T + 3.0, clean @ -q.T]))
    assert torch.allclose(
        de.aligned_rmsd(turned, clean), torch.zeros(2, dtype=torch.float64), atol=1e-6
    )
    assert de.aligned_rmsd(turned, clean, mirror=False)[1] > 0.5


# ---- the model


def test_model_follows_the_protocol() -> None:
    m = model()
    assert isinstance(m, ConformerModel) and m.name == "se3-distance"
    out = m.sample(molecule(), np.arange(3), steps=4)
    assert out.shape == (3, 5, 3) and out.dtype == np.float64 and np.isfinite(out).all()
    assert m.sample(molecule(), np.arange(0), steps=4).shape == (0, 5, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "ode", "map": "gauss-newton", "corrector": 1.0},
        {"solver": "sde", "late_map": "gauss-newton"},
        {"solver": "langevin", "map": "chain", "step_rate": 0.02},
    ],
)
def test_a_sample_depends_on_its_seed_alone(options: dict[str, object]) -> None:
    m = model(**options)
    rows = [[0, 1, 2, 3, 4]]
    together = m.sample(molecule(rows), np.array([7, 8, 9]))
    alone = np.concatenate([m.sample(molecule(rows), np.array([seed])) for seed in (7, 8, 9)])
    assert np.allclose(together, alone, atol=1e-4)
    assert not np.allclose(together[0], together[1], atol=0.1)
    state = torch.random.get_rng_state()
    m.sample(molecule(), np.array([1]))
    assert torch.equal(state, torch.random.get_rng_state())


def test_chirality_step_mirrors_only_what_is_wholly_wrong() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 10, 3))
    rows = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    volumes = signed_volumes(x, rows)
    turned, right = chirality_step(x, rows)
    assert (right == ((volumes > 0).all(1) | (volumes < 0).all(1))).all()
    assert (signed_volumes(turned[right], rows) > 0).all()
    assert (turned[~right] == x[~right]).all()
    same, fine = chirality_step(x, np.zeros((0, 5), np.int64))
    assert (same == x).all() and fine.all()


def test_sampled_centres_are_right_or_nan() -> None:
    out = model(attempts=1).sample(molecule([[0, 1, 2, 3, 4]]), np.arange(8))
    assert (signed_volumes(out, np.array([[0, 1, 2, 3, 4]])) > 0).all()
    impossible = molecule([[0, 1, 2, 3, 4], [0, 2, 1, 3, 4]])
    assert np.isnan(model(attempts=2).sample(impossible, np.arange(3))).all()


def test_bad_input_is_named() -> None:
    with pytest.raises(MoleculeError, match="Fe"):
        model().sample(molecule().replace(numbers=[26, 1, 7, 8, 9]), np.arange(1))
    with pytest.raises(UnknownNameError, match="corrector"):
        ds.DistanceOptions.from_dict({"corector": 1})
    with pytest.raises(UnknownNameError, match="sde"):
        model(solver="sdee").sample(molecule(), np.arange(1))


def test_weights_round_trip(tmp_path: Path) -> None:
    m = model()
    card: dict[str, object] = dict.fromkeys(CARD_KEYS, "test")
    card |= {
        "config": vars(m.network.config),
        "options": {"steps": 6, "solver": "ode"},
        "elements": ["H", "C", "N", "O", "F"],
        "quality": {},
    }
    card["task"] = "distance"
    path = save_weights(tmp_path / "w", m.network.state_dict(), {**card, "max_atoms": 20})
    again = ds.load_se3_distance(path, attempts=1)
    assert again.options.steps == 6 and again.options.attempts == 1
    same = ds.SE3Distance(m.network, again.options)
    assert np.allclose(
        again.sample(molecule(), np.arange(2)), same.sample(molecule(), np.arange(2))
    )
    big = Molecule(numbers=[1] * 21, bonds=[], bond_orders=[], formal_charges=[0] * 21)
    with pytest.raises(MoleculeError, match="21 atoms"):
        again.sample(big, np.arange(1))


@pytest.mark.parametrize("load", [ds.load_se3_distance, ds.load_gauss_newton])
def test_shipped_weights_make_ethanol(load: Callable[[], ds.SE3Distance]) -> None:
    """Bond lengths of a few samples lie within 0.1 A of the usual ones, and every
    sample is whole.
    """
    bonds = [[0, 1], [1, 2], [0, 3], [0, 4], [0, 5], [1, 6], [1, 7], [2, 8]]
    ethanol = Molecule(
        numbers=[6, 6, 8, 1, 1, 1, 1, 1, 1],
        bonds=bonds,
        bond_orders=[1] * 8,
        formal_charges=[0] * 9,
    )
    out = load().sample(ethanol, np.arange(4))
    lengths = np.linalg.norm(out[:, ethanol.bonds[:, 0]] - out[:, ethanol.bonds[:, 1]], axis=-1)
    assert np.abs(lengths - np.array([1.51, 1.41, 1.09, 1.09, 1.09, 1.09, 1.09, 0.96])).max() < 0.1


def test_each_name_has_its_map() -> None:
    published, other = ds.load_se3_distance(), ds.load_gauss_newton()
    assert (published.name, published.options.map) == ("se3-distance", "degree")
    assert (other.name, other.options.map) == ("se3-distance-gauss-newton", "gauss-newton")
    assert ds.load_gauss_newton(corrector=1.0).options.corrector == 1.0


def test_corrector_above_one_sharpens_the_distribution() -> None:
    """With the exact score of a Gaussian k = 1 keeps its spread and k > 1 narrows it,
    as a lower temperature does: k is no mere correction of step lengths.
    """

    def spread(k: float) -> float:
        rng = np.random.default_rng(0)
        z = torch.from_numpy(rng.standard_normal((201, 400, 8, 3)))
        sigmas = solvers.geometric_sigmas(200, 10.0, 0.01)

        def towards(c: Tensor, sigma: float) -> Tensor:
            return -c * sigma**2 / (1.0 + sigma**2)

        start = 10.0 * z[-1]
        rule = solvers.StepRule(k, gain=1.0)
        out = solvers.reverse_sde(towards, start, sigmas, z.__getitem__, rule)
        return float(out.square().sum((1, 2)).mean() / (3 * 7)) ** 0.5  # 7 of 8: centred

    assert spread(1.0) == pytest.approx(1.0, abs=0.06)
    assert spread(3.0) < 0.6
    assert spread(8.0) < 0.35
