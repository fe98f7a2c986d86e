"""The digits, where they come from, and what the stages make of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn import datasets  # type: ignore[import-untyped]

SIDE = 8  # A digit is 8 x 8 pixels, row by row,
INK = 16.0  # each from 0, paper, to 16, full ink.

Pixels = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RawDigit:
    """A digit as scanned. `held_out`: the model was not trained on it, so its prediction counts for the accuracy."""

    index: int
    truth: int
    held_out: bool
    pixels: Pixels


@dataclass(frozen=True, eq=False)
class Digit:
    """A digit ready for the model: checked, and `pixels` from 0.0 to 1.0."""

    index: int
    truth: int
    held_out: bool
    pixels: Pixels


@dataclass(frozen=True, eq=False)
class Prediction:
    """`confidence` is the model's calibrated probability, from 0.0 to 1.0, that the digit is a `predicted`."""

    digit: Digit
    predicted: int
    confidence: float

    @property
    def right(self) -> bool:
        return self.predicted == self.digit.truth


@dataclass(frozen=True, eq=False)
class Tile:
    """A prediction and its picture."""

    prediction: Prediction
    image: Image.Image


def read_digits() -> Iterator[RawDigit]:
    """The 1,797 handwritten digits that come with scikit-learn. The second half, unshuffled, is held out."""
    pixels, truths = datasets.load_digits(return_X_y=True)
    half = len(truths) // 2
    for index, (row, truth) in enumerate(zip(pixels, truths, strict=True)):
        yield RawDigit(index, int(truth), index >= half, row)
