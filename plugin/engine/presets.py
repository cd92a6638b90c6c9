"""How conformers are chosen, and sets of options for what they are wanted for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from equidrift.arguments import check_count
from equidrift.errors import InputError, UnknownNameError

SELECTIONS = ("auto", "coverage", "energy", "diverse", "none")  # which become conformers
BY_ENERGY = ("coverage", "energy")  # those that rank relaxed candidates
MOST_EFFORT = 20  # candidates for a conformer

# preset -> options of `equidrift.sample` and the values it gives them
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # half of the candidates: some .05 A farther from the references, at 0.7 of the price
        "fast": {"effort": 4},
        # what is populated at room temperature, each once, the lowest first
        "ensemble": {"effort": 16, "distinct": True, "window_kcal_mol": 6.0, "sort": "energy"},
        # many shapes: energies in vacuum, which favours folded ones, leave none out
        "docking": {"effort": 16, "prune_rms_A": 0.5},
        # few draws of a large ring are low, and their energies lie far apart
        "macrocycle": {
            "effort": 20,
            "distinct": True,
            "window_kcal_mol": 10.0,
            "sort": "energy",
        },
    }
)

# option of `equidrift.sample` -> its name on the command line, if that is another one
OPTION_NAMES = {"prune_rms_A": "prune", "window_kcal_mol": "window"}


def check_choice(select: str, effort: int) -> None:
    """Refuse a way to choose conformers that there is not, or too many candidates.

    Raises
    ------
    InputError
        For a value out of its range; InputTypeError if the effort is no integer.
    """
    if select not in SELECTIONS:
        raise InputError(f"select must be one of {', '.join(SELECTIONS)}, not {select!r}")
    if check_count("effort", effort) > MOST_EFFORT:
        raise InputError(f"effort must lie in 1 .. {MOST_EFFORT}, not {effort}")


def preset_options(name: str | None) -> dict[str, Any]:
    """The options that a preset sets, none for None.

    Raises
    ------
    UnknownNameError
        For another name, with the nearest one.
    """
    if name is None:
        return {}
    if name not in PRESETS:
        raise UnknownNameError("preset", str(name), list(PRESETS))
    return dict(PRESETS[name])


def with_preset(
    name: str | None, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Options (name -> value) of which those at their defaults take the preset's values.

    `distinct` and `prune_rms_A` exclude each other: one that is given takes the place
    of the preset's other.
    """
    preset = preset_options(name)
    exclusive = {"distinct", "prune_rms_A"}
    given = {
        key
        for key in set(preset) | exclusive
        if key in options and options[key] != defaults.get(key)
    }
    if given & exclusive:
        given |= exclusive
    return {**options, **{key: value for key, value in preset.items() if key not in given}}


def preset_text(name: str) -> str:
    """What a preset sets, as the options of the command: `--effort 8, --prune 0.5`."""
    return ", ".join(_as_option(key, value) for key, value in preset_options(name).items())


def _as_option(key: str, value: object) -> str:
    flag = f"--{OPTION_NAMES.get(key, key)}"
    if value is True:
        return flag
    return f"{flag} {value:g}" if isinstance(value, float) else f"{flag} {value}"
