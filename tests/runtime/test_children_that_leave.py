"""R6 and R8: no child process is left, whatever ends a run or its program."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from my_pipeline.pipeline_core import PipelineError

import workers_for_children as workers
from stages_of_children import Until, each_kind, pipeline, run_program

pytestmark = pytest.mark.usefixtures("no_child_left")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()


LEAVING = """
import itertools, os, signal, sys, threading
from pathlib import Path
import workers_for_children as workers
from my_pipeline.pipeline_core import PipelineManager

def build(kind, **arguments):
    arguments["folder"] = Path(sys.argv[1])
    manager = PipelineManager()
    if kind == "pool":
        return manager.add_worker(workers.Pool, worker_args=arguments | {"worker_class": workers.Stuck, "sub_workers": 2})
    return manager.add_worker(workers.Stuck, executor="process", workers=2, worker_args=arguments)

def main(kind):
    manager = build(kind, until_the_stop=UNTIL_THE_STOP)
    results = manager.run(itertools.count())
    next(results)
    HOW

if __name__ == "__main__":
    main("KIND")
"""

WAYS = {
    "the results are held": ("sys.kept = results", True),
    "the results are held and a call does not return": ("sys.kept = results", False),
    "its own error": ("raise ValueError(results)", True),
    "close": ("results.close()", True),
    "stop": ("manager.stop(); manager.wait_for_completion()", True),
    "sys.exit in another thread's run": ("build('KIND', until_the_stop=True).start([5, 6]); sys.exit(0)", True),
    "kill -9": ("os.kill(os.getpid(), signal.SIGKILL)", True),
}


@each_kind
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.skipif(sys.platform == "win32", reason="asks the system about processes as POSIX has it")
def test_r6_no_child_outlives_its_program(way: str, kind: str, tmp_path: Path, until: Until) -> None:
    how, until_the_stop = WAYS[way]
    script, pids = tmp_path / "script.py", tmp_path / "pids"
    pids.mkdir()
    text = LEAVING.replace("HOW", how).replace("KIND", kind).replace("UNTIL_THE_STOP", str(until_the_stop))
    script.write_text(text)
    run_program([str(script), str(pids)])
    left = {int(path.name) for path in pids.iterdir()}
    assert left
    until(lambda: not any(map(is_alive, left)))


AFTER_MULTIPROCESSING = """
import atexit, time

def look():
    time.sleep(1)
    print("left:", multiprocessing.active_children())

if __name__ == "__main__":
    atexit.register(look)  # Called after what registers later.
import multiprocessing
"""


@each_kind
def test_r6_no_child_is_started_when_python_exits(kind: str, tmp_path: Path) -> None:
    """multiprocessing ends the children then. Python would wait without end for one that replaces another."""
    script = tmp_path / "script.py"
    text = LEAVING.replace("HOW", "sys.kept = results").replace("KIND", kind).replace("UNTIL_THE_STOP", "False")
    script.write_text(AFTER_MULTIPROCESSING + text)
    assert run_program([str(script), str(tmp_path)]).stdout == "left: []\n"


@each_kind
@pytest.mark.parametrize("end", ["close", "stop", "error"])
def test_r6_no_child_is_left_when_the_run_is_over(end: str, kind: str) -> None:
    manager = pipeline(kind, workers.RefusesSome if end == "error" else workers.Negate, 3)
    results = manager.run(itertools.count(1))
    assert next(results) in (10, -1)
    if end == "close":
        results.close()
    elif end == "stop":
        manager.stop()
        assert list(results) == []
    else:
        with pytest.raises(PipelineError):
            list(results)
    assert multiprocessing.active_children() == []


INTERRUPTED = """
import itertools, signal, sys, threading, time
from pathlib import Path
from my_pipeline.pipeline_core import BaseWorker, PipelineManager, SubTaskPoolWorker

def say(text):
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()

def in_a_child():
    return __name__ != "__main__"

if in_a_child() and WHERE == "import":
    say("starting")
    time.sleep(1)

class Work(BaseWorker):
    def setup(self):
        if in_a_child() and WHERE == "setup":
            say("starting")
            time.sleep(1)

    def process_item(self, item):
        return item

class Pool(SubTaskPoolWorker):
    setup = Work.setup
    process_sub_task = Work.process_item

def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    manager = PipelineManager(on_error="skip")
    if KIND == "stage":
        manager.add_worker(Work, executor="process", workers=3)
    else:
        manager.add_worker(Pool, worker_args={"executor": "process", "sub_workers": 3})
    try:
        for _ in manager.run(itertools.count()):
            pass
    except KeyboardInterrupt:
        report = manager.report
        say(f"{report.state} {report.failed} {report.imbalances()} {report.error}")

if __name__ == "__main__":
    main()
"""


@each_kind
@pytest.mark.parametrize("where", ["import", "setup"])
@pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot send another one a Ctrl-C")
def test_r8_ctrl_c_while_children_start_is_a_stop(where: str, kind: str, tmp_path: Path) -> None:
    """A terminal sends it to all of them. It is no failure of theirs, and of no item."""
    script = tmp_path / "script.py"
    script.write_text(f"WHERE, KIND = {where!r}, {kind!r}\n{INTERRUPTED}")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        os.killpg(process.pid, signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert "stopped 0 [] None" in output.splitlines(), errors
    assert process.returncode == 0
