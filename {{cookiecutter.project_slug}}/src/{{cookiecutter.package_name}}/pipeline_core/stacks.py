"""What the threads of a pipeline are doing right now, for people who wait for them."""

import sys
import threading
import traceback

from .policy import Policy
from .stage import Stage


def stacks(stages: list[Stage], *, only_busy: bool) -> str:
    """The stacks of the stages' threads, innermost call last; `only_busy`: of those inside of a stage's own code."""
    frames = sys._current_frames()
    found = []
    for thread in threading.enumerate():
        stage = next((stage.plan.name for stage in stages if thread.name.startswith(stage.thread_prefix)), None)
        frame = frames.get(thread.ident or 0)
        if stage is None or frame is None:
            continue
        stack = list(traceback.walk_stack(frame))[::-1]
        own = [depth for depth, (frame, _) in enumerate(stack) if frame.f_code in _CALLERS]
        if own or not only_busy:
            inside = traceback.StackSummary.extract(iter(stack[own[-1] + 1 :] if own else stack), lookup_lines=True)
            found.append(f"stage '{stage}' ({thread.name}):\n{''.join(inside.format())}")
    return "".join(found) or "no stage: the source, or the consumer\n"


_CALLERS = (Policy.attempt.__code__, Stage.call.__code__)
