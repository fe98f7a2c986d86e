"""Consumers that leave, throw or forget; Ctrl-C and SIGTERM."""

import contextlib
import gc
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

from fault_table import Counted, Same, SubTaskSame, fault, later, pipeline, settled
from watch import eventually


@fault
def the_consumer_leaves_at_the_first_item() -> None:
    for serial in (False, True):
        for workers in (1, 3):
            source = Counted()
            manager = pipeline(Same, (Same, {"workers": workers}), queue_size=3)
            for _ in manager.run(source, serial=serial):
                break
            gc.collect()
            assert source.let_go()
            assert eventually(lambda manager=manager: manager.report.state == "stopped")
            settled(manager)


@fault
def the_consumer_raises() -> None:
    manager = pipeline(Same)

    def consume() -> None:
        for item in manager.run(itertools.count()):
            item / 0

    with pytest.raises(ZeroDivisionError):
        consume()
    assert eventually(lambda: manager.report.state == "stopped")
    settled(manager)


@fault
def the_consumer_raises_in_the_middle() -> None:
    manager = pipeline(Same)
    iterator = manager.run(itertools.count())
    next(iterator)
    with pytest.raises(ZeroDivisionError), contextlib.closing(iterator):
        raise ZeroDivisionError
    settled(manager, "stopped")


@fault
def the_consumer_never_iterates() -> None:
    source = Counted()
    manager = pipeline(Same)
    iterator = manager.run(source)
    iterator.close()
    assert source.read == 0
    settled(manager)


@fault
def the_consumer_iterates_twice() -> None:
    manager = pipeline(Same)
    iterator = manager.run(range(3))
    assert (list(iterator), list(iterator)) == ([0, 1, 2], [])
    for again in (lambda: manager.run([]), lambda: manager.start([]), lambda: manager.add_worker(Same)):
        with pytest.raises(RuntimeError):
            again()
    settled(manager, "completed")


@fault
def an_abandoned_iterator_is_collected_in_a_thread_of_the_pipeline() -> None:
    class Collects(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item > 2:
                gc.collect()
            return item

    class CollectsInPool(SubTaskSame):
        def process_sub_task(self, sub: int) -> int:
            if sub > 2:
                gc.collect()
            return sub

    def collecting() -> Iterator[int]:
        for number in itertools.count():
            if number > 2:
                gc.collect()
            yield number

    for stage, source in ((Collects, itertools.count), (CollectsInPool, itertools.count), (Same, collecting)):
        for workers in (1, 3):
            manager = pipeline((stage, {"workers": workers}))
            iterator = manager.run(source())
            gc.disable()
            next(iterator)
            cycle = [iterator]
            cycle.append(cycle)  # type: ignore[arg-type]
            del cycle, iterator
            gc.enable()
            gone = eventually(lambda manager=manager: manager.report.state == "stopped", 2)
            if not gone:  # All is full, and nobody calls: the next collection in any thread will do.
                gc.collect()
            assert eventually(lambda manager=manager: manager.report.state == "stopped")
            settled(manager)


class Interrupt(KeyboardInterrupt):
    pass


@fault
def ctrl_c_at_any_moment() -> None:
    draw = random.Random(7)

    def begin(manager: PipelineManager, source: Counted, serial: bool, timers: list[threading.Timer]) -> Iterator[int]:
        timers.append(later(draw.random() * 0.02, lambda: os.kill(os.getpid(), signal.SIGUSR1)))
        return manager.run(source, serial=serial)

    def interrupt(*_: object) -> None:
        raise Interrupt

    usual = signal.signal(signal.SIGUSR1, interrupt)
    try:
        for number in range(40):
            serial = number % 4 == 3
            source = Counted()
            manager = pipeline((Same, {"workers": 1 + number % 3}), Same, queue_size=1 + number % 5)
            timers: list[threading.Timer] = []
            with pytest.raises((Interrupt, RuntimeError)) as caught:
                deque(begin(manager, source, serial, timers), maxlen=0)
            # CPython's own Thread.start() can turn it into "release unlocked lock".
            assert isinstance(caught.value, Interrupt) or isinstance(caught.value.__context__, Interrupt)
            del caught  # It knows every frame.
            for timer in timers:
                timer.join()
            gc.collect()
            assert not source.read or source.let_go()
            assert not source.read or eventually(lambda manager=manager: manager.report.state != "running")
            settled(manager)
    finally:
        signal.signal(signal.SIGUSR1, usual)


def child(mode: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "interrupted_child", mode]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    return process


def interrupted(mode: str, signals: list[int], code: int) -> str:
    process = child(mode)
    try:
        for number in signals:
            time.sleep(0.1)
            process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, output
    return output


@fault
def ctrl_c_in_a_real_process() -> None:
    for mode in ("run", "wait", "serial"):
        assert interrupted(mode, [signal.SIGINT], 130) == "interrupted balanced closed\n"


@fault
def ctrl_c_in_a_real_process_with_a_process_pool() -> None:
    pipeline(SubTaskSame)  # Skips the test where there is no pool.
    assert interrupted("processes", [signal.SIGINT], 130) == "interrupted balanced closed\n"


@fault
def sigterm_whose_handler_stops() -> None:
    for mode in ("run", "wait", "serial"):
        assert interrupted(mode, [signal.SIGTERM], 143) == "stopped balanced closed\n"


@fault
def a_second_ctrl_c_ends_at_once() -> None:
    interrupted("stuck", [signal.SIGINT, signal.SIGINT], 130)
