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
from safetensors.torch import load_file, save_file

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


@pytest.mark.parametrize("at", ["batch", "optimiser"])
def test_interrupted_training_keeps_its_last_whole_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def trainer() -> Trainer:
        torch.manual_seed(0)
        return Trainer(torch.nn.Linear(2, 2), Schedule(steps=6), tmp_path, batches)

    def batches(step: int) -> torch.Tensor:
        return torch.full((3, 2), float(step))

    def loss(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = net(x).square().mean()
        return made

    whole = trainer()
    whole.fit(batches, loss, math.inf)
    (tmp_path / "checkpoint.json").unlink()

    def interrupted(step: int) -> torch.Tensor:
        if step == 3 and at == "batch":
            raise KeyboardInterrupt
        if step == 3:
            monkeypatch.setattr(again.averaged, "update_parameters", stop)
        return batches(step)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    again = trainer()
    with pytest.raises(KeyboardInterrupt):
        again.fit(interrupted, loss, math.inf)
    resumed = trainer()
    # between the optimiser's step and the average's nothing is written: what there was is kept
    assert resumed.resume() == (at == "batch") and resumed.step == (3 if at == "batch" else 0)
    resumed.fit(batches, loss, math.inf)
    assert torch.equal(resumed.ema["weight"], whole.ema["weight"])


def test_interrupted_held_out_loss_leaves_the_network_as_it_is(tmp_path: Path) -> None:
    def interrupted(step: int) -> torch.Tensor:
        raise KeyboardInterrupt

    trainer = Trainer(torch.nn.Linear(2, 2), Schedule(steps=2), tmp_path, interrupted)
    with torch.no_grad():
        trainer.network.weight.add_(1.0)
    was = trainer.network.weight.detach().clone()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(interrupted, lambda net, x: net(x).sum(), math.inf)
    assert torch.equal(trainer.network.weight, was)


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


@pytest.fixture
def checkpoint(tmp_path: Path) -> Trainer:
    """A trainer that took two steps and keeps a checkpoint of them."""
    trainer = Trainer(torch.nn.Linear(2, 2), Schedule(steps=2), tmp_path)
    batches = (lambda step: torch.full((3, 2), float(step)), lambda net, x: net(x).square().mean())
    trainer.fit(*batches, math.inf)
    return trainer


def weights_and_counters(trainer: Trainer) -> list[Any]:
    """What a resume takes over."""
    state = trainer.optimiser.state_dict()["state"]
    tensors = [*trainer.network.state_dict().values(), *trainer.ema.values()]
    tensors += [value for held in state.values() for value in held.values()]
    return [trainer.step, trainer.samples, *(t.flatten().tolist() for t in tensors)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"file": "../../x.safetensors"}, "file"),
        ({"file": "/etc/checkpoint-2.safetensors"}, "file"),
        ({"file": "checkpoint-2.safetensors/../../x"}, "file"),
        ({"file": 2}, "file"),
        ({"file": None}, "file"),
        ({"step": "2"}, "step"),
        ({"step": -1}, "step"),
        ({"step": 2.5}, "step"),
        ({"step": True}, "step"),
        ({"samples": [6]}, "samples"),
        ({"seconds": "long"}, "seconds"),
        ({"seconds": math.nan}, "seconds"),
        ({"seconds": -1.0}, "seconds"),
        ({"held_out_losses": {"after": "low"}}, "held_out_losses.after"),
        ({"held_out_losses": {"later": 1.0}}, "held_out_losses.later"),
        ({"held_out_losses": [1.0]}, "held_out_losses"),
        ({"epoch": 3}, "epoch"),
    ],
)
def test_a_checkpoint_is_refused_by_file_and_field_when_a_counter_is_wrong(
    checkpoint: Trainer, change: dict[str, Any], field: str
) -> None:
    path = checkpoint.out / "checkpoint.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    before = weights_and_counters(checkpoint)
    with pytest.raises(WeightsError) as caught:
        checkpoint.resume()
    assert str(path) in str(caught.value) and field in str(caught.value)
    assert "\n" not in str(caught.value)
    assert weights_and_counters(checkpoint) == before


@pytest.mark.parametrize("field", ["file", "step", "samples", "seconds"])
def test_a_checkpoint_is_refused_by_file_and_field_when_a_counter_is_missing(
    checkpoint: Trainer, field: str
) -> None:
    path = checkpoint.out / "checkpoint.json"
    kept = {key: value for key, value in json.loads(path.read_text()).items() if key != field}
    path.write_text(json.dumps(kept))
    with pytest.raises(WeightsError, match=f"the field '{field}' is missing") as caught:
        checkpoint.resume()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 5000, "\xff"])
def test_a_checkpoint_is_refused_with_its_file_when_it_is_no_object(
    checkpoint: Trainer, text: str
) -> None:
    path = checkpoint.out / "checkpoint.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        checkpoint.resume()


def test_a_checkpoint_is_resumed_when_a_held_out_loss_was_no_number(checkpoint: Trainer) -> None:
    checkpoint.held_out_losses = {"before": math.inf, "after": math.nan}
    checkpoint.save()
    assert checkpoint.resume()
    assert checkpoint.held_out_losses["before"] == math.inf
    assert math.isnan(checkpoint.held_out_losses["after"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "optimiser.0.exp_avg",
            torch.zeros(3, 2),
            r"exp_avg has shape \(3, 2\), expected",
        ),
        ("optimiser.1.step", torch.zeros(4), r"1.step has shape \(4,\), expected \(\)"),
        ("optimiser.0.momentum", torch.zeros(2, 2), "momentum is no state of AdamW"),
        ("optimiser.7.exp_avg", torch.zeros(2, 2), "optimiser.7.exp_avg is no state of AdamW"),
        ("optimiser.x.exp_avg", torch.zeros(2, 2), "optimiser.x.exp_avg is no state of AdamW"),
        ("optimiser.1.exp_avg_sq", None, "it lacks optimiser.1.exp_avg_sq"),
        ("ema.weight", torch.zeros(5, 2), r"another network: ema.weight has shape \(5, 2\)"),
        ("ema.bias", None, "another network: it lacks ema.bias"),
        ("network.weight", None, "another network: it lacks network.weight"),
        ("network.scale", torch.zeros(1), "another network: it has network.scale"),
    ],
)
def test_a_checkpoint_is_refused_by_its_tensor_when_it_is_of_another_run(
    checkpoint: Trainer, key: str, value: torch.Tensor | None, message: str
) -> None:
    path = checkpoint.out / "checkpoint-2.safetensors"
    tensors = {k: v for k, v in load_file(path).items() if k != key}
    save_file(tensors if value is None else tensors | {key: value}, path)
    before = weights_and_counters(checkpoint)
    with pytest.raises(WeightsError, match=message):
        checkpoint.resume()
    assert weights_and_counters(checkpoint) == before


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
