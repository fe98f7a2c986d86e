"""P7: each recipe of a project, and each program of its concepts, does what it says, as it stands."""

import gzip
import json
import re
import shutil
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from baking import ROOT, Bake, Baker, environment

RECIPES = (ROOT / "{{cookiecutter.project_slug}}/docs/recipes.md").read_text(encoding="utf-8")
HOLDS = {  # What holds after each of them.
    "An HTTP API, with an async client": """
assert [result["name"] for result in results] == [f"/products/{number}" for number in range(100)]
assert pipeline.report.stages[0].retried == 1 and pipeline.report.seconds > 0.2
""",
    "A rate, and errors that are worth another attempt": """
assert len(moments) == 4 and max(moments) - min(moments) > 3 / 50
assert (pipeline.report.skipped, pipeline.report.stages[0].retried) == (1, 0)
""",
    "A limit in time": """
assert rendered == [0.01, 0.02]
assert (too_slow.item, type(too_slow.error), pipeline.report.stages[0].replaced) == (1.0, TimeoutError, 1)
""",
    "A branch": """
assert results == [documents[0] | {"words": 3}, documents[1] | {"pixels": 12}]
assert [(stage.processed, stage.passed) for stage in pipeline.report.stages] == [(1, 1), (1, 1)]
""",
    "Totals at the end": """
assert totals == [{"country": "FI", "total": 2}, {"country": "NO", "total": 6}]
""",
    "A value from outside": """
assert (kept, list(build_pipeline().run([0.6, 0.4]))) == ([0.8], [0.6])
""",
    "A GPU for each worker": """
assert [item for item, _ in predictions] == [f"image {number}" for number in range(1000)]
assert {device for _, device in predictions} <= {"cuda:0", "cuda:1"}
""",
    "A database of your own, each row once": """
with sqlite3.connect(FILE) as database:
    assert (stored, database.execute("SELECT * FROM totals").fetchall()) == ([5, 7], [(0, 5), (1, 7)])
database.close()
""",
    "A sink of your own": """
assert stored == [(number,) for number in range(0, 10, 2)]
assert [(letter.stage, letter.item["number"]) for letter in pipeline.report.dead_letters] == [
    ("consumer", number) for number in range(1, 10, 2)
]
""",
    "CSV and Parquet": """
assert prices == [{"name": "salt", "price": 0.5}, {"name": "sugar", "price": 1.2}]
assert {letter.stage: letter.item for letter in pipeline.report.dead_letters} == {
    "price": {"name": "pepper", "price": "much"}, "source": "1,2,3"
}
""",
    "A query of a database": """
assert lines == ["FI: 2", "NO: 6"]
""",
    "A bad item among a batch's good ones": """
assert (lengths, [letter.item for letter in pipeline.report.dead_letters]) == ([5, 6], [Path()])
""",
    "A notebook": """
assert results == [{"id": number} for number in range(1000)]
""",
    "Testing a pipeline": """
test_a_ratio()
test_a_bad_item_costs_itself_alone()
""",
}
IN_A_SHELL = {  # Each has a test of its own.
    "A run that goes on where the last one ended",
    "Adding and renaming a stage",
    "A container",
    "A second machine",
}


class Api(BaseHTTPRequestHandler):
    """Gives each product its path as its name. The first answer is 429."""

    protocol_version = "HTTP/1.1"
    first = threading.Lock()

    def do_GET(self) -> None:
        status = 429 if Api.first.acquire(blocking=False) else 200
        body = json.dumps({"name": self.path}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "0.2")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def recipe(project: Bake, heading: str) -> str:
    """What stands under that heading."""
    return project.text("docs/recipes.md").split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_p7_there_is_no_recipe_that_is_not_run(bake: Baker) -> None:
    headings = set(re.findall(r"^## (.*)$", bake().text("docs/recipes.md"), re.MULTILINE))
    assert headings == {*HOLDS} | IN_A_SHELL


@pytest.mark.parametrize("heading", HOLDS)
def test_p7_a_recipe_does_what_it_says(heading: str, api: str, bake: Baker) -> None:
    project = bake()
    beginning = blocks(project.text("docs/recipes.md").split("\n## ")[0], "python")
    program = [*beginning, *blocks(recipe(project, heading), "python"), HOLDS[heading]]
    project.python("-W", "error", "-c", "\n".join(program), API_URL=api, NO_PROXY="127.0.0.1")


def test_p7_the_programs_of_the_concepts_do_what_they_say(bake: Baker) -> None:
    holds = """
assert doubled == [0, 2, 4, 6, 8]
assert polled == [0, 1, 2]
assert words == [4, 2]
assert (totals, len(counted)) == ({"a": 500, "b": 500}, 1000)
"""
    bake().python("-W", "error", "-c", "\n".join([*blocks(bake().text("docs/concepts.md"), "python"), holds]))


def test_p7_the_recipe_of_a_notebook_runs_in_one(bake: Baker) -> None:
    (cell,) = blocks(recipe(bake(), "A notebook"), "python")
    shown = bake().python(str(ROOT / "tests/runtime/notebook.py"), cell).stdout
    assert "1,000 delivered" in shown


@pytest.fixture
def folder(bake: Baker, tmp_path: Path) -> Path:
    """A folder with a folder `bin`, in which the project's command is."""
    command = tmp_path / "bin" / "my-pipeline"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{bake().path}/src" exec "{sys.executable}" -m my_pipeline "$@" -q\n')
    command.chmod(0o755)
    return tmp_path


def shell(script: str, folder: Path) -> None:
    settings = environment()
    settings["PATH"] = f"{folder}/bin:{settings['PATH']}"
    subprocess.run(["bash", "-ec", script], cwd=folder, env=settings, check=True, timeout=120)


def test_p7_the_loop_in_the_shell_goes_on_after_a_signal_and_ends_with_the_run(bake: Baker, folder: Path) -> None:
    (loop,) = blocks(recipe(bake(), "A run that goes on where the last one ended"), "sh")
    command = 'my-pipeline() { echo run >>runs; [ $(wc -l <runs) -gt 2 ] || return 143; command my-pipeline "$@"; }\n'
    (folder / "in").mkdir()
    (folder / "in/a.jsonl.gz").write_bytes(gzip.compress(b"1\n2\n"))
    shell(command + loop, folder)
    assert (folder / "runs").read_text().count("run") == 3
    assert (folder / "out.jsonl").read_text() == "1\n2\n"


def test_p7_a_table_becomes_another_by_the_names_of_the_files(bake: Baker, folder: Path) -> None:
    (folder / "prices.csv").write_text("name,price\nsalt,0.50\n")
    (command,) = blocks(recipe(bake(), "CSV and Parquet"), "sh")
    shell(command, folder)
    assert (folder / "prices.parquet").read_bytes()[:4] == b"PAR1"


def test_p7_two_machines_give_what_one_gives(bake: Baker, folder: Path) -> None:
    (script,) = blocks(recipe(bake(), "A second machine"), "sh")
    (folder / "in").mkdir()
    for name in ("00", "01", "10"):
        (folder / "in" / f"{name}.jsonl").write_text(f'"{name}"\n')
    machines = 'ssh() { sh -c "$2"; }\n'
    shell(machines + script.replace("/shared", str(folder)), folder)
    assert (folder / "out.jsonl").read_text() == '"00"\n"01"\n"10"\n'


@pytest.mark.skipif(shutil.which("perl") is None, reason="the recipe renames with perl")
@pytest.mark.parametrize("stages", ["pre_processing, model_inference, post_processing", "load", "Renames, renamed 2"])
def test_p7_a_renamed_stage_leaves_a_project_that_is_clean(stages: str, bake: Baker, tmp_path: Path) -> None:
    project = bake(stage_names=stages).copy(tmp_path)
    adding, renaming = blocks(recipe(project, "Adding and renaming a stage"), "sh")
    project.run("bash", "-ec", 'my-pipeline() { python -m my_pipeline "$@"; }\n' + adding + renaming)
    drawn = project.python("-m", "my_pipeline", "graph").stdout
    assert re.search(r'"renamed".*"quality_control"', drawn, re.DOTALL)
    project.run("ruff", "check")
    project.run("ruff", "format", "--check")
    project.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/stages", "tests/test_pipeline.py")


@pytest.mark.slow  # It installs the project.
def test_p7_what_the_dockerfile_does_gives_the_command(bake: Baker, tmp_path: Path) -> None:
    """There is no daemon to build an image with: its instructions are carried out in folders instead."""
    instructions = [
        line.split(maxsplit=1) for line in blocks(recipe(bake(), "A container"), "dockerfile")[0].splitlines()
    ]
    assert [name for name, _ in instructions] == ["FROM", "COPY", "RUN", "USER", "WORKDIR", "ENTRYPOINT"]
    given = dict(instructions)
    source, target = given["COPY"].split()
    shutil.copytree(bake().path / source, tmp_path / target.lstrip("/"))
    venv.create(tmp_path / "image", with_pip=True)
    settings = environment() | {"PATH": f"{tmp_path}/image/bin:/usr/bin:/bin"}
    install = given["RUN"].replace(target, str(tmp_path / target.lstrip("/")))
    subprocess.run(["sh", "-ec", install], env=settings, check=True, timeout=550, capture_output=True)
    (entry,) = json.loads(given["ENTRYPOINT"])
    done = subprocess.run([tmp_path / "image/bin" / entry, "run"], input=b"1\n2\n", env=settings, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"1\n2\n")


def test_p7_a_recipe_is_short() -> None:
    programs = blocks(RECIPES, "python")
    assert max(len([line for line in program.splitlines() if line]) for program in programs) <= 16
