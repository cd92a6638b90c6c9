"""Imports point one way: plugin <- models, plugin <- adapters; the core never loads
torch or a host by itself.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOSTS = {
    "MDAnalysis",
    "ase",
    "mdtraj",
    "openff",
    "openmm",
    "openmmforcefields",
    "openmmml",
    "openmmtools",
    "ray",
    "rdkit",
    "vina",
}
STDLIB = set(sys.stdlib_module_names)
SOURCES = sorted(
    path for folder in ("plugin", "adapters", "models") for path in (ROOT / folder).rglob("*.py")
)


def imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in it, but not those for type checkers
    only.
    """
    found: set[str] = set()
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if node in skipped:
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped |= {child for statement in node.body for child in ast.walk(statement)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module or "")
    return found


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)} - STDLIB


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_allow_list(path: Path) -> None:
    folder, *inner = path.relative_to(ROOT).parts
    own = {name for name in imports(path) if name.partition(".")[0] == "equidrift"}
    other = tops(path) - {"equidrift"}
    if folder == "plugin" and inner[0] == "cli":
        probed = {"doctor.py": {"torch", "openmm", "ase"}, "common.py": {"torch"}}.get(
            inner[-1], set()
        )
        assert other <= {"numpy", "typer", "rich", "yaml", "pydantic"} | probed
    elif folder == "plugin" and inner[0] == "bench":  # the roof: it measures models, and knows them
        clouds = {"scipy"} if inner[-1] == "align_clouds.py" else set()  # hulls, nearest points
        assert other <= {"numpy", "torch"} | clouds
    elif folder == "plugin":
        lazily = {
            "weights.py": {"safetensors", "torch"},
            "progress.py": {"rich"},
            "bond_orders.py": {"scipy"},
            "convergence.py": {"scipy"},
        }  # see below
        own_need = {
            "stored": {"pydantic"},
            "testing": {"pytest"},
            "report": {"matplotlib", "py3Dmol", "nglview"},  # when a figure or view is made
        }.get(inner[0], set())
        assert other <= {"numpy"} | own_need | lazily.get(inner[-1], set())
    elif folder == "adapters":
        extras = {"rivals.py": {"openconf", "Auto3D"}, "store.py": {"fsspec"}}
        own_need = extras.get(inner[-1], set())
        assert other <= {"numpy", "tblite", "h5py", "pandas", "posebusters"} | own_need | HOSTS
        assert len(other & HOSTS) <= 1, "an adapter imports one host"
        others = {name for name in own if name.startswith("equidrift.adapters.")}
        others -= {name for name in others if name.split(".")[2] == inner[0]}
        assert not others, "two hosts meet through records"
    else:
        assert other <= {"numpy", "torch", "safetensors", "yaml", "pydantic"} | (
            {"selfies"} if inner[-1] == "graph_data.py" else set()
        )
    roof = folder == "plugin" and inner[0] in ("bench", "cli")
    if (
        folder != "models" and inner != ["weights.py"] and not roof
    ):  # weights.py holds the folder of the shipped weights
        assert not any(name.startswith("equidrift.models") for name in own)
    if folder != "adapters" and not roof:
        assert not any(name.startswith("equidrift.adapters") for name in own), (
            "reach adapters by registry.host_function"
        )


FAMILIES = sorted(
    path.name
    for path in (ROOT / "models").iterdir()
    if path.is_dir() and path.name not in ("shared", "zoo", "__pycache__")
)


@pytest.mark.parametrize("family", ["shared", *FAMILIES])
def test_a_family_imports_shared_and_itself_alone(family: str) -> None:
    mine = {f"equidrift.models.{name}" for name in ("shared", family)}
    for path in sorted((ROOT / "models" / family).rglob("*.py")):
        others = {name for name in imports(path) if name.startswith("equidrift.models.")}
        strange = {name for name in others if ".".join(name.split(".")[:3]) not in mine}
        assert not strange, (
            f"{path.relative_to(ROOT)} imports {', '.join(sorted(strange))}; what two "
            f"families use stands in models/shared"
        )
        dotted = {
            f"equidrift.models.{name}"
            for name in re.findall(r'"equidrift\.models\.(\w+)\.[\w.]+:\w+"', path.read_text())
        }
        assert dotted <= mine, (
            f"{path.relative_to(ROOT)} names {', '.join(sorted(dotted - mine))} in a string; "
            f"ask the registry"
        )


# the registry, and the lazy methods of the records
STRINGS_ALLOWED = {
    "plugin/registry/tables.py",
    "plugin/records/ensemble.py",
    "plugin/records/geometries.py",
    "plugin/records/trajectory.py",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dotted_strings_stand_in_the_registry_and_the_records_alone(path: Path) -> None:
    if str(path.relative_to(ROOT)) in STRINGS_ALLOWED:
        return
    texts = [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    found = [text for text in texts if re.match(r"equidrift\.[\w.]+:", text)]
    assert not found, f"{found[0]!r} hides an import; name it in plugin/registry/tables.py"


@pytest.mark.long
def test_every_dotted_string_of_the_registry_leads_somewhere() -> None:
    table = (ROOT / "plugin/registry/tables.py").read_text()
    texts = re.findall(r'"(equidrift\.[\w.]+):(\w+)"', table)
    assert len(texts) > 60
    folders = {"adapters": ROOT / "adapters", "models": ROOT / "models"}
    for module, name in texts:
        top, *rest = module.split(".")[1:]
        place = folders.get(top, ROOT / "plugin" / top).joinpath(*rest)
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        names = {
            getattr(node, "name", "")
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        } | {
            target.id
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert name in names, f"{module}:{name} is not defined there"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*(name for name in sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    return {name.partition(".")[0] for name in out.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import equidrift; equidrift.Molecule; equidrift.Ensemble; equidrift.list_models()",
        "import equidrift.engine.conformers, equidrift.api, equidrift.files.ensembles, "
        "equidrift.checks.geometry",
        "import equidrift; equidrift.forecast, equidrift.interpolate, "
        "equidrift.load_trajectory, equidrift.Trajectory",
        "from equidrift.registry import make_trajectory_model; "
        "make_trajectory_model('constant-velocity')",
        "import equidrift.cli.main; equidrift.cli.main.build()",
    ],
)
def test_core_loads_no_torch_and_no_host(statement: str) -> None:
    assert not loaded_by(statement) & (HOSTS | {"torch", "scipy", "tblite", "pydantic", "yaml"})


@pytest.mark.long
@pytest.mark.parametrize(
    "module", ["ase.io", "ase.dynamics", "mdanalysis.universe", "openmm.proposer"]
)
def test_entry_points_and_hosts_modules_load_no_torch(module: str) -> None:
    assert "torch" not in loaded_by(f"import equidrift.adapters.{module}")
