"""What somebody sees who looks at the terminal while a run goes on."""

import io
import logging
import re
import threading
import time
from collections.abc import Callable, Generator
from itertools import count

import pytest

from diagnosis_helpers import needs

needs("observers.progress", "rich")

from my_pipeline.observers import progress
from my_pipeline.observers.progress import Progress
from my_pipeline.pipeline_core import BaseWorker, PipelineManager
from rich.console import Console

Until = Callable[[Callable[[], object]], None]

SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # What moves the cursor and sets colours.
LOGGED = range(0, 500, 50)


class Mixed(BaseWorker[int, int]):
    """Drops some items, fails on some, and yields several for some."""

    def process_item(self, item: int) -> int | Generator[int, None, None] | None:
        time.sleep(0.001)
        if item % 10 == 7:
            raise ValueError("bad")
        if item % 10 == 5:
            return iter_twice(item)
        return item if item % 10 else None


def iter_twice(item: int) -> Generator[int, None, None]:
    yield item
    yield item


class Same(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


def mixed() -> PipelineManager:
    pipeline = PipelineManager(name="mixed", on_error="skip")
    return pipeline.add_worker(Mixed, name="slow", workers=2).add_worker(Same, name="quick")


def terminal(width: int = 100, **more: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, _environ={}, **more)  # type: ignore[arg-type]


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plain(watching: Progress, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(watching.table())
    return shown(console)


def unfolded(table: str) -> str:
    """The names, each as a whole: a long one goes on in the next line."""
    return "".join(line.split("  ")[0].strip() for line in table.splitlines())


def test_with_a_total_it_ends_at_100_percent_filtered_and_failed_items_included() -> None:
    pipeline = mixed()
    watching = Progress(pipeline, terminal(), lambda: 500)
    with watching:
        list(pipeline.run(range(500)))
    table = plain(watching)
    assert re.search(r"mixed .*100% 500/500 .*/s", table)
    assert re.search(r"slow +500 +450 +·{8} +\d+% +50", table)


def test_it_moves_while_the_run_goes_on_and_leaves_the_cursor_as_it_was(until: Until) -> None:
    pipeline, console = mixed(), terminal()

    def percents() -> list[int]:
        return [int(percent) for percent in re.findall(r"(\d+)% \d[\d,]*/1,000", SEQUENCES.sub("", shown(console)))]

    with Progress(pipeline, console, lambda: 1000):
        for number, _ in enumerate(pipeline.run(range(1000))):
            if number in (300, 600):
                refreshes = len(percents())
                until(lambda refreshes=refreshes: len(percents()) > refreshes)  # type: ignore[misc]
    text = shown(console)
    assert "slow" in text
    assert "left" in text
    assert "mixed" in text
    assert percents() == sorted(percents())
    assert percents()[-1] > percents()[0]
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # The cursor is back.


@pytest.mark.parametrize("width", [20, 40, 69, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    pipeline = mixed()
    console = terminal(width)
    watching = Progress(pipeline, console, lambda: 50)
    with watching:
        list(pipeline.run(range(50)))
    table = plain(watching, width)
    assert all(len(line.rstrip()) <= width for line in table.splitlines())
    assert all(words in table for words in ("mixed", "100%", "50/50", "/s", "slow", "quick", "busy"))
    assert ("failed" in table) == (width >= 40)
    assert "…" not in table


@pytest.mark.parametrize("stages", [1, 32])
@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_it_fits_any_terminal_and_shows_the_busiest_stages_by_their_whole_names(
    width: int, stages: int, gate: threading.Event, until: Until
) -> None:
    """The fifth from the end works all the time, and the others have nothing to do."""
    names = [f"{'long_' * 5}name_{number:02}" for number in range(stages)]
    busy = names[-5:][0]
    pipeline = PipelineManager(name="p" * 40)
    for name in names:
        pipeline.add_worker(Held, name=name, worker_args={"gate": gate, "held": name == busy})
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=24, _environ={})
    watching = Progress(pipeline, console, lambda: 10)
    pipeline.start(range(10))
    until(lambda: busy in unfolded(plain(watching, width)))
    lines = plain(watching, width).splitlines()
    gate.set()
    pipeline.wait_for_completion()
    assert all(len(line.rstrip()) <= width for line in lines)
    assert len(lines) <= 23
    text = unfolded("\n".join(lines))
    assert "p" * 40 in text
    shown = sum(name in text for name in names)
    hidden = re.search(r"and (\d+) more, *at most \d+% busy", " ".join(lines))
    assert shown + int(hidden[1] if hidden else 0) == stages
    assert (hidden is None) == (stages == 1)


def test_no_color_means_none(until: Until) -> None:
    pipeline = mixed()
    console = Console(file=io.StringIO(), force_terminal=True, width=100, _environ={"NO_COLOR": "1"})
    with Progress(pipeline, console):
        for number, _ in enumerate(pipeline.run(range(100))):
            if number == 50:
                until(lambda: "slow" in shown(console))
    assert "slow" in shown(console)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown(console))


def test_logs_of_the_meantime_are_whole_lines() -> None:
    pipeline, console = mixed(), terminal()
    with Progress(pipeline, console):
        for number, _ in enumerate(pipeline.run(range(600))):
            if number in LOGGED:
                console.print(f"log line {number}", highlight=False)
    lines = SEQUENCES.sub("", shown(console)).replace("\r", "\n").splitlines()
    assert [line.rstrip() for line in lines if "log line" in line] == [f"log line {number}" for number in LOGGED]


def test_without_a_terminal_there_is_a_log_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY", 0.05)
    caplog.set_level(logging.INFO)
    pipeline, console = mixed(), Console(file=io.StringIO())

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name.endswith("observers")]

    with Progress(pipeline, console, lambda: 300):
        for number, _ in enumerate(pipeline.run(range(300))):
            if number == 100:
                until(lambda: len(lines()) >= 2)
    assert all(re.fullmatch(r"mixed: \d+% \d+/300 .+/s( .+ left)?, \d+ failed", line) for line in lines())
    assert shown(console) == ""


def test_it_ends_at_once_with_the_loop_that_it_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY", 1e6)  # seconds: a test that waited for it would not end.
    pipeline = mixed()
    with Progress(pipeline, Console(file=io.StringIO())):
        results = pipeline.run(count())
        next(results)
        results.close()


def test_a_total_that_cannot_be_found_out_is_none() -> None:
    def fails() -> int:
        raise OSError("the disk is gone")

    pipeline = mixed()
    watching = Progress(pipeline, terminal(), fails)
    with watching:
        list(pipeline.run(range(20)))
    assert "20 items" in plain(watching)


class Held(BaseWorker[int, int]):
    """Waits at number 0."""

    def __init__(self, gate: threading.Event, held: bool = True) -> None:
        self.gate, self.held = gate, held

    def process_item(self, item: int) -> int:
        if item == 0 and self.held:
            self.gate.wait()
        return item


def test_what_is_shown_never_goes_backwards(gate: threading.Event, until: Until) -> None:
    """Results of the first stage wait for number 0 to come first, and then for the second stage."""
    first = threading.Event()
    pipeline = PipelineManager()
    pipeline.add_worker(Held, name="first", workers=4, worker_args={"gate": first})
    pipeline.add_worker(Held, name="second", worker_args={"gate": gate})
    watching = Progress(pipeline, terminal())
    pipeline.start(range(20))
    until(lambda: pipeline.report.stages[0].received == 20)
    before = plain(watching)
    first.set()
    until(lambda: pipeline.report.stages[0].emitted == 20)
    after = plain(watching)
    gate.set()
    pipeline.wait_for_completion()
    counts = [int(re.findall(r"(\d+) items", table)[0]) for table in (before, after, plain(watching))]
    assert counts == sorted(counts)
    assert counts[-1] == 20
    assert not re.search(r"-\d", after)


def test_items_are_done_one_after_the_other_also_behind_a_stage_that_expands(
    gate: threading.Event, until: Until
) -> None:
    class Expand(BaseWorker[int, int]):
        def process_item(self, item: int) -> Generator[int, None, None]:
            yield from range(50 * item, 50 * item + 50)

    class Stops(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item == 120:
                gate.wait()
            return item

    pipeline = PipelineManager().add_worker(Expand).add_worker(Stops, name="stops", queue_size=200)
    watching = Progress(pipeline, terminal(), lambda: 4)
    with watching:
        pipeline.start(range(4))
        until(lambda: pipeline.report.stages[1].processed == 120 and pipeline.report.stages[0].processed == 4)
        assert "2/4" in plain(watching)
        gate.set()
        pipeline.wait_for_completion()
    assert "100% 4/4" in plain(watching)


def test_the_time_left_is_shown_where_it_is_known() -> None:
    """Not while nothing is done, without a total, or when there are more items than were foretold."""
    pipeline = mixed()
    watching = Progress(pipeline, terminal(), lambda: 50)
    with watching:
        assert "left" not in plain(watching)
        results = pipeline.run(range(100))
        for number, _ in enumerate(results):
            if number == 10:
                assert " left" in plain(watching)
    assert " left" not in plain(watching)
    assert "100/50" in plain(watching)


def test_items_that_pass_and_waits_for_a_rate_are_shown_where_there_are_any(until: Until) -> None:
    class Pass(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            return item

    pipeline = PipelineManager().add_worker(Pass, name="some", when=lambda item: item % 2, rate_limit=100)
    watching = Progress(pipeline, terminal(), lambda: 40)
    with watching:
        assert "rate" not in plain(watching)
        assert "passed" not in plain(watching)
        for number, _ in enumerate(pipeline.run(range(40))):
            if number == 30:
                until(lambda: re.search(r"busy +failed +rate +passed", plain(watching)))
    assert "100% 40/40" in plain(watching)
