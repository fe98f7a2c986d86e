"""The tutorial: each command runs as it stands, in its order, and says what the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from baking import ROOT, environment

BLOCK = re.compile(r'^```(\w+)(?: title="([^"\n]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def replace_line(file: Path, line: str) -> None:
    """Put the line in the place of the one that begins as it does."""
    begin = line.split(",")[0]
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    (found,) = (number for number, old in enumerate(lines) if old.startswith(begin))
    file.write_text("".join([*lines[:found], line, *lines[found + 1 :]]), encoding="utf-8")


@pytest.mark.slow  # It installs a project.
@pytest.mark.skipif(sys.platform == "win32", reason="the commands are written for a POSIX shell")
def test_each_command_of_the_tutorial_does_what_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    folder, said = tmp_path, ""
    activate = ""
    for kind, title, text in BLOCK.findall(page):
        if kind == "sh":
            command = activate + text.replace("cookiecutter gh:org/repo", f"cookiecutter '{ROOT}'")
            done = subprocess.run(
                ["bash", "-ec", command],
                cwd=folder,
                env=environment(COLUMNS="200"),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
            )
            said = done.stdout
            assert done.returncode == int(title.removeprefix("exits with ") or 0), f"{text}\n{said}"
            folder, activate = tmp_path / "review-scores", ". .venv/bin/activate\n"
        elif title.startswith("in "):
            replace_line(folder / title.removeprefix("in "), text)
        elif kind == "python":
            assert (folder / title).exists(), f"{title} is no file that waits for it"
            (folder / title).write_text(text, encoding="utf-8")
        else:
            expected = ".*".join(map(re.escape, text.strip().split("…")))
            assert re.search(expected, said, re.DOTALL), f"{text}\n{said}"
