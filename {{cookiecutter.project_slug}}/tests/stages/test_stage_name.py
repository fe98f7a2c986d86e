"""The stage stage_name: call its methods, as the pipeline does."""

from {{ cookiecutter.package_name }}.stages.stage_name import (
    StageNameWorker,
)


def test_hands_an_item_on() -> None:
    worker = StageNameWorker()
    worker.setup()
    assert worker.process_item({"id": 1}) == {"id": 1}
    worker.teardown()
