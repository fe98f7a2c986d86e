"""The stage post_processing: a tile for each prediction, drawn without its pool and with it."""

import numpy as np
import pytest
from PIL import ImageColor

from my_pipeline.digits import Digit, Prediction
from my_pipeline.pipeline_core import PipelineManager
from my_pipeline.stages.post_processing import CAPTION, INK, PAPER, RED, WIDTH, PostProcessingWorker


def prediction(predicted: int, truth: int, confidence: float = 0.9) -> Prediction:
    """The digit is a bar of full ink in the left half of its square."""
    pixels = np.tile(np.repeat([1.0, 0.0], 4), 8)
    return Prediction(Digit(0, truth, True, pixels), predicted, confidence)


@pytest.fixture
def worker() -> PostProcessingWorker:
    worker = PostProcessingWorker()
    worker.setup()
    return worker


def test_draws_ink_on_paper_above_the_caption(worker: PostProcessingWorker) -> None:
    tile = worker.process_item(prediction(3, 3)).image
    assert tile.size == (WIDTH, WIDTH + CAPTION)
    assert tile.getpixel((WIDTH // 4, WIDTH // 2)) == ImageColor.getrgb(INK)
    assert tile.getpixel((WIDTH * 3 // 4, WIDTH // 2)) == ImageColor.getrgb(PAPER)


@pytest.mark.parametrize(("predicted", "frame"), [(3, PAPER), (7, RED)], ids=["right", "wrong"])
def test_only_a_wrong_prediction_has_a_red_frame(worker: PostProcessingWorker, predicted: int, frame: str) -> None:
    tile = worker.process_item(prediction(predicted, truth=3)).image
    corners = [(x, y) for x in (0, WIDTH - 1) for y in (0, WIDTH + CAPTION - 1)]
    assert [tile.getpixel(corner) for corner in corners] == [ImageColor.getrgb(frame)] * 4


def test_the_caption_tells_what_was_predicted_and_how_surely(worker: PostProcessingWorker) -> None:
    predictions = [prediction(3, 3), prediction(4, 4), prediction(3, 3, 0.5), prediction(7, 3), prediction(7, 4)]
    strip = (0, WIDTH, WIDTH, WIDTH + CAPTION)
    captions = {worker.process_item(item).image.crop(strip).tobytes() for item in predictions}
    assert len(captions) == len(predictions)


def test_the_pool_draws_what_is_drawn_without_it(worker: PostProcessingWorker) -> None:
    predictions = [prediction(number % 10, number % 7) for number in range(100)]
    pipeline = PipelineManager().add_worker(PostProcessingWorker, worker_args={"sub_workers": 4})
    tiles = list(pipeline.run(predictions))
    assert [tile.prediction for tile in tiles] == predictions
    assert [tile.image for tile in tiles] == [worker.process_item(item).image for item in predictions]
