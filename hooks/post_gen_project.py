"""Makes a file and a test of each stage, removes what a file's name cannot switch, and says what to type next."""

import json
import os
import re
import shlex
import shutil
import stat
import sys
from pathlib import Path

Answers = dict[str, str | bool]

# Answers are data: JSON in a raw string, and `tojson` leaves no quote in it that could end the string.
ANSWERS: Answers = json.loads(r"""{{ cookiecutter|tojson }}""")

# From the hook that runs before the rendering: its time, and the command's line, which is empty where nobody would read it.
START = ".start-of-this-bake"


def stages(answers: Answers) -> list[str]:
    return str(answers["__stages"]).split(",")


def class_name(stage: str) -> str:
    """quality_control is QualityControl."""
    return "".join(word.capitalize() for word in stage.split("_"))


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def is_new(path: Path, start: int) -> bool:
    """Whether this bake has written it, in a project that is baked over: not before that time, in nanoseconds."""
    return path.lstat().st_mtime_ns >= start


def make_writable(project: Path, start: int) -> None:
    """What comes from a read-only template, as in a Nix store, is read-only, too."""
    for path in project.rglob("*"):
        if path.is_file() and not os.access(path, os.W_OK) and is_new(path, start):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


def make_stages(project: Path, answers: Answers, start: int) -> None:
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
    init = folders[0] / "__init__.py"  # Which raises an error in a project that this hook has not seen.
    if is_new(init, start):
        write(init, '"""One file a stage: this is where you write."""\n')


def trim_core(project: Path, answers: Answers, start: int) -> None:
    """Leave the pool out of the core, where no stage has one.

    The core lies in the template as plain Python that can be imported in place, so no templated name switches its files.
    """
    core = project / "src" / str(answers["package_name"]) / "pipeline_core"
    without_pool, whole, pool = (core / f"{name}.py" for name in ("_init_without_pool", "__init__", "sub_task_pool"))
    if answers["__pool"] == "none":
        if is_new(whole, start):
            shutil.copyfile(without_pool, whole)
        if is_new(pool, start):
            pool.unlink()
    without_pool.unlink()


def remove_leftovers(project: Path, answers: Answers, start: int) -> None:
    """Remove what the template's own tools left in it, and the folders whose only file was not asked for."""
    package = project / "src" / str(answers["package_name"])
    caches = [".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__"]
    for cache in (*map(project.joinpath, caches), *package.rglob("__pycache__"), *project.glob("tests/**/__pycache__")):
        if cache.is_dir() and is_new(cache, start):
            shutil.rmtree(cache)
    for folder in (project / ".github" / "workflows", project / ".github"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    (project / "INCOMPLETE.md").unlink()
    (project / START).unlink()


def next_steps(project: Path, answers: Answers, repeat: str) -> str:
    return f"""
{answers["project_name"]} is ready. Next:

    cd {shlex.quote(str(project))} && python3 -m venv .venv && . .venv/bin/activate
    python -m pip install --upgrade pip && pip install -e . --group dev
    python demo.py

Then write your code into src/{answers["package_name"]}/stages/, and look at the whole flow in pipeline.py.
The same project again:

    {repeat}
"""


if __name__ == "__main__":
    here = Path.cwd()
    start, repeat = (here / START).stat().st_mtime_ns, (here / START).read_text(encoding="utf-8")
    make_writable(here, start)
    make_stages(here, ANSWERS, start)
    trim_core(here, ANSWERS, start)
    remove_leftovers(here, ANSWERS, start)
    if repeat:
        sys.stdout.reconfigure(errors="backslashreplace")  # The project's name may be more than the terminal can show.
        print(next_steps(here, ANSWERS, repeat))
