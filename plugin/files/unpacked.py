"""Compressed input and standard input as plain files, so that every reader reads them;
and files compressed.
"""

from __future__ import annotations

import atexit
import gzip
import os
import shutil
import sys
import tempfile
import zlib
from functools import lru_cache
from pathlib import Path

from equidrift.errors import InputError

STDIN = "-"
_HEAD = 65536  # bytes of standard input that tell its format


def unpacked(path: str | os.PathLike[str]) -> Path:
    """The file itself; of a .gz file, what is in it, unpacked to a temporary folder.

    Parameters
    ----------
    path : str or PathLike
        A file; "-" is standard input, whose content tells its format (SDF, CSV with a
        column `smiles`, mol2 or PDB, else SMILES).

    Raises
    ------
    InputError
        If a .gz file is damaged. A missing file comes back as it is, for the reader to
        judge.
    """
    if os.fspath(path) == STDIN:
        return standard_input()
    file = Path(path)
    if file.suffix.lower() != ".gz" or not file.is_file():
        return file
    stat = file.stat()
    return _decompressed(os.path.realpath(file), stat.st_size, stat.st_mtime_ns)


def names_file(text: str) -> bool:
    """Whether a text is the name of a file that is there; a long SMILES is none."""
    try:
        return Path(text).is_file()
    except OSError:  # longer than names may be
        return False


def plain_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix, lower case, of what is in a file: .sdf for x.sdf and x.sdf.gz."""
    file = Path(path)
    return Path(file.stem).suffix.lower() if file.suffix.lower() == ".gz" else file.suffix.lower()


@lru_cache(maxsize=64)
def _decompressed(path: str, size: int, changed_ns: int) -> Path:
    del size, changed_ns  # of which the cached file was made
    target = _folder() / Path(path).stem
    try:
        with gzip.open(path, "rb") as packed, open(target, "wb") as plain:
            shutil.copyfileobj(packed, plain)
    except (OSError, EOFError, zlib.error) as error:
        target.unlink(missing_ok=True)
        raise InputError(f"{path!r} is damaged or no gzip file ({error}); pack it again") from error
    return target


@lru_cache(maxsize=1)
def standard_input() -> Path:
    """What comes by standard input, as a file; it is read once for the process.

    Raises
    ------
    InputError
        If nothing comes.
    """
    target = _folder() / "stdin"
    with open(target, "wb") as plain:
        shutil.copyfileobj(sys.stdin.buffer, plain)
    with open(target, "rb") as plain:
        head = plain.read(_HEAD)
    if not head.strip():
        raise InputError(
            "standard input is empty; give molecules by a pipe: cat in.smi | equidrift ..."
        )
    return target.rename(target.with_suffix(_suffix_of(head)))


def _suffix_of(head: bytes) -> str:
    """The format of a text that begins with `head`."""
    lines = head.decode("utf-8", "replace").splitlines()
    if "$$$$" in head.decode("utf-8", "replace") or any(
        line.startswith("M  END") for line in lines
    ):
        return ".sdf"
    if any(line.startswith("@<TRIPOS>") for line in lines):
        return ".mol2"
    if any(line.startswith(("ATOM  ", "HETATM")) for line in lines):
        return ".pdb"
    first = next((line for line in lines if line.strip()), "")
    columns = [name.strip().strip('"').lower() for name in first.replace(";", ",").split(",")]
    return ".csv" if len(columns) > 1 and "smiles" in columns else ".smi"


def _folder() -> Path:
    """A new temporary folder, removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="equidrift-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def pack(source: Path, target: Path) -> None:
    """Compress a file; the bytes depend on its content alone."""
    with open(source, "rb") as plain, open(target, "wb") as packed:
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
            shutil.copyfileobj(plain, stream)
        packed.flush()
        os.fsync(packed.fileno())
