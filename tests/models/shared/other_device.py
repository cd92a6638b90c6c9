"""A device that is another one than the default, where there is none.

Torch tells `cpu:0` from `cpu`. Within `OtherDevice` a tensor that was made on, or moved
to, `cpu:0` is marked, says so when it is asked, and marks what is made of it. Whatever a
GPU would refuse is refused: an operation on a marked and an unmarked tensor, and a
marked tensor handed to numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

OTHER = torch.device("cpu", 0)
DEFAULT = torch.device("cpu")
MARK = "_on_other_device"
# these take tensors of several devices, on a GPU too
MIXED = {
    "__getitem__",  # an index may lie on the CPU
    "copy_",
    "to",
    "cpu",
    "type_as",
    "data",
    "__get__",
    "__set__",
    "grad",
    "load_state_dict",
    "set_",
    "_has_compatible_shallow_copy_type",
}
TO_HOST = {"cpu", "item", "tolist", "__float__", "__int__", "__bool__", "__index__", "__len__"}


class WrongDevice(AssertionError):
    """What torch would raise on a GPU."""


def marked(x: Tensor) -> bool:
    """Whether a tensor is on the other device."""
    return bool(getattr(x, MARK, False))


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from tensors(inner)


def mark(value: Any, on: bool) -> Any:
    """The value with all of its tensors marked or not."""
    for x in tensors(value):
        setattr(x, MARK, on)
    return value


def asked(args: Any, kwargs: dict[str, Any]) -> torch.device | None:
    """The device that an argument names."""
    values = [kwargs.get("device"), *(a for a in args if isinstance(a, str | torch.device))]
    for value in values:
        if isinstance(value, torch.device):
            return value
        if isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda", "meta"):
            return torch.device(value)
    return None


class OtherDevice(TorchFunctionMode):
    """See the module."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        seen = [x for x in tensors([args, kwargs]) if isinstance(x, Tensor)]
        if func == Tensor.device.__get__:
            return OTHER if marked(args[0]) else func(*args, **kwargs)
        on = any(marked(x) for x in seen)
        if on and name == "numpy":
            raise WrongDevice("a tensor of the other device is handed to numpy; call .cpu() first")
        strangers = [x for x in seen if not marked(x) and x.ndim > 0]
        if name == "__setitem__":  # the index may lie on the CPU, and so may a number
            strangers = [x for x in tensors(args[2]) if not marked(x) and x.ndim > 0]
        if on and strangers and name not in MIXED:
            raise WrongDevice(
                f"{name}: tensors of two devices, {len(strangers)} on the default one"
            )
        made = func(*args, **kwargs)
        device = asked(args, kwargs)
        if name == "to" and len(args) > 1 and isinstance(args[1], Tensor):
            return mark(fresh_object(made, args[0]), marked(args[1]))
        if device is not None:
            return mark(fresh_object(made, args[0] if args else None), device == OTHER)
        if name in TO_HOST:
            return mark(fresh_object(made, args[0]), False)
        return mark(made, on) if on else made


def fresh_object(made: Any, source: Any) -> Any:
    """`to` and `cpu` may give the tensor itself; a mark must not go back to it."""
    if isinstance(made, Tensor) and made is source:
        with torch._C.DisableTorchFunction():
            return made.view_as(made)
    return made


def move(module: nn.Module) -> None:
    """Mark what a module holds."""
    mark([*module.parameters(), *module.buffers()], True)


def modules_in(value: Any, depth: int = 4) -> Iterator[nn.Module]:
    """The modules that an object of a model holds."""
    if isinstance(value, nn.Module):
        yield value
    elif depth and hasattr(value, "__dict__"):
        for inner in vars(value).values():
            yield from modules_in(inner, depth - 1)
