"""Answers are data (T4): a hostile one gives a project whose every file parses, or a refusal; none is executed."""

import ast
import contextlib
import json
import os
import re
import shlex
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from baking import ROOT, Bake

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("STRESS_EXAMPLES", "2000")) // 40  # Each of them is a bake.
ASKED = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
FREE_TEXT = (
    *("project_name", "description", "author_name", "author_email", "repository_url", "stage_names"),
    "sub_task_stage",
)
HOSTILE = {
    "quotes": """it's "quoted" '''thrice''' \"\"\"and again\"\"\"""",
    "backslashes": "C:\\new\\table\\ \\",
    "braces": "{a} {'b': 1} }} %} #} ${HOME} $(touch pwned)",
    "jinja": "{{ cookiecutter.__class__ }}{% include 'x' %}",
    "jinja comment": "{# hidden",
    "python": "'); __import__('os').system('touch pwned'); ('",
    "newlines": "one\ntwo\r\nthree",
    "emoji": "👩\u200d🔬 🚀 pipelines",
    "right to left": "خط أنابيب צינור",
    "direction override": "abc\u202edef",
    "toml": 'x" ]\n[project.scripts]\nevil = "evil:evil',
    "toml in a line": '" }, { name = "evil',
    "markdown and html": "</h1><script>alert(1)</script> `code` | --> [x](y)",
    "markdown that swallows the rest": "``` ~~~ <!-- <details> # *",
    "yaml": "- &a [*a] : {? !!python/object}",
    "percent and dollar": "%(asctime)s %s $1 `id`",
    "null": "a\0b",
}


Answers = dict[str, str]


@contextlib.contextmanager
def stderr_in(file: Path) -> Iterator[None]:
    """What hooks write to stderr goes to that file."""
    saved = os.dup(2)
    try:
        with file.open("wb") as stream:
            os.dup2(stream.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def bake(folder: Path, answers: Answers) -> tuple[Bake | None, str]:
    """As typed at the prompts: answers given on the command line are rendered by the engine, typed ones are not.

    The project, if there is one, and what the hooks wrote to stderr.
    """
    said = folder.with_suffix(".stderr")
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("variable", "yes_no", "choice"):
            default = (lambda options: options[0]) if kind == "choice" else (lambda value: value)
            read = lambda name, shown, *_, default=default, **__: answers.get(name, default(shown))  # noqa: E731
            patch.setattr(f"cookiecutter.prompt.read_user_{kind}", read)
        with stderr_in(said), contextlib.suppress(FailedHookException):
            path = Path(cookiecutter(str(ROOT), output_dir=str(folder)))
            return Bake(path, next(path.glob("src/*")).name), ""
    return None, said.read_text(encoding="utf-8")


def shown(project: Bake, number: int) -> str:
    """The text that a reader of the README sees in its heading, 0, or first paragraph, 1."""
    inline = [token for token in MarkdownIt().parse(project.text("README.md")) if token.type == "inline"][number]
    return "".join(child.content for child in inline.children or ())


def check_files(project: Bake) -> None:
    for file in project.files():
        text = project.text(file)
        if file.endswith(".py"):
            ast.parse(text)
        elif file.endswith((".yml", ".yaml")):
            assert isinstance(yaml.safe_load(text), dict)
        elif file.endswith(".json"):
            json.loads(text)
        elif file.endswith(".toml"):
            tomllib.loads(text)
        elif file.endswith(".md"):
            fences = [token for token in MarkdownIt().parse(text) if token.type == "fence" and token.map]
            assert {text.splitlines()[fence.map[1] - 1].strip() for fence in fences if fence.map} <= {"```", "````"}
    (drawn,) = (
        token
        for token in MarkdownIt().parse(project.text("README.md"))
        if (token.type, token.info) == ("fence", "mermaid")
    )
    first, *lines = drawn.content.splitlines()
    node = r'\w+(\["\w+"\]|\(\[\w+\]\)|\[\(pool of \w+\)\])?'
    assert first == "flowchart LR"
    assert [line for line in lines if not re.fullmatch(rf" +{node} (-->|-\. sub-tasks \.-) {node}", line)] == []
    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--no-cache", "--check")


def check_metadata(project: Bake, answers: Answers) -> None:
    """The text is where it belongs, and has brought nothing with it."""
    metadata = tomllib.loads(project.text("pyproject.toml"))["project"]
    known = {
        "name",
        "version",
        "description",
        "readme",
        "requires-python",
        "license",
        "license-files",
        "authors",
        "classifiers",
        "urls",
    }
    assert set(metadata) <= known | {"dependencies", "optional-dependencies", "scripts"}
    assert list(metadata.get("scripts", {})) in ([], [metadata["name"]])
    name, description = (
        answers.get("project_name", ASKED["project_name"]).strip(),
        answers.get("description", ASKED["description"]).strip(),
    )
    author, email = answers.get("author_name", "").strip(), answers.get("author_email", "").strip()
    assert metadata["description"] == description
    person = {key: value for key, value in (("name", author), ("email", email)) if value}
    assert metadata.get("authors", []) == ([person] if person else [])
    assert shown(project, 0) == name
    assert shown(project, 1) == description or not description
    assert author in project.text("LICENSE") or answers.get("license") == "Apache-2.0"
    modules = {file.stem for file in project.path.glob("src/*/stages/*.py")} - {"__init__"}
    calls = [
        node
        for node in ast.walk(ast.parse(project.text(f"src/{project.package}/pipeline.py")))
        if isinstance(node, ast.Call)
    ]
    added = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_worker"]
    stages = [
        keyword.value.value
        for call in added
        for keyword in call.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    ]
    assert len(stages) == len(modules)
    assert {*stages} == modules


def check(folder: Path, answers: Answers) -> str:
    """A project whose files parse and whose metadata hold the text, or a refusal that leaves nothing: which it was."""
    project, said = bake(folder, answers)
    assert not [*folder.rglob("pwned")]
    if project is not None:
        check_files(project)
        check_metadata(project, answers)
        return "a project"
    problems, line = said.split("\n\nTo bake with other answers, edit this line:\n\n")
    assert problems
    for problem in problems.splitlines():
        assert re.match(rf"({'|'.join(name for name in ASKED if name[0] != '_')}): .+[;,] .+", problem), problem
    command, *_ = shlex.split(line.splitlines()[0])
    assert command == "cookiecutter"
    assert line.splitlines()[1:2] in ([], [""])
    assert [*folder.iterdir()] == []
    return "a refusal"


@pytest.mark.parametrize("prompt", FREE_TEXT)
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_t4_parses_or_is_refused(prompt: str, value: str, tmp_path: Path) -> None:
    check(tmp_path / "here", {prompt: value})


PIECES = [
    *(
        "'",
        '"',
        "\\",
        "\\\\",
        "'''",
        '"""',
        "{",
        "}",
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "{0}",
        "%s",
        "%(x)s",
        "$x",
        "${x}",
    ),
    *(
        "$(touch pwned)",
        "`touch pwned`",
        "; touch pwned",
        "\n",
        "\r",
        "\t",
        "\0",
        "\x1b[31m",
        "\x85",
        "\u2028",
        "\ufeff",
        "\xa0",
    ),
    *(
        "#",
        "# ",
        "- ",
        "+ ",
        "= ",
        "1. ",
        "2) ",
        "> ",
        "* ",
        "***",
        "---",
        "===",
        "_a_",
        "**b**",
        "~~c~~",
        "```",
        "~~~",
        "|",
        " | ",
    ),
    *(
        "<b>",
        "</h1>",
        "<!--",
        "-->",
        "<script>",
        "<https://x.org>",
        "https://x.org",
        "[x](y)",
        "![x](y)",
        "[x]: y",
        "&amp;",
        "&",
        "&#65;",
    ),
    *(
        ":",
        ": ",
        "- &a",
        "*a",
        "!!python/object",
        "? ",
        "[",
        "]",
        "= 1",
        "]\n[x]",
        "null",
        "no",
        "~",
        "@",
        "\\N{BULLET}",
        "\\x",
        "\\u12",
    ),
    *(
        "\u202e",
        "\u2066",
        "\u200f",
        "\u200d",
        "\u0301",
        "خط",
        "צ",
        "👩\u200d🔬",
        "İ",
        "ß",
        "ŉ",
        "ﬁ",
        "中文",
        "\ud800",
        "\U0010ffff",
    ),
    *("{{ cookiecutter }}", "__import__('os').system('touch pwned')", "x" * 60, " ", "  ", "a", "Ab", "0", "."),
]
STAGES = [
    *(
        "load",
        "Load it",
        "score",
        "SCORE",
        "step 1",
        "step 2",
        "step 10",
        "step_010",
        "R/W",
        "quality-control",
        "match",
        "Qualität",
        "中文",
    ),
    *(
        "class",
        "None",
        "2fast",
        "pipeline",
        "cli",
        "source",
        "con",
        "base",
        "sub task pool",
        "stage_name",
        "my_pipeline",
        "🙂",
        "",
        " ",
    ),
    *("__init__", "__main__", "_", "test", "json", "w" * 30, "w" * 31, "../up", "a.b", "a\\b", "x" * 500),
]
harmless = st.lists(
    st.sampled_from(
        [
            piece
            for piece in PIECES
            if re.fullmatch(r"[^\x00-\x1f\x85\u2028\u202e\u2066\ud800]*", piece) and not re.search("{[{%#]", piece)
        ]
    ),
    max_size=6,
).map(" ".join)
hostile = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12).map("".join)
text = harmless | harmless | harmless | hostile
name = st.sampled_from(STAGES[:13]) | st.sampled_from(STAGES[:13]) | st.sampled_from(STAGES) | hostile
good_name = st.integers(0, 99).map("step {}".format) | st.sampled_from(STAGES[:9])
separator = st.sampled_from([",", ", ", " , ", ",,", ";", "\n", "\uff0c", ", ,\t"])
stage_lists = st.tuples(
    separator, st.lists(good_name, min_size=1, max_size=34, unique=True) | st.lists(name, max_size=5)
).map(lambda drawn: drawn[0].join(drawn[1]))
email = st.sampled_from(["", " ada@example.org", "a.b+c@x-y.org"]) | text
FREE = {
    "project_name": text,
    "description": text,
    "author_name": text,
    "author_email": email,
    "stage_names": stage_lists,
    "sub_task_stage": st.just("") | name,
}
NAMES = {
    "project_slug": st.sampled_from(["ships", " ships-2 ", "My Ships", "../x", "con"]) | hostile,
    "package_name": st.sampled_from(["ships", "class"]) | hostile,
}
CHOSEN = {
    prompt: st.sampled_from(choices) if isinstance(choices, list) else st.booleans()
    for prompt, choices in ASKED.items()
    if isinstance(choices, (list, bool))
}


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.generate, Phase.shrink],
)
@given(
    free=st.fixed_dictionaries({}, optional=FREE),
    names=st.just({}) | st.fixed_dictionaries({}, optional=NAMES),
    chosen=st.fixed_dictionaries(CHOSEN),
)
@pytest.mark.timeout(3000)
def test_t4_any_text_in_any_prompt_and_any_list_of_stages(free: Answers, names: Answers, chosen: Answers) -> None:
    with tempfile.TemporaryDirectory(prefix="bake-") as folder:
        event(check(Path(folder) / "here", free | names | chosen))


@pytest.mark.parametrize("value", ["quotes", "backslashes", "emoji", "right to left", "python"])
def test_t4_its_tests_pass_and_it_builds(value: str, tmp_path: Path) -> None:
    project, _ = bake(tmp_path / "here", {"description": HOSTILE[value]})
    assert project is not None
    project.python("-m", "pytest", "-q", "-W", "error", "tests/test_pipeline.py", "tests/stages")
    project.python("-m", "build", "--no-isolation", "--wheel")
