"""equidrift train: one documented command for training on a user's own data."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.cli.options import SummaryAsJson
from equidrift.registry import TRAINING_CONFIGS, TRAININGS, resolve

# what stands in a template for a field that has no default
PLACEHOLDERS = {"data": "my-data", "task": "refine", "stage": "graph", "spectra": "my-spectra.npz"}
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def command(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help=", ".join(TRAININGS))],
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG.yaml",
            help="The training config. With --template: the model to print a config for.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for the result. Default: runs/CONFIG."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Total training time, such as 90s, 25m or 2h. It includes the earlier parts of a resumed run."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Start again, replacing an existing model or checkpoint."),
    ] = False,
    template_: Annotated[
        bool,
        typer.Option(
            "--template", help="Print a config with all fields and their defaults, and stop."
        ),
    ] = False,
    as_json: SummaryAsJson = False,
) -> int:
    """Train a model on your own data."""
    from equidrift.cli.output import print_json
    from equidrift.errors import InputError, UnknownNameError
    from equidrift.progress import training_bar

    if family not in TRAININGS:
        raise UnknownNameError("family", family, TRAININGS)
    if template_:
        typer.echo(template(family, None if config is None else str(config)), nl=False)
        return 0
    if config is None:
        raise InputError(
            f"give a config; equidrift train {family} --template > my.yaml writes one to start from"
        )
    settings = read_config(config)
    settings = with_paths(settings, config.parent)
    budget_s = parse_budget(budget)
    out = output or Path("runs") / config.stem
    _claim(config, settings, out, resume=resume, overwrite=overwrite)

    with training_bar(shown=not as_json and sys.stderr.isatty()) as progress:
        result = resolve(TRAININGS[family])(
            config=settings, out=out, budget_s=budget_s, resume=resume, progress=progress
        )
    summary = {"command": "train", "family": family, "output": str(out), **dict(result or {})}
    if as_json:
        print_json(summary)
    else:
        typer.echo("\n".join(f"{key}: {value}" for key, value in summary.items()))
    return 0


def _claim(
    config: Path, settings: dict[str, Any], out: Path, *, resume: bool, overwrite: bool
) -> None:
    """Refuse to write the model over what is read, or over a model that this run did
    not make.
    """
    from equidrift.errors import InputError
    from equidrift.outputs import claim

    if overwrite and resume:
        raise InputError("--overwrite trains anew and --resume goes on; give one of them")
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


def template(family: str, variant: str | None = None) -> str:
    """A config of a family as YAML: what must be given first, then the rest with its
    defaults, commented out.

    Raises `UnknownNameError` for a variant that the family has not.
    """
    import yaml

    from equidrift.errors import UnknownNameError

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
        if field == choice.partition(":")[0]:
            continue
        if about.is_required() or field == "data":
            lines.append(f"{field}: {PLACEHOLDERS[field]}")
        else:
            value = yaml.safe_dump(about.default, default_flow_style=True, width=1000).splitlines()[
                0
            ]
            optional.append(f"# {field}: {value}")
    return (
        "\n".join(
            [
                *lines,
                "schedule: {steps: 1000}",
                *(line for line in optional if not line.startswith("# schedule")),
            ]
        )
        + "\n"
    )


def read_config(path: Path) -> dict[str, Any]:
    """A YAML file as a dict.

    Raises `InputError` for a missing or broken file, or one that is no table of keys.
    """
    import yaml

    from equidrift.errors import InputError

    if not path.is_file():
        raise InputError(f"there is no configuration {str(path)!r}; see examples/ for one to copy")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{str(path)!r} is no YAML: {error}") from error
    if not isinstance(config, dict):
        raise InputError(
            f"{str(path)!r} must hold KEY: VALUE lines, not {type(config).__name__}; see examples/ for one to copy"
        )
    return config


def with_paths(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The config with `data`, `init` and `validation` as paths from here: a relative
    one is looked for beside the config first.
    """

    def found(text: Any) -> Any:
        return (
            str(folder / text)
            if isinstance(text, str) and Path(text).suffix and (folder / text).is_file()
            else text
        )

    named = {key: config[key] for key in ("data", "init", "validation") if key in config}
    changed: dict[str, Any] = {
        key: [found(x) for x in v] if isinstance(v, list) else found(v) for key, v in named.items()
    }
    return {**config, **changed}


def parse_budget(text: str | None) -> float | None:
    """Seconds in '90s', '25m' or '2h'. Raises `InputError` for anything else."""
    from equidrift.errors import InputError

    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise InputError(f"--budget must be a time above 0 such as 90s, 25m or 2h, not {text!r}")
    return float(match[1]) * _UNITS[match[2]]
