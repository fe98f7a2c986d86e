"""What comes out of a bake: the right files, no leftovers, and clean by its own tools (T5, T6, P1 to P5)."""

import itertools
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

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
    "no pool, no CI, OpenTelemetry": {
        "stage_names": "Load, Clean up, Score",
        "sub_task_pool": "none",
        "metrics": "opentelemetry",
        "ci": "none",
    },
    "a process pool, Prometheus": {
        "sub_task_pool": "processes",
        "sub_task_stage": "pre_processing",
        "metrics": "prometheus",
        "license": "Apache-2.0",
    },
    "the longest names": {
        "project_slug": "p" * 40,
        "package_name": "q" * 40,
        "stage_names": ", ".join(f"{'w' * 27} {number}" for number in range(32)),
    },
}


@pytest.fixture(scope="module", params=list(BAKES.values()), ids=list(BAKES))
def project(request: pytest.FixtureRequest, bake: Baker) -> Bake:
    return bake(**request.param)


TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
CORE = TEMPLATE / "src/{{cookiecutter.package_name}}/pipeline_core"


def core_files(folder: Path, pool: bool) -> set[str]:
    """The core, or its tests: all that lies there, but without a pool nothing about it."""
    files = {path.name for path in folder.glob("*.py")}
    assert {"__init__.py", "pipeline_manager.py"} <= files or "test_order.py" in files
    return {file for file in files if pool or not re.search("sub_task_pool|child_process", file)}


NAMING_STAGES = tuple(f"{module}.py" for module in ("cli", "demo", "pipeline_manager", "profiling", "trace"))
ALWAYS = (
    ".gitignore .pre-commit-config.yaml LICENSE README.md demo.py pyproject.toml"
    " tests/conftest.py tests/test_cli.py tests/test_json_logs.py tests/test_pipeline.py tests/test_profiling.py"
    " tests/test_sources.py"
)


@pytest.mark.parametrize(
    ("pool", "metrics", "ci", "licence"),
    list(
        itertools.product(
            ["threads", "processes", "none"],
            ["none", "prometheus", "opentelemetry"],
            ["github", "none"],
            ["MIT", "Proprietary"],
        )
    ),
)
def test_t5_exactly_the_files_that_the_answers_ask_for(
    pool: str, metrics: str, ci: str, licence: str, bake: Baker
) -> None:
    project = bake(sub_task_pool=pool, metrics=metrics, ci=ci, license=licence, stage_names="Load it, score")
    package = "src/my_pipeline"
    own = "__init__ __main__ cli json_logs options pipeline profiling running sinks sources"
    own += " stages/__init__ stages/load_it stages/score"
    observers = "__init__.py charts.py history.py progress.py report_file.py report_page.css report_page.py"
    observers += " report_table.py trace.py units.py"
    observed = "history progress report_file report_table trace"
    expected = set(ALWAYS.split())
    if metrics != "none":
        own += f" observers/instruments observers/{metrics}_metrics"
        expected |= {"tests/observers/test_instruments.py", f"tests/observers/test_{metrics}_metrics.py"}
    expected |= {f"{package}/{module}.py" for module in own.split()} | {f"{package}/py.typed"}
    expected |= {f"{package}/pipeline_core/{file}" for file in core_files(CORE, pool != "none")}
    expected |= {f"tests/pipeline_core/{file}" for file in core_files(TEMPLATE / "tests/pipeline_core", pool != "none")}
    expected |= {f"{package}/observers/{file}" for file in observers.split()}
    expected |= {f"tests/observers/test_{subject}.py" for subject in observed.split()}
    expected |= {"tests/stages/test_load_it.py", "tests/stages/test_score.py"}
    expected |= {".github/workflows/ci.yml"} if ci == "github" else set()
    assert project.files() == expected


def test_t5_nothing_is_left_over(project: Bake) -> None:
    for folder in (path for path in project.path.rglob("*") if path.is_dir()):
        assert any(folder.iterdir()), f"{folder} is empty"
    for file in project.files():
        text = project.text(file)
        assert not re.search(r"\{\{|\{%|\{#|cookiecutter", text), f"{file} holds template code"
        assert "stage_name" not in text or file.endswith(NAMING_STAGES)
        assert text.endswith("\n") or not text, f"{file} does not end its last line"
        assert text.strip("\n") + "\n" == text or not text, f"{file} begins or ends with an empty line"
        assert "\r" not in text
        if not file.endswith((".py", "LICENSE")):
            assert "\n\n\n" not in text, f"{file} has two blank lines where something was cut"
            assert not re.search(r"[ \t]$", text, re.MULTILINE), f"{file} has spaces at the end of a line"


@pytest.mark.parametrize(
    "tool", ["ruff check", "ruff format --check --diff", pytest.param("mypy src", marks=pytest.mark.slow)]
)
def test_t6_clean_as_rendered(tool: str, project: Bake) -> None:
    project.run(*tool.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BAKES if name != "the defaults"])  # Whose tests a stranger runs.
def test_t6_its_own_tests_pass(name: str, bake: Baker) -> None:
    """Those of the verdict take half a minute, and know nothing of names: only bakes with other parts run them."""
    same_parts = not {"sub_task_pool", "metrics"} & set(BAKES[name])
    known = ["--ignore-glob=*test_verdict*", "--ignore-glob=*test_profiling*"] if same_parts else []
    bake(**BAKES[name]).python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *known)


@pytest.mark.slow  # It runs mypy.
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


def test_t5_dependencies_are_what_the_code_imports_and_the_group_dev_what_the_readme_runs(project: Bake) -> None:
    settings = tomllib.loads(project.text("pyproject.toml"))
    code = "\n".join(project.text(file) for file in project.files() if re.match(r"(src/.*|demo)\.py", file))
    imported = set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE)) - sys.stdlib_module_names
    needed = {DISTRIBUTIONS.get(module, module) for module in imported - {project.package}}
    assert names_of(settings["project"]["dependencies"]) == needed
    where_needed = set(re.findall(r"^ +(?:from (?=[\w.]+ import )|import (?=[\w.]+$))(\w+)", code, re.MULTILINE))
    extras = names_of(list(itertools.chain(*settings["project"]["optional-dependencies"].values())))
    assert extras == where_needed - imported - sys.stdlib_module_names
    check = project.text("README.md").split("## Check")[1]
    tools = set(
        re.findall(r"(?:^|&& |`python -m )([a-z-]+) ?", check.split("```")[1] + check.split("```")[2], re.MULTILINE)
    )
    sdk = {"opentelemetry-sdk"} if "opentelemetry-api" in needed else set()  # Which its tests import.
    assert names_of(settings["dependency-groups"]["dev"]) == tools | extras | sdk  # Mypy and the tests look at extras.


DISTRIBUTIONS = {"prometheus_client": "prometheus-client", "opentelemetry": "opentelemetry-api"}  # Of modules.


def names_of(requirements: list[str]) -> set[str]:
    return {re.split("[>=]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize(
    ("licence", "field", "title"),
    [
        ("MIT", "MIT", "MIT License"),
        ("Apache-2.0", "Apache-2.0", "Apache License"),
        ("BSD-3-Clause", "BSD-3-Clause", "BSD 3-Clause License"),
        ("Proprietary", "LicenseRef-Proprietary", "All rights reserved"),
    ],
)
def test_t2_the_licence_and_its_holder_stand_in_the_file_and_in_the_metadata(
    licence: str, field: str, title: str, bake: Baker
) -> None:
    project = bake(license=licence, author_name="Ada Lovelace", author_email="ada@example.org")
    settings = tomllib.loads(project.text("pyproject.toml"))["project"]
    assert (settings["license"], settings["license-files"]) == (field, ["LICENSE"])
    assert settings["authors"] == [{"name": "Ada Lovelace", "email": "ada@example.org"}]
    assert settings["readme"] == "README.md"
    top = project.text("LICENSE")[:200]
    assert title in top
    assert "Ada Lovelace" in top or licence == "Apache-2.0"


@pytest.mark.parametrize(
    ("author", "email", "authors"),
    [("", "", None), (" ", "", None), ("Ada", "", [{"name": "Ada"}]), ("", "a@b.org", [{"email": "a@b.org"}])],
)
def test_t2_an_author_may_stay_unnamed(author: str, email: str, authors: object, bake: Baker) -> None:
    project = bake(author_name=author, author_email=email, description=" ", project_name="Ships")
    assert tomllib.loads(project.text("pyproject.toml"))["project"].get("authors") == authors
    assert f"Copyright (c) {author.strip() or 'the authors of Ships'}\n" in project.text("LICENSE")
    assert project.text("README.md").startswith("# Ships\n\n```mermaid\n")


@pytest.mark.parametrize("oldest", [11, 12, 13, 14])
def test_t2_the_oldest_python_is_said_and_is_what_ci_begins_with(oldest: int, bake: Baker) -> None:
    project = bake(python_min=f"3.{oldest}")
    assert tomllib.loads(project.text("pyproject.toml"))["project"]["requires-python"] == f">=3.{oldest}"
    setup, check = yaml.safe_load(project.text(".github/workflows/ci.yml"))["jobs"]["test"]["steps"][1:]
    assert setup["with"]["python-version"].split() == [f"3.{minor}" for minor in range(oldest, 15)]
    assert f"for minor in {' '.join(map(str, range(oldest, 15)))}; do" in check["run"]
    promised = re.split(r"\n| && ", project.text("README.md").split("## Check")[1].split("```")[1].strip())
    assert [line.strip() for line in check["run"].splitlines()][5:9] == [*promised[1:4], promised[0]]


@pytest.mark.parametrize(("pool", "executor"), [("threads", ["thread"]), ("processes", ["process"]), ("none", [])])
def test_t2_the_pool_is_of_the_kind_that_was_asked_for(pool: str, executor: list[str], bake: Baker) -> None:
    project = bake(sub_task_pool=pool)
    assert re.findall(r'"executor": "(\w+)"', project.text("src/my_pipeline/pipeline.py")) == executor
    assert (
        ("sub-task" in project.text("README.md")) == (f"pool of {pool}" in project.text("README.md")) == bool(executor)
    )


def test_p3_the_command_leads_to_a_function(project: Bake) -> None:
    ((name, target),) = tomllib.loads(project.text("pyproject.toml"))["project"]["scripts"].items()
    module, function = target.split(":")
    shown = project.python(
        "-c", f"import sys; sys.argv[1:] = ['--help']; from {module} import {function}; {function}()"
    )
    assert f"Usage: {name}" in shown.stdout


def test_p4_the_readme_names_what_is_there_and_its_code_runs(project: Bake) -> None:
    readme = project.text("README.md")
    named = re.findall(r"`((?:src|tests)/[^`]*)`", readme)
    assert len(named) >= 4
    assert all((project.path / path).exists() for path in named)
    (code,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert project.python("-c", code).stdout == "{'id': 1}\n{'id': 2}\n"


@pytest.mark.slow
@pytest.mark.parametrize("code", ["import os\n", "x = [ 1 ]\n", "def f(x):\n    return x\n"])
def test_t6_its_pre_commit_refuses_what_is_not_clean(code: str, bake: Baker, tmp_path: Path) -> None:
    copy = bake().copy(tmp_path)
    (copy.path / "src/my_pipeline/new.py").write_text(code)
    for command in ("git init -q", "git add -A"):
        copy.run(*command.split())
    assert copy.run("pre-commit", "run", "--all-files", check=False).returncode == 1


def test_t6_git_sees_nothing_of_what_tools_and_runs_leave(bake: Baker, tmp_path: Path) -> None:
    copy = bake().copy(tmp_path)
    left = ".venv/x .ruff_cache/x .mypy_cache/x .pytest_cache/x dist/x build/x out.jsonl.part src/a/__pycache__/b.pyc"
    for path in (copy.path / name for name in left.split()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    copy.run("git", "init", "-q")
    seen = copy.run("git", "ls-files", "--others", "--exclude-standard").stdout.split()
    assert "README.md" in seen
    assert not {*left.split()} & {*seen}


@pytest.mark.slow
def test_t3_stages_may_be_called_like_the_tests_of_the_core(bake: Baker) -> None:
    names = [path.stem.removeprefix("test_") for path in sorted((TEMPLATE / "tests/pipeline_core").glob("test_*.py"))]
    bake(stage_names=", ".join(names[:3])).python("-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider")


def test_p1_runs_before_any_edit_in_order(project: Bake) -> None:
    done = project.python("-m", project.package, "run", stdin='{"a":1}\n{"a":2}\n')
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"a": 1}, {"a": 2}]


def test_p4_the_picture_shows_the_stages_in_their_order(project: Bake) -> None:
    (drawn,) = re.findall(r"^```mermaid\n(.*?)^```$", project.text("README.md"), re.MULTILINE | re.DOTALL)
    printed = project.python("-m", project.package, "graph").stdout
    flow = [line for line in drawn.splitlines() if "sub-tasks" not in line]
    assert flow == printed.splitlines()
    names = re.findall(r'--> s\d+\["(\w+)"\]$', printed, re.MULTILINE)
    assert names == re.findall(r'name="(\w+)"', project.text(f"src/{project.package}/pipeline.py").split("=on_dead")[1])
    modules = {path.stem for path in project.path.glob("src/*/stages/*.py")} - {"__init__"}
    assert modules == set(names)


@pytest.mark.slow
@pytest.mark.parametrize(("stages", "slowest"), [("load, score, store", "score"), ("score", "score")])
def test_p2_the_demo_shows_progress_order_errors_and_the_slowest_stage(stages: str, slowest: str, bake: Baker) -> None:
    shown = bake(stage_names=stages).python("demo.py").stdout
    assert "in order: True" in shown
    assert f"{slowest} limits the run" in shown
    assert "simulated failure" in shown


def test_t6_the_core_has_no_jinja_and_only_the_standard_library() -> None:
    for module in CORE.glob("*.py"):
        text = module.read_text(encoding="utf-8")
        assert not re.search(r"cookiecutter|\{\{|\{%", text)
        imported = set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE))
        assert imported <= sys.stdlib_module_names, f"{module.name} imports {imported - sys.stdlib_module_names}"


def test_the_next_steps_name_the_folder_and_repeat_the_bake(tmp_path: Path) -> None:
    answers = ["project_name=It's mine", "stage_names=Load it, score", "sub_task_pool=none"]
    first, again = tmp_path / "first", tmp_path / "again"
    for folder in (first, again):
        folder.mkdir()
    command = ["cookiecutter", str(ROOT), "--no-input", *answers]
    said = subprocess.run(command, cwd=first, env=environment(), capture_output=True, text=True, check=True).stdout
    assert f"cd '{first}/it-s-mine'" in said or f"cd {first}/it-s-mine" in said
    (line,) = (line for line in said.splitlines() if "--no-input" in line)
    subprocess.run(line, shell=True, cwd=again, env=environment(), check=True, capture_output=True)
    one, other = (Bake(folder / "it-s-mine", "it_s_mine") for folder in (first, again))
    assert {file: one.text(file) for file in one.files()} == {file: other.text(file) for file in other.files()}
