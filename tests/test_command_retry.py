"""A retry of dead letters gives what the run would have given, or says that it cannot (U5)."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from baking import Baker
from commands import Command

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="these tests are about files as POSIX has them"),
    pytest.mark.timeout(120),
    pytest.mark.slow,
]

NUMBERS = range(10)
PLACES = [("a.jsonl", number + 1) for number in range(6)] + [("b.jsonl", number + 1) for number in range(4)]
VALUES = {"tuple": "(1, 2)", "keys": "{1: 2}", "bytes": "b'x'"}
RUN = ["run", "-q", "a.jsonl", "b.jsonl", "--on-error=skip", "-o", "out", "--dead-letters=dead"]


@pytest.fixture
def command(bake: Baker, tmp_path: Path) -> Command:
    """Around stages that fail until they are mended."""
    (tmp_path / "run").mkdir()
    lines = [f'{{"n": {number}}}\n' for number in NUMBERS]
    (tmp_path / "run" / "a.jsonl").write_text("".join(lines[:6]))
    (tmp_path / "run" / "b.jsonl").write_text("".join(lines[6:]))
    return Command(bake(), tmp_path / "run", "command_to_retry.py")


@pytest.fixture
def hand_on(command: Command) -> Command:
    """Around stages that hand everything on, and fail on "bad"."""
    return replace(command, script="command_that_hands_on.py")


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows(*numbers: int, value: str = "tuple") -> list[dict[str, Any]]:
    """What the mended stages give for these numbers."""
    more = {3: {"value": VALUES[value]}}
    return [{"n": number, "part": part} | more.get(number % 5, {}) for number in numbers for part in (0, 1)]


def failed(command: Command, **settings: str) -> list[dict[str, Any]]:
    """The dead letters of a run, in the order of the source's items."""
    assert command.run(*RUN, **settings) == 1, command.stderr
    return sorted(lines_of(command.folder / "dead"), key=lambda letter: int(letter["source_index"]))


def test_u5_a_letter_tells_where_its_item_came_from_and_what_went_on(command: Command) -> None:
    letters = failed(command)
    stages = {1: ["check"], 2: ["expand"], 3: ["last", "last"], 4: ["last", "last"]}
    expected = [(number, stage) for number in NUMBERS for stage in stages.get(number % 5, [])]
    assert [(letter["source_index"], letter["stage"]) for letter in letters] == expected
    for letter in letters:
        number = letter["source_index"]
        assert (letter["file"], letter["line"]) == PLACES[number]
        assert letter["source_item"] == {"n": number}
        assert letter["attempts"] == 1
        assert re.match(f"ValueError: {number} ", letter["error"])
        assert type(letter["index"]) is int
        assert ("item" in letter, "repr" in letter) == ((False, True) if number % 5 == 3 else (True, False))
        assert letter.get("delivered", 0) == (1 if letter["stage"] == "expand" else 0)
    assert letters[0]["item"] == {"n": 1}
    assert letters[1]["item"] == 2


@pytest.mark.parametrize("mode", [[], ["--serial"]])
@pytest.mark.parametrize("start", [[], ["--from-start"]])
def test_u5_a_retry_gives_what_is_missing_in_the_order_of_the_input(
    start: list[str], mode: list[str], command: Command
) -> None:
    failed(command)
    assert lines_of(command.folder / "out") == [
        row for row in rows(0, 2, 5, 7) if (row["n"] % 5, row["part"]) != (2, 1)
    ]
    assert command.run("retry", "dead", "-o", "more", *start, *mode, MENDED="yes") == 0, command.stderr
    more = lines_of(command.folder / "more")
    missing = [row for row in rows(1, 2, 3, 4, 6, 7, 8, 9) if (row["n"] % 5, row["part"]) != (2, 0)]
    again = [row for row in more if (row["n"] % 5, row["part"]) == (2, 0)]
    assert [row for row in more if row not in again] == missing
    assert not again or "delivered" in command.stderr
    seen = {int(line) for line in command.seen.read_text().splitlines()}
    assert seen == ({1, 2, 3, 4, 6, 7, 8, 9} if start else {1, 3, 6, 8})


@pytest.mark.parametrize("value", list(VALUES))
def test_u5_what_json_does_not_bring_back_begins_at_the_source_and_that_is_said(value: str, command: Command) -> None:
    letters = failed(command, VALUE=value)
    assert [VALUES[value] in letter["repr"] for letter in letters if "repr" in letter] == [True] * 4
    assert command.run("retry", "-q", "dead", "-o", "more", MENDED="yes", VALUE=value) == 0, command.stderr
    assert "source" in command.stderr
    assert "Traceback" not in command.stderr
    more = [row for row in lines_of(command.folder / "more") if row["n"] % 5 == 3]
    assert more == rows(3, 8, value=value)


def test_u5_what_fails_again_keeps_its_place(command: Command) -> None:
    first = failed(command)
    assert command.run("retry", "dead", "-o", "more", "--dead-letters=dead") == 1, command.stderr
    again = sorted(lines_of(command.folder / "dead"), key=lambda letter: int(letter["source_index"]))
    names = ("file", "line", "source_index", "source_item", "stage", "error")
    assert [[letter[name] for name in names] for letter in again] == [
        [letter[name] for name in names] for letter in first
    ]
    assert command.run("retry", "dead", "-o", "more", "--overwrite", MENDED="yes") == 0, command.stderr
    numbers = [row["n"] for row in lines_of(command.folder / "more")]
    assert numbers == sorted(numbers)
    assert set(numbers) == {1, 2, 3, 4, 6, 7, 8, 9}


def test_u5_a_letter_of_a_stage_that_is_no_more_is_refused_by_name(command: Command) -> None:
    failed(command)
    dead = command.folder / "dead"
    dead.write_text(dead.read_text().replace('"expand"', '"unfold"'))
    before = command.files()
    assert command.run("retry", "dead", "-o", "more", MENDED="yes") == 2
    assert "unfold" in command.one_line
    assert command.files() == before


@pytest.mark.parametrize("content", ["1\n", "oops\n", '{"stage": 1}\n', '{"stage": []}\n', "\n"])
def test_u5_what_is_no_dead_letter_is_refused_in_one_line(content: str, command: Command) -> None:
    (command.folder / "dead").write_text(content)
    before = command.files()
    assert command.run("retry", "dead", "-o", "more") == 2
    assert "dead, line 1" in command.one_line
    assert command.files() == before


def test_u5_what_the_source_could_not_read_has_its_place(hand_on: Command) -> None:
    (hand_on.folder / "a.jsonl").write_text('1\noops\n"bad"\n')
    assert hand_on.run(*RUN) == 1
    broken, bad = lines_of(hand_on.folder / "dead")
    assert [broken[name] for name in ("stage", "file", "line", "source_index", "item")] == [
        "source",
        "a.jsonl",
        2,
        1,
        "oops",
    ]
    assert [bad[name] for name in ("stage", "file", "line", "source_index", "item")] == [
        "first",
        "a.jsonl",
        3,
        2,
        "bad",
    ]


@pytest.mark.parametrize("text", [b'"\xff"', b"[1, \xff]", b"bad"])
def test_u5_a_line_of_text_is_not_read_as_json(text: bytes, hand_on: Command) -> None:
    (hand_on.folder / "in.txt").write_bytes(text + b"\n")
    given = ["in.txt", "--format=text", "--on-error=skip", "--dead-letters=dead"]
    assert hand_on.run("run", "-q", *given) == 1
    (letter,) = lines_of(hand_on.folder / "dead")
    assert letter["item"] == text.decode(errors="replace")
    hand_on.run("retry", "-q", "dead", "-o", "more")
    more = hand_on.folder / "more"
    assert "Traceback" not in hand_on.stderr
    assert not more.exists() or lines_of(more) in ([], [text.decode(errors="replace")])


def test_u5_what_cannot_be_retried_is_said_and_kept(hand_on: Command) -> None:
    values = pyarrow.Table.from_pylist([{"data": b"\xff"}])
    pyarrow.parquet.write_table(values, hand_on.folder / "in.parquet")
    given = ["in.parquet", "--on-error=skip", "--dead-letters=dead"]
    assert hand_on.run("run", "-q", *given) == 1  # No output of JSON holds bytes.
    (letter,) = lines_of(hand_on.folder / "dead")
    assert "item" not in letter
    assert r"b'\xff'" in letter["repr"]
    assert (letter["file"], letter["line"], letter["source_index"]) == ("in.parquet", 1, 0)
    assert hand_on.run("retry", "-q", "dead", "-o", "more", "--dead-letters=left") == 1
    assert r"b'\xff'" in hand_on.stderr
    assert lines_of(hand_on.folder / "left") == [letter]


def test_u5_a_result_that_could_not_be_written_is_retried_from_its_source_item(hand_on: Command) -> None:
    given = ["run", "-q", "--on-error=skip", "--dead-letters=dead", "-o", "out.csv"]
    assert hand_on.run(*given, stdin='{"n": 1}\n{"n": [2]}\n{"n": 3}\n') == 1
    (letter,) = lines_of(hand_on.folder / "dead")
    assert (letter["source_item"], letter["source_index"], letter["line"]) == ({"n": [2]}, 1, 2)
    assert hand_on.run("retry", "-q", "dead", "-o", "more.jsonl") == 0, hand_on.stderr
    assert lines_of(hand_on.folder / "more.jsonl") == [{"n": [2]}]


@pytest.mark.parametrize("ending", [".gz", ".zst", ".xz", ".bz2"])
def test_u5_packed_letters_are_retried(ending: str, hand_on: Command) -> None:
    dead = hand_on.folder / f"dead.jsonl{ending}"
    given = ["run", "-q", "--on-error=skip", f"--dead-letters={dead.name}", "-o", "out.csv"]
    assert hand_on.run(*given, stdin='1\n{"n": 3}\n') == 1
    assert hand_on.run("retry", "-q", dead.name, "-o", "more") == 0, hand_on.stderr
    assert lines_of(hand_on.folder / "more") == [1]
    dead.write_bytes(dead.read_bytes()[:-6])
    assert hand_on.run("retry", "-q", dead.name, "-o", "more") == 2
    assert dead.name in hand_on.one_line
