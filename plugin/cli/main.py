"""The `equidrift` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from equidrift.errors import ConfigError, EquidriftError, MissingDependencyError

FAILED, BAD_INPUT, PIPE_CLOSED = 1, 2, 141


def build() -> Callable[[], None]:
    """The Typer application. Each command's module imports what it needs only when the command runs."""
    import typer

    from equidrift.cli import bench, doctor, forecast, generate, md, models, refine, sample, train

    app = typer.Typer(
        help="Equivariant diffusion models where molecular simulators already work.",
        no_args_is_help=True,
        add_completion=False,
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
        app.command(name)(_guarded(module.command))
    return app


def _guarded(command: Callable[..., Any]) -> Callable[..., None]:
    """A command whose errors are a line on stderr, those of a config a line each, and an exit code.

    1 : a part failed. 2 : bad input. 130 : Ctrl-C. 143 : SIGTERM.
    """
    import typer

    from equidrift.cli.signals import ended_by_signals, exit_code

    @wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            with ended_by_signals():
                code = command(*args, **options)
        except KeyboardInterrupt as error:
            typer.echo(f"equidrift: interrupted{f'; {error}' if str(error) else ''}", err=True)
            code = exit_code(error)
        except BrokenPipeError:  # the reader of a pipe has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = PIPE_CLOSED
        except EquidriftError as error:
            typer.echo(f"equidrift: {_told(error)}", err=True)
            code = BAD_INPUT if isinstance(error, ValueError | TypeError | MissingDependencyError) else FAILED
        if code:
            raise typer.Exit(code)

    return run


def _told(error: EquidriftError) -> str:
    """An error in one line, the mistakes of a config in a line each."""
    lines = str(error).splitlines() if isinstance(error, ConfigError) else [str(error)]
    return "\n  ".join(" ".join(line.split()) for line in lines)


def run() -> None:
    """Entry point of the console script."""
    if sys.argv[1:] == ["--version"]:
        import typer

        from equidrift._version import __version__

        typer.echo(f"equidrift {__version__}")
        return
    build()()


if __name__ == "__main__":
    run()
