"""What comes out of a bake: the right files, no leftovers, and clean by its own tools (T5, T6, P1 to P5)."""

import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from allpairspy import AllPairs

from baking import ROOT, Bake, Baker, environment
from pythons import VERSIONS

TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
CORE = TEMPLATE / "src/{{cookiecutter.package_name}}/pipeline_core"

# The answers to each prompt with choices, and a few shapes of the others.
ASKED = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES: dict[str, list[str]] = {
    prompt: answers if isinstance(answers, list) else ["yes", "no"] if answers else ["no", "yes"]
    for prompt, answers in ASKED.items()
    if not prompt.startswith("_") and isinstance(answers, list | bool) and prompt != "sub_task_pool"
}
SHAPES: dict[str, dict[str, dict[str, str]]] = {
    "names": {
        "the default names": {},
        "the longest names": {"project_slug": "p" * 40, "package_name": "q" * 40},
        "a name in quotes": {
            "project_name": 'It\'s "Ships" & 1. <more>',
            "description": "1. \\It's\\ `code` &amp; {more}",
        },
    },
    "stages": {
        "the default stages": {},
        "one stage": {"stage_names": "Quality control & R/W"},
        "seven stages": {"stage_names": "load, Clean up, step 2, step 10, score-all, match, x"},
        "the most stages": {"stage_names": ", ".join(f"{'w' * 27} {number}" for number in range(32))},
    },
    "sub_task_pool": {
        **{kind: {"sub_task_pool": kind} for kind in ASKED["sub_task_pool"]},
        "threads, no stage": {"sub_task_pool": "threads", "sub_task_stage": ""},
    },
    "author": {
        "nobody": {},
        "somebody": {"author_name": "Ada Lovelace", "author_email": "ada@example.org"},
        "a name alone": {"author_name": 'Ada "Lovelace"'},
    },
    "repository": {
        "no address": {},
        "an address": {"repository_url": "https://code.example.org/ada/ships.git"},
    },
}
Row = dict[str, str]  # The answer or the shape of each prompt.


PARAMETERS = CHOICES | {name: [*shapes] for name, shapes in SHAPES.items()}
# Bakes in which each two answers to two prompts occur together.
PAIRS: list[Row] = [dict(zip(PARAMETERS, row, strict=True)) for row in AllPairs([*PARAMETERS.values()])]


def answers_of(row: Row) -> dict[str, str]:
    shaped = [shapes[row[name]] for name, shapes in SHAPES.items()]
    given = {prompt: row[prompt] for prompt in CHOICES} | dict(itertools.chain(*(shape.items() for shape in shaped)))
    if "sub_task_stage" not in given:
        given["sub_task_stage"] = given.get("stage_names", ASKED["stage_names"]).split(",")[-1]
    return given


def each_answer(rows: list[Row]) -> list[Row]:
    """A few of them, in which each answer occurs that changes what runs."""
    wanted = {
        (prompt, answer) for row in rows for prompt, answer in row.items() if prompt not in ("license", "python_min")
    }
    few = []
    while wanted:
        few.append(max(rows, key=lambda row: len(wanted & {*row.items()})))
        wanted -= {*few[-1].items()}
    return few


FEW = each_answer(PAIRS)


def named(row: Row) -> str:
    return " ".join(answer for prompt, answer in row.items() if answer not in ("yes", "no", "none")) + "".join(
        f" {prompt}" for prompt, answer in row.items() if answer == "yes"
    )


@pytest.fixture(scope="module", params=[{}, *map(answers_of, FEW)], ids=["the defaults", *map(named, FEW)])
def project(request: pytest.FixtureRequest, bake: Baker) -> Bake:
    return bake(**request.param)


WITH_COMMAND = [row for row in FEW if row["command_line"] == "yes"]


@pytest.fixture(
    scope="module", params=[{}, *map(answers_of, WITH_COMMAND)], ids=["the defaults", *map(named, WITH_COMMAND)]
)
def project_with_command(request: pytest.FixtureRequest, bake: Baker) -> Bake:
    return bake(**request.param)


FILES: list[tuple[str, str, str]] = [  # When, where, and which files are in a project.
    ("", "", ".gitignore .pre-commit-config.yaml LICENSE README.md demo.py pyproject.toml"),
    ("", "docs/", "concepts.md recipes.md"),
    ("ci=github", ".github/", "dependabot.yml workflows/ci.yml workflows/release.yml"),
    ("ci=gitlab", "", ".gitlab-ci.yml"),
    ("docker", "", ".devcontainer.json .dockerignore Dockerfile"),
    ("", "src/{package}/", "__init__.py pipeline.py py.typed settings.py"),
    ("command_line", "src/{package}/", "__main__.py checkpoint.py cli.py configuration.py dead_letters.py inputs.py"),
    (
        "command_line",
        "src/{package}/",
        "interrupts.py json_logs.py options.py readers.py running.py sinks.py sources.py",
    ),
    ("command_line", "src/{package}/", "streams.py table_readers.py table_writers.py writers.py written.py"),
    ("command_line", "src/{package}/", "files.py new_stage.py"),
    ("diagnosis=full", "src/{package}/", "files.py"),
    ("command_line diagnosis=full", "src/{package}/", "profiling.py"),
    ("scale_out=ray", "src/{package}/", "ray_crew.py"),
    ("", "src/{package}/observers/", "__init__.py columns.py live_table.py progress.py report_table.py units.py"),
    ("", "src/{package}/observers/", "advice.py diagnosis.py reading.py run_queue.py service_times.py verdict.py"),
    ("diagnosis=full", "src/{package}/observers/", "history.py report_file.py trace.py"),
    ("diagnosis=full", "src/{package}/observers/", "charts.py report_page.html report_page.py"),
    ("metrics=prometheus", "src/{package}/observers/", "instruments.py prometheus_metrics.py"),
    ("metrics=opentelemetry", "src/{package}/observers/", "instruments.py opentelemetry_metrics.py"),
    ("", "src/{package}/stages/", "__init__.py"),
    ("pool", "src/{package}/pipeline_core/", "sub_task_pool.py"),
    ("", "tests/", "conftest.py test_contract.py test_pipeline.py"),
    ("pool", "tests/", "test_contract_of_the_pool.py"),
    ("command_line", "tests/", "command_that_hands_on.py test_cli.py test_dead_letters.py test_json_logs.py"),
    ("command_line", "tests/", "test_sinks.py test_sources.py"),
    ("command_line diagnosis=full", "tests/", "test_profiling.py"),
    ("", "tests/observers/", "test_diagnosis.py test_terminal.py"),
    ("diagnosis=full", "tests/observers/", "test_report_file.py test_trace.py"),
    ("metrics=prometheus", "tests/observers/", "test_prometheus_metrics.py"),
    ("metrics=opentelemetry", "tests/observers/", "test_opentelemetry_metrics.py"),
]
# What the files around the code say only where it is there.
WORDS = {
    "command_line": r"--(workers|limit|serial|debug|format|on-error)\b|Exit codes|\bexit|stdin|stdout|typer|scripts|my-pipeline (run|retry)",
    "diagnosis=full": r"--(report|trace)\b|\b(profile|perfetto|ReportFile|Trace)\b",
    "pool": r"(?i)sub-?tasks?|\bpools?\b",
    "scale_out=ray": r"(?i)\bray\b|--engine",
    "metrics=prometheus": r"METRICS_|prometheus-client",
    "metrics=opentelemetry": r"OTEL_|opentelemetry-",
    "ci": r"(?i)coverage",
    "ci=github": r"(?i)github",
    "ci=gitlab": r"(?i)gitlab",
    "docker": r"(?i)docker",
}
AROUND = ("README.md", "pyproject.toml", "demo.py", ".gitignore", ".pre-commit-config.yaml")


def asked_for(row: Row) -> set[str]:
    """`metrics=prometheus`, `command_line` for a yes, and `pool` where a stage has one."""
    parts = {prompt if answer == "yes" else f"{prompt}={answer}" for prompt, answer in row.items()}
    parts |= {"ci"} if row["ci"] != "none" else set()
    return parts | {"pool"} if row["sub_task_pool"] in ("threads", "processes") else parts


def stages_of(row: Row) -> list[str]:
    names = SHAPES["stages"][row["stages"]].get("stage_names", ASKED["stage_names"]).split(",")
    return [re.sub(r"\W+", "_", name.strip()).lower() for name in names]


@pytest.fixture(scope="module", params=PAIRS, ids=named)
def row(request: pytest.FixtureRequest) -> Row:
    found: Row = request.param
    return found


@pytest.fixture(scope="module")
def combination(row: Row, bake: Baker) -> Bake:
    return bake(**answers_of(row))


@pytest.mark.slow  # Some twenty bakes.
def test_t5_exactly_the_files_that_the_answers_ask_for(row: Row, combination: Bake) -> None:
    there = [(folder, files) for when, folder, files in FILES if {*when.split()} <= asked_for(row)]
    expected = {
        f"{folder}{file}".format(package=combination.package) for folder, files in there for file in files.split()
    }
    switched = {"_init_without_pool.py", "sub_task_pool.py"}
    core = {path.name for path in CORE.iterdir() if path.is_file()} - switched
    expected |= {f"src/{combination.package}/pipeline_core/{module}" for module in core}
    expected |= {f"src/{combination.package}/stages/{stage}.py" for stage in stages_of(row)}
    expected |= {f"tests/stages/test_{stage}.py" for stage in stages_of(row)}
    assert combination.files() == expected
    assert all(any(folder.iterdir()) for folder in combination.path.rglob("*") if folder.is_dir())


@pytest.mark.slow  # Some twenty bakes.
def test_t5_no_file_speaks_of_what_was_not_asked_for(row: Row, combination: Bake) -> None:
    asked = asked_for(row)
    text = "\n".join(combination.text(file) for file in AROUND).replace("p" * 40, "my-pipeline")
    text = re.sub("it-s-ships-[a-z0-9-]*", "my-pipeline", text)
    found = {part: sorted({match[0] for match in re.finditer(words, text)}) for part, words in WORDS.items()}
    assert {part: words for part, words in found.items() if part not in asked and words} == {}
    assert {part for part in asked & {*WORDS} if not found[part]} == set()


@pytest.mark.slow  # Some twenty bakes.
def test_t6_every_combination_is_laid_out_and_typed_as_its_own_tools_want_it(row: Row, combination: Bake) -> None:
    combination.run("ruff", "check", "--no-cache")
    combination.run("ruff", "format", "--no-cache", "--check", "--diff")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    cache = (
        ROOT / "build" / "typed-combinations" / f"{worker}-{combination.package}"
    )  # Most modules are the same in all.
    combination.run("mypy", "--cache-dir", str(cache), "src")


def test_t2_the_page_about_the_prompts_has_each_prompt_its_default_its_choices_and_their_files() -> None:
    page = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (`[^|]*`) \|(.*\|)$", page.split("\n## ")[0], re.MULTILINE))
    described = {name: row for names, row in rows.items() for name in re.findall("`(.*?)`", names)}
    assert list(described) == [prompt for prompt in ASKED if not prompt.startswith("_")]
    for prompt, row in described.items():
        default, takes = (cell.strip() for cell in row.strip("|").split("|"))
        answers = CHOICES.get(prompt, ASKED[prompt])
        if isinstance(answers, list):
            assert default == answers[0]
            assert [choice for choice in answers if f"`{choice}`" not in takes] == []
        elif "{{" not in answers:
            assert default == (answers or "empty")
    adds = page.split("## What an answer adds")[1].split("\n## ")[0]
    added = {
        file for when, folder, files in FILES for file in files.split() if when and not folder.startswith("tests/")
    }
    assert {file for file in added if f"{file}`" not in adds} == set()


def test_t5_each_two_answers_to_two_prompts_occur_together() -> None:
    """Whatever the library does: it is counted."""
    for one, other in itertools.combinations(PARAMETERS, 2):
        pairs = {*itertools.product(PARAMETERS[one], PARAMETERS[other])}
        assert pairs == {(row[one], row[other]) for row in PAIRS}, f"{one} with {other}"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Pythons are looked for under the names that they have elsewhere")
@pytest.mark.parametrize("python", VERSIONS, indirect=True)
@pytest.mark.parametrize("row", FEW, ids=named)
def test_t6_its_own_tests_pass_on_every_python(row: Row, python: str, bake: Baker) -> None:
    bake(**answers_of(row)).run(python, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider")


NAMING_STAGES = tuple(
    f"{module}.py" for module in ("cli", "demo", "new_stage", "pipeline_manager", "profiling", "trace")
)


@pytest.mark.slow  # Some twenty bakes.
def test_t5_nothing_is_left_over(combination: Bake) -> None:
    for folder in (path for path in combination.path.rglob("*") if path.is_dir()):
        assert any(folder.iterdir()), f"{folder} is empty"
    for file in combination.files():
        text = combination.text(file)
        assert not re.search(r"(?<!\$)\{\{|\{%|\{#|cookiecutter", text), f"{file} holds template code"
        assert "stage_name" not in text or file.endswith(NAMING_STAGES)
        assert text.endswith("\n") or not text, f"{file} does not end its last line"
        assert text.strip("\n") + "\n" == text or not text, f"{file} begins or ends with an empty line"
        assert "\r" not in text
        if not file.endswith((".py", "LICENSE")):
            around = re.sub(r"^```python\n.*?^```$", "code", text, flags=re.MULTILINE | re.DOTALL)
            assert "\n\n\n" not in around, f"{file} has two blank lines where something was cut"
            assert not re.search(r"[ \t]$", text, re.MULTILINE), f"{file} has spaces at the end of a line"


@pytest.mark.parametrize("tool", ["ruff check", "ruff format --check --diff"])
def test_t6_clean_as_rendered(tool: str, project: Bake) -> None:
    project.run(*tool.split())


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
    where_needed = set(re.findall(r"^ +(?:from (?=[\w.]+ import )|import (?=[\w.]+$))(\w+)", code, re.MULTILINE))
    imported |= where_needed & {"pydantic"}  # Few runs need it, and no project with a command can do without.
    needed = {DISTRIBUTIONS.get(module, module) for module in imported - {project.package}}
    before_314 = settings["project"]["requires-python"] != ">=3.14"
    needed |= (
        {"backports.zstd"} if "backports.zstd" in code and before_314 else set()
    )  # Imported by its name, below Python 3.14.
    assert names_of(settings["project"]["dependencies"]) == needed
    extras = names_of(list(itertools.chain(*settings["project"].get("optional-dependencies", {}).values())))
    modules = {re.sub(r"\[.*", "", name) for name in extras}
    assert modules == where_needed - imported - sys.stdlib_module_names - {"backports", "compression"}
    check = project.text("README.md").split("## Check")[1].split("\n## ")[0]
    tools = set(
        re.findall(r"(?:^|&& |`python -m )([a-z-]+) ?", check.split("```")[1] + check.split("```")[2], re.MULTILINE)
    )
    sdk = {"opentelemetry-sdk"} if "opentelemetry-api" in needed else set()  # Which its tests import.
    tried = extras - {"fsspec[http,s3]", "ray[default]"}  # Servers and clusters are for the template's tests.
    assert names_of(settings["dependency-groups"]["dev"]) == tools | tried | sdk


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
    jobs = yaml.safe_load(project.text(".github/workflows/ci.yml"))["jobs"]
    pythons = [f"3.{minor}" for minor in range(oldest, 15)]
    assert jobs["test"]["strategy"]["matrix"]["python"] == [*pythons, "3.14t"]
    run = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    promised = re.split(r"\n| && ", project.text("README.md").split("## Check")[1].split("```")[1].strip())
    assert [run["test"][-1], *run["lint"][2:]] == promised[:4]
    on_gitlab = yaml.safe_load(bake(python_min=f"3.{oldest}", ci="gitlab").text(".gitlab-ci.yml"))
    assert on_gitlab["test"]["parallel"]["matrix"] == [{"PYTHON": [*pythons, "3.14t"]}]
    assert (jobs["lint"]["steps"][1]["with"]["python-version"], on_gitlab["lint"]["variables"]["UV_PYTHON"]) == (
        pythons[0],
        pythons[0],
    )


def test_t5_a_pool_of_processes_has_the_files_of_one_of_threads(bake: Baker) -> None:
    threads, processes = (bake(stage_names="one", sub_task_stage="one", sub_task_pool=pool) for pool in POOLS)
    assert threads.files() == processes.files()


POOLS = ("threads", "processes")


@pytest.mark.parametrize(("pool", "executor"), [("threads", ["thread"]), ("processes", ["process"]), ("none", [])])
def test_t2_the_pool_is_of_the_kind_that_was_asked_for(pool: str, executor: list[str], bake: Baker) -> None:
    project = bake(sub_task_pool=pool)
    assert re.findall(r'"executor": "(\w+)"', project.text("src/my_pipeline/pipeline.py")) == executor
    assert (
        ("sub-task" in project.text("README.md")) == (f"pool of {pool}" in project.text("README.md")) == bool(executor)
    )


def test_p3_the_command_leads_to_a_function(project_with_command: Bake) -> None:
    project = project_with_command
    ((name, target),) = tomllib.loads(project.text("pyproject.toml"))["project"]["scripts"].items()
    module, function = target.split(":")
    shown = project.python(
        "-c", f"import sys; sys.argv[1:] = ['--help']; from {module} import {function}; {function}()"
    )
    assert f"Usage: {name}" in shown.stdout


def test_p3_without_a_command_nothing_is_installed_for_one(bake: Baker) -> None:
    settings = tomllib.loads(bake(command_line="no").text("pyproject.toml"))["project"]
    assert "scripts" not in settings
    assert names_of(settings["dependencies"]) == {"rich"}


def test_p4_the_readme_names_what_is_there_and_its_code_runs(project: Bake, tmp_path: Path) -> None:
    readme = project.text("README.md")
    named = re.findall(r"`((?:src|tests)/[^`]*)`", readme)
    assert len(named) >= 4
    assert all((project.path / path).exists() for path in named)
    programs = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert programs
    copy = project.copy(tmp_path)
    for program in programs:
        assert copy.python("-W", "error", "-c", program).stdout == "{'id': 1}\n{'id': 2}\n"


@pytest.mark.slow  # It runs the command some dozen times.
def test_p4_the_readme_names_commands_and_options_that_there_are(project_with_command: Bake) -> None:
    project = project_with_command
    readme = project.text("README.md")
    (name,) = tomllib.loads(project.text("pyproject.toml"))["project"]["scripts"]
    named = set(re.findall(rf"(?<![\w=-]){name} ([a-z-]+)", readme))
    assert {"run", "retry", "graph"} <= named
    calls = [[], *([command] for command in named)]
    helps = [project.python("-m", project.package, *call, "--help", COLUMNS="500").stdout for call in calls]
    known = set(re.findall(r"--[a-z][a-z-]*", "".join(helps)))
    others = {"--group", "--upgrade", "--check", "--config", "--rm", "--user"}  # Of pip, ruff, pre-commit and Docker.
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", readme)) <= known | others


def test_t7_an_update_is_told_to_leave_what_is_the_users(project: Bake) -> None:
    skipped = tomllib.loads(project.text("pyproject.toml"))["tool"]["cruft"]["skip"]
    assert set(skipped) == {
        *[f"src/{project.package}/{own}" for own in ("pipeline.py", "settings.py", "stages")],
        *["tests/stages", "tests/test_pipeline.py"],
    }
    assert all((project.path / path).exists() for path in skipped)


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
    left += " outputs/x .coverage .coverage.host.1 out.jsonl.checkpoint"
    for path in (copy.path / name for name in left.split()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    copy.run("git", "init", "-q")
    seen = copy.run("git", "ls-files", "--others", "--exclude-standard").stdout.split()
    assert "README.md" in seen
    assert not {*left.split()} & {*seen}


@pytest.mark.slow
def test_t3_stages_may_be_called_like_the_tests_of_other_parts(bake: Baker) -> None:
    names = [path.stem.removeprefix("test_") for path in sorted((bake().path / "tests/observers").glob("test_*.py"))]
    bake(stage_names=", ".join(names)).python("-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider")


def test_p1_runs_before_any_edit_in_order(project_with_command: Bake) -> None:
    project = project_with_command
    done = project.python("-m", project.package, "run", stdin='{"a":1}\n{"a":2}\n')
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"a": 1}, {"a": 2}]


def test_p4_the_picture_shows_the_stages_in_their_order(project: Bake) -> None:
    (drawn,) = re.findall(r"^```mermaid\n(.*?)^```$", project.text("README.md"), re.MULTILINE | re.DOTALL)
    flow = [line for line in drawn.splitlines() if "sub-tasks" not in line]
    names = re.findall(r'--> s\d+\["(\w+)"\]$', "\n".join(flow), re.MULTILINE)
    asked = f"from {project.package}.pipeline import build_pipeline; print(*build_pipeline().stage_names)"
    assert project.python("-c", asked).stdout.split() == names
    modules = {path.stem for path in project.path.glob("src/*/stages/*.py")} - {"__init__"}
    assert modules == set(names)


def test_p4_the_command_prints_the_picture_of_the_readme(project_with_command: Bake) -> None:
    project = project_with_command
    printed = project.python("-m", project.package, "graph").stdout
    assert f"```mermaid\n{printed}```" in project.text("README.md")


@pytest.mark.parametrize(
    ("given", "stage"),
    [
        ({}, "post_processing"),
        ({"sub_task_pool": "none"}, None),
        ({"stage_names": "load, score"}, None),
        ({"stage_names": "load, score", "sub_task_stage": "Load"}, "load"),
        ({"sub_task_stage": ""}, None),
    ],
)
def test_t2_a_stage_has_a_pool_by_default_or_where_it_is_named(
    given: dict[str, str], stage: str | None, bake: Baker
) -> None:
    project = bake(**given)
    stages = (project.path / "src/my_pipeline/stages").glob("*.py")
    assert [path.stem for path in stages if "SubTaskPoolWorker" in path.read_text()] == ([stage] if stage else [])
    core = project.python("-c", "from my_pipeline import pipeline_core; print(*pipeline_core.__all__)").stdout.split()
    assert ("SubTaskPoolWorker" in core) == (stage is not None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slowest", "given"),
    [
        ("score", {"stage_names": "load, score, store"}),
        ("score", {"stage_names": "score"}),
        ("model_inference", {"command_line": "no", "diagnosis": "table", "sub_task_pool": "none"}),
    ],
)
def test_p2_the_demo_shows_progress_order_errors_and_the_slowest_stage(
    slowest: str, given: dict[str, str], bake: Baker
) -> None:
    shown = bake(**given).python("demo.py").stdout
    assert "in order: True" in shown
    assert f"{slowest} limits the run" in shown
    assert "simulated failure" in shown


def test_t6_the_core_has_no_jinja_and_only_the_standard_library() -> None:
    for module in CORE.glob("*.py"):
        text = module.read_text(encoding="utf-8")
        assert not re.search(r"cookiecutter|\{\{|\{%", text)
        imported = set(re.findall(r"^\s*(?:from|import) ([A-Za-z_]\w*)", text, re.MULTILINE))
        assert imported <= sys.stdlib_module_names, f"{module.name} imports {imported - sys.stdlib_module_names}"


def test_t5_the_core_without_a_pool_is_the_core_less_the_pool() -> None:
    """It has a complete module in the place of `__init__.py`, so that no file is edited; the two stay in step."""
    whole, without_pool = (CORE.joinpath(name).read_text("utf-8") for name in ("__init__.py", "_init_without_pool.py"))
    lines = whole.splitlines()
    assert len([line for line in lines if "SubTaskPoolWorker" in line]) == 2
    assert without_pool.splitlines() == [line for line in lines if "SubTaskPoolWorker" not in line]


def test_t8_the_templates_paths_are_legal_on_windows() -> None:
    paths = [path for path in TEMPLATE.rglob("*") if not re.search("__pycache__|_cache", str(path))]
    assert [path for path in paths if re.search(r'[<>:"|?*\\]|[. ]$', path.name)] == []


def test_the_next_steps_name_the_folder_and_repeat_the_bake(tmp_path: Path) -> None:
    answers = ["project_name=It's mine", "stage_names=Load it, score", "sub_task_stage=score", "command_line=no"]
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
