"""The training loop: resume, checkpoints, configs."""

from __future__ import annotations

import json
import math
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from equidrift.errors import ConfigError, InputError, WeightsError
from equidrift.models.conformers import train
from equidrift.models.conformers.data import ConformerSet
from equidrift.models.conformers.train import run_training
from equidrift.models.shared.config import make_schedule
from equidrift.models.shared.split import split
from equidrift.models.shared.trainer import Schedule, Trainer
from equidrift.weights import load_weights
from tests.models.networks import SIZES, small_set, small_weights


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    small_set().save(tmp_path / "set.npz")
    return {
        "task": "refine",
        "data": str(tmp_path / "set.npz"),
        "network": SIZES,
        "atoms_per_batch": 30,
        "schedule": {"steps": 6},
    }


@pytest.mark.parametrize("task", ["refine", "generate"])
def test_resume_equals_an_uninterrupted_run(
    config: dict[str, Any], tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**config, "task": task}
    run_training(config, tmp_path / "whole", None)

    class Killed(Exception):
        pass

    update = Trainer._update

    def stopped(self: Trainer, *args: Any) -> float:
        if self.step == 3:
            self.save()
            raise Killed
        return update(self, *args)

    torch.manual_seed(99)  # whatever the user's random state is
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "_update", stopped)
        run_training(config, tmp_path / "parts", None)
    result = run_training(config, tmp_path / "parts", None, resume=True)
    assert result["steps"] == 6
    whole, parts = (
        load_weights(tmp_path / name / "my-model.safetensors")[0] for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_kill_between_the_checkpoint_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(torch.nn.Linear(2, 2), Schedule(), tmp_path)
    trainer.step = 1
    trainer.save()
    kept = trainer.network.weight.detach().clone()
    trainer.step = 2
    with torch.no_grad():
        trainer.network.weight.add_(1.0)

    def killed(*args: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(json, "dumps", killed)
        trainer.save()
    again = Trainer(torch.nn.Linear(2, 2), Schedule(), tmp_path)
    assert again.resume() and again.step == 1 and torch.equal(again.network.weight, kept)
    trainer.save()
    assert again.resume() and again.step == 2 and len(list(tmp_path.glob("checkpoint-*"))) == 1


def test_broken_checkpoint_is_named(tmp_path: Path) -> None:
    trainer = Trainer(torch.nn.Linear(2, 2), Schedule(), tmp_path)
    assert not trainer.resume()
    trainer.save()
    with pytest.raises(WeightsError, match="another network"):
        Trainer(torch.nn.Linear(3, 2), Schedule(), tmp_path).resume()
    file = tmp_path / "checkpoint-0.safetensors"
    assert load_file(file)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(WeightsError, match="cannot be read"):
        trainer.resume()


@pytest.mark.parametrize(
    ("change", "budget", "message"),
    [
        ({"epochs": 3}, 1.0, "epochs"),
        ({"task": "dream"}, 1.0, "task"),
        ({"data": []}, 1.0, "data"),
        ({"network": {"widht": 3}}, 1.0, "widht"),
        ({"schedule": {"rate": 3}}, 1.0, "rate"),
        ({"level": "PM6"}, 1.0, "PM6"),
        ({"level_weights": {"PM6": 1.0}}, 1.0, "PM6"),
        ({}, 0.0, "must be positive"),
        ({"schedule": {}}, None, "--budget"),
        ({"data": "missing.sdf"}, 1.0, "no training data 'missing.sdf'"),
        ({"data": "x.xyz"}, 1.0, "suffix"),
        ({"init": "refin"}, 1.0, "Did you mean 'refine'"),
    ],
)
def test_config_errors(
    config: dict[str, Any],
    tmp_path: Path,
    change: dict[str, Any],
    budget: float | None,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        run_training({**config, **change}, tmp_path / "out", budget)
    assert not (tmp_path / "out").exists()


def test_checkpoint_without_resume(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "checkpoint.json").write_text("{}")
    with pytest.raises(InputError, match="--resume"):
        run_training(config, tmp_path, 1.0)


def test_empty_data(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConformerSet, "load", lambda path: ConformerSet.empty())
    with pytest.raises(InputError, match="no conformers in"):
        run_training(config, tmp_path, 1.0)


def test_init_takes_the_network_of_its_card(config: dict[str, Any], tmp_path: Path) -> None:
    path = small_weights(tmp_path)
    config = {
        **config,
        "init": str(path),
        "schedule": {"steps": 1, "learning_rate": 0.0},
        "network": {},
    }
    result = run_training(config, tmp_path / "out", None)
    begun, ended = load_weights(path)[0], load_weights(result["weights"])[0]
    assert all(torch.allclose(begun[key], ended[key]) for key in begun)
    with pytest.raises(InputError, match="another network"):
        run_training({**config, "network": {"width": 64}}, tmp_path / "other", None)


def test_a_refiner_starts_a_generator_but_not_the_other_way(
    config: dict[str, Any], tmp_path: Path
) -> None:
    config = {
        **config,
        "init": str(small_weights(tmp_path)),
        "schedule": {"steps": 1, "learning_rate": 0.0},
        "network": {},
    }
    made = run_training({**config, "task": "generate"}, tmp_path / "generator", None)
    begun, ended = load_weights(config["init"])[0], load_weights(made["weights"])[0]
    assert all(
        torch.allclose(begun[key], ended[key], rtol=0.01, atol=1e-3) for key in begun
    )  # stored as bfloat16
    with pytest.raises(InputError, match="is a model for task 'generate'"):
        run_training({**config, "init": made["weights"]}, tmp_path / "other", None)


def test_global_random_state_is_left_alone_and_does_not_matter(
    config: dict[str, Any], tmp_path: Path
) -> None:
    c = train.ConformerTraining.model_validate(config)
    before = torch.get_rng_state()
    first = train.first_network(c).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        second = train.first_network(c).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_config_errors_are_a_line_each_with_the_field(
    config: dict[str, Any], tmp_path: Path
) -> None:
    wrong = {
        "seed": -1,
        "atoms_per_batch": "many",
        "colour": 1,
        "name": "a b",
        "level": "PM6",
        "held_out": 0.9,
    }
    with pytest.raises(ConfigError) as caught:
        run_training({**config, **wrong}, tmp_path / "out", 1.0)
    fields = [line.partition(":")[0] for line in caught.value.mistakes]
    assert sorted(fields) == sorted(wrong)
    assert "http" not in str(caught.value) and "pydantic" not in str(caught.value).lower()
    assert all("\n" not in line for line in caught.value.mistakes)
    assert pickle.loads(pickle.dumps(caught.value)).mistakes == caught.value.mistakes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stepz": 3}, "schedule.stepz: is no setting of the schedule; did you mean steps?"),
        (
            {"learning_rate": "fast"},
            "schedule.learning_rate: must be a number of 0 or more, not 'fast'",
        ),
        ({"steps": 2.5}, "schedule.steps: must be a whole number, not 2.5"),
        ({"ema": 1.0}, "schedule.ema: must be below 1, not 1.0"),
    ],
)
def test_schedules_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_schedule(settings)


def test_split_keeps_groups_whole_and_few_together() -> None:
    groups = [k // 3 for k in range(300)]
    rows, held = split(groups, 0.1, seed=4)
    assert len(held) == 30 and sorted([*rows, *held]) == list(range(300))
    assert not {groups[k] for k in rows} & {groups[k] for k in held}
    assert (
        len(split(range(7), 0.3, 0)[1]) == 0
        and len(split(range(8), 0.01, 0)[1]) == 1
        and len(split(range(99), 0.0, 0)[1]) == 0
    )


def test_held_out_loss_leaves_the_training_as_it_is(config: dict[str, Any], tmp_path: Path) -> None:
    """Looking at the held-out batches changes no weight."""
    states = []
    for held_out in (None, lambda step: torch.ones(3, 2)):
        network = torch.nn.Linear(2, 1)
        with torch.no_grad():
            network.weight.fill_(1.0), network.bias.zero_()
        trainer = Trainer(network, Schedule(steps=4), tmp_path / str(held_out is None), held_out)
        trainer.fit(
            lambda step: torch.full((3, 2), float(step)),
            lambda net, x: net(x).square().mean(),
            math.inf,
        )
        states.append(trainer.ema)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert trainer.held_out_losses["after"] < trainer.held_out_losses["before"]


def test_averaged_weights_forget_the_first_ones_and_then_move_slowly(tmp_path: Path) -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    network.register_buffer("shift", torch.zeros(1))
    trainer = Trainer(network, Schedule(ema=0.5), tmp_path)
    wanted = float(network.weight.detach())
    for step, value in enumerate((1.0, -2.0, 5.0, 0.5) * 4):
        with torch.no_grad():
            network.weight.fill_(value)
        network.shift.fill_(value)
        trainer.averaged.update_parameters(network)
        keep = min(0.5, (1 + step) / (10 + step))
        wanted = keep * wanted + (1 - keep) * value
        assert float(trainer.ema["weight"]) == pytest.approx(wanted, rel=1e-5)
    assert float(trainer.ema["shift"]) != 0.0  # buffers are averaged too
