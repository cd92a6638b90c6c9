"""What the fields of the records share: they are checked, copied and read-only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError, InputTypeError
from equidrift.text import MAX_NAME, MAX_VALUE, check_text, counted

S = TypeVar("S", np.float64, np.int64, np.bool_)
T = TypeVar("T")
# what `records[pick]` takes: an index, a slice, a mask or a list of indices
Pick = int | np.integer | slice | Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]
_WORDS = {np.float64: "numbers", np.int64: "whole numbers", np.bool_: "True and False"}


class Frozen:
    """What immutable dataclasses share: they pickle and copy by their fields, so that
    arrays stay read-only and mappings work.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        fields = self.named(f.name for f in dataclasses.fields(self) if f.init)
        plain = {
            name: dict(value) if isinstance(value, MappingProxyType) else value
            for name, value in fields.items()
        }
        return _rebuilt, (type(self), plain)

    if TYPE_CHECKING:  # what `dataclasses` asks of the class; only dataclasses inherit this
        __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def named(self, names: Iterable[str]) -> dict[str, Any]:
        """The fields of these names, for tables of fields that are treated alike.

        Parameters
        ----------
        names : iterable of str
            Names of fields.

        Returns
        -------
        dict
            Name -> value, in the order of `names`.

        Examples
        --------
        >>> import equidrift
        >>> equidrift.Molecule.from_smiles("O").named(["multiplicity", "smiles"])
        {'multiplicity': 1, 'smiles': 'O'}
        """
        return {name: getattr(self, name) for name in names}

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed.

        Parameters
        ----------
        **changes
            New values by the fields' names; they are checked as at the making.

        Returns
        -------
        record of the same kind
            The others' values are shared, since they are read-only.

        Examples
        --------
        >>> import equidrift
        >>> ethanol = equidrift.Molecule.from_smiles("CCO")
        >>> ethanol.replace(name="ethanol").name
        'ethanol'
        """
        return dataclasses.replace(self, **changes)


def _rebuilt(kind: type[T], fields: dict[str, Any]) -> T:
    return kind(**fields)


def plain_fields(record: object) -> dict[str, Any]:
    """The attributes of an object by name, arrays as lists: data that JSON can hold."""
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(record).items()
    }


def frozen_array(
    value: ArrayLike, dtype: type[S], shape: tuple[int | None, ...], name: str
) -> NDArray[S]:
    """A read-only copy of `value` with the given dtype; `None` in `shape` matches any
    length.
    """
    try:
        array = np.array(value, dtype=dtype)
        if dtype is np.int64 and not np.array_equal(array, np.asarray(value)):
            raise ValueError("not whole numbers")
    except (TypeError, ValueError, OverflowError) as error:
        wanted = _WORDS[dtype]
        raise InputError(f"{name} must be {wanted} in an array: {error}") from error
    if array.size == 0 and len(shape) > 1:
        array = array.reshape([length or 0 for length in shape])
    if array.ndim != len(shape) or any(
        want is not None and have != want for have, want in zip(array.shape, shape, strict=True)
    ):
        wanted = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
        raise InputError(f"{name} has shape {array.shape}, expected {wanted}")
    array.setflags(write=False)
    return array


def texts_by_name(properties: object, what: str) -> dict[str, str]:
    """Properties by name, as text; numbers are written as Python writes them."""
    if not isinstance(properties, Mapping):
        raise InputTypeError(
            f"{what} must be a mapping of names to text, not {type(properties).__name__}"
        )
    texts = {}
    for name, value in properties.items():
        check_text(name, f"a name in {what}", MAX_NAME)
        text = value if isinstance(value, str) else str(value)
        texts[name] = check_text(text, f"{what}[{name!r}]", MAX_VALUE, lines=True)
    return texts


def text_columns(properties: object, n: int) -> dict[str, tuple[str, ...]]:
    """Properties of n samples: name -> n texts."""
    columns = {}
    if not isinstance(properties, Mapping):
        raise InputTypeError(
            f"properties must be a mapping of names to texts, not {type(properties).__name__}"
        )
    for name, texts in properties.items():
        if isinstance(texts, str) or len(texts) != n:
            raise InputError(
                f"properties[{name!r}] must hold {counted(n, 'text')}, one per sample, "
                f"not {texts!r:.40}"
            )
        what = f"properties[{check_text(name, 'a name in properties', MAX_NAME)!r}]"
        columns[name] = tuple(check_text(str(text), what, MAX_VALUE, lines=True) for text in texts)
    return columns
