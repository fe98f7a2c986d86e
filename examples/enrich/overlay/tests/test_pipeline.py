"""The whole flow, with an API that is a function."""

from collections import Counter
from typing import Any

import httpx
import pytest

from my_pipeline.pipeline import build_pipeline, may_succeed_later
from my_pipeline.stages.enrich import EnrichWorker

ITEMS = [{"product": number} for number in range(60)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the API was asked for each product. It does not know number 7, and breaks once for 11."""
    asked = Counter[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        asked[path] += 1
        status = 404 if path == "/products/7" else 500 if (path, asked[path]) == ("/products/11", 1) else 200
        return httpx.Response(status, json={"name": path})

    async def setup(worker: Any) -> None:
        worker.client = httpx.AsyncClient(base_url="http://api", transport=httpx.MockTransport(answer))

    monkeypatch.setattr(EnrichWorker, "setup", setup)
    return asked


@pytest.mark.parametrize("serial", [False, True])
def test_each_record_is_enriched_in_order_and_the_hopeless_one_is_kept(asked: Counter[str], serial: bool) -> None:
    pipeline = build_pipeline(on_error="skip")
    results = list(pipeline.run(ITEMS, serial=serial))
    assert results == [{**item, "name": f"/products/{item['product']}"} for item in ITEMS if item["product"] != 7]
    (letter,) = pipeline.report.dead_letters
    assert (letter.item, letter.attempts, "404" in str(letter.error)) == (ITEMS[7], 1, True)
    assert (asked["/products/11"], asked.total()) == (2, 61)


@pytest.mark.parametrize("error", [TimeoutError(), httpx.ConnectError("refused"), httpx.ReadError("reset")])
def test_a_connection_that_breaks_is_tried_again(error: Exception) -> None:
    assert may_succeed_later(error)
    assert not may_succeed_later(KeyError("product"))
