"""What Python and the machine can do at the same time."""

import os
import sys


def cores() -> int:
    """How many CPUs this process may use. A container's limit of CPU time is not considered."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_gil() -> bool:
    """Whether only one thread at a time runs Python code."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())
