"""The `equidrift` command."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from equidrift.errors import ConfigError, EquidriftError, MissingDependencyError, UnknownNameError

logger = logging.getLogger(__name__)
NETWORKED = (
    "sample",
    "refine",
    "forecast",
    "generate",
    "md",
    "train",
    "bench",
)  # commands that take --threads

FAILED, BAD_INPUT, PIPE_CLOSED = 1, 2, 141


def build() -> Callable[[], None]:
    """The Typer application.

    Each command's module imports what it needs only when the command runs.
    """
    from equidrift.cli import bench, doctor, forecast, generate, md, models, refine, sample, train

    app = typer.Typer(
        help="Conformers, trajectories, exact sampling and new molecules by equivariant diffusion.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    commands = {
        "sample": sample,
        "refine": refine,
        "forecast": forecast,
        "generate": generate,
        "md": md,
        "train": train,
        "bench": bench,
        "models": models,
        "doctor": doctor,
    }
    for name, module in commands.items():
        app.command(name)(_guarded(module.command, network=name in NETWORKED))
    app.command("help")(_guarded(_help))
    app.callback()(_options)
    return app


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda value: _version() if value else None,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Conformers, trajectories, exact sampling and new molecules by equivariant diffusion."""


def _version() -> None:
    from equidrift._version import __version__

    typer.echo(f"equidrift {__version__}")
    raise typer.Exit


def _help(
    context: typer.Context,
    command: Annotated[
        str | None,
        typer.Argument(
            metavar="[COMMAND]", help="The command to explain. Default: list all commands."
        ),
    ] = None,
) -> int:
    """Explain a command and its options."""
    above = context.parent
    if above is None:
        return FAILED
    if command is None:
        typer.echo(above.get_help())
        return 0
    group: Any = above.command
    known = group.list_commands(above)
    if command not in known:
        raise UnknownNameError("command", command, known)
    chosen = group.get_command(above, command)
    typer.echo(chosen.get_help(type(context)(chosen, info_name=command, parent=above)))
    return 0


def _guarded(command: Callable[..., Any], *, network: bool = False) -> Callable[..., None]:
    """A command whose errors are a line on stderr, those of a config a line each, and
    an exit code.

    1 : a part failed. 2 : bad input. 130 : Ctrl-C. 143 : SIGTERM.
    """
    from equidrift.cli.common import common_options, with_common_options
    from equidrift.cli.signals import ended_by_signals, exit_code

    @wraps(command)
    def run(
        *args: Any,
        quiet: bool = False,
        verbose: int = 0,
        threads: int | None = None,
        **options: Any,
    ) -> None:
        shown = bool(options.get("as_json")) or str(options.get("output")) == "-"
        begun = time.monotonic()
        try:
            with (
                common_options(quiet=quiet, verbose=verbose, threads=threads, keep_stdout=shown),
                ended_by_signals(),
            ):
                logger.debug("%s: %s", command.__module__, options)
                code = command(*args, **options)
                logger.info(
                    "%s took %.1f s",
                    command.__module__.rpartition(".")[2],
                    time.monotonic() - begun,
                )
        except KeyboardInterrupt as error:
            typer.echo(f"equidrift: interrupted{f'; {error}' if str(error) else ''}", err=True)
            code = exit_code(error)
        except BrokenPipeError:  # the reader of a pipe has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = PIPE_CLOSED
        except EquidriftError as error:
            typer.echo(f"equidrift: {_told(error)}", err=True)
            code = (
                BAD_INPUT
                if isinstance(error, ValueError | TypeError | MissingDependencyError)
                else FAILED
            )
        if code:
            raise typer.Exit(code)

    return with_common_options(run, command, network=network)


def _told(error: EquidriftError) -> str:
    """An error in one line, the mistakes of a config in a line each."""
    lines = str(error).splitlines() if isinstance(error, ConfigError) else [str(error)]
    return "\n  ".join(" ".join(line.split()) for line in lines)


def run() -> None:
    """Entry point of the console script."""
    build()()


if __name__ == "__main__":
    run()
