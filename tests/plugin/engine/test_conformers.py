"""Seeds -> samples -> checks -> redraws: always n valid conformers, the same ones
whatever the batches.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equidrift.checks.geometry import BOND_LENGTH, NO_COORDINATES, check_geometry
from equidrift.engine import run as engine_run
from equidrift.engine import tasks, windows
from equidrift.engine.conformers import (
    generate_chunks,
    generate_windows,
    make_settings,
    sample_molecule,
)
from equidrift.errors import (
    EquidriftError,
    InputError,
    InputTypeError,
    ModelError,
    MoleculeError,
    NoValidSamplesError,
    UnknownNameError,
)
from equidrift.joining import joined
from equidrift.records import Molecule
from equidrift.seeds import RETRY_STRIDE, sample_seeds
from tests.doubles import Shaker, pieces_of

ETHANOL = Molecule.from_smiles("CCO")
OTHERS = [
    Molecule.from_smiles(smiles)
    for smiles in ("C", "CCO", "c1ccccc1", "CC(C)CC(=O)O", "C[C@H](F)Cl", "CCCCCCCC")
]


def test_n_valid_conformers_of_a_flaky_model() -> None:
    model = Shaker(broken=0.6)
    ensemble = sample_molecule(ETHANOL, 100, model=model, seed=3)
    assert len(ensemble) == 100 and ensemble.valid is not None and ensemble.valid.all()
    assert (check_geometry(ETHANOL, ensemble.positions_A) == "").all()
    rejected = ensemble.provenance["rejected"]
    assert set(rejected) == {NO_COORDINATES, BOND_LENGTH} and min(rejected.values()) > 30
    assert ensemble.provenance["drawn"] == 100 + sum(rejected.values())
    assert ensemble.provenance["model"] == "shaker" and ensemble.provenance["seed"] == 3


def test_redraws_come_from_the_next_attempts_stream() -> None:
    model = Shaker(broken=0.5)
    ensemble = sample_molecule(ETHANOL, 20, model=model)
    streams = [sample_seeds(0, 0, 20, attempt) for attempt in range(engine_run.MAX_ATTEMPTS)]
    for k, seed in enumerate(np.asarray(ensemble.seeds).tolist()):
        attempt = [stream[k] for stream in streams].index(seed)
        valid = [
            check_geometry(ETHANOL, model.sample(ETHANOL, streams[a][k : k + 1]))[0] == ""
            for a in range(attempt + 1)
        ]
        assert valid == [False] * attempt + [True]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**63 - 1))
def test_batch_size_changes_nothing(n: int, batch_size: int, seed: int) -> None:
    model = Shaker(broken=0.3)
    whole = sample_molecule(ETHANOL, n, model=model, seed=seed)
    parts = sample_molecule(ETHANOL, n, model=model, seed=seed, batch_size=batch_size)
    np.testing.assert_allclose(parts.positions_A, whole.positions_A, atol=1e-4)
    np.testing.assert_array_equal(parts.seeds, whole.seeds)
    assert max(len(seeds) for call in model.calls for _, seeds in call) <= max(batch_size, n)


def test_etkdg_does_not_depend_on_batches() -> None:
    molecule = Molecule.from_smiles("CC(O)C[C@H](N)C")
    whole = sample_molecule(molecule, 12, model="etkdg", seed=5)
    parts = sample_molecule(molecule, 12, model="etkdg", seed=5, batch_size=5)
    np.testing.assert_allclose(parts.positions_A, whole.positions_A, atol=1e-4)
    assert (
        np.abs(
            sample_molecule(molecule, 12, model="etkdg", seed=6).positions_A - whole.positions_A
        ).max()
        > 0.1
    )


def test_first_conformers_do_not_depend_on_n() -> None:
    few, many = (sample_molecule(ETHANOL, n, model=Shaker(broken=0.3)) for n in (5, 50))
    np.testing.assert_array_equal(few.positions_A, many.positions_A[:5])


def test_chunks_join_to_the_whole() -> None:
    whole = sample_molecule(ETHANOL, 50, model=Shaker(broken=0.3))
    chunks = list(generate_chunks(ETHANOL, 50, model=Shaker(broken=0.3), window_samples=8))
    assert [len(chunk) for chunk in chunks] == [8] * 6 + [2]
    whole_again = joined(chunks)
    np.testing.assert_array_equal(whole_again.positions_A, whole.positions_A)
    assert whole_again.provenance == whole.provenance
    late = list(generate_chunks(ETHANOL, 50, model=Shaker(broken=0.3), start=24, window_samples=8))
    np.testing.assert_array_equal(late[0].positions_A, chunks[3].positions_A)


def test_windows_are_whole_blocks() -> None:
    model = Shaker()
    model.block = 4  # type: ignore[attr-defined]
    made = make_settings(model, batch_size=5, window_samples=10)
    assert made.window == 12 and made.batch_size == 8
    pieces = pieces_of(OTHERS, 30, settings=made)
    assert all(piece.start % 4 == 0 for piece in pieces)


def test_many_molecules_mix_in_batches_and_leave_in_order() -> None:
    model = Shaker(broken=0.2)
    pieces = pieces_of(OTHERS, 7, settings=make_settings(model))
    assert [piece.index for piece in pieces] == list(range(len(OTHERS)))
    for piece, molecule in zip(pieces, OTHERS, strict=True):
        assert piece.ensemble is not None and piece.last
        alone = sample_molecule(molecule, 7, model=Shaker(broken=0.2))
        np.testing.assert_allclose(piece.ensemble.positions_A, alone.positions_A, atol=1e-4)
    assert max(len(call) for call in model.calls) > 1
    for call in model.calls:
        sizes = [molecule.n_atoms for molecule, _ in call]
        assert max(sizes) <= tasks.SIZE_SPREAD * min(sizes)


@pytest.mark.long
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.data())
def test_a_run_continues_from_the_end_of_any_window(
    n: int, window: int, data: st.DataObject
) -> None:
    made = make_settings(Shaker(broken=0.2), seed=1)
    source: list[Molecule | EquidriftError] = [
        OTHERS[0],
        MoleculeError("broken"),
        OTHERS[1],
        Molecule.from_smiles("C.C"),
        OTHERS[2],
    ]
    whole = list(generate_windows(source, n, settings=made, window=window))
    stop = data.draw(st.integers(1, len(whole)))
    last = whole[stop - 1][-1]
    samples = 0 if last.ensemble is None else last.start + len(last.ensemble)
    position = (last.index + 1, 0) if last.last else (last.index, samples)
    rest = list(
        generate_windows(source[position[0] :], n, settings=made, window=window, start=position)
    )
    assert [[(piece.index, piece.start, piece.last) for piece in pieces] for pieces in rest] == [
        [(piece.index, piece.start, piece.last) for piece in pieces] for pieces in whole[stop:]
    ]
    for mine, theirs in zip(
        [p for w in rest for p in w], [p for w in whole[stop:] for p in w], strict=True
    ):
        if theirs.ensemble is not None and mine.ensemble is not None:
            np.testing.assert_array_equal(mine.ensemble.positions_A, theirs.ensemble.positions_A)


@pytest.mark.long
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 20), st.integers(1, 9), st.booleans(), st.data())
def test_a_run_continues_within_any_window(
    n: int, batch_size: int, relaxed: bool, data: st.DataObject
) -> None:
    def relax(molecule: Molecule, positions: Any) -> Any:
        return positions + 0.001, positions[:, 0, 0]

    class Picky(Shaker):
        def sample(self, molecule: Molecule, seeds: Any, **options: Any) -> Any:
            if molecule == OTHERS[2]:
                raise MoleculeError("cannot")
            return super().sample(molecule, seeds)

    made = make_settings(Picky(broken=0.3), batch_size=batch_size, relax=relax if relaxed else None)
    kept: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "RELAX_S", 0.0)  # so that each sample relaxed is kept
        (whole,) = generate_windows(OTHERS[:4], n, settings=made, keep=kept.append)
        stop = data.draw(st.integers(0, len(kept) - 1))
        again = make_settings(Picky(broken=0.3), batch_size=batch_size, relax=made.relax)
        (rest,) = generate_windows(OTHERS[:4], n, settings=again, kept=kept[stop])
    for mine, theirs in zip(rest, whole, strict=True):
        assert str(mine.error) == str(theirs.error) and type(mine.error) is type(theirs.error)
        if mine.ensemble is not None and theirs.ensemble is not None:
            np.testing.assert_array_equal(mine.ensemble.positions_A, theirs.ensemble.positions_A)
            np.testing.assert_array_equal(mine.ensemble.seeds, theirs.ensemble.seeds)
            assert mine.ensemble.provenance == theirs.ensemble.provenance
    drawn = [sum(len(seeds) for call in m.model.calls for _, seeds in call) for m in (made, again)]
    assert drawn[1] < drawn[0] or stop == 0 or relaxed


def test_partial_holds_the_valid_ones_when_there_are_too_few() -> None:
    with pytest.raises(NoValidSamplesError) as caught:
        sample_molecule(ETHANOL, 50, model=Shaker(broken=0.9), max_attempts=2)
    partial = caught.value.partial
    assert 0 < len(partial) < 50 and partial.valid.all() and partial.provenance["drawn"] > 50
    assert (check_geometry(ETHANOL, partial.positions_A) == "").all()
    model = Shaker(broken=0.0)

    def later(molecule: Molecule, seeds: Any, **options: Any) -> Any:
        made = Shaker.sample(model, molecule, seeds)
        return np.where((seeds % RETRY_STRIDE < 20)[:, None, None], made, np.nan)

    model.sample = later  # type: ignore[method-assign]
    with pytest.raises(NoValidSamplesError) as caught:
        sample_molecule(ETHANOL, 30, model=model, max_attempts=2, window_samples=8)
    assert len(caught.value.partial) == 20, "two whole windows and half of the third"
    with pytest.raises(NoValidSamplesError) as caught:
        sample_molecule(ETHANOL, 5, model=Shaker(broken=1.0))
    assert caught.value.partial is None


def test_a_failing_molecule_costs_only_itself() -> None:
    class Moody(Shaker):
        def sample_many(self, jobs: Any, **options: Any) -> Any:
            if any(molecule == OTHERS[2] for molecule, _ in jobs):
                raise RuntimeError("no")
            if any(molecule == OTHERS[3] for molecule, _ in jobs):
                raise MoleculeError("cannot")
            return super().sample_many(jobs, **options)

    source = [*OTHERS, Molecule.from_smiles("CC.C"), MoleculeError("unreadable"), OTHERS[0]]
    pieces = pieces_of(source, 3, settings=make_settings(Moody()))
    assert [piece.error is None for piece in pieces] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
        False,
        True,
    ]
    assert isinstance(pieces[2].error, ModelError) and isinstance(
        pieces[2].error.__cause__, RuntimeError
    )
    assert "fragments" in str(pieces[6].error) and "unreadable" in str(pieces[7].error)


def test_memory_is_halved_not_lost() -> None:
    class Small(Shaker):
        def sample(self, molecule: Molecule, seeds: Any, **options: Any) -> Any:
            if len(seeds) > 3:
                raise MemoryError
            return super().sample(molecule, seeds)

    ensemble = sample_molecule(ETHANOL, 20, model=Small())
    np.testing.assert_array_equal(
        ensemble.positions_A, sample_molecule(ETHANOL, 20, model=Shaker()).positions_A
    )


def test_no_conformer_possible() -> None:
    with pytest.raises(
        NoValidSamplesError, match=r"0 of 5 conformers .* are valid after 100 draws"
    ) as caught:
        sample_molecule(ETHANOL, 5, model=Shaker(broken=1.0))
    assert sum(caught.value.reasons.values()) == 100
    with pytest.raises(NoValidSamplesError, match="raise max_attempts"):
        sample_molecule(ETHANOL, 50, model=Shaker(broken=0.9), max_attempts=2)


def test_relaxation_is_checked_again() -> None:
    def relax(molecule: Molecule, positions: Any) -> Any:
        moved = positions.copy()
        moved[1::2] *= 4
        return moved, np.arange(len(positions), dtype=float)

    ensemble = sample_molecule(ETHANOL, 9, model=Shaker(), relax=relax)
    assert (check_geometry(ETHANOL, ensemble.positions_A) == "").all()
    assert ensemble.provenance["rejected"][BOND_LENGTH] >= 4
    assert ensemble.energies_eV is not None and np.isfinite(ensemble.energies_eV).all()


def test_callback_counts() -> None:
    events: list[dict[str, Any]] = []
    ensemble = sample_molecule(
        ETHANOL, 30, model=Shaker(broken=0.4), batch_size=7, callback=events.append
    )
    assert sum(event["accepted"] for event in events) == 30
    assert sum(event["drawn"] for event in events) == ensemble.provenance["drawn"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, InputError, "n must be 1 or more, not 0"),
        ({"n": -3}, InputError, "n must be 1 or more"),
        ({"n": 2.0}, InputTypeError, "n must be an integer, not 2.0"),
        ({"n": True}, InputTypeError, "n must be an integer"),
        ({"batch_size": 0}, InputError, "batch_size must be 1 or more"),
        ({"steps": 0}, InputError, "steps must be 1 or more"),
        ({"max_attempts": 0}, InputError, "max_attempts must be 1 or more"),
        ({"seed": -1}, InputError, "seed must lie in"),
        ({"model": "etkgd"}, UnknownNameError, "unknown model 'etkgd'. Did you mean 'etkdg'"),
        ({"model": 3}, InputTypeError, "model must be a name"),
        ({"molecule": "CCO"}, InputTypeError, "molecule must be an equidrift Molecule, not str"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sample_molecule(**{"molecule": ETHANOL, "n": 1, "model": Shaker(), **options})


def test_global_random_state_is_untouched() -> None:
    np.random.seed(1)  # noqa: NPY002
    before = str(np.random.get_state())  # noqa: NPY002
    sample_molecule(ETHANOL, 3, model="etkdg")
    assert str(np.random.get_state()) == before  # noqa: NPY002


@pytest.mark.long
def test_streaming_holds_one_chunk() -> None:
    alive: list[weakref.ref[Any]] = []
    for chunk in generate_chunks(ETHANOL, 80, model=Shaker(), window_samples=8):
        alive.append(weakref.ref(chunk))
        del chunk
        gc.collect()
        assert sum(ref() is not None for ref in alive) <= 1
    assert len(alive) == 10


class Never(Shaker):
    """A model that makes nothing, and knows it."""

    def __init__(self, *, candid: bool) -> None:
        super().__init__(broken=0.0)
        self.candid, self.asked = candid, 0

    def sample(self, molecule: Molecule, seeds: Any, **_: Any) -> Any:
        self.asked += len(seeds)
        return np.full((len(seeds), molecule.n_atoms, 3), np.nan)

    def sample_many(self, jobs: Any, **options: Any) -> Any:
        return [self.sample(molecule, seeds) for molecule, seeds in jobs]

    def never_embeds(self, molecule: Molecule) -> bool:
        return self.candid


@pytest.mark.parametrize(("n", "most"), [(1, 20), (20, 100), (150, 300), (1000, 512)])
def test_model_that_never_succeeds_is_asked_a_bounded_number_of_times(n: int, most: int) -> None:
    model = Never(candid=False)
    with pytest.raises(NoValidSamplesError, match=f"0 of {min(n, 512)} conformer"):
        sample_molecule(ETHANOL, n, model=model)
    assert model.asked <= most


@pytest.mark.parametrize("n", [1, 20, 1000])
def test_model_that_says_it_never_embeds_is_asked_for_one_batch(n: int) -> None:
    model = Never(candid=True)
    with pytest.raises(NoValidSamplesError, match="too strained to exist"):
        sample_molecule(ETHANOL, n, model=model, batch_size=8)
    assert model.asked <= 8


def test_a_molecule_that_never_embeds_costs_the_others_nothing() -> None:
    class Choosy(Never):
        def sample(self, molecule: Molecule, seeds: Any, **options: Any) -> Any:
            if self.never_embeds(molecule):
                return super().sample(molecule, seeds)
            return Shaker.sample_many(self, [(molecule, seeds)], **options)[0]

        def never_embeds(self, molecule: Molecule) -> bool:
            return molecule == OTHERS[1]

    model = Choosy(candid=True)
    pieces = pieces_of(OTHERS, 20, settings=make_settings(model, batch_size=4))
    assert [piece.error is None for piece in pieces] == [k != 1 for k in range(len(OTHERS))]
    assert model.asked <= 4


def test_time_limit_ends_a_run_between_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100_000))
    monkeypatch.setattr(windows.time, "monotonic", lambda: next(clock))
    model = Shaker(broken=0.0)
    with pytest.raises(NoValidSamplesError, match=r"timeout_s is 3;.* Rejected: none\.") as caught:
        sample_molecule(ETHANOL, 500, model=model, batch_size=8, timeout_s=3)
    assert 0 < len(caught.value.partial) <= 24, "batches of 8, each of a second of this clock"
