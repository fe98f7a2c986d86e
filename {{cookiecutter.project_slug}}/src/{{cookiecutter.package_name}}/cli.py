"""The command {{ cookiecutter.project_slug }}."""

import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .observers.history import History
{%- if cookiecutter.metrics == 'opentelemetry' %}
from .observers.opentelemetry_metrics import observer as metrics
{%- endif %}
from .observers.progress import Progress
{%- if cookiecutter.metrics == 'prometheus' %}
from .observers.prometheus_metrics import observer as metrics
{%- endif %}
from .observers.report_file import check_report_path, write_report
from .observers.trace import Trace
from .options import (
    DeadLetters,
    Debug,
    Form,
    Inputs,
    Limit,
    LogFormat,
    Logs,
    OnError,
    OnErrorOption,
    Output,
    QueueSize,
    Quiet,
    Report,
    Serial,
    TraceFile,
    Workers,
    option,
)
from .pipeline import build_pipeline
from .pipeline_core import DeadLetter, FailedItem, PipelineError, PipelineManager
from .profiling import profile, profile_table
from .running import (
    BAD_USAGE,
    FAILED,
    Failed,
    console,
    end_on_signals,
    failures,
    flush_stdout,
    hold_standard_streams,
    log_to_console,
    one_line_errors,
    run,
    say,
    show_report,
)
from .sinks import JsonLinesSink, letter_as_json
from .sources import Format, Source, read_dead_letters

BuildPipeline = Callable[..., PipelineManager]
"""Takes `on_error` and `on_dead_letter`, as `build_pipeline` does."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={
        "auto_envvar_prefix": "{{ cookiecutter.package_name|upper }}",
        "help_option_names": ["-h", "--help"],
    },
)


@app.callback()
def describe() -> None:
    """Run the pipeline over your items, draw it, or find out how many workers it should have.

    Each option can be set in the environment, too, as `{{ cookiecutter.package_name|upper }}_RUN_QUEUE_SIZE=500` does for `run --queue-size`.
    """


@app.command(name="run")
def run_command(
    context: typer.Context,
    inputs: Inputs = None,
    output: Output = None,
    form: Form = Format.jsonl,
    workers: Workers = None,
    queue_size: QueueSize = None,
    on_error: OnErrorOption = OnError.stop,
    dead_letters: DeadLetters = None,
    limit: Limit = None,
    serial: Serial = False,
    report: Report = None,
    trace: TraceFile = None,
    quiet: Quiet = False,
    log_format: Logs = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Run the pipeline over the INPUT.

    Examples:

    - `{{ cookiecutter.project_slug }} run data.jsonl -o out.jsonl`
    - `zcat big.gz | {{ cookiecutter.project_slug }} run --on-error skip --dead-letters dead.jsonl > out.jsonl`
    - `{{ cookiecutter.project_slug }} run --format files 'photos/**/*.jpg' --workers {{ cookiecutter.__stages.split(',')[0] }}=8 --report run.html`

    Exit codes: 0 all well; 1 the run stopped on an error, or items failed; 2 bad usage; 130 Ctrl-C, 143 SIGTERM.
    """
    log_to_console(as_json=log_format is LogFormat.json)
    with _bad_usage(debug=debug):
        _different(output, dead_letters, report, trace)
        letters: JsonLinesSink | None = None
        pipeline = _build(context, on_error=on_error.value, on_dead_letter=lambda letter: _keep(letter, letters))
        pipeline.tune(workers=_numbers(workers, pipeline.stage_names), queue_size=queue_size)
        if report is not None:
            check_report_path(report)
        if trace is not None and not trace.absolute().parent.is_dir():
            raise ValueError(f"there is no folder {trace.parent}: make it first, or write the trace elsewhere")
        if trace is not None and trace.is_dir():
            raise ValueError(f"{trace} is a folder: name a file in it")
        history = History(pipeline)
        observers: list[AbstractContextManager[object]] = [] if report is None else [history]
{%- if cookiecutter.metrics != 'none' %}
        observers.append(metrics(pipeline))
{%- endif %}
        source = Source(inputs or (), form)
        if form is not Format.files:
            _spare(source.names, output, dead_letters, report, trace)
        sink, letters = _sinks(output, dead_letters)
    if source.interactive and not quiet:
        say("reading from the keyboard; Ctrl-D ends the input")
    if trace is not None:
        observers.append(Trace(pipeline, trace))
    if not quiet:
        observers.append(Progress(pipeline, console, partial(_at_most, limit, source.total)))
    reported = True
    with one_line_errors(sink, letters, debug=debug):
        end_on_signals()
        try:
            run(pipeline, islice(source, limit), sink, observers, serial=serial, debug=debug)
        finally:
            if not quiet:
                show_report(pipeline)
            if report is not None:
                final = pipeline.report
                try:
                    write_report(report, final, history, verdict=str(final.verdict))
                except OSError as error:
                    reported = False
                    say(f"error: cannot write {report}: {error.strerror}")
    if pipeline.report.failed or not reported:
        raise typer.Exit(FAILED)


@app.command()
def retry(
    context: typer.Context,
    dead_letters_file: Annotated[Path, typer.Argument(metavar="DEAD_LETTERS", help="What --dead-letters wrote.")],
    output: Output = None,
    dead_letters: DeadLetters = None,
    workers: Workers = None,
    serial: Serial = False,
    quiet: Quiet = False,
    log_format: Logs = LogFormat.text,
    debug: Debug = False,
) -> None:
    """Run the items of DEAD_LETTERS again, each from the stage on in which it failed.

    What fails again goes to --dead-letters, which may be the same file.

    Example: `{{ cookiecutter.project_slug }} retry dead.jsonl -o more.jsonl --dead-letters dead.jsonl`
    """
    log_to_console(as_json=log_format is LogFormat.json)
    letters: JsonLinesSink | None = None
    failed = 0
    with _bad_usage(debug=debug):
        _different(output, dead_letters)
        _spare([str(dead_letters_file)], dead_letters, output)
        groups, lost = read_dead_letters(dead_letters_file, _build(context).stage_names)
        tuning = _numbers(workers, _build(context).stage_names)
        _build(context).tune(workers=tuning)
        sink, letters = _sinks(output, dead_letters)
    with one_line_errors(sink, letters, debug=debug):
        end_on_signals()
        for letter in lost:
            say(f"cannot be retried, JSON could not hold it: {letter['repr']}")
            if letters is not None:
                letters.write(letter)
        for stage, items in groups.items():
            pipeline = _build(context, on_error="skip", on_dead_letter=lambda letter: _keep(letter, letters))
            pipeline.tune(workers=tuning)
            if stage != "source":
                pipeline.keep(stage)
            observers = [] if quiet else [Progress(pipeline, console, partial(len, items))]
            try:
                run(pipeline, items, sink, observers, serial=serial, debug=debug)
            finally:
                failed += pipeline.report.failed
                if not quiet:
                    show_report(pipeline)
    if failed or lost:
        raise typer.Exit(FAILED)


@app.command(name="profile")
def profile_command(
    context: typer.Context,
    inputs: Inputs = None,
    form: Form = Format.jsonl,
    limit: Annotated[int, option(min=1, help="Items of the sample, the first ones.")] = 200,
    most: Annotated[int, option(min=1, help="Workers to try at the most.")] = 16,
    debug: Debug = False,
) -> None:
    """Run a sample through each stage alone, with 1, 2, 4, 8 … workers, and say which numbers suit this machine.

    Example: `{{ cookiecutter.project_slug }} profile data.jsonl`
    """
    log_to_console(as_json=False)
    with _bad_usage(debug=debug):
        source = Source(inputs or (), form)
    with one_line_errors(debug=debug):
        end_on_signals()
        items = [item for item in islice(source, limit) if not isinstance(item, FailedItem)]
        if not items:
            raise Failed("there is nothing to profile: the input has no item", BAD_USAGE)
        with failures(debug=debug):
            found = profile(partial(_build, context), items, most=most)
        Console().print(profile_table(found))


@app.command()
def graph(context: typer.Context) -> None:
    """Print the stages as a Mermaid flowchart."""
    print("flowchart LR")
    before = "source([source])"
    for number, name in enumerate(_build(context).stage_names, start=1):
        print(f'    {before} --> s{number}["{name}"]')
        before = f"s{number}"
    print(f"    {before} --> sink([sink])")


def main(build_pipeline: BuildPipeline = build_pipeline) -> None:
    """The command, around the pipeline of this project or around any other."""
    hold_standard_streams()
    with one_line_errors():
        try:
            app(prog_name="{{ cookiecutter.project_slug }}", obj=build_pipeline)
        finally:
            flush_stdout()


def _build(context: typer.Context, **policy: object) -> PipelineManager:
    build: BuildPipeline = context.obj
    return build(**policy)


@contextmanager
def _bad_usage(*, debug: bool) -> Iterator[None]:
    """What is wrong before the run begins: one line, exit code 2, and nothing is left behind."""
    try:
        yield
    except OSError as error:
        problem = f"cannot open {error.filename or 'stdin'}: {error.strerror}"
    except (TypeError, ValueError, PipelineError) as error:
        problem = str(error)
    else:
        return
    if debug:
        traceback.print_exc()
    say(f"error: {problem}")
    raise typer.Exit(BAD_USAGE)


def _different(*paths: Path | None) -> None:
    written = [path.resolve() for path in paths if path is not None and not path.is_char_device()]
    places = written + [_part(path) for path in written]
    for path in places:
        if places.count(path) > 1:
            raise ValueError(f"two things cannot be written to one file: {path}")


def _spare(read: list[str], output: Path | None, *others: Path | None) -> None:
    """What is read may get a new content when that is complete, if it is the `output`, and is else left as it is."""
    inputs = {Path(name).resolve() for name in read}
    for path in (output, *others):
        if path is not None and not path.is_char_device():
            for place in [_part(path.resolve())] + [path.resolve()] * (path is not output):
                if place in inputs:
                    raise ValueError(f"{place} is read, and would be overwritten: write to another file")


def _part(path: Path) -> Path:
    return path.parent / f"{path.name}.part"


def _numbers(workers: list[str] | None, stages: Sequence[str]) -> dict[str, int]:
    """What --workers tells."""
    found = {}
    for given in workers or ():
        match = re.fullmatch(r"(\w+)=([1-9]\d*)", given)
        if match is None:
            raise ValueError(f"--workers takes STAGE=NUMBER, such as {stages[0]}=4, not {given!r}")
        found[match[1]] = int(match[2])
    return found


def _sinks(output: Path | None, dead_letters: Path | None) -> tuple[JsonLinesSink, JsonLinesSink | None]:
    sink = JsonLinesSink(None if output == Path("-") else output)
    try:
        return sink, None if dead_letters is None else JsonLinesSink(dead_letters)
    except OSError:
        sink.discard()
        raise


def _keep(letter: DeadLetter, letters: JsonLinesSink | None) -> None:
    if letters is not None:
        letters.write(letter_as_json(letter))


def _at_most(limit: int | None, total: Callable[[], int | None]) -> int | None:
    found = total()
    return found if limit is None or found is None else min(found, limit)
