"""The same in polars: python in_polars.py access.log.gz rows.parquet|totals.parquet"""

import sys
from urllib.parse import unquote

import polars as pl

QUOTED = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
LINE = rf'^(\S+) \S+ \S+ \[([^\]]+)\] "([A-Z]+) (\S+) HTTP/[\d.]+" (\d{{3}}) (\d+|-) {QUOTED} {QUOTED}$'
HOST, TIME, METHOD, TARGET, STATUS, SIZE, REFERER, AGENT = (pl.col("parts").struct[number] for number in range(8))


def rows(log: str) -> pl.DataFrame:
    # Each line as the only column of a table: scan_lines() refuses the whole file for one line that is no UTF-8.
    lines = pl.scan_csv(
        log, has_header=False, separator="\1", quote_char=None, encoding="utf8-lossy", new_columns=["line"]
    )
    good = ~pl.col("line").str.contains("\ufffd", literal=True)
    target = TARGET.str.splitn("?", 2)
    found = (
        lines.filter(good)
        .select(parts=pl.col("line").str.extract_groups(LINE))
        .select(
            time=TIME.str.strptime(pl.Datetime("us", "UTC"), "%d/%b/%Y:%H:%M:%S %z", strict=False),
            host=HOST,
            method=METHOD,
            path=target.struct[0],
            query=target.struct[1].fill_null(""),
            status=STATUS.cast(pl.Int64),
            bytes=SIZE.replace("-", "0").cast(pl.Int64),
            referer=REFERER.replace("-", None),
            agent=AGENT,
        )
        .filter(pl.col("time").is_not_null())
        .collect()
    )
    quoted = found["path"].filter(found["path"].str.contains("%", literal=True)).unique()
    pages = pl.read_csv("pages.csv").rename({"page": "path"})
    return (
        found.with_columns(pl.col("path").replace({path: unquote(path) for path in quoted}))
        .join(pages, on="path", how="left", maintain_order="left")
        .with_columns(pl.col("section").fill_null("none"))
    )


if __name__ == "__main__":
    log, target = sys.argv[1:]
    found = rows(log)
    if "totals" in target:
        sums = pl.len().cast(pl.Int64).alias("requests"), pl.col("bytes").sum()
        found = found.group_by("section", "status").agg(*sums).sort("section", "status")
    found.write_parquet(target)
