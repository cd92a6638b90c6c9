"""Binary trajectory files: magic numbers, counts and sizes held against the file's
length before a native reader sees them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO

from equidrift.errors import InputError

XTC_MAGIC, XTC_LARGE_MAGIC, TRR_MAGIC = 1995, 2023, 1993
XTC_PLAIN_ATOMS = 9  # up to so many atoms a frame's coordinates are not packed
DCD_HEADER_BYTES = 84
_HDF5, _NETCDF3 = b"\x89HDF\r\n\x1a\n", (b"CDF\x01", b"CDF\x02", b"CDF\x05")


def check_binary(path: str | os.PathLike[str]) -> None:
    """Refuse a file whose structure is broken; other suffixes than those of binary
    trajectories pass.

    Raises
    ------
    InputError
        which says what is wrong at which byte.
    """
    check = _CHECKS.get(Path(path).suffix.lower())
    if check is None:
        return
    size = os.path.getsize(path)
    with open(path, "rb") as stream:
        try:
            check(stream, size)
        except struct.error as error:
            raise _broken(
                path, f"it ends in the middle of a number at byte {stream.tell()}"
            ) from error
        except InputError as error:
            raise _broken(path, str(error)) from error


def _broken(path: str | os.PathLike[str], what: str) -> InputError:
    return InputError(
        f"cannot read {os.fspath(path)!r}: {what}; it is damaged or of another format, write "
        f"it again"
    )


def _integers(stream: IO[bytes], count: int, order: str = ">") -> tuple[int, ...]:
    return struct.unpack(f"{order}{count}i", stream.read(4 * count))


def _skip(stream: IO[bytes], count: int, size: int, what: str) -> None:
    """Go on by `count` bytes, which must be there."""
    if count < 0 or stream.tell() + count > size:
        raise InputError(f"{what} claims {count} bytes at byte {stream.tell()} of {size}")
    stream.seek(count, os.SEEK_CUR)


def _whole_words(n_bytes: int) -> int:
    """Bytes that data of `n_bytes` takes in XDR, which pads to words of four."""
    return (n_bytes + 3) // 4 * 4


def _check_xtc(stream: IO[bytes], size: int) -> None:
    first = 0
    while stream.tell() < size:
        magic, n_atoms, _ = _integers(stream, 3)
        if magic not in (XTC_MAGIC, XTC_LARGE_MAGIC):
            raise InputError(f"there is {magic} where a frame of .xtc begins with {XTC_MAGIC}")
        _skip(stream, 4 + 36, size, "the time and box of a frame")
        (again,) = _integers(stream, 1)
        first = first or n_atoms
        if not 0 < n_atoms == again == first:
            raise InputError(f"a frame has {n_atoms} or {again} atoms, and the first has {first}")
        if n_atoms <= XTC_PLAIN_ATOMS:
            _skip(stream, 12 * n_atoms, size, "a frame")
            continue
        (precision,) = struct.unpack(">f", stream.read(4))
        lowest, highest = _integers(stream, 3), _integers(stream, 3)
        (small,) = _integers(stream, 1)
        spans = [high - low for low, high in zip(lowest, highest, strict=True)]
        if (
            not 0 < precision < 1e9
            or min(spans) < 0
            or max(spans) >= 2**31 - 1
            or not 9 <= small < 73
        ):
            raise InputError(
                f"a frame's packing (precision {precision:g}, spans {spans}, index {small}) "
                f"is out of range"
            )
        n_bytes = (
            _integers(stream, 1)[0]
            if magic == XTC_MAGIC
            else struct.unpack(">q", stream.read(8))[0]
        )
        if not 0 < n_bytes <= 16 * n_atoms + 64:
            raise InputError(f"a frame of {n_atoms} atoms claims {n_bytes} packed bytes")
        _skip(stream, _whole_words(n_bytes), size, "a frame")


def _check_trr(stream: IO[bytes], size: int) -> None:
    first = 0
    while stream.tell() < size:
        (magic, *_) = _integers(stream, 2)
        if magic != TRR_MAGIC:
            raise InputError(f"there is {magic} where a frame of .trr begins with {TRR_MAGIC}")
        (length,) = _integers(stream, 1)
        if not 0 <= length <= 80:
            raise InputError(f"its name claims {length} characters")
        _skip(stream, _whole_words(length), size, "the name in a frame")
        ir, e, box, virial, pressure, top, symmetry, x, v, f, n_atoms, _, _ = _integers(stream, 13)
        first = first or n_atoms
        blocks = [block for block in (x, v, f) if block]
        width = blocks[0] // (3 * n_atoms) if blocks and n_atoms > 0 else box // 9
        known = all(block == width * 3 * n_atoms for block in blocks) and all(
            part in (0, 9 * width) for part in (box, virial, pressure)
        )
        if (
            not 0 < n_atoms == first
            or width not in (4, 8)
            or not known
            or ir
            or e
            or top
            or symmetry
        ):
            raise InputError(f"the sizes in the head of a frame of {n_atoms} atoms do not fit")
        _skip(stream, 2 * width + box + virial + pressure + sum(blocks), size, "a frame")


def _check_dcd(stream: IO[bytes], size: int) -> None:
    head = stream.read(8)
    order = next(
        (order for order in "<>" if head[:4] == struct.pack(f"{order}i", DCD_HEADER_BYTES)), None
    )
    if order is None or head[4:] != b"CORD":
        raise InputError("it does not begin with the header of a .dcd")
    control = _integers(stream, 20, order)
    if _integers(stream, 1, order) != (DCD_HEADER_BYTES,):
        raise InputError("its header does not end where it says")
    charmm = control[19] != 0  # else X-PLOR's form: no box, and a double over two fields
    if control[8] > 0 or (charmm and control[11] not in (0, 1)):
        raise InputError("it has fixed atoms or a fourth dimension, which are not read")
    (length,) = _integers(stream, 1, order)
    _skip(stream, length, size, "its title")
    closing, four, n_atoms, four_again = _integers(stream, 4, order)
    if closing != length or (four, four_again) != (4, 4) or n_atoms < 1:
        raise InputError("its title or its number of atoms is broken")
    frame = 3 * (4 * n_atoms + 8) + (56 if charmm and control[10] else 0)
    if (size - stream.tell()) % frame:
        raise InputError(
            f"the {size - stream.tell()} bytes after its header are no whole number of "
            f"frames of {n_atoms} atoms"
        )


def _check_netcdf(stream: IO[bytes], size: int) -> None:
    del size
    head = stream.read(8)
    if head[:4] not in _NETCDF3 and head != _HDF5:
        raise InputError("it does not begin as NetCDF does")


def _check_hdf5(stream: IO[bytes], size: int) -> None:
    del size
    if stream.read(8) != _HDF5:
        raise InputError("it does not begin as HDF5 does")


_CHECKS: dict[str, Callable[[IO[bytes], int], None]] = {
    ".xtc": _check_xtc,
    ".trr": _check_trr,
    ".dcd": _check_dcd,
    ".nc": _check_netcdf,
    ".ncdf": _check_netcdf,
    ".h5md": _check_hdf5,
}
