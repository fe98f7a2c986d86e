"""What the tests of the observers, the profile and the logs need: the parts that an answer adds to a project."""

import atexit
import importlib
import tempfile
from importlib.util import find_spec
from pathlib import Path

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

    A module that it lacks comes from a project that has it, and works on the core of `my_pipeline` all the same.
    """
    needs("observers", *libraries)
    if find_spec(f"my_pipeline.observers.{tool}_metrics") is None:
        observers = importlib.import_module("my_pipeline.observers")
        observers.__path__.append(str(_bake(metrics=tool) / "observers"))
        importlib.invalidate_caches()


def _bake(**answers: str) -> Path:
    """The package folder of a project with these answers, which stays until the interpreter ends."""
    main = pytest.importorskip("cookiecutter.main", reason="cookiecutter is not installed")
    folder = tempfile.TemporaryDirectory(prefix="metrics-")
    atexit.register(folder.cleanup)
    config = Path(folder.name, "config.yaml")
    config.write_text(f"cookiecutters_dir: {folder.name}\nreplay_dir: {folder.name}\n", encoding="utf-8")
    options = {"no_input": True, "output_dir": folder.name, "config_file": str(config)}
    project = main.cookiecutter(str(ROOT), extra_context=answers, **options)
    return Path(project, "src", "my_pipeline")
