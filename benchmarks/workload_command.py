"""A project's whole command beside a plain loop: each a process, from its start to its end."""

import filecmp
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cookiecutter.main import cookiecutter

LINES = 200_000
LENGTH = 160  # Bytes of a line.
LOOP = """
import json, sys
with open(sys.argv[1], encoding="utf-8") as source, open(sys.argv[2], "w", encoding="utf-8") as sink:
    for line in source:
        sink.write(json.dumps(json.loads(line)) + "\\n")
"""


def process_seconds(peer: str, core: Path, lines: int) -> tuple[float, float]:
    """Seconds of wall and of CPU time. The project of the template that this core is part of is baked first."""
    with tempfile.TemporaryDirectory() as folder:
        source, sink = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        write_lines(source, lines)
        if peer == "loop":
            command = [sys.executable, "-c", LOOP, str(source), str(sink)]
        else:
            bake(core.parents[3], Path(folder))
            command = [sys.executable, "-m", "my_pipeline", "run", str(source), "-o", str(sink)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPATH"] = str(Path(folder) / "my-pipeline" / "src")
        if peer != "loop":  # So that its modules are compiled, as of the second time on.
            run([*command, "--limit", "1"], environment)
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        run(command, environment)
        seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        if not filecmp.cmp(source, sink, shallow=False):
            raise AssertionError(f"{peer} gave other lines than the plain loop")
        return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_lines(path: Path, lines: int) -> None:
    """Lines as `json.dumps` writes them, so that a loop gives them back as they are."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            item = {"id": number, "name": f"item {number}", "value": number / 7, "tags": ["a", "b", "c"], "ok": True}
            padding = LENGTH - len(json.dumps(item | {"text": ""})) - 1
            file.write(json.dumps(item | {"text": "x" * padding}) + "\n")


def bake(template: Path, folder: Path) -> None:
    """From a template's folder, into another one."""
    config = folder / "config.yaml"
    config.write_text(f"cookiecutters_dir: {folder}\nreplay_dir: {folder}\n", encoding="utf-8")
    cookiecutter(str(template), no_input=True, output_dir=str(folder), config_file=str(config))


def run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
