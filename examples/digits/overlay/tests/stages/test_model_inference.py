"""The stage model_inference: a model that is loaded once, and asked about many digits at a time."""

from pathlib import Path

import pytest

from my_pipeline.digits import Digit, read_digits
from my_pipeline.model import train
from my_pipeline.pipeline_core import PipelineError, PipelineManager
from my_pipeline.stages.model_inference import ModelInferenceWorker
from my_pipeline.stages.pre_processing import PreProcessingWorker


@pytest.fixture(scope="module")
def held_out() -> list[Digit]:
    prepare = PreProcessingWorker().process_item
    return [prepare(digit) for digit in read_digits() if digit.held_out]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> ModelInferenceWorker:
    """Set up, and its model file is gone: whatever it is asked, it cannot load the model again."""
    model_file = tmp_path_factory.mktemp("model") / "model.pickle"
    train(model_file)
    worker = ModelInferenceWorker(model_file=model_file)
    worker.setup()
    model_file.unlink()
    return worker


def test_gives_a_prediction_for_each_digit_in_their_order(worker: ModelInferenceWorker, held_out: list[Digit]) -> None:
    predictions = worker.process_batch(held_out[:100])
    assert [prediction.digit for prediction in predictions if prediction] == held_out[:100]


def test_predicts_the_same_alone_as_in_a_batch(worker: ModelInferenceWorker, held_out: list[Digit]) -> None:
    for digit, batched in zip(held_out[:20], worker.process_batch(held_out[:20]), strict=True):
        [alone] = worker.process_batch([digit])
        assert alone is not None
        assert batched is not None
        assert alone.predicted == batched.predicted
        assert alone.confidence == pytest.approx(batched.confidence)


def test_is_surer_where_it_is_right(worker: ModelInferenceWorker, held_out: list[Digit]) -> None:
    predictions = [prediction for prediction in worker.process_batch(held_out) if prediction]
    right = [prediction.confidence for prediction in predictions if prediction.right]
    wrong = [prediction.confidence for prediction in predictions if not prediction.right]
    assert all(0.1 <= confidence <= 1.0 for confidence in right + wrong)
    assert sum(right) / len(right) > sum(wrong) / len(wrong)


def test_without_a_model_the_pipeline_fails_in_setup(tmp_path: Path, held_out: list[Digit]) -> None:
    missing = {"model_file": tmp_path / "missing.pickle"}
    pipeline = PipelineManager().add_worker(ModelInferenceWorker, batch_size=8, worker_args=missing)
    with pytest.raises(PipelineError, match=r"'model_inference' failed in setup: FileNotFoundError"):
        list(pipeline.run(held_out))
