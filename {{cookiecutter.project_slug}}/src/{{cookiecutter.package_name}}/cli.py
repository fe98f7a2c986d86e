"""The command {{ cookiecutter.project_slug }}."""

import contextlib
import json
import logging
import os
import signal
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .pipeline import build_pipeline
from .pipeline_core import DeadLetter, PipelineError, PipelineReport
from .sources_and_sinks import JsonLinesSink, read_json_lines

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)  # stdout carries data only.


class OnError(StrEnum):
    stop = "stop"
    skip = "skip"


@app.callback()
def describe() -> None:
    """Run the pipeline over your items, or draw it."""


@app.command()
def run(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="INPUT", help="A file of JSON Lines; stdin, if there is none or it is '-'."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where results go, as JSON Lines; stdout, if not told."),
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="An item that fails stops the run, or is skipped and becomes a dead letter.")
    ] = OnError.stop,
    dead_letters: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where skipped items go, as JSON Lines.")
    ] = None,
    serial: Annotated[
        bool, typer.Option("--serial", help="One item after the other in one thread: for a debugger.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No report at the end.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from, with the traceback.")] = False,
) -> None:
    """Run the pipeline over the INPUT.

    Exit codes: 0 all well; 1 the run stopped on an error, or items failed; 2 bad usage; 130 Ctrl-C, 143 SIGTERM.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s")
    source, output = (None if path == Path("-") else path for path in (source, output))
    try:
        items = read_json_lines(source)
        sink = JsonLinesSink(output)
        letters = JsonLinesSink(dead_letters) if dead_letters else None
    except OSError as error:
        _fail(f"cannot open {error.filename or 'stdin'}: {error.strerror}", code=2)
    if source is None and sys.stdin.isatty() and not quiet:
        _say("reading JSON Lines from the keyboard; Ctrl-D ends them")
    pipeline = build_pipeline(
        on_error=on_error.value,
        on_dead_letter=None if letters is None else lambda letter: letters.write(_as_json(letter)),
    )
    logging.getLogger(f"{__package__}.pipeline_core.pipeline_manager").disabled = True  # Its errors are said below.
    results = pipeline.run(items, serial=serial)
    try:
        _end_on_signals()
        with sink, letters or contextlib.nullcontext(), contextlib.closing(results):
            for result in results:
                sink.write(result)
    except PipelineError as error:
        if debug:
            traceback.print_exception(error)
        _fail(str(error))
    except (TypeError, ValueError) as error:
        _fail(f"result {pipeline.report.delivered} is not for JSON Lines: {error}; let the last stage return JSON")
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(*interrupt.args or (130,)) from None
    except BrokenPipeError:
        raise  # Whoever read our output has left: typer ends quietly.
    except OSError as error:
        _fail(f"cannot write {error.filename or output or 'to stdout'}: {error.strerror}")
    finally:
        if not quiet:
            console.print(report_table(pipeline.report))
        for part in (written.part for written in (sink, letters) if written is not None):
            if part is not None and part.exists():
                _say(f"incomplete: what was written is in {part}")
    if pipeline.report.failed:
        raise typer.Exit(1)


@app.command()
def graph() -> None:
    """Print the stages as a Mermaid flowchart."""
    print("flowchart LR")
    before = "source([source])"
    for number, name in enumerate(build_pipeline().stage_names, start=1):
        print(f'    {before} --> s{number}["{name}"]')
        before = f"s{number}"
    print(f"    {before} --> sink([sink])")


def main() -> None:
    app(prog_name="{{ cookiecutter.project_slug }}")


def _end_on_signals() -> None:
    """Ctrl-C and SIGTERM end the run in order, with 130 and 143; a second one ends the process at once."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(number, lambda *_: os._exit(128 + number))
        raise KeyboardInterrupt(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def _say(message: str) -> None:
    console.print(message, markup=False, highlight=False, soft_wrap=True)


def _fail(message: str, code: int = 1) -> NoReturn:
    _say(f"error: {message}")
    raise typer.Exit(code)


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    """What goes to a file of dead letters; an item that JSON cannot hold is there as its repr."""
    error = f"{type(letter.error).__name__}: {letter.error}"
    try:
        item = json.loads(json.dumps(letter.item))
    except (TypeError, ValueError):
        item = repr(letter.item)
    return {"stage": letter.stage, "index": letter.index, "item": item, "error": error, "attempts": letter.attempts}


def report_table(report: PipelineReport) -> Group:
    """A row a stage; `filtered`, `failed` and `aborted` are there if any stage has such items."""
    counts = f"{report.delivered} delivered, {report.failed} failed"
    lines: list[RenderableType] = [Text(f"{report.name}: {report.state} after {report.seconds:.2f} s, {counts}")]
    rare = ("filtered", "failed", "aborted")
    columns = ["received", "processed", *(fate for fate in rare if any(getattr(s, fate) for s in report.stages))]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("stage", "workers", *columns, "busy"):
        table.add_column(heading, justify="left" if heading == "stage" else "right", overflow="fold")
    for stage in report.stages:
        numbers = (str(getattr(stage, column)) for column in ("workers", *columns))
        table.add_row(stage.name, *numbers, f"{stage.busy:.0%}")
    lines.append(table)
    slowest = report.bottleneck
    if slowest is not None and report.delivered:
        lines.append(Text(f"slowest stage: {slowest.name}, busy {slowest.busy:.0%} of the time"))
    return Group(*lines)
