"""The model: trained once, before the pipeline runs, and loaded by each worker of the inference stage."""

import pickle
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn import calibration, svm  # type: ignore[import-untyped]

from .digits import Pixels, read_digits
from .stages.pre_processing import PreProcessingWorker


class Classifier(Protocol):
    """What the inference stage needs of a model; scikit-learn's classifiers have it."""

    classes_: NDArray[np.int64]

    def predict_proba(self, X: Pixels, /) -> NDArray[np.float64]: ...


def train(model_file: Path) -> None:
    """Fit a support-vector classifier to the digits that are not held out, and write it: less than a second.

    The digits are prepared by the pipeline's own first stage, so the model is trained on what it will be asked.
    """
    prepare = PreProcessingWorker().process_item
    digits = [prepare(digit) for digit in read_digits() if not digit.held_out]
    model = calibration.CalibratedClassifierCV(svm.SVC(gamma=0.256), ensemble=False)
    model.fit(np.stack([digit.pixels for digit in digits]), [digit.truth for digit in digits])
    model_file.parent.mkdir(parents=True, exist_ok=True)
    model_file.write_bytes(pickle.dumps(model))


def load(model_file: Path) -> Classifier:
    """The model that `train` wrote. A pickle can run any code: load none that you did not write."""
    model: Classifier = pickle.loads(model_file.read_bytes())
    return model
