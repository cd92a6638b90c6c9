"""Every error a user can meet.

Each message names the argument, what came, what was expected, and the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class EquidriftError(Exception):
    """Base class, so that `except EquidriftError` catches all of ours and nothing else."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by content: the arguments of an `__init__` differ from the message
        that Exception would hand to it.
        """
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[EquidriftError], args: tuple[Any, ...], fields: dict[str, Any]
) -> EquidriftError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class InputError(EquidriftError, ValueError):
    """An argument has a value that cannot be used."""


class InputTypeError(EquidriftError, TypeError):
    """An argument has a type that cannot be used."""


class MoleculeError(InputError):
    """The molecule cannot be read, or cannot be handled: several fragments, radicals,
    unsupported elements, too many atoms.
    """


class ConfigError(InputError):
    """A training config does not fit; `mistakes` has a line for each, which begins with
    its field.
    """

    def __init__(self, mistakes: Iterable[str]):
        self.mistakes = list(mistakes)
        super().__init__(
            "\n".join(
                ["the training config does not fit:", *(f"  {line}" for line in self.mistakes)]
            )
        )


_BY_OPENMM = (
    " mmCIF becomes PDB by OpenMM: from openmm import app; f = app.PDBxFile('in.cif'); "
    "app.PDBFile.writeFile(f.topology, f.positions, open('in.pdb', 'w'))"
)
# suffixes of files that nothing here reads, and how they become ones that are read
OTHER_FORMATS = {
    ".cif": _BY_OPENMM,
    ".mmcif": _BY_OPENMM,
    ".pdbx": _BY_OPENMM,
    ".bcif": " Take the same entry as PDB, or as SDF with its bond orders.",
    ".pdbqt": " Take the file that it was made of, with all hydrogens, as SDF or PDB.",
    ".pqr": " Take the file that it was made of, as PDB.",
    ".gro": " GROMACS writes it as PDB: gmx editconf -f in.gro -o in.pdb -conect.",
    ".mae": " Maestro exports SDF.",
    ".maegz": " Maestro exports SDF.",
    ".cdxml": " ChemDraw exports SDF, and copies as SMILES.",
    ".cdx": " ChemDraw exports SDF, and copies as SMILES.",
}


class UnknownNameError(InputError):
    """A name (model, benchmark, format, option) is not known; the message suggests the
    nearest one, or how a file becomes one that is read.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        hint = OTHER_FORMATS.get(name, hint)
        self.kind = kind
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(known)}.")


class WeightsError(InputError):
    """A weights file is truncated, altered or does not belong to its card."""


class MissingDependencyError(EquidriftError, ImportError):
    """An optional package is not installed; the message gives the pip line."""

    def __init__(self, package: str, extra: str | None = None):
        line = f'pip install "equidrift[{extra}]"' if extra else f"pip install {package}"
        super().__init__(f"{package} is not installed, and this needs it. Install it with: {line}")


class ModelError(EquidriftError, RuntimeError):
    """A model raised while it worked on a molecule; the cause is chained."""


class TimeLimitError(EquidriftError, RuntimeError):
    """A call took longer than it was given, and was stopped; `limit_s` is that time in
    s.
    """

    def __init__(self, message: str, limit_s: float):
        self.limit_s = limit_s
        super().__init__(message)


class CrashError(EquidriftError, RuntimeError):
    """A call took the process down that it ran in, which was not the caller's; `signal`
    is the signal's number, if any.
    """

    def __init__(self, message: str, signal: int | None = None):
        self.signal = signal
        super().__init__(message)


class LockedError(InputError):
    """Somebody else works on the same thing, or has left its lock."""


class WorkerDiedError(CrashError):
    """A worker process died in the middle of its shard; `signal` as in `CrashError`."""


class InexactProposalError(InputError):
    """An exact sampler was given a proposer that has no proposal density."""


class NoValidSamplesError(EquidriftError, RuntimeError):
    """Fewer valid samples than asked for were found.

    `reasons` counts why the others were rejected; `partial` holds the valid ones as an
    Ensemble (of new molecules: a list of Ensembles), None if there are none.
    """

    def __init__(self, message: str, reasons: Mapping[str, int], partial: Any = None):
        # Any: the records lie above this module, and a list or an Ensemble depends on the engine
        self.reasons, self.partial = dict(reasons), partial
        counts = (
            ", ".join(f"{name} {count}" for name, count in sorted(self.reasons.items())) or "none"
        )
        super().__init__(f"{message} Rejected: {counts}.")


def error_again(kind: str, message: str) -> EquidriftError:
    """An error of ours made anew from the name of its class and its text, as a journal
    keeps them.
    """
    found = globals().get(kind)
    made: type[EquidriftError] = ModelError
    if isinstance(found, type) and issubclass(found, EquidriftError):
        made = found
    again = made.__new__(made, message)
    Exception.__init__(again, message)
    if isinstance(again, NoValidSamplesError):
        again.reasons, again.partial = {}, None
    return again


def told_error(error: Exception, what: str) -> EquidriftError:
    """The error of a model as the package tells it: its own as it is, another's with
    what was done, such as "the model failed on ...".
    """
    if isinstance(error, EquidriftError):
        return error
    wrapped = ModelError(f"{what}: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


@contextmanager
def telling(what: str) -> Iterator[None]:
    """While this is open, code of others runs, which can raise anything: what it raises
    is told as `told_error` does.
    """
    try:
        yield
    except Exception as error:
        told = told_error(error, what)
        if told is error:
            raise
        raise told from error
