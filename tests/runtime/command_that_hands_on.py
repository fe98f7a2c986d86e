"""The command around stages that hand every item on: what its tests run, whatever the project's own stages do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from my_pipeline.cli import (
    main,
)
from my_pipeline.pipeline_core import (
    BaseWorker,
    DeadLetter,
    PipelineManager,
)


@dataclass(frozen=True)
class Settings:
    """`name`: of the first stage."""

    name: str = "first"
    workers: int = 1


DEFAULTS = Settings()


class HandOn(BaseWorker[Any, Any]):
    """Fails on the item "bad"."""

    def process_item(self, item: Any) -> Any:
        if item == "bad":
            raise ValueError("a bad item")
        return item


def build_pipeline(
    settings: Settings = DEFAULTS,
    *,
    on_error: Literal["stop", "skip"] = "stop",
    on_dead_letter: Callable[[DeadLetter], object] | None = None,
) -> PipelineManager:
    manager = PipelineManager(on_error=on_error, on_dead_letter=on_dead_letter)
    manager.add_worker(HandOn, name=settings.name, workers=settings.workers)
    return manager.add_worker(HandOn, name="last")


if __name__ == "__main__":
    main(build_pipeline)
