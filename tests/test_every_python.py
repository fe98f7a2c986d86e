"""T6: the bake's own suite and the proof of the runtime pass on every CPython from 3.11 on that the machine has."""

import subprocess
import sys

import pytest

from baking import ROOT, Baker, environment
from pythons import VERSIONS, environment_of, pythons

PACKAGES = [
    *("hypothesis", "msgspec", "pyarrow", "pytest", "pytest-timeout", "pytest-xdist", "rich", "typer"),
    "backports.zstd; python_version < '3.14'",
]
pytestmark = pytest.mark.slow


@pytest.fixture
def python(request: pytest.FixtureRequest) -> str:
    version: str = request.param
    if version == "{}.{}".format(*sys.version_info):
        pytest.skip(f"Python {version} runs all the other tests")
    if version not in pythons(*VERSIONS):
        pytest.skip(f"there is no CPython {version} on this machine")
    return str(environment_of(pythons(*VERSIONS)[version], f"pythons/{version}", *PACKAGES) / "bin" / "python")


@pytest.mark.timeout(2000)
@pytest.mark.skipif(sys.platform == "win32", reason="Pythons are looked for under the names that they have elsewhere")
@pytest.mark.parametrize("python", VERSIONS, indirect=True)
def test_t6_the_suites_pass_on_every_python(python: str, bake: Baker) -> None:
    project = bake()
    package = project.path / "src" / project.package
    proof = subprocess.run(
        [python, "-m", "pytest", "-q", "-n", "2", "-m", "not slow", "tests/runtime", "--confcutdir=tests/runtime"],
        cwd=ROOT,
        env=environment(RUNTIME=str(package), STRESS_EXAMPLES="60"),
        capture_output=True,
        text=True,
        timeout=1700,
    )
    assert proof.returncode == 0, proof.stdout[-8000:] + proof.stderr[-2000:]
    project.run(python, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider")
