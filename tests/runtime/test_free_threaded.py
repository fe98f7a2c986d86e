"""R13: on a free-threaded Python the core runs without a GIL. Skipped on any other."""

import subprocess
import sys
import sysconfig

import pytest

SCRIPT = """
import sys
from my_pipeline.pipeline_core import BaseWorker, PipelineManager, SubTaskPoolWorker

class Adds(BaseWorker):
    def process_item(self, item):
        return item + sum(range(100))

class AddsInPool(SubTaskPoolWorker):
    def process_sub_task(self, sub):
        return sub + sum(range(100))

pipeline = PipelineManager(queue_size=3).add_worker(Adds, workers=4).add_worker(AddsInPool)
assert list(pipeline.run(range(5000))) == [item + 2 * sum(range(100)) for item in range(5000)]
assert pipeline.report.imbalances() == []
assert not sys._is_gil_enabled()
"""


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL")
def test_r13_the_core_leaves_the_gil_off() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], check=True, timeout=60)
