"""The update path (T7): a project takes up what changed in the template, and keeps what is the user's."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from baking import Bake, Baker, environment

PACKAGE = "src/my_pipeline"
# Which an update leaves as they are.
YOURS = {f"{PACKAGE}/pipeline.py", f"{PACKAGE}/settings.py", "tests/test_pipeline.py"}
TEXTS = {
    "project_name": "Another name",
    "description": "Another one.",
    "license": "Apache-2.0",
    "python_min": "3.13",
    "author_name": "Ada Lovelace",
    "author_email": "ada@example.org",
    "repository_url": "https://example.org/ada/ships",
}
CAN_CHANGE: list[dict[str, str]] = [
    TEXTS,
    {"project_slug": "another-command"},
    {"sub_task_pool": "processes"},
    {"command_line": "no"},
    {"diagnosis": "table"},
    {"scale_out": "ray"},
    {"metrics": "prometheus", "ci": "none"},
    {"metrics": "opentelemetry", "ci": "gitlab", "docker": "yes"},
]


@pytest.fixture
def git(tmp_path: Path) -> dict[str, str]:
    """An environment in which git knows a name, and has no other settings."""
    names = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": str(tmp_path)}
    return environment(**dict.fromkeys(names, "tester@example.org"), **quiet)


def call(command: str, folder: Path, env: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*command.split(), *more], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done


def commit(folder: Path, env: dict[str, str]) -> None:
    call("git add -A", folder, env)
    call("git commit -q -m change", folder, env)


@dataclass(frozen=True)
class Linked:
    """A project that cruft made, in a repository of its own, and the template that it came from."""

    project: Bake
    template: Path
    env: dict[str, str]
    shell: Path | None = None  # Where a shell says that it is; None: in the project.

    def cruft(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, env = ["cruft", *arguments], self.env | {"PWD": str(self.shell or self.project.path)}
        return subprocess.run(command, cwd=self.project.path, env=env, capture_output=True, text=True)

    def update(self, **answers: str) -> subprocess.CompletedProcess[str]:
        given = ["--variables-to-update", json.dumps(answers)] if answers else []
        return self.cruft("update", "--skip-apply-ask", *given)

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=self.project.path, env=self.env, capture_output=True, text=True, check=True
        ).stdout

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")

    def replace(self, file: str, *pairs: tuple[str, str]) -> None:
        """Edit a file of the project, and see that each text was there."""
        text = self.project.text(file)
        for old, new in pairs:
            assert old in text, f"{file} has no {old!r}"
            text = text.replace(old, new)
        (self.project.path / file).write_text(text, encoding="utf-8")

    def replace_in_template(self, file: str, old: str, new: str) -> None:
        path = self.template / "{{cookiecutter.project_slug}}" / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")
        commit(self.template, self.env)

    def suite_passes(self, *tests: str) -> None:
        self.project.python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *tests)


@pytest.fixture
def linked(checkout: Path, tmp_path: Path, git: dict[str, str]) -> Linked:
    """With an edit of the user's in a stage, in the flow and in the README."""
    call("git init -q", checkout, git)
    commit(checkout, git)
    call(f"cruft create {checkout} --no-input --output-dir {tmp_path}", tmp_path, git)
    made = Linked(Bake(tmp_path / "my-pipeline", "my_pipeline"), checkout, git)
    made.git("init", "-q")
    made.commit()
    made.replace(f"{PACKAGE}/stages/model_inference.py", ("return item", "return item  # Mine."))
    made.replace(f"{PACKAGE}/pipeline.py", ("queue_size=250", "queue_size=25"))
    made.replace("README.md", ("## Check\n", "## Check mine\n"))
    made.commit()
    return made


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


def test_t7_an_update_merges_with_what_the_user_has_edited_elsewhere(linked: Linked) -> None:
    linked.replace_in_template("README.md", "## Tune\n", "## Tune it\n")
    assert linked.cruft("check").returncode == 1
    done = linked.update()
    assert done.returncode == 0
    assert "is ready" not in done.stdout, "what to do after a bake"
    assert "## Check mine\n" in linked.project.text("README.md")
    assert "## Tune it\n" in linked.project.text("README.md")
    assert linked.cruft("check").returncode == 0


def test_t7_what_the_user_has_deleted_stays_deleted(linked: Linked) -> None:
    (linked.project.path / "demo.py").unlink()
    linked.commit()
    linked.replace_in_template("demo.py", "ITEMS = 600", "ITEMS = 900")
    assert linked.update().returncode == 0
    assert not (linked.project.path / "demo.py").exists()


def test_t7_two_edits_of_one_place_are_a_conflict_that_git_shows_and_nothing_is_lost(linked: Linked) -> None:
    linked.replace("demo.py", ("ITEMS = 600", "ITEMS = 60"))
    linked.commit()
    linked.replace_in_template("demo.py", "ITEMS = 600", "ITEMS = 900")
    done = linked.update()
    assert "Applied patch to 'demo.py' with conflicts." in done.stderr
    assert "UU demo.py" in linked.git("status", "--short")
    assert "<<<<<<< ours\nITEMS = 60\n=======\nITEMS = 900\n>>>>>>> theirs\n" in linked.project.text("demo.py")


def test_t7_without_a_repository_a_conflict_is_a_rej_file_that_is_named(linked: Linked) -> None:
    linked.replace("demo.py", ("ITEMS = 600", "ITEMS = 60"))
    shutil.rmtree(linked.project.path / ".git")
    linked.replace_in_template("demo.py", "ITEMS = 600", "ITEMS = 900")
    done = linked.update()
    assert "Project directory may have *.rej files" in done.stdout
    assert "Rejected hunk #1." in done.stderr
    assert "ITEMS = 60\n" in linked.project.text("demo.py")
    assert "+ITEMS = 900" in linked.project.text("demo.py.rej")


def test_t7_a_project_that_cookiecutter_made_is_linked_and_updated(
    checkout: Path, tmp_path: Path, git: dict[str, str]
) -> None:
    call("git init -q", checkout, git)
    commit(checkout, git)
    call(f"cookiecutter {checkout} --no-input --output-dir {tmp_path} command_line=no", tmp_path, git)
    linked = Linked(Bake(tmp_path / "my-pipeline", "my_pipeline"), checkout, git)
    answers = json.dumps({"command_line": "no"})
    assert linked.cruft("link", str(checkout), "--no-input", "--extra-context", answers).returncode == 0
    linked.git("init", "-q")
    linked.commit()
    assert linked.cruft("check").returncode == 0
    assert linked.cruft("diff").stdout == ""
    linked.replace_in_template("demo.py", "ITEMS = 600", "ITEMS = 900")
    assert linked.update().returncode == 0
    assert "ITEMS = 900" in linked.project.text("demo.py")


@pytest.mark.slow
@pytest.mark.parametrize("answers", CAN_CHANGE, ids=lambda answers: " ".join(answers))
def test_t7_an_answer_that_may_change_leaves_a_project_that_works(
    answers: dict[str, str], linked: Linked, bake: Baker
) -> None:
    done = linked.update(**answers)
    assert done.returncode == 0, done.stderr
    names = {"project_name": "My Pipeline", "project_slug": "my-pipeline", "package_name": "my_pipeline"}
    fresh = bake(**names | answers)
    linked.commit()
    listed = {*linked.git("ls-files").split()}
    assert listed == fresh.files() | {".cruft.json"}
    mine = {file for file in listed if file.startswith((f"{PACKAGE}/stages/", "tests/stages/"))}
    same = fresh.files() - YOURS - mine - {"README.md"}
    assert [file for file in sorted(same) if linked.project.text(file) != fresh.text(file)] == []
    assert linked.project.text("README.md") == fresh.text("README.md").replace("## Check\n", "## Check mine\n")
    assert "# Mine." in linked.project.text(f"{PACKAGE}/stages/model_inference.py")
    assert "queue_size=25," in linked.project.text(f"{PACKAGE}/pipeline.py")
    linked.suite_passes("tests/stages", "tests/test_pipeline.py", "tests/test_contract.py")
    if linked.project.path.joinpath(PACKAGE, "cli.py").exists():
        linked.project.python("-m", "my_pipeline", "graph")


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"sub_task_pool": "none"}, "sub_task_pool: src/my_pipeline/pipeline.py, src/my_pipeline/stages/post_processing"),
        ({"sub_task_stage": ""}, "sub_task_pool: src/my_pipeline/pipeline.py, src/my_pipeline/stages/post_processing"),
        ({"package_name": "better"}, "package_name: an update cannot rename the package to 'better'; "),
        ({"stage_names": "a, pre_processing, post_processing"}, "stage_names: an update writes no stage, and 'a' has no file"),
    ],
)  # fmt: skip
def test_t7_an_answer_that_cannot_change_is_refused_in_one_line_with_a_way_out(
    answers: dict[str, str], why: str, linked: Linked
) -> None:
    done = linked.update(**answers)
    assert done.returncode == 1
    said, *_ = done.stderr.split("Stopping generation")
    assert said.startswith(why)
    assert said.count("\n") == 1
    assert linked.git("status", "--short") == ""


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"sub_task_pool": "none"}, "sub_task_pool: an update does not take the pool from its stage; "),
        ({"sub_task_stage": ""}, "sub_task_pool: an update does not take the pool from its stage; "),
        pytest.param(
            {"package_name": "better"},
            "package_name: an update cannot rename the package to 'better'; ",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process's folder"),
        ),
    ],
)
def test_t7_it_is_refused_also_where_no_shell_has_said_which_project_is_updated(
    answers: dict[str, str], why: str, linked: Linked
) -> None:
    elsewhere = replace(linked, shell=Path("/"))
    done = elsewhere.update(**answers)
    assert done.returncode == 1
    said, *_ = done.stderr.split("Stopping generation")
    assert said.startswith(why)
    assert said.count("\n") == 1
    assert linked.git("status", "--short") == ""


@pytest.mark.slow
def test_t7_the_way_out_for_the_pool(linked: Linked) -> None:
    """The stage becomes one without a pool, and then the pool can leave the project."""
    stage, test = f"{PACKAGE}/stages/post_processing.py", "tests/stages/test_post_processing.py"
    linked.replace(
        stage,
        ("SubTaskPoolWorker[Any, Any, Any, Any]", "BaseWorker[Any, Any]"),
        ("import SubTaskPoolWorker", "import BaseWorker"),
        ("process_sub_task(self, sub: Any)", "process_item(self, item: Any)"),
        ("return sub", "return item"),
    )
    linked.replace(test, (', worker_args={"sub_workers": 4}', ""))
    call = linked.project.text(f"{PACKAGE}/pipeline.py").split("    pipeline.add_worker(\n")[1].split("\n    )\n")[0]
    plain = 'PostProcessingWorker, name="post_processing"'
    linked.replace(f"{PACKAGE}/pipeline.py", (f"add_worker(\n{call}\n    )", f"add_worker({plain})"))
    linked.commit()
    done = linked.update(sub_task_pool="none")
    assert done.returncode == 0, done.stderr
    assert not (linked.project.path / f"{PACKAGE}/pipeline_core/sub_task_pool.py").exists()
    linked.suite_passes()


@pytest.mark.slow
def test_t7_a_pool_can_be_added(checkout: Path, tmp_path: Path, git: dict[str, str]) -> None:
    call("git init -q", checkout, git)
    commit(checkout, git)
    call(
        f"cruft create {checkout} --no-input --output-dir {tmp_path} --extra-context",
        tmp_path,
        git,
        json.dumps({"stage_names": "a"}),
    )
    linked = Linked(Bake(tmp_path / "my-pipeline", "my_pipeline"), checkout, git)
    linked.git("init", "-q")
    linked.commit()
    assert linked.update(sub_task_pool="threads", sub_task_stage="a").returncode == 0
    linked.commit()
    assert linked.project.python("-m", "my_pipeline", "new-stage", "b", "--pool").returncode == 0
    linked.suite_passes()


def test_t7_the_way_out_for_a_stage(linked: Linked) -> None:
    """It is added by the command, and then the answer can name it, so that the README shows it."""
    linked.project.python("-m", "my_pipeline", "new-stage", "score", "--after", "model_inference")
    linked.commit()
    names = "pre_processing, model_inference, score, post_processing"
    assert linked.update(stage_names=names).returncode == 0
    picture = linked.project.python("-m", "my_pipeline", "graph").stdout
    assert [name for name in names.split(", ") if name not in picture] == []
    assert '"score"' in linked.project.text("README.md")
    assert "# Mine." in linked.project.text(f"{PACKAGE}/stages/model_inference.py")


def test_t7_the_way_out_for_the_package(linked: Linked) -> None:
    """It is renamed in the project, its `.cruft.json` included, and updates go on."""
    linked.git("mv", PACKAGE, "src/better")
    for file in linked.git("grep", "-l", "my_pipeline").split():
        linked.replace(file, ("my_pipeline", "better"))
    linked.commit()
    linked.replace_in_template("src/{{cookiecutter.package_name}}/observers/units.py", '"""', '"""Newer. ')
    done = linked.update()
    assert done.returncode == 0, done.stderr
    assert "Newer." in linked.project.text("src/better/observers/units.py")
    assert not (linked.project.path / PACKAGE).exists()
    Linked(Bake(linked.project.path, "better"), linked.template, linked.env).suite_passes("tests/test_pipeline.py")
    assert "conflict" not in done.stderr
