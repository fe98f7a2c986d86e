"""What is read, format by format: values, rows and lines, and what is broken in them (U1, C3, C5)."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

pytest.importorskip("my_pipeline.sources", reason="this project has no command")
pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")

import pyarrow
import pyarrow.parquet
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from my_pipeline.pipeline_core import FailedItem
from my_pipeline.sources import Format, Source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstd.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}
ROWS = [{"a": "1", "b": "é"}, {"a": "2", "b": "x, y"}]


def parquet(rows: list[dict[str, Any]], size: int = 2) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file, row_group_size=size)
    return file.getvalue()


def sqlite(*statements: str, rows: list[dict[str, Any]] | None = None) -> bytes:
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(f"{folder}/it")) as database:
        database.execute("CREATE TABLE rows (a, b)")
        database.executemany("INSERT INTO rows VALUES (:a, :b)", rows or [])
        for statement in statements:
            database.execute(statement)
        database.commit()
        return Path(folder, "it").read_bytes()


DATA: dict[Format, tuple[bytes, list[Any]]] = {
    "jsonl": (b'{"a": "1", "b": "\xc3\xa9"}\n\n{"a": "2", "b": "x, y"}\n', ROWS),
    "json": (b'[{"a": "1", "b": "\xc3\xa9"},\n {"a": "2", "b": "x, y"}]', ROWS),
    "text": (b"\xc3\xa9\n\nx, y", ["é", "", "x, y"]),
    "csv": (b'a,b\n1,\xc3\xa9\n\n2,"x, y"\n', ROWS),
    "parquet": (parquet(ROWS), ROWS),
    "sqlite": (sqlite(rows=ROWS), ROWS),
}
formats = pytest.mark.parametrize("form", DATA)


def read(path: Path, form: Format = "auto", **more: Any) -> list[Any]:
    return list(Source([str(path)], form, **more))


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("x.jsonl", "jsonl"),
        ("x.ndjson", "jsonl"),
        ("X.JSON", "json"),
        ("x.csv", "csv"),
        ("x.txt", "text"),
        ("x.log.xz", "text"),
        ("x.parquet", "parquet"),
        ("x.sqlite", "sqlite"),
        ("x.db", "sqlite"),
        ("x.sqlite3.gz", "sqlite"),
        ("x", "jsonl"),
        ("x.gz", "jsonl"),
    ],
)
def test_u1_the_name_of_an_input_tells_its_format(name: str, form: Format, tmp_path: Path) -> None:
    data, items = DATA[form]
    assert read(written(tmp_path / name, data)) == items


def test_u1_several_formats_are_read_one_after_the_other(tmp_path: Path) -> None:
    for form, (data, _) in DATA.items():
        written(tmp_path / f"x.{form.replace('text', 'txt')}", data)
    source = Source([str(tmp_path)])
    assert list(source) == [*ROWS, *ROWS, *ROWS, *ROWS, *ROWS, *DATA["text"][1]]  # In the order of their names.


@formats
@pytest.mark.parametrize("packing", PACK)
def test_u1_compression_is_known_by_the_content_whatever_the_name(form: Format, packing: str, tmp_path: Path) -> None:
    data, items = DATA[form]
    pack = PACK[packing]
    wrong = {"gz": "bz2", "zst": "gz", "xz": "x", "bz2": ""}[packing]
    assert read(written(tmp_path / f"x.{wrong}", pack(data)), form) == items
    assert read(written(tmp_path / "y.gz", data), form) == items
    members = pack(data[:9]) + pack(data[9:])
    assert read(written(tmp_path / "z", members), form) == items


@formats
@pytest.mark.parametrize("packing", [None, *PACK])
def test_u1_stdin_is_read_like_a_file(form: Format, packing: str | None, stdin: Callable[[bytes], None]) -> None:
    data, items = DATA[form]
    stdin(data if packing is None else PACK[packing](data))
    assert list(Source(["-"], form)) == items


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="names of open files, as POSIX systems have them")
@pytest.mark.parametrize("form", ["jsonl", "json", "text", "csv"])
@pytest.mark.parametrize("packing", [None, *PACK])
def test_u1_a_pipe_may_give_one_byte_at_a_time(form: Format, packing: str | None) -> None:
    data, items = DATA[form]
    sent = data if packing is None else PACK[packing](data)
    script = f"import os\nfor byte in {sent!r}: os.write(1, bytes([byte]))"
    with subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert list(Source([f"/dev/fd/{process.stdout.fileno()}"], form)) == items


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a named pipe of POSIX")
def test_a_json_value_that_comes_in_is_an_item_before_the_next_one_does(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    items = iter(Source([str(tmp_path / "pipe")], "json"))
    os.write(writer, b'{"a": 1}')
    assert next(items) == {"a": 1}
    os.write(writer, b"12")
    os.write(writer, b"3 [4,")
    assert next(items) == 123
    os.write(writer, b"5]")
    assert next(items) == [4, 5]
    items.close()  # type: ignore[attr-defined]
    os.close(writer)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "[]",
        "[ 1 , [2], {} ]",
        "1 2\n3",
        '{}{}"x""y"',
        "-0 1e5 1.5E+3",
        f"[{10**40}, 1.5, 1e-7]",
        '"\\ud800"',
    ],
)
@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 16])
def test_u1_json_is_one_array_or_values_one_after_the_other(
    text: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("my_pipeline.readers.BLOCK", block)
    decoder, begin, expected = json.JSONDecoder(), 0, []
    if text.startswith("["):
        expected = json.loads(text)
    else:
        while rest := text[begin:].lstrip():
            value, stop = decoder.raw_decode(rest)
            begin = len(text) - len(rest) + stop
            expected.append(value)
    assert read(written(tmp_path / "x.json", text.encode())) == expected
    assert read(written(tmp_path / "y.json", b"\xef\xbb\xbf" + text.encode())) == expected


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_long_json_value_is_read_whole_wherever_a_block_ends(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("my_pipeline.readers.BLOCK", cut)
    value: dict[str, object] = {
        "text": 'a "quoted" \\ é \U0001f600 \x00' * 5,
        "numbers": [1.5e-10, -3, 10**30, True, None],
        "deep": [[[{}]]],
    }
    text = f"[{json.dumps(value, indent=2)}, {json.dumps(value, ensure_ascii=False)}]"
    assert read(written(tmp_path / "x.json", text.encode())) == [value, value]


def test_u1_csv_as_people_have_it(tmp_path: Path) -> None:
    assert read(written(tmp_path / "x.csv", b'\xef\xbb\xbfa,b\r\n1,"x\r\n""y"""\r\n\r\n,\r\n')) == [
        {"a": "1", "b": 'x\r\n"y"'},
        {"a": "", "b": ""},
    ]
    assert read(written(tmp_path / "x.tsv.gz", gzip.compress(b"a\tb\n1,5\t2\n"))) == [{"a": "1,5", "b": "2"}]
    long = "x" * 200_000  # More than the csv module takes by itself.
    assert read(written(tmp_path / "y.csv", f"a,b\n1,{long}\n".encode())) == [{"a": "1", "b": long}]
    assert read(written(tmp_path / "z.csv", b"")) == read(written(tmp_path / "z.csv", b"a,b\n")) == []


def test_u1_a_table_keeps_the_types_of_its_columns(tmp_path: Path) -> None:
    rows = [{"n": None, "d": Decimal("1.50"), "t": date(2020, 1, 2), "l": [1, 2], "s": {"x": b"\x00"}, "f": 0.1}]
    assert read(written(tmp_path / "x.parquet", parquet(rows))) == rows
    typed: list[dict[str, object]] = [{"a": 1, "b": 0.1}, {"a": None, "b": b"\x00"}, {"a": 2**63 - 1, "b": "é"}]
    assert read(written(tmp_path / "x.db", sqlite(rows=typed))) == typed


def test_u1_a_query_is_asked_of_sqlite_files(tmp_path: Path) -> None:
    path = written(tmp_path / "x.db", sqlite("CREATE TABLE more (c)", "INSERT INTO more VALUES (7)", rows=ROWS))
    assert read(path, query="SELECT c AS d FROM more UNION ALL SELECT a FROM rows;") == [
        {"d": 7},
        {"d": "1"},
        {"d": "2"},
    ]
    before = path.read_bytes()
    (failed,) = read(path, query="DELETE FROM rows")
    assert "readonly" in str(failed.error)
    assert path.read_bytes() == before
    for query, problem in {
        None: r"x\.db cannot be queried: it has the tables more, rows: choose with a query",
        "SELECT x FROM rows": r"x\.db cannot be queried: no such column: x",
        "SELEKT": r"x\.db cannot be queried: near .SELEKT.: syntax error",
        "SELECT 1; SELECT 2": r"x\.db cannot be queried: You can only execute one statement at a time",
    }.items():
        with pytest.raises(ValueError, match=problem):
            Source([str(path)], query=query)
    with pytest.raises(ValueError, match=r"empty\.db cannot be queried: it has no table"):
        Source([str(written(tmp_path / "empty.db", b""))])
    with pytest.raises(ValueError, match="a query is for SQLite files, and there is none"):
        Source([str(written(tmp_path / "x.csv", b""))], query="SELECT 1")


def test_a_parquet_file_without_pyarrow_is_bad_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("my_pipeline.sources.find_spec", lambda _: None)
    with pytest.raises(ValueError, match="Parquet needs one more package: pip install pyarrow"):
        Source([str(written(tmp_path / "x.parquet", b""))])


TOTALS: dict[str, tuple[bytes, int | None]] = {
    "x.json": (b"[1]", None),
    "x.csv": (b'a\n"x\ny"\n\nz\n1,2\n', 3),
    "x.parquet": (parquet(ROWS * 5), 10),
    "y.parquet": (b"oops", 1),
    "x.db": (sqlite(rows=ROWS), 2),
    "x.jsonl.gz": (gzip.compress(b"1"), None),
    "x.jsonl": (b"\xef\xbb\xbf1\n \r\noops\n\xff", 3),
}


@pytest.mark.parametrize("name", TOTALS)
def test_the_total_is_counted_where_that_is_cheap(name: str, tmp_path: Path) -> None:
    data, total = TOTALS[name]
    source = Source([str(written(tmp_path / name, data))], first=1)
    assert source.total() == total
    assert total is None or total == 1 + len(list(source))


NANOSECONDS = pyarrow.table({"a": pyarrow.array([1_000, 1, 2_000], pyarrow.timestamp("ns"))})


def nanoseconds() -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(NANOSECONDS, file)
    return file.getvalue()


# Name, content, and for each item that cannot be read its number among all, what stands for it, and what is said of it.
Broken = tuple[str, bytes, int, list[tuple[int, str, str]]]
BROKEN: dict[str, Broken] = {
    "no json": ("x.jsonl", b"1\n{oops\n3\n", 3, [(1, "{oops", "x.jsonl, line 2, is no JSON: Expecting property name")]),
    "nan": (
        "x.jsonl",
        b"NaN\n[-Infinity]\n1",
        3,
        [(0, "NaN", "line 1, is no JSON: NaN"), (1, "[-Infinity]", "line 2")],
    ),
    "two values": ("x.jsonl", b"1 2\n", 1, [(0, "1 2", "line 1, is no JSON: Extra data")]),
    "digits": ("x.jsonl", b"9" * 5000 + b"\n1", 2, [(0, "9" * 5000, "line 1, is no JSON: Exceeds the limit")]),
    "deep": ("x.jsonl", b"[" * 99_999 + b"\n1", 2, [(0, "[" * 99_999, "line 1, is no JSON: maximum recursion")]),
    "latin-1": ("x.jsonl", b'1\n"\xe9"\n', 2, [(1, '"\ufffd"', "line 2, is no JSON: 'utf-8' codec can't decode")]),
    "utf-16": (
        "x.jsonl",
        "1\n".encode("utf-16"),
        2,
        [(0, "\ufffd\ufffd1\0", "line 1"), (1, "\0", "line 2, is no JSON")],
    ),
    "zero": ("x.jsonl", b"1\0\n2", 2, [(0, "1\0", "line 1, is no JSON: Extra data")]),
    "text of latin-1": ("x.txt", b"a\r\n\xe9\r\nb", 3, [(1, "\ufffd", "x.txt, line 2, is no UTF-8: ")]),
    "json with nan": ("x.json", b'[1,\n{"a": NaN},\n3]', 3, [(1, '{"a": NaN}', "x.json, line 2, is no JSON: NaN")]),
    "json with a bad byte": ("x.json", b'["a",\n"\xe9", 3]', 3, [(1, '"\ufffd"', "x.json, line 2, is no UTF-8")]),
    "json that ends early": (
        "x.json",
        b'[1,\n2, {"a":',
        3,
        [(2, "", "x.json cannot be read beyond line 2: it is no JSON")],
    ),
    "json with an error": (
        "x.json",
        b"[1,\n{oops}, 2]",
        2,
        [(1, "", "x.json cannot be read beyond line 2: it is no JSON")],
    ),
    "json without a comma": ("x.json", b"[1 2]", 2, [(1, "", "beyond line 1: it is no JSON: a comma or the end")]),
    "json that goes on": ("x.json", b"[1] 2", 2, [(1, "", "beyond line 1: it is no JSON: nothing is expected behind")]),
    "json with a line in a text": (
        "x.json",
        b'["a\nb"]',
        1,
        [(0, "", "beyond line 1: it is no JSON: Invalid control")],
    ),
    "json that is deep": ("x.json", b"1 " + b"[" * 99_999, 2, [(1, "", "beyond line 1: maximum recursion depth")]),
    "too many fields": (
        "x.csv",
        b"a,b\n1,2\n1,2,3\n4,5\n",
        3,
        [(1, "1,2,3", "x.csv, line 3, has 3 fields, and not 2")],
    ),
    "too few fields": ("x.csv", b'a,b\n"1\n\n",2\n3\n', 2, [(1, "3", "x.csv, line 5, has 1 fields, and not 2")]),
    "text behind a quote": ("x.csv", b'a,b\n"1"x,2\n3,4\n', 2, [(0, '"1"x,2', "x.csv, line 2, is no row of CSV: ")]),
    "an open quote": (
        "x.csv",
        b'a,b\n1,2\n3,"4\n5,6\n',
        2,
        [(1, '3,"4\n5,6', "x.csv, line 3, is no row of CSV: unexp")],
    ),
    "csv of latin-1": ("x.csv", b"a,b\n1,\xe9\n2,3\n", 2, [(0, "1,\ufffd", "x.csv, line 2, is no UTF-8")]),
    "two columns of a name": ("x.csv", b"a,a\n1,2\n", 1, [(0, "", "x.csv cannot be read beyond line 1: two columns")]),
    "a header of latin-1": (
        "x.csv",
        b"\xe9,b\n1,2\n",
        1,
        [(0, "", "x.csv cannot be read beyond line 1: its first line")],
    ),
    "no parquet": ("x.parquet", b"PAR1 oops", 1, [(0, "", "x.parquet cannot be read: ")]),
    "an empty parquet": ("x.parquet", b"", 1, [(0, "", "x.parquet cannot be read: ")]),
    "parquet cut off": ("x.parquet", parquet(ROWS)[:-3], 1, [(0, "", "x.parquet cannot be read: ")]),
    "parquet with a time": (
        "x.parquet",
        nanoseconds(),
        3,
        [(1, "pyarrow.RecordBatch", "x.parquet, row 2, cannot be read: ")],
    ),
    "no database": ("x.db", b"oops" * 999, 1, [(0, "", "x.db cannot be read: file is not a database")]),
    "a database cut off": ("x.db", sqlite(rows=ROWS * 999)[:9000], 1, [(0, "", "x.db cannot be read")]),
    "a database with a bad byte": (
        "x.db",
        sqlite("INSERT INTO rows VALUES (3, CAST(x'ff' AS TEXT))", "INSERT INTO rows VALUES (4, 5)", rows=ROWS),
        4,
        [(2, "(3, '\ufffd')", "x.db, row 3, is no UTF-8")],
    ),
    "gzip of another": (
        "x.csv",
        gzip.compress(b"a\n1\n") + b"oops",
        2,
        [(1, "", "x.csv cannot be read beyond line 2: ")],
    ),
}
LINES = b"".join(b"%d\n" % number**9 for number in range(20_000))


@pytest.mark.parametrize("kind", BROKEN)
def test_c5_what_cannot_be_read_costs_itself_and_says_where_it_stands(kind: str, tmp_path: Path) -> None:
    name, data, count, failures = BROKEN[kind]
    path = written(tmp_path / name, data)
    good = str(written(tmp_path / "good.jsonl", b'"good"\n'))
    items = list(Source([str(path), good]))
    assert (len(items), items[-1]) == (count + 1, "good")
    found = {number: item for number, item in enumerate(items) if isinstance(item, FailedItem)}
    assert list(found) == [number for number, _, _ in failures]
    for number, item, problem in failures:
        assert problem in str(found[number].error)
        assert str(path) in str(found[number].error)
        assert str(found[number].item).startswith(item or str(path))


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("form", ["jsonl", "text", "json"])
@pytest.mark.parametrize("how", ["cut off", "spoiled"])
def test_c5_an_input_that_breaks_off_fails_once_and_the_next_is_read(
    packing: str, form: Format, how: str, tmp_path: Path
) -> None:
    packed = bytearray(PACK[packing](LINES))
    if how == "cut off":
        del packed[-9:]
    else:
        packed[len(packed) // 2 : len(packed) // 2 + 40] = b"spoiled!" * 5
    path = str(written(tmp_path / "in", bytes(packed)))
    good = str(written(tmp_path / "good", b"7\n"))
    *items, failed, seven = Source([path, good], form)
    assert isinstance(failed, FailedItem)
    assert (failed.item, str(seven)) == (path, "7")
    assert str(failed.error).startswith(f"{path} cannot be read")
    assert failed.error.__cause__ is not None
    if how == "cut off":  # Else what comes before the place may be wrong, too: compression finds errors late.
        assert [int(item) for item in items] == [number**9 for number in range(len(items))]
        line = re.search(r" beyond line (\d+): ", str(failed.error))
        assert (int(line[1]) if line else 0) in (len(items), len(items) + 1)


def test_c5_a_file_that_is_gone_when_its_turn_comes_is_a_failed_item(tmp_path: Path) -> None:
    names = [str(written(tmp_path / name, b"1\n")) for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    items = iter(Source(names))
    assert next(items) == 1
    Path(names[1]).unlink()
    failed, one = items
    assert (failed.item, one) == (names[1], 1)
    assert "No such file" in str(failed.error)


def shown(items: list[Any]) -> list[Any]:
    return [(item.item, str(item.error)) if isinstance(item, FailedItem) else item for item in items]


@contextmanager
def files(inputs: list[tuple[str, bytes]]) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        yield [str(written(Path(folder, f"{number}.{suffix}"), data)) for number, (suffix, data) in enumerate(inputs)]


lines = st.lists(st.sampled_from([b"1", b"", b" ", b"{oops", b"\xff", b'{"a": "x"}', b"x,y", b'"x', b"[1,2]", b"\r"]))
rows = st.lists(st.fixed_dictionaries({"a": st.integers(0, 9), "b": st.text("xy", max_size=3)}), max_size=12)
streams = st.tuples(st.sampled_from(["jsonl", "txt", "csv", "json"]), lines.map(b"\n".join))
arrays = st.tuples(
    st.just("json"), st.lists(st.integers() | st.just("x")).map(lambda values: json.dumps(values).encode())
)
tables = st.tuples(st.just("parquet"), rows.map(parquet)) | st.tuples(
    st.just("sqlite"), rows.map(lambda found: sqlite(rows=found))
)
whole = streams | arrays | tables
packed = st.tuples(whole, st.sampled_from([*PACK.values()])).map(lambda both: (both[0][0], both[1](both[0][1])))
cut = st.tuples(whole | packed, st.integers(1, 20)).map(lambda both: (both[0][0], both[0][1][: -both[1]]))


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(whole | packed | cut, min_size=1, max_size=3),
    st.sampled_from([1, 3, 1 << 16]),
    st.sampled_from([1, 2, 1000]),
)
@example([("parquet", parquet([{"a": 1}] * 7)), ("jsonl", b"1\n\n2")], 1, 2)
def test_u4_reading_begins_behind_any_item_as_if_those_before_it_had_been_read(
    inputs: list[tuple[str, bytes]], block: int, batch: int
) -> None:
    """The same items at the same places, whatever the formats and whatever is broken in them."""
    blocks = patch("my_pipeline.readers.BLOCK", block), patch("my_pipeline.table_readers.ROWS", batch)
    with blocks[0], blocks[1], files(inputs) as names:
        source = Source(names, remember=1000)
        expected = shown(list(source))
        places = [source.where(index) for index in range(len(expected))]
        assert shown([place.item for place in places if place is not None]) == expected
        assert source.total() in (None, len(expected))
        lines = [place and place[:2] for place in places]
        for first in range(len(expected) + 1):
            later = Source(names, first=first, remember=1000)
            assert shown(list(later)) == expected[first:]
            found = [place and place[:2] for place in map(later.where, range(len(expected)))]
            assert found == [None] * first + lines[first:]
        with pytest.raises(ValueError, match="are to be skipped"):
            list(Source(names, first=len(expected) + 1))


MEMORY = """
import resource, sys
from my_pipeline.sources import Source

for number, item in enumerate(Source(sys.argv[1:]), 1):
    if number == 300_000:
        early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(number, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - early)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, ru_maxrss has another unit")
@pytest.mark.parametrize("name", ["x.parquet", "x.csv.zst", "x.json"])
def test_memory_stays_flat_over_a_million_rows(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "x.parquet":
        column = pyarrow.array([f"{number:040}" for number in range(1_000_000)])
        pyarrow.parquet.write_table(pyarrow.table({"a": column}), path, row_group_size=1_000_000)
    elif name == "x.csv.zst":  # Which has a millionth of its size.
        with zstd.open(path, "wt", newline="") as file:
            csv.writer(file).writerows([["a"], *[["x" * 40]] * 1_000_000])
    else:
        path.write_text(f"[{', '.join(['[40, 40, 40, 40, 40]'] * 1_000_000)}]")
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    count, grown = map(int, done.stdout.split())
    assert count == 1_000_000
    assert grown < 40 << 10  # KiB, of a hundred MiB that are read.
