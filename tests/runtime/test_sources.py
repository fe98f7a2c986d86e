"""Where items come from: all that a project's own tests of them leave out, too."""

import gzip
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

pytest.importorskip("my_pipeline.sources", reason="this project has no command")

from my_pipeline.pipeline_core import FailedItem
from my_pipeline.sources import Format, Place, Source


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
    monkeypatch.setattr("my_pipeline.readers.BLOCK", block)
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


def test_u1_a_folder_stands_for_its_files_whose_names_tell_their_format(folder: Path) -> None:
    (folder / "README.md").write_text("no item")
    assert list(Source([str(folder)])) == [{"a": 1}, {"a": "é"}, 3, 5, 6, 4]
    assert list(Source([str(folder / "inner")], "text")) == ["4"]
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no file fits .*empty"):
        Source([str(folder / "empty")])


def test_u1_what_an_unfinished_run_left_behind_is_meant_by_no_pattern_and_no_folder(folder: Path) -> None:
    for name in ("a.jsonl.part", "a.jsonl.checkpoint"):
        (folder / name).write_text("7\n")
    assert list(Source([str(folder / "a*")])) == [{"a": 1}, {"a": "é"}]
    assert [Path(name).suffix for name in Source([str(folder)], "files")] == [".jsonl", ".jsonl", ".gz", ".jsonl"]
    assert list(Source([str(folder / "a.jsonl.part")])) == [7]


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_u1_a_list_names_inputs_as_they_are(separator: bytes, folder: Path, stdin: Callable[[bytes], None]) -> None:
    (folder / "[ab].jsonl").write_text("7")
    names = [str(folder / "[ab].jsonl"), str(folder / "b.jsonl")]
    (folder / "list").write_bytes(separator.join([*map(os.fsencode, names), b""]))
    assert list(Source([], files_from=str(folder / "list"))) == [7, 3]
    assert list(Source([str(folder / "d*")], files_from=str(folder / "list"))) == [5, 6, 7, 3]
    assert list(Source([], "files", files_from=str(folder / "list"))) == names
    stdin((folder / "list").read_bytes())
    assert list(Source([], files_from="-")) == [7, 3]


def test_u1_a_list_may_be_empty_and_must_name_what_is_there(folder: Path) -> None:
    (folder / "list").write_text("")
    source = Source([], files_from=str(folder / "list"))
    assert (source.total(), list(source)) == (0, [])
    (folder / "list").write_text("missing\n")
    for form in get_args(Format):
        with pytest.raises(FileNotFoundError, match="missing"):
            Source([], form, files_from=str(folder / "list"))
    with pytest.raises(ValueError, match="stdin cannot be both"):
        Source(["-"], files_from="-")


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder with a/1, b/2 and c/3, and nobody may look into b. Root reads every folder: it is somebody else meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for number, name in enumerate("abc", 1):
            Path(folder, name).mkdir()
            Path(folder, name, str(number)).touch()
        Path(folder, "b").chmod(0)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            yield Path(folder)
        finally:
            os.seteuid(user)
            Path(folder, "b").chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX")
@pytest.mark.parametrize("pattern", ["", "*/*", "**/[0-9]", "**"])
def test_c5_a_folder_that_cannot_be_read_is_a_failed_item_in_its_place(pattern: str, locked: Path) -> None:
    one, failed, three = Source([str(locked / pattern)], "files", remember=3)
    assert (one, three) == (str(locked / "a/1"), str(locked / "c/3"))
    assert isinstance(failed, FailedItem)
    assert (failed.item, str(failed.error)) == (str(locked / "b"), f"[Errno 13] Permission denied: '{locked / 'b'}'")
    with pytest.raises(PermissionError, match="b"):
        Source([str(locked / "b")], "files")


@pytest.mark.parametrize(
    ("given", "form", "path", "meant"),
    [
        ("*.jsonl", "auto", "out.jsonl", True),
        ("*.jsonl", "auto", "inner/out.jsonl", False),
        ("**/*.jsonl", "auto", "inner/out.jsonl", True),
        ("**/*.jsonl", "auto", "out.jsonl", True),
        ("inner/[ab].csv", "csv", "inner/b.csv", True),
        ("inner/[ab].csv", "csv", "inner/c.csv", False),
        (".", "files", "inner/deep/out", True),
        ("inner", "files", "out", False),
        ("inner", "auto", "inner/report.html", False),
        ("inner", "auto", "inner/out.csv.gz", True),
        ("a.jsonl", "auto", "a.jsonl", False),
        ("[ab].jsonl", "auto", "a.jsonl", False),
    ],
)
def test_c7_a_source_tells_what_its_patterns_and_folders_would_stand_for(
    given: str, form: Format, path: str, meant: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "inner/a.csv").touch()
    if given == "[ab].jsonl":
        (folder / given).touch()
    assert Source([given], form).stands_for(Path(path)) == (given if meant else None)


def test_where_tells_the_place_of_the_last_items(folder: Path) -> None:
    source = Source([str(folder / "a.jsonl"), str(folder / "inner")], remember=2)
    assert len(list(source)) == 3
    assert [source.where(index) for index in range(4)] == [
        None,
        Place(str(folder / "a.jsonl"), 3, "jsonl", {"a": "é"}),
        Place(str(folder / "inner/c.jsonl"), 1, "jsonl", 4),
        None,
    ]
    assert Source([]).where(0) is None
    names = Source([str(folder / "inner")], "files", remember=1)
    assert [names.where(0) for _ in names] == [
        Place(str(folder / "inner/c.jsonl"), None, "files", str(folder / "inner/c.jsonl"))
    ]


def test_of_a_large_item_only_the_place_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x" * 100_000 + "\n")
    source = Source([str(tmp_path / "x.txt")], remember=10)
    assert [len(item) for item in source] == [100_000]
    place = source.where(0)
    assert place is not None
    assert (place.file, place.line) == (str(tmp_path / "x.txt"), 1)
    assert isinstance(place.item, FailedItem)


def test_identity_tells_whether_an_input_has_changed(folder: Path) -> None:
    name = str(folder / "a.jsonl")
    written_at = os.stat(name).st_mtime_ns
    before = Source([name, "-"]).identity()
    assert json.loads(json.dumps(before)) == Source([name, "-"]).identity() == before
    assert before["inputs"][1] == "-"
    assert before != Source([name, "-"], "text").identity()
    os.utime(name, ns=(0, 1))
    assert before != Source([name, "-"]).identity()
    os.utime(name, ns=(0, written_at))
    assert before == Source([name, "-"]).identity()
    Path(name).write_text("1")
    os.utime(name, ns=(0, written_at))
    assert before != Source([name, "-"]).identity()


def test_fewer_items_than_are_to_be_skipped_are_said(folder: Path) -> None:
    assert list(Source([str(folder / "d.jsonl.gz")], first=2)) == []
    with pytest.raises(ValueError, match="the input has 2 items now, and 3 of them are to be skipped"):
        list(Source([str(folder / "d.jsonl.gz")], first=3))


def test_the_lines_of_large_inputs_are_not_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("my_pipeline.sources.COUNTED", 5)
    assert Source([str(folder / "b.jsonl")]).total() == 1
    assert Source([str(folder / "a.jsonl")]).total() is None
