"""The command in the corners: shells, pipes, full disks, closed streams, files that are in the way.

A project's own tests of its command are about the plain use of it.
"""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import my_pipeline
import pytest

pytest.importorskip("my_pipeline.cli", reason="this project has no command")

from my_pipeline.dead_letters import as_json
from my_pipeline.pipeline_core import DeadLetter
from my_pipeline.running import one_line_errors

PROJECT = Path(my_pipeline.__file__).parents[1]
STAGES = ("first", "last")
COMMAND = [sys.executable, str(Path(__file__).with_name("command_that_hands_on.py"))]

WITH_A_SERVICE = [sys.executable, str(Path(__file__).with_name("command_with_a_service.py"))]

Command = Callable[..., "subprocess.CompletedProcess[str]"]
full = pytest.mark.skipif(
    find_spec("my_pipeline.observers.trace") is None, reason="this project has no page and no trace"
)
posix = pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs the command in an empty folder."""

    def run(
        *arguments: str, stdin: str = "", command: list[str] = COMMAND, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONUTF8": "1", "COLUMNS": "200"} | settings
        return subprocess.run(
            [*command, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=environment,
            timeout=60,
            cwd=tmp_path,
        )

    return run


@pytest.fixture
def shell(tmp_path: Path) -> Command:
    """Runs the command in an empty folder, by a line for a shell in which "$@" stands for it."""

    def run(line: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        more = {"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
        script = ["sh", "-c", line, "sh", *COMMAND, *arguments]
        return subprocess.run(script, capture_output=True, text=True, env=os.environ | more, timeout=60, cwd=tmp_path)

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_several_inputs_patterns_and_gz_are_read_one_after_the_other(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a1.jsonl").write_text("1\n")
    (tmp_path / "a2.jsonl").write_text("2\n")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write("3\n")
    done = command("run", "-q", "b.jsonl.gz", "a*.jsonl", "-", stdin="4\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n1\n2\n4\n", "")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--workers=nobody=2"], "there is no stage 'nobody': there are " + ", ".join(STAGES)),
        (["--workers=2"], f"--workers takes STAGE=NUMBER, such as {STAGES[0]}=4, not '2'"),
        ([f"--workers={STAGES[0]}=0"], f"--workers takes STAGE=NUMBER, such as {STAGES[0]}=4, not '{STAGES[0]}=0'"),
        (["-o", "x", "--dead-letters", "x"], "two things cannot be written to one file: "),
        (["-o", "x", "--dead-letters", "x.part"], "two things cannot be written to one file: "),
        (["-o", "missing/x"], "cannot open "),
        (["-o", "x", "--dead-letters", "missing/x"], "cannot open "),
        pytest.param(["--report=x.pdf"], "x.pdf", marks=full),
        pytest.param(["--report=missing/x.json"], "missing", marks=full),
        pytest.param(["--trace=missing/x.json"], "missing", marks=full),
        pytest.param(["--trace=."], ". is a folder", marks=full),
        (["missing.jsonl"], "cannot open missing.jsonl: No such file"),
        (["missing*.jsonl"], "no file fits missing*.jsonl"),
        (["."], "no file fits ."),
        (["--files-from=missing"], "cannot open missing: No such file"),
        (["--query=SELECT 1"], "a query is for SQLite files, and there is none"),
        (["-", "--files-from=-"], "stdin cannot be both an input and the list of inputs"),
    ],
)
def test_bad_usage_is_one_line_and_leaves_nothing_behind(
    arguments: list[str], problem: str, command: Command, tmp_path: Path
) -> None:
    done = command("run", *arguments, stdin="1\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .+\n", done.stderr), done.stderr
    assert problem in done.stderr
    assert names(tmp_path) == []


def test_a_gz_that_breaks_off_stops_the_run_and_keeps_what_was_delivered(command: Command, tmp_path: Path) -> None:
    packed = gzip.compress("".join(f"{number}\n" for number in range(100_000)).encode())
    (tmp_path / "in.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    done = command("run", "-q", "in.jsonl.gz", "-o", "out.jsonl")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    problem = r"ValueError: in\.jsonl\.gz cannot be read beyond line \d+: .+"
    assert re.fullmatch(rf"error: the source failed in read on item \d+: 'in\.jsonl\.gz': {problem}", first)
    assert second == f"incomplete: what was written is in {tmp_path / 'out.jsonl.part'}"
    lines = (tmp_path / "out.jsonl.part").read_text().splitlines()
    assert lines == [str(number) for number in range(len(lines))]
    assert len(lines) > 1000


@full
def test_a_report_is_also_written_of_a_run_that_fails(command: Command, tmp_path: Path) -> None:
    assert command("run", "--report=run.json", stdin="oops\n").returncode == 1
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "failed"


@full
def test_profile_tries_each_stage_alone_and_gives_a_plan(command: Command, tmp_path: Path) -> None:
    done = command("profile", "--limit=50", "--most=2", stdin="".join(f"{number}\n" for number in range(60)))
    assert done.returncode == 0, done.stderr
    assert all(stage in done.stdout for stage in STAGES)
    assert command("profile", stdin="\n").returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full, which Linux has")
@pytest.mark.parametrize("where", ["stdout", "output", "dead letters"])
def test_a_full_disk_is_one_line(where: str, command: Command, tmp_path: Path) -> None:
    arguments = {"stdout": [], "output": ["-o", "/dev/full"], "dead letters": ["--dead-letters", "/dev/full"]}[where]
    script = [*COMMAND, "run", "-q", "--on-error=skip", *arguments]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    with (Path("/dev/full") if where == "stdout" else tmp_path / "out").open("w") as stdout:
        done = subprocess.run(
            script,
            input="1\noops\n" * 10,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            timeout=60,
        )
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
    (error,) = errors
    assert error.startswith("error: ")
    assert "No space left on device" in error


@posix
@pytest.mark.parametrize("mode", ["--limit=2000", "--serial"])
def test_nothing_is_lost_when_nobody_reads_stderr(mode: str, shell: Command, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("oops\n1\n" * 1000)
    arguments = ["run", mode, "--on-error=skip", "in"]
    told = shell('{ sleep 0.1; "$@"; echo $? > code; } 2>&1 >out | true', *arguments)
    assert (told.stdout, told.stderr) == ("", "")
    assert (tmp_path / "out").read_text() == "1\n" * 1000
    assert (tmp_path / "code").read_text() == "1\n"
    shell('{ sleep 0.1; "$@"; echo $? > code; } 2>&1 | true', "run", "-o", "whole", "--limit=0", "in")
    assert (tmp_path / "code").read_text() == "0\n"
    assert names(tmp_path) == ["code", "in", "out", "whole"]


@posix
@pytest.mark.parametrize(
    ("closed", "arguments", "code", "said"),
    [
        ("<&-", [], 2, "error: cannot open stdin: it is closed\n"),
        (">&-", ["in"], 2, "error: cannot open stdout: it is closed\n"),
        (">&-", ["in", "-o", "out"], 0, ""),
        ("<&- >&- 2>&-", ["in", "-o", "out"], 0, ""),
    ],
)
def test_a_stream_that_the_shell_closed_is_missed_only_if_it_is_needed(
    closed: str, arguments: list[str], code: int, said: str, shell: Command, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("1\n")
    done = shell(f'"$@" {closed}', "run", "-q", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)
    assert names(tmp_path) == ["in", "out"][: 2 if code == 0 else 1]
    assert code or (tmp_path / "out").read_text() == "1\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "x.part", "-o", "x"],
        ["run", "x.part", "--dead-letters=x"],
        ["run", "x.part", "--dead-letters=x.part"],
        pytest.param(["run", "x.json", "--report=x.json"], marks=full),
        pytest.param(["run", "x.json", "--trace=x.json"], marks=full),
        ["retry", "x.part", "--dead-letters=x"],
        ["retry", "x.part", "-o", "x.part"],
    ],
)
def test_what_is_read_is_not_overwritten(arguments: list[str], command: Command, tmp_path: Path) -> None:
    letter = json.dumps({"stage": STAGES[0], "index": 0, "item": 1, "error": "", "attempts": 1})
    for name in ("x.part", "x.json"):
        (tmp_path / name).write_text(letter)
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .+ is read, and would be overwritten: write to another file\n", done.stderr)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x.part": letter, "x.json": letter}


@posix
@pytest.mark.parametrize(
    "line",
    [
        '"$@" "*.jsonl" > z.jsonl',
        '"$@" a.jsonl >> a.jsonl',
        '"$@" < a.jsonl >> a.jsonl',
        '"$@" a.jsonl -o /dev/fd/5 5>> a.jsonl',
        '"$@" a.jsonl --dead-letters /dev/fd/5 5>> a.jsonl',
        '"$@" a.checkpoint -o a',
    ],
)
def test_c7_what_a_run_writes_is_not_what_it_reads(line: str, shell: Command, tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.checkpoint"):
        (tmp_path / name).write_text("1\n" * 100_000)
    done = shell(f"ulimit -f 4000; {line}", "run", "-q")  # Else it would be endless.
    assert done.returncode == 2
    assert re.fullmatch(r"error: .+ is read, and would be overwritten: write to another file\n", done.stderr)
    assert {(tmp_path / name).read_text() for name in ("a.jsonl", "a.checkpoint")} == {"1\n" * 100_000}


@posix
def test_an_input_may_be_called_stdout(shell: Command, tmp_path: Path) -> None:
    (tmp_path / "stdout").write_text("1\n")
    assert shell('"$@" stdout > out', "run", "-q").returncode == 0
    assert (tmp_path / "out").read_text() == "1\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--format=files x -o x", "x is read, and would be overwritten: write to another file"),
        ("--format=files x -o y", "y is read, and would be overwritten: write to another file"),  # The same file.
        ("--format=files x --dead-letters x", "x is read, and would be overwritten: write to another file"),
        ("inner/*.jsonl -o inner/a.jsonl", "inner/a.jsonl fits inner/*.jsonl, so it would be read and replaced"),
    ],
)
def test_c7_no_output_takes_the_place_of_a_file_that_is_an_item_or_fits_the_input(
    arguments: str, problem: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("x", "inner/a.jsonl"):
        (tmp_path / name).write_text("1\n")
    (tmp_path / "y").hardlink_to(tmp_path / "x")
    done = command("run", *arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .+\n", done.stderr), done.stderr
    assert problem in done.stderr
    assert (names(tmp_path), names(tmp_path / "inner")) == (["inner", "x", "y"], ["a.jsonl"])
    assert {(tmp_path / name).read_text() for name in ("x", "y", "inner/a.jsonl")} == {"1\n"}


def test_u1_names_of_files_come_from_another_command(command: Command, tmp_path: Path) -> None:
    done = command("run", "-q", "--format=files", "--files-from=-", stdin="x\0y z\0")
    assert (done.returncode, done.stderr) == (2, "error: cannot open x: No such file or directory\n")
    for name in ("x", "y z"):
        (tmp_path / name).touch()
    done = command("run", "-q", "--format=files", "--files-from=-", stdin="x\0y z\0")
    assert (done.returncode, done.stdout, done.stderr) == (0, '"x"\n"y z"\n', "")


@full
def test_files_in_which_nothing_is_yet_do_not_stay(command: Command, tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    for arguments in (["--report=run.json"], ["--dead-letters=run.json"], ["--format=text"]):
        done = command("run", "-q", "-o", "out", *arguments, stdin="bad\n")
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1
        assert names(tmp_path) == ["run.json"]


def test_the_output_may_take_the_place_of_the_input(command: Command, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1\r\n2")
    assert command("run", "-q", "x", "-o", "x").returncode == 0
    assert (tmp_path / "x").read_bytes() == b"1\n2\n"


@full
@posix
def test_a_report_and_a_trace_for_which_there_is_no_room_leave_the_output_whole(shell: Command, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1\n" * 500)
    done = shell('ulimit -f 4; "$@"', "run", "-q", "in", "-o", "out", "--report=run.json", "--trace=t.json")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: cannot write t.json: File too large"
    assert "incomplete" not in done.stderr
    assert (tmp_path / "out").read_text() == "1\n" * 500
    assert "run.json.part" not in names(tmp_path)
    (tmp_path / "run.json.part").mkdir()
    done = shell('"$@"', "run", "-q", "in", "-o", "again", "--report=run.json")
    assert done.returncode == 2
    assert re.fullmatch(r"error: cannot open .*run\.json\.part: Is a directory\n", done.stderr)
    assert names(tmp_path) == ["in", "out", "run.json.part"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full, which Linux has")
@pytest.mark.parametrize("arguments", [["graph"], ["run", "--help"]])
def test_help_and_graph_for_which_there_is_no_room_are_one_line(arguments: list[str], shell: Command) -> None:
    done = shell('"$@" > /dev/full', *arguments)
    assert (done.returncode, done.stderr) == (1, "error: cannot write to stdout: No space left on device\n")


def test_a_signal_after_the_run_has_its_code_too() -> None:
    with pytest.raises(SystemExit) as left, one_line_errors():
        raise KeyboardInterrupt(143)
    assert left.value.code == 143


def test_the_picture_shows_executors_and_the_ways_around_stages(command: Command) -> None:
    assert command("graph", command=WITH_A_SERVICE).stdout.splitlines() == [
        "flowchart LR",
        '    source([source]) --> s1["first"]',
        '    s1 --> s2["ask<br>async"]',
        '    s2 --> s3["last<br>process"]',
        "    s3 --> sink([sink])",
        "    s1 -. passes .-> s3",
        "    s2 -. passes .-> sink",
    ]


@full
def test_workers_of_an_async_stage_are_its_places_in_flight(command: Command, tmp_path: Path) -> None:
    lines = "".join(f"{number}\n" for number in range(40))
    done = command("run", "--workers=ask=7", "--report=run.json", stdin=lines, command=WITH_A_SERVICE)
    assert (done.returncode, done.stdout) == (0, lines)
    assert re.search(r"ask +7 in flight +40 +20 +20 ", done.stderr)
    _, ask, last = json.loads((tmp_path / "run.json").read_text())["stages"]
    assert (ask["executor"], ask["workers"], ask["passed"], ask["rate_limit"]) == ("async", 7, 20, 1000)
    assert (last["executor"], last["passed"]) == ("process", 20)


@full
def test_a_profile_knows_all_kinds_of_stages(command: Command) -> None:
    lines = "".join(f"{number}\n" for number in range(40))
    done = command("profile", "--most=2", "--limit=40", stdin=lines, command=WITH_A_SERVICE)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ask .*wait .* CPU\), async, at most 1000 a second", done.stdout, re.MULTILINE)
    assert re.search(r"^last .* CPU\), process", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("depth", [100, 300, 450, 600, 900, 5000])
def test_c5_a_value_of_many_lists_in_lists_costs_no_other_one(depth: int, command: Command, tmp_path: Path) -> None:
    deep = "[" * depth + "]" * depth
    done = command("run", "-q", "--on-error=skip", "--dead-letters=dead.jsonl", stdin=f'{deep}\n"bad"\n1\n')
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "1")
    letters = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_text().splitlines()]
    assert [letter["line"] for letter in letters] in ([2], [1, 2])
    assert letters[-1]["item"] == "bad"


class Shy(Exception):
    """It has no text."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


ODD = {
    "object": Shy(),
    "list": [Shy()],
    "integer": 10**5000,
    "in a list": [-(10**5000)],
    "in a dict": {"a": [10**5000]},
}


@pytest.mark.parametrize("item", ODD.values(), ids=ODD)
def test_a6_a_dead_letter_is_written_whatever_the_text_of_its_item_and_its_error_is(item: object) -> None:
    told = json.loads(json.dumps(as_json(DeadLetter("first", 3, item, Shy(), 1, ""), {"source_index": 3})))
    assert "item" not in told
    assert (told["stage"], told["source_index"]) == ("first", 3)
    assert told["error"].startswith("Shy: ")
    assert told["repr"]
