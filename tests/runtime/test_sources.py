"""Where items come from: all that a project's own tests of them leave out, too."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

pytest.importorskip("my_pipeline.sources", reason="this project has no command")

from my_pipeline.pipeline_core import DeadLetter, FailedItem
from my_pipeline.sinks import Outputs
from my_pipeline.sources import Format, Source, read_dead_letters


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n\n{"a": "\xc3\xa9"}\r\n')
    (tmp_path / "b.jsonl").write_bytes(b"3")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/c.jsonl").write_bytes(b"4\n")
    with gzip.open(tmp_path / "d.jsonl.gz", "wb") as file:
        file.write(b"5\n6\n")
    return tmp_path


def test_json_lines_are_the_values_of_all_lines_that_are_not_empty(folder: Path) -> None:
    source = Source([str(folder / "a.jsonl"), str(folder / "b.jsonl")])
    assert source.total() == 3
    assert list(source) == [{"a": 1}, {"a": "é"}, 3]


def test_text_lines_come_without_their_ends_and_empty_ones_count(folder: Path) -> None:
    source = Source([str(folder / "a.jsonl")], "text")
    assert source.total() == 3
    assert list(source) == ['{"a": 1}', "", '{"a": "é"}']


def test_files_are_items_by_their_names_folders_stand_for_all_in_them(folder: Path) -> None:
    source = Source([str(folder)], "files")
    names = [Path(name).name for name in source]
    assert names == ["a.jsonl", "b.jsonl", "d.jsonl.gz", "c.jsonl"]
    assert source.total() == 4


def test_patterns_stand_for_the_files_that_fit_in_order_and_below(folder: Path) -> None:
    assert list(Source([str(folder / "[ab].jsonl")])) == [{"a": 1}, {"a": "é"}, 3]
    assert list(Source([str(folder / "**/[bc].jsonl")])) == [3, 4]
    with pytest.raises(ValueError, match=r"no file fits .*x.*jsonl"):
        Source([str(folder / "x*.jsonl")])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "[ab].jsonl").write_text("7")
    assert list(Source([str(folder / "[ab].jsonl")])) == [7]


def test_gz_is_unpacked_and_its_total_is_not_known_beforehand(folder: Path) -> None:
    source = Source([str(folder / "d.jsonl.gz")])
    assert source.total() is None
    assert list(source) == [5, 6]


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-9], lambda data: data[:-8] + b"no" + data[-6:], lambda _: b"5\n"]
)
def test_a_gz_that_cannot_be_unpacked_says_which_and_where(spoil, folder: Path) -> None:  # type: ignore[no-untyped-def]
    path = folder / "d.jsonl.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"d\.jsonl\.gz cannot be unpacked after line \d"):
        list(Source([str(path)]))


def test_what_is_no_json_or_no_utf_8_is_a_failed_item_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"1\n{oops\n\xff\n")
    one, oops, no_utf_8 = Source([str(path)])
    assert one == 1
    assert isinstance(oops, FailedItem)
    assert (oops.item, str(oops.error)[: len(f"{path}, line 2, is no JSON")]) == (
        "{oops",
        f"{path}, line 2, is no JSON",
    )
    assert isinstance(no_utf_8, FailedItem)
    last = list(Source([str(path)], "text"))[-1]
    assert isinstance(last, FailedItem)
    assert "line 3, is no UTF-8" in str(last.error)


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_each_line_is_decoded_alone_wherever_a_block_ends(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        *[
            b'{"a": [1, 2]}',
            b" 1 ",
            b"2\t\r",
            b"\r",
            b" ",
            b"",
            b"[1,",
            b"2]",
            b"1 2",
            b"1\xc2\xa0",
            b'"\xe2\x80\xa8"',
            b"\xff",
        ],
        *[b"\xef\xbb\xbf3", b'"\xed\xa0\x80"', b"nul", b"{", b"}", b'"' + b"x" * 99 + b'"', b"-0", b"[" * 99_999, b"4"],
    ]
    expected: list[object] = []
    for number, line in enumerate(lines, start=1):
        try:
            expected += [json.loads(line)] if line.strip() else []
        except (ValueError, RecursionError):
            expected.append(f"line {number}, is no JSON")
    monkeypatch.setattr("my_pipeline.sources.BLOCK", block)
    path = tmp_path / "in"
    path.write_bytes(b"\n".join(lines))
    found = list(Source([str(path)]))
    said = [str(item.error).split(": ")[0] if isinstance(item, FailedItem) else item for item in found]
    assert [item.removeprefix(f"{path}, ") if isinstance(item, str) else item for item in said] == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a named pipe of POSIX")
def test_a_line_that_comes_in_is_an_item_before_the_next_one_does(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)  # Does not wait for a reader.
    items = iter(Source([str(pipe)]))
    os.write(writer, b"1\n2\n3")
    assert (next(items), next(items)) == (1, 2)
    os.write(writer, b"4\n")
    assert next(items) == 34
    items.close()  # type: ignore[attr-defined]
    os.close(writer)


@pytest.mark.parametrize("form", get_args(Format))
def test_a_missing_file_is_refused_at_once(form: Format, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        Source([str(tmp_path / "missing")], form)


def test_the_lines_of_large_inputs_are_not_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("my_pipeline.sources.COUNTED", 5)
    assert Source([str(folder / "b.jsonl")]).total() == 1
    assert Source([str(folder / "a.jsonl")]).total() is None


def test_dead_letters_come_back_by_the_stage_that_failed(tmp_path: Path) -> None:
    letters = [
        DeadLetter("b", 3, {"x": 1}, ValueError("no"), 1, ""),
        DeadLetter("source", 1, "{oops", ValueError("no"), 1, ""),
        DeadLetter("source", 2, '{"mended": 1}', ValueError("no"), 1, ""),
        DeadLetter("a", 3, {1, 2}, ValueError("no"), 1, ""),
    ]
    with Outputs() as outputs:
        dead = outputs.add(tmp_path / "dead.jsonl")
        for letter in letters:
            dead.keep(letter)
    groups, lost = read_dead_letters(tmp_path / "dead.jsonl", ["a", "b"])
    assert list(groups) == ["source", "b"]
    assert groups["b"] == [{"x": 1}]
    assert isinstance(groups["source"][0], FailedItem)
    assert groups["source"][1] == {"mended": 1}
    assert [letter["repr"] for letter in lost] == ["{1, 2}"]


@pytest.mark.parametrize(
    "line", ["1", "[]", "x", '{"stage": "c", "item": 1}', '{"item": 1}', '{"stage": [], "item": 1}']
)
def test_what_is_no_dead_letter_is_refused_with_its_line(line: str, tmp_path: Path) -> None:
    (tmp_path / "dead.jsonl").write_text(line)
    with pytest.raises(ValueError, match="line 1, is no dead letter of the stages a, b"):
        read_dead_letters(tmp_path / "dead.jsonl", ["a", "b"])
