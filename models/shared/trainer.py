"""The one training loop: averaged weights, clipping, time budget, held-out loss, full
checkpoints and exact resume.

A checkpoint is a safetensors file (network, averaged weights, optimiser) and a JSON
file (step, samples, seconds). Batches come from `batch(step)`, a function of the step
number, so a resumed run sees exactly the batches that an uninterrupted one sees.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from equidrift.models.shared import checkpoint
from equidrift.models.shared.history import History

Progress = Callable[[dict[str, float]], None]
Batches = Callable[[int], Any]  # step -> batch; its length is what a card calls samples
Loss = Callable[[nn.Module, Any], Tensor]
Tensors = tuple[Tensor, ...] | list[Tensor]
HELD_OUT_BATCHES = 8
NOTED_EVERY = 20  # steps between rows of the history, and between calls of `progress`


@dataclass(frozen=True)
class Stepped:
    """A batch that knows its step, for a loss that draws noise of its own."""

    data: Any
    step: int

    def __len__(self) -> int:
        return len(self.data)

    def seed(self, seed: int, salt: int) -> int:
        """A seed of this step, of the run's seed and of what it is for."""
        return (seed * 1_000_003 + self.step) ^ salt


def stepped(batches: Batches) -> Batches:
    """The same batches, each with its step."""
    return lambda step: Stepped(batches(step), step)


@dataclass(frozen=True)
class Schedule:
    """Optimiser settings.

    With `steps` the learning rate follows the step number, without it the share of the
    time budget.
    """

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
        return (
            self.learning_rate
            * warm
            * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, fall))))
        )


def _warm_average(ema: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """An exponential moving average that forgets the first weights: after n steps it
    keeps n / (9 + n), and `ema` at most.
    """

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, n: Tensor | int) -> None:
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)
            return
        keep = min(ema, int(n) / (9 + int(n)))
        torch._foreach_lerp_(averaged, current, 1 - keep)

    return average


class Trainer:
    """Trains `network` on `loss(network, batch(step))`; the folder `out` keeps the
    checkpoint.

    Parameters
    ----------
    held_out : Batches or None
        As `batch`, but of data that is not trained on: the mean loss of its first
        batches before and after the training (with the averaged weights) goes into the
        card. `held_out_loss` if it is not the training's.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        out: Path,
        held_out: Batches | None = None,
        held_out_loss: Loss | None = None,
    ):
        self.network, self.schedule, self.out = network, schedule, out
        self.optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
            betas=(0.9, 0.98),
        )
        self.averaged = AveragedModel(
            network, multi_avg_fn=_warm_average(schedule.ema), use_buffers=True
        )
        self.averaged.n_averaged.fill_(1)  # the mean begins with the first weights
        self.step, self.samples, self.seconds = 0, 0, 0.0
        self.whole = True  # False while weights, averages and counters are of different steps
        self.held_out, self.held_out_loss = held_out, held_out_loss
        self.held_out_losses: dict[str, float] = {}

    @property
    def ema(self) -> dict[str, Tensor]:
        """The averaged weights, as a state dict."""
        state: dict[str, Tensor] = self.averaged.module.state_dict()
        return state

    def card(self) -> dict[str, Any]:
        """What a card says of the run: all of it but `run` is a function of config,
        data, seed and steps.
        """
        return {
            "trained": {
                "steps": self.step,
                "samples": self.samples,
                "held_out_loss": dict(self.held_out_losses),
            },
            "run": {"minutes": round(self.seconds / 60, 2)},
        }

    def summary(self) -> dict[str, Any]:
        """What `run_training` returns of the run."""
        losses = {f"held_out_loss_{when}": value for when, value in self.held_out_losses.items()}
        return {"steps": self.step, "samples": self.samples, "minutes": self.seconds / 60, **losses}

    def fit(
        self, batch: Batches, loss: Loss, budget_s: float, progress: Progress | None = None
    ) -> None:
        """Train until the budget (this run and those before it) or the number of steps
        is used up; leaves a checkpoint, also if it is interrupted.
        """
        try:
            self._fit(batch, loss, budget_s, progress)
        except KeyboardInterrupt:
            if self.step and self.whole:
                self.save()
            raise

    def _fit(self, batch: Batches, loss: Loss, budget_s: float, progress: Progress | None) -> None:
        begun = time.perf_counter() - self.seconds
        saved = time.perf_counter()
        running: float | None = None
        history = History(self.out, self.step)
        if self.step == 0 and budget_s > 0:
            self._hold_out("before", loss)
        self.network.train()
        while self.seconds < budget_s and (
            self.schedule.steps is None or self.step < self.schedule.steps
        ):
            value = self._update(batch(self.step), loss, budget_s)
            running = value if running is None else 0.98 * running + 0.02 * value
            self.seconds = time.perf_counter() - begun
            if self.step % NOTED_EVERY == 0:
                self._note(history, running)
                if progress is not None:
                    progress(self._event(running, budget_s))
            if time.perf_counter() - saved > self.schedule.checkpoint_s:
                self.save()
                saved = time.perf_counter()
        if self.step:
            self._hold_out("after", loss)
        if running is not None:
            self._note(history, running)
            if progress is not None:
                progress(self._event(running, budget_s))
        self.save()

    def _note(self, history: History, loss: float) -> None:
        history.note(self.step, loss, self.optimiser.param_groups[0]["lr"], self.seconds)

    def share(self, budget_s: float) -> float:
        """Share of the run that is over: of the steps, or of the time where no steps
        are set.
        """
        return (
            self.seconds / budget_s
            if self.schedule.steps is None
            else self.step / max(1, self.schedule.steps)
        )

    def _event(self, loss: float, budget_s: float) -> dict[str, float]:
        share = min(1.0, self.share(budget_s))
        return {
            "step": self.step,
            "loss": loss,
            "samples": self.samples,
            "seconds": self.seconds,
            "share": share,
        }

    def _hold_out(self, when: str, loss: Loss) -> None:
        """The mean loss of the held-out batches with the averaged weights; network and
        gradients are left as they were.
        """
        if self.held_out is None:
            return
        was = {key: value.detach().clone() for key, value in self.network.state_dict().items()}
        training = self.network.training
        self.network.load_state_dict(self.ema)
        self.network.eval()
        measure = self.held_out_loss or loss
        losses = []
        try:
            for k in range(HELD_OUT_BATCHES):
                with torch.enable_grad():  # a loss may be made of gradients
                    losses.append(float(measure(self.network, self.held_out(k)).detach()))
        finally:
            self.network.load_state_dict(was)
            self.network.train(training)
            self.network.zero_grad(set_to_none=True)
        self.held_out_losses[when] = float(np.mean(losses))

    def _update(self, data: Any, loss: Loss, budget_s: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.step, self.share(budget_s))
        self.optimiser.zero_grad(set_to_none=True)
        value = loss(self.network, data)
        torch.autograd.backward(value)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip)
        self.whole = False
        if torch.isfinite(norm):  # a batch without a finite gradient is passed over
            self.optimiser.step()
        self.averaged.update_parameters(self.network)
        self.step += 1
        self.samples += len(data)
        self.whole = True
        return float(value.detach())

    def save(self) -> None:
        """Write the checkpoint; the JSON comes last, so that a kill in between leaves
        the old pair or the new one readable.
        """
        from safetensors.torch import save_file

        self.out.mkdir(parents=True, exist_ok=True)
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()} | {
            f"ema.{k}": v for k, v in self.ema.items()
        }
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        name = f"checkpoint-{self.step}.safetensors"
        unnamed = (
            self.out / "checkpoint.tmp"
        )  # this step may have a checkpoint already: it is replaced whole
        save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, str(unnamed))
        unnamed.replace(self.out / name)
        counters: dict[str, Any] = {
            "file": name,
            "step": self.step,
            "samples": self.samples,
            "seconds": self.seconds,
        }
        counters["held_out_losses"] = self.held_out_losses
        temporary = self.out / "checkpoint.json.tmp"
        temporary.write_text(json.dumps(counters))
        temporary.replace(self.out / "checkpoint.json")
        for old in self.out.glob("checkpoint-*.safetensors"):
            if old.name != name:
                old.unlink()

    def resume(self) -> bool:
        """Go on from the checkpoint in `out`; False if there is none.

        Everything is checked before anything is taken over.

        Raises
        ------
        WeightsError
            For a checkpoint that cannot be read, with the file and the field, and for
            one of another network or optimiser.
        """
        read = checkpoint.read(self.out)
        if read is None:
            return False
        counters, tensors = read
        own = f"the checkpoint in {self.out} is of another"
        network, ema = checkpoint.part(tensors, "network."), checkpoint.part(tensors, "ema.")
        checkpoint.check_fits(network, self.network, "network", f"{own} network")
        checkpoint.check_fits(ema, self.averaged.module, "ema", f"{own} network")
        state = checkpoint.optimiser_state(
            checkpoint.part(tensors, "optimiser."),
            list(self.network.parameters()),
            f"{own} optimiser",
        )
        self.network.load_state_dict(network)
        self.averaged.module.load_state_dict(ema)
        self.averaged.n_averaged.fill_(1 + counters.step)
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.step, self.samples = counters.step, counters.samples
        self.seconds = float(counters.seconds)
        self.held_out_losses = {str(when): loss for when, loss in counters.held_out_losses.items()}
        return True
