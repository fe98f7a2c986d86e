"""R15 and SPEC's "more than one machine": the runtime and the command on a real Ray, in an environment of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest

from baking import ROOT, Bake, Baker, environment

PACKAGES = ["backports.zstd; python_version < '3.14'", "msgspec", "pydantic", "pytest", "ray[default]", "rich", "typer"]
ITEMS = "".join(json.dumps({"id": number}) + "\n" for number in range(300))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info >= (3, 14) or sys.platform == "win32", reason="there is no Ray for it yet"),
]


@cache
def environment_with_ray() -> str:
    """A Python with Ray, made once and kept in build/: what Ray pins is not what the other tools need."""
    folder = ROOT / "build" / "ray"
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = "\n".join([sys.version, *PACKAGES, (ROOT / "constraints.txt").read_text(encoding="utf-8")])
    if not ready.is_file() or ready.read_text(encoding="utf-8") != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, timeout=120)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*install, "--constraint", "constraints.txt", *PACKAGES], cwd=ROOT, check=True, timeout=480)
        ready.write_text(wanted, encoding="utf-8")
    return str(python)


@pytest.fixture(scope="module")
def python() -> str:
    return environment_with_ray()


@pytest.fixture(scope="module")
def project(bake: Baker, tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """With a stage that refuses an item, tells what it does, and is slow when it is told to be."""
    project = bake(scale_out="ray").copy(tmp_path_factory.mktemp("on ray"))
    stage = project.path / "src/my_pipeline/stages/model_inference.py"
    code = stage.read_text(encoding="utf-8")
    given = "        return item\n"
    assert code.count(given) == 1
    refusing = '        print("seen", item["id"])\n        time.sleep(item.get("seconds", 0))\n'
    refusing += '        if item["id"] == 7:\n            raise ValueError("seven")\n'
    code = code.replace(given, refusing + given).replace("\nfrom ", "\nimport time\n\nfrom ", 1)
    stage.write_text(code, encoding="utf-8")
    return project


def test_r15_the_runtime_on_a_cluster(python: str, project: Bake) -> None:
    command = [python, "-m", "pytest", "-q", "--noconftest", "-o", "addopts=", "--import-mode=importlib"]
    path = os.pathsep.join([str(project.path / "src"), str(ROOT / "tests" / "runtime")])
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "tests/on_ray.py"],
        cwd=ROOT,
        env=environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_the_command_gives_on_ray_what_it_gives_in_threads(python: str, project: Bake, tmp_path: Path) -> None:
    """Results alone on stdout; the same dead letters and exit code; what is printed on Ray's machines goes to stderr."""
    found = []
    for engine in ("threads", "ray"):
        letters = tmp_path / f"{engine}.jsonl"
        options = ["--engine", engine, "--on-error", "skip", "--dead-letters", str(letters), "--workers"]
        done = project.run(python, "-m", "my_pipeline", "run", *options, "model_inference=2", stdin=ITEMS, check=False)
        assert "seen 7\n" in done.stderr
        found.append((done.returncode, done.stdout, letters.read_text(encoding="utf-8")))
    threads, on_ray = found
    assert on_ray == threads
    assert (on_ray[0], on_ray[1].count("\n")) == (1, 299)


def test_ctrl_c_ends_a_run_on_ray_and_resume_goes_on(python: str, project: Bake, tmp_path: Path) -> None:
    given, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    items = [{"id": 100 + number, "seconds": 0.02} for number in range(400)]
    given.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    command = [python, "-m", "my_pipeline", "run", str(given), "-o", str(out), "--engine", "ray"]
    run = subprocess.Popen(
        command,
        cwd=project.path,
        env=environment(PYTHONPATH="src"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 90
    part = tmp_path / "out.jsonl.part"
    while not (part.exists() and part.stat().st_size):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)  # As a terminal does it: Ray's processes get it, too.
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "Traceback" not in said
    project.run(*command, "--resume")
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == items


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--address", "auto"], "there is no Ray at auto: Could not find any running Ray instance"),
        (["--address", "ray://127.0.0.1:1"], "there is no Ray at ray://127.0.0.1:1: [Errno 111] Connection refused"),
        (["--serial"], "--serial runs all in one thread: leave --engine ray out"),
    ],
)
def test_bad_usage_is_one_line(options: list[str], said: str, python: str, project: Bake, tmp_path: Path) -> None:
    """`auto` looks for a cluster that was started in Ray's temporary folder: nobody's is there."""
    done = project.run(
        python,
        "-m",
        "my_pipeline",
        "run",
        "--engine",
        "ray",
        *options,
        stdin=ITEMS,
        check=False,
        RAY_TMPDIR=str(tmp_path),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1


def test_without_ray_one_line_says_how_to_install_it(project: Bake) -> None:
    done = project.python("-m", "my_pipeline", "run", "--engine", "ray", stdin=ITEMS, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: executor 'ray' needs Ray: pip install 'ray[default]'\n"


def test_without_an_engine_resources_and_its_executor_are_refused(bake: Baker) -> None:
    code = (
        "from my_pipeline.pipeline_core import *\nclass W(BaseWorker):\n    def process_item(self, item): return item\n"
    )
    for argument, said in (
        ("resources={'num_gpus': 1}", "resources need an engine that schedules, and this project has none"),
        ("executor='ray'", "executor must be 'thread' or 'process' or 'async', not 'ray'"),
    ):
        done = bake().python("-c", f"{code}PipelineManager().add_worker(W, {argument})", check=False)
        assert done.stderr.splitlines()[-1] == f"ValueError: {said}"
