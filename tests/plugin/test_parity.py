"""The command line and Python offer the same, but for what only one of them has a use
for.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

import equidrift
from equidrift.cli import forecast, generate, refine, sample
from equidrift.cli import md as md_command
from equidrift.engine import conformers as engine
from equidrift.engine import trajectories as trajectory_engine
from equidrift.files import trajectories as trajectory_formats
from equidrift.montecarlo import run as md
from equidrift.montecarlo.target import ChainSettings
from equidrift.scale import many

# options of the commands that have no counterpart: where results go, how they are shown, and
# who shares the work on a cluster
COMMAND_ONLY = {"output", "overwrite", "as_json", "strict", "shard"}
COMMAND_ONLY |= {"ray", "gpus_per_task", "store"}
# of commands whose function makes one molecule: `sample_many` has them
MANY_ONLY = {"sample": {"workers", "threads"}, "forecast": {"threads"}}
# of commands that read a file themselves: in Python an argument of equidrift.load
READING_ONLY = {"sample": {"smiles"}, "refine": {"top", "smiles"}}
# arguments of the functions that have none
FUNCTION_ONLY = {"progress", "callback"}
# the same thing by another name: command -> function
NAMES = {
    "sample": {
        "inputs": "what",
        "prune": "prune_rms",
        "set_": "model_options",
        "device": "model_options",
    },
    "refine": {"file": "what", "set_": "model_options", "device": "model_options"},
    "generate": {"target": "targets", "set_": "model_options", "device": "model_options"},
    "forecast": {
        "top": "topology",
        "frames": "n_frames",
        "set_": "model_options",
        "device": "model_options",
    },
    "md": {"what": "what"},
}
# of which function of forecast's: chosen by --interpolate, --refine
MODES = {"interpolate", "refine"}
# only in Python: a mask of atoms, a path that the command calls TRAJ, and options of --set
PYTHON_ONLY = {
    "sample": {"restraint_tolerance"},
    "forecast": {"given", "path", "options", "chunk", "context"},
    "md": set(),
}
UNIT = re.compile(r"(_per)?_(A|K|fs|ps|eV|s|kcal_mol)$")


def options(*functions: Callable[..., Any]) -> set[str]:
    """Names of the arguments of functions, without their units."""
    names = {name for function in functions for name in inspect.signature(function).parameters}
    return {UNIT.sub("", name) for name in names}


def settings_of_md() -> set[str]:
    fields = {UNIT.sub("", name) for name in inspect.signature(ChainSettings).parameters}
    return (options(md.md) - {"settings"}) | fields


CASES = {
    "sample": (sample, options(equidrift.sample)),
    "refine": (refine, options(equidrift.refine)),
    "generate": (generate, options(equidrift.generate)),
    "forecast": (
        forecast,
        options(
            equidrift.forecast,
            equidrift.interpolate,
            equidrift.refine_trajectory,
            trajectory_engine.make_settings,
            trajectory_formats.load_trajectory,
        ),
    ),
    "md": (md_command, settings_of_md()),
}


@pytest.mark.parametrize("name", CASES)
def test_command_and_function_offer_the_same(name: str) -> None:
    module, offered = CASES[name]
    asked = {NAMES[name].get(option, option) for option in options(module.command)}
    asked -= COMMAND_ONLY if name != "md" else {"as_json", "plot"}
    asked -= READING_ONLY.get(name, set()) | MANY_ONLY.get(name, set())
    asked -= MODES if name == "forecast" else set()
    offered -= FUNCTION_ONLY | PYTHON_ONLY.get(name, set())
    assert asked - offered == set(), "the command has what the function lacks"
    assert offered - asked == set(), "the function has what the command lacks"


def test_sample_many_offers_what_sample_does() -> None:
    shared = {"whats", "workers", "threads"}
    assert options(many.sample_many) - shared == options(equidrift.sample) - {"what"}


def test_settings_of_the_engine_are_offered_by_sample() -> None:
    inner = {"callback", "conditions", "options", "window_samples"}
    assert options(engine.make_settings) - inner <= options(equidrift.sample)


def test_md_is_a_function_of_the_package() -> None:
    assert equidrift.md is md.md


CHARGED = (
    equidrift.sample,
    equidrift.refine,
    equidrift.forecast,
    equidrift.interpolate,
    equidrift.refine_trajectory,
    equidrift.load,
    equidrift.load_trajectory,
)


@pytest.mark.parametrize("function", CHARGED, ids=lambda function: function.__name__)
def test_every_function_that_reads_a_molecule_takes_its_charge(
    function: Callable[..., Any],
) -> None:
    assert "charge" in inspect.signature(function).parameters
