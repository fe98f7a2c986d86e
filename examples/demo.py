"""`make demo`: bake the default project, lay the digits example on it, and run it.

python examples/demo.py build
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent


def bake_example(name: str, folder: Path, **answers: str) -> Path:
    """Bake a project into `folder` with that example on it. Returns the project."""
    shutil.rmtree(folder / "my-pipeline", ignore_errors=True)
    project = Path(cookiecutter(str(ROOT), no_input=True, extra_context=answers, output_dir=str(folder)))
    shutil.copytree(ROOT / "examples" / name / "overlay", project, dirs_exist_ok=True)
    return project


if __name__ == "__main__":
    project = bake_example("digits", Path(sys.argv[1]))
    environment = os.environ | {"PYTHONPATH": str(project / "src")}
    code = subprocess.run([sys.executable, "run_digits.py"], cwd=project, env=environment).returncode
    print(f"project     {os.path.relpath(project)}")
    sys.exit(code)
