"""Where results go: each format, marks and what is gone on with, and files of every kind (U2, U3, U4)."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import my_pipeline
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("my_pipeline.sinks", reason="this project has no command")

from my_pipeline.sinks import Outputs
from my_pipeline.writers import as_json

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKED: dict[str, Any] = {".gz": gzip, ".zst": zstd, ".xz": lzma, ".bz2": bz2}
UNPACKER: dict[str, Callable[[], Any]] = {
    ".gz": lambda: zlib.decompressobj(31),
    ".zst": zstd.ZstdDecompressor,
    ".xz": lzma.LZMADecompressor,
    ".bz2": bz2.BZ2Decompressor,
}
CHILD = [sys.executable, str(Path(__file__).with_name("child_that_writes.py"))]
COMMAND = [sys.executable, str(Path(__file__).with_name("command_that_hands_on.py"))]
PROJECT = Path(my_pipeline.__file__).parents[1]

Until = Callable[[Callable[[], object]], None]
posix = pytest.mark.skipif(sys.platform == "win32", reason="files and processes of POSIX")
parquet = pytest.mark.skipif(find_spec("pyarrow") is None, reason="Parquet needs pyarrow, an extra")
NAMES = [f"out{form}{ending}" for form in (".jsonl", ".json", ".csv") for ending in ("", *PACKED)]
TABLES = ["out.sqlite", pytest.param("out.parquet", marks=parquet)]
each_format = pytest.mark.parametrize("name", [*NAMES, *TABLES])
each_kind = pytest.mark.parametrize(
    "name", ["out.jsonl", "out.json", "out.jsonl.gz", "out.csv.zst", "out.json.xz", "out.csv.bz2", *TABLES]
)


def rows(count: int) -> list[dict[str, Any]]:
    """All cells are text, which each format gives back as it was."""
    return [{"id": str(number), 'é "name", odd': f"line\n{number}" * (number % 3)} for number in range(count)]


def read(path: Path) -> list[Any]:
    """What is in a complete file, by the reader that others have for it."""
    if path.suffix == ".parquet":
        from pyarrow.parquet import read_table

        found: list[Any] = read_table(path).to_pylist()
        return found
    if path.suffix == ".sqlite":
        return read_table_of(path)
    if path.suffix in PACKED:
        with PACKED[path.suffix].open(path) as file:
            return decoded(file.read(), path.with_suffix("").suffix)
    return decoded(path.read_bytes(), path.suffix)


def read_part(path: Path) -> list[Any]:
    """What is in NAME.part so far, whether its last piece is complete or not."""
    part = path.with_name(f"{path.name}.part")
    if path.suffix == ".sqlite":
        with suppress(sqlite3.OperationalError):  # There is no table yet.
            return read_table_of(part)
        return []
    data, form = part.read_bytes(), path.suffix
    if form == ".parquet":
        return read_arrow(data)
    if form in PACKED:
        packed, data, form = data, b"", path.with_suffix("").suffix
        while packed:
            unpacker = UNPACKER[path.suffix]()
            data += unpacker.decompress(packed)
            packed = unpacker.unused_data
    return decoded(data + b"\n]" if form == ".json" and data else data, form) if data else []


def read_table_of(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        return list(map(dict, database.execute("SELECT * FROM results")))


def read_arrow(data: bytes) -> list[Any]:
    import pyarrow as pa

    found: list[Any] = []
    file = pa.BufferReader(data)
    while file.tell() < len(data):
        for batch in pa.ipc.open_stream(file):
            found += batch.to_pylist()
    return found


def decoded(data: bytes, form: str) -> list[Any]:
    text = data.decode("utf-8", "surrogatepass")
    if form == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    values: list[Any] = json.loads(text) if form == ".json" else list(map(json.loads, text.split("\n")[:-1]))
    return values


def write(path: Path, values: list[Any], **where: Any) -> Path:
    with Outputs() as outputs:
        output = outputs.add(path, **where)
        for value in values:
            output.write(value)
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def child(path: Path, *more: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that has opened an output, and writes to it what it reads. It is killed at the end."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*CHILD, str(path), *more], text=True, bufsize=1, env=environment, **pipes) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "open\n"
        try:
            yield running
        finally:
            running.kill()
            running.wait()


# Formats


@each_format
def test_a_value_that_is_only_checked_changes_nothing_of_what_is_written(name: str, tmp_path: Path) -> None:
    with Outputs() as outputs:
        output = outputs.add(tmp_path / name)
        for row in rows(3):
            output.check(row)
        for row in rows(3):
            output.write(row)
    assert read(tmp_path / name) == rows(3)


@pytest.mark.parametrize("text", ["a\rb", "\r", "a\r\n", "\n"])
def test_u2_a_cell_of_csv_keeps_its_ends_of_lines(text: str, tmp_path: Path) -> None:
    assert read(write(tmp_path / "out.csv", [{"a": text, "b": ""}])) == [{"a": text, "b": ""}]
    assert (tmp_path / "out.csv").read_bytes().startswith(b"a,b\n")


@each_format
@pytest.mark.parametrize("count", [1, 1000])
def test_u2_what_is_written_is_what_others_read_by_the_name(name: str, count: int, tmp_path: Path) -> None:
    assert read(write(tmp_path / name, rows(count))) == rows(count)
    assert files(tmp_path) == [name]


@each_format
def test_a_file_without_results_is_one_of_its_format(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, [])
    assert path.suffix == ".sqlite" or read(path) == []
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("SELECT * FROM sqlite_schema").fetchall() == []


@pytest.mark.parametrize("name", ["out", "out.txt", "OUT.JSONL", "out.json.txt", "json"])
def test_a_name_that_says_nothing_else_is_of_json_lines(name: str, tmp_path: Path) -> None:
    assert write(tmp_path / name, [1, "é"]).read_text(encoding="utf-8") == '1\n"é"\n'


def test_values_are_written_as_json_dumps_writes_them_and_json_has_no_nan() -> None:
    values = ["é\n", 1.5, 1e300, -0.0, None, True, [], {}, {1: 2, None: 3, "é": ["\x00", '"']}, (1, 2), 10**40]
    assert [as_json(value) for value in values] == [json.dumps(value, ensure_ascii=False) for value in values]
    circle: list[object] = []
    circle.append(circle)
    for value in ({1, 2}, {(1, 2): 3}, circle, float("nan"), {"a": [float("inf")]}, {float("-inf"): 1}):
        with pytest.raises((TypeError, ValueError)):
            as_json(value)
    assert as_json([1]) == "[1]"  # What failed before leaves nothing behind.


HALF = "\ud800"  # Of a surrogate pair.


def test_json_can_hold_half_a_surrogate_pair(tmp_path: Path) -> None:
    assert json.loads(write(tmp_path / "out.jsonl", [HALF]).read_text(encoding="utf-8")) == HALF


@pytest.mark.parametrize(
    ("name", "first", "value", "problem"),
    [
        *[(name, {"a": 1}, {"a": 1, "b": 2}, "column 'b' is not in") for name in ("o.csv", "o.sqlite", "o.parquet")],
        *[(name, {"a": 1, "b": 2}, {"a": 1}, "column 'b' is missing") for name in ("o.csv", "o.sqlite", "o.parquet")],
        *[(name, {"a": 1}, [1], "is a dict, not list") for name in ("o.csv", "o.sqlite", "o.parquet")],
        *[(name, {"a": "x"}, {"a": HALF}, "column 'a'") for name in ("o.csv", "o.sqlite", "o.parquet")],
        *[(name, None, {1: 2}, "column 1") for name in ("o.csv", "o.sqlite", "o.parquet")],
        *[(name, None, {}, "at least one column") for name in ("o.csv", "o.sqlite", "o.parquet")],
        *[("o.csv", {"a": 1}, {"a": nested}, "column 'a': CSV has no ") for nested in ([], {}, (), {1}, b"", object())],
        ("o.sqlite", {"a": 1}, {"a": 1 << 63}, "column 'a': 9223372036854775808 has more than 64 bits"),
        ("o.sqlite", {"a": 1}, {"a": float("nan")}, "column 'a': SQLite has no NaN"),
        ("o.sqlite", {"a": 1}, {"a": [{1}]}, "column 'a': .*set is not JSON"),
        ("o.sqlite", None, {"a": 1, "A": 2}, "duplicate column name"),
        ("o.sqlite", None, {"_ROWID_": 1}, "column '_rowid_'"),
        ("o.parquet", {"a": 1}, {"a": "x"}, "column 'a': string does not fit int64"),
        ("o.parquet", {"a": 1}, {"a": 1.5}, "column 'a': double does not fit int64"),
        ("o.parquet", {"a": 1.5}, {"a": (1 << 53) + 1}, "column 'a': "),
        ("o.parquet", {"a": 1}, {"a": 1 << 63}, "column 'a': "),
        ("o.parquet", {"a": [1]}, {"a": ["x"]}, "column 'a': string does not fit int64"),
        ("o.parquet", {"a": 1}, {"a": object()}, "column 'a': "),
        ("o.parquet", None, {"a": {}}, "column 'a': Parquet has no dict without keys"),
        ("o.parquet", None, {"a": {1: 2}}, "column 'a': "),
    ],
)
def test_u2_what_a_table_cannot_hold_is_refused_with_its_column_and_the_rest_is_written(
    name: str, first: Any, value: Any, problem: str, tmp_path: Path
) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, an extra")
    good = [first] * 2 if first else [{"a": "x"}]
    with Outputs() as outputs:
        output = outputs.add(tmp_path / name)
        for one in good[1:]:
            output.write(one)
        with pytest.raises((TypeError, ValueError), match=problem) as refused:
            output.write(value)
        assert "\n" not in str(refused.value)
        output.write(good[0])
    found = read(tmp_path / name)
    assert found == ([{name: str(cell) for name, cell in one.items()} for one in good] if "csv" in name else good)


def test_sqlite_holds_lists_and_dicts_as_json_and_other_values_as_they_are(tmp_path: Path) -> None:
    row = {"select": 1, 'quoted "': -1.5, "text": "a\x00b", "none": None, "bytes": b"\x00", "nested": {"é": [1, None]}}
    assert read(write(tmp_path / "out.sqlite", [row])) == [row | {"nested": '{"é": [1, null]}'}]


@parquet
def test_parquet_gets_a_type_from_the_first_value_that_tells_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    values = [
        {"a": None, "list": [], "dict": {"x": None}, "float": 1.5},
        {"a": "x", "list": [[]], "dict": {"y": 1}, "float": 2},
        {"a": None, "list": [[1]], "dict": {"x": [True]}, "float": None},
    ]
    expected = [
        {"a": None, "list": [], "dict": {"x": None, "y": None}, "float": 1.5},
        {"a": "x", "list": [[]], "dict": {"x": None, "y": 1}, "float": 2.0},
        {"a": None, "list": [[1]], "dict": {"x": [True], "y": None}, "float": None},
    ]
    path = tmp_path / "out.parquet"
    assert read(write(path, values)) == expected
    monkeypatch.setattr("my_pipeline.table_writers.Parquet.period", 0.001)  # Seconds: each value is a batch.
    with Outputs() as outputs:
        output = outputs.add(path)
        for number, value in enumerate(values, 1):
            output.write(value)
            until(lambda: len(read_part(path)) == number)  # noqa: B023
    assert read(path) == expected
    positions: list[list[int]] = []
    with suppress(KeyError), Outputs() as outputs:
        output = outputs.add(path)
        for value in values[:2]:
            output.write(value)
            outputs.mark(positions.append)
        raise KeyError
    write(path, values[1:], position=positions[0][0])
    assert read(path) == expected


@parquet
def test_parquet_holds_moments_dates_and_decimals(tmp_path: Path) -> None:
    noon, day = datetime(2025, 6, 1, 12, tzinfo=UTC), date(2025, 6, 1)
    values: list[dict[str, object]] = [
        {"at": noon, "naive": datetime(2025, 6, 1), "day": None, "price": Decimal("9.99")},
        {"at": None, "naive": datetime(2025, 6, 2), "day": day, "price": Decimal("-1000.5")},
        {"at": noon + timedelta(microseconds=1), "naive": None, "day": day, "price": Decimal("0.125")},
    ]
    with Outputs() as outputs:
        output = outputs.add(tmp_path / "out.parquet")
        for value in values:
            output.write(value)
        for name, cell in ("at", datetime(2025, 6, 1)), ("naive", noon), ("day", noon), ("price", Decimal(10) ** 40):
            with pytest.raises(ValueError, match=f"column '{name}': "):
                output.write(values[0] | {name: cell})
    assert read(tmp_path / "out.parquet") == values


@parquet
def test_a_row_that_is_changed_after_it_was_written_is_written_as_it_was(tmp_path: Path) -> None:
    row: dict[str, Any] = {"list": [1], "number": 1}
    with Outputs() as outputs:
        output = outputs.add(tmp_path / "out.parquet")
        for number in range(1, 4):
            output.write(row)
            row["number"] = number + 1
            row["list"].append(number)
    assert [(len(found["list"]), found["number"]) for found in read(tmp_path / "out.parquet")] == [
        (1, 1),
        (2, 2),
        (3, 3),
    ]


@pytest.mark.parametrize("name", ["out.parquet.gz", "out.sqlite.zst", "out.db.xz"])
def test_a_table_is_not_compressed_as_a_whole(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave out"), Outputs() as outputs:
        outputs.add(tmp_path / name)
    assert files(tmp_path) == []


def test_a_database_with_other_tables_is_not_replaced_and_one_with_results_is(tmp_path: Path) -> None:
    path = tmp_path / "out.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE users (name)")
    with pytest.raises(ValueError, match="would be replaced, and holds users"), Outputs() as outputs:
        outputs.add(path)
    assert files(tmp_path) == ["out.sqlite"]
    path.unlink()
    write(path, rows(1))
    assert read(write(path, rows(2))) == rows(2)


# Marks, and what is gone on with


@given(seed=st.integers(0, 1 << 32), count=st.integers(0, 60), kept=st.integers(0, 60))
@settings(max_examples=15, deadline=None)
@each_format
def test_u4_two_runs_give_what_one_gives_wherever_the_second_goes_on(
    name: str, seed: int, count: int, kept: int
) -> None:
    chance, values = random.Random(seed), rows(count)
    marks: list[tuple[int, int]] = [(0, 0)]

    def reached(number: int, positions: list[int]) -> None:
        marks.append((number, positions[0]))

    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        with suppress(KeyError), Outputs() as outputs:
            output = outputs.add(path)
            for number, value in enumerate(values[:kept], 1):
                output.write(value)
                if chance.random() < 0.3:
                    outputs.mark(partial(reached, number))
            raise KeyError
        number, position = chance.choice(marks)
        write(path, values[number:], position=position)
        assert files(path.parent) == [name]
        if count or path.suffix != ".sqlite":
            assert read(path) == values


@pytest.mark.parametrize("name", [name for name in NAMES if Path(name).suffix not in PACKED])
def test_u4_the_file_of_two_runs_is_that_of_one_byte_by_byte(name: str, tmp_path: Path) -> None:
    positions: list[list[int]] = []
    with suppress(KeyError), Outputs() as outputs:
        output = outputs.add(tmp_path / name)
        for value in rows(5):
            output.write(value)
        outputs.mark(positions.append)
        output.write(rows(6)[5])
        raise KeyError
    write(tmp_path / name, rows(9)[5:], position=positions[0][0])
    assert (tmp_path / name).read_bytes() == write(tmp_path / f"whole{name}", rows(9)).read_bytes()


def test_u4_a_mark_is_reached_when_all_before_it_is_in_the_files_and_nothing_behind_it_counts(tmp_path: Path) -> None:
    results, dead = tmp_path / "results.jsonl", tmp_path / "dead.jsonl"
    seen: list[tuple[int, int, bytes]] = []
    over = threading.Event()

    def reached(number: int, positions: list[int]) -> None:
        assert threading.current_thread().name == "sink"
        seen.append((number, positions[0], (tmp_path / "results.jsonl.part").read_bytes()))
        assert (tmp_path / "dead.jsonl.part").stat().st_size >= positions[1]

    with Outputs() as outputs:
        output, letters = outputs.add(results), outputs.add(dead)

        def write_letters() -> None:
            while not over.is_set():
                letters.write("letter")

        other = threading.Thread(target=write_letters)
        other.start()
        for number in range(1, 2001):
            output.write(number)
            if number % 10 == 0:
                outputs.mark(partial(reached, number))
        over.set()
        other.join()
    assert len(seen) == 200
    for number, position, written in seen:
        expected = b"".join(b"%d\n" % each for each in range(1, number + 1))
        assert (position, written[:position]) == (len(expected), expected)


def test_u4_what_a_callback_of_a_mark_raises_is_the_error_of_the_run(tmp_path: Path) -> None:
    told = threading.Event()

    def reached(positions: list[int]) -> None:
        raise OSError(28, "No space left on device", "out.checkpoint")

    with pytest.raises(OSError, match=r"No space left on device: 'out\.checkpoint'"), Outputs() as outputs:  # noqa: PT012
        outputs.on_error = told.set
        outputs.add(tmp_path / "out").write(1)
        outputs.mark(reached)
        assert told.wait(20)
    assert files(tmp_path) == ["out.part"]


@each_format
def test_u3_what_is_left_of_a_run_is_refused_untouched_until_it_may_be_emptied(name: str, tmp_path: Path) -> None:
    path, part = tmp_path / name, tmp_path / f"{name}.part"
    with suppress(KeyError), Outputs() as outputs:
        output = outputs.add(path)
        for value in rows(3):
            output.write(value)
        raise KeyError
    before = part.read_bytes()
    with pytest.raises(ValueError, match="--resume goes on with it, --overwrite begins anew"), Outputs() as outputs:
        outputs.add(path)
    with pytest.raises(ValueError, match="and had 99,999"), Outputs() as outputs:
        outputs.add(path, position=99_999)
    assert (files(tmp_path), part.read_bytes()) == ([part.name], before)
    assert read(write(path, rows(2), overwrite=True)) == rows(2)
    assert files(tmp_path) == [name]


@pytest.mark.parametrize("name", ["out.jsonl", "out.sqlite"])
def test_u4_a_position_of_a_file_that_is_not_there_is_refused_but_for_the_first(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="and had 1"), Outputs() as outputs:
        outputs.add(tmp_path / name, position=1)
    assert files(tmp_path) == []
    assert read(write(tmp_path / name, rows(1), position=0)) == rows(1)


# What is there, and when


@posix
@each_kind
def test_u3_what_was_written_is_in_the_file_while_the_next_is_waited_for_and_after_sigkill(
    name: str, tmp_path: Path, until: Until
) -> None:
    path, values = tmp_path / name, rows(3)
    with child(path) as running:
        assert running.stdin is not None
        for number, value in enumerate(values, 1):
            running.stdin.write(f"{json.dumps(value)}\n")
            until(lambda: read_part(path) == values[:number])  # noqa: B023
    assert read_part(path) == values


def test_u3_under_load_all_values_are_written_whole_and_in_order(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("my_pipeline.sinks.MOST", 1000)  # So that there is no room now and then.
    path = write(tmp_path / "out.jsonl", list(range(20_000)))
    assert path.read_text().split() == [str(number) for number in range(20_000)]


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full, which Linux has")
def test_u3_what_cannot_be_written_is_said_at_once_and_raised_and_other_outputs_get_theirs(tmp_path: Path) -> None:
    told = threading.Event()
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"), Outputs() as outputs:  # noqa: PT012
        outputs.on_error = told.set
        output, letters = outputs.add(Path("/dev/full")), outputs.add(tmp_path / "dead")
        letters.write(1)
        output.write(1)
        assert told.wait(20)
        for one in (output, letters):
            with pytest.raises(OSError, match="No space left"):
                one.write(2)
    assert (tmp_path / "dead.part").read_text() == "1\n"


@posix
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv.xz", *TABLES])
def test_u3_a_file_that_may_not_grow_is_one_error_and_keeps_what_it_had(name: str, tmp_path: Path) -> None:
    import resource

    marked, limits = threading.Event(), resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = [{"id": random.Random(number).randbytes(3000).hex()} for number in range(20)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"out\."), Outputs() as outputs:  # noqa: PT012
            output = outputs.add(tmp_path / name)
            output.write(noise[0])
            outputs.mark(lambda _: marked.set())
            assert marked.wait(20)
            for value in noise[1:]:
                output.write(value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{name}.part" in files(tmp_path)
    assert name not in files(tmp_path)


# One run at a time


@posix
@each_kind
def test_u3_one_run_at_a_time_writes_a_name_and_a_killed_one_is_in_nobodys_way(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with child(path, "fork") as running:
        for where in ({}, {"overwrite": True}, {"position": 0}):
            with pytest.raises(BlockingIOError, match="another run is writing it"), Outputs() as outputs:
                outputs.add(path, **where)
        assert files(tmp_path) == [f"{name}.part"]
        running.kill()
        running.wait()
        assert read(write(path, rows(1))) == rows(1)
    assert files(tmp_path) == [name]


def test_u3_outputs_of_one_run_have_files_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="another run is writing it"), Outputs() as outputs:  # noqa: PT012
        outputs.add(tmp_path / "out")
        outputs.add(tmp_path / "out")
    assert files(tmp_path) == []


# Files of every kind


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_u2_mode_and_owner_of_what_was_there_are_kept(mode: int, tmp_path: Path) -> None:
    path, part = tmp_path / "out", tmp_path / "out.part"
    path.touch()
    if os.geteuid() == 0:
        os.chown(path, 4321, 4322)
    path.chmod(mode)
    before = path.stat()
    with Outputs() as outputs:
        outputs.add(path).write(1)
        assert stat.S_IMODE(part.stat().st_mode) == mode
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert path.read_text() == "1\n"


@posix
@pytest.mark.parametrize("name", ["out", pytest.param("out.parquet", marks=parquet)])
def test_u2_a_new_file_has_the_mode_that_others_have(name: str, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert write(tmp_path / name, rows(1)).stat().st_mode == (tmp_path / "other").stat().st_mode


@posix
def test_u2_the_target_of_a_link_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link, target = tmp_path / "link", tmp_path / "folder" / "target"
    link.symlink_to(target)
    for value in (1, 2):
        write(link, [value])
        assert (link.is_symlink(), target.read_text()) == (True, f"{value}\n")
    assert files(tmp_path / "folder") == ["target"]


@posix
def test_u2_a_named_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl.gz"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        write(pipe, [1, 2])
        assert gzip.decompress(reader.stdout.read()) == b"1\n2\n"
    assert files(tmp_path) == ["pipe.jsonl.gz"]
    with pytest.raises(ValueError, match="cannot be continued"), Outputs() as outputs:
        outputs.add(Path("/dev/null"), position=0)


@posix
@pytest.mark.parametrize("name", TABLES)
def test_u2_a_table_needs_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("/dev/null")
    with pytest.raises(ValueError, match="it is no file"), Outputs() as outputs:
        outputs.add(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [(".", "is a folder: name a file in it"), ("missing/out", "there is no folder"), ("n" * 253, "name too long")],
)
def test_u2_a_path_that_will_not_do_is_refused_before_the_run(name: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError), match=f"(?i){problem}"), Outputs() as outputs:
        outputs.add(tmp_path / name)
    assert files(tmp_path) == []


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="the superuser may write everything")
def test_u2_a_file_that_may_not_be_written_is_refused_though_its_folder_may(tmp_path: Path) -> None:
    (tmp_path / "out").touch(0o444)
    with pytest.raises(PermissionError), Outputs() as outputs:
        outputs.add(tmp_path / "out")
    assert files(tmp_path) == ["out"]


@posix
@pytest.mark.parametrize(
    ("line", "out"),
    [
        ('"$@" -o /dev/stdout | cat > out', "1\n2\n"),
        ('echo 0 > out; "$@" -o /dev/stdout >> out', "0\n1\n2\n"),
        ('echo 0 > out; "$@" -o /dev/fd/3 3>> out', "0\n1\n2\n"),
        ('"$@" -o - > out', "1\n2\n"),
        ('"$@" -o >(cat > pipe; mv pipe out) | cat; while [ ! -e out ]; do sleep 0.01; done', "1\n2\n"),
        ('"$@" --dead-letters /dev/stdout -o out', "1\n2\n"),
        ('ln -s /dev/null null; "$@" -o null; test -h null && echo is a link > out', "is a link\n"),
    ],
)
def test_u2_a_shell_gets_what_it_asks_for(line: str, out: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1\n2\n")
    script = ["bash", "-c", line, "bash", *COMMAND, "run", "-q", "in"]
    done = subprocess.run(
        script, capture_output=True, text=True, cwd=tmp_path, timeout=60, env=os.environ | {"PYTHONPATH": str(PROJECT)}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "out").read_text() == out
    assert set(files(tmp_path)) <= {"in", "out", "null"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-o", "new/"], "new/ is a folder: name a file in it"),
        (["--dead-letters", "new/"], "new/ is a folder: name a file in it"),
        (["-o", "s3://bucket/out"], "cannot write to s3://bucket/out: write a file, and copy it"),
        (["--dead-letters", "dead.csv"], "dead letters are JSON Lines: give dead.csv the ending .jsonl"),
        (["-o", "out.parquet.gz"], "out.parquet.gz: parquet is not compressed as a whole: leave out .gz"),
    ],
)
def test_bad_usage_of_an_output_is_one_line(arguments: list[str], problem: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command: Any = {"input": "1\n", "capture_output": True, "text": True, "cwd": tmp_path, "env": environment}
    done = subprocess.run([*COMMAND, "run", *arguments], timeout=60, **command)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {problem}\n")
    assert files(tmp_path) == []
