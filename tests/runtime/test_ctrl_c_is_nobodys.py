"""R8: Ctrl-C is nobody's failure. Wherever it strikes in the main thread, it stops the run and is raised, unchanged.

Each case runs in a process of its own, which sends the signal to itself.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot send itself a Ctrl-C")

HEAD = """
import itertools, logging, os, random, signal, sys, threading, time
from my_pipeline.pipeline_core import BaseWorker, FailedItem, Observer, PipelineManager, SubTaskPoolWorker

signal.signal(signal.SIGINT, signal.default_int_handler)
at = 3  # The item at which it strikes.


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


class Item:
    def __init__(self, number):
        self.number = number

    def __repr__(self):
        if WHERE == "the text of an item" and self.number == at:
            ctrl_c()
        return str(self.number)


class Refused(Exception):
    def __init__(self, number):
        self.number = number
        self.__notes__ = [self] if WHERE == "a note of an error" else []

    def __str__(self):
        if WHERE in ("the text of an error", "a note of an error") and self.number == at:
            ctrl_c()
        return str(self.number)


class Work(BaseWorker):
    def __init__(self):
        self.strike("__init__")

    def strike(self, where, number=at):
        if WHERE == where and number == at:
            ctrl_c()

    def setup(self):
        self.strike("setup")

    def process_item(self, item):
        self.strike("process_item", item.number)
        raise Refused(item.number)

    def process_batch(self, items):
        for item in items:
            self.strike("process_batch", item.number)
            if len(items) == 1:
                self.strike("an item of a batch, alone", item.number)
        raise Refused(items[0].number)

    def teardown(self):
        self.strike("teardown")


class Yields(Work):
    def process_item(self, item):
        try:
            self.strike("the first output of a generator", item.number)
            yield item
            self.strike("a generator", item.number)
            yield item
        finally:
            self.strike("the end of a generator", item.number)


class Hides(Work):
    # What a stage does with it on its way is the stage's own affair, as long as it gets out.
    def process_item(self, item):
        try:
            self.strike("a finally", item.number)
        finally:
            self.cleaned = True
        raise Refused(item.number)


class Pool(SubTaskPoolWorker):
    def strike(self, where, number):
        if WHERE == where and number == at:
            ctrl_c()

    def split(self, item):
        self.strike("split", item.number)
        return [item, item]

    def process_sub_task(self, sub):
        self.strike("process_sub_task", sub.number)
        return sub

    def merge(self, item, results):
        self.strike("merge", item.number)
        raise Refused(item.number)


class Given(Work):
    def process_item(self, item):
        return FailedItem(item, Refused(item.number))


class Watches(Observer):
    every_call = True

    def called(self, stage, index, *rest):
        if WHERE == "an observer" and index == at:
            ctrl_c()


class Handler(logging.Handler):
    def emit(self, record):
        record.getMessage()
        if WHERE == "a log handler" and getattr(record, "item_index", None) == at:
            ctrl_c()


logging.getLogger("my_pipeline.pipeline_core").addHandler(Handler())


def source():
    for number in itertools.count():
        if number == at and WHERE == "the source":
            ctrl_c()
        if WHERE == "a failed item of the source" and number == at:
            yield FailedItem(Item(number), Refused(number))
        yield Item(number)


def on_dead_letter(letter):
    if WHERE == "on_dead_letter" and letter.index == at:
        ctrl_c()


KINDS = {
    "an item of a batch, alone": Work, "process_batch": Work, "the first output of a generator": Yields,
    "a generator": Yields, "the end of a generator": Yields, "split": Pool, "process_sub_task": Pool, "merge": Pool,
    "a failed item": Given, "a finally": Hides,
}


def build(**options):
    manager = PipelineManager(on_error="skip", on_dead_letter=on_dead_letter, **options).observe(Watches())
    batch_size = 2 if "batch" in WHERE else None
    return manager.add_worker(KINDS.get(WHERE, Work), name="stage", batch_size=batch_size)


def see(manager):
    report = manager.report
    for _ in range(2000):  # Ctrl-C may have struck while the threads were being started: they leave, and are not waited for.
        left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        if not left:
            break
        time.sleep(0.01)
    letters = [letter.item.number for letter in report.dead_letters]
    assert letters == list(range(len(letters))), letters
    assert at not in letters or WHERE in AFTER, letters
    print(report.state, report.error, report.imbalances(), left)
"""

# There the item has its dead letter already, or gets it on the way out.
AFTER = ["the text of an item", "on_dead_letter", "a log handler", "teardown", "an observer", "the end of a generator"]

SERIAL = """
manager = build(max_failures=MAX_FAILURES)
try:
    for _ in manager.run(source() if WHERE != "teardown" else [], serial=True):
        pass
    print("lost")
except KeyboardInterrupt as error:
    assert type(error) is KeyboardInterrupt
    see(manager)
"""

PLACES = [
    "the text of an item",
    "the text of an error",
    "a note of an error",
    "setup",
    "process_item",
    "process_batch",
    "an item of a batch, alone",
    "teardown",
    "the first output of a generator",
    "a generator",
    "the end of a generator",
    "a finally",
    "split",
    "process_sub_task",
    "merge",
    "an observer",
    "a log handler",
    "the source",
    "a failed item of the source",
    "on_dead_letter",
]


def run(tmp_path: Path, script: str) -> "subprocess.CompletedProcess[str]":
    path = tmp_path / "script.py"
    path.write_text(script, encoding="utf-8")
    return subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("max_failures", [None, 1.0])
@pytest.mark.parametrize("where", PLACES)
def test_r8_ctrl_c_in_the_plain_loop_is_raised_wherever_it_strikes(
    where: str, max_failures: float | None, tmp_path: Path
) -> None:
    """Also where every item fails and is skipped."""
    script = f"WHERE, MAX_FAILURES, AFTER = {where!r}, {max_failures!r}, {AFTER!r}\n{HEAD}{SERIAL}"
    if where == "a failed item of the source":
        script = script.replace('WHERE == "the text of an error"', "True").replace(
            'in ("the text of an error", "a note of an error")', 'in ("a failed item of the source",)'
        )
    done = run(tmp_path, script)
    assert done.stdout == "stopped None [] []\n", done.stderr
    assert "Traceback" not in done.stderr


MANY_TIMES = """
lost, rounds = 0, 60


def again(ignored):
    # Python itself drops an error of a weak set's callback, and so a Ctrl-C that strikes there: it is pressed again.
    if ignored.exc_type is KeyboardInterrupt and ignored.object.__module__ == "_weakrefset":
        os.kill(os.getpid(), signal.SIGINT)
    else:
        sys.__unraisablehook__(ignored)


sys.unraisablehook = again


class Spins(BaseWorker):
    # Every item fails, at once.
    def process_item(self, item):
        raise ValueError(item)


def strike(go):
    go.wait()
    time.sleep(random.random() * 0.003)
    os.kill(os.getpid(), signal.SIGINT)


for number in range(rounds):
    manager = PipelineManager(on_error="skip", max_failures=(None, 1.0)[number % 2]).add_worker(Spins)
    go = threading.Event()

    def source():
        go.set()
        yield from itertools.count()

    striker = threading.Thread(target=strike, args=(go,))
    striker.start()
    try:
        for _ in manager.run(source(), serial=SERIALLY):
            pass
        lost += 1
    except KeyboardInterrupt:
        report = manager.report
        assert report.state == "stopped", report
        assert not report.imbalances(), report
        assert report.error is None, report
        assert all(type(letter.error) is ValueError for letter in report.dead_letters)
    striker.join()
print("lost", lost)
"""


@pytest.mark.parametrize("serially", [True, False], ids=["serial", "threads"])
def test_r8_no_ctrl_c_of_many_is_lost_where_every_item_fails(serially: bool, tmp_path: Path) -> None:
    """They strike at random, in the stage, in the core, and between the two."""
    done = run(tmp_path, f"WHERE, SERIALLY, AFTER = '', {serially}, []\n{HEAD}{MANY_TIMES}")
    assert done.stdout == "lost 0\n", done.stderr


THREADS = """
class Fails(BaseWorker):
    # Each item fails in a thread of its own, while the main thread is in the loop or waits.
    def process_item(self, item):
        if item.number > 5:
            self.stop_event.wait()
        raise Refused(item.number)


class Strikes(BaseWorker):
    def process_item(self, item):
        if item.number == 5:
            if ELSEWHERE:
                signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            else:
                os.kill(os.getpid(), signal.SIGINT)
            self.stop_event.wait()
        return item


manager = PipelineManager(on_error="skip", max_failures=MAX_FAILURES)
manager.add_worker(Strikes, workers=WORKERS).add_worker(Fails, workers=WORKERS)
try:
    if BACKGROUND:
        manager.start(source())
        manager.wait_for_completion()
    else:
        for _ in manager.run(source()):
            pass
except KeyboardInterrupt as error:
    assert type(error) is KeyboardInterrupt
    see(manager)
"""


@pytest.mark.parametrize("elsewhere", [False, True], ids=["the main thread", "another thread"])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("max_failures", [None, 1.0])
def test_r8_ctrl_c_beside_threads_that_fail_is_raised_and_is_no_letter(
    max_failures: float | None, background: bool, workers: int, elsewhere: bool, tmp_path: Path
) -> None:
    """Also where the system gives the signal to another thread, which does not wake the main thread from its sleep."""
    names = f"WHERE, MAX_FAILURES, BACKGROUND, WORKERS = '', {max_failures}, {background}, {workers}"
    names = f"{names}\nELSEWHERE, AFTER = {elsewhere}, ['']"
    done = run(tmp_path, f"{names}\n{HEAD}{THREADS}")
    assert done.stdout == "stopped None [] []\n", done.stderr


SHORT_RUNS = """
class Passes(BaseWorker):
    def process_item(self, item):
        return item


def interrupt(*_):
    if interrupting:
        raise KeyboardInterrupt


signal.signal(signal.SIGALRM, interrupt)
sys.setswitchinterval(1e-5)
chance = random.Random(8)
for number in range(600):
    manager = PipelineManager(queue_size=1 + number % 5)
    manager.add_worker(Passes, name="first", workers=1 + number % 3).add_worker(Passes, name="second")
    try:
        interrupting = True
        signal.setitimer(signal.ITIMER_REAL, 1e-6 + chance.random() * 0.006)
        for _ in manager.run(iter(range(20 if number % 2 else 2000)), serial=number % 3 == 0):
            pass
    except (KeyboardInterrupt, RuntimeError):  # CPython's own Thread.start() can turn it into "release unlocked lock".
        pass
    finally:
        interrupting = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    for _ in range(2000):
        if manager.report.state != "running" and threading.active_count() == 1:
            break
        time.sleep(0.01)
    else:
        print("run", number, manager.report.state, threading.enumerate())
print("over")
"""


@pytest.mark.parametrize("attempt", range(2))
def test_r8_a_ctrl_c_at_any_moment_of_a_short_run_leaves_no_thread_behind(attempt: int, tmp_path: Path) -> None:
    """Also where it strikes while the run begins, or ends, or in the middle of an event that is being set."""
    done = run(tmp_path, f"WHERE, AFTER = '', []\n{HEAD}{SHORT_RUNS}")
    assert done.stdout == "over\n", done.stderr


IN_A_THREAD = """
class Raises(BaseWorker):
    def process_item(self, item):
        raise KeyboardInterrupt


manager = PipelineManager(on_error="skip").add_worker(Raises)
try:
    list(manager.run(source()))
except Exception as error:
    print(type(error).__name__, type(error.__cause__).__name__)
"""


def test_r5_a_keyboard_interrupt_that_a_worker_raises_in_its_thread_is_its_own_error(tmp_path: Path) -> None:
    done = run(tmp_path, f"WHERE, AFTER = '', []\n{HEAD}{IN_A_THREAD}")
    assert done.stdout == "PipelineError KeyboardInterrupt\n", done.stderr
