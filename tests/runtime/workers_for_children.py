"""Workers for the tests of children: child processes import this file."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from my_pipeline.pipeline_core import BaseWorker, FailedItem, PipelineManager, SubTaskPoolWorker


def in_a_child() -> bool:
    return multiprocessing.parent_process() is not None


def wait_for(path: Path, seconds: float = 60) -> None:
    """Return once the file exists: how a test tells a child to go on."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} never came")
        time.sleep(0.005)


class Pool(SubTaskPoolWorker[Any, Any, Any, Any]):
    """A pool of child processes whose sub-tasks are the items of another worker, one of which each child has."""

    def __init__(self, worker_class: Any, sub_workers: int, **arguments: Any) -> None:
        super().__init__(sub_workers=sub_workers, executor="process")
        self.worker_class, self.arguments = worker_class, arguments

    def setup(self) -> None:
        if in_a_child():  # And not in the one that splits and merges.
            self.worker = self.worker_class(**self.arguments)
            self.worker.name, self.worker.index = self.name, self.index
            self.worker.stop_event, self.worker.logger = self.stop_event, self.logger
            self.worker.setup()

    def process_sub_task(self, sub: Any) -> Any:
        return self.worker.process_item(sub)

    def teardown(self) -> None:
        if in_a_child() and hasattr(self, "worker"):
            self.worker.teardown()


class Negate(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return -item


class OneByOne(BaseWorker[int, float]):
    """Refuses every batch of several items. Of one alone it says when its call began."""

    def process_batch(self, items: list[int]) -> list[float | None]:
        if len(items) > 1:
            raise ValueError("too many")
        return [time.monotonic()]


class WhereAmI(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "folder": os.getcwd(),
            "environment": dict(os.environ),
            "path": list(sys.path),
            "name": self.name,
            "index": self.index,
        }


class Unpicklable(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


class FailsInOneSetup(BaseWorker[Any, Any]):
    """The third child is not set up."""

    def __init__(self, how: str) -> None:
        self.how = how

    def setup(self) -> None:
        if self.index == 2:
            self.load_the_model()

    def load_the_model(self) -> None:
        if self.how == "error":
            raise FileNotFoundError("no model here")
        if self.how == "unpicklable error":
            raise Unpicklable(1, 2)
        if self.how == "sys.exit":
            sys.exit("no licence")
        os._exit(7)

    def process_item(self, item: Any) -> Any:
        return item


class FailsInChildInit(BaseWorker[Any, Any]):
    def __init__(self) -> None:
        if in_a_child():
            raise LookupError("no such device")

    def process_item(self, item: Any) -> Any:
        return item


class DoesNotUnpickle:
    def __init__(self, kind: type[BaseException] = ValueError) -> None:
        self.kind = kind

    def __reduce__(self) -> Any:
        return _raise, (self.kind,)


def _raise(kind: type[BaseException]) -> None:
    raise kind("an old version")


class TakesAnything(BaseWorker[Any, Any]):
    def __init__(self, anything: object = None) -> None:
        pass

    def process_item(self, item: Any) -> Any:
        return item


class DiesAndCannotBeSetUpAgain(BaseWorker[Any, Any]):
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def setup(self) -> None:
        if self.mark.exists():
            raise FileNotFoundError("the device is gone")

    def process_item(self, item: int) -> int:
        if item == 2:
            self.mark.touch()
            os._exit(9)
        return item


class DiesOnce(BaseWorker[Any, Any]):
    """Item 2 kills its process in its first attempt."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def process_item(self, item: int) -> int:
        if item == 2 and not self.mark.exists():
            self.mark.touch()
            os._exit(9)
        return item


class TellsItsProcess(BaseWorker[Any, Any]):
    """Item 2 kills its process."""

    def process_item(self, item: int) -> tuple[int, int]:
        if item == 2:
            os._exit(9)
        return item, os.getpid()


class WaitsForStop(BaseWorker[Any, Any]):
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def process_item(self, item: Any) -> Any:
        self.mark.touch()
        if not self.stop_event.wait(60):
            raise TimeoutError("no stop came")
        return item


class WaitsForStopInSetup(BaseWorker[Any, Any]):
    def __init__(self, mark: Path, anything: object = None) -> None:
        self.mark = mark

    def setup(self) -> None:
        self.mark.touch()
        if not self.stop_event.wait(60):
            raise TimeoutError("no stop came")

    def process_item(self, item: Any) -> Any:
        return item


class Stops(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        if item == 20:
            self.stop_event.set()
        return item


class Logs(BaseWorker[Any, Any]):
    def setup(self) -> None:
        self.logger.warning("in setup")

    def process_item(self, item: str) -> str:
        self.logger.warning("item %s", item)
        self.logger.debug("a detail of %s", item)
        logging.getLogger("of.the.user").warning("a library speaks of %s", item)
        if item == "b":
            try:
                raise ValueError("bad luck")
            except ValueError:
                self.logger.exception("caught", extra={"colour": "red"})
        return item

    def teardown(self) -> None:
        self.logger.warning("in teardown")


class FailsInTeardown(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item

    def teardown(self) -> None:
        raise OSError("the file is not flushed")


class SlowToLeave(BaseWorker[Any, Any]):
    def __init__(self, begun: Path, go: Path) -> None:
        self.begun, self.go = begun, go

    def process_item(self, item: Any) -> Any:
        return item

    def teardown(self) -> None:
        self.begun.touch()
        wait_for(self.go)


class HasChildren(BaseWorker[str, Any]):
    """Does an item in a process of its own."""

    def process_item(self, item: str) -> Any:
        if item == "subprocess":
            command = [sys.executable, "-c", "print(6 * 7)"]
            return int(subprocess.run(command, capture_output=True, check=True).stdout)
        if item == "multiprocessing":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                return pool.apply(int, ("42",))
        manager = PipelineManager().add_worker(Negate, executor="process")
        (answer,) = manager.run([-42])
        return answer


class RefusesSome(BaseWorker[int, int]):
    """Drops every fifth item, and fails for every seventh."""

    def process_item(self, item: int) -> Any:
        if item % 7 == 6:
            raise ValueError(f"{item} is refused")
        if item % 11 == 10:
            return FailedItem(item, LookupError("not found"))
        return item * 10 if item % 5 else None

    def process_batch(self, items: list[int]) -> list[Any]:
        return [self.process_item(item) for item in items]


class Expands(BaseWorker[int, int]):
    """Yields the item so many times, modulo 4; and fails behind its first output for every ninth."""

    def process_item(self, item: int) -> Iterator[Any]:  # type: ignore[override]
        for number in range(item % 4):
            yield item * 10 + number
            if item % 9 == 8:
                raise ValueError(f"{item} breaks off")
        if item % 6 == 5:
            yield FailedItem(item, LookupError("not found"))


class SucceedsLater(BaseWorker[int, int]):
    """Each item succeeds in its second attempt; every fifth does not. Attempts are counted by item, whoever makes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def process_item(self, item: int) -> int:
        try:
            (self.folder / str(item)).touch(exist_ok=False)
        except FileExistsError:
            if item % 5:
                return item
        raise ValueError(f"{item} fails")


class Counts(BaseWorker[Any, Any]):
    """An item, and how often it has been worked on, whoever did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def process_item(self, item: Any) -> Any:
        if item == "as a lambda":
            return lambda: item
        if item == "as what does not unpickle":
            return DoesNotUnpickle()
        with (self.folder / str(item)).open("a") as file:
            file.write("x")
        return item


class Meets(BaseWorker[int, int]):
    """Calls of a millisecond. Those for -1 and -2 return once both have begun."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def process_item(self, item: int) -> int:
        time.sleep(1e-3)
        if item < 0:
            (self.folder / str(item)).touch()
            wait_for(self.folder / str(-3 - item))
        return item


class Stuck(BaseWorker[Any, Any]):
    """Says which process it is in, and does not return, or not before the stop."""

    def __init__(self, folder: Path, until_the_stop: bool = False) -> None:
        self.folder, self.until_the_stop = folder, until_the_stop

    def process_item(self, item: int) -> int:
        (self.folder / str(os.getpid())).touch()
        if item >= 2 and self.until_the_stop:
            self.stop_event.wait()
        elif item >= 2:
            threading.Event().wait()
        return item


class TellsOfEachCall(BaseWorker[int, int]):
    """Leaves a mark for each call that is under way, with its process. Calls take some milliseconds."""

    def __init__(self, folder: Path, expands: bool = False) -> None:
        self.folder, self.expands = folder, expands

    def process_item(self, item: int) -> Any:
        (self.folder / f"{item} {os.getpid()}").touch()
        time.sleep(0.002)
        return iter_of(item) if self.expands else -item

    def process_batch(self, items: list[int]) -> list[Any]:
        return [self.process_item(item) for item in items]


def iter_of(item: int) -> Iterator[int]:
    yield item
    yield -item


class NeverTwice(BaseWorker[int, Any]):
    """A generator for some items. Each item is a file that may be made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def process_item(self, item: int) -> Any:
        (self.folder / str(item)).touch(exist_ok=False)
        return (item for _ in range(2000)) if item % 100 == 50 else item


class Waits(BaseWorker[int, str]):
    """Gives one output, and another once there is a file of that name."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def process_item(self, item: int) -> Generator[str, None, None]:
        yield "first"
        wait_for(self.file)
        yield "second"


class EndsOddly(BaseWorker[str, Any]):
    """Gives two outputs, and then one that does not pickle, or none in time, or the end of the process."""

    def process_item(self, item: str) -> Generator[Any, None, None]:
        yield 1
        yield 2
        if item == "lambda":
            yield lambda: item
        elif item == "late":
            time.sleep(60)
        elif item == "killed":
            time.sleep(0.2)  # What it gave in the last millisecond would be lost.
            os.kill(os.getpid(), signal.SIGKILL)
        yield 3
