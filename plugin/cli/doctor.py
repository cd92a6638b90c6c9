"""equidrift doctor: whether each host, entry point, device and weights file works, by
trying it.
"""

from __future__ import annotations

import importlib
import logging
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from equidrift.text import counted

REQUIRED = (
    "numpy",
    "torch",
    "safetensors",
    "openmm",
    "openmmtools",
    "ase",
    "MDAnalysis",
    "rdkit",
    "typer",
    "rich",
    "pydantic",
    "PyYAML",
    "matplotlib",
)
OPTIONAL = {"tblite": "xtb", "h5py": "h5md", "posebusters": "checks"}
ETHANOL = "CCO"
# that an installation has: of the default models, and of what judges and proposes for them
DEFAULT_WEIGHTS = (
    "conformer-energy",
    "conformer-energy-elements",
    "joint",
    "properties",
    "refine",
    "torsions",
    "trajectory",
)


@dataclass(frozen=True)
class Finding:
    """One line of the report; state is ok, missing (optional), broken or not ours
    (another package's model).
    """

    what: str
    state: str
    detail: str


def command(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
) -> int:
    """Check the installation: try versions, devices, hosts, entry points and weights."""
    from equidrift.cli.output import print_json, print_table

    with _quiet():
        findings = list(examine())
    broken = [finding.what for finding in findings if finding.state == "broken"]
    if as_json:
        report = {"command": "doctor", "ok": not broken, "verdict": verdict(findings)}
        print_json({**report, "findings": [asdict(finding) for finding in findings]})
    else:
        typer.echo(verdict(findings))
        print_table(
            ("what", "state", "detail"),
            [(finding.what, finding.state, finding.detail) for finding in findings],
        )
    return 1 if broken else 0


def verdict(findings: Sequence[Finding]) -> str:
    """The report in one line."""
    broken = [finding.what for finding in findings if finding.state == "broken"]
    extras = [finding.what for finding in findings if finding.state == "missing"]
    others = [finding.what for finding in findings if finding.state == "not ours"]
    parts = [f"{len(broken)} broken: {', '.join(broken)}" if broken else "everything works"]
    parts += [f"not installed, and optional: {', '.join(extras)}"] if extras else []
    parts += [f"of other packages, does not load: {', '.join(others)}"] if others else []
    return "; ".join(parts)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hosts log and warn when they are imported; the report says what matters."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def examine() -> Iterator[Finding]:
    """Every finding, in the order of the report."""
    yield Finding(
        "python",
        "ok",
        f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} CPUs",
    )
    yield _version("equidrift", None)
    for package in REQUIRED:
        yield _version(package, None)
    for package, extra in OPTIONAL.items():
        yield _version(package, extra)
    tried: tuple[tuple[str, Callable[[], str]], ...] = (
        ("devices", _devices),
        ("rdkit: embed ethanol", _rdkit),
        ("openmm: platforms", _openmm),
        ("openmm: MMFF94 energy", _mmff),
        ("ase: entry point and Atoms", _ase),
        ("MDAnalysis: Universe of conformers", _mdanalysis),
        ("openmmtools: import", _openmmtools),
        ("default model: sample ethanol", _default_model),
    )
    for what, attempt in tried:
        yield _tried(what, attempt)
    yield from _plugins()
    yield from weights_found()


def _plugins() -> Iterator[Finding]:
    """Models of other packages; a broken one is theirs to mend, and nothing of
    equidrift's is broken by it.
    """
    from equidrift.registry import third_party_models

    for name, problem in third_party_models().items():
        yield Finding(
            f"model of another package: {name}",
            "not ours" if problem else "ok",
            problem or "can be imported",
        )


def _version(package: str, extra: str | None) -> Finding:
    try:
        return Finding(package, "ok", metadata.version(package))
    except metadata.PackageNotFoundError:
        line = f'pip install "equidrift[{extra}]"' if extra else f"pip install {package}"
        return Finding(package, "missing" if extra else "broken", line)


def _tried(what: str, attempt: Callable[[], str]) -> Finding:
    """Run one attempt; whatever a host raises is what the user wants to see here."""
    try:
        return Finding(what, "ok", attempt())
    except Exception as error:  # a broken installation can raise anything
        return Finding(what, "broken", f"{type(error).__name__}: {error}")


def _ethanol() -> Any:
    from equidrift.api import sample

    return sample(ETHANOL, 2, model="etkdg")


def _devices() -> str:
    import torch

    names = (
        [f"cuda:{k} {torch.cuda.get_device_name(k)}" for k in range(torch.cuda.device_count())]
        if torch.cuda.is_available()
        else []
    )
    return ", ".join(["cpu", *names]) + f"; torch uses {counted(torch.get_num_threads(), 'thread')}"


def _rdkit() -> str:
    return f"{counted(len(_ethanol()), 'conformer')} of {ETHANOL}"


def _openmm() -> str:
    import openmm

    states = []
    for k in range(openmm.Platform.getNumPlatforms()):
        host = openmm.Platform.getPlatform(k)
        states.append(f"{host.getName()} {'works' if _steps(host) else 'fails'}")
    if not any(state.endswith("works") for state in states):
        raise RuntimeError(f"no platform works ({', '.join(states)})")
    return ", ".join(states)


def _steps(host: Any) -> bool:
    """Whether a platform integrates one free particle."""
    import openmm

    system = openmm.System()
    system.addParticle(1.0)
    try:
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), host)
        context.setPositions([openmm.Vec3(0, 0, 0)])
        context.getIntegrator().step(1)
    except openmm.OpenMMException:
        return False
    return True


def _mmff() -> str:
    import openmm

    from equidrift.api import mmff_system

    ensemble = _ethanol()
    system = mmff_system(ensemble.molecule)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(ensemble.positions_A[0] * 0.1)
    energy = (
        context.getState(getEnergy=True)
        .getPotentialEnergy()
        .value_in_unit(openmm.unit.kilojoule_per_mole)
    )
    return f"{ETHANOL} {energy:.2f} kJ/mol"


def _ase() -> str:
    from ase.io.formats import ioformats

    found = [
        entry for entry in metadata.entry_points(group="ase.ioformats") if entry.name == "equidrift"
    ]
    if not found:
        raise RuntimeError(
            "the entry point ase.ioformats 'equidrift' is not installed; reinstall equidrift"
        )
    found[0].load()
    if "equidrift" not in ioformats:
        raise RuntimeError("ASE does not list the format 'equidrift'")
    return f"format 'equidrift' listed; {len(_ethanol().to_ase())} Atoms of {ETHANOL}"


def _mdanalysis() -> str:
    universe = _ethanol().to_mdanalysis()
    atoms, frames = universe.atoms.n_atoms, universe.trajectory.n_frames
    return f"{counted(atoms, 'atom')}, {counted(frames, 'frame')}"


def _openmmtools() -> str:
    importlib.import_module("openmmtools.mcmc")
    return "openmmtools.mcmc"


def _default_model() -> str:
    from equidrift.api import sample

    ensemble = sample(ETHANOL, 2)
    return f"{counted(len(ensemble), 'conformer')} of {ETHANOL} by {ensemble.provenance['model']}"


def weights_found() -> Iterator[Finding]:
    """Where each shipped model's weights are, and whether they are what the card says."""
    from equidrift.files.journal import file_sha256
    from equidrift.weights import FOLDERS, list_cards, weights_of, zoo

    try:
        folder = zoo()
        cards = list_cards()
    except Exception as error:  # as in _tried
        yield Finding("weights", "broken", f"{type(error).__name__}: {error}")
        return
    others: list[str] = []
    for card in cards:
        own = card.get("path")
        path = Path(own) if own else weights_of(folder / f"{card['name']}.json")
        if path is None and card["name"] not in DEFAULT_WEIGHTS:
            others.append(card["name"])
        elif path is None or not path.is_file():
            yield Finding(
                f"weights: {card['name']}",
                "broken",
                f"{card['name']}.safetensors is missing; reinstall equidrift",
            )
        elif file_sha256(path) != card["sha256"]:
            yield Finding(
                f"weights: {card['name']}",
                "broken",
                f"{path} is not the file of its card (sha256 differs); reinstall equidrift",
            )
        else:
            yield Finding(
                f"weights: {card['name']}", "ok", f"{path}, sha256 {card['sha256'][:12]} fits"
            )
    if others:
        told = f"{', '.join(others)}: name a folder with them in {FOLDERS}"
        yield Finding("weights of further models", "missing", told)
    if not cards:
        yield Finding("weights", "missing", f"no card in {folder}")
