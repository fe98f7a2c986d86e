"""Makes a file and a test of each stage, trims what was not asked for, and says what to type next."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

# Answers are data: JSON in a raw string, and `tojson` leaves no quote in it that could end the string.
ANSWERS: dict[str, str] = json.loads(r"""{{ cookiecutter|tojson }}""")

TEMPLATE = "gh:org/repo"


def stages(answers: dict[str, str]) -> list[str]:
    return answers["__stages"].split(",")


def class_name(stage: str) -> str:
    """quality_control is QualityControl."""
    return "".join(word.capitalize() for word in stage.split("_"))


def unwanted(answers: dict[str, str]) -> Iterator[str]:
    """Files and folders, as globs, that these answers do not ask for."""
    if answers["ci"] != "github":
        yield ".github/workflows/ci.yml"
    if answers["sub_task_pool"] == "none":
        yield "src/*/pipeline_core/sub_task_pool.py"
        yield "src/*/pipeline_core/child_process.py"
        yield "tests/pipeline_core/test_*sub_task_pool.py"
    for tool in {"prometheus", "opentelemetry"} - {answers["metrics"]}:
        yield f"src/*/observers/{tool}_metrics.py"
        yield f"tests/observers/test_{tool}_metrics.py"
    if answers["metrics"] == "none":
        yield "src/*/observers/instruments.py"
        yield "tests/observers/test_instruments.py"
    yield from ("__pycache__", ".*_cache", "src/**/__pycache__", "tests/**/__pycache__")  # Of the template's own runs.


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def make_stages(project: Path, answers: dict[str, str]) -> None:
    """Turn the two stubs, plain Python about a stage called `stage_name`, into one file and one test a stage.

    A file that is there already, in a project that is baked over, is the user's and stays.
    """
    folders = (project / "src" / answers["package_name"] / "stages", project / "tests" / "stages")
    for folder, prefix in zip(folders, ("", "test_"), strict=True):
        stubs = {pool: folder / f"{prefix}{'pool_' if pool else ''}stage_name.py" for pool in (False, True)}
        texts = {pool: stub.read_text(encoding="utf-8") for pool, stub in stubs.items()}
        for stub in stubs.values():
            stub.unlink()
        for stage in stages(answers):
            file = folder / f"{prefix}{stage}.py"
            text = re.sub("(Pool)?StageName", class_name(stage), texts[stage == answers["__pool_stage"]])
            if not file.exists():
                write(file, re.sub("(pool_)?stage_name", stage, text))


def remove(path: Path) -> None:
    """A file or a folder, and the folders that are empty without it."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not any(path.parent.iterdir()):
        remove(path.parent)


def trim(project: Path, answers: dict[str, str]) -> None:
    for pattern in unwanted(answers):
        for path in list(project.glob(pattern)):
            remove(path)
    if answers["sub_task_pool"] == "none":
        core = project / "src" / answers["package_name"] / "pipeline_core" / "__init__.py"
        lines = core.read_text(encoding="utf-8").splitlines(keepends=True)
        write(core, "".join(line for line in lines if "SubTaskPoolWorker" not in line))


def repeat_command(answers: dict[str, str]) -> str:
    """The one line that bakes this project again."""
    template = answers.get("_template", TEMPLATE)
    given = [f"{prompt}={answer}" for prompt, answer in answers.items() if not prompt.startswith("_")]
    return shlex.join(["cookiecutter", template, "--no-input", *given])


def next_steps(project: Path, answers: dict[str, str]) -> str:
    return f"""
{answers["project_name"]} is ready. Next:

    cd {shlex.quote(str(project))} && python3 -m venv .venv && . .venv/bin/activate
    python -m pip install --upgrade pip && pip install -e . --group dev
    python demo.py

Then write your code into src/{answers["package_name"]}/stages/, and look at the whole flow in pipeline.py.
The same project again:

    {repeat_command(answers)}
"""


if __name__ == "__main__":
    here = Path.cwd()
    make_stages(here, ANSWERS)
    trim(here, ANSWERS)
    sys.stdout.reconfigure(errors="backslashreplace")  # The project's name may be more than the terminal can show.
    print(next_steps(here, ANSWERS))
