"""Whatever ends a run, the same command with --resume goes on: both together give what one run would have given (U3, U4).

RESUME_SEEDS=50 ends the runs of each format at fifty times as many random moments, ordered and unordered.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from time import sleep

import pytest

from baking import Baker
from commands import Command, end, until
from data_files import Row, read, read_part, write

SEEDS = int(os.environ.get("RESUME_SEEDS", "1"))
NUMBERS = range(1, 241)
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT]
Letter = tuple[str, int | None, str]  # The stage, the position in the source if that is known, and the error.
OUTPUTS = [".jsonl", ".json", ".csv", ".parquet", ".sqlite", ".jsonl.gz", ".jsonl.zst", ".csv.xz", ".jsonl.bz2"]

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
    pytest.mark.timeout(120),
    pytest.mark.slow,
]


@pytest.fixture
def command(bake: Baker, tmp_path: Path) -> Command:
    """Around the pipeline that is resumed."""
    (tmp_path / "run").mkdir()
    return Command(bake(), tmp_path / "run", "command_to_resume.py")


@pytest.fixture
def hand_on(command: Command) -> Command:
    """Around stages that hand everything on, and fail on "bad"."""
    return replace(command, script="command_that_hands_on.py")


def plain_loop() -> tuple[list[Row], list[Letter]]:
    """The results, and stage, index in the source, and error of each failed item: what command_to_resume.py does, as a loop."""
    rows: list[Row] = []
    letters: list[Letter] = []
    parts = Counter[int]()
    for index, number in enumerate(NUMBERS):
        if number % 11 == 0:
            letters.append(("parse", index, f"ValueError: {number} is bad"))
        elif number % 7:
            for part in range(number % 3):
                if number % 17 == 0:
                    letters.append(("name", index, f"ValueError: {number} has no name"))
                else:
                    rows.append({"n": str(number), "part": str(part), "text": f"NUMBER {number}, Ü"})
                    parts[part] += 1
            if number % 13 == 0:
                letters.append(("expand", index, f"ValueError: {number} breaks off"))
    return rows + [{"n": str(parts[part]), "part": str(part), "text": "total"} for part in (0, 1)], letters


RESULTS, LETTERS = plain_loop()


def by_stage(letters: list[Letter]) -> list[Letter]:
    """The letters of each stage in their order; those of two stages are written as they come."""
    return sorted(letters, key=lambda letter: letter[0])


def read_letters(path: Path) -> list[Letter]:
    letters = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [(letter["stage"], letter.get("source_index"), letter["error"]) for letter in letters]


def records(count: int) -> list[list[Row]]:
    """The records of the input, for so many files."""
    bounds = [round(len(NUMBERS) * number / count) for number in range(count + 1)]
    return [[{"n": n} for n in NUMBERS[begin:end]] for begin, end in pairwise(bounds)]


def several(*suffixes: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        parts = records(len(suffixes))
        names = [f"in{number}{suffix}" for number, suffix in enumerate(suffixes)]
        return [write(folder / name, rows).name for name, rows in zip(names, parts, strict=True)]

    return make


def folder_of_files(folder: Path) -> list[str]:
    (folder / "data").mkdir()
    for number, rows in enumerate(records(5)):
        write(folder / "data" / f"{number}.jsonl", rows)
    return ["data/*.jsonl"]


def list_of_names(folder: Path) -> list[str]:
    names = several(".jsonl", ".jsonl", ".jsonl")(folder)
    (folder / "names").write_text("\n".join(names))
    return ["--files-from", "names"]


def query(folder: Path) -> list[str]:
    return [*several(".sqlite")(folder), "--query", "SELECT n FROM records WHERE n > 0 ORDER BY n"]


def nothing(folder: Path) -> list[str]:
    """It reads stdin."""
    return []


INPUTS: dict[str, Callable[[Path], list[str]]] = {
    ".jsonl": folder_of_files,
    ".json": several(".jsonl.gz", ".jsonl.zst", ".jsonl.xz", ".jsonl.bz2"),
    ".csv": several(".csv", ".csv.gz"),
    ".parquet": several(".parquet", ".parquet"),
    ".sqlite": query,
    ".jsonl.gz": list_of_names,
    ".jsonl.zst": nothing,
    ".csv.xz": several(".json", ".json.gz"),
    ".jsonl.bz2": several(".sqlite", ".jsonl", ".csv"),
}
ALL = [
    (output, ordered, totals, seed)
    for seed in range(SEEDS)
    for output in OUTPUTS
    for ordered in ("yes", "no")
    for totals in ("no", "yes")
]
SOME = {("no", "no"): {".jsonl", ".sqlite"}, ("yes", "yes"): {".jsonl"}, ("yes", "no"): {*OUTPUTS}}
CASES = ALL if SEEDS > 1 else [case for case in ALL if case[0] in SOME.get(case[1:3], ())]


def arguments(inputs: list[str], output: str) -> list[str]:
    return ["run", "-q", *inputs, "-o", f"out{output}", "--on-error=skip", "--dead-letters=dead.jsonl"]


def end_at_random(command: Command, chance: Random, *given: str, **settings: str) -> str:
    """Run, and send a signal at a random moment, from the start of the process to its end. Returns what happened."""
    moment, number = chance.randrange(-20, len(NUMBERS) + 20), chance.choice(SIGNALS)
    stdin = "".join(f'{{"n": {number}}}\n' for number in NUMBERS)
    with command.start(*given, stdin=stdin, **settings) as running:
        until(lambda: command.count_seen() >= moment, running)
        sleep(chance.random() * (0.02 if moment > 0 else 0.4))
        code = end(running, number)
    assert code in (0, 1, -number, 128 + number) or moment <= 0, command.stderr
    assert "Traceback" not in command.stderr or moment <= 0, command.stderr
    return f"{number.name} after {command.count_seen()} items: exit code {code}"


@pytest.mark.parametrize(("output", "ordered", "totals", "seed"), CASES)
def test_u4_a_run_that_is_ended_and_resumed_gives_what_one_run_gives(
    output: str, ordered: str, totals: str, seed: int, command: Command
) -> None:
    chance = Random(f"{output} {ordered} {totals} {seed}")
    settings = {"ORDERED": ordered, "TOTALS": totals, "PACE": "0.005"}
    given = arguments(INPUTS[output](command.folder), output)
    inputs = set(command.files())
    ended = [end_at_random(command, chance, *given, **settings)]
    for _ in range(chance.randrange(3)):
        ended.append(end_at_random(command, chance, *given, "--resume", **settings))
    stdin = "".join(f'{{"n": {number}}}\n' for number in NUMBERS)
    code = command.run(*given, "--resume", stdin=stdin, **settings)
    assert code in (0, 1), (ended, command.stderr)
    assert set(command.files()) - inputs == {f"out{output}", "dead.jsonl"}, ended
    results, letters = read(command.folder / f"out{output}"), read_letters(command.folder / "dead.jsonl")
    expected = RESULTS if totals == "yes" else RESULTS[:-2]
    if ordered == "yes":
        assert results == expected, ended
        assert by_stage(letters) == by_stage(LETTERS), ended
    else:
        assert sorted(map(str, results)) == sorted(map(str, expected)), ended
        assert {*letters} <= {*LETTERS, *((stage, None, error) for stage, _, error in LETTERS)}, ended
        assert sorted((stage, error) for stage, _, error in letters) == sorted((a, b) for a, _, b in LETTERS), ended


@pytest.mark.parametrize("mode", ["--resume", "--overwrite"])
def test_u4_where_nothing_is_to_be_resumed_a_run_begins(mode: str, command: Command) -> None:
    given = arguments(several(".jsonl")(command.folder), ".jsonl")
    assert command.run(*given, mode) == 1, command.stderr
    assert sorted(command.files()) == ["dead.jsonl", "in0.jsonl", "out.jsonl"]
    assert read(command.folder / "out.jsonl") == RESULTS
    assert by_stage(read_letters(command.folder / "dead.jsonl")) == by_stage(LETTERS)


def test_u4_what_is_done_is_not_done_again(left: tuple[Command, list[str]]) -> None:
    command, given = left
    assert command.run(*given, "--resume", **PLAIN) == 1, command.stderr
    assert 0 < command.count_seen() < len(NUMBERS)
    assert read(command.folder / "out.jsonl") == RESULTS[:-2]


def test_u4_a_run_that_ended_between_the_names_of_its_files_is_resumed(hand_on: Command) -> None:
    dead, given = hand_on.folder / "dead.jsonl", arguments([], ".jsonl")
    with hand_on.start(*given, stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write(b'1\n"bad"\n2\n')
        running.stdin.flush()
        until((hand_on.folder / "dead.jsonl.part").exists, running)
        dead.mkdir()  # So it cannot get its name, and may have to wait until the next run for it.
        running.stdin.close()
        assert end(running) == 1
    assert "dead.jsonl" in hand_on.stderr.splitlines()[-1]
    dead.rmdir()
    assert hand_on.run(*given, "--resume", stdin='1\n"bad"\n2\n') == 1, hand_on.stderr
    assert sorted(hand_on.files()) == ["dead.jsonl", "out.jsonl"]
    assert (hand_on.folder / "out.jsonl").read_text() == "1\n2\n"
    assert dead.read_text().count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_u4_a_run_that_ended_with_its_first_results_is_resumed(number: signal.Signals, hand_on: Command) -> None:
    part, given = hand_on.folder / "out.jsonl.part", arguments([], ".jsonl")
    with hand_on.start(*given, stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write(b"1\n")
        running.stdin.flush()
        until(lambda: part.exists() and part.read_bytes() == b"1\n", running)
        end(running, number)
    assert hand_on.run(*given, "--resume", stdin="1\n2\n") == 0, hand_on.stderr
    assert (hand_on.folder / "out.jsonl").read_text() == "1\n2\n"


def begin(command: Command, lines: str, number: signal.Signals) -> int:
    """Run over these lines, again and again, until there is something to resume, and end the run. Returns how often."""
    checkpoint, times = command.folder / "out.jsonl.checkpoint", 0
    with command.start(*arguments([], ".jsonl"), stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        while not (checkpoint.exists() and '"read"' in checkpoint.read_text()):
            running.stdin.write(lines.encode())
            running.stdin.flush()
            times += 1
            sleep(0.005)
        end(running, number)
    return times


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_u4_a_run_without_results_so_far_is_resumed_also_where_an_older_output_is(
    number: signal.Signals, hand_on: Command
) -> None:
    (hand_on.folder / "out.jsonl").write_text("old\n")
    lines = '"bad"\n' * begin(hand_on, '"bad"\n', number)
    assert (hand_on.folder / "out.jsonl").read_text() == "old\n"
    assert hand_on.run(*arguments([], ".jsonl"), "--resume", stdin=f"{lines}3\n") == 1, hand_on.stderr
    assert sorted(hand_on.files()) == ["dead.jsonl", "out.jsonl"]
    assert (hand_on.folder / "out.jsonl").read_text() == "3\n"
    assert len(read_letters(hand_on.folder / "dead.jsonl")) == lines.count("bad")


def test_u3_dead_letters_of_an_older_run_stay_until_those_of_this_one_are_complete(hand_on: Command) -> None:
    dead = hand_on.folder / "dead.jsonl"
    dead.write_text("old\n")
    lines = "1\n" * begin(hand_on, "1\n", signal.SIGTERM)
    (hand_on.folder / "out.jsonl.part").write_text("")  # It has lost results.
    assert hand_on.run(*arguments([], ".jsonl"), "--resume", stdin=lines) == 2
    assert dead.read_text() == "old\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_u4_dead_letters_behind_a_link_are_gone_on_with(number: signal.Signals, hand_on: Command) -> None:
    dead, target = hand_on.folder / "dead.jsonl", hand_on.folder.parent / "letters.jsonl"
    target.write_text("old\n")
    dead.symlink_to(target)
    lines = '"bad"\n2\n' * begin(hand_on, '"bad"\n2\n', number)
    assert hand_on.run(*arguments([], ".jsonl"), "--resume", stdin=lines) == 1, hand_on.stderr
    assert dead.readlink() == target
    assert [index for _, index, _ in read_letters(target)] == list(range(0, lines.count("\n"), 2))


# What is left of a run.


PLAIN = {"TOTALS": "no", "PACE": "0.01"}


@pytest.fixture(scope="module")
def ended(bake: Baker, tmp_path_factory: pytest.TempPathFactory) -> tuple[Command, Path, list[str]]:
    """A command whose run was ended, a copy of its folder, and the arguments."""
    folder = tmp_path_factory.mktemp("ended")
    (folder / "run").mkdir()
    command = Command(bake(), folder / "run", "command_to_resume.py")
    given = arguments(several(".jsonl", ".jsonl")(command.folder), ".jsonl")
    checkpoint = command.folder / "out.jsonl.checkpoint"
    with command.start(*given, **PLAIN) as running:
        until(lambda: command.count_seen() > 100, running)
        before = checkpoint.read_bytes()
        until(lambda: checkpoint.read_bytes() != before, running)
        assert end(running, signal.SIGTERM) == 143, command.stderr
    with (folder / "run" / "out.jsonl.part").open("ab") as part:
        part.write(b'{"n": "behind the checkpoint"}\n')  # So that it shows if the file is cut.
    return command, shutil.copytree(folder / "run", folder / "copy"), given


@pytest.fixture
def left(ended: tuple[Command, Path, list[str]]) -> tuple[Command, list[str]]:
    """A command whose run was ended, and its arguments."""
    command, copy, given = ended
    shutil.rmtree(command.folder)
    shutil.copytree(copy, command.folder)
    return command, given


def test_u3_a_leftover_part_is_refused_and_untouched(left: tuple[Command, list[str]]) -> None:
    command, given = left
    before = command.files()
    assert command.run(*given, **PLAIN) == 2
    assert "--resume" in command.one_line
    assert "--overwrite" in command.one_line
    assert command.files() == before


@pytest.mark.parametrize("leftover", [*(f"out{output}.part" for output in OUTPUTS), "dead.jsonl.part"])
def test_u3_a_part_of_whatever_origin_is_never_emptied_in_silence(leftover: str, hand_on: Command) -> None:
    (hand_on.folder / leftover).write_bytes(b'{"n": 1}\n')
    output = leftover.removeprefix("out").removesuffix(".part") if leftover.startswith("out") else ".jsonl"
    for mode in ([], ["--resume"]):
        assert hand_on.run(*arguments([], output), *mode, stdin='{"n": 2}\n') == 2
        assert leftover in hand_on.one_line
        assert hand_on.files() == {leftover: b'{"n": 1}\n'}
    assert hand_on.run(*arguments([], output), "--overwrite", stdin='{"n": 2}\n') == 0, hand_on.stderr
    assert read(hand_on.folder / f"out{output}") == [{"n": "2"}]
    assert sorted(hand_on.files()) == ["dead.jsonl", f"out{output}"]


@pytest.mark.parametrize("dead", ["no/dead.jsonl", "dead.csv", "folder"])
@pytest.mark.parametrize("name", ["run", "retry"])
def test_u3_a_run_that_is_refused_empties_nothing(name: str, dead: str, hand_on: Command) -> None:
    (hand_on.folder / "folder").mkdir()
    (hand_on.folder / "out.part").write_text("1\n")
    (hand_on.folder / "in").write_text('{"stage": "last", "item": 1}\n')
    assert hand_on.run(name, "in", "-o", "out", f"--dead-letters={dead}", "--overwrite") == 2
    assert hand_on.files()["out.part"] == b"1\n"


@pytest.mark.parametrize("mode", [[], ["--resume"]])
def test_c7_a_file_that_is_called_like_a_checkpoint_and_is_none_is_not_overwritten(
    mode: list[str], hand_on: Command
) -> None:
    for content in (b"weights", b'{"weights": 1}\n', b""):
        (hand_on.folder / "model.checkpoint").write_bytes(content)
        assert hand_on.run("run", "-q", "-o", "model", *mode, stdin="1\n") == 2
        assert "model.checkpoint" in hand_on.one_line
        assert hand_on.files() == {"model.checkpoint": content}


def test_u3_overwrite_begins_anew(left: tuple[Command, list[str]]) -> None:
    command, given = left
    assert command.run(*given, "--overwrite", **PLAIN) == 1, command.stderr
    assert command.count_seen() == len(NUMBERS)
    assert read(command.folder / "out.jsonl") == RESULTS[:-2]
    assert sorted(command.files()) == ["dead.jsonl", "in0.jsonl", "in1.jsonl", "out.jsonl"]


@pytest.mark.parametrize(
    ("file", "change", "more", "settings", "named"),
    [
        ("in1.jsonl", b'{"n": 1}\n', [], {}, "in1.jsonl"),
        ("in2.jsonl", b'{"n": 1}\n', ["in2.jsonl"], {}, "in2.jsonl|[Ii]nput"),
        ("out.jsonl.part", b"cut", [], {}, "out.jsonl"),
        ("dead.jsonl.part", b"cut", [], {}, "dead.jsonl"),
        (None, b"", ["--format=text"], {}, "format|text"),
        (None, b"", ["--dead-letters=other.jsonl"], {}, "(other|dead).jsonl"),
        (None, b"", ["--set=ending=!"], {}, "ending"),
        (None, b"", [], {"RENAMED": "decode"}, "decode"),
        (None, b"", [], {"ORDERED": "no"}, "order"),
        (None, b"", [], {"TOTALS": "yes"}, "total"),
    ],
)
def test_u4_what_changed_since_is_named_and_refused(
    file: str | None,
    change: bytes,
    more: list[str],
    settings: dict[str, str],
    named: str,
    left: tuple[Command, list[str]],
) -> None:
    command, given = left
    if file is not None:
        (command.folder / file).write_bytes(change)
    before = command.files()
    assert command.run(*given, *more, "--resume", **PLAIN | settings) == 2
    assert re.search(named, command.one_line)
    assert command.files() == before


def test_u4_an_open_descriptor_cannot_be_continued_and_has_no_checkpoint(hand_on: Command) -> None:
    shell = replace(hand_on, before=("sh", "-c", """exec "$@" 5>> out""", "sh"))
    assert shell.run("run", "-q", "-o", "/dev/fd/5", stdin='"bad"\n') == 1
    assert hand_on.files() == {"out": b""}
    assert shell.run("run", "-q", "-o", "/dev/fd/5", "--resume", stdin="1\n") == 2
    assert "--resume" in hand_on.one_line
    assert hand_on.files() == {"out": b""}


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/null", "pipe"])
def test_u4_what_cannot_be_continued_is_refused(output: str, hand_on: Command) -> None:
    os.mkfifo(hand_on.folder / "pipe")
    assert hand_on.run("run", "-q", "-o", output, "--resume", stdin="1\n") == 2
    assert "--resume" in hand_on.one_line
    assert hand_on.run("run", "-q", "--resume", stdin="1\n") == 2
    assert "--resume" in hand_on.one_line


# Two runs at once, and the end of one.


@pytest.mark.parametrize("second", [["-o", "out.jsonl"], ["-o", "other.jsonl", "--dead-letters=out.jsonl"]])
def test_u3_a_second_run_is_refused_and_the_first_is_not_harmed(second: list[str], hand_on: Command) -> None:
    other = replace(hand_on, folder=hand_on.folder.parent / "second" / "run")
    other.folder.parent.mkdir()
    other.folder.symlink_to(hand_on.folder)
    part = hand_on.folder / "out.jsonl.part"
    with hand_on.start("run", "-q", "-o", "out.jsonl", stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write(b"1\n")
        running.stdin.flush()
        until(lambda: part.exists() and part.read_bytes() == b"1\n", running)
        for mode in ([], ["--resume"], ["--overwrite"]):
            assert other.run("run", "-q", *second, *mode, stdin="2\n") == 2
            assert "out.jsonl" in other.one_line
        running.stdin.write(b"3\n")
        running.stdin.close()
        assert end(running) == 0, hand_on.stderr
    assert hand_on.files() == {"out.jsonl": b"1\n3\n"}


def test_u3_a_run_that_was_killed_does_not_block_the_next(hand_on: Command) -> None:
    part = hand_on.folder / "out.jsonl.part"
    with hand_on.start("run", "-q", "-o", "out.jsonl", stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write(b"1\n")
        running.stdin.flush()
        until(lambda: part.exists() and part.read_bytes() == b"1\n", running)
        end(running, signal.SIGKILL)
    assert hand_on.run("run", "-q", "-o", "out.jsonl", "--resume", stdin="1\n2\n") == 0, hand_on.stderr
    assert hand_on.files() == {"out.jsonl": b"1\n2\n"}


def test_u4_another_stdin_is_refused_and_the_output_untouched(hand_on: Command) -> None:
    part, checkpoint = hand_on.folder / "out.jsonl.part", hand_on.folder / "out.jsonl.checkpoint"
    given = ["run", "-q", "-o", "out.jsonl"]
    with hand_on.start(*given, stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write(b"1\n2\n")
        running.stdin.flush()
        until(lambda: part.exists() and part.read_bytes() == b"1\n2\n", running)
        until(lambda: b'"read"' in checkpoint.read_bytes(), running)
        end(running, signal.SIGKILL)
    part.write_bytes(part.read_bytes() + b"3\n")
    before = hand_on.files()
    assert hand_on.run(*given, "--resume", stdin="5\n6\n") == 2
    assert "of the input is not what it was" in hand_on.one_line
    assert hand_on.files() == before
    assert hand_on.run(*given, "--resume", stdin="1\n2\n") == 0, hand_on.stderr
    assert hand_on.files() == {"out.jsonl": b"1\n2\n"}


@pytest.mark.parametrize("output", OUTPUTS)
def test_u3_results_and_letters_are_there_at_once_and_outlive_a_kill(output: str, hand_on: Command) -> None:
    part, dead = hand_on.folder / f"out{output}.part", hand_on.folder / "dead.jsonl.part"
    with hand_on.start(*arguments([], output), stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        for number in range(3):
            running.stdin.write(f'{{"n": {number}}}\n"bad"\n'.encode())
            running.stdin.flush()
            expected = [{"n": str(each)} for each in range(number + 1)]
            until(lambda expected=expected: part.exists() and read_part(part, f"out{output}") == expected, running)  # type: ignore[misc]
        until(lambda: dead.read_bytes().count(b"\n") == 3, running)
        end(running, signal.SIGKILL)
    assert read_part(part, f"out{output}") == [{"n": "0"}, {"n": "1"}, {"n": "2"}], hand_on.stderr


@pytest.mark.parametrize(
    ("first", "second", "output"),
    [
        (signal.SIGTERM, signal.SIGTERM, ".jsonl"),
        (signal.SIGHUP, signal.SIGHUP, ".csv.xz"),
        (signal.SIGINT, signal.SIGINT, ".sqlite"),
        (signal.SIGINT, signal.SIGTERM, ".parquet"),
        (signal.SIGHUP, signal.SIGTERM, ".jsonl.gz"),
    ],
)
def test_u3_a_second_signal_ends_at_once_with_what_was_delivered(
    first: signal.Signals, second: signal.Signals, output: str, command: Command
) -> None:
    given = arguments(several(".jsonl")(command.folder), output)
    part = command.folder / f"out{output}.part"
    delivered = [row for row in RESULTS if row["text"] != "total" and int(row["n"]) < 100]
    with command.start(*given, STUCK_AT="100") as running:
        until(lambda: "stuck" in command.stderr and read_part(part, f"out{output}") == delivered, running)
        running.send_signal(first)
        until(lambda: re.search(r"(stop|wait)\w*.*\blast\b", command.stderr), running)
        assert end(running, second) in (128 + first, 128 + second)
    assert "Traceback" not in command.stderr
    assert read_part(part, f"out{output}") == delivered
    assert command.run(*given, "--resume") in (0, 1), command.stderr
    assert read(command.folder / f"out{output}") == RESULTS


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice, as timeout does"])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_u3_a_signal_ends_in_order_with_its_code_a_report_and_a_way_to_go_on(
    number: signal.Signals, times: int, command: Command
) -> None:
    given = [each for each in arguments(several(".jsonl")(command.folder), ".jsonl") if each != "-q"]
    with command.start(*given) as running:
        until(lambda: command.count_seen() >= 60, running)
        for _ in range(times):
            running.send_signal(number)
        assert end(running) == 128 + number
    said = command.stderr
    assert "Traceback" not in said
    assert re.search(r"stopped after .*, [1-9]\d* delivered", said)
    assert "out.jsonl.part" in said.splitlines()[-1] or "out.jsonl.part" in said.splitlines()[-2]
    kept = read_part(command.folder / "out.jsonl.part", "out.jsonl")
    assert kept == RESULTS[: len(kept)]


@pytest.mark.parametrize(
    ("before", "ignored"),
    [
        (("sh", "-c", """trap '' INT HUP; exec "$@" """, "sh"), [signal.SIGINT, signal.SIGHUP]),
        (("nohup",), [signal.SIGHUP, signal.SIGHUP]),
    ],
)
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(
    before: tuple[str, ...], ignored: list[signal.Signals], command: Command
) -> None:
    given = arguments(several(".jsonl")(command.folder), ".jsonl")
    with replace(command, before=before).start(*given) as running:
        until(lambda: command.count_seen() >= 30, running)
        for number in ignored:
            running.send_signal(number)
        assert end(running) == 1, command.stderr
    assert read(command.folder / "out.jsonl") == RESULTS
