"""Inputs and outputs that chemists have: compressed files, tables, pipes, InChI, mol2,
salts.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rdkit import Chem

import equidrift
from equidrift import registry
from equidrift.errors import InputError, MoleculeError
from equidrift.files import unpacked
from equidrift.files.ensembles import load_all
from equidrift.records import Molecule
from tests.commands import Cli, caller
from tests.conftest import make_ensemble

CSV = 'SMILES,Name,IC50,note\nCCO,ethanol,12.5,"a, b"\n\nCCN,amine,,\n'
MOL2 = """@<TRIPOS>MOLECULE
water
3 2 0 0 0
SMALL
NO_CHARGES

@<TRIPOS>ATOM
1 O1 0.0 0.0 0.0 O.3
2 H1 0.96 0.0 0.0 H
3 H2 -0.24 0.93 0.0 H
@<TRIPOS>BOND
1 1 2 1
2 1 3 1
"""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run a command in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry.CONFORMER_MODELS, "shaker", "tests.doubles:Shaker")
    monkeypatch.setitem(registry.REFINERS, "refine", "tests.doubles:Shrinker")

    whole = caller(monkeypatch, capsys)

    def call(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        unpacked.standard_input.cache_clear()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        return whole(*arguments)

    return call


def sampled(cli: Cli, *inputs: object, stdin: bytes = b"") -> list[Molecule]:
    """The molecules that `equidrift sample INPUTS` writes."""
    command = ("sample", *inputs, "--model", "shaker", "-o", "x.sdf")
    code, out, err = cli(*command, "--overwrite", stdin=stdin)
    assert code == 0, out + err
    return [ensemble.molecule for ensemble in load_all("x.sdf")]


def formulas(molecules: list[Molecule]) -> list[str]:
    return ["".join(sorted(molecule.symbols)) for molecule in molecules]


ETHANOL, AMINE = "CCHHHHHHO", "CCHHHHHHHN"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".smi", ".csv", ".sdf"])
def test_files_are_read_also_when_compressed(suffix: str, packed: bool, cli: Cli) -> None:
    if suffix == ".sdf":
        text = "".join(_sdf(smiles) for smiles in ("CCO", "CCN"))
    else:
        text = CSV if suffix == ".csv" else "CCO ethanol\nCCN amine\n"
    name = f"in{suffix}.gz" if packed else f"in{suffix}"
    Path(name).write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert formulas(sampled(cli, name)) == [ETHANOL, AMINE]


def _sdf(smiles: str) -> str:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    return Chem.MolToMolBlock(mol) + "$$$$\n"


@pytest.mark.parametrize(
    "text", ["CCO ethanol\nCCN amine\n", CSV, CSV.replace(", b", "").replace(",", ";")]
)
def test_standard_input_is_read_by_its_content(text: str, cli: Cli) -> None:
    assert formulas(sampled(cli, "-", stdin=text.encode())) == [ETHANOL, AMINE]
    assert formulas(sampled(cli, "-", stdin=_sdf("CCO").encode())) == [ETHANOL]


def test_empty_standard_input_is_refused(cli: Cli) -> None:
    code, _, err = cli("sample", "-", "--model", "shaker", "-o", "x.sdf")
    assert code == 2 and "standard input is empty" in err


def test_csv_names_and_properties_are_kept(tmp_path: Path) -> None:
    from equidrift.adapters.rdkit.io import read_molecules

    (tmp_path / "in.csv").write_text(CSV)
    ethanol, amine = (record.molecule for record in read_molecules(tmp_path / "in.csv"))
    assert ethanol is not None and amine is not None
    assert ethanol.name == "ethanol" and dict(ethanol.properties) == {
        "IC50": "12.5",
        "note": "a, b",
    }
    assert amine.name == "amine" and not amine.properties


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mol,name\nCCO,x\n", "has the columns mol, name and none named 'smiles'"),
        ("smiles,name,Name\nCCO,x,y\n", "two columns 'name'"),
    ],
)
def test_tables_without_the_right_columns_are_refused(text: str, message: str, cli: Cli) -> None:
    Path("in.csv").write_text(text)
    code, _, err = cli("sample", "in.csv", "--model", "shaker", "-o", "x.sdf")
    assert code == 2 and message in err


def test_broken_rows_cost_only_themselves(cli: Cli) -> None:
    Path("in.csv").write_text("smiles,name\nCCO,a\n,b\nCCN,c,d,e\nC(,f\nCCN,g\n")
    code, out, _ = cli("sample", "in.csv", "--model", "shaker", "-o", "x.sdf", "--json")
    told = json.loads(out)
    assert code == 1 and told["molecules"] == 2
    assert [failure["title"] for failure in told["failures"]] == ["b", "c", "f"]


def test_damaged_gzip_is_refused(cli: Cli) -> None:
    Path("in.smi.gz").write_bytes(gzip.compress(b"CCO\n" * 1000)[:-9])
    code, _, err = cli("sample", "in.smi.gz", "--model", "shaker", "-o", "x.sdf")
    assert code == 2 and "is damaged or no gzip file" in err and err.count("\n") == 1


def test_inchi_is_read_wherever_a_smiles_is(cli: Cli) -> None:
    inchi = Chem.MolToInchi(Chem.MolFromSmiles("C[C@H](N)C(=O)O"))
    molecule = Molecule.from_smiles(inchi)
    assert molecule.smiles == "C[C@H](N)C(=O)O" and len(molecule.tetrahedral) == 1
    Path("in.smi").write_text(f"{inchi} alanine\n")
    (first,), (second,) = sampled(cli, inchi), sampled(cli, "in.smi")
    assert formulas([first]) == formulas([second]) == formulas([molecule])
    with pytest.raises(MoleculeError, match="cannot read the InChI"):
        Molecule.from_smiles("InChI=1S/nonsense")


def test_mol2_is_read_with_its_coordinates(cli: Cli) -> None:
    Path("in.mol2").write_text(MOL2 + MOL2.replace("water", "second"))
    ensembles = list(load_all("in.mol2"))
    assert [len(e) for e in ensembles] in ([2], [1, 1]) and ensembles[0].molecule.name == "water"
    assert ensembles[0].positions_A[0][1].tolist() == [0.96, 0.0, 0.0]
    Path("bad.mol2").write_text(MOL2.replace("O.3", "Q.9"))
    with pytest.raises(InputError, match="mol2 block"):
        list(load_all("bad.mol2"))


def test_compressed_sdf_is_written_and_read_the_same_each_time(cli: Cli) -> None:
    for name in ("a.sdf.gz", "b.sdf.gz", "c.sdf"):
        assert cli("sample", "CCO", "CCN", "-n", 3, "--model", "shaker", "-o", name)[0] == 0
    assert Path("a.sdf.gz").read_bytes() == Path("b.sdf.gz").read_bytes()
    assert gzip.decompress(Path("a.sdf.gz").read_bytes()) == Path("c.sdf").read_bytes()
    assert [len(e) for e in load_all("a.sdf.gz")] == [3, 3]
    assert sorted(p.name for p in Path().iterdir()) == ["a.sdf.gz", "b.sdf.gz", "c.sdf"]
    make_ensemble("imine").save("d.sdf.gz")
    make_ensemble("imine").save("d.sdf")
    assert gzip.decompress(Path("d.sdf.gz").read_bytes()) == Path("d.sdf").read_bytes()


@pytest.mark.parametrize("command", ["sample", "refine"])
def test_standard_output_holds_the_records_alone(command: str, cli: Cli) -> None:
    make_ensemble("imine").save("in.sdf")
    what = (
        ("sample", "CCO", "-n", 2, "--model", "shaker")
        if command == "sample"
        else ("refine", "in.sdf")
    )
    for more in ((), ("--json",)):
        code, out, err = cli(*what, "-o", "-", *more)
        assert code == 0 and out.count("$$$$") == 2 and out.endswith("$$$$\n")
        assert "conformers" in err and (not more or json.loads(err)["output"] == "-")
        mols = Chem.SDMolSupplier()
        mols.SetData(out, removeHs=False)
        assert len([mol for mol in mols if mol is not None]) == 2
    assert [path.name for path in Path().iterdir()] == ["in.sdf"]


def test_salts_are_refused_with_the_option_and_taken_by_it(cli: Cli) -> None:
    salt = "[Na+].C[C@H](N)C(=O)[O-]"
    code, _, err = cli("sample", salt, "--model", "etkdg", "-o", "x.sdf")
    assert code == 2 and "--largest-fragment" in err and "largest_fragment=True" in err
    code, out, _ = cli("sample", salt, "--model", "etkdg", "-o", "x.sdf", "--largest-fragment")
    assert (
        code == 0
        and "note: " in out
        and "the largest fragment was taken: C[C@H](N)C(=O)[O-]" in out
    )
    (ensemble,) = load_all("x.sdf")
    assert ensemble.molecule.charge == -1 and len(ensemble.molecule.tetrahedral) == 1


def test_largest_fragment_keeps_stereo_name_and_order() -> None:
    salt = Molecule.from_smiles(r"Cl.C[C@H](F)/C=C\Br.O", name="mine")
    with pytest.raises(MoleculeError, match="largest_fragment=True"):
        equidrift.sample(salt, 1, model="etkdg")
    ensemble = equidrift.sample(salt, 2, model="etkdg", largest_fragment=True)
    alone = Molecule.from_smiles(r"C[C@H](F)/C=C\Br")
    assert ensemble.molecule == alone and ensemble.molecule.smiles == alone.smiles
    assert ensemble.molecule.name == "mine" and ensemble.valid.all()
