"""The `equidrift` command."""

from __future__ import annotations

import inspect
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from equidrift.errors import ConfigError, EquidriftError, MissingDependencyError, UnknownNameError

logger = logging.getLogger(__name__)
# commands that take --threads
NETWORKED = ("sample", "refine", "forecast", "generate", "md", "train", "bench")
# what typer raises for a command line that does not fit; its own class moves between releases
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

FAILED, BAD_INPUT, PIPE_CLOSED = 1, 2, 141


def build() -> Callable[[], None]:
    """The Typer application.

    Each command's module imports what it needs only when the command runs.
    """
    from equidrift.cli import (
        align,
        bench,
        doctor,
        forecast,
        generate,
        md,
        merge,
        models,
        place,
        refine,
        report,
        sample,
        status,
        train,
    )

    app = typer.Typer(
        cls=OneLineErrors,
        help="Conformers, trajectories, exact sampling and new molecules by equivariant diffusion.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    samplers = (sample, refine, forecast, generate, md, place, align)
    for module in (*samplers, merge, status, report, train, bench, models, doctor):
        name = module.__name__.rpartition(".")[2]
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


class OneLineErrors(TyperGroup):
    """Commands whose usage errors are one line that names the option: what came, and
    what is allowed.
    """

    def main(  # type: ignore[override] # its arguments differ between releases of typer
        self, args: Any = None, *, standalone_mode: bool = True, **options: Any
    ) -> Any:
        """Run a command as typer does, but for how its errors are told."""
        code: Any = FAILED
        try:
            code = super().main(args, standalone_mode=False, **options)
        except USAGE_ERROR as error:
            if not standalone_mode:
                raise
            if told := _usage_told(error):
                typer.echo(told, err=True)
            code = BAD_INPUT
        except typer.Abort:
            if not standalone_mode:
                raise
            typer.echo("equidrift: interrupted", err=True)
        if standalone_mode:
            sys.exit(code or 0)
        return code


def _usage_told(error: Any) -> str:
    """A usage error in one line; nothing if the help that it stands for is shown."""
    parameter = error.param if isinstance(error, typer.BadParameter) else None
    if parameter is None:
        text = error.format_message()
        return f"equidrift: {text}" if text else ""
    name = (
        max(parameter.opts, key=len)
        if parameter.param_type_name == "option"
        else (parameter.metavar or parameter.name)
    )
    message = error.message or f"is missing; `equidrift {error.ctx.info_name} --help` explains it"
    joint = " " if message.startswith(("must ", "is missing")) else ": "
    return f"equidrift: {name}{joint}{' '.join(message.split())}"


def _guarded(command: Callable[..., Any], *, network: bool = False) -> Callable[..., None]:
    """A command whose errors are a line on stderr, those of a config a line each, and
    an exit code.

    1 : a part failed. 2 : bad input. 130 : Ctrl-C. 143 : SIGTERM.
    """
    from equidrift.cli.common import common_options, with_common_options
    from equidrift.cli.signals import ended_by_signals

    takes_threads = "threads" in inspect.signature(command).parameters

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
        with _errors_told():
            with (
                common_options(quiet=quiet, verbose=verbose, threads=threads, keep_stdout=shown),
                ended_by_signals(),
            ):
                logger.debug("%s: %s", command.__module__, options)
                if takes_threads:
                    options["threads"] = threads
                code = command(*args, **options)
                name = command.__module__.rpartition(".")[2]
                logger.info("%s took %.1f s", name, time.monotonic() - begun)
            if code:
                raise typer.Exit(code)

    return with_common_options(run, command, network=network)


@contextmanager
def _errors_told() -> Iterator[None]:
    """While this is open, an interruption or an error of ours becomes a line on stderr
    and an exit code.
    """
    from equidrift.cli.signals import exit_code

    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo(f"equidrift: interrupted{f'; {error}' if str(error) else ''}", err=True)
        raise typer.Exit(exit_code(error)) from error
    except BrokenPipeError as error:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(PIPE_CLOSED) from error
    except OSError as error:  # a full disk, a file system that is read-only, a file withdrawn
        logger.debug("the error in full", exc_info=True)
        what = "" if error.filename is None else f"{str(error.filename)!r}: "
        typer.echo(f"equidrift: {what}{error.strerror or error}", err=True)
        raise typer.Exit(FAILED) from error
    except EquidriftError as error:
        typer.echo(f"equidrift: {_told(error)}", err=True)
        bad_input = isinstance(error, ValueError | TypeError | MissingDependencyError)
        raise typer.Exit(BAD_INPUT if bad_input else FAILED) from error


def _told(error: EquidriftError) -> str:
    """An error in one line, the mistakes of a config in a line each."""
    lines = str(error).splitlines() if isinstance(error, ConfigError) else [str(error)]
    return "\n  ".join(" ".join(line.split()) for line in lines)


def run() -> None:
    """Entry point of the console script."""
    build()()


if __name__ == "__main__":
    run()
