"""The stage pre_processing: digits in the model's range, and nothing that is no digit."""

import numpy as np
import pytest

from my_pipeline.digits import Pixels, RawDigit, read_digits
from my_pipeline.stages.pre_processing import PreProcessingWorker


def scanned(pixels: Pixels) -> RawDigit:
    return RawDigit(index=7, truth=3, held_out=True, pixels=pixels)


def test_brings_the_pixels_to_the_range_from_0_to_1() -> None:
    digit = PreProcessingWorker().process_item(scanned(np.array([16.0, 4.0] * 32)))
    assert digit.pixels.tolist() == [1.0, 0.25] * 32
    assert (digit.index, digit.truth, digit.held_out) == (7, 3, True)


def test_leaves_what_it_got_unchanged() -> None:
    raw = scanned(np.full(64, 16.0))
    PreProcessingWorker().process_item(raw)
    assert raw.pixels.tolist() == [16.0] * 64


@pytest.mark.parametrize(
    ("pixels", "problem"),
    [
        (np.ones(63), "shape"),
        (np.ones((8, 8)), "shape"),
        (np.full(64, -1.0), "outside 0 to 16"),
        (np.full(64, 16.5), "outside 0 to 16"),
        (np.full(64, np.nan), "outside 0 to 16"),
        (np.zeros(64), "blank"),
    ],
)
def test_refuses_what_is_no_digit_and_says_which(pixels: Pixels, problem: str) -> None:
    with pytest.raises(ValueError, match=f"digit 7 .*{problem}"):
        PreProcessingWorker().process_item(scanned(pixels))


def test_every_digit_of_the_data_set_passes() -> None:
    worker = PreProcessingWorker()
    assert len([worker.process_item(digit) for digit in read_digits()]) == 1797
