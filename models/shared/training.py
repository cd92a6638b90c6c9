"""The one training loop: EMA, clipping, time budget, held-out loss, full checkpoints and exact resume.

A checkpoint is a safetensors file (network, EMA, optimiser) and a JSON file (step, samples, seconds). Batches come from
`batch(step)`, a function of the step number, so a resumed run sees exactly the batches that an uninterrupted one sees.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, ValidationError
from torch import Tensor, nn

from equidrift.errors import ConfigError, InputError, WeightsError

Progress = Callable[[dict[str, float]], None]
# `data` of a training config: names, or a single one
Names = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value), Field(min_length=1)]


@contextmanager
def config_errors() -> Iterator[None]:
    """What a training config is refused with, as a `ConfigError`: a line per mistake, each with its field.

    An `InputError` from within goes through as it is.
    """
    try:
        yield
    except InputError:
        raise
    except ValidationError as error:
        raise ConfigError([_line(mistake) for mistake in error.errors()]) from error
    except TypeError as error:
        raise ConfigError([_unknown_argument(str(error))]) from error
    except ValueError as error:
        raise ConfigError([str(error)]) from error


def _line(mistake: Any) -> str:
    """One of pydantic's mistakes as `field: what is wrong, what was given`."""
    field = ".".join(str(part) for part in mistake["loc"])
    context, given = mistake.get("ctx", {}), mistake.get("input")
    known = {
        "missing": "is missing; give it",
        "extra_forbidden": "is no field of this config; `equidrift train FAMILY --template` lists them",
        "string_pattern_mismatch": f"must fit the pattern {context.get('pattern')}, not {given!r}",
        "literal_error": f"must be {context.get('expected')}, not {given!r}",
    }
    message = str(mistake["msg"]).removeprefix("Value error, ")
    text = known.get(mistake["type"])
    if text is None and mistake["type"] == "value_error":
        text = message
    if text is None:
        wanted = message.removeprefix("Input should be ").removeprefix("a valid ")
        text = f"must be {wanted}, not {given!r}"
    return f"{field}: {text}" if field else text


def _unknown_argument(message: str) -> str:
    """Python's complaint about a keyword, as `field.key: ...`."""
    match = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", message)
    if match is None:
        return message
    field = "schedule" if match[1] == Schedule.__name__ else "network"
    return f"{field}.{match[2]}: is no setting of the {field}"


def make_schedule(settings: Mapping[str, Any], **defaults: Any) -> Schedule:
    """The schedule of a config. Raises `ConfigError` for keys that it has not, or values that are no numbers above 0."""
    known = {field.name for field in dataclasses.fields(Schedule)}
    mistakes = []
    for key, value in settings.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            mistakes.append(f"schedule.{key}: is no setting of the schedule; {hint}")
        elif value is None and key == "steps":
            continue
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            mistakes.append(f"schedule.{key}: must be a number of 0 or more, not {value!r}")
        elif key in ("steps", "warmup_steps") and value != int(value):
            mistakes.append(f"schedule.{key}: must be a whole number, not {value!r}")
        elif key in ("hold", "ema") and value >= 1:
            mistakes.append(f"schedule.{key}: must be below 1, not {value!r}")
    if mistakes:
        raise ConfigError(mistakes)
    return Schedule(**{**defaults, **settings})


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


HELD_OUT = 0.05  # share of a user's data that is not trained on, so that its loss can be told
LEAST_GROUPS = 8  # molecules, trajectories or functions that there must be before one is held out
HELD_OUT_BATCHES = 8


def split(groups: Sequence[Hashable], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to hold out, whole groups (the rows of one molecule, say) at a time.

    Nothing is held out of fewer than `LEAST_GROUPS` groups.
    """
    names = list(dict.fromkeys(groups))
    count = 0 if share == 0 or len(names) < LEAST_GROUPS else max(1, round(share * len(names)))
    chosen = {names[k] for k in np.random.default_rng([seed, 0x5EED]).permutation(len(names))[:count]}
    held = np.array([group in chosen for group in groups], bool)
    return np.flatnonzero(~held), np.flatnonzero(held)


class Trainer:
    """Trains `network` on `loss(network, batch(step))`; the folder `out` keeps the checkpoint.

    Parameters
    ----------
    held_out : as `batch`, but of data that is not trained on: the mean loss of its first batches before and after
        the training (with the averaged weights) goes into the card. `held_out_loss` if it is not the training's.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        out: Path,
        held_out: Callable[[int], Any] | None = None,
        held_out_loss: Callable[[nn.Module, Any], Tensor] | None = None,
    ):
        self.network, self.schedule, self.out = network, schedule, out
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.98)
        )
        self.ema = {key: value.detach().clone() for key, value in network.state_dict().items()}
        self.step, self.samples, self.seconds = 0, 0, 0.0
        self.held_out, self.held_out_loss = held_out, held_out_loss
        self.held_out_losses: dict[str, float] = {}

    def card(self) -> dict[str, Any]:
        """What a card says of the run: all of it but `run` is a function of config, data, seed and steps."""
        return {
            "trained": {"steps": self.step, "samples": self.samples, "held_out_loss": dict(self.held_out_losses)},
            "run": {"minutes": round(self.seconds / 60, 2)},
        }

    def summary(self) -> dict[str, Any]:
        """What `run_training` returns of the run."""
        losses = {f"held_out_loss_{when}": value for when, value in self.held_out_losses.items()}
        return {"steps": self.step, "samples": self.samples, "minutes": self.seconds / 60, **losses}

    def fit(
        self, batch: Callable[[int], Any], loss: Callable[[nn.Module, Any], Tensor], budget_s: float, progress: Progress | None = None
    ) -> None:
        """Train until the budget (this run and those before it) or the number of steps is used up; always leaves a checkpoint."""
        begun = time.perf_counter() - self.seconds
        saved = time.perf_counter()
        running: float | None = None
        if self.step == 0 and budget_s > 0:
            self._hold_out("before", loss)
        self.network.train()
        while self.seconds < budget_s and (self.schedule.steps is None or self.step < self.schedule.steps):
            value = self._update(batch(self.step), loss, budget_s)
            running = value if running is None else 0.98 * running + 0.02 * value
            self.seconds = time.perf_counter() - begun
            if progress is not None and self.step % 20 == 0:
                progress(self._event(running, budget_s))
            if time.perf_counter() - saved > self.schedule.checkpoint_s:
                self.save()
                saved = time.perf_counter()
        if self.step:
            self._hold_out("after", loss)
        if progress is not None and running is not None:
            progress(self._event(running, budget_s))
        self.save()

    def _event(self, loss: float, budget_s: float) -> dict[str, float]:
        share = self.seconds / budget_s if self.schedule.steps is None else self.step / max(1, self.schedule.steps)
        return {"step": self.step, "loss": loss, "samples": self.samples, "seconds": self.seconds, "share": min(1.0, share)}

    def _hold_out(self, when: str, loss: Callable[[nn.Module, Any], Tensor]) -> None:
        """The mean loss of the held-out batches with the averaged weights; network and gradients are left as they were."""
        if self.held_out is None:
            return
        was = {key: value.detach().clone() for key, value in self.network.state_dict().items()}
        training = self.network.training
        self.network.load_state_dict(self.ema)
        self.network.eval()
        measure = self.held_out_loss or loss
        losses = []
        for k in range(HELD_OUT_BATCHES):
            with torch.enable_grad():  # a loss may be made of gradients
                losses.append(float(measure(self.network, self.held_out(k)).detach()))
        self.network.load_state_dict(was)
        self.network.train(training)
        self.network.zero_grad(set_to_none=True)
        self.held_out_losses[when] = float(np.mean(losses))

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
        counters: dict[str, Any] = {"file": name, "step": self.step, "samples": self.samples, "seconds": self.seconds}
        counters["held_out_losses"] = self.held_out_losses
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
        self.held_out_losses = dict(counters.get("held_out_losses", {}))
        return True
