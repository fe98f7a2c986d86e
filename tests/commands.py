"""A command of a bake, as a process in a folder of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baking import ROOT, Bake, environment

PATIENCE = 30  # Seconds that `until` waits for what takes milliseconds on an idle machine.
SCRIPTS = ROOT / "tests" / "runtime"  # Commands around pipelines of their own, whatever the project's stages do.


@dataclass(frozen=True)
class Command:
    """`python SCRIPT …` in a folder, with a project's package. stderr goes to the file `stderr` beside that folder."""

    project: Bake
    folder: Path
    script: str
    before: tuple[str, ...] = ()  # A shell, `nohup`, … that starts the command.

    @property
    def seen(self) -> Path:
        """A file that gets a byte for each item that the first stage of `command_to_resume` begins."""
        return self.folder.parent / "seen"

    def start(self, *arguments: str, stdin: str | int | None = None, **settings: str) -> "subprocess.Popen[Any]":
        """Start it. `stdin`: what it reads, as a text, or subprocess.PIPE; default: nothing."""
        self.folder.mkdir(exist_ok=True)
        self.seen.unlink(missing_ok=True)
        (self.folder.parent / "stdin").write_text(stdin if isinstance(stdin, str) else "", encoding="utf-8")
        path = str(self.project.path / "src")
        with (
            (self.folder.parent / "stdin").open("rb") as given,
            (self.folder.parent / "stdout").open("wb") as stdout,
            (self.folder.parent / "stderr").open("wb") as stderr,
        ):
            return subprocess.Popen(
                [*self.before, sys.executable, str(SCRIPTS / self.script), *arguments],
                cwd=self.folder,
                env=environment(PYTHONPATH=path, COLUMNS="200", SEEN=str(self.seen), **settings),
                stdin=stdin if isinstance(stdin, int) else given,
                stdout=stdout,
                stderr=stderr,
            )

    def run(self, *arguments: str, stdin: str | None = None, **settings: str) -> int:
        """Run it to its end. Returns the exit code."""
        with self.start(*arguments, stdin=stdin, **settings) as running:
            return end(running)

    @property
    def stdout(self) -> str:
        return (self.folder.parent / "stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return (self.folder.parent / "stderr").read_text(encoding="utf-8")

    @property
    def one_line(self) -> str:
        """What was said on stderr, which must be one line and no traceback."""
        said = self.stderr
        assert len(said.splitlines()) == 1, said
        assert "Traceback" not in said, said
        return said

    def count_seen(self) -> int:
        return self.seen.stat().st_size if self.seen.exists() else 0

    def files(self) -> dict[str, bytes]:
        """What is in the folder, by name."""
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir()) if path.is_file()}


def end(running: "subprocess.Popen[Any]", number: signal.Signals | None = None) -> int:
    """Signal the process, if that is told, and wait for its end. Returns the exit code."""
    if number is not None:
        running.send_signal(number)
    try:
        return running.wait(60)
    except subprocess.TimeoutExpired:
        running.kill()
        raise


def until(condition: Callable[[], object], running: "subprocess.Popen[Any]") -> None:
    """Return once the condition holds, or the process has ended."""
    patience = time.monotonic() + PATIENCE
    while not condition() and running.poll() is None:
        if time.monotonic() > patience:
            running.kill()
            raise AssertionError("it never came true")
        time.sleep(0.002)
