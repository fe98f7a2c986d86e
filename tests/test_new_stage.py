"""`my-pipeline new-stage`: a stage that is added later is as one that was asked for when the project was made."""

import subprocess
from pathlib import Path

import pytest

from baking import Bake, Baker

PIPELINE = "src/my_pipeline/pipeline.py"
UNUSUAL = {
    "a loop": """
def build_pipeline():
    pipeline = PipelineManager()
    for worker in (AWorker, CWorker):
        pipeline.add_worker(worker)
    return pipeline
""",
    "a chain": """
def build_pipeline():
    return PipelineManager().add_worker(AWorker).add_worker(CWorker)
""",
    "a condition at the end": """
def build_pipeline(settings):
    pipeline = PipelineManager()
    pipeline.add_worker(AWorker)
    if settings.last:
        pipeline.add_worker(CWorker)
    return pipeline
""",
    "statements on one line": """
def build_pipeline():
    pipeline = PipelineManager()
    pipeline.add_worker(AWorker); pipeline.add_worker(CWorker); return pipeline
""",
}
IMPORTS = """
from .pipeline_core import PipelineManager
from .stages.a import AWorker
from .stages.c import CWorker
"""


@pytest.fixture
def project(bake: Baker, tmp_path: Path) -> Bake:
    """Two stages, a and c, and a pool for c."""
    return bake(project_name="My Pipeline", stage_names="a, c", sub_task_stage="c").copy(tmp_path)


def new_stage(project: Bake, *arguments: str) -> subprocess.CompletedProcess[str]:
    return project.python("-m", project.package, "new-stage", *arguments, check=False)


def contents(project: Bake) -> dict[str, str]:
    return {file: project.text(file) for file in project.files() if "_cache" not in file}


def code(project: Bake) -> dict[str, str]:
    """Without the README, whose picture shows the stages that were asked for."""
    return {file: text for file, text in contents(project).items() if file.endswith(".py")}


def test_a_stage_that_is_added_is_as_one_that_was_asked_for(project: Bake, bake: Baker) -> None:
    done = new_stage(project, "b", "--after", "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert code(project) == code(bake(project_name="My Pipeline", stage_names="a, b, c", sub_task_stage="c"))


def test_without_after_it_comes_last(project: Bake, bake: Baker) -> None:
    assert new_stage(project, "Quality control").returncode == 0
    asked = bake(project_name="My Pipeline", stage_names="a, c, Quality control", sub_task_stage="c")
    assert code(project) == code(asked)


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_a_stage_with_a_pool_is_as_one_that_was_asked_for(pool: str, bake: Baker, tmp_path: Path) -> None:
    answers = {"project_name": "My Pipeline", "sub_task_pool": pool}
    project = bake(stage_names="b, c", sub_task_stage="c", **answers).copy(tmp_path)
    assert new_stage(project, "a 10", "--after", "b", "--pool").returncode == 0
    asked = bake(stage_names="b, a 10, c", sub_task_stage="a 10", **answers)
    files = ["src/my_pipeline/stages/a_10.py", "tests/stages/test_a_10.py"]
    assert [project.text(file) for file in files] == [asked.text(file) for file in files]
    added = asked.text(PIPELINE).split('name="b", workers=1)\n')[1].split("    pipeline.add_worker(CWorker")[0]
    assert added in project.text(PIPELINE)
    assert project.text(PIPELINE).count("sub_workers") == 2


@pytest.mark.parametrize("name", ["step 2", "step 10", "Step 3", "aa", "../d/", "x" * 30])
def test_the_project_stays_clean_and_its_tests_of_stages_pass(name: str, bake: Baker, tmp_path: Path) -> None:
    project = bake(stage_names="step 1, step 4", project_name="My Pipeline").copy(tmp_path)
    assert new_stage(project, name).returncode == 0
    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--no-cache", "--check")
    project.python(
        "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests/stages", "tests/test_pipeline.py"
    )


@pytest.mark.slow
def test_the_project_stays_typed(project: Bake) -> None:
    assert new_stage(project, "b", "--pool").returncode == 0
    project.run("mypy", "src")


def test_the_layout_and_the_comments_of_pipeline_py_stay(project: Bake) -> None:
    """A manager of another name, calls over several lines, a comment behind them, line ends of Windows, no name=."""
    head = "from .stages.a import AWorker  # The first.\r\nfrom .stages.c import CWorker\r\n"
    body = (
        '    flow  =  PipelineManager()\r\n    flow.add_worker(\r\n        AWorker,  workers = 2 )  # Größe: "two"\r\n'
    )
    tail = "    # The end.\r\n    flow.add_worker(CWorker)\r\n    # flow.add_worker(Old)\r\n    return flow\r\n"
    build = "\r\n\r\ndef build_pipeline() -> PipelineManager:\r\n"
    core = "from .pipeline_core import PipelineManager\r\n"
    (project.path / PIPELINE).write_bytes((core + head + build + body + tail).encode())
    assert new_stage(project, "b", "--after", "a").returncode == 0
    head = head.replace("from .stages.c", "from .stages.b import BWorker\r\nfrom .stages.c")
    call = '    flow.add_worker(BWorker, name="b", workers=1)\r\n'
    assert (project.path / PIPELINE).read_bytes().decode() == core + head + build + body + call + tail
    assert new_stage(project, "d").returncode == 0
    assert 'CWorker)\r\n    flow.add_worker(DWorker, name="d", workers=1)\r\n    # flow' in (
        (project.path / PIPELINE).read_bytes().decode()
    )


@pytest.mark.parametrize("build", UNUSUAL.values(), ids=UNUSUAL)
def test_where_there_is_no_clear_place_it_says_the_lines_to_add(build: str, project: Bake) -> None:
    (project.path / PIPELINE).write_text(IMPORTS + build)
    done = new_stage(project, "b")
    assert done.returncode == 1
    lines = 'from .stages.b import BWorker\npipeline.add_worker(BWorker, name="b", workers=1)\n'
    assert done.stderr.endswith(f"so add there:\n{lines}")
    assert project.text(PIPELINE) == IMPORTS + build
    assert (project.path / "src/my_pipeline/stages/b.py").exists()
    assert (project.path / "tests/stages/test_b.py").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["a"], "'a' is taken"),
        (["A!"], "'A!' is taken"),
        (["json logs"], "'json logs' is taken"),
        (["pipelinecore"], "'pipelinecore' is taken"),
        (["base"], "'base' is taken"),
        (["Source"], "'Source' is taken"),
        (["consumer"], "'consumer' is taken"),
        (["my pipeline"], "'my pipeline' is taken"),
        (["class"], "'class' is no name"),
        (["2 b"], "'2 b' is no name"),
        (["🙂"], "'🙂' is no name"),
        (["w" * 31], "' is no name"),
        (["b", "--after", "z"], "there is no stage 'z'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_changes(
    arguments: list[str], why: str, project: Bake
) -> None:
    before = contents(project)
    done = new_stage(project, *arguments)
    assert done.returncode == 2
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert contents(project) == before


def test_asked_twice_nothing_changes(project: Bake) -> None:
    assert new_stage(project, "b").returncode == 0
    before = contents(project)
    done = new_stage(project, "B")
    assert (done.returncode, done.stderr) == (2, "error: 'B' is taken in this project: choose another name\n")
    assert contents(project) == before


@pytest.mark.parametrize("call", ['pipeline.add_worker(AWorker, name="b")', "pipeline.add_worker(BWorker)"])
def test_a_name_that_pipeline_py_uses_without_a_file_is_taken(call: str, project: Bake) -> None:
    with (project.path / PIPELINE).open("a") as file:
        file.write(f"\n\ndef another(pipeline: PipelineManager) -> None:\n    {call}\n")
    before = contents(project)
    done = new_stage(project, "b")
    assert (done.returncode, done.stderr) == (2, "error: 'b' is taken in this project: choose another name\n")
    assert contents(project) == before


def test_a_pool_is_refused_where_the_project_has_none(bake: Baker, tmp_path: Path) -> None:
    project = bake(sub_task_pool="none").copy(tmp_path)
    before = contents(project)
    done = new_stage(project, "b", "--pool")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --pool: this project has no pool")
    assert done.stderr.count("\n") == 1
    assert contents(project) == before
    assert "--pool" not in new_stage(project, "--help").stdout
