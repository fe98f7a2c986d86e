"""What the tests of the observers, the profile and the logs need: the parts that an answer adds to a project."""

import atexit
import importlib
import shutil
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from baking import ROOT


def needs(module: str, *libraries: str) -> None:
    """Skip the tests of the calling module where `my_pipeline` lacks `module`, such as "observers.trace".

    The same where a library is missing, as on another Python than that of this repository's tools.
    """
    for library in libraries:
        pytest.importorskip(library, reason=f"{library} is not installed")
    if find_spec(f"my_pipeline.{module}") is None:
        pytest.skip(f"this project has no {module}: no answer asked for it", allow_module_level=True)


def needs_metrics(tool: str, *libraries: str) -> None:
    """Make `observers.TOOL_metrics` importable from `my_pipeline`, whose project has the metrics of one tool at most.

    A project that was not asked for them gets the modules of one that was. They work on its own core all the same.
    """
    needs("observers", *libraries)
    if find_spec(f"my_pipeline.observers.{tool}_metrics") is None:
        folder = _temporary_folder()
        for module in (f"{tool}_metrics.py", "instruments.py"):
            shutil.copy2(_bake(metrics=tool) / "observers" / module, folder)
        importlib.import_module("my_pipeline.observers").__path__.append(str(folder))
        importlib.invalidate_caches()


def tuning(verdict: Any) -> dict[str, Any]:
    """The changes of a verdict that need no other code, as arguments of `PipelineManager.tune`."""
    stages = [change for change in verdict.changes if change.part not in ("source", "consumer")]
    workers = {change.part: change.then for change in stages if change.setting in ("workers", "sub_workers")}
    sizes = [change.then for change in stages if change.setting == "queue_size"]
    return {"workers": workers, "queue_size": max(sizes, default=None)}


@cache
def _bake(**answers: str) -> Path:
    """The package's folder of a project with these answers."""
    main = pytest.importorskip("cookiecutter.main", reason="cookiecutter is not installed")
    folder = _temporary_folder()
    config = folder / "config.yaml"
    config.write_text(f"cookiecutters_dir: {folder.as_posix()}\nreplay_dir: {folder.as_posix()}\n", encoding="utf-8")
    options = {"no_input": True, "output_dir": str(folder), "config_file": str(config)}
    project = main.cookiecutter(str(ROOT), extra_context=answers, **options)
    return Path(project, "src", "my_pipeline")


def _temporary_folder() -> Path:
    """A folder that stays until the interpreter ends."""
    folder = tempfile.TemporaryDirectory(prefix="metrics-")
    atexit.register(folder.cleanup)
    return Path(folder.name).resolve()
