"""How long the calls of each stage take, and whether they seem to wait for one another."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil, log
from statistics import fmean, median
from threading import Lock

from .units import duration

ACCURACY = 0.05  # The relative error of a quantile: then 350 buckets reach from 1 ns to 10 days.
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)  # The ratio of a bucket's bounds: Masson, Rim, Lee, "DDSketch", VLDB 2019.
EARLY = 1000  # Calls of a stage whose start is kept: the first ones.
ENDS = 20  # Calls that show whether their ends are regular: of 20 at random, 8 end within half of the usual gap.
SLOWER = 1.5  # Ratio of a typical call to the quickest one and to the gap: behind one lock, two workers make both 2.


@dataclass(frozen=True)
class ServiceTimes:
    """The calls of one stage, up to one moment.

    `call_seconds`  of all calls together
    `buckets`       pairs of a bucket's number and the calls in it: see `bound`. A batch counts as its items, each with its
                    part of the time
    `early`         pairs of the start and the seconds of the first calls, where each was measured
    """

    call_seconds: float = 0.0
    buckets: tuple[tuple[int, int], ...] = ()
    early: tuple[tuple[float, float], ...] = ()

    @property
    def calls(self) -> int:
        return sum(calls for _, calls in self.buckets)

    @property
    def durations(self) -> list[tuple[float, int]]:
        """Pairs of seconds, within ACCURACY, and the calls that took so long; the shortest first."""
        return [(bound(number) * 2 / (GAMMA + 1), calls) for number, calls in self.buckets]

    @property
    def contention(self) -> str:
        """The sign that calls wait for one another, as for a lock or a limiter, in words; empty if there is none.

        Such calls end at regular intervals, though most take much longer than one interval. Calls that do not wait for
        one another end at random or, where all take equally long, several at a time.
        """
        ends = sorted(start + seconds for start, seconds in self.early)
        gaps = sorted(later - earlier for earlier, later in pairwise(ends))
        if len(gaps) < ENDS:
            return ""
        quickest, typical = min(seconds for _, seconds in self.early), fmean(seconds for _, seconds in self.early)
        regular = gaps[len(gaps) // 10] > median(gaps) / 2
        if not regular or max(quickest, median(gaps)) > typical / SLOWER:
            return ""
        return f"one ended every {duration(median(gaps))}, and the quickest took {duration(quickest)}"

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the calls was over, within ACCURACY. 0 without a call."""
        if not self.buckets:
            return 0.0
        reached = list(accumulate(calls for _, calls in self.buckets))
        return self.durations[bisect_left(reached, ceil(share * reached[-1]))][0]


def bound(number: float) -> float:
    """Seconds up to which a call belongs to the bucket with this number, and not to the next."""
    return float(GAMMA**number)


class Calls:
    """The calls of one stage so far. Any thread may add some, and any may ask."""

    def __init__(self) -> None:
        self._lock = Lock()  # Guards the rest. Without a trace, a thread adds some 3,000 times a second at most.
        self._seconds, self._buckets, self._early = 0.0, Counter[int](), list[tuple[float, float]]()

    def add(self, start: float, seconds: float, calls: int, items: int) -> None:
        """`calls` calls, of `items` items each, that took `seconds` together."""
        number = ceil(log(max(seconds / (calls * items), 1e-9)) / log(GAMMA))
        with self._lock:
            self._seconds += seconds
            self._buckets[number] += calls * items
            if calls == 1 and len(self._early) < EARLY:
                self._early.append((start, seconds))

    def times(self) -> ServiceTimes:
        with self._lock:
            return ServiceTimes(self._seconds, tuple(sorted(self._buckets.items())), tuple(self._early))
