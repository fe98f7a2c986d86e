"""The examples drop onto a bake and keep it clean."""

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pyarrow.parquet import read_table

import baking
from demo import bake_example

ENRICH = baking.ROOT / "examples" / "enrich"
LOGS = baking.ROOT / "examples" / "logs"
ANSWERS: dict[str, dict[str, str]] = {
    "digits": {},
    "enrich": {"stage_names": "enrich"},
    "logs": {"stage_names": "parse, section, totals"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


def example(name: str, folder: Path) -> baking.Bake:
    """The project with this example on it, baked once."""
    if not (folder / name).exists():
        bake_example(name, folder / name, **ANSWERS[name])
    return baking.Bake(folder / name / "my-pipeline", "my_pipeline")


@pytest.fixture(params=ANSWERS)
def any_example(request: pytest.FixtureRequest, folder: Path) -> baking.Bake:
    return example(request.param, folder)


@pytest.mark.parametrize(
    "tool", ["ruff check", "ruff format --check", pytest.param("mypy src", marks=pytest.mark.slow)]
)
def test_t6_an_example_is_clean(tool: str, any_example: baking.Bake) -> None:
    any_example.run(*tool.split())


@pytest.mark.slow
def test_the_examples_own_tests_pass(any_example: baking.Bake) -> None:
    any_example.python(
        "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests/stages", "tests/test_pipeline.py"
    )


@pytest.mark.slow
def test_the_digits_are_read_in_order_and_well(folder: Path) -> None:
    digits = example("digits", folder)
    shown = digits.python("run_digits.py").stdout
    lines = lines_of(digits, "outputs/predictions.jsonl")
    assert [line["index"] for line in lines] == list(range(1797))
    held_out = [line for line in lines if line["held_out"]]
    right = sum(line["predicted"] == line["truth"] for line in held_out)
    assert right / len(held_out) > 0.95
    assert f"{right / len(held_out):.2%}" in shown
    assert Path(digits.path / "outputs/contact_sheet.png").stat().st_size > 10_000


@pytest.fixture(scope="module")
def enrich(folder: Path) -> baking.Bake:
    project = example("enrich", folder)
    records = project.python(str(ENRICH / "api.py"), "--records").stdout
    (project.path / "records.jsonl").write_text(records, encoding="utf-8")
    return project


def lines_of(project: baking.Bake, file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in project.text(file).splitlines()] if (project.path / file).exists() else []


def asking(project: baking.Bake, *command: str) -> tuple[dict[str, int], float]:
    """Run a command that asks the API. Returns how often it gave each status, and the seconds of its longest answer."""
    told = project.python(str(ENRICH / "api.py"), *command, check=False).stderr
    (longest,) = re.findall(r"^api: .*the longest in ([\d.]+) s", told, re.MULTILINE)
    return {status: int(number) for number, status in re.findall(r"(\d+) x (\d+)", told)}, float(longest)


def ours(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "my_pipeline", "run", "--on-error", "skip", "--dead-letters", *arguments]


def by_hand(*arguments: str) -> list[str]:
    return [sys.executable, str(ENRICH / "by_hand.py"), *arguments]


@pytest.mark.slow
def test_records_are_enriched_as_by_hand_with_less_trouble_for_the_api(enrich: baking.Bake) -> None:
    gave, longest = asking(enrich, *ours("dead.jsonl", "records.jsonl", "-o", "out.jsonl"))
    gave_by_hand, longest_by_hand = asking(enrich, *by_hand("records.jsonl", "by_hand.jsonl"))

    records, results, dead = (lines_of(enrich, f"{name}.jsonl") for name in ("records", "out", "dead"))
    assert results == lines_of(enrich, "by_hand.jsonl")
    unknown, broken = ([record for record in records if record["product"] % 1000 == rest] for rest in (11, 13))
    hopeless = [record for record in records if record in unknown + broken]
    assert [result["order"] for result in results] == [record["order"] for record in records if record not in hopeless]
    assert [(letter["item"], letter["attempts"] == 5) for letter in dead] == [
        (each, each in broken) for each in hopeless
    ]
    assert gave["429"] < 100 < gave_by_hand["429"]  # All calls wait, and not only those that were refused.
    assert longest < 4 < longest_by_hand  # The time limit is one for the whole answer.


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the commands are written for a POSIX shell")
@pytest.mark.parametrize("source", ["cat records.jsonl", "while sleep 0.01 && head -1 records.jsonl; do :; done"])
def test_what_is_done_is_there_when_ctrl_c_ends_it_and_while_records_come(source: str, enrich: baking.Bake) -> None:
    def lines_after_four_seconds(target: str, command: list[str]) -> int:
        asking(enrich, "sh", "-c", f'({source}) | timeout -k 5 -s INT 4 "$@"', "sh", *command)
        return len(lines_of(enrich, target))

    for left in enrich.path.glob("cut*"):
        left.unlink()
    assert lines_after_four_seconds("cut.jsonl.part", ours("cut.dead", "-", "-o", "cut.jsonl")) > 0
    assert lines_after_four_seconds("cut_by_hand.jsonl", by_hand("-", "cut_by_hand.jsonl")) == 0


@pytest.fixture(scope="module")
def logs(folder: Path) -> baking.Bake:
    project = example("logs", folder)
    project.python(str(LOGS / "access_log.py"), "20000")
    return project


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["", "--set processes=2", "--set totals=true"])
def test_a_log_becomes_the_table_that_a_plain_loop_makes_and_broken_lines_are_named(
    settings: str, logs: baking.Bake
) -> None:
    name = "totals.parquet" if "totals=true" in settings else "rows.parquet"
    command = ours("dead.jsonl", "access.log.gz", "-o", name, *settings.split())
    assert logs.run(*command, check=False).returncode == 1  # Some lines failed.
    logs.python(str(LOGS / "by_hand.py"), "access.log.gz", f"by_hand_{name}")

    results, expected = (read_table(logs.path / file) for file in (name, f"by_hand_{name}"))
    assert results.equals(expected)
    assert results.num_rows > 20
    broken = [int(number) for number in logs.text("broken.txt").split()]
    letters = lines_of(logs, "dead.jsonl")
    assert [(letter["file"], letter["line"]) for letter in letters] == [("access.log.gz", line) for line in broken]
    lines = gzip.decompress((logs.path / "access.log.gz").read_bytes()).split(b"\n")
    texts = [lines[number - 1].decode(errors="replace") for number in broken]
    assert [letter["item"] for letter in letters] == texts
