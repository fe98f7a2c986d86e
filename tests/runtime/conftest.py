"""The proof of a bake, against the package in the folder RUNTIME, or against the default project's."""

import atexit
import os
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

_temporary = tempfile.TemporaryDirectory()
atexit.register(_temporary.cleanup)


def _package() -> str:
    config = Path(_temporary.name, "config.yaml")
    config.write_text(f"cookiecutters_dir: {_temporary.name}\nreplay_dir: {_temporary.name}\n", encoding="utf-8")
    root = str(Path(__file__).resolve().parents[2])
    return f"{cookiecutter(root, no_input=True, output_dir=_temporary.name, config_file=str(config))}/src/my_pipeline"


_imported = Path(_temporary.name, "imported")
_imported.mkdir()
(_imported / "my_pipeline").symlink_to(Path(os.environ.get("RUNTIME") or _package()).resolve())
sys.path.insert(0, str(_imported))
os.environ["PYTHONPATH"] = str(_imported)
