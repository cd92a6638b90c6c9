"""What the plain form of each proposer holds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from equidrift.stored.kinds import Block, Count, Index, Label, Number, Strict, Table
from equidrift.text import MAX_NAME


class StoredTree(Strict):
    """A `TorsionTree`: the bonds of a molecule, and the four atoms of each torsion."""

    n_atoms: Count
    bonds: list[Annotated[list[Index], Field(min_length=2, max_length=2)]]
    atoms: list[Annotated[list[Index], Field(min_length=4, max_length=4)]]

    @model_validator(mode="after")
    def _atoms_are_there(self) -> StoredTree:
        named = [k for rows in (self.bonds, self.atoms) for row in rows for k in row]
        if named and max(named) >= self.n_atoms:
            raise ValueError(f"atom {max(named)} is named, and there are {self.n_atoms} atoms")
        return self


class StoredUniform(Strict):
    """The density of torsions that are all alike."""

    kind: Literal["Uniform"]
    n_torsions: Count


class StoredHistogram(Strict):
    """A density of up to three torsions on a grid."""

    kind: Literal["Histogram"]
    table: Table
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _is_a_density(self) -> StoredHistogram:
        low, shapes = _spread(self.table)
        if len(shapes) != 1 or low <= 0:
            raise ValueError("the density's table must be a grid of numbers above 0")
        return self


class StoredMixture(Strict):
    """A density of torsions as a sum of wrapped normals."""

    kind: Literal["WrappedMixture"]
    weights: Annotated[list[Annotated[Number, Field(ge=0)]], Field(min_length=1)]
    means: list[list[Number]]
    sigmas: list[list[Annotated[Number, Field(gt=0)]]]
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_row_a_component(self) -> StoredMixture:
        for name, rows in (("means", self.means), ("sigmas", self.sigmas)):
            if len(rows) != len(self.weights):
                raise ValueError(f"{len(rows)} rows of {name} for {len(self.weights)} weights")
        return self


class StoredTorsions(Strict):
    """A proposer that draws torsions from a density."""

    proposer: Literal["torsions"]
    name: Label
    tree: StoredTree
    block_size: Block
    density: Annotated[StoredUniform | StoredHistogram | StoredMixture, Field(discriminator="kind")]


class StoredLocal(Strict):
    """A proposer of small steps."""

    proposer: Literal["local"]
    tree: StoredTree
    sigma_rad: Annotated[Number, Field(gt=0)]
    block_size: Block


class StoredHeatBath(BaseModel):
    """A proposer that draws from the energy of a turn; its terms are checked where they
    are made.
    """

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    proposer: Literal["heat-bath"]
    tree: StoredTree
    terms: dict[str, Any]
    turns: Count | None
    points: Count
    pairs: Number


class StoredDiffusion(BaseModel):
    """A proposer of the torsion diffusion."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    proposer: Literal["torsion"]
    scores: dict[str, Any]
    kind: Label
    block_size: Block
    floor: Number | None
    depth: Count


class StoredGenerator(Strict):
    """A proposer of one molecule's weights."""

    proposer: Literal["boltzmann"]
    weights: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class StoredStill(BaseModel):
    """No proposer: plain MD."""

    model_config = ConfigDict(extra="allow", strict=True)

    proposer: Literal["none"]


StoredProposer = Annotated[
    StoredTorsions | StoredLocal | StoredHeatBath | StoredDiffusion | StoredGenerator | StoredStill,
    Field(discriminator="proposer"),
]


def _spread(table: Table) -> tuple[float, set[tuple[int, ...]]]:
    """(least number, shapes of the parts) of a grid of lists in lists."""
    if not isinstance(table, list):
        return float(table), {()}
    parts = [_spread(part) for part in table]
    shapes = {(len(table), *shape) for _, found in parts for shape in found}
    return min((low for low, _ in parts), default=1.0), shapes
