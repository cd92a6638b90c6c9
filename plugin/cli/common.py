"""Options that every command has: what is said on the terminal, and how many threads
the networks take.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from typing import Annotated, Any

import typer

from equidrift.cli.options import SHOWN
from equidrift.cli.values import integer, option

QUIET_HELP = "Print only errors."
VERBOSE_HELP = "Print log messages; -vv prints debug messages too."
THREADS_HELP = "CPU threads for the neural networks. Default: PyTorch's choice."
LOG_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)  # of -v given 0, 1 and 2 times


def with_common_options(
    run: Callable[..., None], command: Callable[..., Any], *, network: bool
) -> Callable[..., None]:
    """`run` with the signature of `command` and the options that all have; `network`:
    also --threads.
    """
    keyword = inspect.Parameter.KEYWORD_ONLY
    quiet = Annotated[bool, typer.Option("-q", "--quiet", help=QUIET_HELP, rich_help_panel=SHOWN)]
    counted = typer.Option("-v", "--verbose", count=True, help=VERBOSE_HELP, rich_help_panel=SHOWN)
    verbose = Annotated[int, counted]
    threads = Annotated[int | None, option(integer(1), THREADS_HELP, "--threads", panel=SHOWN)]
    further = [
        inspect.Parameter("quiet", keyword, annotation=quiet, default=False),
        inspect.Parameter("verbose", keyword, annotation=verbose, default=0),
    ]
    signature = inspect.signature(command, eval_str=True)
    if network and "threads" not in signature.parameters:
        further.insert(0, inspect.Parameter("threads", keyword, annotation=threads, default=None))
    known = set(signature.parameters)
    added = [parameter for parameter in further if parameter.name not in known]
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in added} | {
        parameter.name: parameter.annotation for parameter in signature.parameters.values()
    }
    return run


@contextmanager
def common_options(
    *, quiet: bool, verbose: int, threads: int | None, keep_stdout: bool
) -> Iterator[None]:
    """While this is open: records on stderr, no summary if `quiet`, so many threads;
    all as before afterwards.

    keep_stdout : what the command prints is its result (JSON, or a file on standard
        output), and is printed even if quiet.
    """
    with ExitStack() as stack:
        stack.enter_context(_records(logging.ERROR if quiet else LOG_LEVELS[min(verbose, 2)]))
        if threads is not None:
            stack.enter_context(torch_threads(threads))
        if quiet:
            stack.enter_context(_unwatched())
            if not keep_stdout:
                stack.enter_context(redirect_stdout(StringIO()))
        yield


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch with so many threads, and then as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _records(level: int) -> Iterator[None]:
    """The package's log records of this level and above on stderr."""
    logger = logging.getLogger("equidrift")
    handler = logging.StreamHandler(sys.stderr)
    if level >= logging.WARNING:  # what the summary says is not said twice
        handler.addFilter(lambda record: not getattr(record, "told", False))
    handler.setFormatter(logging.Formatter("%(name)s: %(levelname)s: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Unwatched:
    """stderr that says that nobody watches it, so that no bar is drawn."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _unwatched() -> Iterator[None]:
    before = sys.stderr
    sys.stderr = _Unwatched(before)
    try:
        yield
    finally:
        sys.stderr = before
