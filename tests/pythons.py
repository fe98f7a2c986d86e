"""The Pythons that this machine has, and environments of them that are made once and kept in build/."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from filelock import FileLock

from baking import ROOT

VERSIONS = ("3.11", "3.12", "3.13", "3.14")  # That a bake supports.
OURS = "{}.{}".format(*sys.version_info)
OTHER_VERSIONS = tuple(version for version in VERSIONS if version != OURS)
PACKAGES = [  # What the tests of a bake and of the runtime import.
    *("hypothesis", "msgspec", "opentelemetry-sdk", "prometheus-client", "pyarrow", "pydantic", "pytest"),
    *("pytest-timeout", "pytest-xdist", "rich", "typer", "backports.zstd; python_version < '3.14'"),
]
ASK = (
    "import platform, sys, sysconfig; print('%s %d.%d %s %s' % (platform.python_implementation(), sys.version_info[0],"
    " sys.version_info[1], bool(sysconfig.get_config_var('Py_GIL_DISABLED')), sys.executable))"
)


@cache
def pythons(*versions: str) -> dict[str, str]:
    """The CPythons with a GIL that PATH and pyenv have, one a version."""
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    names = [folder / f"python{version}" for folder in folders for version in versions]
    names += [file for version in versions for file in sorted(pyenv.glob(f"versions/{version}*/bin/python{version}"))]
    found: dict[str, str] = {}
    for name in filter(Path.is_file, names):
        said = subprocess.run([str(name), "-c", ASK], capture_output=True, text=True, timeout=60).stdout.split(
            maxsplit=3
        )
        if said[:1] == ["CPython"] and said[2] == "False":
            found.setdefault(said[1], said[3].strip())
    return found


def environment_of(python: str, name: str, *packages: str, constrained: bool = True) -> Path:
    """The folder of an environment of that Python with these packages."""
    folder = ROOT / "build" / name
    ready = folder / "ready"
    constraints = ["--constraint", "constraints.txt"] if constrained else []
    wanted = "\n".join([python, *packages, (ROOT / "constraints.txt").read_text("utf-8") if constrained else ""])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # Tests run in several processes.
        if not ready.is_file() or ready.read_text(encoding="utf-8") != wanted:
            subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True, timeout=120)
            install = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            subprocess.run([*install, *constraints, *packages], cwd=ROOT, check=True, timeout=480)
            ready.write_text(wanted, encoding="utf-8")
    return folder
