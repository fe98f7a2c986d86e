"""Where items come from and where results go: JSON Lines, one JSON value a line."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from .pipeline_core import FailedItem


def read_json_lines(path: Path | None) -> Iterator[Any]:
    """The value of each line of a file, or of stdin; empty lines do not count. A line that is no JSON is a FailedItem.

    Raises OSError, at once, for a file that cannot be read.
    """
    return _parse(open(0, "rb", closefd=False) if path is None else path.open("rb"), str(path or "stdin"))


def _parse(file: BinaryIO, name: str) -> Iterator[Any]:
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                text = line.decode(errors="replace").rstrip("\r\n")
                item = FailedItem(text, ValueError(f"{name}, line {number}, is no JSON: {error}"))
            yield item


class JsonLinesSink:
    """Writes a line for each value, to a file or to stdout.

    A file is written as NAME.part, and gets its name when the `with` block ends without an error: what stands under
    NAME is complete, or as it was before. A device or a named pipe, as /dev/null is one, is written as it is.
    """

    def __init__(self, path: Path | None) -> None:
        """Raises OSError, at once, for a file that cannot be written."""
        self.path = path and path.resolve()
        self.part: Path | None = None
        if self.path is None:
            self._file = sys.stdout
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(encoding="utf-8", newline="\n")
            return
        if self.path.is_file() or not self.path.exists():
            self.part = self.path.with_name(f"{self.path.name}.part")
        self._file = (self.part or self.path).open("w", encoding="utf-8", newline="\n")

    def write(self, value: Any) -> None:
        """Raises TypeError or ValueError for a value that JSON cannot hold, and then writes nothing."""
        self._file.write(json.dumps(value, ensure_ascii=False) + "\n")
        if self.path is None:
            self._file.flush()

    def __enter__(self) -> "JsonLinesSink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path is not None:
            self._file.close()
            if self.part is not None and kind is None:
                self.part.replace(self.path)
