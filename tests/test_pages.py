"""The page of a report in a real browser: wide and narrow, light and dark."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from baking import ROOT, Baker
from browser import CHROMIUM, Tab, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="the browser is asked through file descriptors 3 and 4"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the page in: install chromium"),
]

VIEWS = [(1200, False), (1200, True), (400, False), (400, True)]


@pytest.fixture(scope="module")
def report(bake: Baker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    bake().python("-W", "error", str(ROOT / "tools" / "report_run.py"), str(path), "300")
    return path


@pytest.fixture(scope="module")
def long_report(bake: Baker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 32 stages, each with the longest name that a stage of a bake may have."""
    path = tmp_path_factory.mktemp("long_report") / "report.html"
    bake().python("-W", "error", "-c", LONG, str(path))
    return path


LONG = """
import sys
from pathlib import Path
from my_pipeline.observers.diagnosis import Diagnosis
from my_pipeline.observers.report_file import ReportFile
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

class Same(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item

pipeline = PipelineManager(name="p" * 40)
for number in range(32):
    pipeline.add_worker(Same, name=f"{'w' * 27}_{number:02}")
with ReportFile(Diagnosis(pipeline), Path(sys.argv[1]), interval=0.01):
    list(pipeline.run(range(2000)))
"""


@pytest.fixture(scope="module")
def open_tab() -> Iterator[Tab]:
    with browser() as tab:
        yield tab


@pytest.fixture(params=VIEWS, ids=lambda view: f"{view[0]} px, {'dark' if view[1] else 'light'}")
def tab(request: pytest.FixtureRequest, open_tab: Tab, report: Path) -> Tab:
    width, dark = request.param
    open_tab.show(report, width=width, dark=dark)
    assert open_tab.ask("innerWidth") == width
    assert open_tab.ask("matchMedia('(prefers-color-scheme: dark)').matches") is dark
    return open_tab


def test_nothing_is_wider_than_the_window(tab: Tab) -> None:
    assert tab.ask("document.documentElement.scrollWidth <= innerWidth")
    boxes = "[...document.querySelectorAll('section, figure, svg, .figures, .wide, li, p')]"
    assert tab.ask(f"{boxes}.filter(box => box.getBoundingClientRect().right > innerWidth).length") == 0


@pytest.mark.parametrize("width", [400, 1200])
def test_32_stages_with_long_names_fit_the_window_too(width: int, open_tab: Tab, long_report: Path) -> None:
    open_tab.show(long_report, width=width)
    assert open_tab.ask("document.querySelectorAll('tbody tr').length") == 32
    boxes = "[...document.querySelectorAll('h1, tbody th, td, svg, svg text, p')].map(e => e.getBoundingClientRect())"
    assert open_tab.ask(f"{boxes}.every(box => box.left >= 0 && box.right <= innerWidth)")


def test_the_browser_complains_of_nothing_and_fetches_nothing(tab: Tab) -> None:
    assert tab.of_kind("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded") == []
    requests = [event["request"]["url"] for event in tab.of_kind("Network.requestWillBeSent")]
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in requests if url.startswith("file:")]) == 1


def test_the_charts_are_there_and_have_a_size(tab: Tab) -> None:
    boxes = "[...document.querySelectorAll('svg')].map(chart => chart.getBoundingClientRect())"
    sizes = tab.ask(f"{boxes}.map(box => [box.width, box.height])")
    assert len(sizes) == 2
    assert all(width > 280 and height > 140 for width, height in sizes)
    heights = tab.ask("[...document.querySelectorAll('svg text')].map(text => text.getBoundingClientRect().height)")
    assert min(heights) >= 10


def test_all_text_can_be_read_on_its_background(tab: Tab) -> None:
    """A contrast of 4.5, as WCAG 2.2 asks for, where something is said; zeros may be faint."""
    script = (ROOT / "tools" / "contrast.js").read_text(encoding="utf-8")
    assert tab.ask(script) == []


def test_every_number_of_every_stage_is_seen_with_its_heading_and_nothing_scrolls_sideways(tab: Tab) -> None:
    """In a table, or in a list for each stage where the window is too narrow for a table."""
    assert not tab.ask("(e => e.scrollWidth > e.clientWidth)(document.querySelector('.wide'))")
    stages = tab.ask("document.querySelectorAll('tbody tr').length")
    cells = "[...document.querySelectorAll('tbody td:not(:nth-child(2))')]"
    assert tab.ask(f"{cells}.length") >= 10 * stages
    inside = "(box => box.width > 0 && box.left >= 0 && box.right <= innerWidth)(cell.getBoundingClientRect())"
    assert tab.ask(f"{cells}.every(cell => {inside})")
    narrow = tab.ask("innerWidth") == 400
    labels = tab.ask(f"{cells}.map(cell => getComputedStyle(cell, '::before').content)")
    headings = tab.ask("[...document.querySelectorAll('thead th')].map(head => head.offsetWidth > 0)")
    assert all((label != "none") == narrow for label in labels)
    assert all(seen == (not narrow) for seen in headings)
