"""Hooks of MkDocs: pages that lie elsewhere in the repository or in a project, and docstrings as Markdown. See mkdocs.yml."""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from baking import bake_default  # noqa: E402

PROJECT = """\
# The command and the project

This is the README of a default project. In yours, the names are your own; it has the parts that you asked
for, and a picture of your stages.

"""
pages: dict[Path, str] = {}  # The file that each page comes from, except for those in docs/.


@event_priority(100)  # Before mkdocstrings reads its paths.
def on_config(config: MkDocsConfig) -> None:
    """Bake a default project beside the site: some pages, and the API, are its own."""
    folder = Path(config.site_dir).with_name("project-of-the-site")
    shutil.rmtree(folder, ignore_errors=True)
    project = bake_default(folder)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(project / "src")]
    pages.update(
        {
            ROOT / "README.md": "index.md",
            ROOT / "CONTRIBUTING.md": "contributing.md",
            ROOT / "CHANGELOG.md": "changelog.md",
            **{readme: f"{readme.parent.name}.md" for readme in sorted(ROOT.glob("examples/*/README.md"))},
            project / "README.md": "project.md",
            **{page: page.name for page in sorted(project.glob("docs/*.md"))},
            project / "src/my_pipeline/pipeline_core/README.md": "runtime.md",
        }
    )


def on_files(files: Files, config: MkDocsConfig) -> None:
    for source, uri in pages.items():
        text = source.read_text(encoding="utf-8")
        if uri == "project.md":  # Without its picture: Mermaid would need a script from elsewhere.
            text = PROJECT + text[text.index("## Start") :]
        files.append(File.generated(config, uri, content=text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let relative links between files of the repository, or of a project, be links between pages."""
    docs = Path(config.docs_dir)
    came_from = {uri: source for source, uri in pages.items()}.get(page.file.src_uri, docs / page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(came_from.parent / match[1]))
        uri = pages.get(target) or (target.relative_to(docs).as_posix() if target.is_relative_to(docs) else match[1])
        return f"]({uri}"  # All pages lie in one folder.

    return re.sub(r"\]\((?![a-z]+:|#)([^)#\s]+)", link, markdown)


class Docstrings(griffe.Extension):
    """Lines such as "`name`  what it is", with what is indented below them, become a list of Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_list(obj.docstring.value)


def as_list(docstring: str) -> str:
    """
    >>> as_list('One.\\n\\n`a`     the first,\\n        with more\\n`b`, `c`\\n        others')
    'One.\\n\\n- `a`: the first, with more\\n- `b`, `c`: others'
    """
    lines: list[str] = []
    for line in docstring.splitlines():
        name = re.match(r"((?:`\w+`(?:, )?)+)(?:\s{2,}(\S.*)|$)", line)
        if name:
            lines.append(f"- {name[1]}: {name[2] or ''}".rstrip())
        elif lines and lines[-1].startswith("- `") and line.startswith("    "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines)
