"""Answers are data (T4): a hostile one gives a project whose every file parses, or a refusal; none is executed."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from baking import ROOT, Bake, environment

pytestmark = pytest.mark.slow

FREE_TEXT = (
    "project_name",
    "description",
    "author_name",
    "author_email",
    "repository_url",
    "stage_names",
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


def bake(folder: Path, prompt: str, value: str) -> subprocess.CompletedProcess[str]:
    """As typed at the prompt: answers given on the command line are rendered by the engine, typed ones are not."""
    code = (
        "import json, sys\n"
        "from cookiecutter import prompt\n"
        "from cookiecutter.main import cookiecutter\n"
        "name, value = json.loads(sys.argv[2])\n"
        "prompt.read_user_variable = lambda var, default, *_, **__: value if var == name else default\n"
        "prompt.read_user_yes_no = lambda var, default, *_, **__: default\n"
        "prompt.read_user_choice = lambda var, options, *_, **__: options[0]\n"
        "cookiecutter(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", code, str(ROOT), json.dumps([prompt, value])]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, encoding="utf-8")


def shown(project: Bake, number: int) -> str:
    """The text that a reader of the README sees in its heading, 0, or first paragraph, 1."""
    tokens = MarkdownIt().parse(project.text("README.md"))
    assert ("fence", "mermaid") in [(token.type, token.info) for token in tokens]
    inline = [token for token in tokens if token.type == "inline"][number]
    return "".join(child.content for child in inline.children or ())


@pytest.mark.parametrize("prompt", FREE_TEXT)
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_t4_parses_or_is_refused(prompt: str, value: str, tmp_path: Path) -> None:
    done = bake(tmp_path, prompt, value)
    assert not list(tmp_path.rglob("pwned"))
    if done.returncode != 0:
        assert f"{prompt}: " in done.stderr, done.stderr
        assert list(tmp_path.iterdir()) == []
        return
    (path,) = tmp_path.iterdir()
    project = Bake(path, next(path.glob("src/*")).name)
    for file in project.files():
        if file.endswith(".py"):
            ast.parse(project.text(file))
    settings = tomllib.loads(project.text("pyproject.toml"))["project"]
    if prompt == "description":
        assert settings["description"] == value
        assert shown(project, 1) == value
    if prompt == "project_name":
        assert shown(project, 0) == value
    if prompt == "author_name":
        assert settings["authors"] == [{"name": value}]
        assert value in project.text("LICENSE")
    assert set(settings) <= {
        *["name", "version", "description", "readme", "requires-python", "license", "license-files"]
    } | {*["authors", "classifiers", "dependencies", "optional-dependencies", "scripts"]}
    assert list(settings["scripts"]) == [settings["name"]]
    project.run("ruff", "check")
    project.run("ruff", "format", "--check")


@pytest.mark.parametrize("value", ["quotes", "backslashes", "emoji", "right to left", "python"])
def test_t4_its_tests_pass_and_it_builds(value: str, tmp_path: Path) -> None:
    done = bake(tmp_path, "description", HOSTILE[value])
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.iterdir()
    project = Bake(path, "my_pipeline")
    project.python("-m", "pytest", "-q", "-W", "error", "tests/test_pipeline.py", "tests/stages")
    project.python("-m", "build", "--no-isolation", "--wheel")
