"""stdout carries results alone, whatever a stage prints, and wherever it runs; and a terminal shows them whole (U2, U6)."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import my_pipeline
import pytest

pytest.importorskip("my_pipeline.cli", reason="this project has no command")

HERE = Path(__file__).parent
PRINTS, HANDS_ON = ([sys.executable, str(HERE / f"command_that_{does}.py")] for does in ("prints", "hands_on"))
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(my_pipeline.__file__).parents[1]), "PYTHONUTF8": "1"}
SAID = {
    f"{how} {where}"
    for how, places in {
        "printed by": ("a stage", "a thread of a stage", "a child", "a thread of a child"),
        "written by": ("a stage", "a child"),
        "printed for": ("a stage", "a child"),
    }.items()
    for where in places
}
posix = pytest.mark.skipif(sys.platform == "win32", reason="devices, terminals and shells of POSIX")

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Runs a command in an empty folder, with two items on stdin."""

    def run(*command: str, stdin: str = "1\n2\n") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, input=stdin, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
        )

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-o", "-"],
        pytest.param(["-o", "/dev/stdout"], marks=posix),
        pytest.param(["-o", "/dev/fd/1"], marks=posix),
        ["--serial"],
    ],
    ids=" ".join,
)
def test_what_stages_print_goes_to_stderr(arguments: list[str], call: Call) -> None:
    done = call(*PRINTS, "run", "-q", *arguments)
    assert (done.returncode, done.stdout) == (0, "1\n2\n")
    said = done.stderr.splitlines()
    inside = {line for line in SAID if "child" not in line}  # In serial mode, all stages run in the main process.
    assert {*said} >= inside
    assert len(said) == 2 * 8
    assert "--serial" in arguments or {*said} == SAID


def test_results_in_a_file_leave_stdout_to_the_stages(call: Call, tmp_path: Path) -> None:
    done = call(*PRINTS, "run", "-q", "-o", "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "1\n2\n"
    assert {*done.stdout.splitlines()} == SAID
    assert done.stderr == ""


def test_retried_items_come_alone_too(call: Call, tmp_path: Path) -> None:
    (tmp_path / "dead.jsonl").write_text('{"stage": "thread", "item": 1}\n')
    done = call(*PRINTS, "retry", "-q", "dead.jsonl")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert {*done.stderr.splitlines()} == SAID


def test_the_table_of_a_profile_stands_alone(call: Call) -> None:
    pytest.importorskip("my_pipeline.profiling", reason="this project has no profile")
    done = call(*PRINTS, "profile", "--most=1", "--limit=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("items a second of each stage alone")
    assert "plan: --workers thread=" in done.stdout
    assert not {*done.stdout.splitlines()} & SAID
    assert {*done.stderr.splitlines()} >= SAID


@posix
def test_two_things_cannot_go_to_stdout(call: Call) -> None:
    done = call(*PRINTS, "run", "--dead-letters=/dev/stdout")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: two things cannot be written to one file: stdout\n"


@posix
def test_a_closed_stdout_is_one_line_and_a_closed_stderr_costs_nothing_but_what_is_printed(call: Call) -> None:
    closed = call("sh", "-c", '"$@" >&-', "sh", *PRINTS, "run", "-q")
    assert (closed.returncode, closed.stderr) == (2, "error: cannot open stdout: it is closed\n")
    mute = call("sh", "-c", '"$@" 2>&-', "sh", *PRINTS, "run")
    assert (mute.returncode, mute.stdout) == (0, "1\n2\n")


@posix
@pytest.mark.parametrize("in_file", [False, True], ids=["to stdout", "to a file"])
def test_a_terminal_that_shows_the_results_shows_no_live_table(in_file: bool, tmp_path: Path) -> None:
    """Stdout and stderr are one terminal. The run is held until something must have been shown."""
    import pty

    screen, terminal = pty.openpty()
    output = ["-o", "out.jsonl"] if in_file else []
    with subprocess.Popen(
        [*HANDS_ON, "run", *output],
        stdin=subprocess.PIPE,
        stdout=terminal,
        stderr=terminal,
        cwd=tmp_path,
        env=ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "100"},
    ) as running:
        os.close(terminal)
        assert running.stdin is not None
        shown = b""
        running.stdin.write(b'"one"\n')
        running.stdin.flush()
        waited_for = b"queue" if in_file else b'"one"\r\n'
        while waited_for not in shown:
            shown += os.read(screen, 1 << 16)
        rest = b"1\n" * 5000 + b'"last"\n'
        ended = threading.Timer(0.6, running.communicate, [rest])  # Time for a table to be drawn, where one would be.
        ended.start()
        while True:
            try:
                data = os.read(screen, 1 << 16)
            except OSError:  # As Linux says the end.
                break
            if not data:
                break
            shown += data
        ended.join()
    os.close(screen)
    assert running.returncode == 0
    assert (b"\x1b[?25l" in shown) == in_file, "a live table hides the cursor"
    assert b"completed after" in shown
    if not in_file:
        assert shown.startswith(b'"one"\r\n')
        assert shown.index(b'"last"\r\n') < shown.index(b"completed after"), "the report stands below the results"


def test_null_is_an_item_and_a_stage_that_drops_it_has_filtered_it(call: Call) -> None:
    done = call(*HANDS_ON, "run", stdin="null\n1\nnull\n")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert re.search(r": completed after .+, 1 delivered, 2 filtered, 0 failed", done.stderr)
