"""P6: whatever is written into the stages, only the tests of the stages and of the flow can fail."""

import re
from pathlib import Path

import pytest

from baking import Bake, Baker

BYTES_ONLY = """

def worked_on(item: Any) -> Any:
    if type(item) is not bytes:
        raise TypeError(f"only bytes, not {type(item).__name__}")
    return item
"""
ARRAYS_ONLY = """

def worked_on(item: Any) -> Any:
    import numpy

    rows, columns = item.shape
    return numpy.asarray(item, dtype="float32").reshape(columns, rows)
"""


def write_into_the_stages(project: Bake, code: str) -> None:
    for stage in project.path.glob("src/*/stages/[!_]*.py"):
        text, returns = re.subn(r"return (item|sub)$", r"return worked_on(\1)", stage.read_text("utf-8"), flags=re.M)
        assert returns == 1
        stage.write_text(text + code, encoding="utf-8")


def pytest_in(project: Bake, *arguments: str) -> tuple[int, set[str]]:
    """The exit code of the project's tests, and the files of those that failed."""
    done = project.python(
        *["-m", "pytest", "-q", "-rfE", "-W", "error", "-p", "no:cacheprovider", *arguments], check=False
    )
    return done.returncode, set(re.findall(r"^(?:FAILED|ERROR) ([\w/.]+)", done.stdout, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "answers"),
    [
        (BYTES_ONLY, {}),
        (BYTES_ONLY, {"stage_names": "Detect ships", "sub_task_pool": "none"}),
        (ARRAYS_ONLY, {"stage_names": "Load, scale up, Score", "sub_task_stage": "scale up"}),
    ],
    ids=["bytes alone", "bytes alone in the only stage", "arrays in stages of one's own"],
)
def test_p6_only_the_tests_of_the_stages_and_of_the_flow_know_the_stages(
    code: str, answers: dict[str, str], bake: Baker, tmp_path: Path
) -> None:
    project = bake(**answers).copy(tmp_path)
    write_into_the_stages(project, code)
    own = {file for file in project.files() if re.match(r"tests/(test_pipeline|stages/test_\w+)\.py$", file)}
    assert pytest_in(project, *(f"--ignore={file}" for file in own)) == (0, set())
    assert pytest_in(project, *own) == (1, own)
