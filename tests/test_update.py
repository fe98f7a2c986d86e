"""The update path (T7): a project takes up what changed in the template, and keeps what is the user's."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from baking import Bake, Baker, environment


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
    package, source = "src/my_pipeline", "src/{{cookiecutter.package_name}}"
    own = [f"{package}/pipeline.py", f"{package}/settings.py", f"{package}/stages/model_inference.py"]
    own += ["tests/test_pipeline.py", "tests/stages/test_model_inference.py"]
    for file in own:
        (project.path / file).write_text(mine)
    commit(project.path, git)
    call("cruft check", project.path, git)

    newer = [f"{source}/pipeline_core/report.py", f"{source}/pipeline.py", f"{source}/settings.py"]
    newer += [f"{source}/stages/stage_name.py", "tests/test_pipeline.py", "tests/stages/test_stage_name.py"]
    for path in (checkout / "{{cookiecutter.project_slug}}" / file for file in newer):
        path.write_text(path.read_text(encoding="utf-8") + "\n# Newer.\n", encoding="utf-8")
    commit(checkout, git)

    call("cruft update --skip-apply-ask", project.path, git)
    assert "# Newer." in project.text(f"{package}/pipeline_core/report.py")
    assert [project.text(file) for file in own] == [mine] * len(own)
    assert "# Newer." not in project.text(f"{package}/stages/pre_processing.py")
    assert "# Newer." not in project.text("tests/stages/test_pre_processing.py")
    assert not list(project.path.rglob("*.rej"))
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


@pytest.mark.slow
def test_t7_an_answer_can_be_changed_by_an_update(
    checkout: Path, tmp_path: Path, git: dict[str, str], bake: Baker
) -> None:
    call("git init -q", checkout, git)
    commit(checkout, git)
    call(f"cruft create {checkout} --no-input --output-dir {tmp_path}", tmp_path, git)
    project = Bake(tmp_path / "my-pipeline", "my_pipeline")
    call("git init -q", project.path, git)
    commit(project.path, git)
    less = {"command_line": "no", "diagnosis": "table", "metrics": "prometheus", "ci": "none", "docker": "yes"}
    more = {"command_line": "yes", "diagnosis": "full", "metrics": "none", "ci": "github", "docker": "no"}
    for changed in (less, more, more | {"ci": "gitlab"}):
        answers = json.dumps(changed, separators=(",", ":"))
        call(f"cruft update --skip-apply-ask --variables-to-update {answers}", project.path, git)
        commit(project.path, git)
        listed = call("git ls-files", project.path, git).stdout.split()
        fresh = bake(project_name="My Pipeline", **changed)
        assert {*listed} == fresh.files() | {".cruft.json"}
        assert [file for file in fresh.files() - YOURS if project.text(file) != fresh.text(file)] == []


# Which an update leaves as they are.
YOURS = {"src/my_pipeline/pipeline.py", "src/my_pipeline/settings.py", "tests/test_pipeline.py"}
