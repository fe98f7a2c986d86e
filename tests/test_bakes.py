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

# With the switches below, each pair of their values is in one of these bakes: see the last test of T5.
BAKES: dict[str, dict[str, str]] = {
    "the defaults": {},
    "the smallest: one stage, named in words, on the newest Python": {
        "stage_names": "Quality control & R/W",
        "command_line": "no",
        "diagnosis": "table",
        "ci": "gitlab",
        "python_min": "3.14",
        "docker": "yes",
        "license": "BSD-3-Clause",
    },
    "seven stages, a table, OpenTelemetry": {
        "project_name": "Seven Stages of Ingest",
        "stage_names": "load, Clean up, step 2, step 10, score-all, match, x",
        "sub_task_stage": "step 10",
        "diagnosis": "table",
        "metrics": "opentelemetry",
        "ci": "none",
        "license": "Proprietary",
        "author_name": "Ada Lovelace",
        "author_email": "ada@example.org",
    },
    "no pool, Prometheus": {
        "stage_names": "Load, Clean up, Score",
        "sub_task_pool": "none",
        "metrics": "prometheus",
        "ci": "gitlab",
        "repository_url": "https://gitlab.com/ada/ships",
    },
    "a process pool, a table, Prometheus, no command": {
        "sub_task_pool": "processes",
        "sub_task_stage": "pre_processing",
        "command_line": "no",
        "diagnosis": "table",
        "scale_out": "ray",
        "metrics": "prometheus",
        "license": "Apache-2.0",
        "docker": "yes",
        "repository_url": "https://github.com/ada/ships.git",
    },
    "stages of one's own, OpenTelemetry, no command": {
        "stage_names": "Fetch, Parse",
        "command_line": "no",
        "scale_out": "ray",
        "metrics": "opentelemetry",
    },
    "the longest names": {
        "project_slug": "p" * 40,
        "package_name": "q" * 40,
        "stage_names": ", ".join(f"{'w' * 27} {number}" for number in range(32)),
        "sub_task_stage": f"{'w' * 27} 31",
        "scale_out": "ray",
        "ci": "none",
        "docker": "yes",
    },
    "no command, Prometheus, a container": {
        "stage_names": "Fetch, Parse",
        "command_line": "no",
        "scale_out": "ray",
        "metrics": "prometheus",
        "ci": "none",
        "docker": "yes",
    },
    "a table, Ray, OpenTelemetry, a container": {
        "diagnosis": "table",
        "scale_out": "ray",
        "metrics": "opentelemetry",
        "ci": "gitlab",
        "docker": "yes",
    },
}


@pytest.fixture(scope="module", params=list(BAKES.values()), ids=list(BAKES))
def project(request: pytest.FixtureRequest, bake: Baker) -> Bake:
    return bake(**request.param)


WITH_COMMAND = [name for name, answers in BAKES.items() if answers.get("command_line") != "no"]


@pytest.fixture(scope="module", params=[BAKES[name] for name in WITH_COMMAND], ids=WITH_COMMAND)
def project_with_command(request: pytest.FixtureRequest, bake: Baker) -> Bake:
    return bake(**request.param)


TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
CORE = TEMPLATE / "src/{{cookiecutter.package_name}}/pipeline_core"

# The answers that switch files, and what each of their values is called below.
SWITCHES: dict[str, dict[str, set[str]]] = {
    "command_line": {"yes": {"command"}, "no": set()},
    "diagnosis": {"full": {"full"}, "table": set()},
    "sub_task_pool": {"threads": {"pool"}, "none": set()},  # A pool of processes has the files of one of threads.
    "scale_out": {"none": set(), "ray": {"ray"}},
    "metrics": {"none": set(), "prometheus": {"metrics", "prometheus"}, "opentelemetry": {"metrics", "opentelemetry"}},
    "ci": {"github": {"ci", "github"}, "gitlab": {"ci", "gitlab"}, "none": set()},
    "docker": {"no": set(), "yes": {"docker"}},
}
FILES: list[tuple[str, str, str]] = [  # When, where, and which files are in a project.
    ("", "", ".gitignore .pre-commit-config.yaml LICENSE README.md demo.py pyproject.toml"),
    ("", "docs/", "concepts.md recipes.md"),
    ("github", ".github/", "dependabot.yml workflows/ci.yml workflows/release.yml"),
    ("gitlab", "", ".gitlab-ci.yml"),
    ("docker", "", ".devcontainer.json .dockerignore Dockerfile"),
    ("", "src/my_pipeline/", "__init__.py pipeline.py py.typed settings.py"),
    ("command", "src/my_pipeline/", "__main__.py checkpoint.py cli.py configuration.py dead_letters.py inputs.py"),
    ("command", "src/my_pipeline/", "interrupts.py json_logs.py options.py readers.py running.py sinks.py sources.py"),
    ("command", "src/my_pipeline/", "streams.py table_readers.py table_writers.py writers.py written.py"),
    ("command", "src/my_pipeline/", "files.py new_stage.py"),
    ("full", "src/my_pipeline/", "files.py"),
    ("command full", "src/my_pipeline/", "profiling.py"),
    ("ray", "src/my_pipeline/", "ray_crew.py"),
    ("", "src/my_pipeline/observers/", "__init__.py columns.py live_table.py progress.py report_table.py units.py"),
    ("", "src/my_pipeline/observers/", "advice.py diagnosis.py reading.py run_queue.py service_times.py verdict.py"),
    ("full", "src/my_pipeline/observers/", "history.py report_file.py trace.py"),
    ("full", "src/my_pipeline/observers/", "charts.py report_page.html report_page.py"),
    ("metrics", "src/my_pipeline/observers/", "instruments.py"),
    ("prometheus", "src/my_pipeline/observers/", "prometheus_metrics.py"),
    ("opentelemetry", "src/my_pipeline/observers/", "opentelemetry_metrics.py"),
    ("", "src/my_pipeline/stages/", "__init__.py load_it.py score.py"),
    ("pool", "src/my_pipeline/pipeline_core/", "sub_task_pool.py"),
    ("", "tests/", "conftest.py test_contract.py test_pipeline.py"),
    ("pool", "tests/", "test_contract_of_the_pool.py"),
    ("command", "tests/", "command_that_hands_on.py test_cli.py test_dead_letters.py test_json_logs.py test_sinks.py"),
    ("command", "tests/", "test_sources.py"),
    ("command full", "tests/", "test_profiling.py"),
    ("", "tests/observers/", "test_diagnosis.py test_terminal.py"),
    ("full", "tests/observers/", "test_report_file.py test_trace.py"),
    ("prometheus", "tests/observers/", "test_prometheus_metrics.py"),
    ("opentelemetry", "tests/observers/", "test_opentelemetry_metrics.py"),
    ("", "tests/stages/", "test_load_it.py test_score.py"),
]
# What the files around the code say only where it is there.
WORDS = {
    "command": r"--(workers|limit|serial|debug|format|on-error)\b|Exit codes|\bexit|stdin|stdout|typer|scripts|my-pipeline (run|retry)",
    "full": r"--(report|trace)\b|\b(profile|perfetto|ReportFile|Trace)\b",
    "pool": r"(?i)sub-?tasks?|\bpools?\b",
    "ray": r"(?i)\bray\b|--engine",
    "prometheus": r"METRICS_|prometheus-client",
    "opentelemetry": r"OTEL_|opentelemetry-",
    "ci": r"(?i)coverage",
    "github": r"(?i)github",
    "gitlab": r"(?i)gitlab",
    "docker": r"(?i)docker",
}
AROUND = ("README.md", "pyproject.toml", "demo.py", ".gitignore", ".pre-commit-config.yaml")


def every_combination() -> list[dict[str, str]]:
    return [dict(zip(SWITCHES, values, strict=True)) for values in itertools.product(*SWITCHES.values())]


def asked_for(answers: dict[str, str]) -> set[str]:
    return set().union(*(SWITCHES[prompt][answer] for prompt, answer in answers.items()))


@pytest.fixture(scope="module", params=every_combination(), ids=lambda answers: " ".join(answers.values()))
def answers(request: pytest.FixtureRequest) -> dict[str, str]:
    found: dict[str, str] = request.param
    return found


@pytest.fixture(scope="module")
def combination(answers: dict[str, str], bake: Baker) -> Bake:
    return bake(stage_names="Load it, score", sub_task_stage="score", **answers)


@pytest.mark.slow  # 96 bakes.
def test_t5_exactly_the_files_that_the_answers_ask_for(answers: dict[str, str], combination: Bake) -> None:
    asked = asked_for(answers)
    there = [(folder, files) for when, folder, files in FILES if {*when.split()} <= asked]
    expected = {f"{folder}{file}" for folder, files in there for file in files.split()}
    switched = {"_init_without_pool.py", "sub_task_pool.py"}
    core = {path.name for path in CORE.iterdir() if path.is_file()} - switched
    expected |= {f"src/my_pipeline/pipeline_core/{module}" for module in core}
    assert combination.files() == expected
    assert all(any(folder.iterdir()) for folder in combination.path.rglob("*") if folder.is_dir())


@pytest.mark.slow  # 96 bakes.
def test_t5_no_file_speaks_of_what_was_not_asked_for(answers: dict[str, str], combination: Bake) -> None:
    asked = asked_for(answers)
    text = "\n".join(combination.text(file) for file in AROUND)
    found = {part: sorted({match[0] for match in re.finditer(words, text)}) for part, words in WORDS.items()}
    assert {part: words for part, words in found.items() if part not in asked and words} == {}
    assert {part for part in asked & {*WORDS} if not found[part]} == set()


@pytest.mark.slow  # 96 bakes.
def test_t6_every_combination_is_laid_out_as_its_own_tools_want_it(combination: Bake) -> None:
    combination.run("ruff", "check", "--no-cache")
    combination.run("ruff", "format", "--no-cache", "--check", "--diff")


def test_t5_the_bakes_whose_types_and_tests_are_run_have_every_pair_of_answers() -> None:
    defaults = {prompt: next(iter(values)) for prompt, values in SWITCHES.items()}
    switched = []
    for given in BAKES.values():
        chosen = {prompt: given.get(prompt, default) for prompt, default in defaults.items()}
        if "stage_names" in given and not given.get("sub_task_stage"):
            chosen["sub_task_pool"] = "none"
        elif chosen["sub_task_pool"] == "processes":
            chosen["sub_task_pool"] = "threads"
        switched.append({prompt: frozenset(SWITCHES[prompt][answer]) for prompt, answer in chosen.items()})
    for one, other in itertools.combinations(SWITCHES, 2):
        pairs = set(itertools.product(*(map(frozenset, SWITCHES[prompt].values()) for prompt in (one, other))))
        assert pairs - {(bake[one], bake[other]) for bake in switched} == set(), f"{one} with {other}"


NAMING_STAGES = tuple(
    f"{module}.py" for module in ("cli", "demo", "new_stage", "pipeline_manager", "profiling", "trace")
)


def test_t5_nothing_is_left_over(project: Bake) -> None:
    for folder in (path for path in project.path.rglob("*") if path.is_dir()):
        assert any(folder.iterdir()), f"{folder} is empty"
    for file in project.files():
        text = project.text(file)
        assert not re.search(r"(?<!\$)\{\{|\{%|\{#|cookiecutter", text), f"{file} holds template code"
        assert "stage_name" not in text or file.endswith(NAMING_STAGES)
        assert text.endswith("\n") or not text, f"{file} does not end its last line"
        assert text.strip("\n") + "\n" == text or not text, f"{file} begins or ends with an empty line"
        assert "\r" not in text
        if not file.endswith((".py", "LICENSE")):
            around = re.sub(r"^```python\n.*?^```$", "code", text, flags=re.MULTILINE | re.DOTALL)
            assert "\n\n\n" not in around, f"{file} has two blank lines where something was cut"
            assert not re.search(r"[ \t]$", text, re.MULTILINE), f"{file} has spaces at the end of a line"


@pytest.mark.parametrize(
    "tool", ["ruff check", "ruff format --check --diff", pytest.param("mypy src", marks=pytest.mark.slow)]
)
def test_t6_clean_as_rendered(tool: str, project: Bake) -> None:
    project.run(*tool.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BAKES if name != "the defaults"])  # Whose tests a stranger runs.
def test_t6_its_own_tests_pass(name: str, bake: Baker) -> None:
    bake(**BAKES[name]).python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")


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
    needed |= {"backports.zstd"} if "backports.zstd" in code else set()  # Imported by its name, below Python 3.14.
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
