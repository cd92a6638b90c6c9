"""An impossible request costs no computation: it is refused before the first draw."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import equidrift
from equidrift.engine import relax
from equidrift.errors import EquidriftError, MissingDependencyError
from equidrift.montecarlo import run as md
from equidrift.records import Molecule
from tests import doubles
from tests.commands import Cli, add_doubles, caller
from tests.conftest import make_ensemble

ASPIRIN = Path(__file__).parents[2] / "examples" / "data" / "aspirin.xtc"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every call of a model, a refiner, a relaxation or of dynamics."""
    made: list[str] = []

    def counted(kind: type, name: str) -> None:
        whole = getattr(kind, name)

        def call(*arguments: Any, **options: Any) -> Any:
            made.append(f"{kind.__name__}.{name}")
            return whole(*arguments, **options)

        monkeypatch.setattr(kind, name, call)

    from equidrift.adapters.openmm.sampler import ProposalSampler

    for kind, name in (
        (doubles.Shaker, "sample_many"),
        (doubles.Shrinker, "refine_many"),
        (doubles.Walker, "complete"),
        (doubles.Baker, "sample"),
        (ProposalSampler, "run"),
    ):
        counted(kind, name)
    return made


@pytest.fixture
def cli(
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Cli:
    """Run a command in a folder with inputs; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    add_doubles(monkeypatch)
    make_ensemble("imine").save("one.sdf")
    two = "".join(Path("one.sdf").read_text() for _ in range(1))
    make_ensemble("nitro").save("other.sdf")
    Path("two.sdf").write_text(two + Path("other.sdf").read_text())
    Path("taken.sdf").write_text("precious")
    Path("folder.sdf").mkdir()
    shutil.copy(ASPIRIN, "in.xtc")
    shutil.copy(ASPIRIN.with_suffix(".pdb"), "in.pdb")

    return caller(monkeypatch, capsys)


SAMPLE = ("sample", "CCO", "--model", "shaker")
REFINE = ("refine", "one.sdf")
FORECAST = ("forecast", "in.xtc", "--top", "in.pdb", "--frames", 2, "--model", "walker")
GENERATE = ("generate", "-n", 2, "--model", "baker")
MD = ("md", "CCCC", "--time", "1ps", "--adapt", "1ps")
REQUESTS: list[tuple[object, ...]] = [
    *(
        (*command, "-o", f"none/x{suffix}")
        for command, suffix in ((SAMPLE, ".sdf"), (REFINE, ".sdf"))
    ),
    *((*command, "-o", "x.nonsense") for command in (SAMPLE, REFINE, FORECAST, GENERATE, MD)),
    *((*command, "-o", "none/x.xtc") for command in (FORECAST, MD)),
    *(
        (*command, "-o", name)
        for command in (SAMPLE, REFINE, GENERATE)
        for name in ("taken.sdf", "folder.sdf")
    ),
    (*SAMPLE, "-n", 2, "-o", "x.mol"),
    (*SAMPLE, "CCN", "-o", "x.npz"),
    (*SAMPLE, "CCN", "-o", "x.xtc"),
    (*SAMPLE, "-o", "x.sdf", "--prune", 0),
    (*SAMPLE, "-o", "x.sdf", "--sort", "size"),
    (*SAMPLE, "-o", "x.sdf", "--window", 0),
    (*SAMPLE, "-o", "x.sdf", "--relax", "nonsense"),
    (*SAMPLE, "-o", "x.sdf", "--seed", -1),
    (*SAMPLE, "-o", "x.sdf", "--batch-size", 0),
    (*SAMPLE, "-o", "x.sdf", "--max-attempts", 0),
    (*SAMPLE, "-o", "x.sdf", "--fix", "one.sdf"),
    (*SAMPLE, "-o", "x.sdf", "--restrain", "missing.txt"),
    (*SAMPLE, "missing.sdf", "-o", "x.sdf"),
    ("sample", "C[Se]C", "--model", "shaker", "-o", "x.sdf"),
    ("sample", "C[Si](C)(C)[Te]", "--model", "shaker", "-o", "x.sdf"),
    ("refine", "two.sdf", "-o", "x.npz"),
    (*REFINE, "-o", "x.mol"),
    (*REFINE, "-o", "x.sdf", "--steps", 0),
    (*FORECAST, "-n", 0, "-o", "x.xtc"),
    (*FORECAST, "--broken", "nonsense", "-o", "x.xtc"),
    ("forecast", "in.xtc", "--top", "CCO", "--frames", 2, "--model", "walker", "-o", "x.xtc"),
    (*GENERATE, "-o", "x.npz"),
    (*GENERATE, "-o", "x.sdf", "--target", "gap_eV=99"),
    (*GENERATE, "-o", "x.sdf", "--judge", "nonsense"),
    (*MD, "-o", "x.xtc", "--proposals", "nonsense"),
    (*MD, "-o", "x.xtc", "--proposals", "mixture"),
    (*MD, "-o", "x.xtc", "--platform", "nonsense"),
    (
        "md",
        "CCCCCCC",
        "--time",
        "1ps",
        "--adapt",
        "16ps",
        "--proposals",
        "histogram",
        "-o",
        "x.xtc",
    ),
    ("md", "CC.O", "--time", "1ps", "--proposals", "none", "-o", "x.xtc"),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request_: " ".join(map(str, request_)))
def test_impossible_request_costs_no_computation(
    request_: tuple[object, ...], cli: Cli, calls: list[str]
) -> None:
    before = sorted(path.name for path in Path().iterdir())
    code, _, err = cli(*request_)
    assert code == 2 and err.startswith("equidrift: "), err
    assert calls == []
    after = {path.name for path in Path().iterdir() if "_offsets" not in path.name}
    assert after == set(before)


@pytest.mark.parametrize("name", ["sample", "generate"])
def test_missing_package_costs_no_computation(
    name: str, cli: Cli, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingDependencyError("tblite", "xtb")

    whole = relax.host_function

    def without_tblite(host: str, name: str) -> Any:
        return missing if name == "require_tblite" else whole(host, name)

    monkeypatch.setattr(relax, "host_function", without_tblite)
    command = SAMPLE if name == "sample" else GENERATE
    code, _, err = cli(*command, "-o", "x.sdf", "--relax", "gfn2")
    assert code == 2 and "tblite is not installed" in err and calls == []


@pytest.mark.parametrize(
    "options",
    [
        {"n": 0},
        {"prune_rms_A": -1},
        {"relax": "x"},
        {"seed": -1},
        {"fix": "none.sdf"},
        {"batch_size": 0},
    ],
    ids=str,
)
def test_impossible_call_costs_no_computation(options: dict[str, Any], calls: list[str]) -> None:
    with pytest.raises(EquidriftError):
        equidrift.sample("CCO", **{"model": doubles.Shaker(), **options})
    with pytest.raises(EquidriftError):
        equidrift.sample_many(["CCO"], **{"model": doubles.Shaker(), **options})
    assert calls == []


def test_relaxation_without_parameters_costs_no_computation(calls: list[str]) -> None:
    with pytest.raises(EquidriftError, match="MMFF94"):
        equidrift.sample(Molecule.from_smiles("CB(O)O"), 2, model=doubles.Shaker(), relax="mmff")
    assert calls == []


def test_md_refuses_an_unknown_option_by_name(tmp_path: Path) -> None:
    with pytest.raises(EquidriftError, match=r"unknown option of md 'temperature'.*temperature_K"):
        equidrift.md("CCCC", tmp_path / "x.xtc", temperature=300)
    assert md.md.__doc__ is not None
