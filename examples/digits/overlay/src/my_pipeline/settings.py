"""What can be set without an edit of the code."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """`model_file` is what `model.train` wrote."""

    model_file: Path = Path("outputs") / "model.pickle"
