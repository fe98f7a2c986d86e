"""What a stranger does: the commands of both READMEs, as written, in an empty HOME and without uv (T1, P3, P4)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from baking import ROOT, Baker, environment

pytestmark = pytest.mark.slow


def code_blocks(readme: str, heading: str) -> list[str]:
    """The commands that stand under a heading, a string a block."""
    section = readme.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^```(?:sh)?\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def shell(script: str, folder: Path, home: Path) -> str:
    """Run it with this Python first on PATH as python3, and little else."""
    bin_folder = home / "bin"
    bin_folder.mkdir(exist_ok=True)
    for name in ("python", "python3"):
        if not (bin_folder / name).exists():
            (bin_folder / name).symlink_to(Path(sys.executable).resolve())
    settings = {"HOME": str(home), "PATH": f"{bin_folder}:/usr/bin:/bin"}
    command = ["sh", "-ec", script]
    done = subprocess.run(
        command, cwd=folder, env=environment() | settings, capture_output=True, text=True, timeout=550
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are written for a POSIX shell")
def test_p4_the_projects_readme_works_as_written(bake: Baker, tmp_path: Path) -> None:
    project = bake().copy(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    install, start = code_blocks(project.text("README.md"), "Start")
    (check,) = code_blocks(project.text("README.md"), "Check")
    call("git init -q", project.path)
    shown = shell(install + start + check, project.path, home)
    assert '{"id": 1}\n{"id": 2}\n' in shown
    assert "model_inference limits the run" in shown


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are written for a POSIX shell")
def test_t1_make_demo_in_a_fresh_checkout(checkout: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shown = shell("make demo", checkout, home)
    assert re.search(r"accuracy.*9\d\.\d", shown), shown
    assert list(checkout.glob("build/my-pipeline/outputs/*.png"))
    assert {path.name for path in home.iterdir()} <= {"bin", ".cache", ".cookiecutter_replay", ".cookiecutters"}


def test_t1_make_demo_and_make_test_stand_at_the_top_of_the_readme() -> None:
    top = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    assert "make demo" in top
    assert "make test" in top


def call(command: str, folder: Path) -> None:
    subprocess.run(command.split(), cwd=folder, check=True)
