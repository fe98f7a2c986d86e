"""The stress suite of the core, taken straight from the template's tree.

pytest tests/stress                             the usual round
STRESS_EXAMPLES=50000 pytest tests/stress       a long one
STRESS_CORE=build/my-pipeline/src/my_pipeline   another `pipeline_core` than the template's
"""

import faulthandler
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE.parents[1] / "{{cookiecutter.project_slug}}" / "src" / "{{cookiecutter.package_name}}"

sys.path[:0] = [os.environ.get("STRESS_CORE", str(TEMPLATE)), str(HERE)]
pytest.register_assert_rewrite(
    "stress_watch",
    "faults",
    "faults_at_edges",
    "faults_in_items",
    "faults_in_pools",
    "faults_in_stages",
    "faults_of_leaving",
    "faults_of_stop",
)

import stress_watch  # noqa: E402  # The path comes first.

EXAMPLES = int(os.environ.get("STRESS_EXAMPLES", "2000"))
TEST_SECONDS = 120 + EXAMPLES / 2


def pytest_configure(config: pytest.Config) -> None:
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        stress_watch.WATCHDOG.stderr = os.dup(2)
    else:
        with capture.global_and_fixture_disabled():
            stress_watch.WATCHDOG.stderr = os.dup(2)


def pytest_unconfigure() -> None:
    """What a failed test left behind may keep the interpreter from its end: not for long."""
    faulthandler.dump_traceback_later(60, exit=True, file=stress_watch.WATCHDOG.stderr)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Each test has a time limit, and leaves no thread, no child process and no lost exception behind.

    A wrapper and not a fixture, so that it stands inside of pytest's own hooks, and what it finds fails the test.
    """
    with stress_watch.watched(item.nodeid, seconds=TEST_SECONDS, collect=True):
        yield


@pytest.fixture(autouse=True)
def fast_switches() -> Generator[None, None, None]:
    """Threads change places at nearly every bytecode."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)
