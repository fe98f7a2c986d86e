"""What the threads of a pipeline are doing right now, for people who wait for them."""

import os
import sys
import threading
import traceback
from itertools import dropwhile
from types import FrameType

from .machine import has_gil
from .policy import Policy
from .stage import Stage

_CORE = os.path.dirname(__file__)


def stacks(stages: list[Stage], *, only_busy: bool) -> str:
    """The stacks of the stages' threads, innermost call last; `only_busy`: of those inside of your own code.

    Without a GIL a thread's frames must not be read while it runs, or Python may crash ("Python support for free
    threading", Python's HOWTOs): then this names the stages that have items in hand.
    """
    if not has_gil():
        return _without_stacks(stages)
    found = []
    for stage in stages:
        for thread in list(stage.threads):
            frame = sys._current_frames().get(thread.ident or 0)
            if frame is None:
                continue
            core = list(dropwhile(lambda entry: not _in_core(entry), [*traceback.walk_stack(frame)][::-1]))
            yours = list(dropwhile(_in_core, core))
            if not only_busy or (yours and not _only_waits(core[-len(yours) - 1][0], yours[0][0])):
                stack = traceback.StackSummary.extract(iter(yours or core), lookup_lines=True)
                found.append(f"stage '{stage.name}' ({thread.name}):\n{''.join(stack.format())}")
    return "".join(found) or "no stage: the source, or the consumer\n"


def _without_stacks(stages: list[Stage]) -> str:
    found = []
    for stage in stages:
        if stage.threads and not stage.ports:
            found.append(f"stage '{stage.name}': in setup\n")
        elif (number := stage.in_hand()) > 0:
            found.append(f"stage '{stage.name}': items in hand: {number}\n")
    return "".join(found) or "no stage: the source, or the consumer\n"


def _in_core(entry: tuple[FrameType, int]) -> bool:
    return entry[0].f_code.co_filename.startswith(_CORE)


def _only_waits(caller: FrameType, called: FrameType) -> bool:
    """Whether that is the core in a wait of its own, other than between two attempts at an item."""
    return called.f_code.co_filename == threading.__file__ and caller.f_code is not Policy.attempt.__code__
