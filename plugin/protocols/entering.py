"""Models, refiners and proposers of others, completed once, where they enter."""

from __future__ import annotations

import inspect
from typing import TypeVar

from equidrift.errors import InputTypeError
from equidrift.protocols.conformers import ConformerModel, Refiner
from equidrift.protocols.molecules import MoleculeModel
from equidrift.protocols.proposers import Proposer
from equidrift.protocols.trajectories import TrajectoryModel

P = TypeVar("P")


def as_conformer_model(made: object) -> ConformerModel:
    """A conformer model with the defaults of what it leaves out; raises
    `InputTypeError` if it has no `sample`.
    """
    wanted = "a name (see equidrift.list_models()) or an object with sample(molecule, seeds)"
    return _entered(made, ConformerModel, f"model must be {wanted}, not {made!r}")


def as_refiner(made: object) -> Refiner:
    """A refiner with the defaults of what it leaves out; raises `InputTypeError` if
    it has no `refine_many`.
    """
    wanted = "the name of a refiner or an object with refine_many(jobs)"
    return _entered(made, Refiner, f"model must be {wanted}, not {made!r}")


def as_trajectory_model(made: object) -> TrajectoryModel:
    """A trajectory model with the defaults of what it leaves out; raises
    `InputTypeError` if it lacks `complete`, `continue_`, `min_frames` or
    `dt_range_fs`.
    """
    wanted = (
        "the name of a trajectory model or an object with complete and continue_, min_frames and "
        "dt_range_fs"
    )
    return _entered(made, TrajectoryModel, f"model must be {wanted}, not {made!r}")


def as_molecule_model(made: object) -> MoleculeModel:
    """A model of new molecules with the defaults of what it leaves out; raises
    `InputTypeError` if it lacks `sample` or `max_atoms`.
    """
    wanted = "the name of a molecule model or an object with sample(seeds) and max_atoms"
    return _entered(made, MoleculeModel, f"model must be {wanted}, not {made!r}")


def as_proposer(made: object) -> Proposer:
    """A proposer with the defaults of what it leaves out; raises `InputTypeError`
    if it has no `propose`.
    """
    wanted = (
        "proposer must have a method propose(positions_A, *, kT_eV, rng), and "
        f"{type(made).__name__} has none; take one of equidrift.montecarlo.proposals"
    )
    return _entered(made, Proposer, wanted)


def _entered(made: object, protocol: type[P], refusal: str) -> P:
    """The object, completed; one of another kind is refused."""
    _complete(made, protocol)
    if not isinstance(made, protocol):
        raise InputTypeError(refusal)
    return made


def _complete(made: object, protocol: type) -> None:
    """Give an object that has the methods of a protocol the defaults of the attributes
    that it lacks.

    Raises
    ------
    InputTypeError
        If it cannot have them.
    """
    declared = [vars(kind) for kind in reversed(protocol.__mro__) if kind is not object]
    parts = {
        name: part for own in declared for name, part in own.items() if not name.startswith("_")
    }
    methods = [name for name, part in parts.items() if inspect.isfunction(part)]
    # the one place that asks objects of others what they have
    if not all(callable(getattr(made, name, None)) for name in methods):
        return  # of another kind, as the caller will say
    defaults = {name: part for name, part in parts.items() if name not in methods}
    for name, default in {"name": type(made).__name__, **defaults}.items():
        if hasattr(made, name):
            continue
        try:
            setattr(made, name, default)
        except AttributeError as error:
            raise InputTypeError(
                f"{type(made).__name__} has no attribute {name!r} and cannot be given one; let it "
                f"inherit from equidrift.protocols.{protocol.__name__}"
            ) from error
