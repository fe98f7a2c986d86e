"""The report as a file: all that is known, as JSON; and a page that shows it, whatever names and errors are made of."""

import errno
import json
import logging
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from diagnosis_helpers import needs

needs("observers.report_file")

from my_pipeline.observers.advice import advise
from my_pipeline.observers.charts import over_time
from my_pipeline.observers.diagnosis import Diagnosis
from my_pipeline.observers.reading import Reading
from my_pipeline.observers.report_file import ReportFile
from my_pipeline.observers.units import duration, rate
from my_pipeline.observers.verdict import judge
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager, StageReport

HOSTILE = '<script>alert("1")</script> $x^2_{$ & \' \ud83d \x00 {braces} 日本 🚀'


class Picky(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        if item in (3, HOSTILE) or isinstance(item, NoText):
            raise ValueError(f"no {item}")
        return item


class NoText:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def run(path: Path, *items: Any, name: str = "p", stage: str = "picky", max_failures: int | None = None) -> Reading:
    """A run that is over, in which some items failed, and its report."""
    pipeline = PipelineManager(name=name, on_error="skip", max_failures=max_failures)
    pipeline.add_worker(Picky, name=stage, retries=1)
    diagnosis = Diagnosis(pipeline)
    with suppress(PipelineError), ReportFile(diagnosis, path, interval=0.01):
        list(pipeline.run(items))
    return diagnosis.reading()


def test_the_json_holds_all_that_the_report_and_the_history_say(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    reading = run(path, *range(5))
    told = json.loads(path.read_text(encoding="utf-8"))
    plain = "name state seconds read delivered undelivered skipped failed source_busy consumer_busy cpu_seconds"
    for field in [*plain.split(), "source_failed", "source_aborted"]:
        assert told[field] == getattr(reading, field)
    assert (told["format"], told["bottleneck"], told["error"]) == (2, "picky", None)
    for field in ("items_per_second", "cores_used", "crowded", "cores", "gil"):
        assert told[field] == getattr(reading, field)
    verdict = judge(reading)
    assert told["verdict"]["text"] == advise(reading)
    assert (told["verdict"]["part"], told["verdict"]["reason"]) == (verdict.part, verdict.reason)
    (stage,) = told["stages"]
    for field in [*StageReport.__dataclass_fields__, "cpu", "p50", "p95", "p99"]:
        assert stage[field] == getattr(reading.stages[0], field)
    assert stage["service_times"] == [list(pair) for pair in reading.stages[0].times.durations]
    (letter,) = told["dead_letters"]
    assert "ValueError: no 3" in letter.pop("traceback")
    where = {"stage": "picky", "index": 3, "source_index": 3}
    assert letter == where | {"item": "3", "error": "ValueError: no 3", "attempts": 2, "given": 0}
    assert [sample["delivered"] for sample in told["history"]][:: len(told["history"]) - 1] == [0, 4]
    assert set(told["history"][0]) == {"seconds", "read", "delivered", "stages"}
    assert set(told["history"][0]["stages"][0]) == {"received", "emitted", "failed", "queued", "queue_size", "busy"}
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("ending", ["json", "html"])
def test_the_error_that_ended_the_run_is_told_with_its_traceback(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"report.{ending}"
    pipeline = PipelineManager().add_worker(Picky, name="picky")
    with pytest.raises(PipelineError), ReportFile(Diagnosis(pipeline), path):
        list(pipeline.run([1, 3]))
    text = path.read_text(encoding="utf-8")
    assert "ValueError: no 3" in text
    if ending == "json":
        error = json.loads(text)["error"]
        assert "in process_item" in error.pop("traceback")
        assert error.pop("message") == "stage 'picky' failed in process_item on item 1: 3: ValueError: no 3"
        assert error == {"stage": "picky", "phase": "process_item", "index": 1, "attempt": 1, "item": "3"}


@pytest.mark.parametrize("ending", ["json", "html"])
def test_a_run_that_has_not_begun_can_be_written_too(ending: str, tmp_path: Path) -> None:
    pipeline = PipelineManager().add_worker(Picky)
    with ReportFile(Diagnosis(pipeline), tmp_path / f"report.{ending}"):
        pass
    assert "new" in (tmp_path / f"report.{ending}").read_text(encoding="utf-8")


def test_a_last_sample_close_behind_another_makes_no_peak() -> None:
    moments = ((0.0, 0), (1.0, 100), (2.0, 200), (2.001, 300))
    report = PipelineManager().add_worker(Picky).report
    samples = [replace(report, seconds=seconds, delivered=delivered) for seconds, delivered in moments]
    svg = over_time(samples, report.stages)
    assert ">0</text>" in svg
    assert "k</text>" not in svg


@pytest.mark.parametrize("ending", ["json", "html"])
def test_names_errors_and_items_can_be_anything(ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # A captured line with half a character is more than pytest-xdist can send on.
    path = tmp_path / f"report.{ending}"
    run(path, 1, HOSTILE, NoText(), HOSTILE, name=HOSTILE, stage=HOSTILE, max_failures=2)
    text = path.read_text(encoding="utf-8")
    if ending == "json":
        told = json.loads(text)
        assert told["name"] == told["stages"][0]["name"] == HOSTILE
        assert [letter["item"] for letter in told["dead_letters"]][:1] == [repr(HOSTILE)]
        assert "which raised RuntimeError" in told["dead_letters"][1]["item"]
        assert told["error"]["item"] == repr(HOSTILE)
    else:
        assert "script" not in Page(text).tags
        assert text.count("&lt;script&gt;") >= 8  # Title, heading, error, verdict, table, two charts, dead letter.


class Page(HTMLParser):
    """The tags of a page, each of which must be closed, and the attributes that could fetch something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "data")]
        self.ids += [value or "" for name, value in attributes if name == "id"]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)


def test_the_page_shows_the_numbers_and_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    reading = run(path, *range(2000))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    for shown in (
        "completed",
        "2,000",
        "1,999",
        escape(advise(reading)),
        "ValueError: no 3",
        "item 3<br>2 attempts",
        "p99",
    ):
        assert shown in text
    assert page.tags.count("svg") == 2
    assert page.tags.count("style") == 1, "a style of a chart would be one of the whole page"
    assert "script" not in page.tags
    assert all(link.startswith(("#", "data:,")) for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert not re.findall(r"url\((?!#)|@import", text)
    assert "prefers-color-scheme: dark" in text
    assert not re.findall("#0000[01][0-9a-f]", text), "a colour that only stands for another"


def test_the_page_shows_a_wait_for_the_rate_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    run(path, 1)
    assert "waiting for its rate" not in path.read_text(encoding="utf-8")
    pipeline = PipelineManager().add_worker(Picky, rate_limit=100)
    with ReportFile(Diagnosis(pipeline), path):
        list(pipeline.run(range(20, 40)))
    text = path.read_text(encoding="utf-8")
    assert "waiting for its rate" in text
    assert re.search(r'<i class="waiting_for_rate" style="flex-grow:0\.[5-9]', text)


def test_the_page_shows_the_first_20_dead_letters(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    run(path, *[3] * 30)
    text = path.read_text(encoding="utf-8")
    assert "the first 20 of 30" in text
    assert text.count("ValueError: no 3</strong>") == 20


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("report.pdf", r"does not end in \.json or \.html"),
        ("report", r"does not end in \.json or \.html"),
        ("none/report.json", "there is no folder .*none: make it first"),
        ("folder.html", "is a folder: name a file in it"),
    ],
)
def test_a_path_that_will_not_do_is_refused_in_one_line(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ValueError, match=said) as refused:
        ReportFile(Diagnosis(PipelineManager().add_worker(Picky)), tmp_path / name)
    assert "\n" not in str(refused.value)


def test_a_report_that_was_there_stays_until_the_new_one_is_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    path.write_text("old", encoding="utf-8")
    written: list[str] = []
    diagnosis = Diagnosis(PipelineManager().add_worker(Picky))

    def replace(part: Path, target: Path) -> None:
        written.append(part.read_text(encoding="utf-8"))
        raise OSError(errno.ENOENT, "the folder is gone")

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match=r"the folder is gone.*report\.json'"), ReportFile(diagnosis, path):
        pass
    assert path.read_text(encoding="utf-8") == "old"
    assert json.loads(written[0])["state"] == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_the_file_around_a_run_has_its_history_and_verdict(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    pipeline = PipelineManager().add_worker(Picky)
    diagnosis = Diagnosis(pipeline)
    with ReportFile(diagnosis, path):
        list(pipeline.run(range(3)))
        assert not path.exists()
    told = json.loads(path.read_text(encoding="utf-8"))
    assert (told["state"], told["delivered"], told["verdict"]["text"]) == ("completed", 3, advise(diagnosis.reading()))
    assert [sample["delivered"] for sample in told["history"]][:: len(told["history"]) - 1] == [0, 3]


def test_the_file_around_a_run_that_fails_tells_of_the_error(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    pipeline = PipelineManager().add_worker(Picky)
    with pytest.raises(PipelineError, match="no 3"), ReportFile(Diagnosis(pipeline), path):
        list(pipeline.run(range(5)))
    told = json.loads(path.read_text(encoding="utf-8"))
    assert (told["state"], told["error"]["item"]) == ("failed", "3")


def test_a_report_that_cannot_be_written_is_an_error_but_hides_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    for items, raised in ((range(3), OSError), (range(5), PipelineError)):
        folder.mkdir()
        pipeline = PipelineManager().add_worker(Picky)
        with pytest.raises(raised), ReportFile(Diagnosis(pipeline), folder / "report.json"):  # noqa: PT012
            rmtree(folder)
            list(pipeline.run(items))
    assert "cannot write" in caplog.text
    assert "report.json" in caplog.text


def test_it_needs_the_standard_library_alone(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from my_pipeline.observers.diagnosis import Diagnosis
from my_pipeline.observers.report_file import ReportFile
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

class Pass(BaseWorker):
    def process_item(self, item):
        return item

for ending in ("json", "html"):
    pipeline = PipelineManager().add_worker(Pass)
    with ReportFile(Diagnosis(pipeline), Path(sys.argv[1], "report." + ending)):
        list(pipeline.run([1]))
"""
    subprocess.run([sys.executable, "-S", "-c", code, str(tmp_path)], check=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_times_and_rates_are_read_in_three_digits() -> None:
    times = {
        0: "0 s",
        2.5e-6: "2.5 µs",
        0.0012345: "1.23 ms",
        0.75: "750 ms",
        0.9999: "1 s",
        42: "42 s",
        99.97: "1:40 min",
    }
    assert {seconds: duration(seconds) for seconds in times} == times
    times = {125: "2:05 min", 5999: "99:59 min", 6000: "1:40 h", 90_000: "25:00 h"}
    assert {seconds: duration(seconds) for seconds in times} == times
    rates = {0: "0", 0.25: "0.25", 99.96: "100", 999.9: "1k", 4512: "4.51k", 1.2e6: "1.2M"}
    assert {items: rate(items) for items in rates} == rates
