"""Files of records in every format that the command reads and writes, made and read without the project's own code."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Row = dict[str, Any]
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": partial(gzip.compress, mtime=0),
    ".zst": zstd.compress,
    ".xz": lzma.compress,
    ".bz2": partial(bz2.compress, compresslevel=1),  # Its blocks are the shortest.
}
BROKEN_OFF = (ValueError, EOFError, OSError, lzma.LZMAError, zstd.ZstdError, sqlite3.Error, pyarrow.ArrowInvalid)
UNPACK: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".zst": zstd.open, ".xz": lzma.open, ".bz2": bz2.open}


def write(path: Path, rows: list[Row]) -> Path:
    """The rows, in the format and the compression that the name says."""
    suffixes = path.suffixes
    form = next(suffix for suffix in reversed(suffixes) if suffix not in PACK)
    if form == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=max(1, len(rows) // 3))
        return path
    if form == ".sqlite":
        _write_table(path, rows)
        return path
    text = io.StringIO()
    if form == ".csv":
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    elif form == ".json":
        json.dump(rows, text)
    else:
        text.writelines(json.dumps(row) + "\n" for row in rows)
    data = text.getvalue().encode()
    path.write_bytes(PACK[path.suffix](data) if path.suffix in PACK else data)
    return path


def read(path: Path, name: str = "") -> list[Row]:
    """The rows of a complete file, every value as its text, as CSV has no other. `name`: whose format it has."""
    return [{key: str(value) for key, value in row.items()} for row in _read(path, Path(name or path.name))]


def read_part(path: Path, name: str) -> list[Row]:
    """The rows that can be read of a file that a process was writing when it was killed. `name`: the file's in the end."""
    rows: list[Row] = []
    with suppress(*BROKEN_OFF):  # The last record is not whole.
        for row in _read_part(path, Path(name)):
            rows.append({key: str(value) for key, value in row.items()})
    return rows


def _read(path: Path, name: Path) -> Iterable[Row]:
    if name.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()  # type: ignore[no-any-return]
    if name.suffix == ".sqlite":
        return _read_table(path)
    with UNPACK.get(name.suffix, open)(path, "rt", encoding="utf-8", newline="") as file:
        if ".json" in name.suffixes:
            return json.load(file)  # type: ignore[no-any-return]
        return list(csv.DictReader(file)) if ".csv" in name.suffixes else [json.loads(line) for line in file]


def _read_part(path: Path, name: Path) -> Iterable[Row]:
    if name.suffix == ".parquet":  # While it grows, it is a stream of Arrow batches.
        with path.open("rb") as stream:
            for batch in pyarrow.ipc.open_stream(stream):
                yield from batch.to_pylist()
    elif name.suffix == ".sqlite":
        yield from _read_table(path)
    elif ".csv" in name.suffixes:
        yield from csv.DictReader(io.StringIO(_whole_lines(path, name)))
    else:
        text, place = _whole_lines(path, name), 0
        while found := re.compile(r"[\s,\[]*(?=\{)").match(text, place):
            row, place = json.JSONDecoder().raw_decode(text, found.end())
            yield row


def _whole_lines(path: Path, name: Path) -> str:
    data = b""
    with UNPACK.get(name.suffix, open)(path, "rb") as file, suppress(*BROKEN_OFF):
        while block := file.read1():
            data += block
    return data[: data.rfind(b"}" if ".json" in name.suffixes else b"\n") + 1].decode()


def _write_table(path: Path, rows: list[Row]) -> None:
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE records ({', '.join(rows[0])})")
        marks = ", ".join("?" * len(rows[0]))
        database.executemany(f"INSERT INTO records VALUES ({marks})", [tuple(row.values()) for row in rows])
    database.close()


def _read_table(path: Path) -> list[Row]:
    database = sqlite3.connect(path)
    database.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in database.execute("SELECT * FROM results ORDER BY rowid")]
    finally:
        database.close()
