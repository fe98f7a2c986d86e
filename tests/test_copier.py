"""The same template for copier: the same questions, the same project, and updates that keep what is the user's (T2, T7)."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from baking import Bake, Baker, environment
from make_copier import ROOT, questions

PACKAGE = "src/my_pipeline"


@dataclass(frozen=True)
class Template:
    """A repository of this template with a tag for each version, and a user of copier."""

    path: Path
    env: dict[str, str]

    def run(self, *command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=folder or self.path, env=self.env, capture_output=True, text=True)

    def commit(self, folder: Path, tag: str = "") -> None:
        for command in ("git add -A", "git commit -q -m change", f"git tag {tag}" if tag else "git status"):
            assert self.run(*command.split(), folder=folder).returncode == 0

    def copy(self, project: Path, **answers: str) -> subprocess.CompletedProcess[str]:
        given = [part for name, value in answers.items() for part in ("--data", f"{name}={value}")]
        return self.run("copier", "copy", "--trust", "--defaults", *given, str(self.path), str(project))

    def update(self, project: Bake, **answers: str) -> subprocess.CompletedProcess[str]:
        given = [part for name, value in answers.items() for part in ("--data", f"{name}={value}")]
        return self.run("copier", "update", "--trust", "--defaults", *given, folder=project.path)

    def replace(self, file: str, old: str, new: str) -> None:
        path = self.path / "{{cookiecutter.project_slug}}" / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def template(checkout: Path, tmp_path: Path) -> Template:
    names = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": str(tmp_path)}
    made = Template(checkout, environment(**dict.fromkeys(names, "tester@example.org"), **quiet))
    made.run("git", "init", "-q")
    made.commit(checkout, tag="1.0.0")
    return made


@pytest.fixture
def project(template: Template, tmp_path: Path) -> Bake:
    """In a repository of its own, with an edit of the user's in a stage, in the flow and in the README."""
    assert template.copy(tmp_path / "my-pipeline").returncode == 0
    made = Bake(tmp_path / "my-pipeline", "my_pipeline")
    template.run("git", "init", "-q", folder=made.path)
    template.commit(made.path)
    edit(made, f"{PACKAGE}/stages/model_inference.py", "return item", "return item  # Mine.")
    edit(made, f"{PACKAGE}/pipeline.py", "queue_size=250", "queue_size=25")
    edit(made, "README.md", "# My Pipeline\n", "# Mine\n")
    template.commit(made.path)
    return made


def edit(project: Bake, file: str, old: str, new: str) -> None:
    text = project.text(file)
    assert old in text, f"{file} has no {old!r}"
    (project.path / file).write_text(text.replace(old, new), encoding="utf-8")


def test_t2_copier_asks_what_cookiecutter_asks() -> None:
    """After a change of cookiecutter.json: tools/make_copier.py --write."""
    assert (ROOT / "copier.yml").read_text(encoding="utf-8") == questions()


@pytest.mark.slow
@pytest.mark.parametrize(
    "answers",
    [
        {},
        {
            "project_name": "Größe & Co.",
            "stage_names": "Load it, score",
            "metrics": "prometheus",
            "license": "Apache-2.0",
        },
        {"project_slug": "a-slug", "stage_names": "x", "sub_task_stage": "x", "sub_task_pool": "processes"},
        {"command_line": "false", "diagnosis": "table", "sub_task_pool": "none", "ci": "none", "python_min": "3.12"},
        {"author_name": 'It\'s "Ada" \\ {a}', "description": "", "scale_out": "ray", "metrics": "opentelemetry"},
    ],
    ids=lambda answers: " ".join(answers) or "defaults",
)
def test_t7_copier_gives_the_project_that_cookiecutter_gives(
    answers: dict[str, str], template: Template, bake: Baker, tmp_path: Path
) -> None:
    done = template.copy(tmp_path / "copied", **answers)
    assert done.returncode == 0, done.stderr
    assert "is ready. Next" not in done.stdout
    copied = Bake(tmp_path / "copied", "")
    baked = bake(**answers)
    assert copied.files() == baked.files() | {".copier-answers.yml"}
    assert [file for file in sorted(baked.files()) if copied.text(file) != baked.text(file)] == []


@pytest.mark.slow
def test_t7_copier_updates_what_is_not_the_users(template: Template, project: Bake) -> None:
    template.replace(f"{PACKAGE.replace('my_pipeline', '{{cookiecutter.package_name}}')}/pipeline.py", "250", "300")
    template.replace("README.md", "## Tune\n", "## Tune it\n")
    template.commit(template.path, tag="1.1.0")
    done = template.update(project)
    assert done.returncode == 0, done.stderr
    assert "# Mine." in project.text(f"{PACKAGE}/stages/model_inference.py")
    assert "queue_size=25," in project.text(f"{PACKAGE}/pipeline.py")
    assert "# Mine\n" in project.text("README.md")
    assert "## Tune it\n" in project.text("README.md")
    assert "_commit: 1.1.0" in project.text(".copier-answers.yml")
    assert template.run("git", "status", "--short", folder=project.path).stdout.split() == [
        *("M", ".copier-answers.yml"),
        *("M", "README.md"),
    ]


@pytest.mark.slow
def test_t7_copier_changes_an_answer_later(template: Template, project: Bake, bake: Baker) -> None:
    changed = {"command_line": "no", "diagnosis": "table", "metrics": "prometheus", "ci": "none"}
    done = template.update(project, **changed)
    assert done.returncode == 0, done.stderr
    template.commit(project.path)
    listed = template.run("git", "ls-files", folder=project.path).stdout.split()
    assert {*listed} == bake(project_name="My Pipeline", **changed).files() | {".copier-answers.yml"}
    assert "queue_size=25," in project.text(f"{PACKAGE}/pipeline.py")
    project.python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (
            {"sub_task_pool": "none", "sub_task_stage": ""},
            f"sub_task_pool: {PACKAGE}/pipeline.py, {PACKAGE}/stages/post",
        ),
        ({"package_name": "better"}, "package_name: an update cannot rename the package; "),
    ],
)
def test_t7_copier_refuses_an_answer_that_cannot_change(
    answers: dict[str, str], why: str, template: Template, project: Bake
) -> None:
    done = template.update(project, **answers)
    assert done.returncode != 0
    assert any(line.startswith(why) for line in done.stderr.splitlines())
    assert template.run("git", "status", "--short", folder=project.path).stdout.split() in (
        [],
        ["M", ".copier-answers.yml"],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompt", "value"), [("stage_names", "class"), ("description", "{{ 7 * 7 }}"), ("package_name", "json")]
)
def test_t4_a_bad_answer_leaves_nothing_with_copier_either(
    prompt: str, value: str, template: Template, tmp_path: Path
) -> None:
    done = template.copy(tmp_path / "copied", **{prompt: value})
    assert done.returncode != 0
    assert f"{prompt}: {json.dumps(value)[1:-1]!r}" in done.stderr
    assert not (tmp_path / "copied").exists()
