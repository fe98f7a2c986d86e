"""What can go wrong, as values: an error travels in its item's place in the order, and is raised at the edge."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def short(item: object, to_text: Callable[[Any], str] = repr, limit: int = 200) -> str:
    """`to_text(item)`, cut to `limit` characters; never raises."""
    try:
        text = to_text(item)
    except BaseException as error:
        text = f"<{type(item).__name__}, which raised {type(error).__name__} when asked for its text>"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class PipelineError(Exception):
    """A stage, the source or a callback failed. The original exception is `__cause__`, with its traceback.

    `stage`     the name of the stage, or "source"
    `phase`     what it was at: "process_item", "setup", "teardown", "on_dead_letter", …
    `item`      the item that was in hand; None where there was none
    `index`     which item that was: 0 for the first that the stage received; None where there was none
    `attempt`   which attempt failed, from 1
    """

    def __init__(
        self,
        stage: str,
        phase: str,
        item: object = None,
        index: int | None = None,
        attempt: int = 1,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(stage, phase, item, index, attempt)
        self.stage, self.phase, self.item, self.index, self.attempt = stage, phase, item, index, attempt
        self.__cause__ = cause

    def __str__(self) -> str:
        where = f"stage '{self.stage}'" if self.stage != "source" else "the source"
        which = "" if self.index is None else f" on item {self.index}: {short(self.item)}"
        tries = f" (attempt {self.attempt})" if self.attempt > 1 else ""
        why = "" if self.__cause__ is None else f" {type(self.__cause__).__name__}: {short(self.__cause__, str)}"
        return f"{where} failed in {self.phase}{which}{tries}:{why}"


@dataclass(frozen=True)
class DeadLetter:
    """An item that was given up under `on_error="skip"`, with all that is needed to look into it or to run it again."""

    stage: str
    index: int | None
    item: object
    error: BaseException
    attempts: int
    traceback: str = field(repr=False)

    @classmethod
    def of(cls, failure: PipelineError) -> "DeadLetter":
        cause = failure.__cause__ or failure
        text = short(cause, lambda error: "".join(traceback.format_exception(error)), limit=100_000)
        return cls(failure.stage, failure.index, failure.item, cause, failure.attempt, text)
