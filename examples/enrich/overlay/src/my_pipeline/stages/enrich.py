"""Add to each record what the API knows of its product."""

from typing import Any

import httpx

from ..pipeline_core import BaseWorker, RetryAfter


class EnrichWorker(BaseWorker[dict[str, Any], dict[str, Any]]):
    """One client with many requests in flight: `workers` in pipeline.py says how many."""

    def __init__(self, *, url: str) -> None:
        self.url = url

    async def setup(self) -> None:
        self.client = httpx.AsyncClient(base_url=self.url, timeout=None)  # pipeline.py has a limit for the whole call.

    async def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        response = await self.client.get(f"/products/{item['product']}")
        if response.status_code == 429:
            raise RetryAfter(float(response.headers["Retry-After"]))
        response.raise_for_status()
        return {**item, **response.json()}

    async def teardown(self) -> None:
        await self.client.aclose()
