"""Tensors are made where their inputs are, and stay there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from equidrift.errors import InputError
from equidrift.models.shared.devices import batch_size, pick_device, short_products

ROOT = Path(__file__).parents[3] / "models"
MAKERS = {"arange", "empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randint"}
MAKERS |= {"randn", "randperm", "tensor", "tril_indices", "triu_indices", "zeros"}
PARAMETERS = {"__init__", "_spline_weights"}  # what they make moves with its module
ROOMS = sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").exists())


def makers(source: str) -> Iterator[ast.Call]:
    """Calls of torch that make a tensor, outside of what makes a module's parameters."""
    tree = ast.parse(source)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name in PARAMETERS
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in inside:
            continue
        called = ast.unparse(node.func)
        if called.startswith("torch.") and called.removeprefix("torch.") in MAKERS:
            yield node


# Where data come in and results go out, once per batch. A call anywhere else is a round
# trip to the host, in a loop of a solver for one.
DOORS = {
    "boltzmann/data.py:soft_torsions",
    "boltzmann/sampler.py:BoltzmannGenerator.__reduce__",
    "boltzmann/sampler.py:BoltzmannGenerator.log_prob",
    "boltzmann/sampler.py:BoltzmannGenerator.sample",
    "boltzmann/sampler.py:BoltzmannProposer._drawn",
    "boltzmann/sampler.py:_rotation",
    "conformers/distance/sampler.py:draws",
    "conformers/energy/sampler.py:EnergySurface._block",
    "conformers/energy/sampler.py:EnergySurface.energies_eV",
    "conformers/sampler.py:NetworkModel._run",
    "fields/atoms/conditioned.py:ConditionedAtoms._as_values",
    "fields/atoms/conditioned.py:ConditionedAtoms.mean_std",
    "fields/atoms/fit.py:calibrate_intervals",
    "fields/atoms/inputs.py:as_atom_fields",
    "fields/atoms/sampler.py:AtomFieldModel._single",
    "fields/atoms/sampler.py:AtomFieldModel.log_prob_fields",
    "fields/atoms/unseen.py:judge",
    "fields/functions/conditioned.py:Conditioned.sample",
    "fields/functions/sampler.py:FieldModel.log_prob",
    "fields/tracks/conditioned.py:ConditionedTrack.sample",
    "fields/tracks/sampler.py:TrackModel.log_prob",
    "fields/tracks/sphere.py:heat_draw",
    "fields/train.py:_drawn",
    "molecules/joint/objective.py:Batches.__init__",
    "molecules/joint/pocket.py:Pull.act",  # the terms of a pocket are numpy's: with a pocket alone
    "molecules/joint/sampler.py:JointModel._tokens",
    "molecules/joint/train.py:card_of",
    "molecules/latent/graph.py:GraphBatches.__init__",
    "molecules/latent/graph.py:TokenDecoder.write",
    "molecules/latent/sampler.py:LatentModel._drawn",
    "molecules/latent/space.py:LatentSpace._written",
    "molecules/latent/space.py:LatentSpace.encode_codes",
    "molecules/latent/space.py:LatentSpace.encode_graphs",
    "molecules/latent/train.py:encoded",
    "molecules/latent/vectors.py:nearest_conformers",
    "molecules/properties/sampler.py:PropertyNetwork._values",
    "molecules/spectra/sampler.py:SpectrumModel._all",
    "molecules/spectra/sampler.py:SpectrumModel._whitened",
    "shared/run.py:save_module",
    "shared/backbones/products.py:fourier_coefficients",  # a table, made once
    "shared/backbones/log_strain.py:_svd",  # the value that an error message tells
    "torsions/distances/flow.py:TorsionScore.derivatives",
    "torsions/distances/flow.py:TorsionScore.score",
    "torsions/distances/wrapped.py:rms_score_of",
    "torsions/scores.py:Scores.network_coefficients",
    "trajectories/arrays/arrays.py:GeometricTrajectoryModel._part",
    "trajectories/arrays/arrays.py:GeometricTrajectoryModel.alternatives",
    "trajectories/diffusion/sampler.py:DiffusionModel.refine",
    "trajectories/integrator/field_data.py:known_constants",
    "trajectories/integrator/integrator.py:Integrator.classical",
    "trajectories/integrator/sampler.py:IntegratorModel.refine",
    "trajectories/integrator/skeleton.py:skeleton",
    "trajectories/integrator/skeleton.py:skeleton_of",
    "trajectories/integrator/table.py:fit_molecule",
    "trajectories/integrator/table.py:own_frames",
    "trajectories/integrator/valence.py:fit",
    "trajectories/invent.py:_thermal",
    "trajectories/leap/leaper.py:Leaper.drawn",
    "trajectories/md/sampler.py:_joined",
    "trajectories/model.py:ChemistryModel._filled",
    # ranks in an angle's law are interpolated by numpy, in float64; tracks are few and short
}


def sources(room: str) -> list[Path]:
    """The modules of a room."""
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("device", ["cdua", "", "cuda:-1", "cpu:x", "cuda:99"])
def test_a_device_is_refused_in_one_line_when_it_cannot_be_used(device: str) -> None:
    with pytest.raises(InputError, match="give 'cpu', 'cuda' or 'cuda:0'") as caught:
        pick_device(device)
    assert repr(device) in str(caught.value) and "\n" not in str(caught.value)


def test_batches_are_larger_when_the_device_is_no_cpu() -> None:
    assert batch_size(100, torch.device("cpu")) == 100
    assert batch_size(100, torch.device("cuda")) > 1000
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.long
@pytest.mark.parametrize("room", ROOMS)
def test_tensors_name_their_device(room: str) -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in sources(room)
        for call in makers(path.read_text())
        if all(keyword.arg != "device" for keyword in call.keywords)
    ]
    assert not bare, "give device="


def to_host(source: str) -> Iterator[tuple[str, int]]:
    """(function, line) of calls that take a tensor to the host."""

    def visit(node: ast.AST, name: tuple[str, ...]) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inner = (*name, child.name)
            call = child.func if isinstance(child, ast.Call) and not child.args else None
            if isinstance(call, ast.Attribute) and call.attr in ("cpu", "numpy", "item"):
                yield ".".join(name), child.lineno
            yield from visit(child, inner)

    return visit(ast.parse(source), ())


@pytest.mark.parametrize("room", ROOMS)
def test_tensors_go_to_the_host_at_the_doors_alone(room: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}:{name}"
        for path in sources(room)
        for name, _ in to_host(path.read_text())
    }
    assert found == {door for door in DOORS if door.split("/")[0] == room}


def test_the_search_finds_a_round_trip_to_the_host() -> None:
    text = "class A:\n  def f(self, x):\n    for _ in x:\n      y = (x + 1).cpu().numpy()"
    assert set(to_host(text)) == {("A.f", 4)}


def kept(source: str) -> Iterator[ast.Assign]:
    """Attributes of a module that are tensors, but no buffers: they do not move with it."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef) or "nn.Module" not in map(ast.unparse, node.bases):
            continue
        for part in ast.walk(node):
            if isinstance(part, ast.Assign) and isinstance(part.value, ast.Call):
                to = ast.unparse(part.targets[0])
                called = ast.unparse(part.value.func).removeprefix("torch.")
                if to.startswith("self.") and called in MAKERS | {"from_numpy", "as_tensor"}:
                    yield part


@pytest.mark.parametrize("room", ROOMS)
def test_tensors_of_modules_are_buffers(room: str) -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{part.lineno}"
        for path in sources(room)
        for part in kept(path.read_text())
    ]
    assert not bare, "use register_buffer(..., persistent=False)"


def test_the_search_finds_a_tensor_that_does_not_move() -> None:
    text = "class A(nn.Module):\n  def __init__(self):\n    self.x = torch.zeros(3)"
    assert [part.lineno for part in kept(text)] == [3]
    assert not list(kept(text.replace("self.x = torch", "self.x = nn.Parameter; y = torch")))


def test_the_search_finds_a_tensor_without_a_device() -> None:
    assert [call.lineno for call in makers("def f():\n    return torch.zeros(3)")] == [2]
    assert not list(makers("class A:\n    def __init__(self):\n        torch.zeros(3)"))


@pytest.mark.parametrize(
    ("processor", "wanted", "short"),
    [
        ("AVX2", True, False),
        ("DEFAULT", True, False),
        ("AVX512", True, True),
        ("AVX512", False, False),
    ],
)
def test_networks_multiply_in_bfloat16_where_the_processor_does_so_itself(
    monkeypatch: pytest.MonkeyPatch, processor: str, wanted: bool, short: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    one = torch.ones(2, 2, device="cpu")
    with short_products(one.device, wanted):
        assert (one @ one).dtype == (torch.bfloat16 if short else torch.float32)
