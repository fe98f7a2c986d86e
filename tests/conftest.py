"""`bake(**answers)`: a project, baked once for all tests that only look at it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from baking import ROOT, Bake, Baker
from pythons import OURS, PACKAGES, VERSIONS, environment_of, pythons


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with Ray first: only one of them runs at a time, so at the end all processes would wait for each other."""
    items.sort(key=lambda item: item.path.name != "test_ray.py")


@pytest.fixture(scope="session", autouse=True)
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cookiecutter's own files go to a temporary folder, whatever the user has."""
    folder = tmp_path_factory.mktemp("cookiecutter")
    config = folder / "config.yaml"
    config.write_text(f"cookiecutters_dir: {folder.as_posix()}\nreplay_dir: {folder.as_posix()}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COOKIECUTTER_CONFIG", str(config))
        yield


@pytest.fixture(scope="session")
def bake(tmp_path_factory: pytest.TempPathFactory) -> Baker:
    baked: dict[tuple[tuple[str, str], ...], Bake] = {}

    def bake_once(**answers: str) -> Bake:
        key = tuple(sorted(answers.items()))
        if key not in baked:
            folder = tmp_path_factory.mktemp("bake with spaces")
            path = Path(cookiecutter(str(ROOT), no_input=True, extra_context=answers, output_dir=str(folder)))
            package = next(path.glob("src/*/pipeline.py")).parent.name
            baked[key] = Bake(path, package)
        return baked[key]

    return bake_once


@pytest.fixture
def python(request: pytest.FixtureRequest) -> str:
    """A Python of that version with what the tests of a bake import."""
    version: str = request.param
    if version == OURS:
        return sys.executable
    if version not in pythons(*VERSIONS):
        pytest.skip(f"there is no CPython {version} on this machine")
    return str(environment_of(pythons(*VERSIONS)[version], f"pythons/{version}", *PACKAGES) / "bin" / "python")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh copy of this repository as a clone would hold it, plus what is not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    copy = tmp_path / "checkout"
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy
