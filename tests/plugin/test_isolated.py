"""Calls in a process of their own: values, errors, hangs and deaths; the caller lives."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from equidrift.errors import (
    CrashError,
    EquidriftError,
    InputError,
    InputTypeError,
    NoValidSamplesError,
    TimeLimitError,
    UnknownNameError,
)
from equidrift.isolated import close_children, run_apart
from tests.plugin import isolated_calls as calls

LIMIT_S = 60.0


class TestRunApart:
    def test_value_comes_back_from_another_process(self):
        assert run_apart(calls.whose, timeout_s=LIMIT_S) != os.getpid()
        assert run_apart(calls.add, 2, 3, timeout_s=LIMIT_S) == 5

    def test_arrays_come_back_as_they_are(self):
        x = np.random.default_rng(0).normal(size=(100, 3))
        assert np.array_equal(run_apart(calls.add, x, x, timeout_s=LIMIT_S), x + x)

    def test_child_is_used_again_after_a_value_and_after_an_error(self):
        first = run_apart(calls.whose, timeout_s=LIMIT_S)
        with pytest.raises(UnknownNameError):
            run_apart(calls.unknown_name, timeout_s=LIMIT_S)
        assert run_apart(calls.whose, timeout_s=LIMIT_S) == first

    def test_partial_of_a_function_works(self):
        assert run_apart(partial(calls.add, b=4), 1, timeout_s=LIMIT_S) == 5

    def test_printing_does_not_spoil_the_answer(self, capfd):
        assert run_apart(calls.talk, timeout_s=LIMIT_S) == "answered"
        assert capfd.readouterr() == ("", "")

    @pytest.mark.long
    def test_time_limit_ends_a_loop_and_says_how_long_it_had(self):
        with pytest.raises(
            TimeLimitError, match=r"embedding of CCO took longer than 0\.2 s"
        ) as caught:
            run_apart(calls.spin, timeout_s=0.2, what="embedding of CCO")
        assert caught.value.limit_s == 0.2
        assert run_apart(calls.add, 1, 1, timeout_s=LIMIT_S) == 2

    @pytest.mark.parametrize(
        ("function", "number"),
        [(calls.abort, signal.SIGABRT), (calls.segmentation_fault, signal.SIGSEGV)],
    )
    def test_death_is_an_error_with_its_signal(self, function, number):
        with pytest.raises(CrashError, match=number.name) as caught:
            run_apart(function, timeout_s=LIMIT_S)
        assert caught.value.signal == number
        assert run_apart(calls.add, 1, 1, timeout_s=LIMIT_S) == 2

    def test_last_words_of_the_library_are_in_the_message(self):
        with pytest.raises(CrashError, match="invalid pointer"):
            run_apart(calls.abort, timeout_s=LIMIT_S)

    def test_exit_is_an_error_with_its_code(self):
        with pytest.raises(CrashError, match="exit code 3") as caught:
            run_apart(calls.leave, timeout_s=LIMIT_S)
        assert caught.value.signal is None

    def test_our_errors_come_back_whole(self):
        with pytest.raises(UnknownNameError, match="Did you mean 'default'"):
            run_apart(calls.unknown_name, timeout_s=LIMIT_S)
        with pytest.raises(NoValidSamplesError) as caught:
            run_apart(calls.no_samples, timeout_s=LIMIT_S)
        assert caught.value.reasons == {"clash": 3}

    def test_error_that_cannot_be_pickled_keeps_its_words(self):
        with pytest.raises(RuntimeError, match="Unpicklable: 1 and 2"):
            run_apart(calls.odd_error, timeout_s=LIMIT_S)

    def test_function_without_a_name_is_refused_with_the_way_out(self):
        with pytest.raises(InputTypeError, match="function of a module"):
            run_apart(lambda: 1, timeout_s=LIMIT_S)

    @pytest.mark.parametrize(
        ("limit", "error"),
        [
            (0, InputError),
            (float("nan"), InputError),
            ("1", InputTypeError),
            (True, InputTypeError),
        ],
    )
    def test_time_limit_is_checked(self, limit, error):
        with pytest.raises(error, match="timeout_s"):
            run_apart(calls.whose, timeout_s=limit)

    def test_child_may_have_a_child(self):
        assert run_apart(calls.nested, 1, timeout_s=LIMIT_S) == 2

    def test_child_that_died_while_idle_is_replaced(self):
        child = run_apart(calls.whose, timeout_s=LIMIT_S)
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert run_apart(calls.add, 1, 1, timeout_s=LIMIT_S) == 2

    def test_closed_children_are_gone(self):
        first = run_apart(calls.whose, timeout_s=LIMIT_S)
        close_children()
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        assert run_apart(calls.whose, timeout_s=LIMIT_S) != first

    @pytest.mark.parametrize(
        "method", sorted(set(multiprocessing.get_all_start_methods()) & {"fork", "spawn"})
    )
    def test_workers_of_a_pool_have_children_of_their_own(self, method):
        own = run_apart(calls.whose, timeout_s=LIMIT_S)
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(calls.nested, [1, 2, 3]) == [2, 3, 4]
            others = pool.map(_child_of_worker, range(4))
        assert own not in others
        assert run_apart(calls.whose, timeout_s=LIMIT_S) == own

    def test_script_without_a_main_guard_works(self, tmp_path):
        script = tmp_path / "script.py"
        script.write_text(
            "import operator\nfrom equidrift.isolated import "
            "run_apart\nprint(run_apart(operator.add, 1, 2, timeout_s=60))\n"
        )
        done = subprocess.run(
            [sys.executable, str(script)],
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert (done.stdout, done.returncode) == ("3\n", 0), done.stderr

    def test_file_of_the_working_folder_is_not_imported(self, tmp_path, monkeypatch):
        close_children()
        (tmp_path / "pickle.py").write_text("raise SystemExit(9)")
        monkeypatch.chdir(tmp_path)
        assert run_apart(calls.add, 1, 1, timeout_s=LIMIT_S) == 2


def _child_of_worker(_: int) -> int:
    return run_apart(calls.whose, timeout_s=LIMIT_S)


def _subclasses(kind: type) -> list[type]:
    return [kind, *(sub for child in kind.__subclasses__() for sub in _subclasses(child))]


@pytest.mark.parametrize(
    "kind", [kind for kind in _subclasses(EquidriftError) if kind.__module__ == "equidrift.errors"]
)
def test_errors_survive_pickle(kind):
    arguments = {
        "UnknownNameError": ("model", "a", ["b"]),
        "MissingDependencyError": ("tblite", "xtb"),
        "NoValidSamplesError": ("none.", {"clash": 2}),
        "TimeLimitError": ("late", 2.0),
        "CrashError": ("gone", 6),
    }
    error = kind(*arguments.get(kind.__name__, ("words",)))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)
