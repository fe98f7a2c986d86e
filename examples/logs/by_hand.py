"""The same by hand, in one loop: python by_hand.py access.log.gz rows.parquet|totals.parquet"""

import csv
import gzip
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from pyarrow.parquet import ParquetWriter

QUOTED = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
LINE = re.compile(rf'(\S+) \S+ \S+ \[([^\]]+)\] "([A-Z]+) (\S+) HTTP/[\d.]+" (\d{{3}}) (\d+|-) {QUOTED} {QUOTED}')
TEXTS = "host", "method", "path", "query"
TYPES = {"time": pa.timestamp("us", "UTC")} | dict.fromkeys(TEXTS, pa.string())
TYPES |= dict.fromkeys(("status", "bytes"), pa.int64()) | dict.fromkeys(("referer", "agent", "section"), pa.string())


@lru_cache(1024)
def moment(text: str) -> datetime:
    return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").astimezone(UTC)


def parsed(line: str) -> dict[str, Any]:
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError("is no line of the combined log format")
    host, time, method, target, status, size, referer, agent = match.groups()
    path, _, query = target.partition("?")
    return {
        "time": moment(time),
        "host": host,
        "method": method,
        "path": unquote(path) if "%" in path else path,
        "query": query,
        "status": int(status),
        "bytes": 0 if size == "-" else int(size),
        "referer": None if referer == "-" else referer,
        "agent": agent,
    }


def rows(log: str) -> Iterator[dict[str, Any]]:
    with open("pages.csv", encoding="utf-8", newline="") as table:
        sections = {row["page"]: row["section"] for row in csv.DictReader(table)}
    with gzip.open(log) as lines, open("by_hand.broken.txt", "w", encoding="utf-8") as broken:
        for number, line in enumerate(lines, start=1):
            try:
                row = parsed(line.decode().rstrip("\r\n"))
            except ValueError as error:
                broken.write(f"{number}: {error}\n")
            else:
                row["section"] = sections.get(row["path"], "none")
                yield row


def write_rows(log: str, target: str) -> None:
    schema = pa.schema(list(TYPES.items()))
    with ParquetWriter(target, schema) as writer:
        batch = []
        for row in rows(log):
            batch.append(row)
            if len(batch) == 100_000:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                batch = []
        writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))


def write_totals(log: str, target: str) -> None:
    totals: dict[tuple[str, int], list[int]] = {}
    for row in rows(log):
        total = totals.setdefault((row["section"], row["status"]), [0, 0])
        total[0] += 1
        total[1] += row["bytes"]
    names = "section", "status", "requests", "bytes"
    table = pa.Table.from_pylist([dict(zip(names, (*key, *sums), strict=True)) for key, sums in sorted(totals.items())])
    with ParquetWriter(target, table.schema) as writer:
        writer.write_table(table)


if __name__ == "__main__":
    write = write_totals if "totals" in sys.argv[2] else write_rows
    write(*sys.argv[1:])
