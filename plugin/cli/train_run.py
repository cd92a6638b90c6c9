"""A run of `equidrift train`: its config, where its model may go, and its summary."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer
import yaml

from equidrift.cli.output import print_json
from equidrift.cli.signals import telling_what_is_kept
from equidrift.cli.train import Request
from equidrift.errors import InputError, UnknownNameError
from equidrift.outputs import claim
from equidrift.progress import training_bar
from equidrift.registry import TRAINING_CONFIGS, TRAININGS, resolve
from equidrift.stored import StoredTraining, read_stored
from equidrift.text import counted

# what stands in a template for a field that has no default
PLACEHOLDERS = {"data": "my-data", "task": "refine", "stage": "graph", "spectra": "my-spectra.npz"}


def train(request: Request) -> int:
    """Train what is requested, and print what came of it."""
    config, settings = _checked(request)
    out = request.output or Path("runs") / config.stem
    _claim(config, settings, out, overwrite=request.overwrite)
    with (
        telling_what_is_kept(lambda: _kept(out)),
        training_bar(shown=not request.as_json and sys.stderr.isatty()) as progress,
    ):
        result = resolve(TRAININGS[request.family])(
            config=settings,
            out=out,
            budget_s=request.budget,
            resume=request.resume,
            progress=progress,
        )
    told = {"command": "train", "family": request.family, "output": str(out), **dict(result or {})}
    if request.as_json:
        print_json(told)
    else:
        typer.echo("\n".join(f"{key}: {value}" for key, value in told.items()))
    return 0


def _kept(out: Path) -> str:
    """What is said of an interrupted training."""
    path = out / "checkpoint.json"
    if not path.exists():
        return "nothing is kept, since no checkpoint was written"
    done = read_stored(path, StoredTraining, "checkpoint")
    return f"{counted(done.step, 'step')} kept in {out}; add --resume to continue"


def _checked(request: Request) -> tuple[Path, dict[str, Any]]:
    """The config's path and its content; raises `InputError` if options contradict."""
    if request.overwrite and request.resume:
        raise InputError("--overwrite trains anew and --resume goes on; give one of them")
    if request.config is None:
        family = request.family
        raise InputError(
            f"CONFIG.yaml is missing; equidrift train {family} --template > my.yaml writes one "
            "to start from"
        )
    return request.config, with_paths(read_config(request.config), request.config.parent)


def _claim(config: Path, settings: dict[str, Any], out: Path, *, overwrite: bool) -> None:
    """Refuse to write the model over what is read, or over a model that this run did
    not make.
    """
    read = [config]
    for value in (settings.get("data"), settings.get("init")):
        texts = value if isinstance(value, list) else [value]
        paths = [Path(text) for text in texts if isinstance(text, str)]
        read += paths + [path.with_suffix(".json") for path in paths if path.suffix]
    name = settings.get("name")
    if isinstance(name, str) and Path(name).name == name:
        written = [out / f"{name}{suffix}" for suffix in (".safetensors", ".json")]
    else:  # the families' own names begin so
        written = sorted(out.glob("my-*.safetensors"))
    checkpoint = out / "checkpoint.json"
    claim(written, inputs=read, own=checkpoint.exists(), overwrite=overwrite)
    if overwrite:
        checkpoint.unlink(missing_ok=True)


def print_template(request: Request) -> int:
    """Print a config to start from; the exit code."""
    variant = None if request.config is None else str(request.config)
    typer.echo(template(request.family, variant), nl=False)
    return 0


def template(family: str, variant: str | None = None) -> str:
    """A config of a family as YAML: what must be given first, then the rest with its
    defaults, commented out.

    Raises `UnknownNameError` for a variant that the family has not.
    """
    variants = TRAINING_CONFIGS[family]
    name = next(iter(variants)) if variant is None else variant
    if name not in variants:
        raise UnknownNameError(f"template of {family}", name, variants)
    choice, path = variants[name]
    lines = [f"# equidrift train {family} CONFIG.yaml --budget 25m"]
    others = [other for other in variants if other != name]
    lines += [f"# other templates: equidrift train {family} {other} --template" for other in others]
    lines += [choice] if choice else []
    optional = []
    for field, about in resolve(path).model_fields.items():
        if field in (choice.partition(":")[0], "schedule"):
            continue
        if about.is_required() or field == "data":
            lines.append(f"{field}: {PLACEHOLDERS[field]}")
        else:
            value = yaml.safe_dump(about.default, default_flow_style=True, width=1000)
            optional.append(f"# {field}: {value.splitlines()[0]}")
    return "\n".join([*lines, "schedule: {steps: 1000}", *optional]) + "\n"


def read_config(path: Path) -> dict[str, Any]:
    """A YAML file as a dict.

    Raises `InputError` for a missing or broken file, or one that is no table of keys.
    """
    if not path.is_file():
        raise InputError(f"there is no configuration {str(path)!r}; see examples/ for one to copy")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{str(path)!r} is no YAML: {error}") from error
    if not isinstance(config, dict):
        raise InputError(
            f"{str(path)!r} must hold KEY: VALUE lines, not {type(config).__name__}; "
            "see examples/ for one to copy"
        )
    return config


def with_paths(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The config with `data`, `init` and `validation` as paths from here: a relative
    one is looked for beside the config first.
    """

    def found(text: Any) -> Any:
        named = isinstance(text, str) and Path(text).suffix and (folder / text).is_file()
        return str(folder / text) if named else text

    changed: dict[str, Any] = {}
    for key in ("data", "init", "validation"):
        if key in config:
            value = config[key]
            changed[key] = (
                [found(one) for one in value] if isinstance(value, list) else found(value)
            )
    return {**config, **changed}
