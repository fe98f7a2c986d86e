"""The stage pool_stage_name, whose items are done in a pool, each as one sub-task or as several."""

from typing import Any

from ..pipeline_core import SubTaskPoolWorker


class PoolStageNameWorker(SubTaskPoolWorker[Any, Any, Any, Any]):
    """Hands every item on as it is, until you write what it does.

    `process_sub_task` runs in several threads or processes at once. As it stands, an item is one sub-task. To cut an
    item into several, define `split`, which returns its sub-tasks, and `merge`, which gets their results in that order:

        def split(self, item):
            return item["pages"]

        def merge(self, item, results):
            return {**item, "pages": results}
    """

    def setup(self) -> None:
        """Once, before the first item, and once in each child process: load the model, open the connection."""

    def process_sub_task(self, sub: Any) -> Any:
        """Do one sub-task, and return its result."""
        return sub

    def teardown(self) -> None:
        """Once, after the last item, whatever happened: close what `setup` opened."""
