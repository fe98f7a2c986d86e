"""What lies around a bake: CI on GitHub and GitLab, a container, pre-commit, and the oldest versions that it allows."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from baking import ROOT, Bake, Baker, environment

ADDRESS = "https://github.com/ada/ships"
PROPRIETARY = {"license": "Proprietary", "command_line": "no", "python_min": "3.14"}
WORKFLOWS = [*(ROOT / ".github").rglob("*.yml")]


@pytest.fixture(params=[{"docker": "yes"}, PROPRIETARY], ids=["a container", "proprietary"])
def on_github(request: pytest.FixtureRequest, bake: Baker) -> Bake:
    return bake(ci="github", **request.param)


@pytest.fixture(params=[{}, PROPRIETARY], ids=["the defaults", "proprietary"])
def on_gitlab(request: pytest.FixtureRequest, bake: Baker) -> Bake:
    return bake(ci="gitlab", **request.param)


@pytest.fixture(params=["yes", "no"], ids=["a command", "no command"])
def in_a_container(request: pytest.FixtureRequest, bake: Baker) -> Bake:
    return bake(docker="yes", command_line=request.param)


# --- CI ---------------------------------------------------------------------------------------------------------------


def workflows_are_clean(project: Bake) -> None:
    """Zizmor and actionlint find nothing, and the files fit the schemas that GitHub's editors use."""
    project.run("zizmor", "--offline", "--no-progress", "--strict-collection", ".github")
    for file in (project.path / ".github").rglob("*.yml"):
        kind = "dependabot" if file.name == "dependabot.yml" else "github-workflows"
        project.run("check-jsonschema", "--builtin-schema", f"vendor.{kind}", str(file))
    project.run("actionlint", *map(str, (project.path / ".github/workflows").iterdir()))


def test_t6_checkers_find_nothing_in_the_workflows_of_a_bake(on_github: Bake) -> None:
    workflows_are_clean(on_github)


def test_t6_checkers_find_nothing_in_the_templates_own_workflows() -> None:
    workflows_are_clean(Bake(ROOT, ""))


def test_t6_an_action_is_the_same_commit_wherever_it_is_used(on_github: Bake) -> None:
    files = [*WORKFLOWS, *(on_github.path / ".github/workflows").iterdir()]
    used = {use for file in files for use in re.findall(r"uses: (.*)", file.read_text(encoding="utf-8"))}
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use) for use in used)
    assert len(used) == len({use.split("@")[0] for use in used})


def test_t6_the_workflows_have_no_rights_but_those_of_a_job(on_github: Bake) -> None:
    for file in (on_github.path / ".github/workflows").iterdir():
        workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {}
        assert workflow["concurrency"]
        rights = {name: job["permissions"] for name, job in workflow["jobs"].items()}
        more = {"pypi": {"id-token": "write"}, "github": {"contents": "write"}}
        assert rights == {name: more.get(name, {"contents": "read"}) for name in rights}


def test_t6_the_pipeline_of_gitlab_fits_its_published_schema(on_gitlab: Bake) -> None:
    schema = ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]
    on_gitlab.run("check-jsonschema", *schema, ".gitlab-ci.yml")


@pytest.mark.parametrize(
    ("licence", "published"),
    [("MIT", {"github", "gitlab"}), ("Apache-2.0", {"github", "gitlab"}), ("Proprietary", set())],
)
def test_t2_what_is_proprietary_is_not_published(licence: str, published: set[str], bake: Baker) -> None:
    files = {"github": ".github/workflows/release.yml", "gitlab": ".gitlab-ci.yml"}
    projects = {ci: bake(ci=ci, license=licence) for ci in files}
    assert {ci for ci, project in projects.items() if "pypi" in project.text(files[ci])} == published
    for project in projects.values():
        classifiers = tomllib.loads(project.text("pyproject.toml"))["project"]["classifiers"]
        assert ("Private :: Do Not Upload" in classifiers) == (licence == "Proprietary")


def steps(project: Bake, *jobs: str) -> str:
    """What these jobs run, as one script."""
    if (project.path / ".gitlab-ci.yml").is_file():
        pipeline = yaml.safe_load(project.text(".gitlab-ci.yml"))
        return "\n".join(line for job in jobs for line in pipeline[job]["script"])
    files = (project.path / ".github/workflows").iterdir()
    found = {name: job for file in files for name, job in yaml.safe_load(file.read_text())["jobs"].items()}
    lines = [step["run"] for job in jobs for step in found[job]["steps"] if "run" in step]
    return "\n".join(dict.fromkeys(lines))  # Jobs begin with the same installation, on machines of their own.


@pytest.mark.slow  # It installs what CI installs.
@pytest.mark.skipif(sys.platform == "win32", reason="the steps are written for the shell of a Linux runner")
@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_t6_the_steps_of_ci_and_of_a_release_run_as_written(ci: str, bake: Baker, tmp_path: Path) -> None:
    less = {"diagnosis": "table"} | ({"sub_task_pool": "none"} if ci == "gitlab" else {})  # For the time that it takes.
    project = bake(ci=ci, **less).copy(tmp_path)
    environment_of = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", str(environment_of)], check=True)
    summary = tmp_path / "summary.md"
    settings: dict[str, Any] = {
        "PATH": f"{environment_of / 'bin'}{os.pathsep}{environment()['PATH']}",
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_REF_NAME": "v0.1.0",
        "CI_COMMIT_TAG": "v0.1.0",
        "UV_TOOL_DIR": str(tmp_path / "tools"),
    }
    script = steps(project, "lint", "coverage", "build")
    done = project.run("bash", "-euo", "pipefail", "-c", script, **settings)
    report = summary.read_text(encoding="utf-8") if ci == "github" else done.stdout
    (covered,) = re.findall(r"TOTAL\W.*?(\d+)%", report)
    assert int(covered) > 75
    built = {path.name for path in (project.path / "dist").iterdir() if path.suffix in (".whl", ".gz")}
    assert built == {"my_pipeline-0.1.0-py3-none-any.whl", "my_pipeline-0.1.0.tar.gz"}
    listed = json.loads(project.text("sbom.cdx.json"))
    names = {component["name"] for component in listed["components"]}
    assert {"typer", "rich", "msgspec", "pydantic"} <= names
    assert not {"mypy", "pytest"} & names
    assert listed["metadata"]["component"]["name"] == "my-pipeline"
    (check,) = (line for line in script.splitlines() if line.startswith("test -f"))
    refused = project.run(
        "bash", "-ec", check, check=False, **settings | {"GITHUB_REF_NAME": "v9", "CI_COMMIT_TAG": "v9"}
    )
    assert refused.returncode == 1


# --- The address of the repository ------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", [ADDRESS, f"{ADDRESS}.git", f" {ADDRESS}/ "])
@pytest.mark.parametrize(
    ("ci", "badge"),
    [("github", "/actions/workflows/ci.yml/badge.svg"), ("gitlab", "/badges/main/pipeline.svg"), ("none", "")],
)
def test_t2_the_address_of_the_repository_is_in_the_metadata_and_in_the_badge(
    typed: str, ci: str, badge: str, bake: Baker
) -> None:
    project = bake(repository_url=typed, ci=ci)
    assert tomllib.loads(project.text("pyproject.toml"))["project"]["urls"] == {"Repository": ADDRESS}
    assert re.findall(r"^\[!\[CI\]\((.*?)\)\]", project.text("README.md"), re.MULTILINE) == (
        [ADDRESS + badge] if badge else []
    )


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_t2_without_an_address_there_is_no_badge_and_no_url(ci: str, bake: Baker) -> None:
    project = bake(ci=ci)
    assert "urls" not in tomllib.loads(project.text("pyproject.toml"))["project"]
    assert "[![" not in project.text("README.md")


# --- Licences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("licence", ["MIT", "BSD-3-Clause", "Proprietary"])
def test_t7_a_licence_has_no_year_so_that_an_update_in_another_one_changes_nothing(licence: str, bake: Baker) -> None:
    assert not re.search(r"\b(19|20)\d\d\b", bake(license=licence).text("LICENSE"))


# --- Pre-commit -------------------------------------------------------------------------------------------------------


@pytest.fixture
def below_the_root(bake: Baker, tmp_path: Path) -> Bake:
    """A repository that has the project in a folder, beside somebody else's file that ruff would change."""
    repository = tmp_path / "repository"
    project = bake().copy(repository / "tools")
    (repository / "other.py").write_text("import os\nx = [ 1 ]\n")
    for command in ("git init -q", "git add -A"):
        subprocess.run(command.split(), cwd=repository, check=True)
    return project


def pre_commit(project: Bake, path: str) -> "subprocess.CompletedProcess[str]":
    """As an editor starts it: by the name of its interpreter, in the root of the repository."""
    repository = project.path.parent.parent
    call = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--config"]
    call += [str(project.path.relative_to(repository) / ".pre-commit-config.yaml")]
    settings = environment() | {"PATH": path}
    return subprocess.run(call, cwd=repository, env=settings, capture_output=True, text=True, timeout=300)


@pytest.mark.slow  # It runs mypy.
@pytest.mark.skipif(sys.platform == "win32", reason="a symbolic link stands for the environment")
def test_t6_pre_commit_below_gits_root_checks_the_project_alone_with_its_own_tools(below_the_root: Bake) -> None:
    path = os.pathsep.join(["/usr/local/bin", "/usr/bin", "/bin"])
    missing = pre_commit(below_the_root, path)
    assert missing.returncode == 1
    assert missing.stdout.count("is neither in .venv nor on PATH: see Start in README.md") == 3
    (below_the_root.path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    clean = pre_commit(below_the_root, path)
    assert (clean.returncode, clean.stdout.count("Passed")) == (0, 3), clean.stdout
    new = below_the_root.path / "src/my_pipeline/new.py"
    new.write_text("def f(x):\n    return x\n")
    bad = pre_commit(below_the_root, path)
    assert (bad.returncode, bad.stdout.count("Failed")) == (1, 1), bad.stdout
    assert "Function is missing a type annotation" in bad.stdout


# --- The container ----------------------------------------------------------------------------------------------------


def instructions(project: Bake) -> list[tuple[str, str]]:
    lines = [line for line in project.text("Dockerfile").splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


@pytest.mark.skipif(sys.platform == "win32", reason="hadolint has no wheel for Windows")
def test_t6_hadolint_finds_nothing_in_the_dockerfile(in_a_container: Bake) -> None:
    in_a_container.run("hadolint", "--failure-threshold", "style", "Dockerfile")


def test_t6_the_image_is_built_in_two_stages_and_does_not_run_as_root(in_a_container: Bake) -> None:
    found = instructions(in_a_container)
    assert [name for name, _ in found].count("FROM") == 2
    (user,) = (text for name, text in found if name == "USER")
    assert int(user) > 0


def test_t6_the_development_container_has_the_python_of_the_image_and_installs_as_the_readme_says(
    in_a_container: Bake,
) -> None:
    settings = json.loads(in_a_container.text(".devcontainer.json"))
    bases = {re.split("[:-]", text.split()[0])[1] for name, text in instructions(in_a_container) if name == "FROM"}
    assert bases == {settings["image"].split(":")[1]}
    promised = "pip install -e . --group dev"
    assert settings["postCreateCommand"].endswith(promised)
    assert promised in in_a_container.text("README.md")


def image(project: Bake, folder: Path) -> tuple[list[str], str]:
    """Made here by the image's own instructions: what it starts, in `folder`, and the signal that stops it."""
    for line in project.text(".dockerignore").splitlines():
        if line.startswith("!"):
            subprocess.run(["cp", "-r", str(project.path / line[1:]), str(folder)], check=True)
    found = {name: text.replace("/venv", str(folder / "venv")) for name, text in reversed(instructions(project))}
    first_run = found["RUN"].replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(
        ["sh", "-ec", first_run], cwd=folder, env=environment(), check=True, capture_output=True, timeout=300
    )
    return json.loads(found["ENTRYPOINT"]), found.get("STOPSIGNAL", "SIGTERM")


NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child"]


def no_namespaces() -> bool:
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode != 0
    except FileNotFoundError:
        return True


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def child_of(process: int) -> int:
    return int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])


@pytest.mark.slow  # It installs the project.
@pytest.mark.skipif(
    no_namespaces(), reason="only Linux, and only root, starts a process as the first one of a namespace"
)
def test_r8_a_container_ends_in_order_when_it_is_stopped_although_the_command_is_its_first_process(
    in_a_container: Bake, tmp_path: Path
) -> None:
    """The kernel gives the first process of a container no signal that this process does not handle."""
    entry, stop = image(in_a_container, tmp_path)
    command = entry[-1] != "demo.py"
    call = [*NAMESPACE, *entry, *(["run", "-q", "-o", "out.jsonl"] if command else [])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(call, cwd=tmp_path, env=environment(), **pipes) as outer:  # type: ignore[call-overload]
        part = tmp_path / "out.jsonl.part"
        if command:
            outer.stdin.write(b'{"id": 1}\n')
            outer.stdin.flush()
            wait_for(lambda: part.is_file() and part.stat().st_size)
        else:
            wait_for(lambda: outer.stdout.read1())  # The demo shows that it runs.
        os.kill(child_of(outer.pid), signal.Signals[stop])
        shown, _ = outer.communicate(timeout=20)
    if command:
        assert outer.returncode == 128 + signal.SIGTERM, shown
        assert part.read_text() == '{"id": 1}\n'
    else:
        assert b"KeyboardInterrupt" in shown


# --- The oldest versions ----------------------------------------------------------------------------------------------


@pytest.mark.slow  # It installs packages.
@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the oldest versions have no wheels for a newer Python than 3.11"
)
@pytest.mark.parametrize("metrics", ["prometheus", "opentelemetry"])
def test_t6_the_oldest_versions_that_a_project_allows_work(metrics: str, bake: Baker, tmp_path: Path) -> None:
    project = bake(metrics=metrics).copy(tmp_path)
    python = tmp_path / "env/bin/python"
    project.run("uv", "venv", "--quiet", "--python", sys.executable, str(tmp_path / "env"))
    project.run(
        *("uv", "pip", "install", "--quiet", "--python", str(python), "--resolution", "lowest-direct"),
        *("--editable", ".[parquet]", "--group", "dev"),
    )
    project.run(str(python), "-m", "ruff", "check")
    project.run(str(python), "-m", "ruff", "format", "--check")
    project.run(str(python), "-m", "mypy", "src")
    project.run(str(python), "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
