"""The proof of the runtime, against any bake's package.

python -m pytest tests/runtime                         the default project, baked into a temporary folder
RUNTIME=FOLDER python -m pytest tests/runtime          the package in that folder, for example src/my_pipeline, edited or not
STRESS_EXAMPLES=50000 python -m pytest tests/runtime   more random pipelines than the 2,000 of the usual round

Whatever the package is called, the tests import it as `my_pipeline`.
"""

import atexit
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
EXAMPLES = int(os.environ.get("STRESS_EXAMPLES", "2000"))
SECONDS = float(os.environ.get("TEST_SECONDS", "120"))  # for one test; where it tries examples, it gets more
PATIENCE = 20  # seconds that `until` waits for something that takes milliseconds on an idle machine


def default_package(folder: Path) -> Path:
    """The package of a default project, baked into that folder."""
    from baking import bake_default  # Needs cookiecutter, and RUNTIME does not.

    return next(bake_default(folder).glob("src/*/pipeline_core")).parent


_temporary = tempfile.TemporaryDirectory(prefix="runtime")
atexit.register(_temporary.cleanup)
_folder = Path(_temporary.name).resolve()
_package = Path(os.environ["RUNTIME"]).resolve() if "RUNTIME" in os.environ else default_package(_folder)
if not (_package / "pipeline_core" / "__init__.py").is_file():
    raise pytest.UsageError(
        f"RUNTIME={_package} holds no pipeline_core: name a package's folder, such as src/my_pipeline"
    )
IMPORTED_FROM = _folder / "imported"
IMPORTED_FROM.mkdir()
(IMPORTED_FROM / "my_pipeline").symlink_to(_package, target_is_directory=True)
sys.path[:0] = [str(IMPORTED_FROM), str(HERE)]
os.environ["PYTHONPATH"] = os.pathsep.join([str(IMPORTED_FROM), str(HERE)])  # For child processes.
pytest.register_assert_rewrite("watch", "fault_table", *(path.stem for path in HERE.glob("faults_*.py")))

import my_pipeline.pipeline_core as core  # noqa: E402  # The path comes first.

import watch  # noqa: E402

if not hasattr(core, "SubTaskPoolWorker"):  # A project may do without.
    from no_pool import SubTaskPoolWorker

    core.SubTaskPoolWorker = SubTaskPoolWorker  # type: ignore[assignment, misc]


def pytest_configure(config: pytest.Config) -> None:
    """Messages of the watchdog go to the real stderr: while tests run, pytest captures what goes to 2."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        watch.WATCHDOG.stderr = os.dup(2)
    else:
        with capture.global_and_fixture_disabled():
            watch.WATCHDOG.stderr = os.dup(2)


# Every variation of a kind of fault: a part of the long round.
LONG = {"any_batch", "any_executor", "children", "cost_of_failures", "errors_are_values", "fast_stops", "finish"}
LONG |= {"notebook", "rates", "refusals", "time_limits", "ways_to_leave", "when"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The limit below is the only one: it knows how many examples a test has."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.stem.removeprefix("test_") in LONG:
            item.add_marker(pytest.mark.slow)
        if item.path.is_relative_to(HERE) and item.config.pluginmanager.has_plugin("timeout"):
            item.add_marker(pytest.mark.timeout(0))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Each test has a time limit, and no exception is lost in one of its threads.

    A wrapper and not a fixture, so that it stands inside of pytest's own hooks, and what it finds fails the test.
    """
    examples = EXAMPLES / 2 if "fast_switches" in getattr(item, "fixturenames", ()) else 0
    with watch.WATCHDOG.limit(SECONDS + examples, item.nodeid), watch.no_exception_lost(item.nodeid):
        yield


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test ends every thread and every child process that it has started, directly or not."""
    with watch.nothing_left(request.node.nodeid):
        yield


@pytest.fixture
def fast_switches() -> Iterator[None]:
    """Threads change places at nearly every bytecode."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a test holds threads up with. It opens at the end, so that a test that fails leaves nobody waiting."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def stdin() -> Iterator[Callable[[bytes], None]]:
    """`stdin(data)`: what this process reads from its standard input from now on."""
    usual = os.dup(0)

    def give(data: bytes) -> None:
        reader, writer = os.pipe()
        os.dup2(reader, 0)
        os.close(reader)
        with open(writer, "wb") as file:  # No more than a pipe holds.
            file.write(data)

    yield give
    os.dup2(usual, 0)
    os.close(usual)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """`until(condition)` returns once the condition holds: for what a test cannot be told by an event."""

    def wait_until(condition: Callable[[], object]) -> None:
        assert watch.eventually(condition, PATIENCE), "it never came true"

    return wait_until


@pytest.fixture
def no_child_left(until: Callable[[Callable[[], object]], None]) -> Iterator[None]:
    yield
    until(lambda: not multiprocessing.active_children())


@pytest.fixture
def freed_at_once() -> None:
    """Skip without a GIL: an object that another thread lets go of is freed when the thread that made it runs again."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("without a GIL, what a sleeping thread made is freed when that thread runs again (PEP 703)")


@pytest.fixture
def asleep() -> Callable[[str], bool]:
    """`asleep(name)`: the thread of that name waits. Several looks, some time apart, find it at the same place."""

    def is_asleep(name: str) -> bool:
        first = watch.place(name)
        for _ in range(5):
            time.sleep(0.002)
            if watch.place(name) != first:
                return False
        return bool(first)

    return is_asleep
