"""The proof of a project's runtime and of what stands around it. `RUNTIME=FOLDER` names the package to prove."""

import atexit
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATIENCE = 10  # seconds that `until` waits for something that takes milliseconds on an idle machine

_folder = tempfile.TemporaryDirectory()
atexit.register(_folder.cleanup)


def _package() -> Path:
    if folder := os.environ.get("RUNTIME"):
        return Path(folder).resolve()
    config = Path(_folder.name, "config.yaml")
    config.write_text(f"cookiecutters_dir: {_folder.name}\nreplay_dir: {_folder.name}\n", encoding="utf-8")
    bake = cookiecutter(str(ROOT), no_input=True, output_dir=_folder.name, config_file=str(config))
    return Path(bake, "src", "my_pipeline")


(Path(_folder.name) / "link").mkdir()
(Path(_folder.name) / "link" / "my_pipeline").symlink_to(_package(), target_is_directory=True)
sys.path[:0] = [str(Path(_folder.name) / "link"), str(HERE)]
os.environ["PYTHONPATH"] = str(Path(_folder.name) / "link")  # For child processes.


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """The test ends every thread that it has started, directly or not."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + PATIENCE
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, f"still alive: {sorted(thread.name for thread in left)}"
        time.sleep(0.001)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a test holds threads up with. It opens at the end, so that a test that fails leaves no thread waiting."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """`until(condition)` returns once the condition holds: for what a test cannot be told by an event."""

    def wait_until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "the condition never held"
            time.sleep(0.001)

    return wait_until
