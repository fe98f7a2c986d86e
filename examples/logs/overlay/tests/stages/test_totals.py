"""The stage totals."""

from my_pipeline.stages.totals import TotalsWorker


def test_adds_up_by_section_and_status() -> None:
    worker = TotalsWorker()
    worker.setup()
    for section, status, size in ("b", 200, 1), ("a", 404, 0), ("b", 200, 20):
        worker.process_item({"section": section, "status": status, "bytes": size})
    assert list(worker.finish()) == [
        {"section": "a", "status": 404, "requests": 1, "bytes": 0},
        {"section": "b", "status": 200, "requests": 2, "bytes": 21},
    ]
