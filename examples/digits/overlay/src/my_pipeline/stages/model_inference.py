"""Classify digits, a batch at a time: one call of the model for 64 digits costs little more than for one."""

from pathlib import Path

import numpy as np

from ..digits import Digit, Prediction
from ..model import Classifier, load
from ..pipeline_core import BaseWorker


class ModelInferenceWorker(BaseWorker[Digit, Prediction]):
    """Each worker loads a model of its own, once, from `model_file`."""

    model: Classifier

    def __init__(self, *, model_file: Path) -> None:
        self.model_file = model_file

    def setup(self) -> None:
        self.model = load(self.model_file)

    def process_batch(self, items: list[Digit]) -> list[Prediction | None]:
        probabilities = self.model.predict_proba(np.stack([digit.pixels for digit in items]))
        best = probabilities.argmax(axis=1)
        return [
            Prediction(digit, int(self.model.classes_[choice]), float(row[choice]))
            for digit, row, choice in zip(items, probabilities, best, strict=True)
        ]
