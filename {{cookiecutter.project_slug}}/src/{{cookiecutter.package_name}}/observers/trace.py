"""What each thread did when: a file for Perfetto (ui.perfetto.dev), or any other viewer of Chrome's trace events."""

import json
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from threading import Lock, current_thread
from time import perf_counter_ns
from types import MethodType, TracebackType
from typing import Any

from ..pipeline_core import PipelineManager
from ..pipeline_core.ports import LonePort, Port

FLUSH = 1000  # Slices that a thread keeps before it writes them.
SHORTEST_WAIT = 10_000  # nanoseconds; shorter waits are not drawn
HAND_ON = ("give", "emit", "finish", "release", "fail")  # What may wait for room behind.

Event = dict[str, Any]


class Trace:
    """Writes what the threads of a run do while its `with` block lasts, which begins before the run.

    A stage is a process, and each thread of it that takes items in has a track: a worker, or each of those that look
    after an item in a sub-task pool. Its slices have these categories, and do not overlap:

    `item`   from the first call for an item until it is handed on, over all attempts and all that it yields; in a batch,
             its part of the call. `args` hold its `index` among the stage's items, and the `error` if it failed.
             There is one for each item that is processed, filtered or failed
    `wait`   for the next item, or for room or its turn to hand on; within an item that yields several
    `batch`  a call that failed; its items are tried again alone

    The file is written while the run lasts, as PATH.part, and gets its name at the end, whatever happened. In each stage
    an item costs some 10 µs and 130 bytes more than without: much for a stage that does little.
    """

    def __init__(self, pipeline: PipelineManager, path: Path) -> None:
        self._pipeline, self._path = pipeline, path
        self._part = path.with_name(f"{path.name}.part")
        self._writing = Lock()
        self._tracks: list[_Track] = []
        self._error: OSError | None = None
        self._over = False

    def __enter__(self) -> "Trace":
        """Raises OSError for a file that cannot be written, and RuntimeError if the run has started."""
        if self._pipeline.report.state != "new":
            raise RuntimeError("a trace begins before the start of the run")
        self.start = perf_counter_ns()  # When it began.
        self._file = self._part.open("w", encoding="utf-8", newline="\n")
        self._processes = {name: number for number, name in enumerate(self._pipeline.stage_names, start=1)}
        names = [_about("process", "name", number, 0, name=name) for name, number in self._processes.items()]
        order = [_about("process", "sort_index", number, 0, sort_index=number) for number in self._processes.values()]
        self._file.write('{"displayTimeUnit": "ms", "traceEvents": [\n' + _lines(names + order))
        self._others = self._pipeline.on_port
        self._pipeline.on_port = self._on_port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises OSError if the file could not be written, unless there is an error already. The run did not mind."""
        for track in self._tracks:
            track.flush()
        with self._writing:
            self._over = True
            try:
                with self._file:
                    self._file.write("\n]}\n")
                if self._error is None:
                    self._part.replace(self._path)
            except OSError as failed:
                self._error = self._error or failed
        if self._error is not None and error is None:
            raise OSError(self._error.errno, self._error.strerror, str(self._path)) from self._error

    def write(self, events: list[Event]) -> None:
        """Any thread may call, also after the end: then it is too late, and nothing is written."""
        text = _lines(events)
        with self._writing:
            if not self._over and self._error is None:
                try:
                    self._file.write(f",\n{text}")
                except OSError as error:
                    self._error = error

    def _on_port(self, stage: str, port: Port) -> None:
        if self._others is not None:
            self._others(stage, port)
        track = current_thread().name.removeprefix(f"{self._pipeline.name}-")
        with self._writing:
            thread = len(self._processes) + len(self._tracks) + 1  # No process has that number.
            self._tracks.append(_Track(self, port, track, self._processes[stage], thread))


class _Track:
    """One thread of a stage. It stands around the methods of the thread's port, and notes when they are called."""

    def __init__(self, trace: Trace, port: Port, track: str, process: int, thread: int) -> None:
        self._trace, self._port, self._where = trace, port, {"pid": process, "tid": thread}
        self._events: list[Event] = []
        self._about = [_about("thread", "name", process, thread, name=track)]
        self._first: int | None = None  # When the first call for the item in hand began.
        self._parts = deque[tuple[int, int]]()  # Of a batch: when the parts of its items began and ended.
        self._error: str | None = None  # Of the last call.
        take = "take" if isinstance(port, LonePort) else "take_batch"  # Which the former calls, too.
        for name, wait in [(take, "waiting for input"), *((name, "waiting for output") for name in HAND_ON)]:
            setattr(port, name, self._waiting(wait, getattr(port, name)))
        for name in ("give", "finish", "fail"):  # Whoever calls these is done with the item.
            setattr(port, name, self._ending(getattr(port, name)))
        port.times.call = self._calling(port.times.call)  # type: ignore[method-assign]
        port.rounds = MethodType(Port.rounds, port)  # type: ignore[method-assign]  # The one that measures each call.

    def flush(self) -> None:
        events, self._events = self._events, []
        if events:
            self._trace.write(self._about + events)
            self._about = []

    def _waiting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **keywords: Any) -> Any:
            start = perf_counter_ns()
            try:
                return call(*arguments, **keywords)
            finally:
                end = perf_counter_ns()
                if end - start >= SHORTEST_WAIT:
                    self._draw("wait", name, start, end)

        return timed

    def _calling(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(function: Callable[..., Any], *arguments: Any, items: int = 1) -> Any:
            start = perf_counter_ns()
            self._first = self._first or start
            self._error = None
            try:
                output = call(function, *arguments, items=items)
            except BaseException as error:
                if items > 1:
                    self._draw("batch", f"batch of {items} failed", start, perf_counter_ns())
                    self._first = None
                elif function is not next or not isinstance(error, StopIteration):  # So a generator ends.
                    self._error = type(error).__name__
                raise
            if items > 1:
                taken = perf_counter_ns() - start
                bounds = [start + taken * part // items for part in range(items + 1)]
                self._parts.extend(pairwise(bounds))
            return output

        return timed

    def _ending(self, hand_on: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **keywords: Any) -> Any:
            now, index = perf_counter_ns(), self._port.ticket
            start, end = self._parts.popleft() if self._parts else (self._first or now, now)
            if self._error is None:
                self._draw("item", f"item {index}", start, end, index=index)
            else:
                self._draw("item", f"item {index} failed", start, end, index=index, error=self._error)
            self._first = None
            return hand_on(*arguments, **keywords)

        return noted

    def _draw(self, category: str, name: str, start: int, end: int, **arguments: Any) -> None:
        # A viewer may read times as floats, and drop what overlaps: so a nanosecond is left free between two slices.
        times = {"ts": (start - self._trace.start) / 1000, "dur": max(end - start - 1, 0) / 1000}
        self._events.append({"ph": "X", "cat": category, "name": name, **self._where, **times, "args": arguments})
        if len(self._events) >= FLUSH:
            self.flush()


def _about(what: str, field: str, process: int, thread: int, **arguments: Any) -> Event:
    return {"ph": "M", "name": f"{what}_{field}", "pid": process, "tid": thread, "args": arguments}


def _lines(events: list[Event]) -> str:
    return ",\n".join(map(json.dumps, events))
