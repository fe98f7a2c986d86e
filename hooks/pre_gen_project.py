"""Checks the answers before anything is rendered: a line on stderr for each problem, and nothing stays on disk."""

import json
import keyword
import os
import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

# Answers are data: JSON in a raw string, and `tojson` leaves no quote in it that could end the string.
ANSWERS: dict[str, object] = json.loads(r"""{{ cookiecutter|tojson }}""")

MAX_STAGES = 32
MAX_STAGE_NAME = 30  # So that no line that holds a stage's class needs another layout.
MAX_NAME = 40
MAX_TEXT = 200
MAX_SHOWN = 60  # Characters of a bad value that stand in the line about it.
PROJECT_MODULES = {  # Of all answers together, so that an answer can change later.
    *("checkpoint", "cli", "configuration", "dead_letters", "files", "inputs", "interrupts", "json_logs", "main"),
    *("observers", "options", "pipeline", "pipeline_core", "profiling", "ray_crew", "readers", "running", "settings"),
    *("sinks", "sources", "stages", "streams", "table_readers", "table_writers", "writers", "written"),
    "new_stage",
}
CORE_CLASSES = {"base", "sub_task_pool"}  # Their stages' classes would be BaseWorker and SubTaskPoolWorker.
NOT_A_STAGE = {"source", "sink", "consumer", "stage_name", "pool_stage_name"}
# Packages and commands that the project has, or installs, or that come with a later Python.
TAKEN_NAMES = (
    "annotated_doc annotationlib backports build cfgv click compression conftest contourpy coverage cycler dateutil demo distlib"
    " filelock fonttools fsspec hatchling identify iniconfig kiwisolver librt markdown_it matplotlib mdurl mpl_toolkits"
    " msgspec mypy mypy_extensions mypyc nodeenv numpy opentelemetry packaging pathspec pil pip platformdirs pluggy"
    " pre_commit prometheus_client pyarrow pydantic pygments pylab pyparsing pyproject_hooks pytest python python3"
    " ray rich ruff s3fs shellingham six test tests trove_classifiers typer typing_extensions uv virtualenv yaml"
)
TAKEN = set(TAKEN_NAMES.split())
WINDOWS_DEVICES = {"aux", "con", "nul", "prn", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
BIDI_CONTROLS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
FREE_TEXT = (
    *("project_name", "description", "author_name", "author_email", "repository_url", "stage_names"),
    "sub_task_stage",
)


def shown(value: str) -> str:
    """A value as it stands in the line about it: cut, and with nothing that would end the line."""
    return repr(value if len(value) <= MAX_SHOWN else value[: MAX_SHOWN - 3] + "...")


def text_problems(prompt: str, value: str) -> Iterator[str]:
    """What may stand in no answer, since files, terminals or a later update would take it for more than text."""
    if any("{" + mark in value for mark in ("{", "%", "#")):
        yield f"{prompt}: {shown(value)} holds template code; put a space behind each opening brace"
    for character in sorted(set(value)):
        category = unicodedata.category(character)
        if category in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(character) in BIDI_CONTROLS:
            yield f"{prompt}: {shown(value)} holds the control character U+{ord(character):04X}; leave it out"
    if len(value) > MAX_TEXT and prompt != "stage_names":
        yield f"{prompt}: {shown(value)} has {len(value)} characters; use {MAX_TEXT} at most"


def choice_problems(answers: Mapping[str, str]) -> Iterator[str]:
    for prompt in ("command_line", "docker"):
        answer = str(answers[prompt])
        if answer not in ("True", "False"):
            yield f"{prompt}: {shown(answer)} is neither yes nor no; write one of them"


def name_problems(answers: Mapping[str, str]) -> Iterator[str]:
    if not answers["project_name"].strip():
        yield f"project_name: {answers['project_name']!r} is empty; give the project a name"
    email = answers["author_email"]
    if email and not re.fullmatch(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", email):
        yield f"author_email: {shown(email)} is no e-mail address; write one like ada@example.org, or nothing"
    url = answers["__repository"]
    if url and not re.fullmatch(r"https?://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]+)?(/[A-Za-z0-9._~-]+)*", url):
        yield f"repository_url: {shown(url)} is no web address; write one like https://github.com/ada/ships, or nothing"
    slug, package = answers["__typed_slug"], answers["package_name"]
    follows = package.endswith(slug.replace("-", "_"))
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug) or len(slug) > MAX_NAME:
        yield (
            f"project_slug: {shown(slug)} is no good name for a folder and a command; use up to {MAX_NAME} lower-case"
            " letters and digits, joined by '-'"
        )
    elif slug.replace("-", "_") in TAKEN | WINDOWS_DEVICES:
        yield f"project_slug: {slug!r} is the name of a tool or of a device; add a word to it"
    else:
        follows = False
    if follows:
        return  # What is wrong with it was said just now.
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package) or len(package) > MAX_NAME or keyword.iskeyword(package):
        yield (
            f"package_name: {shown(package)} is no good name for a package; use up to {MAX_NAME} lower-case letters,"
            " digits and '_', a letter first"
        )
    elif package in sys.stdlib_module_names or package in TAKEN | WINDOWS_DEVICES:
        yield f"package_name: {package!r} is the name of another module or of a device; add a word to it"


def stage_problems(answers: Mapping[str, str]) -> Iterator[str]:
    typed = [name.strip() for name in answers["stage_names"].split(",")]
    stages = answers["__stages"].split(",")
    if len(stages) > MAX_STAGES:
        yield f"stage_names: there are {len(stages)} stages; use {MAX_STAGES} at most"
    seen: dict[str, str] = {}
    for as_typed, stage in zip(typed, stages, strict=True):
        becomes = "" if stage == as_typed else f" (it becomes {shown(stage)})"
        same_class = stage.replace("_", "")
        if not as_typed:
            yield "stage_names: '' is empty; take out the comma too many"
        elif not stage:
            yield f"stage_names: {shown(as_typed)} has no letter or digit; give the stage a name"
        elif same_class in seen:
            yield f"stage_names: {shown(as_typed)} is there twice, as {shown(seen[same_class])}; give each stage a name of its own"
        elif keyword.iskeyword(stage):
            yield f"stage_names: {shown(as_typed)} is a Python keyword{becomes}; add a word to it"
        elif not stage.isidentifier():
            yield f"stage_names: {shown(as_typed)} is no Python name{becomes}; begin with a letter"
        elif len(stage) > MAX_STAGE_NAME:
            yield f"stage_names: {shown(as_typed)} is too long{becomes}; use {MAX_STAGE_NAME} characters at most"
        elif (
            stage in PROJECT_MODULES | CORE_CLASSES | NOT_A_STAGE | WINDOWS_DEVICES or stage == answers["package_name"]
        ):
            yield f"stage_names: {shown(as_typed)} is taken by the project itself{becomes}; choose another name"
        seen.setdefault(same_class, as_typed)
    yield from pool_problems(answers, stages)


def pool_problems(answers: Mapping[str, str], stages: list[str]) -> Iterator[str]:
    pool, stage = answers["sub_task_pool"], answers["sub_task_stage"].strip()
    choices = ", ".join(stages)
    if pool != "none" and stage and answers["__pool_stage"] not in stages:
        yield f"sub_task_stage: {shown(stage)} is no stage; choose one of {choices}, or leave it empty for no pool"
    if pool == "processes" and not stage:
        yield f"sub_task_pool: 'processes' needs a stage; set sub_task_stage to one of {choices}, or the pool to none"


def is_update(answers: Mapping[str, str], project: Path) -> bool:
    """Whether cruft renders for an update: into a temporary folder, twice, with the old answers and with the new ones."""
    temporary = Path(tempfile.gettempdir(), tempfile.gettempprefix()).resolve()
    return "_commit" in answers and str(project).startswith(str(temporary))


def find_project(answers: Mapping[str, str]) -> Path | None:
    """The project that is updated, as far as it can be found: cruft does not tell its hooks.

    A shell names the folder in which cruft was called in PWD. Linux tells that of the process which called this hook: it is
    cruft's copy of the template, and beside it lies the project as it was made, without what is the user's.
    """
    called_in = Path(os.environ.get("PWD", "."))
    made = Path(f"/proc/{os.getppid()}/cwd").resolve().parent / "current_template"
    with suppress(OSError, ValueError):
        if json.loads((called_in / ".cruft.json").read_text(encoding="utf-8"))["template"] == answers["_template"]:
            return called_in
    return made if (made / "src").is_dir() else None


def update_problems(answers: Mapping[str, str], project: Path | None) -> Iterator[str]:
    """What an update cannot change, since stages, their tests and pipeline.py are the user's and are never touched."""
    package = answers["package_name"]
    if project and not (project / "src" / package).is_dir():
        yield (
            f"package_name: an update cannot rename the package to {package!r}; rename it in your editor: its folder, and its"
            " name in all files, .cruft.json among them"
        )
    elif project and (project / ".cruft.json").exists():
        before = json.loads((project / ".cruft.json").read_text(encoding="utf-8"))["context"]["cookiecutter"]
        source = project / "src" / package
        for stage in sorted({*answers["__stages"].split(",")} - {*before["__stages"].split(",")}):
            if not (source / "stages" / f"{stage}.py").exists():
                yield f"stage_names: an update writes no stage, and {stage!r} has no file; add the stage before"
        files = [source / "pipeline.py", *source.glob("stages/*.py"), *project.glob("tests/stages/*.py")]
        pooled = [
            path for path in files if re.search("SubTaskPoolWorker|sub_workers", path.read_text(encoding="utf-8"))
        ]
        if answers["__pool"] == "none" != before["__pool"] and pooled:
            named = ", ".join(sorted(path.relative_to(project).as_posix() for path in pooled))
            yield f"sub_task_pool: {named} use the pool; make the stage a BaseWorker and commit that, then update"
    elif answers["__pool"] == "none" and answers["__typed_pool"] != "none ":
        yield (
            "sub_task_pool: an update does not take the pool from its stage; make the stage a BaseWorker and commit that,"
            " then update both answers: sub_task_pool to 'none', sub_task_stage to ''"
        )


def problems(answers: Mapping[str, str]) -> list[str]:
    """All that is wrong with the answers, a line each. Names are looked at once their characters are in order."""
    found = [problem for prompt in FREE_TEXT for problem in text_problems(prompt, answers[prompt])]
    found = found or [*choice_problems(answers), *name_problems(answers), *stage_problems(answers)]
    if not found and is_update(answers, Path.cwd()):
        found = [*update_problems(answers, find_project(answers))]
    return found


if __name__ == "__main__":
    found = problems({prompt: str(value) for prompt, value in ANSWERS.items()})
    for problem in found:
        print(problem, file=sys.stderr)
    sys.exit(1 if found else 0)
