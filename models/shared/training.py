"""The one training loop: EMA, clipping, time budget, full checkpoints and exact resume.

A checkpoint is a safetensors file (network, EMA, optimiser) and a JSON file (step, samples, seconds). Batches come from
`batch(step)`, a function of the step number, so a resumed run sees exactly the batches that an uninterrupted one sees.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from equidrift.errors import InputError, WeightsError

Progress = Callable[[dict[str, float]], None]
# `data` of a training config: names, or a single one
Names = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value), Field(min_length=1)]


@contextmanager
def config_errors() -> Iterator[None]:
    """What a training config is refused with, as an `InputError` that says so; an `InputError` from within goes through as it is."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"the training config does not fit: {error}") from error


def check_run(out: Path, budget_s: float | None, steps: int | None, resume: bool) -> float:
    """The seconds that a run may take, infinity where only `steps` ends it.

    Raises
    ------
    InputError
        where neither a budget nor steps are given, for a budget that is not positive, or a folder `out` that holds a checkpoint when
        `resume` is not given.
    """
    if budget_s is None and steps is None:
        raise InputError("how long to train is not given; add --budget 25m, or `steps` to the schedule in the config")
    budget_s = math.inf if budget_s is None else budget_s
    if budget_s <= 0:
        raise InputError(f"the time budget must be positive, not {budget_s} s; for example --budget 25m")
    if (out / "checkpoint.json").exists() and not resume:
        raise InputError(f"{out} holds a checkpoint; add --resume to go on from it, or give another --output")
    return budget_s


@dataclass(frozen=True)
class Schedule:
    """Optimiser settings. With `steps` the learning rate follows the step number, without it the share of the time budget."""

    learning_rate: float = 1e-3
    warmup_steps: int = 200
    steps: int | None = None
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    checkpoint_s: float = 180.0
    hold: float = 0.3  # share of the run at the full learning rate before the cosine sets in

    def rate(self, step: int, share: float) -> float:
        """Learning rate at a step, `share` of the run being over."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        fall = max(0.0, (share - self.hold) / (1.0 - self.hold))
        return self.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, fall))))


class Trainer:
    """Trains `network` on `loss(network, batch(step))`; the folder `out` keeps the checkpoint."""

    def __init__(self, network: nn.Module, schedule: Schedule, out: Path):
        self.network, self.schedule, self.out = network, schedule, out
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.98)
        )
        self.ema = {key: value.detach().clone() for key, value in network.state_dict().items()}
        self.step, self.samples, self.seconds = 0, 0, 0.0

    def fit(
        self, batch: Callable[[int], Any], loss: Callable[[nn.Module, Any], Tensor], budget_s: float, progress: Progress | None = None
    ) -> None:
        """Train until the budget (this run and those before it) or the number of steps is used up; always leaves a checkpoint."""
        begun = time.perf_counter() - self.seconds
        saved = time.perf_counter()
        running: float | None = None
        self.network.train()
        while self.seconds < budget_s and (self.schedule.steps is None or self.step < self.schedule.steps):
            value = self._update(batch(self.step), loss, budget_s)
            running = value if running is None else 0.98 * running + 0.02 * value
            self.seconds = time.perf_counter() - begun
            if progress is not None and self.step % 20 == 0:
                progress({"step": self.step, "loss": running, "samples": self.samples, "seconds": self.seconds})
            if time.perf_counter() - saved > self.schedule.checkpoint_s:
                self.save()
                saved = time.perf_counter()
        self.save()

    def _update(self, data: Any, loss: Callable[[nn.Module, Any], Tensor], budget_s: float) -> float:
        share = self.seconds / budget_s if self.schedule.steps is None else self.step / self.schedule.steps
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.step, share)
        self.optimiser.zero_grad(set_to_none=True)
        value = loss(self.network, data)
        value.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip)
        if torch.isfinite(norm):  # a batch without a finite gradient is passed over
            self.optimiser.step()
        decay = min(self.schedule.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for key, parameter in self.network.state_dict().items():
                self.ema[key].lerp_(parameter, 1 - decay)
        self.step += 1
        self.samples += len(data)
        return float(value.detach())

    def save(self) -> None:
        """Write the checkpoint; the JSON comes last, so that a kill in between leaves the old pair or the new one readable."""
        from safetensors.torch import save_file

        self.out.mkdir(parents=True, exist_ok=True)
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()} | {f"ema.{k}": v for k, v in self.ema.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        name = f"checkpoint-{self.step}.safetensors"
        unnamed = self.out / "checkpoint.tmp"  # this step may have a checkpoint already: it is replaced whole
        save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, str(unnamed))
        unnamed.replace(self.out / name)
        counters = {"file": name, "step": self.step, "samples": self.samples, "seconds": self.seconds}
        temporary = self.out / "checkpoint.json.tmp"
        temporary.write_text(json.dumps(counters))
        temporary.replace(self.out / "checkpoint.json")
        for old in self.out.glob("checkpoint-*.safetensors"):
            if old.name != name:
                old.unlink()

    def resume(self) -> bool:
        """Go on from the checkpoint in `out`; False where there is none. Raises `WeightsError` for one that does not fit."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.out / "checkpoint.json"
        if not path.exists():
            return False
        try:
            counters = json.loads(path.read_text())
            tensors = load_file(str(self.out / counters["file"]))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise WeightsError(f"the checkpoint in {self.out} cannot be read ({error}); give another output folder") from error
        try:
            self.network.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("network.")})
        except RuntimeError as error:
            raise WeightsError(f"the checkpoint in {self.out} is of another network; give another output folder: {error}") from error
        self.ema = {k[4:]: v for k, v in tensors.items() if k.startswith("ema.")}
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimiser."):
                _, index, name = key.split(".", 2)
                state.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.step, self.samples, self.seconds = counters["step"], counters["samples"], counters["seconds"]
        return True
