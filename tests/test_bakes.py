"""What comes out of a bake: the right files, no leftovers, and clean by its own tools (T5, T6, P1 to P5)."""

import itertools
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from baking import ROOT, Bake, Baker, environment

BAKES: dict[str, dict[str, str]] = {
    "the defaults": {},
    "one stage, named in words, on the newest Python": {
        "stage_names": "Quality control & R/W",
        "python_min": "3.14",
        "license": "BSD-3-Clause",
    },
    "seven stages": {
        "project_name": "Seven Stages of Ingest",
        "stage_names": "load, Clean up, step 2, step 10, score-all, match, x",
        "sub_task_stage": "step 10",
        "license": "Proprietary",
        "author_name": "Ada Lovelace",
        "author_email": "ada@example.org",
    },
    "no pool, no CI": {"stage_names": "Load, Clean up, Score", "sub_task_pool": "none", "ci": "none"},
    "a process pool": {"sub_task_pool": "processes", "sub_task_stage": "pre_processing", "license": "Apache-2.0"},
    "the longest names": {
        "project_slug": "p" * 40,
        "package_name": "q" * 40,
        "stage_names": ", ".join(f"{'w' * 27} {number}" for number in range(32)),
    },
}


@pytest.fixture(scope="module", params=list(BAKES.values()), ids=list(BAKES))
def project(request: pytest.FixtureRequest, bake: Baker) -> Bake:
    return bake(**request.param)


def core_files(pool: bool) -> set[str]:
    modules = "__init__ base_worker channel errors pipeline_manager policy ports report serial source stacks stage"
    return {f"{module}.py" for module in [*modules.split(), *(["sub_task_pool"] if pool else [])]}


def core_tests(pool: bool) -> set[str]:
    subjects = "accounting bounds channel deadlines errors interrupt manager never_hangs order policies stop workers"
    return {f"test_{subject}.py" for subject in [*subjects.split(), *(["sub_task_pool"] if pool else [])]}


ALWAYS = ".gitignore .pre-commit-config.yaml LICENSE README.md demo.py pyproject.toml tests/conftest.py tests/test_pipeline.py"


@pytest.mark.parametrize(
    ("pool", "ci", "licence"),
    list(itertools.product(["threads", "processes", "none"], ["github", "none"], ["MIT", "Proprietary"])),
)
def test_t5_exactly_the_files_that_the_answers_ask_for(pool: str, ci: str, licence: str, bake: Baker) -> None:
    project = bake(sub_task_pool=pool, ci=ci, license=licence, stage_names="Load it, score")
    package = "src/my_pipeline"
    own = "__init__ __main__ cli pipeline sources_and_sinks stages/__init__ stages/load_it stages/score"
    expected = set(ALWAYS.split())
    expected |= {f"{package}/{module}.py" for module in own.split()} | {f"{package}/py.typed"}
    expected |= {f"{package}/pipeline_core/{file}" for file in core_files(pool != "none")}
    expected |= {f"tests/pipeline_core/{file}" for file in core_tests(pool != "none")}
    expected |= {"tests/stages/test_load_it.py", "tests/stages/test_score.py"}
    expected |= {".github/workflows/ci.yml"} if ci == "github" else set()
    assert project.files() == expected


def test_t5_nothing_is_left_over(project: Bake) -> None:
    for folder in (path for path in project.path.rglob("*") if path.is_dir()):
        assert any(folder.iterdir()), f"{folder} is empty"
    for file in project.files():
        text = project.text(file)
        assert not re.search(r"\{\{|\{%|\{#|cookiecutter", text), f"{file} holds template code"
        assert "stage_name" not in text or file.endswith(("cli.py", "demo.py", "pipeline_manager.py"))
        assert text.endswith("\n") or not text, f"{file} does not end its last line"
        assert text.strip("\n") + "\n" == text or not text, f"{file} begins or ends with an empty line"
        assert "\r" not in text
        if not file.endswith((".py", "LICENSE")):
            assert "\n\n\n" not in text, f"{file} has two blank lines where something was cut"
            assert not re.search(r"[ \t]$", text, re.MULTILINE), f"{file} has spaces at the end of a line"


@pytest.mark.parametrize("tool", ["ruff check", "ruff format --check --diff", "mypy src"])
def test_t6_clean_as_rendered(tool: str, project: Bake) -> None:
    project.run(*tool.split())


def test_t6_its_own_tests_pass(project: Bake, request: pytest.FixtureRequest) -> None:
    project.python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")


def test_t6_its_own_pre_commit_agrees(project: Bake, tmp_path: Path) -> None:
    copy = project.copy(tmp_path)
    for command in ("git init -q", "git add -A", "pre-commit run --all-files"):
        copy.run(*command.split())


def test_t6_builds_a_wheel_with_the_package_and_nothing_else(project: Bake, tmp_path: Path) -> None:
    copy = project.copy(tmp_path)
    copy.python("-m", "build", "--no-isolation", "--wheel", "--outdir", "dist")
    (wheel,) = (copy.path / "dist").iterdir()
    listed = copy.python("-m", "zipfile", "-l", str(wheel)).stdout.splitlines()[1:]
    folders = {line.split("/")[0] for line in listed}
    assert folders - {folder for folder in folders if ".dist-info" in folder} == {project.package}


def test_t5_every_dependency_is_used_and_every_group_is_needed(project: Bake) -> None:
    settings = tomllib.loads(project.text("pyproject.toml"))
    imports = "\n".join(project.text(file) for file in project.files() if file.startswith("src/"))
    for dependency in settings["project"]["dependencies"]:
        assert re.search(rf"^(from|import) {re.split('[>=]', dependency)[0]}\b", imports, re.MULTILINE)


def test_p1_runs_before_any_edit_in_order(project: Bake) -> None:
    done = project.python("-m", project.package, "run", stdin='{"a":1}\n{"a":2}\n')
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"a": 1}, {"a": 2}]


def test_p4_the_picture_shows_the_stages_in_their_order(project: Bake) -> None:
    drawn = re.findall(r"^    (\S+) --> (\S+)$", project.text("README.md"), re.MULTILINE)
    printed = project.python("-m", project.package, "graph").stdout
    names = [name for name, _ in re.findall(r"^    (\S+) --> (\S+)$", printed, re.MULTILINE)][1:]
    assert [right for _, right in drawn] == [*names, "sink([sink])"]
    assert {f"{name}.py" for name in names} | {"__init__.py"} == {
        path.name for path in project.path.glob("src/*/stages/*.py")
    }


def test_p2_the_demo_shows_progress_order_errors_and_the_slowest_stage(bake: Baker) -> None:
    shown = bake().python("demo.py").stdout
    assert "in order: True" in shown
    assert "slowest stage: model_inference" in shown
    assert "simulated failure" in shown


def test_t6_the_core_has_no_jinja_and_only_the_standard_library() -> None:
    core = ROOT / "{{cookiecutter.project_slug}}/src/{{cookiecutter.package_name}}/pipeline_core"
    for module in core.glob("*.py"):
        text = module.read_text(encoding="utf-8")
        assert "cookiecutter" not in text
        assert not re.search(r"^(from|import) (rich|typer)", text, re.MULTILINE)


def test_the_next_steps_name_the_folder_and_repeat_the_bake(tmp_path: Path) -> None:
    answers = ["project_name=It's mine", "stage_names=Load it, score", "sub_task_pool=none"]
    first, again = tmp_path / "first", tmp_path / "again"
    for folder in (first, again):
        folder.mkdir()
    command = ["cookiecutter", str(ROOT), "--no-input", *answers]
    said = subprocess.run(command, cwd=first, env=environment(), capture_output=True, text=True, check=True).stdout
    assert "cd it-s-mine" in said
    (line,) = (line for line in said.splitlines() if "--no-input" in line)
    subprocess.run(line, shell=True, cwd=again, env=environment(), check=True, capture_output=True)
    one, other = (Bake(folder / "it-s-mine", "it_s_mine") for folder in (first, again))
    assert {file: one.text(file) for file in one.files()} == {file: other.text(file) for file in other.files()}
