"""T6: the bake's own suite and the proof of the runtime pass on every CPython from 3.11 on that the machine has."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from baking import ROOT, Baker, environment

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
PACKAGES = [
    *("hypothesis", "msgspec", "pyarrow", "pytest", "pytest-timeout", "pytest-xdist", "rich", "typer"),
    "backports.zstd; python_version < '3.14'",
]
ASK = (
    "import platform, sys, sysconfig; print(platform.python_implementation(), '%d.%d' % sys.version_info[:2], "
    "bool(sysconfig.get_config_var('Py_GIL_DISABLED')), sys.executable)"
)

pytestmark = pytest.mark.slow


@cache
def pythons() -> dict[str, str]:
    """The CPythons with a GIL that PATH and pyenv have, one a version."""
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    names = [folder / f"python{version}" for folder in folders for version in VERSIONS]
    names += [file for version in VERSIONS for file in sorted(pyenv.glob(f"versions/{version}*/bin/python{version}"))]
    found: dict[str, str] = {}
    for name in filter(Path.is_file, names):
        said = subprocess.run([str(name), "-c", ASK], capture_output=True, text=True, timeout=60).stdout.split(
            maxsplit=3
        )
        if said[:1] == ["CPython"] and said[2] == "False":
            found.setdefault(said[1], said[3].strip())
    return found


def environment_of(version: str) -> str:
    """A Python of that version with what the tests need, made once and kept in build/."""
    folder = ROOT / "build" / "pythons" / version
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = "\n".join([pythons()[version], *PACKAGES, (ROOT / "constraints.txt").read_text(encoding="utf-8")])
    if not ready.is_file() or ready.read_text(encoding="utf-8") != wanted:
        subprocess.run([pythons()[version], "-m", "venv", "--clear", str(folder)], check=True, timeout=120)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*install, "--constraint", "constraints.txt", *PACKAGES], cwd=ROOT, check=True, timeout=480)
        ready.write_text(wanted, encoding="utf-8")
    return str(python)


@pytest.fixture
def python(request: pytest.FixtureRequest) -> str:
    version: str = request.param
    if version == "{}.{}".format(*sys.version_info):
        pytest.skip(f"Python {version} runs all the other tests")
    if version not in pythons():
        pytest.skip(f"there is no CPython {version} on this machine")
    return environment_of(version)


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
