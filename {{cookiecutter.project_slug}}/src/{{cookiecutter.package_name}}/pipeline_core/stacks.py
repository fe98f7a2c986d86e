"""Where the threads of a pipeline are, for the log and for TimeoutError."""

import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from itertools import dropwhile
from types import FrameType

from .machine import has_gil
from .policy import Policy
from .stage import Stage

_CORE = os.path.dirname(__file__)


def stacks(stages: Sequence[Stage], *, only_busy: bool) -> str:
    """The stacks of the stages' threads, innermost call last; `only_busy`: of those that are in a worker's code.

    Without a GIL a thread's frames must not be read while it runs, or Python may crash ("Python support for free
    threading", Python's HOWTOs): then this names the stages that have items in hand.
    """
    found = [text for stage in stages for text in (_stacks(stage, only_busy) if has_gil() else _in_hand(stage))]
    return "".join(found) or "no stage: the source, or the consumer\n"


def _stacks(stage: Stage, only_busy: bool) -> Iterator[str]:
    for thread in list(stage.threads):
        if (frame := sys._current_frames().get(thread.ident or 0)) is None:
            continue
        core = list(dropwhile(lambda entry: not _in_core(entry), [*traceback.walk_stack(frame)][::-1]))
        yours = list(dropwhile(_in_core, core))
        if not only_busy or (yours and not _only_waits(core[-len(yours) - 1][0], yours[0][0])):
            stack = traceback.StackSummary.extract(iter(yours or core), lookup_lines=True)
            yield f"stage '{stage.name}' ({thread.name}):\n{''.join(stack.format())}"


def _in_hand(stage: Stage) -> Iterator[str]:
    number = stage.lane.received - stage.lane.index - stage.outbox.writing.now
    if stage.threads and not stage.ready.is_set():
        yield f"stage '{stage.name}': in setup\n"
    elif number > 0:
        yield f"stage '{stage.name}': items in hand: {number}\n"


def _in_core(entry: tuple[FrameType, int]) -> bool:
    return entry[0].f_code.co_filename.startswith(_CORE)


def _only_waits(caller: FrameType, called: FrameType) -> bool:
    """Whether that is the core in a wait of its own, other than between two attempts at an item."""
    return called.f_code.co_filename == threading.__file__ and caller.f_code is not Policy.give_up_or_wait.__code__
