"""Logs as JSON: what a stage logs names its stage, worker and item, and each line is valid whatever is logged."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest

from diagnosis_helpers import needs

needs("json_logs")

from my_pipeline.json_logs import JsonFormatter
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

Lines = Callable[[], list[dict[str, Any]]]


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@pytest.fixture
def lines() -> Iterator[Lines]:
    """`lines()`: what all loggers wrote so far, parsed as strict JSON."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lambda: [json.loads(line, parse_constant=refuse_constant) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(level)


class Logs(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        if item == 5:
            raise ValueError("five")
        self.logger.info("item %d", item, extra={"size": {"width": item}})
        return item


class LogsBatches(BaseWorker[int, int]):
    def process_batch(self, items: list[int]) -> list[int | None]:
        self.logger.info("item %d", items[0])
        return list(items)


class LogsFromItsOwnThread(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        helper = threading.Thread(target=self.logger.info, args=("from a thread",), name="helper")
        helper.start()
        helper.join()
        return item


def test_a_run_names_stages_workers_and_items(lines: Lines) -> None:
    pipeline = PipelineManager(name="p", on_error="skip")
    pipeline.add_worker(Logs, name="first").add_worker(Logs, name="second", workers=3)
    pipeline.add_worker(LogsBatches, name="third", batch_size=4)
    list(pipeline.run(range(20)))
    stages: dict[str, list[dict[str, Any]]] = {"first": [], "second": [], "third": []}
    for line in lines():
        if line["message"].startswith("item"):
            stages[line["stage"]].append(line)
    for line in stages["first"]:
        assert line["worker"] == "p-first-0"
        assert (line["message"], line["size"]) == (f"item {line['item_index']}", {"width": line["item_index"]})
        assert line["level"] == "INFO"
        assert line["logger"].endswith(".first")
        assert timedelta() <= datetime.now(UTC) - datetime.fromisoformat(line["time"]) < timedelta(minutes=5)
    assert sorted(line["item_index"] for line in stages["first"]) == [*range(5), *range(6, 20)]
    assert sorted(line["item_index"] for line in stages["second"]) == [*range(19)]  # Of what this stage received.
    assert {line["worker"] for line in stages["second"]} <= {f"p-second-{number}" for number in range(3)}
    assert [line["item_index"] for line in stages["third"]] == [0, 4, 8, 12, 16]
    (letter,) = [line for line in lines() if line["level"] == "WARNING"]
    assert (letter["stage"], letter["item_index"]) == ("first", 5)
    assert "five" in letter["message"]


def test_the_plain_loop_logs_the_same_items(lines: Lines) -> None:
    list(PipelineManager().add_worker(Logs).run(range(3), serial=True))
    assert [line["item_index"] for line in lines()] == [0, 1, 2]
    assert {line["worker"] for line in lines()} == {threading.current_thread().name}


def test_a_thread_of_yours_is_the_worker_and_has_no_item(lines: Lines) -> None:
    list(PipelineManager().add_worker(LogsFromItsOwnThread, name="stage").run([1]))
    (line,) = lines()
    assert (line["stage"], line["worker"], line["item_index"]) == ("stage", "helper", None)


def test_a_record_without_extras_has_four_fields(lines: Lines) -> None:
    logging.getLogger("a.b").warning("two\nlines, \u2028 and 'quotes\"")
    (line,) = lines()
    assert list(line) == ["time", "level", "logger", "message"]
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "a.b", "two\nlines, \u2028 and 'quotes\"")


def test_an_exception_is_text_with_its_traceback(lines: Lines) -> None:
    try:
        raise KeyError("missing" * 100)
    except KeyError:
        logging.getLogger().exception("failed", stack_info=True)
    (line,) = lines()
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith(f"KeyError: '{'missing' * 100}'")
    assert "test_an_exception_is_text" in line["stack"]


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def endless() -> list[Any]:
    nested: list[Any] = []
    nested.append(nested)
    return nested


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": [1, None, "é"]}, {"a": [1, None, "é"]}),
        (float("nan"), "nan"),
        ({1, 2}, "{1, 2}"),
        (b"\xff", "b'\\xff'"),
        ("\ud800\n", "\ud800\n"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (Unspeakable(), "<Unspeakable, which raised RuntimeError when asked for its text>"),
        (endless(), "[[...]]"),
        (deep(), "<list, which raised RecursionError when asked for its text>"),
    ],
    ids=["JSON", "NaN", "set", "bytes", "surrogate", "odd key", "unspeakable", "endless", "deep"],
)
def test_what_json_cannot_hold_is_there_as_its_repr(value: object, shown: object, lines: Lines) -> None:
    logging.getLogger().warning("odd", extra={"value": value, 'na"me\n': value})
    (line,) = lines()
    assert line["value"] == line['na"me\n'] == shown


@pytest.mark.parametrize(
    ("message", "arguments", "raised"), [("%d items", ("three",), "TypeError"), (Unspeakable(), (), "RuntimeError")]
)
def test_a_message_that_cannot_be_made_still_gives_a_line(message: Any, arguments: Any, raised: str) -> None:
    error = Unprintable()
    record = logging.LogRecord("a", logging.INFO, "a.py", 1, message, arguments, (Unprintable, error, None))
    line = json.loads(JsonFormatter().format(record))
    assert line["message"] == f"<LogRecord, which raised {raised} when asked for its text>"
    assert "Unprintable" in line["exception"]


def test_an_extra_does_not_replace_what_is_the_records_own(lines: Lines) -> None:
    logging.getLogger("mine").warning("x", extra={"logger": "other", "level": 3, "exception": "mine"})
    (line,) = lines()
    assert (line["logger"], line["level"], line["exception"]) == ("mine", "WARNING", "mine")
