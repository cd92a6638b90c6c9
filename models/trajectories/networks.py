"""The networks of trajectory models by the key `kind` of a card's `config`."""

from __future__ import annotations

from typing import Any

from equidrift.errors import UnknownNameError
from equidrift.models.trajectories.arrays.egnn import EGNN, EGNNConfig
from equidrift.models.trajectories.arrays.modes import Modes, ModesConfig
from equidrift.models.trajectories.diffusion.egtn import EGTNConfig
from equidrift.models.trajectories.diffusion.flow import Flow, FlowConfig
from equidrift.models.trajectories.diffusion.geotdm import GeoTDM, GeoTDMConfig
from equidrift.models.trajectories.diffusion.residual import (
    RESIDUAL,
    ResidualConfig,
    ResidualGeoTDM,
)
from equidrift.models.trajectories.integrator.field import FieldConfig
from equidrift.models.trajectories.integrator.integrator import Integrator, IntegratorConfig
from equidrift.models.trajectories.integrator.network import ForceConfig

Network = Integrator | Flow | GeoTDM | ResidualGeoTDM | EGNN | Modes
PUBLISHED = "published"
FORMS = (PUBLISHED, RESIDUAL)  # of geotdm: noise added to frames, or to residuals of a prior path
KINDS = ("integrator", "flow", "geotdm", "egnn", "modes")


def make_network(config: dict[str, Any]) -> Network:
    """The network of a card's `config`, whose key `kind` says which."""
    c = dict(config)
    kind = c.pop("kind")
    if kind == "integrator":
        field = c.pop("field", None)
        return Integrator(
            IntegratorConfig(
                ForceConfig(**c.pop("force")), field=FieldConfig(**field) if field else None, **c
            )
        )
    if kind == "egnn":
        return EGNN(EGNNConfig(**c))
    if kind == "modes":
        return Modes(ModesConfig(**c))
    if kind not in KINDS:
        raise UnknownNameError("kind of trajectory network", kind, KINDS)
    egtn = EGTNConfig(**c.pop("network"))
    if kind == "flow":
        return Flow(FlowConfig(egtn, **c))
    form = c.pop("form", PUBLISHED)
    if form not in FORMS:
        raise UnknownNameError("form of geotdm", str(form), FORMS)
    if form == RESIDUAL:
        return ResidualGeoTDM(ResidualConfig(egtn, **c))
    return GeoTDM(GeoTDMConfig(egtn, **c))
