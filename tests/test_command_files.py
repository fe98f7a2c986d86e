"""What the command reads and writes: files, devices, pipes, terminals; broken ones, too (U1, U2, U3, U6)."""

import bz2
import gzip
import json
import lzma
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from baking import Baker
from commands import Command, end, until
from data_files import PACK, read, write

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="shells, signals and named pipes of POSIX"),
    pytest.mark.timeout(120),
    pytest.mark.slow,
]

# Root reads and writes everything. Without these capabilities it is refused what another user is refused.
AS_A_USER = () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
ROWS = [{"n": 1, "text": "ü"}, {"n": 2, "text": 'a "quoted", one'}]
SHOWN = [{key: str(value) for key, value in row.items()} for row in ROWS]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.fixture
def command(bake: Baker, tmp_path: Path) -> Command:
    """Around stages that hand everything on, and fail on "bad"."""
    (tmp_path / "run").mkdir()
    return Command(bake(), tmp_path / "run", "command_that_hands_on.py")


@pytest.fixture
def odd(command: Command) -> Command:
    return replace(command, script="command_of_odd_stages.py")


def shell(command: Command, line: str) -> Command:
    """Started by a line for bash in which "$@" stands for the command."""
    return replace(command, before=("bash", "-c", line, "bash"))


def results(command: Command) -> list[Any]:
    return [json.loads(line) for line in command.stdout.splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# U2, C1: an output is what its name says.

FORMS = [".jsonl", ".json", ".csv", ".parquet", ".sqlite", ".db", ".unknown"]
PACKED = [form + suffix for form in (".jsonl", ".json", ".csv") for suffix in PACK]


@pytest.mark.parametrize("name", [f"out{suffix}" for suffix in FORMS + PACKED])
def test_u2_an_output_has_the_format_and_the_compression_of_its_name(name: str, command: Command) -> None:
    assert command.run("run", "-q", "-o", name, stdin=LINES) == 0, command.stderr
    assert names(command.folder) == [name]
    known = name.replace(".unknown", ".jsonl").replace(".db", ".sqlite")
    assert read(command.folder / name, known) == SHOWN


# An option, an ending for its files, and what is in them after a run of a good and a bad item.
WRITTEN = [
    ("--output", ".jsonl", b"1"),
    ("--dead-letters", ".jsonl", b'"bad"'),
    ("--report", ".json", b"{"),
    ("--trace", ".json", b"{"),
]
each_file = pytest.mark.parametrize(("option", "suffix", "content"), WRITTEN, ids=[row[0] for row in WRITTEN])
SKIP = ["run", "-q", "--on-error=skip"]
BOTH = '1\n"bad"\n'


@each_file
def test_u2_a_named_pipe_stays_one(option: str, suffix: str, content: bytes, command: Command) -> None:
    pipe = command.folder / f"pipe{suffix}"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert command.run(*SKIP, option, pipe.name, stdin=BOTH) == 1, command.stderr
    reader.join(10)
    assert pipe.is_fifo()
    assert names(command.folder) == [pipe.name]
    assert content in got[0]


@each_file
def test_u2_a_link_keeps_its_place_and_its_target_gets_the_content(
    option: str, suffix: str, content: bytes, command: Command
) -> None:
    link, target = command.folder / f"link{suffix}", command.folder / f"target{suffix}"
    link.symlink_to(target.name)
    assert command.run(*SKIP, option, link.name, stdin=BOTH) == 1, command.stderr
    assert link.is_symlink()
    assert names(command.folder) == [link.name, target.name]
    assert content in target.read_bytes()


@each_file
def test_u2_mode_and_owner_of_what_was_there_are_kept(
    option: str, suffix: str, content: bytes, command: Command
) -> None:
    path = command.folder / f"kept{suffix}"
    path.write_text("")
    path.chmod(0o600)
    if not os.geteuid():
        os.chown(path, 12345, 54321)
    before = path.stat()
    assert command.run(*SKIP, option, path.name, stdin=BOTH) == 1, command.stderr
    after = path.stat()
    assert content in path.read_bytes()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_u2_a_new_output_has_the_mode_that_the_umask_gives(command: Command) -> None:
    assert shell(command, 'umask 027; "$@"').run("run", "-q", "-o", "out", stdin="1\n") == 0, command.stderr
    assert (command.folder / "out").stat().st_mode & 0o777 == 0o640


@each_file
@pytest.mark.parametrize("name", ["missing/", "missing/out", "folder", "folder/", "locked/out"])
def test_u2_what_cannot_be_written_is_refused_before_the_run(
    name: str, option: str, suffix: str, content: bytes, command: Command
) -> None:
    (command.folder / "folder").mkdir()
    (command.folder / "locked").mkdir(mode=0o500)
    name += suffix if name.endswith("out") else ""
    assert replace(command, before=AS_A_USER).run(*SKIP, option, name, stdin=BOTH) == 2
    assert name.rstrip("/") in command.one_line
    assert command.stdout == ""
    assert names(command.folder) == ["folder", "locked"]


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/fd/1"])
@pytest.mark.parametrize("line", ['"$@" | cat', '"$@"', '"$@" > file; cat file', '"$@" >> file; cat file'])
def test_u2_stdout_by_any_name_is_stdout(output: str, line: str, command: Command) -> None:
    assert shell(command, f"set -o pipefail; {line}").run("run", "-q", "-o", output, stdin=LINES) == 0, command.stderr
    assert command.stdout == LINES.replace("\\u00fc", "ü")


def test_u2_the_end_of_a_file_that_stdout_appends_to_is_where_results_go(command: Command) -> None:
    line = 'echo 0 > file; "$@" >> file; cat file'
    assert shell(command, line).run("run", "-q", "-o", "/dev/stdout", stdin="1\n") == 0, command.stderr
    assert command.stdout == "0\n1\n"


def test_u2_a_process_substitution_gets_the_results(command: Command) -> None:
    script = shell(command, '"$@" -o >(cat > got; mv got done) --dead-letters >(cat > dead; mv dead letters)')
    with script.start("run", "-q", "--on-error=skip", stdin=BOTH) as running:
        assert end(running) == 1, command.stderr
    with subprocess.Popen(["sleep", "30"]) as patience:  # The shell does not wait for what it has substituted.
        until(lambda: names(command.folder) == ["done", "letters"], patience)
        patience.kill()
    assert (command.folder / "done").read_text() == "1\n"
    assert json.loads((command.folder / "letters").read_text())["item"] == "bad"


@pytest.mark.parametrize("name", ["out.parquet.gz", "out.sqlite.zst"])
def test_u2_a_format_that_cannot_be_compressed_so_is_refused(name: str, command: Command) -> None:
    assert command.run("run", "-q", "-o", name, stdin=LINES) == 2
    assert name in command.one_line
    assert names(command.folder) == []


def test_u2_a_database_of_other_tables_is_not_replaced(command: Command) -> None:
    path = write(command.folder / "mine.sqlite", ROWS)
    before = path.read_bytes()
    assert command.run("run", "-q", "-o", "mine.sqlite", stdin=LINES) == 2
    assert "mine.sqlite" in command.one_line
    assert command.files() == {"mine.sqlite": before}


# U2, C2: stdout is the results' alone.


@pytest.mark.parametrize("output", [[], ["-o", "-"], ["-o", "/dev/stdout"]])
@pytest.mark.parametrize(("executor", "mode"), [("thread", []), ("thread", ["--serial"]), ("process", [])])
def test_u2_what_a_stage_prints_goes_to_stderr(executor: str, mode: list[str], output: list[str], odd: Command) -> None:
    assert odd.run("run", *output, *mode, stdin='1\n"print"\n2\n', EXECUTOR=executor) == 0, odd.stderr
    assert odd.stdout == '1\n"print"\n2\n'
    assert re.findall(r"^by .+$", odd.stderr, re.MULTILINE) != []
    for way in ("print", "sys.stdout", "descriptor", "a process"):
        assert odd.stderr.count(f"by {way}\n") == 1


def on_a_terminal(command: Command, *arguments: str, stdin: str, signals: tuple[int, ...] = ()) -> tuple[int, str]:
    """Run with stdout and stderr on a terminal. The first signal is sent when a stage is asleep. Returns the code and the screen."""
    master, slave = pty.openpty()
    shown = bytearray()

    def watch() -> None:
        try:
            while data := os.read(master, 1 << 16):
                shown.extend(data)
        except OSError:
            pass  # The terminal has no other side any more.

    line = f'exec "$@" > {os.ttyname(slave)} 2> {os.ttyname(slave)}'
    with shell(command, line).start(*arguments, stdin=stdin, TERM="xterm") as running:
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        for number, awaited in zip(signals, ("asleep", WAITS), strict=False):
            until(lambda awaited=awaited: re.search(awaited, shown.decode(errors="ignore")), running)  # type: ignore[misc]
            running.send_signal(number)
        code = end(running)
    os.close(slave)
    watcher.join(10)
    os.close(master)
    return code, shown.decode()


WAITS = r"(stop|wait)\w*.*\bodd\b"  # The stage whose call is waited for is named.
MOVES = r"\x1b\[\d*[ABCDFGHJKsu]|\x1b\[\?25[lh]"  # What moves the cursor, erases, or hides and shows it.


def test_u6_no_live_table_stands_between_results_on_a_terminal(odd: Command) -> None:
    code, screen = on_a_terminal(odd, "run", stdin="".join(f"{number}\n" for number in range(2000)))
    assert code == 0
    assert re.findall(MOVES, screen) == []
    assert [line for line in screen.splitlines() if line.isdecimal()] == [str(number) for number in range(2000)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_u6_the_first_signal_says_what_is_waited_for_and_the_second_shows_the_cursor(number: int, odd: Command) -> None:
    code, screen = on_a_terminal(odd, "run", "-o", "out.jsonl", stdin='1\n"stuck"\n', signals=(number, number))
    assert code == 128 + number
    assert screen.rfind("\x1b[?25h") >= screen.rfind("\x1b[?25l")
    said = re.sub(MOVES, "", screen).partition("asleep")[2]
    assert re.search(WAITS, said)
    assert "Traceback" not in screen


def test_u6_without_a_terminal_the_first_signal_says_so_too(odd: Command) -> None:
    with odd.start("run", "-q", "-o", "out.jsonl", stdin='1\n"stuck"\n') as running:
        until(lambda: "asleep" in odd.stderr, running)
        running.send_signal(signal.SIGINT)
        until(lambda: re.search(WAITS, odd.stderr), running)
        assert end(running, signal.SIGINT) == 130


def test_r8_a_signal_that_code_of_others_swallows_ends_the_run_all_the_same(odd: Command) -> None:
    lines = '1\n"swallow"\n' + "2\n" * 10
    assert odd.run("run", "-q", "--serial", "-o", "out.jsonl", stdin=lines) == 130, odd.stderr
    assert lines.startswith((odd.folder / "out.jsonl.part").read_text())


def test_u2_null_is_an_item_and_a_stage_that_returns_none_drops_it_visibly(command: Command, odd: Command) -> None:
    assert odd.run("run", "-q", stdin="null\n1\n") == 0, odd.stderr
    assert odd.stdout == '"none"\n1\n'
    assert command.run("run", "--report=run.json", stdin="null\n1\n") == 0, command.stderr
    assert command.stdout == "1\n"
    report = json.loads((command.folder / "run.json").read_text())
    first = report["stages"][0]
    assert (first["received"], first["filtered"], first["processed"]) == (2, 1, 1)


# U1, C3 and C5: a record that cannot be read, or that cannot be written, costs itself.


@pytest.mark.parametrize("item", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_u1_what_is_no_json_does_not_go_in(item: str, command: Command) -> None:
    assert command.run("run", "-q", "--on-error=skip", stdin=f"1\n{item}\n2\n") == 1
    assert command.stdout == "1\n2\n"
    assert "line 2" in command.one_line


def letters(command: Command) -> list[dict[str, Any]]:
    lines = (command.folder / "dead").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("item", ["nan", "set", "infinity"])
def test_u2_a_result_that_the_output_cannot_hold_costs_itself(item: str, odd: Command) -> None:
    assert odd.run("run", "-q", "--on-error=skip", "--dead-letters=dead", stdin=f'1\n"{item}"\n2\n') == 1
    assert odd.stdout == "1\n2\n"
    assert "Traceback" not in odd.one_line
    (letter,) = letters(odd)
    assert (letter["source_index"], letter["source_item"], letter["line"]) == (1, item, 2)
    assert odd.run("run", "-q", "-o", "out", stdin=f'1\n"{item}"\n2\n') == 1
    assert odd.stderr.count("error: ") == 1
    assert (odd.folder / "out.part").read_text() == "1\n"


@pytest.mark.parametrize(
    ("output", "misfit", "column"),
    [
        (".csv", {"n": 1, "more": 2}, "more"),
        (".csv", {}, "n"),
        (".csv", {"n": [1]}, "n"),
        (".csv", 5, ""),
        (".csv.gz", {"more": 2}, "more"),
        (".parquet", {"n": "text"}, "n"),
        (".parquet", {"n": 2**70}, "n"),
        (".parquet", {"n": 1, "more": 2}, "more"),
        (".parquet", 5, ""),
        (".sqlite", {"n": 2**70}, "n"),
        (".sqlite", {"n": 1, "more": 2}, "more"),
        (".sqlite", 5, ""),
    ],
)
def test_u2_what_a_format_cannot_hold_is_a_failed_item_that_names_the_column(
    output: str, misfit: object, column: str, command: Command
) -> None:
    stdin = f'{{"n": 1}}\n{json.dumps(misfit)}\n{{"n": 3}}\n'
    given = ["run", "-q", "--on-error=skip", "--dead-letters=dead", "-o", f"out{output}"]
    assert command.run(*given, stdin=stdin) == 1
    assert column in command.one_line
    assert read(command.folder / f"out{output}") == [{"n": "1"}, {"n": "3"}]
    (letter,) = letters(command)
    assert (letter["item"], letter["source_index"]) == (misfit, 1)
    assert re.search(rf"\b{column}\b", letter["error"])


def many(count: int = 60_000) -> list[int]:
    chance = Random(1)
    return [chance.randrange(10**9) for _ in range(count)]


def as_lines(numbers: list[int]) -> bytes:
    return "".join(f"{number}\n" for number in numbers).encode()


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def table(suffix: str) -> bytes:
    """A whole file of that format."""
    with TemporaryDirectory() as folder:
        return write(Path(folder) / f"table{suffix}", [{"n": number} for number in many(5000)]).read_bytes()


PREFIX = None  # Some of the first numbers of many().
BROKEN: list[tuple[str, bytes | Callable[[], bytes], list[Any] | None, int | None]] = [
    # A name; what is in it; what can be read of it; how many failures there are, None: some.
    *((f"cut.jsonl{suffix}", cut(pack(as_lines(many()))), PREFIX, 1) for suffix, pack in PACK.items()),
    *((f"cut.csv{suffix}", cut(pack(b"n\n" + as_lines(many()))), PREFIX, None) for suffix, pack in PACK.items()),
    ("behind.jsonl.gz", gzip.compress(b"1\n2\n") + b"garbage", [1, 2], 1),
    ("checksum.jsonl.gz", gzip.compress(b"1\n2\n")[:-8] + bytes(8), [1, 2], 1),
    ("twice.jsonl.gz", gzip.compress(gzip.compress(b"1\n2\n")), [], None),
    ("latin.jsonl", b'1\n{"a": "\xe9"}\n2\n', [1, 2], 1),
    ("latin.txt", b"1\n\xe9\n2\n", ["1", "2"], 1),
    ("latin.csv", b"n\n1\n\xe9\n2\n", [{"n": "1"}, {"n": "2"}], 1),
    ("tail.jsonl", b'1\n"\xc3', [1], 1),
    ("half.jsonl", b'1\n{"a": ', [1], 1),
    ("utf16.jsonl", "1\n2\n".encode("utf-16"), [], None),
    ("nul.jsonl", b"1\n\0\0\n2\n", [1, 2], 1),
    ("deep.jsonl", b"1\n" + b"[" * 100_000 + b"\n2\n", [1, 2], 1),
    ("huge.jsonl", b"1\n" + b"9" * 5000 + b"\n2\n", [1, 2], 1),
    ("quotes.jsonl", b"1\n{'a': 1}\n2\n", [1, 2], 1),
    ("control.jsonl", b'1\n"a\tb"\n2\n', [1, 2], 1),
    ("two.jsonl", b"1\n2 3\n4\n", [1, 4], 1),
    ("comma.jsonl", b"1\n[2,]\n3\n", [1, 3], 1),
    ("picture.jsonl", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", [], None),
    ("more.csv", b"n,m\n1,2\n1,2,3\n4,5\n", [{"n": "1", "m": "2"}, {"n": "4", "m": "5"}], 1),
    ("less.csv", b"n,m\n1,2\n1\n4,5\n", [{"n": "1", "m": "2"}, {"n": "4", "m": "5"}], 1),
    ("unclosed.csv", b'n,m\n1,2\n3,"4\n', [{"n": "1", "m": "2"}], 1),
    ("behind.csv", b'n,m\n1,2\n3,"4"5\n6,7\n', [{"n": "1", "m": "2"}, {"n": "6", "m": "7"}], 1),
    ("same.csv", b"n,n\n1,2\n", [], 1),
    ("cut.json", b"[1, 2, ", [1, 2], 1),
    ("open.json", b'[1, {"a": [2', [1], 1),
    ("behind.json", b"[1, 2] x", [1, 2], 1),
    ("comma.json", b"[1, 2,]", [1, 2], 1),
    ("missing.json", b"[1 2]", [1], 1),
    ("deep.json", b"[1, " + b"[" * 100_000, [1], 1),
    ("latin.json", b'[1, "\xe9"]', [1], 1),
    ("nan.json", b"[1, NaN]", [1], 1),
    ("cut.parquet", lambda: cut(table(".parquet")), [], 1),
    ("none.parquet", b"no such file", [], 1),
    ("empty.parquet", b"", [], 1),
    ("none.sqlite", b"no database" * 100, [], 1),
    ("cut.sqlite", lambda: cut(table(".sqlite")), [], 1),
]


@pytest.mark.parametrize(("name", "content", "kept", "failures"), BROKEN, ids=[row[0] for row in BROKEN])
def test_u1_what_is_broken_fails_with_its_file_and_place_and_the_next_input_is_read(
    name: str, content: bytes | Callable[[], bytes], kept: list[Any] | None, failures: int | None, command: Command
) -> None:
    (command.folder / name).write_bytes(content if isinstance(content, bytes) else content())
    write(command.folder / "next.jsonl", ROWS)
    assert command.run("run", "-q", "--on-error=skip", "--dead-letters=dead", name, "next.jsonl") == 1, command.stderr
    got = results(command)
    assert got[-2:] == ROWS
    if kept is None:
        numbers = [int(row["n"]) if isinstance(row, dict) else row for row in got[:-2]]
        assert numbers == many(len(numbers))
        assert len(numbers) > 300
    else:
        assert got[:-2] == kept
    said = command.stderr.splitlines()
    assert len(said) == failures or (failures is None and said), command.stderr
    assert all(name in line for line in said)
    found = letters(command)
    assert len(found) == len(said)
    assert all((letter["stage"], letter["file"]) == ("source", name) for letter in found)


@pytest.mark.parametrize(("name", "content"), [row[:2] for row in BROKEN[::7]], ids=[row[0] for row in BROKEN[::7]])
def test_u1_what_is_broken_stops_a_run_that_is_not_to_skip_it_in_one_line(
    name: str, content: bytes | Callable[[], bytes], command: Command
) -> None:
    (command.folder / name).write_bytes(content if isinstance(content, bytes) else content())
    assert command.run("run", "-q", name) == 1
    assert command.one_line.startswith("error: ")
    assert name in command.one_line


FORGIVEN: list[tuple[str, bytes, list[Any]]] = [
    *((f"empty{suffix}", b"", []) for suffix in (".jsonl", ".json", ".csv", ".txt", ".jsonl.gz")),
    *((f"empty.jsonl{suffix}", pack(b""), []) for suffix, pack in PACK.items()),
    *((f"packed{number}.jsonl", pack(b"1\n2\n"), [1, 2]) for number, pack in enumerate(PACK.values())),
    ("plain.jsonl.gz", b"1\n2\n", [1, 2]),
    ("other.jsonl.gz", bz2.compress(b"1\n2\n"), [1, 2]),
    ("several.jsonl.gz", gzip.compress(b"1\n") + gzip.compress(b"2\n"), [1, 2]),
    ("several.jsonl.zst", PACK[".zst"](b"1\n") + PACK[".zst"](b"2\n"), [1, 2]),
    ("several.jsonl.xz", lzma.compress(b"1\n") + lzma.compress(b"2\n"), [1, 2]),
    ("padded.jsonl.gz", gzip.compress(b"1\n2\n") + bytes(512), [1, 2]),
    ("bom.jsonl", b"\xef\xbb\xbf1\n2\n", [1, 2]),
    ("bom.json", b"\xef\xbb\xbf[1, 2]", [1, 2]),
    ("bom.csv", b"\xef\xbb\xbfn\n1\n", [{"n": "1"}]),
    ("bom.txt", b"\xef\xbb\xbf1\n", ["1"]),
    ("ends.jsonl", b"1\r\n\r\n2\r\n", [1, 2]),
    ("ends.csv", b"n,m\r\n1,2\r\n", [{"n": "1", "m": "2"}]),
    ("ends.txt", b"1\r\n2", ["1", "2"]),
    ("open.jsonl", b"1\n\n  \n2", [1, 2]),
    ("surrogate.jsonl", b'"\\ud800"\n', ["\ud800"]),
    ("large.jsonl", b"1180591620717411303424\n", [2**70]),
    ("twice.jsonl", b'{"a": 1, "a": 2}\n', [{"a": 2}]),
    ("nested.jsonl", b"[" * 500 + b"]" * 500 + b"\n", [json.loads("[" * 500 + "]" * 500)]),
    ("array.json", b'[1, {"a": [2]}, "x"]', [1, {"a": [2]}, "x"]),
    ("values.json", b'1 {"a": [2]}\n"x"[3]', [1, {"a": [2]}, "x", [3]]),
    ("header.csv", b"n,m\n", []),
    ("lines.csv", b'n,m\n1,"a\nb"\n', [{"n": "1", "m": "a\nb"}]),
    ("tabs.tsv", b"n\tm\n1\t2\n", [{"n": "1", "m": "2"}]),
    ("names.ndjson", b"1\n2\n", [1, 2]),
    ("words.log", b"1\n2\n", ["1", "2"]),
    ("no_suffix", b"1\n2\n", [1, 2]),
]


@pytest.mark.parametrize(("name", "content", "items"), FORGIVEN, ids=[row[0] for row in FORGIVEN])
def test_u1_what_is_unusual_and_not_broken_is_read(
    name: str, content: bytes, items: list[Any], command: Command
) -> None:
    (command.folder / name).write_bytes(content)
    assert command.run("run", "-q", name) == 0, command.stderr
    assert results(command) == items
    assert command.stderr == ""


@pytest.mark.parametrize(
    ("content", "form", "items"),
    [
        *((pack(b"1\n2\n"), "auto", [1, 2]) for pack in PACK.values()),
        (b"[1, 2]", "json", [1, 2]),
        (b"n\n1\n", "csv", [{"n": "1"}]),
        (gzip.compress(b"n\n1\n"), "csv", [{"n": "1"}]),
        (b"1\n", "text", ["1"]),
        (lambda: table(".parquet"), "parquet", [{"n": number} for number in many(5000)]),
    ],
    ids=[*PACK, "json", "csv", "csv.gz", "text", "parquet"],
)
def test_u1_stdin_is_read_in_every_format(
    content: bytes | Callable[[], bytes], form: str, items: list[Any], command: Command
) -> None:
    (command.folder / "in").write_bytes(content if isinstance(content, bytes) else content())
    for line in ('"$@" < in', 'cat in | "$@"'):
        assert shell(command, line).run("run", "-q", f"--format={form}") == 0, command.stderr
        assert results(command) == items


def test_u1_tables_are_read_with_their_types(command: Command) -> None:
    write(command.folder / "in.parquet", ROWS)
    write(command.folder / "in.sqlite", ROWS)
    write(command.folder / "in.csv.zst", ROWS)
    assert command.run("run", "-q", "in.parquet", "in.sqlite", "in.csv.zst") == 0, command.stderr
    assert results(command) == ROWS + ROWS + SHOWN
    query = "SELECT n * 2 AS twice FROM records ORDER BY n DESC"
    assert command.run("run", "-q", "in.sqlite", "--query", query) == 0, command.stderr
    assert results(command) == [{"twice": 4}, {"twice": 2}]


# U1, C10: lists of names.


@pytest.mark.parametrize("end_of_name", ["\n", "\0", "\r\n"])
@pytest.mark.parametrize("given", ["names", "-"])
def test_u1_names_are_read_from_a_list(given: str, end_of_name: str, command: Command) -> None:
    listed = ["a b.jsonl", "ü.jsonl"]
    for number, name in enumerate(listed):
        (command.folder / name).write_text(f"{number}\n")
    text = "".join(name + end_of_name for name in listed)
    (command.folder / "names").write_bytes(text.encode())
    assert shell(command, '"$@" < names').run("run", "-q", "--files-from", given) == 0, command.stderr
    assert results(command) == [0, 1]
    assert shell(command, '"$@" < names').run("run", "-q", "--files-from", given, "--format=files") == 0
    assert results(command) == listed


def test_u1_a_line_may_be_a_name_with_an_end_of_line_where_zeros_end_names(command: Command) -> None:
    (command.folder / "a\nb.jsonl").write_text("1\n")
    (command.folder / "names").write_bytes(b"a\nb.jsonl\0")
    assert command.run("run", "-q", "--files-from=names") == 0, command.stderr
    assert results(command) == [1]


# U1: bad usage is known before the run.


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["missing.jsonl"], "missing.jsonl"),
        (["good.jsonl", "missing.csv"], "missing.csv"),
        (["missing*.parquet"], r"missing\*.parquet"),
        (["folder"], "folder"),
        (["locked.jsonl"], "locked.jsonl"),
        (["good.jsonl/more"], "good.jsonl/more"),
        (["--files-from=missing"], "missing"),
        (["--files-from=names"], "missing.jsonl"),
        (["--files-from=names", "--format=files"], "missing.jsonl"),
        (["--files-from=folder"], "folder"),
        (["--query=SELECT 1", "good.jsonl"], "query"),
        (["--format=files", "missing"], "missing"),
        (["-o", "out.jsonl", "good.jsonl", "--dead-letters=out.jsonl"], "out.jsonl"),
    ],
)
def test_u1_what_cannot_be_opened_is_one_line_before_the_run(
    arguments: list[str], named: str, command: Command
) -> None:
    (command.folder / "folder").mkdir()
    (command.folder / "good.jsonl").write_text("1\n")
    (command.folder / "locked.jsonl").touch(mode=0)
    (command.folder / "names").write_text("good.jsonl\nmissing.jsonl\n")
    before = names(command.folder)
    assert replace(command, before=AS_A_USER).run("run", *arguments, stdin="1\n") == 2
    assert re.search(named, command.one_line)
    assert command.stdout == ""
    assert names(command.folder) == before


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("SELEC n", "SELEC"),
        ("SELECT n FROM nowhere", "nowhere"),
        ("", "records"),
        ("DELETE FROM records", "[Qq]uery|read"),
    ],
)
def test_u1_a_query_that_is_wrong_is_one_line_and_changes_nothing(query: str, named: str, command: Command) -> None:
    path = write(command.folder / "in.sqlite", ROWS)
    if not query:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE second (n)")
        database.close()
    before = path.read_bytes()
    assert command.run("run", "-q", "in.sqlite", *([f"--query={query}"] if query else [])) in (1, 2)
    assert re.search(named, command.one_line)
    assert command.files() == {"in.sqlite": before}


def test_u1_a_named_pipe_whose_writer_leaves_in_a_line_fails_once(command: Command) -> None:
    os.mkfifo(command.folder / "pipe")
    line = """printf '1\\n{"a' > pipe & "$@" """
    assert shell(command, line).run("run", "-q", "--on-error=skip", "pipe") == 1
    assert command.stdout == "1\n"
    assert "pipe, line 2" in command.one_line


def test_u1_a_closed_stdin_is_one_line(command: Command) -> None:
    assert shell(command, '"$@" <&-').run("run", "-q") == 2
    assert "stdin" in command.one_line


def test_u1_a_folder_that_cannot_be_read_is_a_failed_item(command: Command) -> None:
    for name in ("a", "b"):
        (command.folder / "all" / name).mkdir(parents=True)
        (command.folder / "all" / name / "file").touch()
    (command.folder / "all" / "a").chmod(0)
    user = replace(command, before=AS_A_USER)
    assert user.run("run", "-q", "--format=files", "--on-error=skip", "all") == 1
    assert results(command) == ["all/b/file"]
    assert "all/a" in command.one_line


# U3, C4: dead letters are there while the run goes on; the next run does not empty them.


def test_u3_dead_letters_reach_the_disk_while_the_run_goes_on(odd: Command) -> None:
    dead = odd.folder / "dead.part"
    given = ["run", "-q", "--on-error=skip", "--dead-letters=dead", "-o", "out"]
    with odd.start(*given, stdin='oops\n1\n"stuck"\n') as running:
        until(lambda: dead.exists() and dead.read_bytes().endswith(b"\n"), running)
        end(running, signal.SIGKILL)
    before = dead.read_bytes()
    assert json.loads(before)["item"] == "oops"
    assert odd.run(*given, stdin="2\n") == 2
    assert dead.read_bytes() == before


# C7: nothing of the user's is overwritten.


def test_u3_an_input_of_names_is_not_overwritten(command: Command) -> None:
    (command.folder / "a.txt").write_text("mine")
    assert command.run("run", "-q", "--format=files", "a.txt", "-o", "a.txt") == 2
    assert "a.txt" in command.one_line
    assert command.files() == {"a.txt": b"mine"}


@pytest.mark.parametrize("form", [[], ["--format=files"]])
def test_u3_an_output_that_fits_the_pattern_of_the_input_is_not_read_by_the_next_run(
    form: list[str], command: Command
) -> None:
    (command.folder / "in.jsonl").write_text("1\n")
    (command.folder / "kept.jsonl.part").write_text("2\n")
    given = ["run", "-q", *form, "*.jsonl*", "-o", "out.jsonl", "--dead-letters=dead.jsonl"]
    codes = [command.run(*given), command.run(*given)]  # It is left out, or refused, at once or when it is there.
    assert codes in ([0, 0], [0, 2], [2, 2]), command.stderr
    written = {"out.jsonl": b'"in.jsonl"\n' if form else b"1\n", "dead.jsonl": b""} if codes[0] == 0 else {}
    assert command.files() == {"in.jsonl": b"1\n", "kept.jsonl.part": b"2\n"} | written


# C8: one line, one code.


def test_a_limit_beyond_all_numbers_is_one_line_or_no_limit(command: Command) -> None:
    code = command.run("run", "-q", "--limit=9223372036854775808", stdin="1\n")
    assert (code, command.stdout, command.stderr) == (0, "1\n", "") or (code == 2 and command.stdout == "")
    assert "Traceback" not in command.stderr


@pytest.mark.parametrize("workers", ["1", "40"])
def test_a_machine_without_threads_left_is_one_line(workers: str, odd: Command) -> None:
    (odd.folder / "in").write_text("1\n")
    line = 'ulimit -s 900000 -v 4000000; exec "$@"'  # Each thread takes 900 MB of 4 GB, on paper.
    assert shell(odd, line).run("run", "-q", "in", "-o", "out", WORKERS=workers) == 1
    assert "thread" in odd.one_line
    assert odd.run("run", "-q", "in", "-o", "out") == 0, odd.stderr


# C10.


def test_the_command_tells_its_version(command: Command) -> None:
    assert command.run("--version") == 0
    assert command.stdout.startswith("my-pipeline")
