"""The contracts between the core, the models and the adapters.

A class of ours inherits its protocol, which gives it the defaults and lets mypy check
the rest. An object of somebody else needs the methods alone: `as_conformer_model` and
its kin give it the defaults of what it leaves out, and are called once, where the
object enters. After that nothing has to ask whether an attribute is there. What only
some of them can do (mix molecules in a batch, draw independent proposals) is a protocol
of its own, asked for by `isinstance`.
"""

from __future__ import annotations

from equidrift.protocols.conformers import (
    BatchedConformerModel,
    CandidConformerModel,
    ConfidentRefiner,
    ConformerModel,
    DenoisingConformerModel,
    EnergyRefiner,
    Refiner,
    SurfaceRefiner,
    TimedConformerModel,
    limited,
    never_embeds,
)
from equidrift.protocols.entering import (
    as_conformer_model,
    as_molecule_model,
    as_proposer,
    as_refiner,
    as_trajectory_model,
)
from equidrift.protocols.files import EnsembleReader, EnsembleWriter, FileRecord, TrajectoryWriter
from equidrift.protocols.models import Model, MoleculeBoundModel
from equidrift.protocols.molecules import BatchedMoleculeModel, MoleculeModel
from equidrift.protocols.proposers import (
    BatchedProposer,
    CautiousProposer,
    IndependentProposer,
    Proposer,
    StorableProposer,
    SurroundedProposer,
)
from equidrift.protocols.trajectories import (
    BatchedTrajectoryModel,
    LeapingTrajectoryModel,
    RefiningTrajectoryModel,
    Settle,
    TrajectoryModel,
)
from equidrift.protocols.values import (
    Callback,
    ConformerJob,
    ConformerJobs,
    Floats,
    Raw,
    RefinerJob,
    RefinerJobs,
    Relax,
    Seeds,
    Surface,
)

__all__ = [
    "BatchedConformerModel",
    "BatchedMoleculeModel",
    "BatchedProposer",
    "BatchedTrajectoryModel",
    "Callback",
    "CandidConformerModel",
    "CautiousProposer",
    "ConfidentRefiner",
    "ConformerJob",
    "ConformerJobs",
    "ConformerModel",
    "DenoisingConformerModel",
    "EnergyRefiner",
    "EnsembleReader",
    "EnsembleWriter",
    "FileRecord",
    "Floats",
    "IndependentProposer",
    "LeapingTrajectoryModel",
    "Model",
    "MoleculeBoundModel",
    "MoleculeModel",
    "Proposer",
    "Raw",
    "Refiner",
    "RefinerJob",
    "RefinerJobs",
    "RefiningTrajectoryModel",
    "Relax",
    "Seeds",
    "Settle",
    "StorableProposer",
    "Surface",
    "SurfaceRefiner",
    "SurroundedProposer",
    "TimedConformerModel",
    "TrajectoryModel",
    "TrajectoryWriter",
    "as_conformer_model",
    "as_molecule_model",
    "as_proposer",
    "as_refiner",
    "as_trajectory_model",
    "limited",
    "never_embeds",
]
