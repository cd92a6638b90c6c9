"""What a checkpoint of a training holds, checked before a run goes on from it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from equidrift.errors import InputError, WeightsError
from equidrift.stored import StoredTraining, read_stored

OPTIMISER_STATE = {"step", "exp_avg", "exp_avg_sq"}  # what AdamW keeps of a parameter


def read(folder: Path) -> tuple[StoredTraining, dict[str, Tensor]] | None:
    """Counters and tensors of the checkpoint in a folder; None if there is none.

    Raises `WeightsError` with the file and the field for one that cannot be read.
    """
    path = folder / "checkpoint.json"
    if not path.exists():
        return None
    try:
        counters = read_stored(path, StoredTraining, "checkpoint")
    except InputError as error:
        raise WeightsError(f"{error}; give another output folder") from error
    return counters, _tensors(folder / counters.file)


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint's file; `WeightsError` if it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise WeightsError(
            f"the checkpoint {path} cannot be read ({error}); give another output folder"
        ) from error


def check_fits(tensors: dict[str, Tensor], module: nn.Module, part: str, problem: str) -> None:
    """Raise `WeightsError` if tensors are not the module's, by name and by shape."""
    wanted = module.state_dict()
    if other := sorted(wanted.keys() ^ tensors.keys()):
        has = "lacks" if other[0] in wanted else "has"
        told = f"it {has} {part}.{other[0]}"
    elif other := [key for key in wanted if tensors[key].shape != wanted[key].shape]:
        shapes = [tuple(at[other[0]].shape) for at in (tensors, wanted)]
        told = f"{part}.{other[0]} has shape {shapes[0]}, expected {shapes[1]}"
    else:
        return
    raise WeightsError(f"{problem}: {told}; give another output folder")


def optimiser_state(
    tensors: dict[str, Tensor], parameters: list[nn.Parameter], problem: str
) -> dict[int, dict[str, Tensor]]:
    """AdamW's state by parameter, from the entries `INDEX.NAME` of a checkpoint;
    `WeightsError` if it is not that of these parameters.
    """
    indices = {str(index) for index in range(len(parameters))}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        if name not in OPTIMISER_STATE or index not in indices:
            raise WeightsError(
                f"{problem}: optimiser.{key} is no state of AdamW for {len(parameters)} "
                "parameters; give another output folder"
            )
        wanted = torch.Size() if name == "step" else parameters[int(index)].shape
        if value.shape != wanted:
            raise WeightsError(
                f"{problem}: optimiser.{key} has shape {tuple(value.shape)}, expected "
                f"{tuple(wanted)}; give another output folder"
            )
        state.setdefault(int(index), {})[name] = value
    for place, held in state.items():
        if missing := OPTIMISER_STATE - held.keys():
            raise WeightsError(
                f"{problem}: it lacks optimiser.{place}.{min(missing)}; give another output folder"
            )
    return state


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
