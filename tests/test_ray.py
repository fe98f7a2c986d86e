"""R15 and SPEC's "more than one machine": the runtime and the command on a real Ray, in an environment of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from baking import ROOT, Bake, Baker, environment
from demo import bake_example
from pythons import environment_of
from test_scaling import commands_of

OF_A_BAKE = [
    "backports.zstd; python_version < '3.14'",
    "msgspec",
    "pydantic",
    "pytest",
    "ray[default]",
    "rich",
    "typer",
]
PACKAGES = [*OF_A_BAKE, "pillow", "scikit-learn"]  # These for the digits example.
HOME = ROOT / "build" / "ray-home"  # Where Ray keeps its token.
ITEMS = "".join(json.dumps({"id": number}) + "\n" for number in range(300))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info >= (3, 14) or sys.platform == "win32", reason="there is no Ray for it yet"),
]


def python_with_ray() -> str:
    """In an environment of its own: what Ray pins is not what the other tools need."""
    return str(environment_of(sys.executable, "ray", *PACKAGES) / "bin" / "python")


@contextmanager
def one_at_a_time() -> Iterator[str]:
    """One test with Ray at a time, also of those beside this process: `--address auto` finds whichever runs here."""
    import fcntl  # Not on Windows.

    HOME.mkdir(parents=True, exist_ok=True)
    with open(f"{HOME}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = python_with_ray()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(HOME))
            yield python


@pytest.fixture
def python() -> Iterator[str]:
    with one_at_a_time() as python:
        yield python


def a_ray_of_others_runs() -> bool:
    return subprocess.run(["pgrep", "gcs_server"], capture_output=True).returncode == 0


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


@pytest.mark.timeout(1500)  # Some 3 minutes, or 10 beside what else loads the machine.
def test_r15_the_runtime_on_a_cluster(python: str, project: Bake) -> None:
    command = [python, "-m", "pytest", "-q", "--noconftest", "-o", "addopts=", "--import-mode=importlib"]
    path = os.pathsep.join([str(project.path / "src"), str(ROOT / "tests" / "runtime")])
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "tests/runtime/on_ray.py"],
        cwd=ROOT,
        env=environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=1300,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def interrupted_and_resumed(python: str, project: Bake, folder: Path, *engine: str) -> tuple[Any, Any]:
    """A run that Ctrl-C ends in its middle, and one that goes on with it. Returns the items and the results."""
    given, out = folder / "in.jsonl", folder / "out.jsonl"
    items = [{"id": 100 + number, "seconds": 0.02} for number in range(300)]
    given.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    command = [python, "-m", "my_pipeline", "run", str(given), "-o", str(out), "--engine", "ray", *engine]
    run = subprocess.Popen(
        command,
        cwd=project.path,
        env=environment(PYTHONPATH="src"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 90
    part = folder / "out.jsonl.part"
    while not (part.exists() and part.stat().st_size):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)  # As a terminal does it: processes that this run has started get it, too.
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "Traceback" not in said
    project.run(*command, "--resume")
    return items, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_ctrl_c_ends_a_run_on_ray_and_resume_goes_on(python: str, project: Bake, tmp_path: Path) -> None:
    items, results = interrupted_and_resumed(python, project, tmp_path)
    assert results == items


PIPELINE = """
import sys
from threading import Lock
from my_pipeline.cli import main
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

class Worker(BaseWorker):
    def __init__(self, lock=None): pass
    def process_item(self, item): return item

def build_pipeline(*, on_error="stop", on_dead_letter=None):
    pipeline = PipelineManager(on_error=on_error, on_dead_letter=on_dead_letter)
    return pipeline.add_worker(Worker, name="model", executor="ray", {})

main(build_pipeline)
"""


ABORTED = """
import sys
import ray
from my_pipeline.ray_crew import connect

tried = []

def init(**options):
    tried.append(options)
    if len(tried) <= int(sys.argv[1]):
        raise ConnectionAbortedError("Initialization failure from server:\\nTraceback:\\nRuntimeError: it died")

ray.init = init
try:
    connect("ray://somewhere")
except ValueError as error:
    print(error)
print(len(tried))
"""


@pytest.mark.parametrize(
    ("times", "said"), [(2, "3\n"), (3, "there is no Ray at ray://somewhere: RuntimeError: it died\n3\n")]
)
def test_a_client_whose_server_dies_at_its_start_tries_again(times: int, said: str, python: str, project: Bake) -> None:
    """As Ray's own does now and then, where it forks while gRPC works: no test can have it do so."""
    assert project.run(python, "-c", ABORTED, str(times)).stdout == said


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="class")
def run(project: Bake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """What runs a command on two nodes on this machine, which are started as docs/scaling.md says."""
    install, *commands = commands_of("A cluster of two nodes")
    generate, *starts = (command for command in commands if command[0] == "ray")
    setting, _, value = install[-1].partition("=")
    with one_at_a_time() as python, pytest.MonkeyPatch.context() as patch, ExitStack() as at_the_end:
        patch.setenv(setting, value)
        if a_ray_of_others_runs():
            pytest.skip("another Ray runs on this machine, which is what auto looks for")
        ray = str(Path(python).parent / "ray")
        (HOME / ".ray" / "auth_token").unlink(missing_ok=True)
        subprocess.run([ray, *generate[1:]], env=environment(), capture_output=True, check=True)
        for start in starts:
            options = [option.replace("FIRST", "127.0.0.1") for option in start[1:]]
            options += ["--include-dashboard=false"] * ("--head" in start)
            log = at_the_end.enter_context(open(tmp_path_factory.mktemp("ray") / "log", "w+b"))
            node = subprocess.Popen(
                [ray, *options, "--block", "--num-cpus=2"],
                env=environment(PYTHONPATH=str(project.path / "src")),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            at_the_end.callback(node.wait, 30)
            at_the_end.callback(node.terminate)
            deadline = time.monotonic() + 60
            while b"--block" not in (said := Path(log.name).read_bytes()):
                assert time.monotonic() < deadline, said
                assert node.poll() is None, said
                time.sleep(0.1)
            assert b"authentication is disabled" not in said

        def run(*command: str, project: Bake = project, **more: Any) -> "subprocess.CompletedProcess[str]":
            return project.run(python, *command, **more)

        yield run


class TestOnACluster:
    @pytest.mark.parametrize("address", ["auto", "ray://127.0.0.1:10001"])
    def test_the_command_of_the_page(self, address: str, run: Run, project: Bake, tmp_path: Path) -> None:
        (command,) = (command for command in commands_of("A cluster of two nodes") if command[0] == "my-pipeline")
        items = ITEMS.replace('{"id": 7}\n', "")
        (tmp_path / "in.jsonl").write_text(items, encoding="utf-8")
        options = [address if option == "auto" else option.replace("=16", "=2") for option in command[1:]]
        options = [str(tmp_path / option) if option.endswith(".jsonl") else option for option in options]
        run("-m", "my_pipeline", *options)
        assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == items

    def test_the_command_gives_what_it_gives_in_threads(self, run: Run, tmp_path: Path) -> None:
        """Results alone on stdout; the same dead letters and exit code; what is printed on the machines goes to stderr."""
        found = []
        for engine in (["threads"], ["ray", "--address", "auto"]):
            letters = tmp_path / f"{engine[0]}.jsonl"
            options = ["--on-error", "skip", "--dead-letters", str(letters), "--workers", "model_inference=2"]
            done = run("-m", "my_pipeline", "run", *options, "--engine", *engine, stdin=ITEMS, check=False)
            assert "seen 7\n" in done.stderr
            found.append((done.returncode, done.stdout, letters.read_text(encoding="utf-8")))
        threads, on_ray = found
        assert on_ray == threads
        assert (on_ray[0], on_ray[1].count("\n")) == (1, 299)

    def test_a_retry_gives_what_it_gives_in_threads(self, run: Run, tmp_path: Path) -> None:
        dead = tmp_path / "dead.jsonl"
        options = ["--on-error", "skip", "--dead-letters", str(dead)]
        run("-m", "my_pipeline", "run", *options, stdin='{"id": 6}\n{"id": 7}\n', check=False)
        letters = []
        for options in (["--engine", "threads"], ["--engine", "ray", "--address", "auto"]):
            more = tmp_path / f"{options[1]}.jsonl"
            done = run("-m", "my_pipeline", "retry", str(dead), "--dead-letters", str(more), *options, check=False)
            assert (done.returncode, done.stdout) == (1, "")
            letters.append([json.loads(line) for line in more.read_text(encoding="utf-8").splitlines()])
        assert letters[0][0]["item"] == {"id": 7}
        assert letters[0] == letters[1]

    def test_a_profile_tries_actors(self, run: Run, tmp_path: Path) -> None:
        script = tmp_path / "command.py"
        script.write_text(PIPELINE.replace("{}", "").replace(', executor="ray"', ""), encoding="utf-8")
        options = ["--engine", "ray", "--address", "auto", "--most", "2"]
        done = run(str(script), "profile", *options, stdin=ITEMS)
        assert re.search(r"^model .* (wait|compute) \(\d+% CPU\), ray *$", done.stdout, re.MULTILINE)
        assert re.search(r"^plan: --workers model=[12]$", done.stdout, re.MULTILINE)

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            ("resources={'num_gpus': 4}", 2, "resources: the stages need 4 GPU, and Ray has 0"),
            (
                "worker_args={'lock': Lock()}",
                1,
                "stage 'model' failed in setup: TypeError: cannot pickle '_thread.lock'",
            ),
        ],
    )
    def test_what_it_cannot_have_is_one_line(
        self, arguments: str, code: int, said: str, run: Run, tmp_path: Path
    ) -> None:
        script = tmp_path / "command.py"
        script.write_text(PIPELINE.replace("{}", arguments), encoding="utf-8")
        out = tmp_path / "out.jsonl"
        done = run(str(script), "run", "-q", "-o", str(out), stdin=ITEMS, check=False, RAY_ADDRESS="auto")
        assert done.returncode == code
        assert done.stderr.startswith(f"error: {said}")
        assert done.stderr.count("\n") == 1
        assert not list(tmp_path.glob("out*"))

    def test_a_run_without_order_goes_on_where_ctrl_c_has_ended_it(
        self, run: Run, project: Bake, tmp_path: Path
    ) -> None:
        project = project.copy(tmp_path)
        pipeline = project.path / "src/my_pipeline/pipeline.py"
        code = pipeline.read_text(encoding="utf-8")
        assert "queue_size=250," in code
        pipeline.write_text(code.replace("queue_size=250,", "queue_size=250, ordered=False,"), encoding="utf-8")
        python = python_with_ray()
        items, results = interrupted_and_resumed(python, project, tmp_path, "--address", "auto")
        assert sorted(results, key=lambda item: item["id"]) == items

    def test_the_digits_are_what_they_are_in_threads(self, run: Run, tmp_path: Path) -> None:
        bake_example("digits", tmp_path, scale_out="ray")
        digits = Bake(tmp_path / "my-pipeline", "my_pipeline")
        run("run_digits.py", project=digits)
        expected = digits.text("outputs/predictions.jsonl")
        script = digits.text("run_digits.py")
        moved = script.replace(
            "(Settings(model_file=MODEL))", "(Settings(model_file=MODEL.resolve())).tune(executor='ray')"
        )
        assert moved != script
        (digits.path / "run_digits.py").write_text(moved, encoding="utf-8")
        run("run_digits.py", project=digits, RAY_ADDRESS="auto")
        assert digits.text("outputs/predictions.jsonl") == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--address", "auto"], "there is no Ray at auto: Could not find any running Ray instance"),
        (["--address", "ray://127.0.0.1:1"], "there is no Ray at ray://127.0.0.1:1: [Errno 111] Connection refused"),
        (["--serial"], "--serial runs all in one thread: leave --engine ray out"),
    ],
)
def test_bad_usage_is_one_line(options: list[str], said: str, python: str, project: Bake, tmp_path: Path) -> None:
    if "auto" in options and a_ray_of_others_runs():
        pytest.skip("another Ray runs on this machine, which is what auto looks for")
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


@pytest.mark.parametrize("version", ["", "2.39.0"])
def test_without_ray_or_with_an_old_one_one_line_says_how_to_install_it(
    version: str, project: Bake, tmp_path: Path
) -> None:
    """The old one: a package of that version, which has nothing that the command would need."""
    if version:
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray/__init__.py").write_text(f"__version__ = {version!r}\n", encoding="utf-8")
        (tmp_path / "ray/cloudpickle.py").write_text("dumps = None\n", encoding="utf-8")
    path = os.pathsep.join(["src", str(tmp_path)])
    for command in ("run", "profile"):
        done = subprocess.run(
            [sys.executable, "-m", "my_pipeline", command, "--engine", "ray"],
            cwd=project.path,
            env=environment(PYTHONPATH=path),
            input=ITEMS,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "error: executor 'ray' needs Ray 2.40 or newer: pip install 'ray[default]'\n"


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
