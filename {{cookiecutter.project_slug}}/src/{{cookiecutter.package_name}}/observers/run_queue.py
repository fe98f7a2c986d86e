"""Whether threads that could run have to wait for a core, where the system tells it: Linux does."""

from math import inf
from pathlib import Path
from threading import Lock, local

SCHEDSTAT = Path("/proc/thread-self/schedstat")  # "CPU-nanoseconds nanoseconds-in-the-run-queue time-slices"
INTERVAL = 0.1  # Seconds between two looks of a thread: one takes 0.2 ms on a busy machine.
LEAST = 0.02  # Seconds of CPU time and waiting together that tell something: some time slices of a scheduler.


class RunQueue:
    """Sums up, over the threads that `look` at it, how long they ran and how long they waited for a core."""

    def __init__(self) -> None:
        self._lock = Lock()  # Guards the sums.
        self._ran = self._waited = 0  # Nanoseconds.
        self._mine = local()  # When the thread looks again, and what it read the last time.

    def look(self, now: float) -> None:
        """What the calling thread has done since its last look, if that is long enough ago."""
        mine = self._mine
        if now < getattr(mine, "next", -inf):
            return
        mine.next = now + INTERVAL
        try:
            ran, waited, _ = map(int, SCHEDSTAT.read_text(encoding="ascii").split())
        except (OSError, ValueError):  # Another system.
            mine.next = inf
            return
        before = getattr(mine, "read", (ran, waited))
        mine.read = ran, waited
        with self._lock:
            self._ran += ran - before[0]
            self._waited += waited - before[1]

    @property
    def share(self) -> float | None:
        """The share of the time in which threads could have run, and waited for a core; None: nobody knows."""
        with self._lock:
            together = self._ran + self._waited
            return self._waited / together if self._ran and together >= LEAST * 1e9 else None
