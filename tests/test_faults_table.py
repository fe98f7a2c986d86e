"""docs/guarantees.md keeps its word: the table of faults can be made anew, and each test that it names is there."""

import json
import re
import subprocess
import sys

import pytest

from baking import ROOT, environment

GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the cells are process groups")


def verdicts(peer: str, *only: str) -> dict[str, str]:
    """The verdict on each of these faults."""
    command = [sys.executable, "tools/faults.py", "--json", "--peers", peer, "--only", *only]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {fault: row[peer] for fault, row in json.loads(done.stdout).items()}


@pytest.mark.slow
def test_r6_ours_holds_in_the_table_of_faults() -> None:
    found = verdicts("ours", "a stage raises", "the source raises", "consumer", "items", "Ctrl-C", "deadline", "child")
    assert len(found) >= 15
    assert set(found.values()) == {"ok"}, found


def test_a_peer_gets_verdicts_that_follow_from_what_it_did() -> None:
    found = verdicts("tutorial", "a stage raises an Exception", "fewer items", "skipped")
    assert found == {
        "a stage raises an Exception": "error swallowed",
        "fewer items than workers": "ok",
        "a failing item is skipped, and told of": "n/a: the first error ends the run",
    }


def named_tests() -> list[str]:
    return sorted(set(re.findall(r"`(\w+\.py::\w+)`", GUARANTEES)))


@pytest.mark.parametrize("name", named_tests())
def test_a_test_that_the_guarantees_name_is_there(name: str) -> None:
    file, function = name.split("::")
    texts = [path.read_text(encoding="utf-8") for path in ROOT.glob(f"*/**/{file}") if "build" not in path.parts]
    assert any(re.search(rf"^ *def {function}\(", text, re.MULTILINE) for text in texts)


def test_every_promise_names_a_test() -> None:
    promises = [f"R{number}" for number in range(1, 19)]
    before, behind = GUARANTEES.split("### The tests that hold them")
    assert re.findall(r"^- \*\*(R\d+) ", before, re.MULTILINE) == promises
    rows = dict(re.findall(r"^\| (R\d+) \| (.*) \|$", behind, re.MULTILINE))
    assert list(rows) == promises
    assert not [promise for promise, tests in rows.items() if "::" not in tests]
