"""Writes copier.yml: the prompts of cookiecutter.json as copier's questions. Without --write it shows them.

python tools/make_copier.py [--write]
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
HEAD = """\
# For copier, which asks the prompts of cookiecutter.json, and has cookiecutter render the project: see docs/updating.md.
# Made by tools/make_copier.py.
"""
SETTINGS = {
    "_min_copier_version": "9.4",
    "_subdirectory": "templates/copier",
    "_jinja_extensions": ["cookiecutter.extensions.SlugifyExtension"],
    "_skip_if_exists": [  # What is the user's.
        *[f"src/*/{own}" for own in ("pipeline.py", "settings.py", "stages")],
        *["tests/stages", "tests/test_pipeline.py"],
    ],
    "_tasks": [
        [
            "{{ _copier_python }}",
            "{{ _copier_conf.src_path }}/tools/bake_for_copier.py",
            "{{ _copier_conf.src_path }}",
            "{{ _copier_answers|to_json }}",
        ]
    ],
}


def question(prompt: str, default: Any, text: Any) -> dict[str, Any]:
    """A prompt of cookiecutter.json, in copier's words."""
    if isinstance(default, list):
        choices = {text[choice]: choice for choice in default} if isinstance(text, dict) else default
        return {
            "type": "str",
            "help": text["__prompt__"] if isinstance(text, dict) else text,
            "choices": choices,
            "default": default[0],
        }
    kind = "bool" if isinstance(default, bool) else "str"
    value = default if isinstance(default, bool) else re.sub(r"\bcookiecutter\.", "", default)
    return {"type": kind, "help": text, "default": value}


def questions() -> str:
    answers = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    asked = {name: value for name, value in answers.items() if not name.startswith("_")}
    made = {name: question(name, default, answers["__prompts__"][name]) for name, default in asked.items()}
    text: str = yaml.safe_dump(SETTINGS | made, sort_keys=False, allow_unicode=True, width=1000)
    return HEAD + text


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        (ROOT / "copier.yml").write_text(questions(), encoding="utf-8", newline="\n")
    else:
        print(questions(), end="")
