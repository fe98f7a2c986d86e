"""What a run measures of its time: how long threads wait, and how long calls take. Cheap enough to be always on."""

from collections import Counter
from collections.abc import Callable, Iterable
from math import ceil, exp, log
from random import Random
from time import perf_counter, thread_time
from types import GeneratorType
from typing import Any

_STEP = log(1.1)  # From one bucket to the next: a quantile is right within 5%.
_COST = 3e-4  # seconds of calls that a measurement, which takes 2.5 µs, should come with: it costs about a hundredth
_MOST = 256  # One of so many calls is measured, at least.
_random = Random().random  # Not the one that a stage may have seeded: drawing from that would change its results.


class Waits:
    """Seconds that threads have waited at one place, up to now for those who wait there. One thread at a time writes."""

    def __init__(self) -> None:
        self._over = 0.0  # seconds of waits that are over
        self._begun = 0, 0.0  # How many wait now, and the sum of the times when they began.

    def begin(self) -> float:
        now = perf_counter()
        number, begun = self._begun
        self._begun = number + 1, begun + now
        return now

    def end(self, since: float) -> None:
        number, begun = self._begun
        self._begun = number - 1, begun - since if number > 1 else 0.0
        self._over += perf_counter() - since

    def seconds(self) -> float:
        number, begun = self._begun
        return self._over + number * perf_counter() - begun


class ServiceTimes:
    """What one thread measured of its calls, as counts in buckets of equal ratio.

    Masson, Rim, Lee, "DDSketch", VLDB 2019. Of calls that usually take microseconds only one of `n` is measured, by lot,
    and counts n times: so it is right on average also where quick and slow calls take turns. One thread writes, any may read.

    `cpu_clock` tells the CPU seconds of whoever does the work: this thread, if not told.
    """

    def __init__(self, cpu_clock: Callable[[], float] = thread_time) -> None:
        self.since, self.until = perf_counter(), 0.0  # When there could be calls.
        self.seconds = self.cpu_seconds = 0.0  # Of all calls.
        self._cpu_clock = cpu_clock
        self.passing = 0  # How many calls to pass over.
        self._one_of, self._usual = 1, _COST
        self.buckets: Counter[int] = Counter()

    def end(self) -> None:
        self.until = perf_counter()

    def present(self, now: float) -> float:
        """Seconds in which there could be calls, up to now."""
        return max(0.0, (self.until or now) - self.since)

    def call(self, function: Callable[..., Any], *arguments: Any, items: int = 1) -> Any:
        """Call the function, which works on that many items at once, and measure it if it is its turn."""
        if self.passing:
            self.passing -= 1
            return function(*arguments)
        result = None
        start, cpu = perf_counter(), self._cpu_clock()
        try:
            result = function(*arguments)
            return result
        finally:
            seconds, cpu = max(perf_counter() - start, 1e-9), self._cpu_clock() - cpu
            if type(result) is not GeneratorType:  # That was only made: its work is done when it is asked for outputs.
                self.seconds += seconds * self._one_of
                self.cpu_seconds += cpu * self._one_of
                self.buckets[ceil(log(max(seconds / items, 1e-9)) / _STEP)] += self._one_of * items
            self._usual += (seconds - self._usual) / 16
            self._one_of = min(1 + int(_COST / self._usual), _MOST)
            if self._one_of > 1:
                self.passing = int(log(1 - _random()) / log(1 - 1 / self._one_of))


Histogram = tuple[tuple[float, int], ...]  # Seconds that calls took, give or take 5%, ascending; and how many did.


def histogram(times: Iterable[ServiceTimes]) -> Histogram:
    buckets: Counter[int] = Counter()
    for some in times:
        buckets.update(some.buckets.copy())
    return tuple((exp((bucket - 0.5) * _STEP), count) for bucket, count in sorted(buckets.items()))


def quantile(times: Histogram, share: float) -> float:
    """The seconds within which this share of all calls was done; 0 where there was none."""
    left = share * sum(count for _, count in times)
    for seconds, count in times:
        left -= count
        if left <= 0:
            return seconds
    return 0.0
