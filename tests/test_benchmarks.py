"""The benchmarks work, on all that is installed: they are tried here for that, never for speed."""

import subprocess
import sys
from pathlib import Path

import pytest

from baking import environment

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def bench(*arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / "bench.py"), "--quick", *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "gave other results" not in done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["hop", "latency", "io", "mixed", "cpu", "files", "digits"])
def test_every_peer_does_each_workload_and_gives_the_same_results(workload: str) -> None:
    printed = bench("--only", workload)
    for peer in ("ours", "chain", "tutorial", "pypeln", "streamable", "spdl"):
        assert f" {peer} " in printed, printed


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["stages", "length", "workers", "cost", "start"])
def test_what_varies_is_a_row_for_each_value(workload: str) -> None:
    assert bench("--only", workload, "--peers", "ours").count("│ ours") == 2


def test_what_needs_another_python_says_so() -> None:
    assert "needs --free-threaded PYTHON" in bench("--only", "free-threaded")
