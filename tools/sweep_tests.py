"""Run the tests with the floats of other processors, other numbers of threads and in
random order.

    python tools/sweep_tests.py                          every combination, all tests
    python tools/sweep_tests.py tests/models --threads 1 --capabilities default -- -x

PyTorch rounds otherwise with each instruction set (`ATEN_CPU_CAPABILITY`) and number of
threads (`OMP_NUM_THREADS`), so that a test which holds for one seed's floats alone
fails in one of them. Needs the extra `sweep` (pytest-randomly); what follows `--` goes
to pytest.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CAPABILITIES = ("default", "avx2", "native")
THREADS = (1, 2)
NO_TESTS = 5  # pytest's exit code if it found none


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every combination, print a line per combination; 1 if a test failed in one of
    them.
    """
    options = parse(sys.argv[1:] if arguments is None else list(arguments))
    failures: dict[str, list[str]] = {}
    combinations = list(itertools.product(options.capabilities, options.threads))
    for number, (capability, threads) in enumerate(combinations):
        label = f"{capability}, {threads} thread{'s' if threads > 1 else ''}"
        begun = time.monotonic()
        code, output = run(options, capability, threads, options.seed + number)
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
        if code not in (0, NO_TESTS) and not failed:
            failed = [f"(exit code {code})"]
            print(output[-4000:])
        for name in failed:
            failures.setdefault(name, []).append(label)
        last = output.strip().splitlines()[-1] if output.strip() else ""
        print(
            f"{label}: {len(failed)} failed, {time.monotonic() - begun:.0f} s; {last}", flush=True
        )
        if failed and options.show:
            print(output[-options.show :], flush=True)
    for name, labels in failures.items():
        print(f"{name}: {'; '.join(labels)}")
    return 1 if failures else 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, and after `--` those of pytest."""
    own, further = list(arguments), []
    if "--" in own:
        place = own.index("--")
        own, further = own[:place], own[place + 1 :]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", default=["tests"])
    parser.add_argument("--capabilities", nargs="+", choices=CAPABILITIES, default=CAPABILITIES)
    parser.add_argument("--threads", nargs="+", type=int, default=THREADS)
    parser.add_argument(
        "--seed", type=int, default=1, help="of the order; grows by one a combination"
    )
    parser.add_argument("--show", type=int, default=0, help="characters of a failed run's output")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds of a combination")
    options = parser.parse_args(own)
    options.pytest = further
    return options


def run(options: argparse.Namespace, capability: str, threads: int, seed: int) -> tuple[int, str]:
    """One pytest run; its exit code and output."""
    environment = {k: v for k, v in os.environ.items() if k != "ATEN_CPU_CAPABILITY"}
    environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if capability != "native":
        environment["ATEN_CPU_CAPABILITY"] = capability
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += [f"--randomly-seed={seed}", *options.paths, *options.pytest]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=options.timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return 124, f"stopped after {options.timeout:.0f} s\n{error.stdout or ''}"
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
