"""T11: a project is small enough to read."""

import ast

from baking import Baker

MOST_LINES_OF_TESTS = 1_500
MOST_LINES_OF_A_MODULE = 250  # In the core.
MOST_LINES_OF_THE_READING_PATH = 650
MOST_LINES_FOR_RAY = 300
READING_PATH = ("lane.py", "channel.py", "stage.py", "source.py", "run.py")  # As the core's README has it.


def lines_of_code(source: str) -> int:
    """Lines that are neither blank, nor a comment, nor part of a docstring."""
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                skipped |= {*range(first.lineno, (first.end_lineno or first.lineno) + 1)}
    lines = [line.strip() for line in source.splitlines()]
    return sum(bool(line) and not line.startswith("#") for number, line in enumerate(lines, 1) if number not in skipped)


def test_t11_blank_lines_comments_and_docstrings_are_no_code() -> None:
    source = '"""One\n\ntwo."""\n\n# Three.\nx = """four\n\nfive"""\n\n\ndef six() -> None:\n    """Seven."""\n'
    assert lines_of_code(source) == 3


def test_t11_the_tests_of_a_default_project_are_small(bake: Baker) -> None:
    project = bake()
    counts = {file: lines_of_code(project.text(file)) for file in project.files() if file.startswith("tests/")}
    assert sum(counts.values()) <= MOST_LINES_OF_TESTS, counts


def test_t11_the_core_is_read_file_by_file_and_one_item_is_followed_through_five_of_them(bake: Baker) -> None:
    project = bake()
    core = {file.name: lines_of_code(file.read_text("utf-8")) for file in project.path.glob("src/*/pipeline_core/*.py")}
    assert max(core.values()) <= MOST_LINES_OF_A_MODULE, core
    assert sum(core[name] for name in READING_PATH) <= MOST_LINES_OF_THE_READING_PATH, core


def test_t11_what_calls_workers_on_a_cluster_is_small(bake: Baker) -> None:
    assert lines_of_code(bake(scale_out="ray").text("src/my_pipeline/ray_crew.py")) <= MOST_LINES_FOR_RAY
