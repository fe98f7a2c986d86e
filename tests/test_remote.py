"""Inputs on other machines, as real servers on this one give them (U1)."""

import gzip
import io
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from baking import Baker

LINES = "".join(f'{{"a": {number}}}\n' for number in range(20_000))


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """What the environment tells of a server of S3 that holds a bucket with some files."""
    call = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(call, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, encoding="utf-8") as server:
        assert server.stderr is not None
        address = next(found[0] for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        rest = threading.Thread(target=server.stderr.read)  # So that it never waits for a reader.
        rest.start()
        parquet = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2]}), parquet)
        files = {
            "": b"",
            "/in/a.jsonl": LINES.encode(),
            "/in/b.jsonl.gz": gzip.compress(b"7\n"),
            "/in/b.jsonl.part": b"8\n",
        }
        for path, data in (files | {"/table.parquet": parquet.getvalue()}).items():
            kind = {"Content-Type": "application/octet-stream"}
            urllib.request.urlopen(urllib.request.Request(f"{address}/bucket{path}", data, kind, method="PUT")).close()
        yield {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "NO_PROXY": "*"}
        server.terminate()
        rest.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a server that gives the files of `tmp_path`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_u1_a_bucket_is_read_by_names_and_patterns(s3: dict[str, str], bake: Baker) -> None:
    call = ["-m", "my_pipeline", "run", "-q", "s3://bucket/in/*", "s3://bucket/table.parquet"]
    done = bake().python(*call, **s3)  # type: ignore[arg-type]
    assert (done.stdout, done.stderr) == (f'{LINES}7\n{{"a": 1}}\n{{"a": 2}}\n', "")


def test_u1_a_web_server_is_read(web: str, tmp_path: Path, bake: Baker) -> None:
    (tmp_path / "x.jsonl").write_text(LINES)
    (tmp_path / "y.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    done = bake().python("-m", "my_pipeline", "run", "-q", f"{web}/x.jsonl", f"{web}/y.csv.gz?x=1", NO_PROXY="*")
    assert (done.stdout, done.stderr) == (f'{LINES}{{"a": "1"}}\n', "")


def test_u1_what_is_not_there_is_one_line(web: str, s3: dict[str, str], bake: Baker) -> None:
    for name in (f"{web}/missing", "s3://bucket/missing", "s3://missing/x"):
        done = bake().python("-m", "my_pipeline", "run", name, check=False, **s3)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(rf"error: cannot open {name}: .+\n", done.stderr), done.stderr
    done = bake().python("-m", "my_pipeline", "run", "s3://bucket/no*", check=False, **s3)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: no file fits s3://bucket/no*\n")


@pytest.mark.parametrize("address", ["s3://bucket/x", "gs://bucket/x", "https://host/x"])
def test_u1_without_the_library_a_hint_tells_how_to_install_it(address: str, bake: Baker) -> None:
    code = f"import sys; sys.modules['fsspec'] = None; sys.argv[1:] = ['run', '{address}']; import my_pipeline.__main__"
    done = bake().python("-c", f"{code}; my_pipeline.__main__.main()", check=False)
    assert done.returncode == 2
    assert re.fullmatch(rf"error: {address} is remote, which needs more: pip install 'fsspec\[\w+\]'\n", done.stderr)
