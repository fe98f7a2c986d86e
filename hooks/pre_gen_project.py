"""Checks the host and the answers before anything is rendered: a line on stderr for each problem, and nothing stays on disk."""

import sys

import cookiecutter

# Every Python reads this far. A cookiecutter before 2.2 renders no more than this, and leaves `__prompts__` in the answers.
if sys.version_info < (3, 10) or "{{ cookiecutter.__prompts__ is defined }}".startswith("T"):
    sys.stderr.write(
        "This template needs cookiecutter 2.2 or newer (for --replay: 2.3) under Python 3.10 or newer, and this is "
    )
    sys.stderr.write("cookiecutter " + cookiecutter.__version__ + " under Python " + sys.version.split()[0] + ".\n")
    sys.exit(1)

# {% if cookiecutter.__prompts__ is not defined %}
import json
import keyword
import os
import re
import shlex
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from slugify import slugify

Answers = Mapping[str, object]

# Answers are data: JSON in a raw string, and `tojson` leaves no quote in it that could end the string.
ANSWERS: Answers = json.loads(r"""{{ cookiecutter|tojson }}""")
UNRENDERED: Answers = json.loads(r"""{{ _cookiecutter|default({})|tojson }}""")  # The prompts, with all their choices.

TEMPLATE = "gh:org/repo"
START = ".start-of-this-bake"  # For the hook that runs after the rendering: its time, and the command's line.
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
TEXT = ("project_slug", "package_name", *FREE_TEXT)
YES_NO = ("command_line", "docker")
CHOICES = {  # Cookiecutter checks them, except in a replay file.
    "sub_task_pool": ("threads", "processes", "none"),
    "diagnosis": ("full", "table"),
    "scale_out": ("none", "ray"),
    "metrics": ("none", "prometheus", "opentelemetry"),
    "ci": ("github", "gitlab", "none"),
    "license": ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"),
    "python_min": ("3.11", "3.12", "3.13", "3.14"),
}


def shown(value: object) -> str:
    """A value as it stands in the line about it: cut, and with nothing that would end the line."""
    text = value if isinstance(value, str) else json.dumps(value)
    cut = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
    return repr(cut) if isinstance(value, str) else cut


def is_control(character: str) -> bool:
    category = unicodedata.category(character)
    return category in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(character) in BIDI_CONTROLS


def text_problems(prompt: str, value: str) -> Iterator[str]:
    """What may stand in no answer, since files, terminals or a later update would take it for more than text."""
    if any("{" + mark in value for mark in ("{", "%", "#")):
        yield f"{prompt}: {shown(value)} holds template code; put a space behind each opening brace"
    for character in sorted(set(value) - (set("\t\r\n") if prompt == "stage_names" else set())):
        if is_control(character):
            yield f"{prompt}: {shown(value)} holds the control character U+{ord(character):04X}; leave it out"
    if len(value) > MAX_TEXT and prompt != "stage_names":
        yield f"{prompt}: {shown(value)} has {len(value)} characters; use {MAX_TEXT} at most"


def kind_problems(answers: Answers, unrendered: Answers) -> Iterator[str]:
    """Answers that are missing, or of another kind than asked for: from a configuration file or a replay file."""
    for prompt in (*TEXT, *YES_NO, *CHOICES):
        answer = answers.get(prompt)
        if prompt not in answers:
            yield f"{prompt}: there is no answer; add one, since these answers are for another version of the template"
        elif prompt in TEXT and isinstance(unrendered.get(prompt), list):
            yield f"{prompt}: {shown(unrendered[prompt])} is a list; write one text, with commas between names"
        elif prompt in TEXT and not isinstance(answer, str):
            yield f"{prompt}: {shown(answer)} is no text; put it in quotes"
        elif prompt in YES_NO and not isinstance(answer, bool):
            yield f"{prompt}: {shown(answer)} is neither yes nor no; write one of them"
        elif prompt in CHOICES and answer not in CHOICES[prompt]:
            yield f"{prompt}: {shown(answer)} is no choice; write one of {', '.join(CHOICES[prompt])}"


def name_problems(answers: Mapping[str, str]) -> Iterator[str]:
    if not answers["project_name"].strip():
        yield f"project_name: {answers['project_name']!r} is empty; give the project a name"
    email = answers["author_email"]
    if email and not re.fullmatch(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", email):
        yield f"author_email: {shown(email)} is no e-mail address; write one like ada@example.org, or nothing"
    url = answers["__repository"]
    if url and not re.fullmatch(r"https?://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]+)?(/[A-Za-z0-9._~-]+)*", url):
        yield f"repository_url: {shown(answers['repository_url'])} is no web address; write one like https://github.com/ada/ships, or nothing"
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


def split_stages(stage_names: str) -> list[str]:
    """The names as typed. Blanks around them and separators too many are no names."""
    return [name.strip() for name in re.split("[,;\uff0c\uff1b\u3001\n]", stage_names) if name.strip()]


def derived(answers: Mapping[str, str]) -> dict[str, str]:
    """What cookiecutter.json derives from the answers, unless somebody sets it, or edits a replay file."""
    pool_stage = "" if answers["sub_task_pool"] == "none" else slugify(answers["sub_task_stage"], separator="_")
    return {
        "__stages": ",".join(slugify(name, separator="_") for name in split_stages(answers["stage_names"])),
        "__pool_stage": pool_stage,
        "__pool": answers["sub_task_pool"] if pool_stage else "none",
    }


def derived_problems(answers: Mapping[str, str]) -> Iterator[str]:
    for name, value in derived(answers).items():
        if answers.get(name) != value:
            typed = "stage_names" if name == "__stages" else "sub_task_stage"
            yield f"{typed}: {name} is {shown(answers.get(name))}, and follows as {shown(value)}; write that, or leave both to cookiecutter"
    if answers["project_slug"] not in (
        answers["__typed_slug"],
        slugify(answers["__typed_slug"], max_length=MAX_NAME) or "refused",
    ):
        yield f"project_slug: {shown(answers['project_slug'])} is not {shown(answers['__typed_slug'])}, which is __typed_slug; write the same"


def stage_problems(answers: Mapping[str, str]) -> Iterator[str]:
    typed = split_stages(answers["stage_names"])
    stages = answers["__stages"].split(",") if typed else []
    if not typed:
        yield f"stage_names: {shown(answers['stage_names'])} names no stage; name one at least"
    if len(stages) > MAX_STAGES:
        yield f"stage_names: there are {len(stages)} stages; use {MAX_STAGES} at most"
    seen: dict[str, str] = {}
    for as_typed, stage in zip(typed, stages, strict=True):
        becomes = "" if stage == as_typed else f" (it becomes {shown(stage)})"
        same_class = stage.replace("_", "")
        if not stage:
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


def of_a_tool(project: Path) -> bool:
    """Whether a tool renders for itself, into a temporary folder of Python's: cruft for an update, or what copier calls."""
    temporary = Path(tempfile.gettempdir()).resolve()
    return project.is_relative_to(temporary) and any(
        re.fullmatch("tmp[a-z0-9_]{8}", part) for part in project.relative_to(temporary).parts[:1]
    )


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


def problems(answers: Answers, unrendered: Answers) -> list[str]:
    """All that is wrong with the answers, a line each. A name is looked at once its characters are in order."""
    if found := [*kind_problems(answers, unrendered)]:
        return found
    typed = {prompt: str(answer) for prompt, answer in answers.items()}
    found = [problem for prompt in FREE_TEXT for problem in text_problems(prompt, typed[prompt])]
    told = {problem.split(":")[0] for problem in found}
    names = [*derived_problems(typed)] or [*name_problems(typed), *stage_problems(typed)]
    found += [problem for problem in names if problem.split(":")[0] not in told]
    if not found and "_commit" in answers and of_a_tool(Path.cwd()):
        found = [*update_problems(typed, find_project(typed))]
    return found


def mended(prompt: str, answer: object) -> str:
    """An answer for the command line, without what may stand in no answer."""
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    text = "" if answer is None else str(answer)
    text = ", ".join(split_stages(text)) if prompt == "stage_names" else text
    plain = "".join(" " if is_control(character) else character for character in text)
    spaced = re.sub("{(?=[#%{])", "{ ", plain)
    return spaced if prompt == "stage_names" else spaced[:MAX_TEXT]


def template_options(answers: Answers) -> list[str]:
    """The template, and --checkout and --directory where there were any, as far as cookiecutter tells a hook."""
    template, checkout = str(answers.get("_template", TEMPLATE)), answers.get("_checkout")
    folder = Path(str(answers.get("_repo_dir", template)))
    repository = re.sub(r"\.git$", "", re.split("[/\\\\:]", template.rstrip("/"))[-1])
    temporary = Path(tempfile.gettempdir())
    if folder.is_relative_to(template):
        root = Path(template)
    elif template.endswith(".zip") and folder.is_relative_to(temporary):
        root = temporary.joinpath(*folder.relative_to(temporary).parts[:2])
    else:  # A clone, which has the repository's name.
        roots = (path for path in (folder, *folder.parents) if path.name == repository and (path / ".git").exists())
        root = next(roots, folder)
    directory = folder.relative_to(root)
    for start in (os.environ.get("PWD", ""), str(answers.get("_output_dir", ""))):  # Where cookiecutter was called.
        named = Path(start, template)
        if named.is_file() or (named / directory / "cookiecutter.json").is_file():
            template = os.path.normpath(named)
    options = [template, *(["--checkout", str(checkout)] if checkout else [])]
    return options + (["--directory", str(directory)] if directory.parts else [])


def repeat_command(answers: Answers) -> str:
    """The one line that bakes this project again."""
    typed = {prompt: mended(prompt, answers[prompt]) for prompt in (*TEXT, *YES_NO, *CHOICES) if prompt in answers}
    if "_commit" in answers:
        extra = ["--extra-context", json.dumps(typed, ensure_ascii=False)]
        return shlex.join(["cruft", "create", str(answers["_template"]), "--no-input", *extra])
    given = [f"{prompt}={answer}" for prompt, answer in typed.items()]
    return shlex.join(["cookiecutter", *template_options(answers), "--no-input", *given])


if __name__ == "__main__":
    found = problems(ANSWERS, UNRENDERED)
    repeat = "" if of_a_tool(Path.cwd()) else repeat_command(ANSWERS)
    if found:
        hint = ["", "To bake with other answers, edit this line:", "", f"    {repeat}", ""] if repeat else []
        print(*found, *hint, sep="\n", file=sys.stderr)
        sys.exit(1)
    Path(START).write_text(repeat, encoding="utf-8")
# {% endif %}
