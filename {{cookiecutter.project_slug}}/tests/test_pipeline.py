"""The whole flow{{ ', and the command around it' if cookiecutter.command_line }}."""

{% if cookiecutter.command_line -%}
import json
import os
import subprocess
import sys
from pathlib import Path

{% endif -%}
from {{ cookiecutter.package_name }}.pipeline import (
    build_pipeline,
)
{%- if cookiecutter.command_line %}

PROJECT = Path(__file__).parent.parent


def command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "src"), "PYTHONUTF8": "1"}
    call = [sys.executable, "-m", "{{ cookiecutter.package_name }}", *arguments]
    return subprocess.run(
        call, input=stdin, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=60
    )
{%- endif %}


def test_every_item_comes_out_once_and_in_order() -> None:
    items = [{"id": number} for number in range(1000)]
    assert list(build_pipeline().run(items)) == items


def test_threads_give_what_the_plain_loop_gives() -> None:
    items = [{"id": number} for number in range(100)]
    assert list(build_pipeline().run(items)) == list(build_pipeline().run(items, serial=True))
{%- if cookiecutter.command_line %}


def test_the_command_reads_stdin_and_writes_stdout() -> None:
    done = command("run", "--quiet", stdin='{"a": 1}\n{"a": 2}\n')
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"a": 1}, {"a": 2}]


def test_the_command_reads_and_writes_files(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"a": "é"}\n', encoding="utf-8")
    done = command("run", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == '{"a": "é"}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_line_that_is_no_json_stops_the_run_and_says_where(tmp_path: Path) -> None:
    done = command("run", "-o", str(tmp_path / "out.jsonl"), stdin='{"a": 1}\nnot json\n{"a": 3}\n')
    assert done.returncode == 1
    assert "line 2" in done.stderr
    assert (tmp_path / "out.jsonl.part").read_text(encoding="utf-8") == '{"a": 1}\n'


def test_a_skipped_line_becomes_a_dead_letter(tmp_path: Path) -> None:
    letters = tmp_path / "dead.jsonl"
    done = command("run", "--on-error", "skip", "--dead-letters", str(letters), stdin='{"a": 1}\nnot json\n{"a": 3}\n')
    assert done.returncode == 1
    assert done.stdout == '{"a": 1}\n{"a": 3}\n'
    assert json.loads(letters.read_text(encoding="utf-8"))["item"] == "not json"


def test_a_file_that_is_not_there_is_bad_usage(tmp_path: Path) -> None:
    done = command("run", str(tmp_path / "missing.jsonl"))
    assert done.returncode == 2
    assert "cannot open" in done.stderr
{%- endif %}
