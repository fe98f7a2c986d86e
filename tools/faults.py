"""What breaks, and who holds: each fault against the core and its peers, each in a process of its own.

python tools/faults.py                          all of them, as a table
python tools/faults.py --peers ours tutorial    only these columns; --only takes a part of a fault's name
python tools/faults.py --write                  puts the table into docs/guarantees.md

A verdict follows from what was observed: what the consumer got, which error reached it, which threads and processes are
left, how far the source was read, and how the process ended. Each peer is used as it documents: see `fault_peers.py`.
"""

import argparse
import gc
import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from fault_peers import PEERS, NotOffered, Run, Step

LIMIT = 10  # seconds for a cell; none of them needs three
PATIENCE = 3  # seconds for threads to end
TOO_FAR = 1000  # items read ahead of the consumer: with queues of 4, nobody needs a tenth of that
ITEMS, BAD = 20, 7
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "guarantees.md"
OK = "ok"

Verdict = str | None  # None: how the process ends is the verdict.
Fault = Callable[[type[Run]], Verdict]
FAULTS: dict[str, tuple[str, Fault]] = {}


def fault(promise: str, name: str) -> Callable[[Fault], Fault]:
    def enter(call: Fault) -> Fault:
        FAULTS[name] = (promise, call)
        return call

    return enter


# What the stages do.


class Injected(Exception):
    pass


class InjectedBase(BaseException):
    pass


class InjectedMute(Exception):
    def __str__(self) -> str:
        raise ValueError("an exception was asked")

    __repr__ = __str__


def same(item: Any) -> Any:
    return item


def slow(item: Any) -> Any:
    time.sleep(0.002)
    return item


def raises(error: Callable[[], BaseException]) -> Callable[[Any], Any]:
    def call(item: Any) -> Any:
        if item == BAD:
            raise error()
        return item

    return call


def dies(item: int) -> int:
    if item == BAD:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def gives_a_lambda(item: int) -> Any:
    return item if item != BAD else lambda: item


class Source:
    """Numbers, how many of them were read, and whether it was let go of."""

    def __init__(self, items: int | None = None, pause: float = 0) -> None:
        self.items, self.pause = items, pause
        self.read = 0
        self.closed = False

    def __iter__(self) -> Iterator[int]:
        try:
            for number in itertools.count() if self.items is None else range(self.items):
                self.read += 1
                if self.pause:
                    time.sleep(self.pause)
                yield number
        finally:
            self.closed = True


# What is observed.


def collect(run: Run) -> tuple[list[Any], BaseException | None]:
    results = []
    try:
        for result in run:
            results.append(result)
    except NotOffered:
        raise
    except BaseException as error:
        return results, error
    return results, None


def is_injected(error: BaseException | None) -> bool:
    """Whether that error, what caused it, or one of its group, speaks of what was injected."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup) and any(is_injected(part) for part in error.exceptions):
            return True
        text = type(error).__name__
        with suppress(BaseException):
            text += f" {error.args} {error}"
        if "Injected" in text:
            return True
        error = error.__cause__ or error.__context__
    return False


def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def quiet() -> str:
    """Whether all threads have ended."""
    gc.collect()
    return OK if eventually(lambda: threading.active_count() == 1) else "threads left"


def first(*verdicts: str) -> str:
    """The first that is not ok."""
    return next((verdict for verdict in verdicts if verdict != OK), OK)


def compared(results: Sequence[Any], expected: Sequence[Any]) -> str:
    if results == expected:
        return OK
    missing, extra = Counter(expected) - Counter(results), Counter(results) - Counter(expected)
    return "lost items silently" if missing else "invented items" if extra else "wrong order"


def all_come(run: Run, expected: Sequence[Any]) -> str:
    results, error = collect(run)
    return "an error from nowhere" if error is not None else first(compared(results, expected), quiet())


def error_comes(run: Run, before: Sequence[Any]) -> str:
    """All results before the error come, and then the error; nothing is left running."""
    results, error = collect(run)
    if error is None:
        return "error swallowed"
    if not is_injected(error):
        return "another error instead"
    error = None  # Its traceback may hold an iterator, and that its threads.
    if results != before:
        return "earlier results lost" if len(results) < len(before) else "results after the error"
    return quiet()


def only_that_fails(run: Run) -> str:
    """All results but that of the bad item come, and the program is told of it."""
    results, error = collect(run)
    others = [item for item in range(ITEMS) if item != BAD]
    if error is not None:
        return "ends the run"
    if results != others:
        told = len(run.skipped) + len(results) >= ITEMS
        return f"{len(others) - len(results)} other items fail, too" if told else "lost items silently"
    return first(OK if len(run.skipped) == 1 else "nobody is told", quiet())


# The faults.


def enter_errors() -> None:
    kinds: dict[str, tuple[str, Callable[[], BaseException]]] = {
        "a stage raises an Exception": ("R1", lambda: Injected(BAD)),
        "a stage raises SystemExit": ("R6", lambda: SystemExit("Injected")),
        "a stage raises a BaseException of its own": ("R6", lambda: InjectedBase(BAD)),
        "a stage raises StopIteration": ("R6", lambda: StopIteration("Injected")),
        "a stage raises an exception whose text raises": ("R4", InjectedMute),
    }
    for name, (promise, error) in kinds.items():

        @fault(promise, name)
        def stage_raises(peer: type[Run], error: Callable[[], BaseException] = error) -> Verdict:
            return error_comes(peer(range(ITEMS), Step(slow), Step(raises(error)), Step(same)), range_list(BAD))


def range_list(end: int) -> list[int]:
    return list(range(end))


enter_errors()


@fault("R1", "the source raises in mid-stream")
def source_raises(peer: type[Run]) -> Verdict:
    def source() -> Iterator[int]:
        yield from range(BAD)
        raise Injected

    return error_comes(peer(source(), Step(slow), Step(same)), range_list(BAD))


@fault("R6", "the source raises at once")
def source_raises_at_once(peer: type[Run]) -> Verdict:
    class Broken:
        def __iter__(self) -> Iterator[int]:
            raise Injected

    return error_comes(peer(Broken(), Step(same), Step(same)), [])


@fault("R10", "one worker cannot be set up")
def setup_raises(peer: type[Run]) -> Verdict:
    calls = itertools.count()

    def setup() -> None:
        if next(calls) == 0:
            raise Injected

    _, error = collect(peer(Source(100, 0.002), Step(same), Step(same, workers=2, setup=setup)))
    verdict = "error swallowed" if error is None else OK if is_injected(error) else "another error instead"
    error = None
    return first(verdict, quiet())


@fault("R10", "what was set up is torn down after an error")
def teardown_runs(peer: type[Run]) -> Verdict:
    up: list[int] = []
    down: list[int] = []
    stages = (
        Step(raises(lambda: Injected(BAD)), setup=lambda: up.append(1), teardown=lambda: down.append(1)),
        Step(same, workers=2, setup=lambda: up.append(1), teardown=lambda: down.append(1)),
    )
    _, error = collect(peer(range(ITEMS), *stages))
    gc.collect()
    torn_down = eventually(lambda: len(down) == len(up), 1)
    return first(OK if error else "error swallowed", OK if torn_down else f"{len(down)} of {len(up)} torn down")


@fault("R1", "calls of uneven length, four at a time")
def uneven_calls(peer: type[Run]) -> Verdict:
    def uneven(item: int) -> int:
        time.sleep(item * 7 % 5 * 0.004)
        return item

    return all_come(peer(range(40), Step(same), Step(uneven, workers=4), Step(same)), range_list(40))


@fault("R1", "items dropped in front of an ordered stage")
def dropped_before_ordered(peer: type[Run]) -> Verdict:
    def odd_is_none(item: int) -> int | None:
        return None if item % 2 else item

    stages = Step(odd_is_none, workers=2, drops=True), Step(slow, workers=3)
    return all_come(peer(range(40), *stages), list(range(0, 40, 2)))


@fault("R1", "a stage gives several outputs for an item, or none")
def expanding_stage(peer: type[Run]) -> Verdict:
    def several(item: int) -> Iterator[int]:
        return (item for _ in range(item % 3))

    expected = [item for item in range(ITEMS) for _ in range(item % 3)]
    return all_come(peer(range(ITEMS), Step(several, expands=True), Step(same)), expected)


@fault("R6", "fewer items than workers")
def fewer_items_than_workers(peer: type[Run]) -> Verdict:
    return all_come(peer(range(1), Step(same, workers=2), Step(same, workers=3), Step(same, workers=2)), [0])


class Awkward:
    """An item that wants to be asked nothing."""

    def refuse(self, *_: object) -> Any:
        raise ValueError("an item was asked")

    __eq__ = __bool__ = __len__ = __iter__ = __lt__ = refuse
    __hash__ = __repr__ = __str__ = __getitem__ = __contains__ = refuse


@fault("R6", "items that raise when compared, hashed, printed or asked for truth")
def awkward_items(peer: type[Run]) -> Verdict:
    items = [Awkward() for _ in range(ITEMS)]
    results, error = collect(peer(items, Step(slow), Step(slow, workers=2)))
    if error is not None:
        return "an error from nowhere"
    return first(compared([id(item) for item in results], [id(item) for item in items]), quiet())


@fault("R2", "a source without end, a consumer that pauses")
def slow_consumer(peer: type[Run]) -> Verdict:
    source = Source()
    iterator = iter(peer(source, Step(same), Step(same), Step(same)))
    results = [next(iterator)]
    eventually(lambda: source.read > TOO_FAR, 1)
    bounded = source.read <= TOO_FAR
    results += itertools.islice(iterator, 49)
    return first(OK if bounded else "unbounded", compared(results, range_list(50)))


@fault("R2", "one slow item among four workers, in order")
def slow_item(peer: type[Run]) -> Verdict:
    source, ahead = Source(3 * TOO_FAR), []

    def first_is_slow(item: int) -> int:
        if item == 0:
            eventually(lambda: source.read > TOO_FAR, 1)
            ahead.append(source.read)
        return item

    results, error = collect(peer(source, Step(first_is_slow, workers=4), Step(same)))
    if error is not None:
        return "an error from nowhere"
    return first(OK if ahead[0] <= TOO_FAR else "unbounded", compared(results, range_list(3 * TOO_FAR)))


@fault("R6", "the consumer leaves after three results")
def consumer_leaves(peer: type[Run]) -> Verdict:
    source = Source(pause=0.001)
    iterator: Any = iter(peer(source, Step(same), Step(same, workers=2), Step(same)))
    if peer is PEERS["pypeln"]:  # Its `ordered` gives nothing before the end; there is none.
        iterator = iter(peer(source, Step(same), Step(same), Step(same)))
    list(itertools.islice(iterator, 3))
    iterator.close()
    del iterator
    return first(quiet(), OK if eventually(lambda: source.closed) else "source not closed")


@fault("R7", "stop from another thread while the consumer waits")
def stop_from_another_thread(peer: type[Run]) -> Verdict:
    stopped: list[float] = []
    failed: list[BaseException] = []
    run = peer(Source(pause=0.001), Step(lambda _: None, drops=True), Step(same))

    def stop() -> None:
        stopped.append(time.monotonic())
        try:
            run.stop()
        except BaseException as error:
            failed.append(error)

    if type(run).stop is Run.stop:
        run.stop()
    timer = threading.Timer(0.5, stop)
    timer.start()
    collect(run)
    seconds = time.monotonic() - stopped[0]
    timer.join()
    return first(OK if seconds < 1 else f"takes {seconds:.0f} s", "stop() raises" if failed else OK, quiet())


@fault("R9", "a deadline passes")
def deadline_passes(peer: type[Run]) -> Verdict:
    def gets_stuck(item: int) -> int:
        time.sleep(2 if item == BAD else 0)
        return item

    _, error = collect(peer(Source(pause=0.001), Step(same), Step(gets_stuck), deadline=0.5))
    in_time = isinstance(error, TimeoutError)
    error = None
    return first(OK if in_time else "no TimeoutError", quiet())


@fault("R8", "Ctrl-C")
def ctrl_c(peer: type[Run]) -> Verdict:
    return interrupted(peer, Source(pause=0.005))


@fault("R8", "Ctrl-C while the source blocks in its own `next`")
def ctrl_c_while_the_source_blocks(peer: type[Run]) -> Verdict:
    def source() -> Iterator[int]:
        yield from range(3)
        time.sleep(3600)

    return interrupted(peer, source())


def interrupted(peer: type[Run], source: Iterable[int]) -> Verdict:
    def interrupt() -> None:
        say(interrupted=time.time())
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.7, interrupt)
    timer.daemon = True
    timer.start()
    for _ in peer(source, Step(same), Step(same), Step(same)):
        pass
    return None


@fault("R6", "the program ends in the middle of a run")
def program_ends(peer: type[Run]) -> Verdict:
    sys.modules["__main__"].kept = iterator = iter(peer(Source(), Step(same), Step(same)))  # type: ignore[attr-defined]
    next(iterator)
    return None


@fault("R5", "a failing item is skipped, and told of")
def failing_item_is_skipped(peer: type[Run]) -> Verdict:
    return only_that_fails(peer(range(ITEMS), Step(same), Step(raises(Injected)), Step(same), skip=True))


@fault("R11", "a child process is killed in the midst of an item")
def child_is_killed(peer: type[Run]) -> Verdict:
    return in_processes(peer, dies)


@fault("R11", "a child process gives what does not pickle")
def does_not_pickle(peer: type[Run]) -> Verdict:
    return in_processes(peer, gives_a_lambda)


def in_processes(peer: type[Run], call: Callable[[Any], Any]) -> str:
    try:
        return only_that_fails(peer(range(ITEMS), Step(call, workers=2, processes=True), skip=True))
    except NotOffered:
        if peer is not PEERS["pypeln"]:
            raise
    _, error = collect(peer(range(ITEMS), Step(call, workers=2, processes=True)))  # Its way: an error ends the run.
    told = error is not None
    error = None
    return first(OK if told else "lost items silently", quiet())


# One cell is one process.


def say(**facts: Any) -> None:
    sys.__stdout__.write(f"{json.dumps(facts)}\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


def observe(name: str, peer: str) -> None:
    """In the child: commit the fault, and say what became of it."""
    try:
        verdict = FAULTS[name][1](PEERS[peer])
    except NotOffered as error:
        say(missing=str(error))
    else:
        say(verdict=verdict)


def judge(name: str, peer: str) -> str:
    """The verdict on one cell, or "n/a: " and what the peer has not."""
    command = [sys.executable, __file__, "--cell", name, peer]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, errors="replace"
    )
    try:
        output, errors = child.communicate(timeout=LIMIT)
        in_time = True
    except subprocess.TimeoutExpired:
        in_time, (output, errors) = False, ("", "")
    ended = time.time()
    children_left = in_time and not eventually(lambda: not _group_lives(child.pid), 2)
    if not in_time or children_left:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    if not in_time:
        output, errors = child.communicate()
    facts: dict[str, Any] = {}
    for line in output.splitlines():
        with suppress(ValueError):
            facts |= json.loads(line)
    verdict = _verdict(facts, child.returncode, in_time, ended)
    if os.environ.get("FAULTS_VERBOSE"):
        sys.stderr.write(f"--- {name}, {peer}: {verdict} {facts} {child.returncode}\n{errors[-3000:]}\n")
    return first(verdict, "child processes left" if children_left else OK)


def _verdict(facts: dict[str, Any], code: int, in_time: bool, ended: float) -> str:
    if "missing" in facts:
        return f"n/a: {facts['missing']}"
    if (verdict := facts.get("verdict") or OK) != OK:
        return str(verdict)
    if not in_time:
        return "hang at exit" if "verdict" in facts else "hang"
    if "interrupted" in facts:
        seconds = ended - facts["interrupted"]
        return "exit 0 after Ctrl-C" if code == 0 else OK if seconds < PATIENCE else f"takes {seconds:.0f} s"
    return OK if code == 0 else f"crash, exit code {code}"


def _group_lives(group: int) -> bool:
    """Whether a process of that group runs; one that only waits for its parent to take note of its end does not."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], stdout=subprocess.PIPE, text=True, check=True).stdout
    states = [line.split() for line in listed.splitlines()]
    return any(state[0] == str(group) and not state[1].startswith("Z") for state in states)


# All cells are a table.


def table(names: Iterable[str], peers: Sequence[str], jobs: int) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The lines of the table, with its footnotes, and the verdicts."""
    names = list(names)
    cells = [(name, peer) for name in names for peer in peers]
    with ThreadPoolExecutor(jobs) as executor:
        verdicts = list(executor.map(lambda cell: judge(*cell), cells))
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    for (name, peer), verdict in zip(cells, verdicts, strict=True):
        found[name][peer] = verdict
    notes: list[str] = []
    lines = [f"| | {' | '.join(_title(peer) for peer in peers)} |", f"|---|{'---|' * len(peers)}"]
    for name in names:
        row = []
        for peer in peers:
            verdict = found[name][peer]
            if verdict.startswith("n/a: "):
                note = verdict[5:]
                notes += [note] * (note not in notes)
                verdict = f"n/a [{notes.index(note) + 1}]"
            row.append(verdict if verdict == OK or verdict.startswith("n/a") else f"**{verdict}**")
        lines.append(f"| {name} ({FAULTS[name][0]}) | {' | '.join(row)} |")
    held = [sum(found[name][peer] == OK for name in names) for peer in peers]
    asked = [sum(not found[name][peer].startswith("n/a") for name in names) for peer in peers]
    lines.append(f"| held, of those that apply | {' | '.join(map('{} of {}'.format, held, asked))} |")
    if notes:
        footnotes = " ".join(f"[{number}] {note}." for number, note in enumerate(notes, 1))
        lines += ["", *textwrap.wrap(footnotes, 150)]
    lines += ["", f"Python {platform.python_version()}, {platform.system()}, {LIMIT} seconds a cell."]
    return lines, found


def _title(peer: str) -> str:
    return f"{peer} {PEERS[peer].version()}".strip()


def write(lines: list[str], name: str, document: Path = DOCUMENT) -> None:
    """Put the lines between `<!-- name -->` and `<!-- end of name -->`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    text = document.read_text(encoding="utf-8")
    head, rest = text.split(begin)
    document.write_text(f"{head}{begin}{chr(10).join(lines)}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", default=[""], help="faults whose names contain one of these")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time")
    parser.add_argument("--json", action="store_true", help="the verdicts as JSON, instead of a table")
    parser.add_argument("--write", action="store_true", help="put the table into docs/guarantees.md")
    parser.add_argument("--cell", nargs=2, metavar=("FAULT", "PEER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        return observe(*arguments.cell)
    names = [name for name in FAULTS if any(part in name for part in arguments.only)]
    lines, found = table(names, arguments.peers, arguments.jobs)
    print(json.dumps(found) if arguments.json else "\n".join(lines))
    if arguments.write:
        write(lines, "faults")
    return None


if __name__ == "__main__":
    main()
