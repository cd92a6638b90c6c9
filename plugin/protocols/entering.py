"""Models, refiners and proposers of others, completed once, where they enter."""

from __future__ import annotations

import inspect

from equidrift.errors import InputTypeError
from equidrift.protocols.conformers import (
    ConformerModel,
    Refiner,
)
from equidrift.protocols.molecules import MoleculeModel
from equidrift.protocols.proposers import (
    Proposer,
)
from equidrift.protocols.trajectories import (
    TrajectoryModel,
)


def as_conformer_model(made: object) -> ConformerModel:
    """A conformer model with the defaults of whatever it leaves out.

    Raises
    ------
    InputTypeError
        If it has no `sample`.
    """
    _complete(made, ConformerModel)
    if not isinstance(made, ConformerModel):
        raise InputTypeError(
            "model must be a name (see equidrift.list_models()) or an object with "
            f"sample(molecule, seeds), not {made!r}"
        )
    return made


def as_refiner(made: object) -> Refiner:
    """A refiner with the defaults of whatever it leaves out.

    Raises
    ------
    InputTypeError
        If it has no `refine_many`.
    """
    _complete(made, Refiner)
    if not isinstance(made, Refiner):
        raise InputTypeError(
            f"model must be the name of a refiner or an object with refine_many(jobs), not {made!r}"
        )
    return made


def as_trajectory_model(made: object) -> TrajectoryModel:
    """A trajectory model with the defaults of whatever it leaves out.

    Raises
    ------
    InputTypeError
        If it lacks `complete`, `continue_`, `min_frames` or `dt_range_fs`.
    """
    _complete(made, TrajectoryModel)
    if not isinstance(made, TrajectoryModel):
        raise InputTypeError(
            "model must be the name of a trajectory model or an object with complete and "
            f"continue_, min_frames and dt_range_fs, not {made!r}"
        )
    return made


def as_molecule_model(made: object) -> MoleculeModel:
    """A model of new molecules with the defaults of whatever it leaves out.

    Raises
    ------
    InputTypeError
        If it lacks `sample` or `max_atoms`.
    """
    _complete(made, MoleculeModel)
    if not isinstance(made, MoleculeModel):
        raise InputTypeError(
            "model must be the name of a molecule model or an object with sample(seeds) and "
            f"max_atoms, not {made!r}"
        )
    return made


def as_proposer(made: object) -> Proposer:
    """A proposer with the defaults of whatever it leaves out.

    Raises
    ------
    InputTypeError
        If it has no `propose`.
    """
    _complete(made, Proposer)
    if not isinstance(made, Proposer):
        raise InputTypeError(
            "proposer must have a method propose(positions_A, *, kT_eV, rng), and "
            f"{type(made).__name__} has none; take one of equidrift.montecarlo.proposals"
        )
    return made


def _complete(made: object, protocol: type) -> None:
    """Give an object that has the methods of a protocol the defaults of the attributes
    that it lacks.

    Raises
    ------
    InputTypeError
        If it cannot have them.
    """
    parts = {name: part for name, part in vars(protocol).items() if not name.startswith("_")}
    methods = [name for name, part in parts.items() if inspect.isfunction(part)]
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
