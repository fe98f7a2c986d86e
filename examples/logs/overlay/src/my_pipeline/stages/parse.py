"""Make a row of a line of the log."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from ..pipeline_core import BaseWorker

QUOTED = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
LINE = re.compile(rf'(\S+) \S+ \S+ \[([^\]]+)\] "([A-Z]+) (\S+) HTTP/[\d.]+" (\d{{3}}) (\d+|-) {QUOTED} {QUOTED}')


class ParseWorker(BaseWorker[str, dict[str, Any]]):
    """Takes lines of the combined log format, as Apache and nginx write it."""

    def process_item(self, item: str) -> dict[str, Any]:
        match = LINE.fullmatch(item)
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


@lru_cache(1024)  # Many lines have the same.
def moment(text: str) -> datetime:
    return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").astimezone(UTC)
