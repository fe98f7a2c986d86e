"""The stage enrich, with an API that is a function."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from my_pipeline.pipeline_core import PipelineError, PipelineManager
from my_pipeline.stages.enrich import EnrichWorker

Answer = Callable[[httpx.Request], httpx.Response]


def enriched(answer: Answer, item: dict[str, Any], **settings: Any) -> list[Any]:
    class Answered(EnrichWorker):
        async def setup(self) -> None:
            self.client = httpx.AsyncClient(base_url=self.url, transport=httpx.MockTransport(answer))

    manager = PipelineManager().add_worker(Answered, worker_args={"url": "http://api"}, **settings)
    return list(manager.run([item]))


def test_adds_what_the_api_knows() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"name": request.url.path})

    assert enriched(answer, {"product": 7}) == [{"product": 7, "name": "/products/7"}]


def test_a_429_is_tried_again_when_the_api_says_so() -> None:
    answers = [httpx.Response(429, headers={"Retry-After": "0"}), httpx.Response(200, json={"name": "x"})]
    assert enriched(lambda request: answers.pop(0), {"product": 7}, retries=1) == [{"product": 7, "name": "x"}]


@pytest.mark.parametrize("status", [404, 500])
def test_another_status_is_an_error_that_names_it(status: int) -> None:
    with pytest.raises(PipelineError, match=f"HTTPStatusError.*{status}"):
        enriched(lambda request: httpx.Response(status), {"product": 7})
