"""The stage stage_name."""

from typing import Any

from ..pipeline_core import BaseWorker


class StageNameWorker(BaseWorker[Any, Any]):
    """Hands every item on as it is, until you write what it does.

    Each worker is an instance of its own, in a thread of its own: its attributes need no lock. If `process_item` is async,
    one worker has many calls in flight. Define `finish` to give something more at the end of the stream.
    """

    def setup(self) -> None:
        """Once, before the first item: load the model, open the connection."""

    def process_item(self, item: Any) -> Any:
        """Return the item for the next stage, or None to drop it; or yield as many as you like."""
        return item

    def teardown(self) -> None:
        """Once, after the last item, whatever happened: close what `setup` opened."""
