"""Tags a version of the template, with its entry of CHANGELOG.md as the message.

python tools/release.py VERSION

It needs git and no network, and changes nothing but the tag. Projects are updated to tags, so each says what an update brings.
"""

import re
import subprocess
import sys
from pathlib import Path

CHANGELOG = Path("CHANGELOG.md")
AN_UPDATE = "**An update**"  # How the entry of a version begins.


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def numbers(version: str) -> tuple[int, ...]:
    """(1, 10, 0) of 1.10.0; () of what is no version."""
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+\.\d+\.\d+", version) else ()


def entry(version: str) -> str:
    """What CHANGELOG.md says of a version."""
    text = CHANGELOG.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(version)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def problem(version: str) -> str:
    """Why this version cannot be tagged now, and what to do; nothing if it can."""
    latest = max(map(numbers, git("tag", "--list").split()), default=())
    if not numbers(version):
        return f"{version!r} is no version; write one like 1.2.0: make release VERSION=1.2.0"
    if git("status", "--porcelain"):
        return "there are changes that are not committed; commit them first"
    if numbers(version) <= latest:
        return f"{version} does not come after {'.'.join(map(str, latest))}, which is tagged; choose a later one"
    if entry("Unreleased"):
        return f"CHANGELOG.md has entries under 'Unreleased'; make 'Unreleased' to '{version}' and commit that"
    if not entry(version).startswith(AN_UPDATE):
        return (
            f"CHANGELOG.md has no entry '## {version}' that begins with {AN_UPDATE} and what an update brings; write it"
        )
    return ""


def main() -> None:
    version = sys.argv[1] if len(sys.argv) > 1 else ""
    if why := problem(version):
        sys.exit(why)
    git("tag", "--annotate", "--cleanup=whitespace", version, "--message", f"{version}\n\n{entry(version)}")
    print(f"{version} is tagged. To publish it: git push origin HEAD {version}")


if __name__ == "__main__":
    main()
