"""A rendered project, and what a test may ask of it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def environment(**more: str) -> dict[str, str]:
    """Ours, with the tools beside this Python first, and no setting of Python's that a user would not have."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV"))}
    kept["PRE_COMMIT_HOME"] = str(ROOT / "build" / "pre-commit")  # Nothing outside of the checkout.
    return kept | {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1", **more}


@dataclass(frozen=True)
class Bake:
    """A rendered project."""

    path: Path
    package: str

    def files(self) -> set[str]:
        """The files, relative to the project, with '/'."""
        return {path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file()}

    def text(self, file: str) -> str:
        return (self.path / file).read_text(encoding="utf-8")

    def run(
        self, *command: str, check: bool = True, stdin: str = "", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, whose package can be imported. `check`: exit code 0, or the test fails."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=environment(PYTHONPATH="src", **settings),
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )
        assert not check or done.returncode == 0, f"{command} exits with {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def python(
        self, *arguments: str, check: bool = True, stdin: str = "", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, *arguments, check=check, stdin=stdin, **settings)

    def copy(self, folder: Path) -> "Bake":
        """One of your own, to write into."""
        return Bake(Path(shutil.copytree(self.path, folder / self.path.name)), self.package)


def bake_default(folder: Path) -> Path:
    """The default project, baked into that folder, where cookiecutter's own files go, too."""
    from cookiecutter.main import cookiecutter

    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "cookiecutter.yaml"
    config.write_text(f"cookiecutters_dir: {folder.as_posix()}\nreplay_dir: {folder.as_posix()}\n", encoding="utf-8")
    return Path(cookiecutter(str(ROOT), no_input=True, output_dir=str(folder), config_file=str(config)))


Baker = Callable[..., Bake]

if __name__ == "__main__":
    bake_default(Path(sys.argv[1]))
