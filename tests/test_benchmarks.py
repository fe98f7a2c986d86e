"""The benchmarks work, on all that is installed: they are tried here for that, never for speed."""

import subprocess
import sys
from pathlib import Path

import pytest

from baking import ROOT, environment

BENCHMARKS = ROOT / "benchmarks"
CORE = ROOT / "{{cookiecutter.project_slug}}/src/{{cookiecutter.package_name}}/pipeline_core"


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
@pytest.mark.parametrize("workload", ["stages", "length", "scaling", "cost", "start"])
def test_what_varies_is_a_row_for_each_value(workload: str) -> None:
    assert bench("--only", workload, "--peers", "ours").count("│ ours") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workload", "rows"),
    [
        ("workers", {"ours": 2, "executor": 2}),
        ("pool", {"ours": 1, "executor": 1}),
        ("procs", {"ours": 2, "ours-pool": 2, "imap-1": 2, "imap-64": 2}),
        ("command", {"ours": 1, "loop": 1}),
        ("observing", {"unwatched": 2, "watched": 2}),
    ],
)
def test_what_several_workers_and_the_command_cost_is_measured_beside_peers(
    workload: str, rows: dict[str, int]
) -> None:
    printed = bench("--only", workload)
    assert {peer: printed.count(f"│ {peer} ") for peer in rows} == rows, printed
    column = {"procs": " ms to start ", "observing": " ms in a stage "}.get(workload, " CPU ")
    assert column in printed


@pytest.mark.slow
def test_an_event_loop_is_measured_beside_gather() -> None:
    assert "of the rate of gather" in bench("--only", "async")


@pytest.mark.slow
def test_a_hand_over_is_taken_apart() -> None:
    command = [sys.executable, str(BENCHMARKS / "anatomy.py"), "--quick"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=500)
    assert "| **a run** |" in done.stdout, done.stderr


@pytest.mark.slow
def test_an_earlier_core_is_measured_in_the_same_run() -> None:
    printed = bench("--only", "hop", "--peers", "ours", "earlier", "--core", str(CORE))
    assert "│ ours " in printed
    assert "│ earlier " in printed


def test_a_core_that_is_none_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "bench.py"), "--core", str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert "is no folder `pipeline_core`" in done.stderr


def test_what_needs_another_python_says_so() -> None:
    assert "needs --free-threaded PYTHON" in bench("--only", "free-threaded")


def test_only_pictures_need_matplotlib(tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError('No module named matplotlib')")
    command = [sys.executable, str(BENCHMARKS / "bench.py"), "--quick", "--only", "latency", "--peers", "ours"]
    done = subprocess.run(
        command, env=environment(PYTHONPATH=str(tmp_path)), capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
