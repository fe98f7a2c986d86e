"""Runs a pipeline between a source and its sinks, as a command does: signals, progress, reports, exit codes."""

import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from threading import Thread
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from .json_logs import JsonFormatter
from .observers.report_table import ReportTable
from .pipeline_core import PipelineError, PipelineManager
from .sinks import JsonLinesSink


class _Console(Console):
    """What cannot be said, because nobody reads it or its disk is full, is left unsaid: a run loses nothing by that."""

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _let_go_of(2)


console = _Console(stderr=True)  # stdout carries data only.

OK, FAILED, BAD_USAGE = 0, 1, 2
SIGNALLED = 128  # And the signal's number.


class Failed(Exception):
    """The command ends here, with one line on stderr (unless it is empty) and an exit code.

    `whole` says that the results are complete nevertheless.
    """

    def __init__(self, message: str, code: int = FAILED, *, whole: bool = False) -> None:
        super().__init__(message)
        self.code, self.whole = code, whole


def run(
    pipeline: PipelineManager,
    items: Iterable[Any],
    sink: JsonLinesSink,
    observers: Iterable[AbstractContextManager[object]] = (),
    *,
    serial: bool = False,
    debug: bool = False,
) -> None:
    """Run, and write each result as it comes. Raises Failed for whatever ended the run before its end."""
    core = f"{__package__}.pipeline_core"
    logging.getLogger(f"{core}.pipeline_manager").disabled = True  # Its errors are said here.
    whole = False
    with failures(debug=debug), _observed(lambda: whole), ExitStack() as watching:
        for observer in observers:
            try:
                watching.enter_context(observer)
            except OSError as error:
                raise Failed(f"cannot open {error.filename}: {error.strerror}", BAD_USAGE) from None
        results = watching.enter_context(closing(pipeline.run(items, serial=serial)))
        for number, result in enumerate(results, 1):
            try:
                sink.write(result)
            except (TypeError, ValueError) as error:
                advice = "let the last stage return JSON"
                raise Failed(f"result {number} is not for JSON Lines: {error}; {advice}") from error
        whole = True


@contextmanager
def _observed(whole: Callable[[], bool]) -> Iterator[None]:
    """What an observer cannot write at the end is no error of the results."""
    try:
        yield
    except OSError as error:
        if not whole():
            raise
        raise Failed(f"cannot write {error.filename}: {error.strerror}", whole=True) from error


@contextmanager
def failures(*, debug: bool) -> Iterator[None]:
    """Turns the errors of a run, and its end by a signal, into Failed."""
    try:
        yield
    except PipelineError as error:
        if debug:
            traceback.print_exception(error)
        raise Failed(str(error)) from None
    except KeyboardInterrupt as interrupt:
        raise Failed("", _code(interrupt)) from None


def show_report(pipeline: PipelineManager) -> None:
    console.print(ReportTable(pipeline.report))


@contextmanager
def one_line_errors(*sinks: JsonLinesSink | None, debug: bool = False) -> Iterator[None]:
    """What goes wrong in here is said in one line, and ends the process with its exit code.

    A file that is not whole keeps its .part, and that is said, too. Who reads our stdout may leave: that is quiet.
    """
    code, message = OK, ""
    try:
        with ExitStack() as written:
            for sink in sinks:
                if sink is not None:
                    written.enter_context(sink)
            try:
                yield
            except Failed as failed:
                if not failed.whole:
                    raise
                code, message = failed.code, str(failed)
    except Failed as failed:
        code, message = failed.code, str(failed)
    except KeyboardInterrupt as interrupt:  # After the run, while its report is written.
        code = _code(interrupt)
    except BrokenPipeError:
        _let_go_of(1)
        code = FAILED
    except OSError as error:
        if debug:
            traceback.print_exception(error)
        _let_go_of(1)
        code, message = FAILED, f"cannot write {error.filename or _written(sinks)}: {error.strerror}"
    if message:
        say(f"error: {message}")
    for sink in sinks:
        if sink is not None and sink.part is not None and sink.part.exists():
            say(f"incomplete: what was written is in {sink.part}")
    if code:
        raise SystemExit(code)


def end_on_signals() -> None:
    """Ctrl-C and SIGTERM end the run in order, with 130 and 143; a second one ends the process at once."""
    came: list[int] = []

    def end(number: int, frame: FrameType | None) -> NoReturn:
        if came:
            _end_at_once(*came, number)
        came.append(number)
        raise KeyboardInterrupt(SIGNALLED + number)

    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    Thread(target=_end_at_the_second, args=(receiver, sender), name="signals", daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def _end_at_the_second(receiver: socket.socket, sender: socket.socket) -> None:
    """Reads the signals where they come in: the main thread may sleep through one, until a call in flight is over."""
    _end_at_once(*receiver.recv(1), *receiver.recv(1))


def _end_at_once(*signals: int) -> NoReturn:
    os._exit(SIGNALLED + max(signals))  # SIGTERM's, if it was one of them: of two at a time, either may come in first.


def hold_standard_streams() -> None:
    """A standard stream that a shell has closed (`2>&-`) is held, or the next file opened would be taken for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Gets the lowest number that is free.


def flush_stdout() -> None:
    """What stdout cannot take is an error now, and not one of Python's at the exit."""
    if sys.stdout is not None:
        sys.stdout.flush()


def log_to_console(*, as_json: bool) -> None:
    """Logs go to stderr, above the live table if there is one."""
    handler = _ConsoleHandler()
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger(__package__).setLevel(logging.INFO)


class _ConsoleHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(self.format(record))
        except Exception:
            self.handleError(record)


def say(message: str) -> None:
    console.print(message, markup=False, highlight=False, soft_wrap=True)


def _written(sinks: Iterable[JsonLinesSink | None]) -> str:
    names = [str(sink.path) if sink.path else "to stdout" for sink in sinks if sink is not None]
    return " or ".join(names) or "to stdout"


def _code(interrupt: KeyboardInterrupt) -> int:
    return int(interrupt.args[0]) if interrupt.args else SIGNALLED + signal.SIGINT


def _let_go_of(stream: int) -> None:
    """What could not be written to stdout or stderr would be tried again at the exit, and fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
