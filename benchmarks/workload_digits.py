"""The digits example as functions of one item, for any peer, and as the pipeline that it ships."""

import sys
import time
from pathlib import Path

import pipeline_core

OVERLAY = Path(__file__).resolve().parent.parent / "examples/digits/overlay/src"
sys.path.append(str(OVERLAY))
sys.modules["my_pipeline.pipeline_core"] = pipeline_core  # In a project, it lies beside the stages.

from my_pipeline.digits import Digit, Prediction, read_digits  # noqa: E402
from my_pipeline.model import train  # noqa: E402
from my_pipeline.pipeline import build_pipeline  # noqa: E402
from my_pipeline.settings import Settings  # noqa: E402
from my_pipeline.stages.model_inference import ModelInferenceWorker  # noqa: E402
from my_pipeline.stages.post_processing import PostProcessingWorker  # noqa: E402
from my_pipeline.stages.pre_processing import PreProcessingWorker  # noqa: E402


class Digits:
    """`check`, `classify` and `draw` are the stages, from a digit's number to its number."""

    def __init__(self, folder: Path, size: int) -> None:
        self._model = folder / "model.pickle"
        train(self._model)
        self._raw = list(read_digits())[:size]
        self._checker = PreProcessingWorker()
        self._classifier, self._artist = ModelInferenceWorker(model_file=self._model), PostProcessingWorker()
        self._classifier.setup()
        self._artist.setup()

    def check(self, number: int) -> Digit:
        return self._checker.process_item(self._raw[number])

    def classify(self, digit: Digit) -> Prediction:
        (prediction,) = self._classifier.process_batch([digit])
        assert prediction is not None
        return prediction

    def draw(self, prediction: Prediction) -> int:
        images = [self._artist.process_sub_task(sub) for sub in self._artist.split(prediction)]
        return int(self._artist.merge(prediction, images).prediction.digit.index)

    def seconds_as_shipped(self) -> float:
        start = time.perf_counter()
        results = list(build_pipeline(Settings(self._model)).run(self._raw))
        seconds = time.perf_counter() - start
        assert [tile.prediction.digit.index for tile in results] == [raw.index for raw in self._raw]
        return seconds
