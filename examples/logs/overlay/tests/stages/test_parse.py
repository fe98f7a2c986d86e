"""The stage parse."""

from datetime import UTC, datetime
from typing import Any

import pytest

from my_pipeline.stages.parse import ParseWorker

LINE = r'10.0.0.1 - ann [01/Jun/2025:02:00:00 +0200] "GET /caf%C3%A9?q=1 HTTP/2.0" 200 512 "https://a/" "a \"b\" ☕"'
ROW = {
    "time": datetime(2025, 6, 1, tzinfo=UTC),
    "host": "10.0.0.1",
    "method": "GET",
    "path": "/café",
    "query": "q=1",
    "status": 200,
    "bytes": 512,
    "referer": "https://a/",
    "agent": r"a \"b\" ☕",
}


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("", "", {}),
        (" 512 ", " - ", {"bytes": 0}),
        ("https://a/", "-", {"referer": None}),
        ("?q=1", "", {"query": ""}),
        ("☕", "\u2028", {"agent": 'a \\"b\\" \u2028'}),
    ],
)
def test_a_line_becomes_a_row(old: str, new: str, changes: dict[str, Any]) -> None:
    assert ParseWorker().process_item(LINE.replace(old, new)) == ROW | changes


@pytest.mark.parametrize("line", ["", LINE[:90], LINE.replace("GET", r"\x16"), LINE.replace("Jun", "Foo"), LINE + " -"])
def test_another_line_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"is no line|does not match"):
        ParseWorker().process_item(line)
