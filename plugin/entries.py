"""Models of other packages, found by their entry points and imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from equidrift.errors import ModelError


@lru_cache
def announced() -> dict[str, str]:
    """Names and places of other packages' models.

    Nothing is imported, so that a broken one costs nobody anything.
    """
    return {entry.name: entry.value for entry in entry_points(group="equidrift.models")}


def troubles(own: Collection[str]) -> dict[str, str]:
    """Models of other packages, and what is wrong with each.

    Parameters
    ----------
    own : collection of str
        Names of equidrift's own models, which others cannot have.

    Returns
    -------
    dict of str to str
        Empty text for a model that can be imported.
    """
    found = {}
    for entry in entry_points(group="equidrift.models"):
        if entry.name in own:
            found[entry.name] = (
                f"{_package(entry)} wants a name that equidrift has itself; that one is used"
            )
            continue
        try:
            others_factory(entry.name, entry.value)
            found[entry.name] = ""
        except ModelError as error:
            found[entry.name] = str(error)
    return found


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "a package"


def others_factory(name: str, value: str) -> Callable[..., object]:
    """The factory of another package's model.

    Raises
    ------
    ModelError
        For whatever its import raises, and for what cannot be called.
    """
    try:
        factory = EntryPoint(name, value, "equidrift.models").load()
    except Exception as error:  # it is others' code: it can raise anything
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(
            f"the model {name!r} ({value}) of another package cannot be imported ({told}); "
            "update or remove it"
        ) from error
    if not callable(factory):
        raise ModelError(
            f"the model {name!r} of another package is no factory: {value} is "
            f"{type(factory).__name__}; update or remove it"
        )
    made: Callable[..., object] = factory
    return made
