"""R6, R7, R8 and R15: async stages. Whatever the user's coroutines raise, and whoever ends the run when."""

import asyncio
import itertools
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager

Until = Callable[[Callable[[], object]], None]
both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
limited_or_not = pytest.mark.parametrize("timeout", [None, 100])


class Own(BaseException):
    pass


# What a coroutine raises that cannot be raised there: Python makes a RuntimeError of it (PEP 479 and 525).
RAISED: dict[type[BaseException], type[BaseException]] = {
    ValueError: ValueError,
    SystemExit: SystemExit,
    KeyboardInterrupt: KeyboardInterrupt,
    GeneratorExit: GeneratorExit,
    asyncio.CancelledError: asyncio.CancelledError,
    StopIteration: RuntimeError,
    StopAsyncIteration: StopAsyncIteration,
    Own: Own,
}


class Raises(BaseWorker[int, int]):
    """Raises at item 5, or in another of its methods."""

    def __init__(self, error: type[BaseException], where: str) -> None:
        self.error, self.where = error, where

    async def there(self, where: str) -> None:
        await asyncio.sleep(0)
        if where == self.where:
            raise self.error

    async def setup(self) -> None:
        await self.there("setup")

    async def process_item(self, item: int) -> int:
        if item == 5:
            await self.there("process_item")
        return item

    async def finish(self) -> None:
        await self.there("finish")

    async def teardown(self) -> None:
        await self.there("teardown")


class Yields(Raises):
    async def process_item(self, item: int) -> AsyncGenerator[int, None]:  # type: ignore[override]
        if item == 5:
            await self.there("first output")
        yield item
        if item == 5:
            await self.there("later output")


@both_modes
@limited_or_not
@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("error", RAISED)
@pytest.mark.parametrize("where", ["setup", "process_item", "first output", "later output", "finish", "teardown"])
def test_r6_whatever_a_coroutine_raises_the_run_ends_as_it_should(
    where: str, error: type[BaseException], on_error: Any, timeout: float | None, serial: bool
) -> None:
    """Ctrl-C is raised by the system, in the main thread; here a coroutine of another thread, or of a call, raises it."""
    manager = PipelineManager(on_error=on_error)
    kind = Yields if "output" in where else Raises
    manager.add_worker(kind, name="one", workers=3, worker_args={"error": error, "where": where}, timeout=timeout)
    cause = RAISED[error]
    if "output" in where and error in (StopIteration, StopAsyncIteration):
        cause = RuntimeError
    results: list[int] = []
    raised: BaseException | None = None
    try:
        results.extend(manager.run(range(10), serial=serial))
    except BaseException as caught:
        raised = caught
    report = manager.report
    assert report.imbalances() == []
    if serial and error is KeyboardInterrupt:  # In the main thread it is Ctrl-C.
        assert type(raised) is KeyboardInterrupt
        return
    of_an_item = where in ("process_item", "first output", "later output")
    if of_an_item and on_error == "skip" and issubclass(cause, Exception):
        assert results == [item for item in range(10) if item != 5 or where == "later output"]
        (letter,) = report.dead_letters
        assert (letter.item, letter.index, type(letter.error)) == (5, 5, cause)
        return
    assert isinstance(raised, PipelineError)
    assert (raised.stage, raised.phase) == ("one", "process_item" if of_an_item else where)
    assert type(raised.__cause__) is cause
    assert results == list(range({"setup": 0, "later output": 6, "finish": 10, "teardown": 10}.get(where, 5)))


class Sleeps(BaseWorker[int, int]):
    """Its calls wait for ever from item 3 on, and say so."""

    def __init__(self, told: list[str], stubborn: bool = False, expands: bool = False) -> None:
        self.told, self.stubborn = told, stubborn

    async def process_item(self, item: int) -> int:
        if item >= 3:
            try:
                self.told.append("begun")
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise
            finally:
                await asyncio.sleep(0)
                self.told.append("ended")
        return item

    async def teardown(self) -> None:
        await asyncio.sleep(0)
        self.told.append("teardown")


class SleepsInTheMiddle(Sleeps):
    async def process_item(self, item: int) -> AsyncGenerator[int, None]:  # type: ignore[override]
        try:
            yield item
            if item >= 3:
                self.told.append("begun")
                await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            if item >= 3:
                self.told.append("ended")


@limited_or_not
@pytest.mark.parametrize("kind", [Sleeps, SleepsInTheMiddle])
@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("end", ["stop", "leave", "deadline", "error behind"])
def test_r7_calls_in_flight_are_cancelled_when_the_run_ends(
    end: str, stubborn: bool, kind: Any, timeout: float | None, until: Until
) -> None:
    """Their `finally` runs, then `teardown`. What one gives in spite of that is not delivered."""
    told: list[str] = []
    behind = threading.Event()

    class Behind(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if end == "error behind" and item == 2:
                behind.wait(60)
                raise ValueError("behind")
            return item

    manager = PipelineManager(queue_size=100)
    manager.add_worker(kind, workers=4, worker_args={"told": told, "stubborn": stubborn}, timeout=timeout)
    manager.add_worker(Behind)
    if end in ("deadline", "stop"):
        manager.start(itertools.count())
    else:
        results = manager.run(itertools.count())
        assert next(results) == 0
    until(lambda: told.count("begun") == 4)
    if end == "stop":
        manager.stop()
        manager.wait_for_completion(60)
    elif end == "deadline":
        with pytest.raises(TimeoutError, match="Busy:"):
            manager.wait_for_completion(0.001)
        manager.wait_for_completion(60)
    elif end == "leave":
        results.close()
    else:
        behind.set()
        with pytest.raises(PipelineError, match="behind"):
            list(results)
    assert told == ["begun"] * 4 + ["ended"] * 4 + ["teardown"]
    assert manager.report.imbalances() == []


def test_r7_a_stop_takes_milliseconds_with_a_thousand_calls_in_flight(until: Until) -> None:
    told: list[str] = []
    manager = PipelineManager().add_worker(Sleeps, workers=1000, worker_args={"told": told}, queue_size=1)
    manager.start(itertools.count())
    until(lambda: told.count("begun") == 1000)
    begun = time.monotonic()
    manager.stop()
    manager.wait_for_completion(60)
    assert time.monotonic() - begun < 5  # Generous: a busy machine. Each of them waits for ever.
    assert told.count("ended") == 1000


@pytest.mark.parametrize("ordered", [True, False])
def test_r7_a_drain_finishes_the_calls_in_flight(ordered: bool) -> None:
    class Short(BaseWorker[int, int]):
        async def process_item(self, item: int) -> int:
            await asyncio.sleep(0.002 * (item % 3))
            return item

    manager = PipelineManager(queue_size=5, ordered=ordered).add_worker(Short, workers=8)
    results = manager.run(itertools.count())
    taken = [next(results)]
    manager.stop(drain=True)
    taken += results
    assert sorted(taken) == list(range(manager.report.read))
    assert (manager.report.state, manager.report.imbalances()) == ("completed", [])


def test_as_many_calls_are_in_flight_as_the_stage_has_workers_and_all_share_one_thread() -> None:
    """The last of them lets all go on."""
    threads: set[int] = set()
    together: list[Any] = []

    class Meets(BaseWorker[int, int]):
        async def setup(self) -> None:
            self.waiting, self.all_there = 0, asyncio.Event()
            together.append(asyncio.get_running_loop())

        async def process_item(self, item: int) -> int:
            threads.add(threading.get_ident())
            assert asyncio.get_running_loop() is together[0]
            self.waiting += 1
            if self.waiting == 50:
                self.all_there.set()
            await self.all_there.wait()
            return item

    manager = PipelineManager().add_worker(Meets, workers=50)
    assert list(manager.run(range(200))) == list(range(200))
    assert len(threads) == len(together) == 1
    (stage,) = manager.report.stages
    assert (stage.executor, stage.workers) == ("async", 50)


@pytest.mark.parametrize("workers", [1, 3])
def test_never_more_calls_are_in_flight(workers: int) -> None:
    """A pause before another attempt holds its place."""
    most: list[int] = []

    class Counts(BaseWorker[int, int]):
        async def setup(self) -> None:
            self.inside, self.failed = 0, set[int]()

        async def process_item(self, item: int) -> int:
            self.inside += 1
            most.append(self.inside)
            await asyncio.sleep(0)
            self.inside -= 1
            if item % 3 == 0 and item not in self.failed:
                self.failed.add(item)
                raise ValueError
            return item

    manager = PipelineManager().add_worker(Counts, workers=workers, retries=1, backoff=0.001)
    assert list(manager.run(range(60))) == list(range(60))
    assert max(most) == workers


CALLER: ContextVar[str] = ContextVar("CALLER", default="nobody")


@both_modes
def test_r18_coroutines_see_the_context_of_the_caller_and_leave_it_alone(serial: bool) -> None:
    class Sees(BaseWorker[int, tuple[str, int]]):
        async def process_item(self, item: int) -> tuple[str, int]:
            seen = CALLER.get()
            if item == 3:
                CALLER.set("the last item")
            await asyncio.sleep(0)
            return seen, item

    token = CALLER.set("me")
    try:
        manager = PipelineManager().add_worker(Sees, workers=2)
        assert list(manager.run(range(4), serial=serial)) == [("me", item) for item in range(4)]
        assert CALLER.get() == "me"
    finally:
        CALLER.reset(token)


@both_modes
def test_the_log_of_each_call_names_its_item(serial: bool, caplog: pytest.LogCaptureFixture) -> None:
    class Logs(BaseWorker[str, str]):
        async def process_item(self, item: str) -> str:
            self.logger.warning("begun %s", item)
            await asyncio.sleep(0.001)
            self.logger.warning("ended %s", item)
            return item

    manager = PipelineManager().add_worker(Logs, workers=3)
    assert list(manager.run("abcdef", serial=serial)) == [*"abcdef"]
    told = {(record.getMessage(), record.item_index) for record in caplog.records}  # type: ignore[attr-defined]
    assert told == {(f"{what} {item}", at) for at, item in enumerate("abcdef") for what in ("begun", "ended")}


@both_modes
def test_r4_an_async_generator_that_raises_when_it_is_closed_is_logged(
    serial: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It has failed already, with what it gave."""
    from my_pipeline.pipeline_core import FailedItem

    class Bad(BaseWorker[int, Any]):
        async def process_item(self, item: int) -> AsyncGenerator[Any, None]:
            try:
                yield item
                yield FailedItem(item, ValueError("is torn"))
                yield item
            finally:
                raise SystemExit("in finally")

    manager = PipelineManager(on_error="skip").add_worker(Bad)
    assert list(manager.run(range(2), serial=serial)) == [0, 1]
    assert [str(letter.error) for letter in manager.report.dead_letters] == ["is torn"] * 2
    assert caplog.text.count("a generator raised when it was closed") == 2


@both_modes
def test_r6_nothing_is_logged_as_an_error_when_a_stop_ends_a_generator(
    serial: bool, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[bool] = []

    class Counts(BaseWorker[int, int]):
        async def process_item(self, item: int) -> AsyncGenerator[int, None]:
            try:
                for number in itertools.count():
                    await asyncio.sleep(0)
                    yield number
            finally:
                closed.append(True)

    manager = PipelineManager(queue_size=2).add_worker(Counts)
    for result in manager.run([1], serial=serial):
        if result == 5:
            manager.stop()
    assert closed == [True]
    assert (caplog.text, manager.report.state) == ("", "stopped")


@pytest.mark.skipif(sys.platform == "win32", reason="sends itself a signal as POSIX has it")
@pytest.mark.parametrize("handler", [signal.default_int_handler, "own"])
@pytest.mark.parametrize("kind", ["call", "generator", "finish"])
@limited_or_not
def test_r8_ctrl_c_in_serial_mode_ends_an_async_call(timeout: float | None, kind: str, handler: Any) -> None:
    """It is raised where it was pressed, the coroutine is closed, and `teardown` is called; it is no item's failure."""
    told: list[str] = []

    async def wait() -> None:
        asyncio.get_running_loop().call_later(0.02, signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            told.append("ended")

    class Waits(BaseWorker[int, int]):
        async def process_item(self, item: int) -> int:
            if kind == "call" and item == 2:
                await wait()
            return item

        async def finish(self) -> None:
            if kind == "finish":
                await wait()

        async def teardown(self) -> None:
            await asyncio.sleep(0)
            told.append("teardown")

    class WaitsInTheMiddle(Waits):
        async def process_item(self, item: int) -> AsyncGenerator[int, None]:  # type: ignore[override]
            yield item
            if item == 2:
                await wait()

    def own(*_: object) -> None:
        raise KeyboardInterrupt("own")

    before = signal.signal(signal.SIGINT, own if handler == "own" else handler)
    manager = PipelineManager(on_error="skip")
    manager.add_worker(WaitsInTheMiddle if kind == "generator" else Waits, retries=3, timeout=timeout)
    results: list[int] = []
    try:
        with pytest.raises(KeyboardInterrupt):
            results.extend(manager.run(range(3), serial=True))
    finally:
        signal.signal(signal.SIGINT, before)
    assert results == list(range({"call": 2, "generator": 3, "finish": 3}[kind]))
    assert told[-1] == "teardown"
    assert "ended" in told
    report = manager.report
    assert (report.skipped, report.failed, report.imbalances()) == (0, 0, [])


@both_modes
def test_r6_a_coroutine_that_cancels_its_own_task_does_not_hang_the_run(serial: bool) -> None:
    class Cancels(BaseWorker[int, int]):
        async def process_item(self, item: int) -> int:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            raise ValueError(item)

    manager = PipelineManager(on_error="skip").add_worker(Cancels, retries=1)
    with pytest.raises(PipelineError, match="CancelledError"):
        list(manager.run(range(3), serial=serial))
    assert manager.report.imbalances() == []


def test_r6_an_async_stage_keeps_the_bound_of_its_generators() -> None:
    """An endless one holds nothing back but its own place, and what the consumer does not take is not made."""
    made: list[int] = []

    class Endless(BaseWorker[int, int]):
        async def process_item(self, item: int) -> AsyncGenerator[int, None]:
            for number in itertools.count():
                made.append(number)
                yield number

    manager = PipelineManager(queue_size=3).add_worker(Endless, workers=2)
    results = manager.run(range(2))
    assert [next(results) for _ in range(20)] == list(range(20))
    before = -1
    while before != len(made):
        before = len(made)
        time.sleep(0.1)
    assert len(made) < 20 + 20
    results.close()
    assert manager.report.imbalances() == []


class Plain(BaseWorker[int, int]):
    async def process_item(self, item: int) -> int:
        return item


@pytest.mark.usefixtures("fast_switches")
def test_r7_a_stop_at_any_moment_of_the_start_leaves_no_event_loop_open() -> None:
    for number in range(400):
        manager = PipelineManager().add_worker(Plain)
        manager.start(range(5))
        for _ in range(number % 60):
            time.sleep(0)
        manager.stop()
        assert manager.wait_for_completion(60).imbalances() == []
