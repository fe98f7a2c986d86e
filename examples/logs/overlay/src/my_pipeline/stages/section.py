"""Add to each row the section of its page."""

import csv
from pathlib import Path
from typing import Any

from ..pipeline_core import BaseWorker


class SectionWorker(BaseWorker[dict[str, Any], dict[str, Any]]):
    """A join with a table that fits into memory: `pages`, a CSV file with the columns `page` and `section`."""

    def __init__(self, *, pages: Path) -> None:
        self.pages = pages

    def setup(self) -> None:
        with self.pages.open(encoding="utf-8", newline="") as table:
            self.sections = {row["page"]: row["section"] for row in csv.DictReader(table)}

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["section"] = self.sections.get(item["path"], "none")
        return item
