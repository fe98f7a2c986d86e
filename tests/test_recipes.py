"""P7: each recipe of a project does what it says, as it stands."""

import gzip
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from baking import ROOT, Baker, environment

RECIPES = (ROOT / "{{cookiecutter.project_slug}}/docs/recipes.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^## (.*)$", RECIPES, re.MULTILINE)
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
    "A run that goes on where the last one ended": "",  # It is shell, and has a test of its own.
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


@pytest.mark.parametrize("heading", HEADINGS)
def test_p7_a_recipe_does_what_it_says(heading: str, api: str, bake: Baker) -> None:
    project = bake()
    text = project.text("docs/recipes.md")
    beginning, *sections = (re.findall(r"^```python\n(.*?)^```$", part, re.M | re.S) for part in text.split("\n## "))
    program = [*beginning, *sections[HEADINGS.index(heading)], HOLDS[heading]]
    project.python("-W", "error", "-c", "\n".join(program), API_URL=api, NO_PROXY="127.0.0.1")


def test_p7_the_loop_in_the_shell_goes_on_after_a_signal_and_ends_with_the_run(bake: Baker, tmp_path: Path) -> None:
    (loop,) = re.findall(r"^```sh\n(.*?)^```$", bake().text("docs/recipes.md"), re.MULTILINE | re.DOTALL)
    command = (
        'my-pipeline() { echo run >>runs; [ $(wc -l <runs) -gt 2 ] || return 143; python -m my_pipeline "$@" -q; }\n'
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl.gz").write_bytes(gzip.compress(b"1\n2\n"))
    settings = environment(PYTHONPATH=str(bake().path / "src"))
    subprocess.run(["bash", "-c", command + loop], cwd=tmp_path, env=settings, check=True, timeout=120)
    assert (tmp_path / "runs").read_text().count("run") == 3
    assert (tmp_path / "out.jsonl").read_text() == "1\n2\n"


def test_p7_a_recipe_is_short() -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", RECIPES, re.MULTILINE | re.DOTALL)
    assert max(len([line for line in program.splitlines() if line]) for program in programs) <= 16
