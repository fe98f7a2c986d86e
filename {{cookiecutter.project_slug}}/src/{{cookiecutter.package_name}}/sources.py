"""Where items come from: lines of JSON or of text, or files by their names."""

import errno
import glob
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, cast

from .pipeline_core import FailedItem

STDIN = "-"
COUNTED = 100_000_000  # Bytes of input whose lines are counted before they are read, so that the time left is known.


class Format(StrEnum):
    jsonl = "jsonl"
    text = "text"
    files = "files"


class Source:
    """The items of all inputs, one input after the other: an iterable, for one run.

    `inputs` are names of files, patterns as a shell knows them (`data/*.jsonl`, `**` too), or "-" for stdin; in the
    format `files` folders, too, for all files in them. Files whose names end with .gz are unpacked as they are read.

    jsonl   the value of each line that is not empty; a line that is no JSON is a FailedItem
    text    each line, without its end
    files   the name of each file
    """

    def __init__(self, inputs: Sequence[str], form: Format = Format.jsonl) -> None:
        """Raises OSError for a file that cannot be read, and ValueError for what fits no file."""
        self.form = form
        self.names = [name for given in inputs or [STDIN] for name in _names(given, form)]
        if STDIN in self.names and form is not Format.files and sys.stdin is None:
            raise OSError(errno.EBADF, "it is closed", "stdin")
        for path in map(Path, self.names):
            if form is not Format.files and not path.is_fifo() and str(path) != STDIN:
                path.open("rb").close()

    @property
    def interactive(self) -> bool:
        """Whether somebody has to type the items."""
        return STDIN in self.names and sys.stdin is not None and sys.stdin.isatty()

    def total(self) -> int | None:
        """How many items there will be, if that can be found out without much ado."""
        if self.form is Format.files:
            return len(self.names)
        paths = [Path(name) for name in self.names]
        if any(path.suffix == ".gz" or not path.is_file() for path in paths):
            return None
        if sum(path.stat().st_size for path in paths) > COUNTED:
            return None
        counted = 0
        for path in paths:
            with path.open("rb") as file:
                counted += sum(1 for line in file if self.form is Format.text or line.strip())
        return counted

    def __iter__(self) -> Iterator[Any]:
        if self.form is Format.files:
            yield from self.names
            return
        read: Callable[[bytes, str], Any] = _json if self.form is Format.jsonl else _text
        for name in self.names:
            with _open(name) as file:
                for number, line in _lines(file, name):
                    if self.form is Format.text or line.strip():
                        yield read(line, f"{_said(name)}, line {number}")


def read_dead_letters(path: Path, stages: Sequence[str]) -> tuple[dict[str, list[Any]], list[dict[str, Any]]]:
    """The items of a file of dead letters by the stage that is to have them, in the stages' order; and the letters that
    hold no item, only its text. What a source could not read is read again.

    Raises OSError for a file that cannot be read, and ValueError for what is no dead letter of these stages.
    """
    groups: dict[str, list[Any]] = {stage: [] for stage in ("source", *stages)}
    lost = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        where = f"{path}, line {number}"
        try:
            letter = json.loads(line)
            group = groups[letter["stage"]]
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{where}, is no dead letter of the stages {', '.join(stages)}") from None
        if "item" not in letter:
            lost.append(letter)
        elif letter["stage"] == "source":
            group.append(_json(str(letter["item"]).encode(), where))
        else:
            group.append(letter["item"])
    return {stage: items for stage, items in groups.items() if items}, lost


def _names(given: str, form: Format) -> list[str]:
    """The files that one input stands for. What looks like a pattern and is a file, is that file."""
    path = Path(given)
    if given == STDIN and form is not Format.files:
        return [given]
    if form is Format.files and path.is_dir():
        return [str(file) for file in sorted(path.rglob("*")) if file.is_file()]
    if path.exists() or not glob.has_magic(given):
        if form is Format.files:
            path.stat()  # Raises for one that is not there.
        return [given]
    found = sorted(name for name in glob.glob(given, recursive=True) if Path(name).is_file())
    if not found:
        raise ValueError(f"no file fits {given}")
    return found


def _open(name: str) -> BinaryIO:
    if name == STDIN:
        return open(0, "rb", closefd=False)
    return cast(BinaryIO, gzip.open(name)) if name.endswith(".gz") else Path(name).open("rb")


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        for number, line in enumerate(file, start=1):
            yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{name} cannot be unpacked after line {number}: {error}") from error


def _json(line: bytes, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        text = line.decode(errors="replace").rstrip("\r\n")
        return FailedItem(text, ValueError(f"{where}, is no JSON: {error}"))


def _text(line: bytes, where: str) -> Any:
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        return FailedItem(line.decode(errors="replace").rstrip("\r\n"), ValueError(f"{where}, is no UTF-8: {error}"))


def _said(name: str) -> str:
    return "stdin" if name == STDIN else name
