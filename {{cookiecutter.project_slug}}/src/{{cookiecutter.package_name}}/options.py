"""The options of the command, each said once."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .sources import Format

option = partial(typer.Option, show_envvar=False)  # Their names follow a rule, which the help tells once.


class OnError(StrEnum):
    stop = "stop"
    skip = "skip"


class LogFormat(StrEnum):
    text = "text"
    json = "json"


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Files, patterns like 'data/*.jsonl', or '-' for stdin, which it is without any. Names in .gz are unpacked.",
        show_default=False,
    ),
]
Form = Annotated[
    Format,
    option("--format", help="An item is a line's JSON value, a line of text, or the name of a file."),
]
Output = Annotated[
    Path | None,
    option("--output", "-o", metavar="FILE", help="Where results go, as JSON Lines; stdout, if not told."),
]
Workers = Annotated[
    list[str] | None,
    option("--workers", metavar="STAGE=N", help="Workers of a stage; may be told for several stages."),
]
QueueSize = Annotated[int | None, option(min=1, help="Items that may wait before each stage.")]
OnErrorOption = Annotated[
    OnError, option(help="An item that fails stops the run, or is skipped and becomes a dead letter.")
]
DeadLetters = Annotated[Path | None, option(metavar="FILE", help="Where skipped items go, as JSON Lines.")]
Limit = Annotated[int | None, option(min=0, help="Only so many items, the first ones.")]
Serial = Annotated[bool, option("--serial", help="One item after the other in one thread: for a debugger.")]
Report = Annotated[
    Path | None, option(metavar="FILE", help="Write the report to a file, too: a page (.html) or data (.json).")
]
TraceFile = Annotated[
    Path | None, option(metavar="FILE", help="Record what each worker did when, for ui.perfetto.dev (.json).")
]
Quiet = Annotated[bool, option("--quiet", "-q", help="No progress, and no report at the end.")]
Logs = Annotated[LogFormat, option(help="Logs as text, or a JSON object a line.")]
Debug = Annotated[bool, option("--debug", help="Show where an error came from, with the traceback.")]
