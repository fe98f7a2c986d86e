"""T6: the proof of the runtime passes on every CPython from 3.11 on that the machine has: so do bakes, in test_bakes.py.

On those between this one and the newest, what takes long is left out.
"""

import re
import subprocess
import sys

import pytest

from baking import ROOT, Baker, environment
from pythons import OTHER_VERSIONS, VERSIONS, pythons

pytestmark = pytest.mark.slow
# The suites of bakes, which run on every Python too, call the command and read and write each format.
OF_THE_COMMAND = ("command_corners", "configuration", "profiling", "readers", "report_file", "sinks", "stdout")
CHOSEN = ["-n", "2", "--dist", "worksteal", "-m", "not slow"]
LONG = re.findall(
    r"\w+", re.findall(r"^LONG := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[0]
)


@pytest.mark.timeout(2000)
@pytest.mark.skipif(sys.platform == "win32", reason="Pythons are looked for under the names that they have elsewhere")
@pytest.mark.parametrize("python", OTHER_VERSIONS, indirect=True)
def test_t6_the_proof_of_the_runtime_passes_on_every_python(
    python: str, bake: Baker, request: pytest.FixtureRequest
) -> None:
    version = request.node.callspec.params["python"]
    newest = max(pythons(*OTHER_VERSIONS), key=VERSIONS.index)
    left_out = {*OF_THE_COMMAND, *(() if version == newest else LONG)}
    files = [f"--ignore=tests/runtime/test_{name}.py" for name in left_out]
    project = bake()
    package = project.path / "src" / project.package
    proof = subprocess.run(
        [python, "-m", "pytest", "-q", "tests/runtime", "--confcutdir=tests/runtime", *CHOSEN, *files],
        cwd=ROOT,
        env=environment(RUNTIME=str(package), STRESS_EXAMPLES="60"),
        capture_output=True,
        text=True,
        timeout=1700,
    )
    assert proof.returncode == 0, proof.stdout[-8000:] + proof.stderr[-2000:]
