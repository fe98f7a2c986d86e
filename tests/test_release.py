"""A version of the template is tagged with what it brings, and there is one name under which the template is published."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from baking import ROOT, environment

CHANGELOG = (
    "# Changelog\n\n## 1.1.0\n\n**An update** brings a rate.\n\n### More\n\n## 1.0.0\n\n**An update** is the first.\n"
)
FORK = r"git grep -lw org/repo | xargs perl -pi -e 's{\borg/repo\b}{acme/pipelines}g'"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    names = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    outermost = {"MAKEFLAGS": "", "MAKELEVEL": "0"}  # Whether `make test` has called this, or nobody has.
    env = environment(**dict.fromkeys(names, "tester@example.org"), **quiet, **outermost)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def release(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    return run(
        folder, "make", "-s", "-f", str(ROOT / "Makefile"), "release", f"VERSION={version}", f"PYTHON={sys.executable}"
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A scratch repository with two versions in its CHANGELOG, of which one is tagged."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/release.py").write_text(
        (ROOT / "tools/release.py").read_text(encoding="utf-8"), encoding="utf-8"
    )
    write(tmp_path, CHANGELOG)
    for command in ("git init -q", "git add -A", "git commit -qm change", "git tag 1.0.0"):
        assert run(tmp_path, *command.split()).returncode == 0
    return tmp_path


def write(folder: Path, changelog: str) -> None:
    (folder / "CHANGELOG.md").write_text(changelog, encoding="utf-8")


def test_a_version_is_tagged_with_its_entry_of_the_changelog(repository: Path) -> None:
    done = release(repository, "1.1.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "git push origin HEAD 1.1.0" in done.stdout
    message = run(repository, "git", "tag", "--list", "1.1.0", "--format=%(contents)").stdout
    assert message.rstrip() == "1.1.0\n\n**An update** brings a rate.\n\n### More"
    assert run(repository, "git", "status", "--porcelain").stdout == ""


@pytest.mark.parametrize(
    ("version", "changelog", "why"),
    [
        ("", CHANGELOG, "'' is no version"),
        ("v1.1.0", CHANGELOG, "'v1.1.0' is no version"),
        ("1.0.0", CHANGELOG, "1.0.0 does not come after 1.0.0"),
        ("0.9.0", CHANGELOG, "0.9.0 does not come after 1.0.0"),
        ("1.2.0", CHANGELOG, "CHANGELOG.md has no entry '## 1.2.0'"),
        ("1.1.0", CHANGELOG.replace("**An update** brings", "It brings"), "CHANGELOG.md has no entry '## 1.1.0' that begins with"),
        ("1.1.0", CHANGELOG.replace("## 1.1", "## Unreleased\n\nA new thing.\n\n## 1.1"), "CHANGELOG.md has entries under 'Unreleased'"),
    ],
)  # fmt: skip
def test_what_cannot_be_released_is_refused_in_one_line(
    version: str, changelog: str, why: str, repository: Path
) -> None:
    write(repository, changelog)
    run(repository, "git", "commit", "-qam", "change")
    done = release(repository, version)
    assert done.returncode != 0
    said = done.stderr.splitlines()
    assert said[0].startswith(why)
    assert "; " in said[0]
    assert len([line for line in said if not line.startswith("make: ***")]) == 1
    assert run(repository, "git", "tag").stdout == "1.0.0\n"


def test_nothing_is_released_that_is_not_committed(repository: Path) -> None:
    write(repository, CHANGELOG + "\nMore.\n")
    assert release(repository, "1.1.0").stderr.startswith("there are changes that are not committed; ")
    assert run(repository, "git", "tag").stdout == "1.0.0\n"


def test_this_changelog_begins_each_version_with_what_an_update_does() -> None:
    versions = re.split(r"^## .*\n+", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert versions
    assert [text[:40] for text in versions if not text.startswith("**An update**")] == []


def published_as(folder: Path) -> tuple[str, set[str]]:
    """The address in pyproject.toml, and all that the commands of the documentation name."""
    settings = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    address: str = settings["tool"]["template"]["repository"]
    pages = [*folder.glob("*.md"), *folder.glob("docs/**/*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    short = {f"https://github.com/{name}" for name in re.findall(r"\bgh:([\w.-]+/[\w.-]*\w)", text)}
    return address, short | set(re.findall(r"\b(?:cruft|cookiecutter|copier)\b[^`\n]* (https://[\w./-]*\w)", text))


def test_all_commands_name_the_address_in_pyproject() -> None:
    address, named = published_as(ROOT)
    assert named == {address}


def test_a_fork_changes_the_address_by_one_command(checkout: Path) -> None:
    assert FORK in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    run(checkout, "git", "init", "-q")
    run(checkout, "git", "add", "-A")
    assert run(checkout, "bash", "-c", FORK).returncode == 0
    assert published_as(checkout) == ("https://github.com/acme/pipelines", {"https://github.com/acme/pipelines"})
