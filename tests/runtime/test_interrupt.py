"""R8: Ctrl-C in the main thread stops the run, cleans up and is raised; a second one ends at once.

And a program ends that still holds its results.
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages_of_children import run_program

both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot send another one a Ctrl-C")

HEAD = """
import itertools, os, signal, sys, threading, time, traceback
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

signal.signal(signal.SIGINT, signal.default_int_handler)


def say(text):
    sys.stdout.write(text + "\\n")  # In one piece: several threads speak.
    sys.stdout.flush()


def source():
    try:
        yield from itertools.count()
    finally:
        say("source closed")


class Pass(BaseWorker):
    def process_item(self, item):
        return item

    def teardown(self):
        say("teardown")


def place():
    # Where the main thread is: its frames, and the instruction in each.
    frame = sys._current_frames()[threading.main_thread().ident]
    return [(id(inner), inner.f_lasti) for inner, _ in traceback.walk_stack(frame)]


def until_main_thread_waits(elsewhere_than=None):
    # Python forgets a signal that strikes in the instant before a thread blocks, until the next.
    last, times = None, 0
    while times < 20:
        now = place()
        times = times + 1 if now == last != elsewhere_than else 0
        last = now
        time.sleep(0.001)
    return last


class Waits(Pass):
    def process_item(self, item):
        if item == 5:
            if threading.current_thread() is not threading.main_thread():
                until_main_thread_waits()
            say("ready")
            while not self.stop_event.wait(1):
                pass
        return item


class Stuck(Pass):
    def process_item(self, item):
        until_main_thread_waits()
        say("ready")
        self.stop_event.wait()
        until_main_thread_waits()
        say("stopping")
        threading.Event().wait()  # A call that never returns.


class InFlight(Pass):
    is_so = threading.Event()

    def process_item(self, item):
        if item == 1:
            self.is_so.set()
            self.stop_event.wait()
            waits_for_the_end = until_main_thread_waits()
            say("ready")
            until_main_thread_waits(elsewhere_than=waits_for_the_end)
        return item


class Fails(Pass):
    def process_item(self, item):
        InFlight.is_so.wait()
        raise ValueError("a failure")


def see(manager):
    left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    report = manager.report
    say(f"{report.state} {report.imbalances()} {left}")
"""


class Child:
    """A pipeline in a process of its own."""

    def __init__(self, script: Path) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, str(script)], stdout=pipe, stderr=pipe, text=True)

    def wait_for(self, line: str) -> None:
        assert self.process.stdout is not None
        for found in self.process.stdout:
            if found.strip() == line:
                return
        raise AssertionError(f"the child ended without saying {line!r}: {self.process.communicate()[1]}")

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[list[str], str]:
        """What it said since, and what stands on its stderr."""
        output, errors = self.process.communicate(timeout=60)
        return output.splitlines(), errors


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[[str], Child]]:
    children = []

    def start(script: str) -> Child:
        path = tmp_path / "script.py"
        path.write_text(HEAD + script, encoding="utf-8")
        children.append(Child(path))
        return children[-1]

    yield start
    for started in children:
        started.process.kill()
        started.process.communicate()


SCRIPTS = {
    "in the loop": """
manager = PipelineManager().add_worker(Pass).add_worker(Waits)
try:
    for item in manager.run(source()):
        pass
except KeyboardInterrupt:
    see(manager)
    raise
""",
    "in wait_for_completion": """
manager = PipelineManager().add_worker(Pass).add_worker(Waits)
manager.start(source())
try:
    manager.wait_for_completion()
except KeyboardInterrupt:
    see(manager)
    raise
""",
    "in a serial loop": """
manager = PipelineManager().add_worker(Pass).add_worker(Waits)
try:
    for item in manager.run(source(), serial=True):
        pass
except KeyboardInterrupt:
    see(manager)
    raise
""",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_r8_ctrl_c_stops_the_run_cleans_up_and_is_raised(script: str, child: Callable[[str], Child]) -> None:
    running = child(script)
    running.wait_for("ready")
    running.interrupt()
    output, errors = running.end()
    assert sorted(output) == ["source closed", "stopped [] []", "teardown", "teardown"]
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert running.process.returncode == -signal.SIGINT


def test_r8_ctrl_c_while_a_failed_run_ends_is_raised_after_that(child: Callable[[str], Child]) -> None:
    running = child(
        """
manager = PipelineManager().add_worker(InFlight).add_worker(Fails)
try:
    for item in manager.run(source()):
        pass
except KeyboardInterrupt:
    see(manager)
    manager.wait_for_completion()
"""
    )
    running.wait_for("ready")
    running.interrupt()
    output, errors = running.end()
    assert output == ["teardown", "failed [] []"]
    assert "PipelineError: stage 'fails' failed" in errors


def test_r8_ctrl_c_while_the_threads_are_started_forgets_none(child: Callable[[str], Child]) -> None:
    running = child(
        """
class SetsUp(Pass):
    def setup(self):
        say("setup")
        time.sleep(0.3)


def start_and_interrupt(thread):
    really_start(thread)
    if thread.name.endswith("sets_up-1"):
        until_main_thread_waits()
        os.kill(os.getpid(), signal.SIGINT)


really_start, threading.Thread.start = threading.Thread.start, start_and_interrupt
manager = PipelineManager().add_worker(SetsUp, workers=3)
try:
    list(manager.run(range(10)))
except KeyboardInterrupt:
    see(manager)
"""
    )
    output, errors = running.end()
    assert (output[-1], errors) == ("stopped [] []", "")
    # The third worker is set up if it starts before the stop.
    assert output.count("setup") == output.count("teardown") >= 2


def test_r8_ctrl_c_in_a_teardown_of_the_plain_loop_ends_the_run_nevertheless(child: Callable[[str], Child]) -> None:
    running = child(
        """
class Interrupted(Pass):
    def teardown(self):
        signal.raise_signal(signal.SIGINT)


manager = PipelineManager().add_worker(Pass).add_worker(Interrupted)
results = manager.run(source(), serial=True)
next(results)
try:
    results.close()
except KeyboardInterrupt:
    see(manager)
manager.wait_for_completion()
"""
    )
    output, errors = running.end()
    assert (sorted(output), errors) == (["source closed", "stopped [] []", "teardown"], "")


def test_r8_whatever_a_signal_handler_raises_ends_the_run_as_ctrl_c_does(child: Callable[[str], Child]) -> None:
    running = child(
        """
signal.signal(signal.SIGINT, lambda *_: sys.exit(3))
manager = PipelineManager().add_worker(Pass).add_worker(Waits)
manager.start(source())
try:
    manager.wait_for_completion()
finally:
    see(manager)
"""
    )
    running.wait_for("ready")
    running.interrupt()
    output, _ = running.end()
    assert sorted(output) == ["source closed", "stopped [] []", "teardown", "teardown"]
    assert running.process.returncode == 3


LEAVING = {
    "its own error": ('raise ValueError("its own")', 1),
    "an error that holds the results": ("raise ValueError(results)", 1),
    "a ctrl-c in the loop": ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT),
    "a cycle": ("cycle = [results]; cycle.append(cycle); return", 0),
    "a global": ("sys.kept = results; return", 0),
}


@pytest.mark.parametrize(("leave", "code"), LEAVING.values(), ids=LEAVING.keys())
def test_r6_a_program_ends_that_still_holds_its_results(leave: str, code: int, child: Callable[[str], Child]) -> None:
    running = child(
        f"""
def main():
    results = PipelineManager().add_worker(Pass).run(source())
    for item in results:
        {leave}


main()
"""
    )
    _, errors = running.end()
    assert "Exception ignored" not in errors
    assert running.process.returncode == code


def test_r8_a_second_ctrl_c_ends_at_once(child: Callable[[str], Child]) -> None:
    running = child(
        """
manager = PipelineManager().add_worker(Stuck)
for item in manager.run(source()):
    pass
"""
    )
    running.wait_for("ready")
    running.interrupt()
    running.wait_for("stopping")
    running.interrupt()
    running.end()
    assert running.process.returncode == -signal.SIGINT


AT_ANY_ITEM = """
import itertools, random, signal, sys
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

class Pass(BaseWorker):
    def process_item(self, item):
        return item

class Twice(BaseWorker):
    def process_item(self, item):
        yield item
        yield item

ends, chance = set(), random.Random(8)

def see(item):
    if item == 0:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.005))

signal.signal(signal.SIGALRM, signal.default_int_handler)
for _ in range(500):
    manager = PipelineManager().add_worker(Pass).add_worker(Twice)
    try:
        for item in manager.run(itertools.count(), serial=sys.argv[1] == "True"):
            see(item)  # No condition here: see the test.
    except KeyboardInterrupt:
        ends.add((manager.report.state, *manager.report.imbalances()))
print(ends)
"""


@both_modes
def test_r8_ctrl_c_at_any_item_is_raised_when_the_run_has_ended(serial: bool) -> None:
    """CPython 3.13 finds no `finally` around a loop that a signal strikes as it goes back after a condition."""
    done = run_program(["-c", AT_ANY_ITEM, str(serial)])
    assert done.stdout == "{('stopped',)}\n", done.stderr
