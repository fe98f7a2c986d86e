"""The whole flow on one page."""

from collections.abc import Callable
from typing import Literal

import httpx

from .pipeline_core import DeadLetter, PipelineManager
from .settings import Settings
from .stages.enrich import EnrichWorker


def may_succeed_later(error: Exception) -> bool:
    """A broken connection, a time limit, or an error of the server; a product that is not there never will be."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.is_server_error
    return isinstance(error, (httpx.TransportError, TimeoutError))


def build_pipeline(
    settings: Settings = Settings(),
    *,
    on_error: Literal["stop", "skip"] = "stop",
    on_dead_letter: Callable[[DeadLetter], object] | None = None,
) -> PipelineManager:
    """A pipeline that enriches each record, through the API."""
    pipeline = PipelineManager(name="enrich", on_error=on_error, on_dead_letter=on_dead_letter)
    pipeline.add_worker(
        EnrichWorker,
        worker_args={"url": settings.url},
        workers=32,  # Requests in flight.
        queue_size=500,  # So that others go on while one of them takes its second.
        rate_limit=350,  # Requests a second, other attempts among them.
        retries=4,
        retry_on=may_succeed_later,
        timeout=1.0,  # Seconds for each request, from the first byte to the last.
    )
    return pipeline
