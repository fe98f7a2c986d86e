"""The command around a stage that asks a service, in an event loop, and one in child processes. Odd numbers need neither."""

import asyncio
from typing import Any

from my_pipeline.cli import (
    main,
)
from my_pipeline.pipeline_core import (
    BaseWorker,
    PipelineManager,
)


def is_even(item: int) -> bool:
    return item % 2 == 0


class Ask(BaseWorker[int, int]):
    async def process_item(self, item: int) -> int:
        await asyncio.sleep(0.001)
        return item


class HandOn(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


def build_pipeline(**policy: Any) -> PipelineManager:
    manager = PipelineManager(**policy).add_worker(HandOn, name="first")
    manager.add_worker(Ask, name="ask", workers=3, when=is_even, rate_limit=1000, retries=2, timeout=10)
    return manager.add_worker(HandOn, name="last", executor="process", when=is_even)


if __name__ == "__main__":
    main(build_pipeline)
