"""The joint model of new molecules: symmetries, noise, hydrogens, fragments, training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equidrift.errors import InputError, UnknownNameError, WeightsError
from equidrift.models.molecules.data import PROPERTIES
from equidrift.models.molecules.joint import train
from equidrift.models.molecules.joint.additive import Additive
from equidrift.models.molecules.joint.assemble import first_places, graph_of
from equidrift.models.molecules.joint.data import (
    BONDS,
    CAPACITY,
    TYPE_OF,
    TYPES,
    heavy_tokens,
    tokens_of,
)
from equidrift.models.molecules.joint.fragments import Fragment
from equidrift.models.molecules.joint.network import JointConfig, JointNetwork, State, Targets
from equidrift.models.molecules.joint.objective import (
    Batches,
    blurred,
    evidence,
    hidden_share,
    joint_level,
    joint_loss,
)
from equidrift.models.molecules.joint.sampler import JointModel
from equidrift.models.molecules.joint.walk import Draws, Walk, categorical
from equidrift.models.molecules.joint.walk import Path as Way
from equidrift.models.shared.trainer import Trainer
from equidrift.records import Molecule
from equidrift.weights import load_weights
from tests.models.molecules.sizes import SIZES

RNG = np.random.default_rng(0)
ALCOHOL = [TYPE_OF[6, 0, 3], TYPE_OF[6, 0, 2], TYPE_OF[8, 0, 1]]


def packed(
    path: Path, smiles: tuple[str, ...] = ("CCO", "C=CC#N", "C1CC1N", "NCC(=O)O", "CCCO", "OCC=O")
) -> str:
    """A file as tools/make_molecules.py writes it, of places drawn at random."""
    molecules = [Molecule.from_smiles(s) for s in smiles]
    rng = np.random.default_rng(1)
    np.savez(
        path,
        numbers=np.concatenate([m.numbers for m in molecules]).astype(np.uint8),
        positions_A=np.concatenate(
            [2 * rng.standard_normal((m.n_atoms, 3)) for m in molecules]
        ).astype(np.float32),
        formal_charges=np.concatenate([m.formal_charges for m in molecules]).astype(np.int8),
        offset=np.cumsum([0, *(m.n_atoms for m in molecules)]),
        bonds=np.concatenate([m.bonds for m in molecules]).astype(np.uint8),
        bond_orders=np.concatenate([m.bond_orders for m in molecules]).astype(np.uint8),
        aromatic=np.zeros(sum(len(m.bonds) for m in molecules), bool),
        bond_offset=np.cumsum([0, *(len(m.bonds) for m in molecules)]),
        smiles=np.array(smiles),
        index=np.arange(len(smiles)),
        props=rng.standard_normal((len(smiles), len(PROPERTIES))),
        split=np.zeros(len(smiles), np.uint8),
        half_b=np.arange(len(smiles)) % 2 == 1,
    )
    return str(path)


@pytest.fixture(scope="module")
def model() -> JointModel:
    return JointModel("joint")


@pytest.fixture(scope="module")
def network() -> JointNetwork:
    torch.manual_seed(0)
    network = JointNetwork(JointConfig(**SIZES))
    for (
        parameter
    ) in network.parameters():  # the heads start at zero, which would be equivariant for nothing
        torch.nn.init.normal_(parameter, std=0.3)
    return network.double().eval()


def some_state(n: int = 6) -> tuple[State, Targets]:
    g = torch.Generator().manual_seed(3)
    types = torch.rand(2, n, len(TYPES), generator=g, dtype=torch.float64).softmax(-1) - 1 / len(
        TYPES
    )
    bonds = (4 * torch.rand(2, n, n, BONDS, generator=g, dtype=torch.float64)).softmax(-1)
    bonds = 0.5 * (bonds + bonds.transpose(1, 2)) - 1 / BONDS
    x = 2 * torch.randn(2, n, 3, generator=g, dtype=torch.float64)
    mask = torch.ones(2, n, dtype=torch.bool)
    sigma = torch.full((2, n), 0.7, dtype=torch.float64)
    sigma[:, 0] = 0.02
    targets = Targets(
        torch.randn(2, len(PROPERTIES), generator=g, dtype=torch.float64),
        torch.rand(2, len(PROPERTIES), generator=g) < 0.5,
    )
    return State(types, bonds, x - x.mean(1, keepdim=True), sigma, mask), targets


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_network_is_equivariant_under_rotations_and_reflections(
    network: JointNetwork, mirror: float
) -> None:
    state, targets = some_state()
    turn = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )[0]
    turn = turn * mirror * torch.linalg.det(turn)
    with torch.no_grad():
        first = network(state, targets)
        one = network(state, targets, first)
        turned = State(state.types, state.bonds, state.x @ turn, state.sigma, state.mask)
        first_turned = network(turned, targets)
        other = network(turned, targets, first_turned)
    assert float((one.x - state.x).abs().max()) > 0.01, (
        "a network that moves nothing is equivariant for nothing"
    )
    for a, b in ((one.types, other.types), (one.bonds, other.bonds), (one.x @ turn, other.x)):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_network_does_not_see_the_order_of_tokens(network: JointNetwork) -> None:
    state, targets = some_state()
    order = torch.randperm(6, generator=torch.Generator().manual_seed(2))
    swapped = State(
        state.types[:, order],
        state.bonds[:, order][:, :, order],
        state.x[:, order],
        state.sigma[:, order],
        state.mask,
    )
    with torch.no_grad():
        one, other = network(state, targets), network(swapped, targets)
    for a, b in (
        (one.types[:, order], other.types),
        (one.bonds[:, order][:, :, order], other.bonds),
        (one.x[:, order], other.x),
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.bonds, one.bonds.transpose(1, 2))


def test_network_does_not_see_padding(network: JointNetwork) -> None:
    state, targets = some_state()
    wide, _ = some_state(8)
    for name in ("types", "bonds", "x", "sigma"):
        part, whole = getattr(state, name), getattr(wide, name)
        whole[(slice(None), *(slice(0, 6) for _ in range(2 if name == "bonds" else 1)))] = part
    wide.mask[:, 6:] = False
    with torch.no_grad():
        one, other = network(state, targets), network(wide, targets)
    for a, b in (
        (one.types, other.types[:, :6]),
        (one.bonds, other.bonds[:, :6, :6]),
        (one.x, other.x[:, :6]),
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_targets_that_are_not_given_change_nothing(network: JointNetwork) -> None:
    state, targets = some_state()
    changed = Targets(
        torch.where(targets.given, targets.values, targets.values + 5.0), targets.given
    )
    with torch.no_grad():
        torch.testing.assert_close(network(state, targets).types, network(state, changed).types)
        told = Targets(targets.values + 0.5, targets.given)
        assert (
            float((network(state, targets).types - network(state, told).types).abs().max()) > 1e-3
        )


def test_noise_falls_and_everything_is_revealed() -> None:
    tau = torch.linspace(0, 1, 51)
    assert (joint_level(tau).diff() < 0).all() and (hidden_share(tau).diff() <= 0).all()
    assert float(joint_level(tau[0])) == pytest.approx(6.0) and float(hidden_share(tau[-1])) == 0.0


@given(st.floats(0.0, 40.0))
@settings(max_examples=20, deadline=None)
def test_evidence_runs_from_nothing_to_a_corner(beta: float) -> None:
    codes = torch.randint(0, BONDS, (4000,), generator=torch.Generator().manual_seed(0))
    noise = torch.randn(4000, BONDS, generator=torch.Generator().manual_seed(1))
    soft = blurred(codes, torch.full((4000,), beta), BONDS, noise)
    torch.testing.assert_close(soft.sum(-1), torch.zeros(4000), atol=1e-5, rtol=0)
    right = (soft.gather(1, codes[:, None])[:, 0] + 1 / BONDS).mean()
    if beta == 0.0:
        assert float(soft.abs().max()) < 1e-6
    assert (1 / BONDS) - 1e-3 <= float(right) <= 1.0 and (beta < 20.0 or float(right) > 0.99)
    assert bool((evidence(codes, torch.ones(4000, dtype=torch.bool), BONDS) == 0).all())


def test_categorical_draws_by_its_probabilities() -> None:
    logits = torch.tensor([0.1, 0.6, 0.3]).log().expand(20_000, 3)
    drawn = categorical(logits, torch.rand(20_000, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(
        torch.bincount(drawn) / 20_000, torch.tensor([0.1, 0.6, 0.3]), atol=0.015, rtol=0
    )
    assert categorical(torch.zeros(1, 3), torch.ones(1)).item() == 2, (
        "a uniform number of 1 leaves the last kind, not one beyond"
    )


def test_tokens_and_back() -> None:
    molecule = Molecule.from_smiles("C[NH2+]CC(=O)[O-]")
    made = tokens_of(
        molecule.numbers, molecule.formal_charges, molecule.bonds, molecule.bond_orders
    )
    assert made is not None
    types, bonds, _ = made
    back, carrier = graph_of(types, bonds)
    assert (
        sorted(back.numbers.tolist()) == sorted(molecule.numbers.tolist())
        and back.charge == 0
        and len(carrier) == 7
    )
    np.testing.assert_array_equal(np.array(CAPACITY)[types], bonds.sum(1))
    silane = Molecule.from_smiles("C[SiH3]")
    assert (
        tokens_of(silane.numbers, silane.formal_charges, silane.bonds, silane.bond_orders) is None
    )


@pytest.mark.parametrize(
    "smiles",
    ["C", "CO", "CC#C", "C=CO", "CC(C)(C)N", "C1CC1", "NC=O", "CC(O)C", "[NH3+]CC(=O)[O-]"],
)
def test_hydrogens_start_beside_their_atoms_and_apart(smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    made = tokens_of(
        molecule.numbers, molecule.formal_charges, molecule.bonds, molecule.bond_orders
    )
    assert made is not None
    types, bonds, heavy = made
    from equidrift.registry import make_model

    heavy_A = make_model("etkdg").sample(molecule, np.array([1]))[0][heavy]
    places = first_places(types, bonds, heavy_A, np.random.default_rng(0))
    _, carrier = graph_of(types, bonds)
    np.testing.assert_allclose(np.linalg.norm(places - heavy_A[carrier], axis=1), 1.0, atol=0.02)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)[np.triu_indices(len(places), 1)]
    others = np.linalg.norm(places[:, None] - heavy_A[None], axis=-1)
    others[np.arange(len(places)), carrier] = 9.0
    assert apart.min(initial=9.0) > 1.2 and others.min(initial=9.0) > 1.2


def test_too_many_hydrogens_are_still_placed() -> None:
    bonds = np.array([[0, 3, 0], [3, 0, 1], [0, 1, 0]])
    places = first_places(
        np.array([TYPE_OF[6, 0, 3]] * 3),
        bonds,
        np.array([[0.0, 0, 0], [1.2, 0, 0], [2.6, 0, 0]]),
        RNG,
    )
    assert places.shape == (9, 3) and np.isfinite(places).all()


def test_broken_valences_are_found() -> None:
    draws = Draws.of(np.array([1, 2]), 2)
    walk = Walk(torch.tensor([3, 3]), draws, None, 2, torch.device("cpu"))
    types = torch.zeros(2, 9, dtype=torch.long)
    types[:, :3] = torch.tensor(ALCOHOL)
    bonds = torch.zeros(2, 9, 9, dtype=torch.long)
    for i, j in ((0, 1), (1, 2)):
        bonds[:, i, j] = bonds[:, j, i] = 1
    nothing = torch.zeros(2, 9, dtype=torch.bool), torch.zeros(2, 9, 9, dtype=torch.bool)
    assert not walk.broken(types, bonds, *nothing).any()
    bonds[1, 0, 1] = bonds[1, 1, 0] = 2  # one too many at both ends
    found = walk.broken(types, bonds, *nothing)
    assert found[1, :3].tolist() == [True, True, False] and not found[0].any()
    again = walk.hide_again(types, bonds, *nothing, 1, Way(rehide=0.0, repair=1.0))
    assert again[0][1, :2].all() and not again[0][0].any() and not again[1][0].any()
    hidden = nothing[1].clone()
    hidden[1, 0, 1] = hidden[1, 1, 0] = True
    assert not walk.broken(types, bonds, nothing[0], hidden).any(), (
        "what is hidden breaks nothing yet"
    )


@pytest.mark.long
def test_samples_are_mostly_molecules(model: JointModel) -> None:
    """At the full number of steps nearly every atom has its valence, with sound bond
    lengths: a tenth of broken ones would fail.
    """
    raws = [raw for raw in model.sample(np.arange(12)) if raw is not None]
    assert len(raws) == 12
    right = total = 0
    for molecule, positions in raws:
        order = np.zeros(molecule.n_atoms)
        for (i, j), o in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
            order[[i, j]] += o
            assert 0.8 < np.linalg.norm(positions[i] - positions[j]) < 1.9
        valence = {(z, q): CAPACITY[k] + h for k, (z, q, h) in enumerate(TYPES)} | {(1, 0): 1}
        right += sum(
            valence[z, q] == o
            for z, q, o in zip(
                molecule.numbers.tolist(),
                molecule.formal_charges.tolist(),
                order.tolist(),
                strict=True,
            )
        )
        total += molecule.n_atoms
    assert right / total > 0.9


def test_several_targets_at_once_and_aliases(model: JointModel) -> None:
    seeds = np.arange(3)
    plain = model.sample(seeds, targets={"mu_D": 2.5, "gap_eV": 7.0}, steps=4)
    alias = model.sample(seeds, targets={"gap_eV": 7, "dipole_D": 2.5}, steps=4)
    for one, other in zip(plain, alias, strict=True):
        assert one is not None and other is not None and one[0].key() == other[0].key()
    guided = model.sample(seeds, targets={"alpha_bohr3": 40.0}, guidance=2.0, steps=4)
    large = model.sample(seeds, targets={"alpha_bohr3": 100.0}, guidance=2.0, steps=4)
    count = [sum(raw[0].n_atoms for raw in raws if raw is not None) for raws in (guided, large)]
    assert count[0] < count[1], "the number of atoms follows the polarisability"


def test_targets_a_sample_equal_targets_of_all(model: JointModel) -> None:
    wanted = np.full((2, len(PROPERTIES)), np.nan)
    wanted[:, PROPERTIES.index("gap_eV")] = 7.0, 5.0
    for k, value in enumerate((7.0, 5.0)):
        one, other = (
            model.sample_many(np.arange(2), wanted, steps=4)[k],
            model.sample(np.arange(2), targets={"gap_eV": value}, steps=4)[k],
        )
        assert one is not None and other is not None and one[0].key() == other[0].key()


def embedded(smiles: str) -> tuple[Molecule, np.ndarray]:
    from equidrift.registry import make_model

    molecule = Molecule.from_smiles(smiles)
    return molecule, make_model("etkdg").sample(molecule, np.array([5]))[0] + np.array(
        [1.0, -2.0, 3.0]
    )


def ethanol() -> tuple[Molecule, np.ndarray]:
    return embedded("CCO")


@pytest.mark.parametrize("sampler", ["diffusion", "bfn"])
def test_a_fragment_is_held_exactly(sampler: Any) -> None:
    molecule, positions = ethanol()
    for raw in JointModel("joint", sampler=sampler).sample(
        np.arange(4), fragment=(molecule, positions), steps=12
    ):
        assert raw is not None
        assert (raw[0].numbers > 1).sum() > 3, "something is grown"
        assert hydrogens_kept(raw, molecule, positions) <= 6


@pytest.mark.parametrize("sampler", ["diffusion", "bfn"])
def test_hydrogens_keep_their_places_where_nothing_new_can_take_them_all(sampler: Any) -> None:
    """One atom is grown on eight, so that at most four of octane's eighteen hydrogens
    can give way.
    """
    molecule, positions = embedded("CCCCCCCC")
    for raw in JointModel("joint", sampler=sampler).sample(
        np.arange(2), fragment=(molecule, positions), steps=12
    ):
        assert raw is not None
        assert 14 <= hydrogens_kept(raw, molecule, positions) <= 18


def hydrogens_kept(raw: Any, molecule: Molecule, positions: np.ndarray) -> int:
    """How many hydrogens of a held fragment are there, each in a place of its own; its
    heavy atoms and bonds must be.
    """
    made, x = raw
    size = int((molecule.numbers > 1).sum())
    np.testing.assert_array_equal(made.numbers[:size], molecule.numbers[:size])
    np.testing.assert_array_equal(x[:size], positions[:size])
    inside = molecule.bonds.max(1) < size
    wanted = {
        (i, j): o
        for (i, j), o in zip(
            molecule.bonds[inside].tolist(), molecule.bond_orders[inside].tolist(), strict=True
        )
    }
    assert {
        (i, j): o
        for (i, j), o in zip(made.bonds.tolist(), made.bond_orders.tolist(), strict=True)
        if max(i, j) < size
    } == wanted
    count = 0
    for atom in range(size):
        here, before = (m.bonds[(m.bonds == atom).any(1)].max(1) for m in (made, molecule))
        here, before = here[made.numbers[here] == 1], before[molecule.numbers[before] == 1]
        apart = np.linalg.norm(x[here][:, None] - positions[before], axis=-1).reshape(
            len(here), len(before)
        )
        places = apart.argmin(1) if len(here) else np.zeros(0, int)
        assert len(here) <= len(before) and len(set(places.tolist())) == len(here), (
            "no hydrogen is added, and none shares a place"
        )
        assert (apart.min(1, initial=np.inf) < 1e-9).all(), "hydrogens that stay keep their places"
        count += len(here)
    return count


def test_two_fragments_are_held_in_their_places(model: JointModel) -> None:
    molecule, positions = ethanol()
    n = molecule.n_atoms
    two = Molecule(
        np.concatenate([molecule.numbers] * 2),
        np.concatenate([molecule.bonds, molecule.bonds + n]),
        np.concatenate([molecule.bond_orders] * 2),
        np.concatenate([molecule.formal_charges] * 2),
    )
    places = np.concatenate([positions, positions + np.array([5.0, 0.0, 0.0])])
    for raw in model.sample(np.arange(3), fragment=(two, places), steps=12):
        assert raw is not None
        np.testing.assert_array_equal(raw[1][:6], places[two.numbers > 1])


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("CCCCCCCCC", "9 heavy atoms"),
        ("C[Si](C)C", "it has Si"),
        ("[H][H]", "no heavy atom"),
        ("c1ccccc1", "Kekulise"),
        ("FC(F)(F)F", "no hydrogen"),
    ],
)
def test_fragments_that_cannot_be_held(smiles: str, message: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    if smiles == "c1ccccc1":
        orders = np.where((molecule.numbers[molecule.bonds] == 6).all(1), 1.5, 1.0)
        molecule = molecule.replace(bond_orders=orders)
    with pytest.raises(InputError, match=message):
        Fragment.of(molecule, np.zeros((molecule.n_atoms, 3)))


def test_fragment_with_wrong_positions() -> None:
    molecule, positions = ethanol()
    with pytest.raises(InputError, match="shape"):
        Fragment.of(molecule, positions[:-1])
    with pytest.raises(InputError, match="finite"):
        Fragment.of(molecule, positions * np.nan)


def test_a_draw_refuses_an_option_that_it_does_not_know() -> None:
    model: Any = JointModel(device="cpu")
    with pytest.raises(TypeError, match="'guidnce'"):
        model.sample(np.arange(1), steps=2, guidnce=2.0)


def test_options_that_cannot_be() -> None:
    with pytest.raises(UnknownNameError, match="diffusion"):
        JointModel("joint", sampler="ddim")  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="joint"):
        JointModel("refine")


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return {
        "data": packed(tmp_path / "set.npz"),
        "network": SIZES,
        "batch": 4,
        "schedule": {"steps": 6},
        "half_precision": False,
    }


def test_resume_equals_an_uninterrupted_run(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    whole = train.run_training(config, tmp_path / "whole", None)
    update = Trainer._update

    def stopped(self: Trainer, *args: Any) -> float:
        if self.step == 3:
            self.save()
            raise Killed
        return update(self, *args)

    monkeypatch.setattr(Trainer, "_update", stopped)
    with pytest.raises(Killed):
        train.run_training(config, tmp_path / "parts", None)
    monkeypatch.setattr(Trainer, "_update", update)
    parts = train.run_training(config, tmp_path / "parts", None, resume=True)
    assert whole["steps"] == parts["steps"] == 6 and whole["conditioned"] == 3
    one, other = (load_weights(str(summary["weights"]))[0] for summary in (whole, parts))
    assert all(
        bool((one[name] == other[name]).all()) for name in one
    )  # the files differ in the minutes that their descriptions tell
    JointModel(str(parts["weights"])).sample(np.arange(2), targets={"gap_eV": 0.0}, steps=2)


def test_half_b_is_never_conditioned_on(config: dict[str, Any]) -> None:
    data = train.training_molecules(train.JointTraining.model_validate(config))
    batches = Batches(
        data, torch.zeros(len(PROPERTIES)), torch.ones(len(PROPERTIES)), size=6, seed=0
    )
    examples = [batches(step) for step in range(40)]
    given = torch.cat([e.targets.given.any(1)[~e.clean.conditional] for e in examples])
    known = torch.cat([e.targets.given.any(1)[e.clean.conditional] for e in examples])
    assert not given.any() and 0.6 < float(known.float().mean()) < 0.95


def test_a_lower_limit_of_the_signal_weighs_sharp_places_less(
    config: dict[str, Any], tmp_path: Path
) -> None:
    found = []
    for signal in ((0.05, 400.0), (0.05, 1.5), (0.05, 0.1)):
        c = train.JointTraining.model_validate(config | {"signal": signal})
        network = train.make_network(c)
        task = train.make_task(c, network, tmp_path)
        found.append(sum(float(task.loss(network, task.batches(k)).detach()) for k in range(4)))
    assert found[0] > 1.05 * found[1] and found[1] > 1.05 * found[2]


def test_training_lowers_the_loss(config: dict[str, Any]) -> None:
    c = train.JointTraining.model_validate(config)
    network = train.make_network(c)
    example = Batches(train.training_molecules(c), torch.zeros(12), torch.ones(12), size=6, seed=0)(
        0
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = joint_loss(network, example)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, r"steps must lie in 1 \.\. 1000, not 0"),
        ({"guidance": -1.0}, "guidance must be 0 .* or more, and finite, not -1"),
        ({"guidance": np.inf}, "guidance must be 0 .* or more, and finite, not inf"),
    ],
)
def test_numbers_of_a_draw_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        JointModel(device="cpu").sample(np.arange(1), targets={"gap_eV": 7.0}, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batsh": 3}, "batsh"),
        ({"network": {"layers": 3}}, "layers"),
        ({"init": "refine"}, "task"),
        ({"condition_on": "c"}, "condition_on"),
    ],
)
def test_configs_that_do_not_fit(
    config: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train.run_training({**config, **change}, tmp_path / "out", None)


def test_data_without_a_usable_molecule(config: dict[str, Any], tmp_path: Path) -> None:
    config["data"] = packed(tmp_path / "large.npz", ("CCCCCCCCCCC", "C[SiH3]"))
    with pytest.raises(InputError, match="9 heavy atoms"):
        train.run_training(config, tmp_path / "out", None)


def test_tokens_of_a_file(config: dict[str, Any]) -> None:
    from equidrift.models.molecules.data import load_qm9

    qm9 = load_qm9(config["data"])
    heavy = heavy_tokens(qm9, qm9.rows("train"), conditional=np.ones(len(qm9), bool))
    assert heavy.mask.sum(1).tolist() == [3, 4, 4, 5, 4, 4]
    torch.testing.assert_close(
        (heavy.x * heavy.mask[..., None]).sum(1), torch.zeros(6, 3), atol=1e-5, rtol=0
    )
    np.testing.assert_array_equal(
        np.array(CAPACITY)[heavy.types.numpy()] * heavy.mask.numpy(), heavy.bonds.sum(2).numpy()
    )


def test_additive_estimate_is_the_exact_posterior_of_a_sum(config: dict[str, Any]) -> None:
    """With one variable hidden the gains are Bayes' rule of a normal residual, to be
    had by trying each value.
    """
    data = train.training_molecules(train.JointTraining.model_validate(config))
    torch.manual_seed(0)
    kinds, pairs = len(TYPES), 10 * (BONDS - 1)
    model = Additive.of(
        {"solved": torch.randn(12, 1 + kinds + pairs).tolist(), "residual": [0.5] * 12}
    )
    types = torch.nn.functional.one_hot(data.types, kinds).double() * data.mask[..., None]
    off = data.mask[:, :, None] & data.mask[:, None] & ~torch.eye(9, dtype=torch.bool)
    bonds = torch.nn.functional.one_hot(data.bonds, BONDS).double() * off[..., None]

    def value(types: torch.Tensor, bonds: torch.Tensor, k: int) -> torch.Tensor:
        element = torch.tensor(
            [[float(z == e) for e in (6, 7, 8, 9)] for z, _, _ in TYPES], dtype=torch.float64
        )
        e = types @ element
        pair = torch.einsum("bijo,bie,oef,bjf->b", bonds, e, model.bonds[k].double(), e)
        return model.offset[k] + (types @ model.types[k].double()).sum(1) + 0.5 * pair

    wanted, given_ = (
        torch.zeros(len(data), 12, dtype=torch.float64),
        torch.zeros(len(data), 12, dtype=torch.bool),
    )
    wanted[:, 4], given_[:, 4] = 1.3, True
    soft = types.clone()
    soft[:, 1] = 1.0 / kinds
    gain = model.gains(soft, bonds, wanted, given_)[0][:, 1].log_softmax(-1)
    each = []
    for kind in range(kinds):
        tried = types.clone()
        tried[:, 1] = torch.nn.functional.one_hot(torch.tensor(kind), kinds)
        each.append(-0.5 * ((1.3 - value(tried, bonds, 4)) / 0.5) ** 2)
    torch.testing.assert_close(gain, torch.stack(each, dim=1).log_softmax(-1), atol=1e-5, rtol=1e-5)
    soft_bonds = bonds.clone()
    soft_bonds[:, 0, 2] = soft_bonds[:, 2, 0] = 1.0 / BONDS
    gain = model.gains(types, soft_bonds, wanted, given_)[1]
    torch.testing.assert_close(gain, gain.transpose(1, 2))
    each = []
    for order in range(BONDS):
        tried = bonds.clone()
        tried[:, 0, 2] = tried[:, 2, 0] = torch.nn.functional.one_hot(torch.tensor(order), BONDS)
        each.append(-0.5 * ((1.3 - value(types, tried, 4)) / 0.5) ** 2)
    torch.testing.assert_close(
        gain[:, 0, 2].log_softmax(-1),
        torch.stack(each, dim=1).log_softmax(-1),
        atol=1e-5,
        rtol=1e-5,
    )


def test_additive_fit_finds_what_is_additive(config: dict[str, Any]) -> None:
    data = train.training_molecules(train.JointTraining.model_validate(config))
    data.props[:] = data.mask.sum(1, keepdim=True).float()  # a property that every atom adds one to
    fitted = Additive.fit(data, torch.zeros(12), torch.ones(12))
    assert float(fitted.residual.max()) < 0.05
    again = Additive.of(fitted.card())
    for one, other in zip(vars(fitted).values(), vars(again).values(), strict=True):
        torch.testing.assert_close(one, other)
