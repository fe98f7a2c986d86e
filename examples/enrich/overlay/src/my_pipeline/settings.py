"""What can be set without an edit of the code."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """`url` is the address of the API."""

    url: str = "http://127.0.0.1:8000"
