"""The site: it builds without a warning, its links and anchors are right, and it needs no other host."""

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from baking import ROOT, Baker, environment

CORE = ROOT / "{{cookiecutter.project_slug}}/src/{{cookiecutter.package_name}}/pipeline_core"


def build(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder / "site"), *arguments]
    settings = {name: os.environ[name] for name in ("COOKIECUTTER_CONFIG",)} | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment(**settings), capture_output=True, text=True, encoding="utf-8", timeout=300
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a wrong link, a wrong anchor or a page that is not in the navigation fails it."""
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder / "site"


class Fetched(HTMLParser):
    """The addresses that a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.addresses.append(given["src"] or "")
        if tag == "link" and given.get("rel") != "canonical":
            self.addresses.append(given["href"] or "")


def test_the_site_fetches_nothing_from_another_host(site: Path) -> None:
    for page in site.glob("**/*.html"):
        parser = Fetched()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.addresses
        assert not [address for address in parser.addresses if re.match(r"(?:\w+:)?//", address)], page
    for style in [*site.glob("**/*.css"), *site.glob("**/*.svg")]:
        assert not re.search(r"url\(['\"]?(?:\w+:)?//|@import", style.read_text(encoding="utf-8")), style


def test_each_name_that_the_core_exports_is_in_the_api(site: Path) -> None:
    exported = ast.literal_eval(re.findall(r"__all__ = (\[.*?\])", (CORE / "__init__.py").read_text(), re.DOTALL)[0])
    page = (site / "api.html").read_text(encoding="utf-8")
    assert [name for name in exported if f'id="my_pipeline.pipeline_core.{name}"' not in page] == []


def test_what_the_site_shows_of_a_project_is_of_a_fresh_bake(site: Path) -> None:
    recipes = (site / "recipes.html").read_text(encoding="utf-8")
    assert "src/my_pipeline/stages/" in recipes
    assert "cookiecutter." not in recipes


def test_the_program_of_the_readme_runs_in_a_project(bake: Baker, tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    (tmp_path / "images.py").write_text(BEFORE_THE_PROGRAM.replace("my_pipeline", bake().package) + program, "utf-8")
    shown = bake().python("-W", "error", str(tmp_path / "images.py")).stdout
    assert shown.split() == [str(2 * number) for number in range(20)]


BEFORE_THE_PROGRAM = """
from types import SimpleNamespace

from my_pipeline.pipeline_core import BaseWorker, PipelineManager

Image = Prediction = int
images = range(20)


class PreProcessingWorker(BaseWorker[Image, Image]):
    def process_item(self, item: Image) -> Image:
        return item


class PostProcessingWorker(PreProcessingWorker):
    pass


def load_model():
    return SimpleNamespace(predict=lambda image: 2 * image)


"""
