"""The whole flow, and the script that runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from my_pipeline.contact_sheet import accuracy
from my_pipeline.digits import RawDigit, Tile, read_digits
from my_pipeline.model import train
from my_pipeline.pipeline import build_pipeline
from my_pipeline.pipeline_core import DeadLetter
from my_pipeline.settings import Settings

PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pickle"
    train(path)
    return path


def spoilt(which: int) -> Iterator[RawDigit]:
    """The first 200 digits; one of them is blank."""
    for digit in islice(read_digits(), 200):
        yield replace(digit, pixels=np.zeros(64)) if digit.index == which else digit


def test_every_digit_comes_out_once_and_in_order(model_file: Path) -> None:
    pipeline = build_pipeline(Settings(model_file))
    tiles = list(pipeline.run(read_digits()))
    assert [tile.prediction.digit.index for tile in tiles] == list(range(1797))
    held_out = [tile for tile in tiles if tile.prediction.digit.held_out]
    assert len(held_out) == 899
    assert accuracy(held_out) > 0.96


def test_threads_give_what_the_plain_loop_gives(model_file: Path) -> None:
    def outcome(*, serial: bool) -> list[tuple[int, int, Image.Image]]:
        digits = islice(read_digits(), 800, 1000)
        tiles: Iterator[Tile] = build_pipeline(Settings(model_file)).run(digits, serial=serial)
        return [(tile.prediction.digit.index, tile.prediction.predicted, tile.image) for tile in tiles]

    assert outcome(serial=False) == outcome(serial=True)


def test_a_blank_digit_is_skipped_and_costs_only_itself(model_file: Path) -> None:
    letters: list[DeadLetter] = []
    pipeline = build_pipeline(Settings(model_file), on_error="skip", on_dead_letter=letters.append)
    tiles = list(pipeline.run(spoilt(70)))
    assert [tile.prediction.digit.index for tile in tiles] == [index for index in range(200) if index != 70]
    [letter] = letters
    assert (letter.stage, letter.index, str(letter.error)) == ("pre_processing", 70, "digit 70 is blank")


def test_the_script_writes_predictions_and_a_contact_sheet_and_says_how_good_they_are(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "src"), "PYTHONUTF8": "1"}
    call = [sys.executable, str(PROJECT / "run_digits.py")]
    done = subprocess.run(
        call, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")

    lines = (tmp_path / "outputs" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    predictions = [json.loads(line) for line in lines]
    truths = [digit.truth for digit in read_digits()]
    assert [(found["index"], found["truth"]) for found in predictions] == list(enumerate(truths))
    held_out = [found for found in predictions if found["held_out"]]
    wrong = sum(found["predicted"] != found["truth"] for found in held_out)
    assert f"{1 - wrong / len(held_out):.2%}: {wrong} of {len(held_out)} held-out digits wrong" in done.stdout
    assert "bottleneck  post_processing" in done.stdout

    sheet = tmp_path / "outputs" / "contact_sheet.png"
    assert sheet.stat().st_size < 1_000_000
    with Image.open(sheet) as image:
        image.verify()
