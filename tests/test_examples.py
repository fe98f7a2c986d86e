"""The examples drop onto a default bake and keep it clean."""

import json
from pathlib import Path

import pytest

import baking
from demo import bake_digits


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> baking.Bake:
    return baking.Bake(bake_digits(tmp_path_factory.mktemp("digits")), "my_pipeline")


@pytest.mark.parametrize(
    "tool", ["ruff check", "ruff format --check", pytest.param("mypy src", marks=pytest.mark.slow)]
)
def test_t6_the_digits_are_clean(tool: str, digits: baking.Bake) -> None:
    digits.run(*tool.split())


@pytest.mark.slow
def test_the_digits_own_tests_pass(digits: baking.Bake) -> None:
    digits.python(
        "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests/stages", "tests/test_pipeline.py"
    )


@pytest.mark.slow
def test_the_digits_are_read_in_order_and_well(digits: baking.Bake) -> None:
    shown = digits.python("run_digits.py").stdout
    lines = [json.loads(line) for line in digits.text("outputs/predictions.jsonl").splitlines()]
    assert [line["index"] for line in lines] == list(range(1797))
    held_out = [line for line in lines if line["held_out"]]
    right = sum(line["predicted"] == line["truth"] for line in held_out)
    assert right / len(held_out) > 0.95
    assert f"{right / len(held_out):.2%}" in shown
    assert Path(digits.path / "outputs/contact_sheet.png").stat().st_size > 10_000
