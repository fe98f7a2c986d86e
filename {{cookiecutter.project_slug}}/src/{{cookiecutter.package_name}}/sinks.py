"""Where results and dead letters go: JSON Lines, one JSON value a line."""

import errno
import io
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .pipeline_core import DeadLetter


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
            if sys.stdout is None:
                raise OSError(errno.EBADF, "it is closed", "stdout")
            self._file = sys.stdout
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(encoding="utf-8", newline="\n")
            return
        if self.path.is_file() or not self.path.exists():
            self.part = self.path.with_name(f"{self.path.name}.part")
        self._file = (self.part or self.path).open("w", encoding="utf-8", newline="\n")

    def write(self, value: Any) -> None:
        """Raises TypeError or ValueError for a value that JSON cannot hold, and then writes nothing."""
        try:
            self._file.write(json.dumps(value, ensure_ascii=False) + "\n")
        except UnicodeEncodeError:  # Half a surrogate pair, which UTF-8 cannot hold and an escape can.
            self._file.write(json.dumps(value) + "\n")
        if self.path is None:
            self._file.flush()

    def discard(self) -> None:
        """Nothing was written, and nothing will be."""
        if self.path is not None:
            self._file.close()
        if self.part is not None:
            self.part.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path is not None:
            self._file.close()
            if self.part is not None and kind is None:
                self.part.replace(self.path)


def letter_as_json(letter: DeadLetter) -> dict[str, Any]:
    """What goes to a file of dead letters. An item that JSON cannot hold is there as its `repr` instead."""
    error = f"{type(letter.error).__name__}: {letter.error}"
    said = {"stage": letter.stage, "index": letter.index, "error": error, "attempts": letter.attempts}
    try:
        return said | {"item": json.loads(json.dumps(letter.item))}
    except (TypeError, ValueError, RecursionError):
        return said | {"repr": repr(letter.item)}
