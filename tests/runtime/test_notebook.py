"""What a notebook shows of a run, with ipywidgets and without: the progress while it goes on, and the report at its end."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from diagnosis_helpers import needs

needs("observers.progress", "rich")
pytest.importorskip("nbclient", reason="there is nothing to run a notebook with: pip install nbclient ipykernel")
pytest.importorskip("ipykernel", reason="there is nothing to run a notebook with: pip install nbclient ipykernel")

CELL = """
import sys, threading, warnings
warnings.simplefilter("error")
if not {widgets}:
    sys.modules["ipywidgets"] = None
from my_pipeline.observers.diagnosis import Diagnosis
from my_pipeline.observers.progress import REFRESHES, Progress
from my_pipeline.observers.report_table import ReportTable
from my_pipeline.pipeline_core import BaseWorker, PipelineManager
from rich.console import Console

shown = threading.Event()

class Waits(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        if item == 20:
            shown.wait(20)
            print("printed")
        return item

class Watched(Progress):
    def table(self):
        if self._pipeline.report.stages[0].received > 20:
            drawn.append(1)
            if len(drawn) > 2:  # The first of them has been handed on.
                shown.set()
        return super().table()

drawn = []
console = Console()
pipeline = PipelineManager(name="numbers").add_worker(Waits, name="waits")
diagnosis = Diagnosis(pipeline)
with Watched(pipeline, console, lambda: 40):
    results = list(pipeline.run(range(40)))
console.print(ReportTable(diagnosis.reading()))
"""


@pytest.mark.parametrize("widgets", [True, False], ids=["with ipywidgets", "without ipywidgets"])
def test_a_notebook_shows_the_progress_and_keeps_the_report(widgets: bool) -> None:
    if widgets:
        pytest.importorskip("ipywidgets", reason="this is about a notebook that has ipywidgets")
    command = [sys.executable, str(Path(__file__).with_name("notebook.py")), CELL.format(widgets=widgets)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["failed"] == ""
    progress = [shown for shown in told["seen"] if re.search(r"numbers .*50% 20/40 ", shown)]
    assert progress
    assert all(re.search(r"waits +21 +20 +[█·]{8} +\d+% +0", shown) for shown in progress)
    kept = "\n".join(told["outputs"])
    assert re.search(r"numbers: completed after .+, 40 delivered, 0 failed", kept)
    assert "printed\n" in kept
    assert "20/40" not in kept, "the progress goes when the run is over"
