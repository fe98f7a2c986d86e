"""What can be set without an edit of the code."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """`pages` is a CSV file with the section of each page; `totals` asks for totals instead of rows.

    `processes` is how many child processes parse; 0: a thread of this one.
    """

    pages: Path = Path("pages.csv")
    totals: bool = False
    processes: int = 0
