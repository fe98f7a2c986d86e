"""The stage pool_stage_name, whose items are cut into sub-tasks that run in a pool."""

from collections.abc import Iterable
from typing import Any

from ..pipeline_core import SubTaskPoolWorker


class PoolStageNameWorker(SubTaskPoolWorker[Any, Any, Any, Any]):
    """Hands every item on as it is, until you write what it does.

    `process_sub_task` runs in several threads or processes at once; `merge` gets the results in the order of `split`.
    """

    def setup(self) -> None:
        """Once, before the first item, and once in each child process: load the model, open the connection."""

    def split(self, item: Any) -> Iterable[Any]:
        """Return the sub-tasks that make up an item."""
        return [item]

    def process_sub_task(self, sub: Any) -> Any:
        """Do one sub-task, and return its result."""
        return sub

    def merge(self, item: Any, results: list[Any]) -> Any:
        """Make the item for the next stage of the results."""
        return results[0]

    def teardown(self) -> None:
        """Once, after the last item, whatever happened: close what `setup` opened."""
