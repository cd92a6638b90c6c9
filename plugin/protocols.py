"""The contracts between the core, the models and the adapters.

A class of ours inherits its protocol, which gives it the defaults and lets mypy check
the rest. An object of somebody else needs the methods alone: `as_conformer_model` and
its kin give it the defaults of what it leaves out, and are called once, where the
object enters. After that nothing has to ask whether an attribute is there. What only
some of them can do (mix molecules in a batch, draw independent proposals) is a protocol
of its own, asked for by `isinstance`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputTypeError
from equidrift.records import Ensemble, Molecule, Proposal, Trajectory
from equidrift.torsions import TorsionTree

Floats = NDArray[np.float64]
Seeds = NDArray[np.int64]
Callback = Callable[[dict[str, Any]], None]
# (molecule, seeds (k,)): k conformers to draw of it
ConformerJob = tuple[Molecule, Seeds]
# (molecule, positions_A (k, n_atoms, 3)): k conformers to move
RefinerJob = tuple[Molecule, Floats]
# (molecule, positions_A (n_atoms, 3)) of one new molecule
Raw = tuple[Molecule, Floats]
# (molecule, positions_A (k, n_atoms, 3)), and known=Known where atoms are held
# -> (positions_A (k, n_atoms, 3), energies_eV (k,))
Relax = Callable[..., tuple[Floats, Floats]]
# positions_A (k, n_atoms, 3) -> (energies_eV (k,), gradients in eV/A of the positions' shape)
Surface = Callable[[Floats], tuple[Floats, Floats]]


# Conformers --------------------------------------------------------------------------------------


@runtime_checkable
class ConformerModel(Protocol):
    """Draws conformers of a molecule, one random stream per sample.

    Attributes
    ----------
    name : str
        For provenance.
    elements : tuple of int or None
        Atomic numbers it takes; None for all that the checks know.
    max_atoms : int or None
        Most atoms it takes, hydrogens included; None for what the checks allow.
    block : int
        Samples that it couples: each range of samples it is given starts at a multiple.
    batch_size : int or None
        Samples in one call; None leaves it to the caller.
    default_steps : int or None
        Network calls of a sample if `steps` is None; None if it calls none.
    weights_sha256 : str or None
        Hash of its weights, or None.
    """

    name: str
    elements: tuple[int, ...] | None = None
    max_atoms: int | None = None
    block: int = 1
    batch_size: int | None = None
    default_steps: int | None = None
    weights_sha256: str | None = None

    def sample(
        self,
        molecule: Molecule,
        seeds: Seeds,
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> Floats:
        """Conformers, float64 (len(seeds), n_atoms, 3) in A.

        Sample k depends on seeds[k] alone. Whatever the batch, the processor's
        instructions aside, floats agree to 1e-4 A for models that refine embedded
        conformers, and to 1e-3 A for those that denoise in many float32 steps. A sample
        that could not be made is a block of NaN, never missing.
        """
        ...


@runtime_checkable
class BatchedConformerModel(ConformerModel, Protocol):
    """A model that mixes molecules in one batch."""

    def sample_many(
        self,
        jobs: Sequence[ConformerJob],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Floats]:
        """`sample` of several molecules, (k, n_atoms, 3) of each job."""
        ...


@runtime_checkable
class TimedConformerModel(ConformerModel, Protocol):
    """A model whose calls can have a time limit."""

    def timed(self, timeout_s: float) -> Self:
        """The same model with a time limit in seconds on each call of `sample`."""
        ...


@runtime_checkable
class CandidConformerModel(ConformerModel, Protocol):
    """A model that can tell that it will never make a conformer of a molecule."""

    def never_embeds(self, molecule: Molecule) -> bool:
        """Whether further draws are in vain."""
        ...


@runtime_checkable
class DenoisingConformerModel(ConformerModel, Protocol):
    """A model whose denoiser can be called at a noise level of one's own."""

    def denoise_many(
        self,
        jobs: Sequence[RefinerJob],
        seeds: Sequence[Seeds],
        sigma_A: float,
        steps: int | None,
        callback: Callback | None = None,
    ) -> list[Floats]:
        """Denoise the positions of each job, which carry noise of standard deviation
        `sigma_A` in A; each sample's further noise comes from its own seed.
        """
        ...


@runtime_checkable
class Refiner(Protocol):
    """Moves conformers to the nearest minimum of a level of theory, keeping graph and
    stereo.

    Attributes
    ----------
    name : str
        For provenance.
    elements : tuple of int or None
        Atomic numbers it was trained on; None for all that the checks know.
    max_atoms : int or None
        Most atoms it takes; None for what the checks allow.
    batch_size : int or None
        Conformers in one call; None leaves it to the caller.
    default_steps : int or None
        Steps if `steps` is None.
    weights_sha256 : str or None
        Hash of its weights, or None.
    """

    name: str
    elements: tuple[int, ...] | None = None
    max_atoms: int | None = None
    batch_size: int | None = None
    default_steps: int | None = None
    weights_sha256: str | None = None

    def refine_many(
        self,
        jobs: Sequence[RefinerJob],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Floats]:
        """The moved positions of each job, in its shape, in A."""
        ...


@runtime_checkable
class EnergyRefiner(Refiner, Protocol):
    """A refiner that goes down an energy, and tells it: `energies_eV` gives those (k,) of
    conformers (k, n_atoms, 3), which can be compared within a molecule.
    """

    def energies_eV(self, molecule: Molecule, positions_A: Floats) -> Floats: ...


@runtime_checkable
class SurfaceRefiner(Refiner, Protocol):
    """A refiner whose energy has a gradient, of which calculators and forces are made."""

    def surface(self, molecule: Molecule) -> Surface:
        """Positions (k, n_atoms, 3) in A -> energies (k,) in eV, gradients in eV/A."""
        ...


# Trajectories ------------------------------------------------------------------------------------


@runtime_checkable
class TrajectoryModel(Protocol):
    """Draws the frames of a trajectory that are not given; sample k depends on seeds[k]
    alone (floats agree to 1e-4 A).

    Attributes
    ----------
    name : str
        For provenance.
    min_frames : int
        Given frames that it needs.
    dt_range_fs : tuple of float
        Least and greatest spacing of the frames it was trained on, in fs.
    elements : tuple of int or None
        Atomic numbers it takes; None for any.
    max_atoms : int or None
        Most atoms it takes; None for any number.
    window : int
        Frames of one call of `complete` in a chain; 0 for all that are known.
    batch_size, default_steps, weights_sha256
        See `ConformerModel`.
    """

    name: str
    min_frames: int
    dt_range_fs: tuple[float, float]
    elements: tuple[int, ...] | None = None
    max_atoms: int | None = None
    window: int = 0
    batch_size: int | None = None
    default_steps: int | None = None
    weights_sha256: str | None = None

    def complete(
        self,
        trajectory: Trajectory,
        given: NDArray[np.bool_],
        seeds: Seeds,
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> Floats:
        """Fill in the frames that are not marked as given (n_frames,): forecast,
        interpolation and inpainting are masks.

        Rows of `trajectory.positions_A` that are not given are ignored and may be NaN.
        Returns float64 (len(seeds), n_frames, n_atoms, 3) in A, in which given frames
        are exactly what came in.
        """
        ...

    def continue_(
        self,
        trajectory: Trajectory,
        n_frames: int,
        seeds: Seeds,
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Trajectory]:
        """The next n_frames alone, one trajectory for each seed, by windows of
        `complete`.
        """
        ...


@runtime_checkable
class BatchedTrajectoryModel(TrajectoryModel, Protocol):
    """A model that goes on from several pasts in one batch."""

    def continue_many(
        self,
        trajectories: Sequence[Trajectory],
        n_frames: int,
        seeds: Seeds,
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Trajectory]:
        """`continue_` with a trajectory of the molecule for each seed."""
        ...


@runtime_checkable
class RefiningTrajectoryModel(TrajectoryModel, Protocol):
    """A model that also refines: it noises whole trajectories and denoises them."""

    def refine(self, trajectory: Trajectory, seeds: Seeds, *, level: float = 0.3) -> Floats:
        """Float64 (len(seeds), n_frames, n_atoms, 3) in A; `level` 0 changes nothing, 1
        draws anew.
        """
        ...


# New molecules -----------------------------------------------------------------------------------


@runtime_checkable
class MoleculeModel(Protocol):
    """Draws new molecules, one random stream per sample; sample k depends on seeds[k]
    alone, given the other arguments.

    Attributes
    ----------
    name : str
        For provenance.
    max_atoms : int
        Most atoms of a sample, hydrogens included.
    max_heavy_atoms : int or None
        Most heavy atoms of a sample; None if only `max_atoms` counts.
    properties : mapping
        Name -> (least, greatest) value of each property it can be conditioned on; the
        unit ends the name, as in `gap_eV`.
    takes_fragment : bool
        Whether `fragment` can be given.
    elements : tuple of int
        Atomic numbers of its samples.
    batch_size, default_steps, weights_sha256
        See `ConformerModel`.
    """

    name: str
    max_atoms: int
    max_heavy_atoms: int | None = None
    properties: Mapping[str, tuple[float, float]] = {}
    takes_fragment: bool = False
    elements: tuple[int, ...] = (1, 6, 7, 8, 9)
    batch_size: int | None = None
    default_steps: int | None = None
    weights_sha256: str | None = None

    def sample(
        self,
        seeds: Seeds,
        *,
        targets: Mapping[str, float] | None = None,
        guidance: float | None = None,
        fragment: Raw | None = None,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Raw | None]:
        """For each seed the raw (Molecule without stereo tags, positions_A (n_atoms,
        3)) before any check, relaxation or filter; None if no molecule was made.

        `targets` maps property -> value; `guidance` 0 ignores them, 1 is plain
        conditioning, more is classifier-free guidance. `fragment` is kept as it is.
        """
        ...


@runtime_checkable
class BatchedMoleculeModel(MoleculeModel, Protocol):
    """A model that draws for different targets in one batch."""

    def sample_many(
        self, seeds: Seeds, wanted: Floats, *, steps: int | None = None
    ) -> list[Raw | None]:
        """`sample` with targets (k, n_properties) of its own for each seed, in the
        order of `properties`; NaN leaves a property free.
        """
        ...


# Monte Carlo -------------------------------------------------------------------------------------


@runtime_checkable
class Proposer(Protocol):
    """Proposes Monte Carlo moves.

    Attributes
    ----------
    name : str
        For statistics and messages.
    about : str
        What draws the proposals, in words for people: a histogram, a diffusion, ...
    exact : bool
        Whether proposals have a density; exact samplers refuse those without.
    tree : TorsionTree or None
        The torsions it turns; None if it moves anything else.
    block_size : int or None
        Torsions that move at once; None for all.
    block_sizes : tuple
        Values of `block_size` that are worth a trial for proposers of this kind.
    """

    name: str
    about: str = ""
    exact: bool = True
    tree: TorsionTree | None = None
    block_size: int | None = None
    block_sizes: tuple[int | None, ...] = (None,)

    def propose(self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator) -> Proposal:
        """One proposal x' from the state x = positions_A (n_atoms, 3).

        Its `log_q_ratio` is log q(x | x') - log q(x' | x), None if there is no density.
        """
        ...


@runtime_checkable
class BatchedProposer(Proposer, Protocol):
    """A proposer that draws from several states at once."""

    def propose_many(
        self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """One proposal from each of k states (k, n_atoms, 3)."""
        ...


@runtime_checkable
class IndependentProposer(Proposer, Protocol):
    """A proposer whose density does not depend on what it moves, so that several
    proposals from one state can be tried one after the other.
    """

    def propose_independent(
        self, positions_A: Floats, n: int, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """Up to n proposals from one state (n_atoms, 3).

        Those with info["log_q"] stay valid after another of them was accepted: the
        ratio of proposal b after a is then a.info["log_q"] - b.info["log_q"].
        """
        ...


@runtime_checkable
class StorableProposer(Proposer, Protocol):
    """A proposer with a plain form, as checkpoints and openmmtools need."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `equidrift.montecarlo.proposals.proposer_from_dict` is the
        inverse.
        """
        ...


@runtime_checkable
class CautiousProposer(Proposer, Protocol):
    """A proposer that checks, before the first move, whether it is exact here."""

    def trusted(self, positions_A: Floats, kT_eV: float) -> Proposer:
        """The proposer itself, or what to use instead of it for this system."""
        ...


# Files -------------------------------------------------------------------------------------------


class EnsembleWriter(Protocol):
    """Writes conformers to one file; those that append take `append` and
    `first_sample`, the number of the first of these samples in the file.
    """

    def __call__(self, ensemble: Ensemble, path: Path, /) -> None: ...


class TrajectoryWriter(Protocol):
    """Writes a trajectory to one file."""

    def __call__(self, trajectory: Trajectory, path: Path, /) -> None: ...


class EnsembleReader(Protocol):
    """Reads the conformers of a file, one ensemble for each molecule in it."""

    def __call__(self, path: Path, /) -> Iterator[Ensemble]: ...


# What enters from outside ------------------------------------------------------------------------


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
