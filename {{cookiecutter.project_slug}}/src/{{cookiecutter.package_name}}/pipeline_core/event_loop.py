"""How async methods of a worker run: in an event loop, as ordinary ones of whoever calls them, or as tasks of a crew."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import suppress
from contextvars import ContextVar
from inspect import isawaitable
from typing import Any

from .base_worker import BaseWorker
from .channel import Closed
from .errors import Raised
from .policy import NOTHING, Hand

IN_HAND: ContextVar[Hand | None] = ContextVar("IN_HAND", default=None)


class TaskHands(dict[int, Any]):
    """What each task of an event loop has in hand, where the hands of threads are asked for."""

    def get(self, key: int, default: Any = None) -> Any:
        return IN_HAND.get() or super().get(key, default)


class OnEventLoop(BaseWorker[Any, Any]):
    """A worker whose async methods are ordinary ones: they run in an event loop, in the thread that calls them."""

    _runner: asyncio.Runner | None = None
    _task: "asyncio.Task[Any] | None" = None
    _begun = False  # Whether `setup` was called.

    def __init__(self, worker: Any, timeout: float | None) -> None:
        self._worker, self._timeout, self.logger, self.stop_event = worker, timeout, worker.logger, worker.stop_event

    def setup(self) -> None:
        runner = asyncio.Runner()
        runner.get_loop()  # It makes the loop: `cancel`, in another thread, must not make one, too.
        self._runner = runner
        self.run(self._worker.setup)

    def process_item(self, item: Any) -> Any:
        return self._given(self.run(self.call, item))

    def finish(self) -> Any:
        return self._given(self.run(self._worker.finish))

    def teardown(self) -> None:
        if (runner := self._runner) is not None:
            self._runner = None  # From here on nothing is cancelled.
            try:
                if self._begun:
                    runner.run(awaited(self._worker.teardown))
            finally:
                runner.close()

    def run(self, method: Any, *arguments: Any) -> Any:
        """Run it in the event loop, and wait for it. Raises Closed after a stop."""
        assert self._runner is not None
        try:
            outcome = self._runner.run(self._outcome(method, *arguments))
        except BaseException:
            if self._task is not None:  # A signal handler raised it in the middle of the event loop.
                self._task.cancel()
                self._runner.run(asyncio.wait([self._task]))
            raise
        if type(outcome) is Raised:
            raise outcome.take()
        return outcome

    async def call(self, item: Any) -> Any:
        """One attempt at an item. A generator is returned as it is. Raises TimeoutError."""
        return await self._in_time(awaited(self._worker.process_item, item))

    async def next(self, outputs: AsyncGenerator[Any, None]) -> Any:
        """The next output, or NOTHING."""
        return await self._in_time(anext(outputs, NOTHING))

    async def _in_time(self, given: Awaitable[Any]) -> Any:
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await given
        except TimeoutError as error:
            if limit.expired():
                error.args = (f"no result after {self._timeout:g} seconds",)
            raise
        finally:
            del limit  # It refers to the task, which keeps the error, whose traceback refers to this frame.

    def cancel(self) -> None:
        """End what runs. Any thread may call."""
        if (runner := self._runner) is not None:
            with suppress(RuntimeError):  # The loop is closed.
                runner.get_loop().call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        task, self._task = self._task, None  # Once: a second time, it would not wait for its calls to end.
        if self._runner is not None and task is not None:
            task.cancel()

    async def _outcome(self, method: Any, *arguments: Any) -> Any:
        """What it returns, or Raised: an error that a task raises is kept alive by frames of asyncio, and they by it."""
        self._task = asyncio.current_task()
        try:
            if self.stop_event.is_set():  # It came before there was a task.
                return Raised(Closed())
            self._begun = True
            return await awaited(method, *arguments)
        except asyncio.CancelledError:
            if self.stop_event.is_set():
                return Raised(Closed())
            raise  # It may be Ctrl-C, which asyncio raises in its stead.
        except BaseException as error:
            return Raised(error)
        finally:
            self._task = None

    def _given(self, given: Any) -> Any:
        return self._drained(given) if isinstance(given, AsyncGenerator) else given

    def _drained(self, outputs: AsyncGenerator[Any, None]) -> Generator[Any, None, None]:
        try:
            while (output := self.run(self.next, outputs)) is not NOTHING:
                yield output
                del output
        finally:
            with suppress(Closed):  # After a stop, the end of the event loop closes it.
                self.run(outputs.aclose)


async def awaited(method: Any, *arguments: Any) -> Any:
    given = method(*arguments)
    return await given if isawaitable(given) else given
