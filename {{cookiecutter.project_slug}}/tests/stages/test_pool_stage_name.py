"""The stage pool_stage_name: without its pool, and with it."""

from {{ cookiecutter.package_name }}.pipeline_core import (
    PipelineManager,
)
from {{ cookiecutter.package_name }}.stages.pool_stage_name import (
    PoolStageNameWorker,
)


def test_hands_an_item_on() -> None:
    assert PoolStageNameWorker().process_item({"id": 1}) == {"id": 1}


def test_keeps_the_order_of_the_items() -> None:
    pipeline = PipelineManager().add_worker(PoolStageNameWorker, worker_args={"sub_workers": 4})
    assert list(pipeline.run(range(100))) == list(range(100))
