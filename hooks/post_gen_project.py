"""Makes a file and a test of each stage, removes what a file's name cannot switch, and says what to type next."""

import json
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

Answers = dict[str, str | bool]

# Answers are data: JSON in a raw string, and `tojson` leaves no quote in it that could end the string.
ANSWERS: Answers = json.loads(r"""{{ cookiecutter|tojson }}""")

TEMPLATE = "gh:org/repo"
YES_NO: dict[str | bool, str] = {True: "yes", False: "no"}


def stages(answers: Answers) -> list[str]:
    return str(answers["__stages"]).split(",")


def class_name(stage: str) -> str:
    """quality_control is QualityControl."""
    return "".join(word.capitalize() for word in stage.split("_"))


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def make_stages(project: Path, answers: Answers) -> None:
    """Turn the two stubs, plain Python about a stage called `stage_name`, into one file and one test a stage.

    A file that is there already, in a project that is baked over, is the user's and stays.
    """
    folders = (project / "src" / str(answers["package_name"]) / "stages", project / "tests" / "stages")
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
    """Remove a file or a folder that may not be there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def trim_core(project: Path, answers: Answers) -> None:
    """Leave the pool out of the core, where no stage has one.

    The core lies in the template as plain Python that can be imported in place, so no templated name switches its files.
    """
    core = project / "src" / str(answers["package_name"]) / "pipeline_core"
    without_pool = core / "_init_without_pool.py"
    if answers["__pool"] == "none":
        without_pool.replace(core / "__init__.py")
        remove(core / "sub_task_pool.py")
    else:
        remove(without_pool)


def remove_leftovers(project: Path, answers: Answers) -> None:
    """Remove what the template's own tools left in it, and the folders whose only file was not asked for."""
    package = project / "src" / str(answers["package_name"])
    caches = [".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__"]
    for cache in (*map(project.joinpath, caches), *package.rglob("__pycache__"), *project.glob("tests/**/__pycache__")):
        remove(cache)
    for folder in (project / ".github" / "workflows", project / ".github"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def repeat_command(answers: Answers) -> str:
    """The one line that bakes this project again."""
    template = str(answers.get("_template", TEMPLATE))
    typed = {prompt: answer for prompt, answer in answers.items() if not prompt.startswith("_")}
    given = [f"{prompt}={YES_NO.get(answer, answer)}" for prompt, answer in typed.items()]
    return shlex.join(["cookiecutter", template, "--no-input", *given])


def next_steps(project: Path, answers: Answers) -> str:
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
    trim_core(here, ANSWERS)
    remove_leftovers(here, ANSWERS)
    sys.stdout.reconfigure(errors="backslashreplace")  # The project's name may be more than the terminal can show.
    if not str(here).startswith(str(Path(tempfile.gettempdir(), tempfile.gettempprefix()).resolve())):
        print(next_steps(here, ANSWERS))  # Updates render into a temporary folder, and say nothing.
