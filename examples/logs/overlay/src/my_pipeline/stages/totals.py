"""Add up the rows."""

from collections.abc import Iterator
from typing import Any

from ..pipeline_core import BaseWorker


class TotalsWorker(BaseWorker[dict[str, Any], dict[str, Any]]):
    """Drops all rows, and gives the totals of each section and status when they are through."""

    def setup(self) -> None:
        self.totals: dict[tuple[str, int], list[int]] = {}

    def process_item(self, item: dict[str, Any]) -> None:
        total = self.totals.setdefault((item["section"], item["status"]), [0, 0])
        total[0] += 1
        total[1] += item["bytes"]

    def finish(self) -> Iterator[dict[str, Any]]:
        for (section, status), (requests, size) in sorted(self.totals.items()):
            yield {"section": section, "status": status, "requests": requests, "bytes": size}
