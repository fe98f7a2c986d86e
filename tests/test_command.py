"""The command of a bake, as a user of shells and pipes knows commands: exit codes, streams, files (P1, section 6)."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from baking import Bake, Baker, environment

pytestmark = pytest.mark.timeout(60)  # A command that waits for what never comes would wait on.
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and named pipes of POSIX")


@pytest.fixture(scope="module")
def project(bake: Baker, tmp_path_factory: pytest.TempPathFactory) -> Bake:
    return bake().copy(tmp_path_factory.mktemp("command"))


def start(project: Bake, *arguments: str, **more: str) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", project.package, "run", *arguments]
    env = environment(PYTHONPATH="src", **more)
    return subprocess.Popen(command, cwd=project.path, env=env, text=True, encoding="utf-8", **pipes)  # type: ignore[call-overload, no-any-return]


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_its_code_its_output_and_its_report(
    number: int, code: int, project: Bake, tmp_path: Path
) -> None:
    with start(project, "--on-error=skip", "--dead-letters", str(tmp_path / "letters")) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write('oops\n{"a": 1}\n')
        running.stdin.flush()
        assert running.stdout.readline() == '{"a": 1}\n'
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert running.returncode == code
    assert [path.name for path in tmp_path.iterdir()] == ["letters.part"]
    assert json.loads((tmp_path / "letters.part").read_text(encoding="utf-8"))["item"] == "oops"
    assert "stopped after" in said
    assert "Traceback" not in said
    assert said.endswith(f"incomplete: what was written is in {tmp_path / 'letters.part'}\n")


@posix
def test_a_second_signal_ends_the_run_at_once_whichever_it_is(project: Bake, tmp_path: Path) -> None:
    copy = project.copy(tmp_path)
    stage = copy.path / "src/my_pipeline/stages/model_inference.py"
    code = "import sys\nimport time\n" + stage.read_text(encoding="utf-8")
    sleeping = "print('asleep', file=sys.stderr, flush=True)\n        time.sleep(50)\n        return item"
    stage.write_text(code.replace("return item", sleeping), encoding="utf-8")
    for first, second in [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)] * 6:
        with start(copy) as running:
            assert running.stdin is not None
            assert running.stderr is not None
            running.stdin.write("1\n")
            running.stdin.flush()
            assert running.stderr.readline() == "asleep\n"
            running.send_signal(first)
            running.send_signal(second)  # At whatever moment: the main thread may just be going to sleep.
            assert running.communicate(timeout=20) == ("", "")
        assert running.returncode == 143


@posix
def test_a_reader_that_leaves_ends_the_run_quietly(project: Bake) -> None:
    with start(project, "--quiet") as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write("1\n2\n")
        running.stdin.flush()
        assert running.stdout.readline() == "1\n"
        running.stdout.close()
        running.stdin.write("3\n")
        running.stdin.close()
        assert running.stderr is not None
        assert running.stderr.read() == ""
    assert running.returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [["missing.jsonl"], ["src"], ["-o", "missing/out"], ["-o", "src"], ["-o", ""], ["--dead-letters", "src"]],
)
def test_a_file_that_cannot_be_opened_is_bad_usage_in_one_line(arguments: list[str], project: Bake) -> None:
    before = project.files()
    done = project.python("-m", project.package, "run", *arguments, check=False, stdin="1\n")
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(
        r"error: (cannot open .+: .+|no file fits src|.+ is a folder: .+|.+ needs a name)\n", done.stderr
    )
    assert project.files() == before


def test_an_unknown_option_is_bad_usage(project: Bake) -> None:
    assert project.python("-m", project.package, "run", "--wokers=3", check=False).returncode == 2


def test_a_run_in_which_items_failed_exits_with_1_and_says_how_many(project: Bake) -> None:
    done = project.python("-m", project.package, "run", "--on-error=skip", check=False, stdin="1\nx\n" + "[" * 99_999)
    assert (done.returncode, done.stdout) == (1, "1\n")
    assert "1 delivered, 2 failed" in done.stderr
    assert "line 2" in done.stderr


def test_a_result_that_json_cannot_hold_stops_the_run_and_says_which(project: Bake, tmp_path: Path) -> None:
    copy = project.copy(tmp_path)
    stage = copy.path / "src/my_pipeline/stages/model_inference.py"
    stage.write_text(copy.text("src/my_pipeline/stages/model_inference.py").replace("return item", "return {item}"))
    done = copy.python("-m", copy.package, "run", "-q", check=False, stdin="1\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: the consumer failed .+ on item 0: \{1\}: TypeError: .+\n", done.stderr)


def test_serial_stays_in_the_main_thread_and_debug_shows_where_it_failed(project: Bake, tmp_path: Path) -> None:
    copy = project.copy(tmp_path)
    stage = "src/my_pipeline/stages/model_inference.py"
    code = "import threading\n" + copy.text(stage).replace(
        "return item", "return threading.current_thread().name[item]"
    )
    (copy.path / stage).write_text(code.replace("[item]", "[: 100 // item]"))
    run = ("-m", copy.package, "run", "--quiet")
    assert copy.python(*run, "--serial", stdin="1\n").stdout == '"MainThread"\n'
    assert "MainThread" not in copy.python(*run, stdin="1\n").stdout
    assert "ZeroDivisionError" in copy.python(*run, check=False, stdin="0\n").stderr
    assert "Traceback" not in copy.python(*run, check=False, stdin="0\n").stderr
    assert "model_inference.py" in copy.python(*run, "--debug", check=False, stdin="0\n").stderr


def test_stdout_is_utf_8_whatever_the_terminal_takes(project: Bake) -> None:
    with start(project, "-q", "-o", "-", PYTHONIOENCODING="ascii", PYTHONUTF8="0") as running:
        assert running.communicate('"é"\n', timeout=60) == ('"é"\n', "")


@posix
def test_a_named_pipe_or_a_link_stays_what_it_is(project: Bake, tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    link.symlink_to(tmp_path / "out.jsonl")
    for output in (pipe, link):
        project.python("-m", project.package, "run", "-o", str(output), stdin="1\n")
    reader.join(10)
    assert read == ["1\n"]
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out.jsonl", "pipe"]


def test_skipped_items_go_to_the_dead_letters(project: Bake, tmp_path: Path) -> None:
    letters = tmp_path / "letters"
    project.python(
        *["-m", project.package, "run", "--on-error=skip", "--dead-letters", str(letters)], check=False, stdin="1\nx\n"
    )
    (letter,) = map(json.loads, letters.read_text(encoding="utf-8").splitlines())
    assert letter["item"] == "x"
    assert letter["stage"] is None or "line 2" in letter["error"]


def test_help_says_what_the_exit_codes_mean(project: Bake) -> None:
    said = project.python("-m", project.package, "run", "--help").stdout
    assert all(code in said for code in ("0 all well", "130 Ctrl-C"))
    assert "[[" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full, which Linux has")
def test_a_run_that_fails_and_cannot_write_its_report_says_both(project: Bake, tmp_path: Path) -> None:
    report = tmp_path / "run.json"
    report.symlink_to("/dev/full")
    done = project.python(
        *["-m", project.package, "run", "--quiet", "--report", str(report)], check=False, stdin="1\noops\n"
    )
    assert (done.returncode, done.stdout) == (1, "1\n")
    assert f"cannot write {report}: No space left on device" in done.stderr
    assert "error: the source failed" in done.stderr
    assert "line 2" in done.stderr
