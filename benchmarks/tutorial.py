"""Threads on `queue.Queue` as tutorials show them, written as plainly as there."""

import logging
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

Function = Callable[[Any], Any]
END: Any = object()


def run_tutorial(source: Iterable[Any], stages: Sequence[Any], queue_size: int = 100) -> Generator[Any, None, None]:
    """What tutorials show: timeouts in a loop around each `put` and `get`, a stop event, and a stage that sorts.

    Each of the `stages` has a `function` and a number of `workers`.
    """
    stop_event = threading.Event()
    queues = [queue.Queue[Any](queue_size) for _ in range(len(stages) + 2)]
    threads: list[threading.Thread] = [
        threading.Thread(target=_tutorial_feed, args=(source, queues[0], stages[0].workers, stop_event))
    ]
    for number, stage in enumerate(stages):
        following = stages[number + 1].workers if number + 1 < len(stages) else 1
        crew = _TutorialCrew(stage.workers, following)
        for _ in range(stage.workers):
            threads.append(TutorialWorker(queues[number], queues[number + 1], stage.function, crew, stop_event))
    threads.append(TutorialSorter(queues[-2], queues[-1], stop_event))
    for thread in threads:
        thread.daemon = True
        thread.start()
    try:
        while (result := robust_get(queues[-1], stop_event)) is not END:
            yield result
    finally:
        stop_event.set()
        for thread in threads:
            thread.join()


def robust_put(inbox: "queue.Queue[Any]", item: Any, stop_event: threading.Event, timeout: float = 0.1) -> bool:
    while not stop_event.is_set():
        try:
            inbox.put(item, timeout=timeout)
            return True
        except queue.Full:
            continue
    return False


def robust_get(inbox: "queue.Queue[Any]", stop_event: threading.Event, timeout: float = 0.1) -> Any:
    while not stop_event.is_set():
        try:
            return inbox.get(timeout=timeout)
        except queue.Empty:
            continue
    return END


def _tutorial_feed(
    source: Iterable[Any], outbox: "queue.Queue[Any]", following: int, stop_event: threading.Event
) -> None:
    for numbered in enumerate(source):
        if not robust_put(outbox, numbered, stop_event):
            return
    for _ in range(following):
        robust_put(outbox, END, stop_event)


class _TutorialCrew:
    """The workers of one stage: the last of them to leave tells the next stage, a sentinel for each of its workers."""

    def __init__(self, workers: int, following: int) -> None:
        self._left, self._following = workers, following
        self._lock = threading.Lock()

    def leave(self, outbox: "queue.Queue[Any]", stop_event: threading.Event) -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        for _ in range(self._following):
            robust_put(outbox, END, stop_event)


class TutorialWorker(threading.Thread):
    def __init__(
        self,
        inbox: "queue.Queue[Any]",
        outbox: "queue.Queue[Any]",
        function: Function,
        crew: _TutorialCrew,
        stop_event: threading.Event,
    ) -> None:
        super().__init__()
        self.inbox, self.outbox, self.function = inbox, outbox, function
        self.crew, self.stop_event = crew, stop_event

    def process_item(self, item: Any) -> Any:
        return self.function(item)

    def run(self) -> None:
        while not self.stop_event.is_set():
            numbered = robust_get(self.inbox, self.stop_event)
            if numbered is END:
                break
            number, item = numbered
            try:
                result = self.process_item(item)
            except Exception:
                logging.getLogger(__name__).exception("item %s failed", number)
                self.stop_event.set()
                break
            robust_put(self.outbox, (number, result), self.stop_event)
        self.crew.leave(self.outbox, self.stop_event)


class TutorialSorter(threading.Thread):
    def __init__(self, inbox: "queue.Queue[Any]", outbox: "queue.Queue[Any]", stop_event: threading.Event) -> None:
        super().__init__()
        self.inbox, self.outbox, self.stop_event = inbox, outbox, stop_event

    def run(self) -> None:
        early: dict[int, Any] = {}
        following = 0
        while (numbered := robust_get(self.inbox, self.stop_event)) is not END:
            number, result = numbered
            early[number] = result
            while following in early:
                robust_put(self.outbox, early.pop(following), self.stop_event)
                following += 1
        robust_put(self.outbox, END, self.stop_event)
