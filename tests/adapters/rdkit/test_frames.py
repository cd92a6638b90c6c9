"""Tables in the manner of RDKit's PandasTools."""

from __future__ import annotations

import io

import numpy as np
import pandas
import pytest
from rdkit.Chem import PandasTools

import equidrift
from equidrift.adapters.rdkit.frames import to_frame
from equidrift.errors import InputError
from tests.contract.host import full_ensemble


def test_frame_has_a_row_for_each_conformer_with_all_that_is_known_of_it():
    ensembles = [full_ensemble("centres"), full_ensemble("zwitterion")]
    frame = to_frame(ensembles)
    assert list(frame["sample"]) == [0, 1, 0, 1]
    assert list(frame["ID"]) == [e.molecule.name for e in ensembles for _ in range(2)]
    for column, field in (
        ("energy_eV", "energies_eV"),
        ("log_prob", "log_prob"),
        ("seed", "seeds"),
        ("valid", "valid"),
    ):
        expected = [value for e in ensembles for value in getattr(e, field).tolist()]
        assert frame[column].tolist() == expected
    assert frame["vendor"].tolist() == ["one", "two"] * 2
    assert frame["IC50"].tolist() == ["12 nM"] * 4
    for row, expected in zip(
        frame["ROMol"], [x for e in ensembles for x in e.positions_A], strict=True
    ):
        np.testing.assert_allclose(row.GetConformer().GetPositions(), expected)


def test_frame_survives_the_sdf_of_pandastools():
    frame = equidrift.sample("CC(N)C(=O)O", 3, model="etkdg", relax="mmff").to_pandas()
    stream = io.StringIO()
    PandasTools.WriteSDF(frame, stream, properties=["energy_eV", "sample"])
    stream.seek(0)
    read = PandasTools.LoadSDF(io.BytesIO(stream.getvalue().encode()), removeHs=False)
    assert isinstance(read, pandas.DataFrame)
    np.testing.assert_allclose(read["energy_eV"].astype(float), frame["energy_eV"], atol=1e-6)


def test_frame_of_nothing_is_refused():
    with pytest.raises(InputError, match="no conformer"):
        to_frame([])
