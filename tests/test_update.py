"""The update path (T7): a project takes up what changed in the template, and keeps what is the user's."""

import os
import subprocess
from pathlib import Path

import pytest

from baking import Bake, environment


@pytest.fixture
def git(tmp_path: Path) -> dict[str, str]:
    """An environment in which git knows a name, and has no other settings."""
    names = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": str(tmp_path)}
    return environment(**dict.fromkeys(names, "tester@example.org"), **quiet)


def call(command: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command.split(), cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done


def commit(folder: Path, env: dict[str, str]) -> None:
    call("git add -A", folder, env)
    call("git commit -q -m change", folder, env)


def test_t7_update_brings_the_template_and_keeps_the_stages(
    checkout: Path, tmp_path: Path, git: dict[str, str]
) -> None:
    call("git init -q", checkout, git)
    commit(checkout, git)
    call(f"cruft create {checkout} --no-input --output-dir {tmp_path}", tmp_path, git)
    project = Bake(tmp_path / "my-pipeline", "my_pipeline")
    call("git init -q", project.path, git)
    mine = "# Written by the user.\n"
    for file in ("src/my_pipeline/stages/model_inference.py", "src/my_pipeline/pipeline.py"):
        (project.path / file).write_text(mine)
    commit(project.path, git)
    call("cruft check", project.path, git)

    core = checkout / "{{cookiecutter.project_slug}}/src/{{cookiecutter.package_name}}/pipeline_core/report.py"
    core.write_text(core.read_text() + "\n# A newer core.\n")
    stub = checkout / "{{cookiecutter.project_slug}}/src/{{cookiecutter.package_name}}/stages/stage_name.py"
    stub.write_text(stub.read_text() + "\n# A newer stub.\n")
    commit(checkout, git)

    call("cruft update --skip-apply-ask", project.path, git)
    assert "# A newer core." in project.text("src/my_pipeline/pipeline_core/report.py")
    assert project.text("src/my_pipeline/stages/model_inference.py") == mine
    assert project.text("src/my_pipeline/pipeline.py") == mine
    assert "newer stub" not in project.text("src/my_pipeline/stages/pre_processing.py")
    call("cruft check", project.path, git)


def test_t7_cruft_and_cookiecutter_render_the_same(checkout: Path, tmp_path: Path, git: dict[str, str]) -> None:
    call("git init -q", checkout, git)
    commit(checkout, git)
    (tmp_path / "cruft").mkdir()
    (tmp_path / "cookiecutter").mkdir()
    call(f"cruft create {checkout} --no-input --output-dir {tmp_path / 'cruft'}", tmp_path, git)
    call(f"cookiecutter {checkout} --no-input --output-dir {tmp_path / 'cookiecutter'}", tmp_path, git)
    one, other = (Bake(tmp_path / tool / "my-pipeline", "my_pipeline") for tool in ("cruft", "cookiecutter"))
    assert one.files() == other.files() | {".cruft.json"}
    assert all(one.text(file) == other.text(file) for file in other.files())
