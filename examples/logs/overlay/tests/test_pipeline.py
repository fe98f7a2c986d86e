"""The whole flow: rows or totals of a few lines."""

from pathlib import Path

import pytest

from my_pipeline.pipeline import build_pipeline
from my_pipeline.settings import Settings

TEMPLATE = '10.0.0.1 - - [01/Jun/2025:00:00:00 +0000] "GET {} HTTP/1.1" 200 {} "-" "curl/8"'
LINES = [TEMPLATE.format(path, size) for path, size in (("/a", 1), ("/b?x=1", 20), ("broken one", 0), ("/a", 300))]


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "pages.csv").write_text("page,section\n/a,first\n")
    return tmp_path / "pages.csv"


@pytest.mark.parametrize("serial", [False, True])
def test_rows_keep_their_order_and_the_broken_line_is_kept_apart(pages: Path, serial: bool) -> None:
    pipeline = build_pipeline(Settings(pages=pages), on_error="skip")
    rows = list(pipeline.run(LINES, serial=serial))
    assert [(row["path"], row["section"]) for row in rows] == [("/a", "first"), ("/b", "none"), ("/a", "first")]
    assert [letter.item for letter in pipeline.report.dead_letters] == [LINES[2]]


def test_totals_come_when_all_lines_are_through(pages: Path) -> None:
    assert list(build_pipeline(Settings(pages=pages, totals=True), on_error="skip").run(LINES)) == [
        {"section": "first", "status": 200, "requests": 2, "bytes": 301},
        {"section": "none", "status": 200, "requests": 1, "bytes": 20},
    ]
