"""The command {{ cookiecutter.project_slug }}."""

import contextlib
import itertools
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
from rich.console import Console
from rich.table import Table

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
        typer.Argument(metavar="[INPUT]", help="A file of JSON Lines; stdin, if there is none or it is '-'."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the results go, as JSON Lines; stdout, if not told.")
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
    _end_on_signals()
    with contextlib.ExitStack() as stack:
        try:
            items = read_json_lines(None if source == Path("-") else source)
            sink = stack.enter_context(JsonLinesSink(output))
            letters = stack.enter_context(JsonLinesSink(dead_letters)) if dead_letters else None
        except OSError as error:
            _fail(f"cannot open {error.filename}: {error.strerror}", code=2)
        pipeline = build_pipeline(
            on_error=on_error.value,
            on_dead_letter=None if letters is None else lambda letter: letters.write(_as_json(letter)),
        )
        logging.getLogger(f"{__package__}.pipeline_core.pipeline_manager").disabled = True  # Its errors are said below.
        results = pipeline.run(items, serial=serial)
        try:
            for result in results:
                sink.write(result)
        except PipelineError as error:
            if debug:
                traceback.print_exception(error)
            _fail(str(error))
        except (TypeError, ValueError) as error:
            _fail(f"result {pipeline.report.delivered} is not for JSON Lines: {error}; let the last stage return JSON")
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(*interrupt.args) from None
        except BrokenPipeError:
            raise  # Whoever read our output has left: typer ends quietly.
        except OSError as error:
            _fail(f"cannot write {output or 'to stdout'}: {error.strerror}")
        finally:
            results.close()
            if not quiet:
                console.print(report_table(pipeline.report))
            if sys.exc_info()[0] is not None and sink.part is not None:
                console.print(f"incomplete: what was delivered is in {sink.part}", markup=False, highlight=False)
    if pipeline.report.failed:
        raise typer.Exit(1)


@app.command()
def graph() -> None:
    """Print the stages as a Mermaid flowchart."""
    names = ["source", *build_pipeline().stage_names, "sink"]
    print("flowchart LR")
    for name, following in itertools.pairwise(names):
        print(f"    {name} --> {following}")


def main() -> None:
    app(prog_name="{{ cookiecutter.project_slug }}")


def _end_on_signals() -> None:
    """Ctrl-C and SIGTERM end the run in order, with 130 and 143; a second one ends the process at once."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(number, lambda *_: os._exit(128 + number))
        raise KeyboardInterrupt(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def _fail(message: str, code: int = 1) -> NoReturn:
    console.print(f"error: {message}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    """What goes to a file of dead letters; an item that JSON cannot hold is there as its repr."""
    error = f"{type(letter.error).__name__}: {letter.error}"
    try:
        item = json.loads(json.dumps(letter.item))
    except (TypeError, ValueError):
        item = repr(letter.item)
    return {"stage": letter.stage, "index": letter.index, "item": item, "error": error, "attempts": letter.attempts}


def report_table(report: PipelineReport) -> Table:
    slowest = report.bottleneck
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.title = f"{report.name}: {report.state}, {report.delivered} results in {report.seconds:.2f} s"
    if slowest is not None and report.delivered:
        table.caption = f"slowest stage: {slowest.name}, busy {slowest.busy:.0%} of the time"
    columns = ("received", "processed", "filtered", "failed", "aborted")
    for heading in ("stage", "workers", *columns, "busy"):
        table.add_column(heading, justify="left" if heading == "stage" else "right", overflow="fold")
    for stage in report.stages:
        counts = (str(getattr(stage, column)) for column in columns)
        table.add_row(stage.name, str(stage.workers), *counts, f"{stage.busy:.0%}")
    return table
