"""Where networks run, and how much of a batch they take there."""

from __future__ import annotations

import torch

from equidrift.errors import InputError

Device = str | torch.device | None  # as a user gives it
GPU_FACTOR = 32  # a GPU starves on batches that fit the cache of a processor's core


def pick_device(device: Device) -> torch.device:
    """The device asked for; None is CUDA if there is one, else the CPU.

    Raises
    ------
    InputError
        For a device that torch does not know, or that is not there.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"device {str(device)!r} cannot be used ({reason}); give 'cpu', 'cuda' or 'cuda:0', or "
            "leave it out"
        ) from error
    return chosen


def short_products(device: torch.device, wanted: bool = True) -> torch.autocast:
    """A context in which networks multiply in bfloat16, if that is `wanted` and faster.

    It is on a GPU, and on a processor with AVX-512 or AMX; one with AVX2 alone converts
    each number, and took 5 times as long.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    faster = device.type != "cpu" or capability.startswith(("AVX512", "AMX"))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and faster)


def batch_size(on_cpu: int, device: torch.device) -> int:
    """What a batch may hold on a device.

    Parameters
    ----------
    on_cpu : int
        Pairs, atoms or samples whose tensors stay in the cache of a processor's core.
    device : torch.device
        Where the network runs.
    """
    return on_cpu if device.type == "cpu" else GPU_FACTOR * on_cpu
